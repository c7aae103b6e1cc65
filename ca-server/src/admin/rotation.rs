//! `ca list`, `ca rotate`, `ca compromise`, `ca retire`: the CA's own keys, as an admin sees and replaces them.

mod compromise;
mod tls;

use ca_api::{
    ApiError, ErrorCode,
    admin::{
        AdminEvent, AdminReply, CaKey, CaKeyView, CaKeys, DeliveryOutcome, MachineDelivery, Pace,
        RotationView, WaitsFor,
    },
};
use policies::MachineName;

use self::tls::tls_view;
use super::{Admin, Events, change::store_error, parse_all, unknown};
use crate::{
    fleet::{
        deliver::Lanes,
        keeper::{Push, managed, push},
        wanted,
    },
    keys::{KeyRecord, Keys, Life, Place, Purpose, record},
    ledger::Actor,
    records::{MachineStatus, SeenRecord, fleet},
    revoke::krl,
    rotate::{self, RotateError, Stage, Waiting, Wish, stage},
    store::{KeyRange, Read, ReadError, Snapshot, Table},
    tls::room::Step,
};

impl Admin {
    /// `ca list`.
    pub(super) fn ca_list(&self) -> Result<AdminReply, ApiError> {
        Ok(AdminReply::CaKeys(self.ca_keys()?))
    }

    /// `ca rotate`.
    pub(super) async fn ca_rotate(
        &self,
        actor: Actor,
        key: CaKey,
        leave_behind: &[String],
        pace: Pace,
        place: Option<Place>,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        if place.is_some() && key == CaKey::Tls {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "the TLS CA's key is always in a file of the data folder",
            )
            .hint("rotate it without --signer; to keep it elsewhere, bring a certificate of your own: [tls] in config.toml"));
        }
        let Some(purpose) = purpose(key) else {
            return self.tls(actor, Step::Rotate, leave_behind, events).await;
        };
        let wish = Wish {
            pace,
            place,
            leave_behind: self.known(leave_behind)?,
        };
        self.go_on(actor, purpose, wish, events).await
    }

    /// `ca retire`.
    pub(super) async fn ca_retire(
        &self,
        actor: Actor,
        key: &str,
        leave_behind: &[String],
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        if self.tls_named(key)? {
            return self.tls(actor, Step::Retire, leave_behind, events).await;
        }
        let old = self.find(key)?;
        let name = old.name();
        match old.life {
            Life::Retiring => {}
            Life::Next | Life::Current => {
                return Err(ApiError::new(
                    ErrorCode::Conflict,
                    format!("{name} is the {} key: another one has to sign first", old.life.word()),
                )
                .hint("`ca-server ca rotate` makes the next one and lets it sign; nothing was changed"));
            }
            Life::Retired | Life::Compromised => {
                return Err(ApiError::new(
                    ErrorCode::Conflict,
                    format!("{name} is {} already", old.life.word()),
                ));
            }
        }
        let plan = self
            .ca
            .db
            .read(|view| record::rotation(view, old.purpose))
            .map_err(read_error)?;
        let wish = Wish {
            pace: plan.map_or(Pace::Auto, |plan| plan.pace),
            place: None,
            leave_behind: self.known(leave_behind)?,
        };
        self.go_on(actor, old.purpose, wish, events).await
    }

    /// Takes the steps that may be taken: one, or all.
    async fn go_on(
        &self,
        actor: Actor,
        purpose: Purpose,
        wish: Wish,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let ca = &self.ca;
        let mut did = Vec::new();
        let mut machines = Vec::new();
        let pace = wish.pace;
        let begun = rotate::begin(ca, &actor, purpose, &wish)
            .await
            .map_err(rotate_error)?;
        let one_step_done = begun.is_some() && pace == Pace::Step;
        if let Some(begun) = begun {
            note(events, &begun).await;
            did.push(begun);
        }
        let mut steps_left = match (pace, one_step_done) {
            (Pace::Auto, _) => usize::MAX,
            (Pace::Step, true) => 0,
            (Pace::Step, false) => 1,
        };
        loop {
            // Whoever is waited for is asked now, and not when the keeper comes round.
            let waited: Vec<MachineName> = self
                .stage(purpose)?
                .map(|stage| names(&stage))
                .unwrap_or_default();
            if !waited.is_empty() {
                machines = self.spread(Some(waited), events).await?;
            }
            if steps_left == 0 {
                break;
            }
            let Some(done) = rotate::advance(ca, &actor, purpose)
                .await
                .map_err(rotate_error)?
            else {
                break;
            };
            steps_left -= 1;
            note(events, &done).await;
            did.push(done);
        }
        let keys = self.ca_keys()?;
        let waits = keys
            .rotations
            .iter()
            .any(|one| one.key == key_of(purpose) && !one.waits_for.is_empty());
        Ok(AdminReply::CaKeys(CaKeys {
            did,
            machines,
            waits,
            ..keys
        }))
    }

    /// Brings the newest KRL and configuration to machines, or to all; the answers are what they confirmed.
    async fn spread(
        &self,
        machines: Option<Vec<MachineName>>,
        events: &Events,
    ) -> Result<Vec<MachineDelivery>, ApiError> {
        let unavailable = |error: &dyn std::fmt::Display| {
            ApiError::new(ErrorCode::Unavailable, error.to_string())
                .hint("what was done so far is durable; mend this and give the command again: it goes on from here")
        };
        let krl = krl::current(&self.ca)
            .await
            .map_err(|error| unavailable(&error))?;
        wanted::refresh_all(&self.ca)
            .await
            .map_err(|error| unavailable(&error))?;
        let machines = match machines {
            Some(machines) => machines,
            None => managed(&self.ca)
                .map_err(read_error)?
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
        };
        let what = Push {
            machines,
            lanes: Lanes::Both,
            exposed_until_unix: None,
        };
        Ok(push(&self.courier, &krl, what, Some(events)).await)
    }

    fn stage(&self, purpose: Purpose) -> Result<Option<Stage>, ApiError> {
        let view = self.view()?;
        let keys = self
            .ca
            .key_room
            .at(&view)
            .map_err(|error| rotate_error(error.into()))?;
        let now = self.ca.clock.now().unix_timestamp();
        stage(&view, &keys, purpose, now).map_err(read_error)
    }

    fn view(&self) -> Result<Snapshot, ApiError> {
        self.ca.db.snapshot().map_err(read_error)
    }

    /// Machines that are named, each known.
    fn known(&self, names: &[String]) -> Result<Vec<MachineName>, ApiError> {
        let names: Vec<MachineName> = parse_all(names)?;
        let view = self.view()?;
        for name in &names {
            if !view
                .contains(Table::Fleet, name.as_str().as_bytes())
                .map_err(read_error)?
            {
                return Err(unknown("machine", name, "machine"));
            }
        }
        Ok(names)
    }

    /// A key by its name or fingerprint.
    fn find(&self, key: &str) -> Result<KeyRecord, ApiError> {
        let all = record::all(&self.view()?).map_err(read_error)?;
        all.into_iter()
            .find(|one| {
                let first = one.number == 1 && key == format!("{}.1", one.name());
                first || one.name() == key || one.fingerprint() == key
            })
            .ok_or_else(|| unknown("key", key, "ca"))
    }

    fn ca_keys(&self) -> Result<CaKeys, ApiError> {
        let view = self.view()?;
        let now = self.ca.clock.now().unix_timestamp();
        let seen = seen(&view).map_err(read_error)?;
        let records = record::all(&view).map_err(read_error)?;
        let keys = self
            .ca
            .key_room
            .at(&view)
            .map_err(|error| rotate_error(error.into()))?;
        let mut rotations = Vec::new();
        for purpose in Purpose::ALL {
            let plan = record::rotation(&view, purpose).map_err(read_error)?;
            if let Some(stage) = stage(&view, &keys, purpose, now).map_err(read_error)? {
                rotations.push(rotation(purpose, &stage, plan));
            }
        }
        rotations.extend(self.tls_rotation(&view)?);
        let tls = self.ca.tls.generations(&self.ca.db).map_err(read_error)?;
        let all = records.iter().map(|one| key_view(one, &seen, &keys));
        Ok(CaKeys {
            keys: all.chain(tls.iter().map(tls_view)).collect(),
            rotations,
            ..CaKeys::default()
        })
    }
}

fn key_view(record: &KeyRecord, seen: &[SeenRecord], keys: &Keys) -> CaKeyView {
    let fingerprint = record.fingerprint();
    let trusts = |seen: &&SeenRecord| match record.purpose {
        Purpose::UserCa => seen.trusts.contains(&fingerprint),
        Purpose::HostCa => seen.host_ca == fingerprint,
        Purpose::Fleet => seen.fleet_keys.contains(&fingerprint),
    };
    CaKeyView {
        name: record.name(),
        life: record.life.word().to_owned(),
        made_unix: record.made_unix,
        signs_since_unix: record.signs_since_unix,
        signed_until_unix: record.signed_until_unix,
        last_expiry_unix: record.last_expiry_unix,
        ended_unix: record.ended_unix,
        trusted_by: seen.iter().filter(trusts).count(),
        machines: seen.len(),
        signer: keys
            .ring(record.purpose)
            .find(&fingerprint)
            .and_then(|held| held.signer())
            .map_or(String::new(), |signer| signer.back_end()),
        fingerprint,
    }
}

/// What was heard of each machine in the CA's keeping.
fn seen(view: &Snapshot) -> Result<Vec<SeenRecord>, ReadError> {
    let all: std::collections::BTreeMap<Vec<u8>, SeenRecord> = view
        .scan_json(Table::Seen, &KeyRange::all(), usize::MAX)?
        .into_iter()
        .collect();
    Ok(fleet(view)?
        .into_iter()
        .filter(|(_, record)| record.status == MachineStatus::Managed)
        .map(|(name, _)| {
            all.get(name.as_str().as_bytes())
                .cloned()
                .unwrap_or_default()
        })
        .collect())
}

fn rotation(purpose: Purpose, at: &Stage, plan: Option<record::RotationRecord>) -> RotationView {
    let stage = match (at, purpose) {
        (Stage::Announced { next, .. }, Purpose::HostCa) => format!(
            "{} is in the known_hosts of whoever logs in or renews, and signs when every live session has it",
            next.name()
        ),
        (Stage::Announced { next, .. }, _) => format!(
            "{} is announced, and signs when every machine has confirmed that it trusts it",
            next.name()
        ),
        (Stage::Retiring { old, .. }, Purpose::HostCa) => format!(
            "machines get certificates by the new key; {} is trusted until all of them show one",
            old.name()
        ),
        (Stage::Retiring { old, .. }, _) => format!(
            "{} signs no more, and is trusted until its last certificate has ended",
            old.name()
        ),
        (Stage::Leaving { old, .. }, Purpose::Fleet) => format!(
            "{} signs no more, and is retired when every machine goes by the new one",
            old.name()
        ),
        (Stage::Leaving { old, .. }, _) => format!(
            "machines are told to trust {} no more; it is retired when all have confirmed",
            old.name()
        ),
    };
    RotationView {
        key: key_of(purpose),
        pace: plan.as_ref().map_or(Pace::Step, |plan| plan.pace),
        stage,
        waits_for: at.waits().iter().map(waits_for).collect(),
        leave_behind: plan
            .map(|plan| plan.leave_behind.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        until_unix: at.until_unix(),
    }
}

fn waits_for(one: &Waiting) -> WaitsFor {
    WaitsFor {
        who: one.who.clone(),
        why: one.why.clone(),
    }
}

/// The machines among those who are waited for: employees have emails.
fn names(stage: &Stage) -> Vec<MachineName> {
    let waits = stage.waits().iter();
    waits.filter_map(|one| one.who.parse().ok()).collect()
}

fn missed(machines: &[MachineDelivery]) -> Option<String> {
    let missed: Vec<&str> = machines
        .iter()
        .filter(|one| matches!(one.outcome, DeliveryOutcome::NotReached { .. }))
        .map(|one| one.machine.as_str())
        .collect();
    (!missed.is_empty()).then(|| missed.join(", "))
}

/// What the key signs; `None` for the TLS CA, which is no ssh key.
const fn purpose(key: CaKey) -> Option<Purpose> {
    match key {
        CaKey::User => Some(Purpose::UserCa),
        CaKey::Host => Some(Purpose::HostCa),
        CaKey::Fleet => Some(Purpose::Fleet),
        CaKey::Tls => None,
    }
}

const fn key_of(purpose: Purpose) -> CaKey {
    match purpose {
        Purpose::UserCa => CaKey::User,
        Purpose::HostCa => CaKey::Host,
        Purpose::Fleet => CaKey::Fleet,
    }
}

async fn note(events: &Events, text: &str) {
    // Whoever asked may be gone: the work goes on.
    drop(
        events
            .send(AdminEvent::Note {
                text: text.to_owned(),
            })
            .await,
    );
}

fn read_error(error: ReadError) -> ApiError {
    store_error(&error.into())
}

fn rotate_error(error: RotateError) -> ApiError {
    match error {
        RotateError::Store(error) => store_error(&error),
        error @ (RotateError::Keys(_)
        | RotateError::Fleet(_)
        | RotateError::Elsewhere(_)
        | RotateError::Stopping) => ApiError::new(ErrorCode::Unavailable, error.to_string())
            .hint("what was done before is durable; `ca-server ca list` shows how it stands"),
    }
}
