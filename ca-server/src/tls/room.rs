//! The TLS that is in force: what the server shows, whose fingerprint is given out, and the CA's replacement while the server runs.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use time::OffsetDateTime;

use super::{
    Tls, TlsError, forget,
    lives::{self, Generation},
    own,
};
use crate::{
    ca::{Ca, unix_ms},
    config::{Config, OwnTls},
    folder::{Folder, Others, check_outside},
    http::accept::TlsInForce,
    keys::{KeysError, Life, Seal},
    ledger::{Actor, Event},
    store::{Db, ReadError, StoreError, WriteError},
};

/// The TLS CA could not be replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The server shows an operator's certificate.
    #[error(
        "this server shows a certificate of your own ([tls] in config.toml), so there is no TLS CA of its own to replace"
    )]
    Operators,
    /// None of them retires.
    #[error("no TLS CA before the current one is trusted any more, so there is nothing to retire")]
    NothingRetires,
    /// A file or a certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The CA's other keys, whose table this is too.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for ReplaceError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

impl From<WriteError<ReadError>> for ReplaceError {
    fn from(error: WriteError<ReadError>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Store(error) => error.into(),
        }
    }
}

/// Whose certificate is shown.
enum Source {
    /// The server's own TLS CA.
    Own { folder: Folder, seal: Arc<Seal> },
    /// An operator's.
    Operators(OwnTls),
}

struct Now {
    tls: Option<Tls>,
    fingerprint: String,
}

/// What the server shows, and what it is made of.
pub struct TlsRoom {
    source: Source,
    names: Vec<String>,
    shown: TlsInForce,
    now: RwLock<Now>,
    /// One replacement at a time.
    changing: tokio::sync::Mutex<()>,
}

impl TlsRoom {
    /// Opens what is in force, and deletes what a server that died did not come to delete.
    ///
    /// # Errors
    /// When a file is missing, or a name is none.
    pub fn open(
        folder: &Folder,
        config: &Config,
        seal: Arc<Seal>,
        db: &Db,
        now: OffsetDateTime,
    ) -> Result<Self, ReplaceError> {
        let (source, shown, state) = match &config.tls {
            Some(files) => {
                check_outside(&files.key, Others::GroupReads).map_err(TlsError::from)?;
                let (shown, fingerprint) = own(&files.chain, &files.key)?;
                let state = Now {
                    tls: None,
                    fingerprint,
                };
                (Source::Operators(files.clone()), shown, state)
            }
            None => {
                let all = db.read(lives::all)?;
                for old in all.iter().filter(|one| ended(one)) {
                    forget(folder, old.number)?;
                }
                let tls = Tls::open(folder, &seal, &lives::line(&all))?;
                let shown = tls.leaf(&config.names, now)?;
                let folder = folder.clone();
                (Source::Own { folder, seal }, shown, Now::of(tls))
            }
        };
        Ok(Self {
            source,
            names: config.names.clone(),
            shown: Arc::new(RwLock::new(shown)),
            now: RwLock::new(state),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// What employees pin, as it is given out from now on.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.read().fingerprint.clone()
    }

    /// The TLS CA and those before it that count still, PEM: what machines that fetch check this server with; `None` with an operator's own
    /// certificate.
    #[must_use]
    pub fn pem(&self) -> Option<String> {
        self.read().tls.as_ref().map(Tls::pem)
    }

    /// The TLS CA that signs, PEM; `None` with an operator's own certificate.
    #[must_use]
    pub fn newest(&self) -> Option<String> {
        self.read().tls.as_ref().map(Tls::newest)
    }

    /// The TLS CA, PEM, while it is taking another one's place: what clients are to learn.
    #[must_use]
    pub fn announced(&self) -> Option<String> {
        self.read().tls.as_ref().and_then(Tls::announced)
    }

    /// What the server shows in every handshake.
    #[must_use]
    pub fn shown(&self) -> TlsInForce {
        Arc::clone(&self.shown)
    }

    /// Shows a new leaf, or what the operator's files hold by now.
    ///
    /// # Errors
    /// When there is none; the last one stays.
    pub fn renew(&self, now: OffsetDateTime) -> Result<(), TlsError> {
        let config = match &self.source {
            Source::Operators(files) => own(&files.chain, &files.key)?.0,
            Source::Own { .. } => match &self.read().tls {
                Some(tls) => tls.leaf(&self.names, now)?,
                None => return Ok(()),
            },
        };
        self.show(config);
        Ok(())
    }

    fn show(&self, config: Arc<ServerConfig>) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the store says.
    fn refresh(&self, db: &Db, now: OffsetDateTime) -> Result<(), ReplaceError> {
        let Source::Own { folder, seal } = &self.source else {
            return Ok(());
        };
        let tls = Tls::open(folder, seal, &lives::line(&db.read(lives::all)?))?;
        let config = tls.leaf(&self.names, now)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Now::of(tls);
        self.show(config);
        Ok(())
    }

    /// Every generation, also of a store that knows of the first alone.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn generations(&self, db: &Db) -> Result<Vec<Generation>, ReadError> {
        let mut all = db.read(lives::all)?;
        if all.is_empty() && matches!(self.source, Source::Own { .. }) {
            all.push(Generation::current(1, self.fingerprint(), 0));
        }
        Ok(all)
    }
}

impl Now {
    fn of(tls: Tls) -> Self {
        Self {
            fingerprint: tls.fingerprint(),
            tls: Some(tls),
        }
    }
}

fn ended(one: &Generation) -> bool {
    matches!(one.life, Life::Retired | Life::Compromised)
}

/// What is done with the TLS CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another one takes its place, and is signed by it. Where that is under way already, nothing more is done.
    Rotate,
    /// Those before it are of no use any more.
    Retire,
    /// Somebody else may have it: another one takes its place that it does not vouch for.
    Compromise,
    /// Somebody else may have this one, which signs no more: it and those before it are of no use any more.
    CompromiseOne(u32),
}

/// Takes a step: durable, and shown from the next handshake on, when it returns. What signs then.
///
/// # Errors
/// See [`ReplaceError`].
pub async fn take(ca: &Ca, actor: &Actor, step: Step) -> Result<Generation, ReplaceError> {
    let room = &ca.tls;
    let Source::Own { folder, seal } = &room.source else {
        return Err(ReplaceError::Operators);
    };
    let _one_at_a_time = room.changing.lock().await;
    let now = ca.clock.now();
    let now_unix = now.unix_timestamp();
    let mut all = room.generations(&ca.db)?;
    if step == Step::Retire && !all.iter().any(|one| one.life == Life::Retiring) {
        return Err(ReplaceError::NothingRetires);
    }
    if step == Step::Rotate && all.iter().any(|one| one.life == Life::Retiring) {
        return Ok(signs(all));
    }
    let line = lives::line(&all);
    let number = all.iter().map(|one| one.number).max().unwrap_or(1) + 1;
    // On the disk before the store names it: a server that dies in between makes it anew.
    let made = match step {
        Step::Rotate => {
            let old = Tls::open(folder, seal, &line)?;
            Some(old.make_successor(folder, seal, number, now)?)
        }
        Step::Compromise => Some(Tls::make(folder, seal, number, now)?),
        Step::Retire | Step::CompromiseOne(_) => None,
    };
    let mut changes = Vec::new();
    for one in &mut all {
        let life = match (step, one.life) {
            (Step::Rotate, Life::Current) => Life::Retiring,
            (Step::Compromise, Life::Current) => Life::Compromised,
            (Step::CompromiseOne(number), Life::Retiring | Life::Retired)
                if one.number == number =>
            {
                Life::Compromised
            }
            (Step::CompromiseOne(number), Life::Retiring) if one.number < number => Life::Retired,
            // They vouch for the one that is somebody else's.
            (Step::Retire | Step::Compromise, Life::Retiring) => Life::Retired,
            (_, life) => life,
        };
        if life == one.life {
            continue;
        }
        if one.life == Life::Current {
            one.signed_until_unix = Some(now_unix);
        }
        if life != Life::Retiring {
            one.ended_unix = Some(now_unix);
        }
        one.life = life;
        changes.push((one.clone(), format!("{} from now on", life.word())));
    }
    if let Some(made) = &made {
        let new = Generation::current(number, made.fingerprint(), now_unix);
        changes.push((
            new.clone(),
            "signs what the server shows from now on".to_owned(),
        ));
        all.push(new);
    }
    if changes.is_empty() {
        return Ok(signs(all));
    }
    let (at, actor, stored) = (unix_ms(now), actor.clone(), all.clone());
    let committed = ca
        .db
        .write_async(move |txn| {
            lives::put(txn, &stored);
            for (one, change) in &changes {
                txn.record(
                    at,
                    &actor,
                    &Event::CaKeyChanged {
                        key: one.name(),
                        fingerprint: one.fingerprint.clone(),
                        change: change.clone(),
                    },
                );
            }
            Ok::<_, ReadError>(())
        })
        .await;
    // Also where it is not known how the commit ended: what the store says counts.
    room.refresh(&ca.db, now)?;
    ca.key_room.refresh(&ca.db)?;
    committed?;
    // Machines that fetch are told what to check this server with.
    ca.fleet_changed.notify_one();
    for old in all.iter().filter(|one| ended(one)) {
        forget(folder, old.number)?;
    }
    Ok(signs(all))
}

fn signs(all: Vec<Generation>) -> Generation {
    let current = all.into_iter().find(|one| one.life == Life::Current);
    current.expect("each step leaves one that signs")
}
