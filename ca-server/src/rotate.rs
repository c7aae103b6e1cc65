//! Replacing a key of the CA: the next one is announced, signs when everybody trusts it, and the old one leaves when
//! nothing that it signed is valid any more.
//!
//! | stage | what is true | it ends when |
//! |---|---|---|
//! | announced | the next key is in every bundle, KRL and directory; the old one signs | everybody has confirmed it (K3) |
//! | retiring | the next one signs; both are trusted | the last certificate of the old one has ended (K4) |
//! | leaving | bundles do not name the old one; it still has its section in the KRL | every machine has confirmed that |
//!
//! The fleet key needs no first two stages: it says itself who comes after it, and a machine that hears the new one's word hears that first
//! ([`crate::fleet::succession`]).
//!
//! Each step is one transaction with its ledger entry, and looks in that transaction whether it may be taken: a server
//! that died in between looks again and goes on. What was confirmed is what the store has seen, not what was sent.

mod compromise;
mod stage;

use std::sync::Arc;

use ca_api::admin::Pace;
use policies::MachineName;

pub use compromise::{Emergency, Lost, compromise};
pub use stage::{Stage, Waiting, stage};

use crate::{
    ca::{Ca, unix_ms},
    fleet::succession::{self, Reason},
    keys::{KeyRecord, KeysError, Life, MoveError, Place, Purpose, record},
    ledger::{Actor, Event},
    records::CertificateRecord,
    signer::SignerSpec,
    store::{Direction, KeyRange, Read, ReadError, StoreError, Table, Txn, WriteError},
};

/// A key cannot be replaced.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The CA's own keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The fleet key.
    #[error(transparent)]
    Fleet(#[from] succession::ChangeError),
    /// A key that is to be elsewhere.
    #[error(transparent)]
    Elsewhere(#[from] MoveError),
    /// The work that was handed to another thread did not end.
    #[error("the server is stopping; what was begun goes on when it is started again")]
    Stopping,
}

impl From<ReadError> for RotateError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl From<WriteError<ReadError>> for RotateError {
    fn from(error: WriteError<ReadError>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Store(error) => error.into(),
        }
    }
}

/// What an admin wants of a replacement.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// By itself, or one step a command.
    pub pace: Pace,
    /// Machines that are not waited for.
    pub leave_behind: Vec<MachineName>,
    /// Where the next key is to be; absent for a file.
    pub place: Option<Place>,
}

/// Begins to replace a key: makes the next one and announces it. Where that was done already, only the wish is written
/// down. Says what it did.
///
/// # Errors
/// When the key cannot be made or the store fails.
pub async fn begin(
    ca: &Arc<Ca>,
    actor: &Actor,
    purpose: Purpose,
    wish: &Wish,
) -> Result<Option<String>, RotateError> {
    let _one_at_a_time = ca.key_room.changing.lock().await;
    let view = ca.db.snapshot()?;
    let keys = ca.key_room.at(&view)?;
    let ring = keys.ring(purpose);
    let next_is_in_file = wish
        .place
        .as_ref()
        .is_none_or(|place| place.spec == SignerSpec::File);
    let fresh = ring.next().is_none() && ring.retiring().is_empty();
    drop(view);
    if purpose == Purpose::Fleet && fresh {
        return begin_fleet(ca, actor, wish).await.map(Some);
    }
    let made = if fresh {
        Some(make(ca, purpose, wish.place.clone()).await?)
    } else {
        None
    };
    let (at, now) = (unix_ms(ca.clock.now()), ca.clock.now().unix_timestamp());
    let (actor, wish, stored) = (actor.clone(), wish.clone(), made.clone());
    ca.db
        .write_async(move |txn| {
            let mut plan = record::rotation(txn, purpose)?.unwrap_or(record::RotationRecord {
                pace: wish.pace,
                leave_behind: Default::default(),
                began_unix: now,
            });
            plan.pace = wish.pace;
            plan.leave_behind.extend(wish.leave_behind.iter().cloned());
            record::put_rotation(txn, purpose, &plan);
            let left = plan.leave_behind.iter().map(ToString::to_string);
            let left = left.collect::<Vec<_>>().join(", ");
            let change = match (&stored, left.as_str()) {
                (Some(_), "") => "made; it signs when everybody trusts it".to_owned(),
                (Some(_), left) => {
                    format!("made; it signs when everybody but {left} trusts it")
                }
                (None, "") => "its replacement goes on".to_owned(),
                (None, left) => format!("its replacement goes on without {left}"),
            };
            if let Some(next) = &stored {
                record::put(txn, next);
            }
            let about = match &stored {
                Some(next) => next.clone(),
                None => current(txn, purpose)?,
            };
            note(txn, at, &actor, &about, change);
            Ok::<_, ReadError>(())
        })
        .await?;
    ca.key_room.refresh(&ca.db)?;
    ca.fleet_changed.notify_one();
    Ok(made.map(|next| {
        let name = next.name();
        if next_is_in_file {
            format!(
                "made {name}, the next {purpose} key; its file keys/{name} is encrypted with the CA's passphrase"
            )
        } else {
            format!("{name}, the next {purpose} key, is where --signer says, and was proven there")
        }
    }))
}

/// The next fleet key signs at once.
async fn begin_fleet(ca: &Arc<Ca>, actor: &Actor, wish: &Wish) -> Result<String, RotateError> {
    let plan = record::RotationRecord {
        pace: wish.pace,
        leave_behind: wish.leave_behind.iter().cloned().collect(),
        began_unix: ca.clock.now().unix_timestamp(),
    };
    let old = ca.keys().fleet.current_held().record().name();
    let place = wish.place.clone().unwrap_or(Place::FILE);
    let in_file = place.spec == SignerSpec::File;
    let reason = Reason::Rotation(Some(&plan));
    let new = succession::change_in(ca, actor, reason, place)
        .await?
        .name();
    let whereabouts = if in_file {
        format!("its file keys/{new} is encrypted with the CA's passphrase")
    } else {
        "it is where --signer says, and was proven there".to_owned()
    };
    Ok(format!(
        "made {new}, which signs from now on: {old} has named it, and each machine is led from one to the other; {whereabouts}"
    ))
}

/// Makes the key of the next generation. A file of that number without a record was made by a server that died before it
/// could say so: nobody ever heard of it, and it is written over.
async fn make(
    ca: &Arc<Ca>,
    purpose: Purpose,
    place: Option<Place>,
) -> Result<KeyRecord, RotateError> {
    let all = record::all(&ca.db.snapshot()?)?;
    let newest = all.iter().filter(|one| one.purpose == purpose);
    let number = newest.map(|one| one.number).max().unwrap_or(0) + 1;
    let shared = Arc::clone(ca);
    // Encrypting it costs a slow key derivation.
    let key = tokio::task::spawn_blocking(move || {
        shared
            .key_room
            .make_in(purpose, number, place.unwrap_or(Place::FILE))
    })
    .await
    .map_err(|_| RotateError::Stopping)??;
    Ok(KeyRecord::next(
        purpose,
        number,
        &key,
        ca.clock.now().unix_timestamp(),
    ))
}

fn current<R: Read>(source: &R, purpose: Purpose) -> Result<KeyRecord, ReadError> {
    let all = record::all(source)?;
    let mut current = all
        .into_iter()
        .filter(|one| one.purpose == purpose && one.life == Life::Current);
    Ok(current.next().expect("one key of each purpose signs"))
}

fn note(txn: &mut Txn<'_>, at_unix_ms: i64, actor: &Actor, key: &KeyRecord, change: String) {
    txn.record(
        at_unix_ms,
        actor,
        &Event::CaKeyChanged {
            key: key.name(),
            fingerprint: key.fingerprint(),
            change,
        },
    );
}

/// Takes the next step of a replacement, if it may be taken now. Says what was done.
///
/// # Errors
/// When the store fails, or a file of a retired key cannot be deleted.
pub async fn advance(
    ca: &Arc<Ca>,
    actor: &Actor,
    purpose: Purpose,
) -> Result<Option<String>, RotateError> {
    let _one_at_a_time = ca.key_room.changing.lock().await;
    loop {
        match once(ca, actor, purpose).await? {
            // Nobody asked for this one: it only tells when the next may be taken.
            Some(Did::Counted) => {}
            did => return Ok(did.map(|did| did.to_string())),
        }
    }
}

async fn once(ca: &Arc<Ca>, actor: &Actor, purpose: Purpose) -> Result<Option<Did>, RotateError> {
    let now = ca.clock.now();
    let view = ca.db.snapshot()?;
    let keys = ca.key_room.at(&view)?;
    // Looked at without the writer first: most of the time somebody is waited for.
    let mut counted = None;
    match stage(&view, &keys, purpose, now.unix_timestamp())? {
        None => return Ok(None),
        Some(Stage::Retiring { old, .. }) if old.last_expiry_unix.is_none() => {
            let shared = Arc::clone(ca);
            let of = old.clone();
            let last = tokio::task::spawn_blocking(move || last_expiry(&shared, &of))
                .await
                .map_err(|_| RotateError::Stopping)??;
            counted = Some(last);
        }
        Some(stage) if !stage.is_over(now.unix_timestamp()) => return Ok(None),
        Some(_) => {}
    }
    drop(view);
    let (shared, actor, at) = (Arc::clone(ca), actor.clone(), unix_ms(now));
    let did = ca
        .db
        .write_async(move |txn| {
            // As it is in this transaction: a machine may have been added, or put back to an old disk, since the first look.
            let Ok(keys) = shared.key_room.at(txn) else {
                return Ok(None);
            };
            let Some(stage) = stage(txn, &keys, purpose, now.unix_timestamp())? else {
                return Ok(None);
            };
            let step = Step {
                at_unix_ms: at,
                now_unix: now.unix_timestamp(),
                actor: &actor,
            };
            match (stage, counted) {
                (Stage::Retiring { old, .. }, Some(last)) if old.last_expiry_unix.is_none() => {
                    Ok(Some(step.count(txn, old, last)))
                }
                (stage, _) if !stage.is_over(now.unix_timestamp()) => Ok(None),
                (Stage::Announced { next, .. }, _) => step.switch(txn, purpose, next).map(Some),
                (Stage::Retiring { old, .. }, _) if purpose == Purpose::HostCa => {
                    // What trusts a host CA are the lines that employees are given anew with each renewal: nobody else has
                    // to be told that the old one is over.
                    let old = step.take_out(txn, old);
                    step.retire(txn, purpose, old).map(Some)
                }
                (Stage::Retiring { old, .. }, _) => {
                    let old = step.take_out(txn, old);
                    Ok(Some(Did::TookOut(old)))
                }
                (Stage::Leaving { old, .. }, _) => step.retire(txn, purpose, old).map(Some),
            }
        })
        .await?;
    let Some(did) = did else { return Ok(None) };
    ca.key_room.refresh(&ca.db)?;
    ca.fleet_changed.notify_one();
    if let Did::Retired(old) = &did {
        ca.key_room.forget(old)?;
    }
    Ok(Some(did))
}

/// Goes on with every replacement that goes on by itself.
pub async fn go_on(ca: &Arc<Ca>) {
    for purpose in Purpose::ALL {
        let by_itself = ca.db.read(|view| record::rotation(view, purpose));
        match by_itself {
            Ok(Some(plan)) if plan.pace == Pace::Auto => {}
            Ok(_) => continue,
            Err(error) => {
                tracing::error!(%error, "how keys are replaced cannot be read");
                continue;
            }
        }
        loop {
            match advance(ca, &Actor::Server, purpose).await {
                Ok(Some(did)) => tracing::info!(key = %purpose, "{did}"),
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(key = %purpose, %error, "the replacement does not go on; it is tried again");
                    break;
                }
            }
        }
    }
    if let Err(error) = compromise::conclude(ca).await {
        tracing::error!(%error, "a compromised key is kept in the KRL's canaries; it is tried again");
    }
}

/// A step that was taken.
enum Did {
    Switched { old: KeyRecord, next: KeyRecord },
    Counted,
    TookOut(KeyRecord),
    Retired(KeyRecord),
}

impl std::fmt::Display for Did {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switched { old, next } => write!(
                f,
                "{} signs from now on; {} signs nothing any more",
                next.name(),
                old.name()
            ),
            Self::Counted => f.write_str("the last certificate of the old key is known"),
            Self::TookOut(old) => write!(
                f,
                "everything that {} signed has ended: machines are told to trust it no more",
                old.name()
            ),
            Self::Retired(old) => write!(
                f,
                "{} is retired: nobody trusts it any more, and its private key file was overwritten and deleted (copies in \
                 backups, and old blocks of an SSD, may remain; a key in a token or an agent is yours to delete there)",
                old.name()
            ),
        }
    }
}

/// Who takes a step, and when.
struct Step<'a> {
    at_unix_ms: i64,
    now_unix: i64,
    actor: &'a Actor,
}

impl Step<'_> {
    fn change(&self, txn: &mut Txn<'_>, key: &KeyRecord, change: &str) {
        record::put(txn, key);
        note(txn, self.at_unix_ms, self.actor, key, change.to_owned());
    }

    /// The intents of this very transaction's past are all that the old key ever signs: whoever records another one after it
    /// finds that the keys have changed.
    fn switch(
        &self,
        txn: &mut Txn<'_>,
        purpose: Purpose,
        next: KeyRecord,
    ) -> Result<Did, ReadError> {
        let old = KeyRecord {
            life: Life::Retiring,
            signed_until_unix: Some(self.now_unix),
            ..current(txn, purpose)?
        };
        let next = KeyRecord {
            life: Life::Current,
            signs_since_unix: Some(self.now_unix),
            ..next
        };
        self.change(txn, &next, "signs from now on");
        self.change(txn, &old, "signs no more");
        Ok(Did::Switched { old, next })
    }

    fn count(&self, txn: &mut Txn<'_>, old: KeyRecord, last_expiry_unix: i64) -> Did {
        let old = KeyRecord {
            last_expiry_unix: Some(last_expiry_unix),
            ..old
        };
        self.change(txn, &old, "the end of its last certificate is known");
        Did::Counted
    }

    fn take_out(&self, txn: &mut Txn<'_>, old: KeyRecord) -> KeyRecord {
        let old = KeyRecord {
            left_unix: Some(self.now_unix),
            ..old
        };
        self.change(txn, &old, "nobody is told to trust it any longer");
        old
    }

    fn retire(
        &self,
        txn: &mut Txn<'_>,
        purpose: Purpose,
        old: KeyRecord,
    ) -> Result<Did, ReadError> {
        let old = KeyRecord {
            life: Life::Retired,
            ended_unix: Some(self.now_unix),
            ..old
        };
        self.change(txn, &old, "retired; its private half is deleted");
        let others = record::all(txn)?;
        let under_way = |one: &KeyRecord| {
            one.purpose == purpose && matches!(one.life, Life::Next | Life::Retiring)
        };
        if !others.iter().any(under_way) {
            record::end_rotation(txn, purpose);
        }
        Ok(Did::Retired(old))
    }
}

/// When the last certificate that a key signed ends: also of those that were only intended (I6). It signs no more, so
/// this is the last word. Every kind of certificate counts (K4).
fn last_expiry(ca: &Ca, old: &KeyRecord) -> Result<i64, ReadError> {
    let view = ca.db.snapshot()?;
    let fingerprint = old.fingerprint();
    let mut last = old.signed_until_unix.unwrap_or(old.made_unix);
    let mut broken = None;
    view.visit(
        Table::Certificates,
        &KeyRange::all(),
        Direction::Forward,
        &mut |_, value| match serde_json::from_slice::<CertificateRecord>(value) {
            Ok(record) => {
                if record.ca == fingerprint {
                    last = last.max(i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX));
                }
                std::ops::ControlFlow::Continue(())
            }
            Err(error) => {
                broken = Some(ReadError::decode(Table::Certificates, error));
                std::ops::ControlFlow::Break(())
            }
        },
    )?;
    broken.map_or(Ok(last), Err)
}
