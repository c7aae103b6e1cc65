//! One machine, one round trip: bring what it lacks, and read back what it now has.

mod judged;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ca_api::admin::{DeliveryOutcome, MachineDelivery};
use ca_machine::{
    Delivery, HostKey, Limits, Login, Namespace, Nonce, Report, Request, Target, exchange,
    report::{Event as MachineEvent, SessionState},
    spec::SYNC_ACCOUNT,
};
use policies::MachineName;
use ssh_key::{Certificate, HashAlg, PublicKey};

pub(crate) use judged::Failure;
use judged::{Cause, KrlThere, Reached, proven, settled};

pub use super::schedule::Lanes;
use super::{agent::SyncAgent, courier::Attempt, kept::Kept, succession, wanted};
use crate::{
    ca::Ca,
    keys::record::fingerprint,
    records::{FleetRecord, KrlRecord, MachineStatus, SeenRecord},
    recovery::{self, merge},
    revoke::krl,
    store::{Read, ReadError, Table},
};

/// How long a machine waits for the confirmation of an apply before it puts everything back.
const CONFIRM_WITHIN: Duration = Duration::from_secs(120);

/// The way to a machine as `ssh-ca-sync`, its host key pinned (H7).
///
/// # Errors
/// When the stored host key cannot be read.
pub fn target(ca: &Ca, agent: &SyncAgent, record: &FleetRecord) -> Result<Target, ssh_key::Error> {
    Ok(Target {
        address: record.address.clone(),
        port: record.port,
        user: SYNC_ACCOUNT.to_owned(),
        login: Login::Agent {
            socket: Some(agent.socket().to_owned()),
            key: Some(Box::new(ca.keys().sync.public_key().clone())),
        },
        jump: None,
        host_key: HostKey::Pinned(Box::new(PublicKey::from_openssh(&record.host_key)?)),
    })
}

/// The limits of one exchange, by configuration.
#[must_use]
pub fn limits(ca: &Ca) -> Limits {
    let whole = Duration::from_secs(ca.config.sync.timeout_secs);
    Limits {
        connect: whole.min(Duration::from_secs(10)),
        request: whole,
    }
}

/// The ways to machines.
pub struct Ways {
    /// What signs the logins.
    pub agent: Arc<SyncAgent>,
    /// Connections that are open.
    pub kept: Kept,
}

/// Brings the KRL, and with [`Lanes::Both`] the bundle, and reads back what the machine's own OpenSSH says.
pub async fn deliver(
    ca: &Ca,
    ways: &Ways,
    machine: &MachineName,
    record: &FleetRecord,
    krl: &Arc<KrlRecord>,
    lanes: Lanes,
) -> Attempt {
    let began = Instant::now();
    let mut seen = seen(ca, machine).unwrap_or_default();
    let mut wanted = Wanted {
        krl: Arc::clone(krl),
        record: record.clone(),
        goes_by: seen.fleet_keys.clone(),
    };
    let mut answered = true;
    let mut tries = 1;
    let mut ready = first_read(ca, ways, machine, &mut wanted).await;
    let outcome = loop {
        let tried = match std::mem::replace(&mut ready, Ok(())) {
            Ok(()) => attempt(ca, ways, machine, &wanted, lanes).await,
            Err(failure) => break Err(failure),
        };
        match tried {
            Err(failure) if tries < TRIES && wanted.may_pass(ca, machine, &failure).await => {
                tries += 1;
            }
            outcome => break outcome,
        }
    };
    let krl = &wanted.krl;
    let outcome = match outcome {
        Ok(done) => {
            seen.krl_version = krl.version;
            seen.krl_covers = krl.covers;
            seen.krl_ca_keys.clone_from(&krl.ca_keys);
            if let Some(generation) = done.generation {
                applied(&mut seen, generation, &wanted.record);
            }
            seen.last_seen_unix = Some(ca.clock.now().unix_timestamp());
            seen.fleet_keys.clone_from(&done.goes_by);
            seen.trouble = String::new();
            Ok(done)
        }
        Err(failure) => {
            answered = failure.reached == Reached::Yes;
            if let Some(goes_by) = failure.goes_by {
                seen.fleet_keys = goes_by;
            }
            if let Some(stands) = failure.stands {
                // It answered, and did not do all that was asked: a refused bundle takes nothing from a KRL that is there (R10).
                seen.last_seen_unix = Some(ca.clock.now().unix_timestamp());
                if let Some(generation) = stands.generation {
                    applied(&mut seen, generation, &wanted.record);
                }
                if stands.krl == KrlThere::Proven {
                    seen.krl_version = krl.version;
                    seen.krl_covers = krl.covers;
                    seen.krl_ca_keys.clone_from(&krl.ca_keys);
                }
            }
            seen.trouble.clone_from(&failure.reason);
            Err(failure.reason)
        }
    };
    let (outcome, changes) = match outcome {
        Ok(done) => (
            DeliveryOutcome::Proven {
                krl_version: krl.version,
                generation: done.generation.unwrap_or(seen.generation),
                sessions_ended: done.sessions_ended,
                sessions_open: done.sessions_open,
            },
            done.changes,
        ),
        Err(reason) => (
            DeliveryOutcome::NotReached {
                reason,
                krl_version: seen.krl_version,
                exposed_until_unix: None,
            },
            Vec::new(),
        ),
    };
    Attempt {
        delivery: MachineDelivery {
            machine: machine.to_string(),
            outcome,
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            changes,
        },
        seen,
        answered,
    }
}

/// What follows from the generation that a machine says it has applied: what that one told it to trust, if it is known.
/// One that is neither the last that was seen there nor the one that is wanted may be a roll-back: then nothing is known.
pub(super) fn applied(seen: &mut SeenRecord, generation: u64, record: &FleetRecord) {
    if generation == record.generation {
        seen.trusts.clone_from(&record.trusts);
        seen.host_ca = host_ca(record);
    } else if generation != seen.generation {
        seen.trusts.clear();
        seen.host_ca.clear();
    }
    seen.generation = generation;
}

/// The key that signed the machine's host certificate (`SHA256:…`); empty if it has none.
#[must_use]
pub fn host_ca(record: &FleetRecord) -> String {
    Certificate::from_openssh(&record.host_certificate).map_or_else(
        |_| String::new(),
        |certificate| {
            let key = certificate.signature_key();
            key.fingerprint(HashAlg::Sha256).to_string()
        },
    )
}

/// After a restore: what the machine holds is taken over before anything is brought to it.
async fn first_read(
    ca: &Ca,
    ways: &Ways,
    machine: &MachineName,
    wanted: &mut Wanted,
) -> Result<(), Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let unread = ca.db.read(|view| recovery::is_unread(view, machine));
    if !unread.map_err(|error: ReadError| wrong(&error))? {
        return Ok(());
    }
    let target = target(ca, &ways.agent, &wanted.record).map_err(|error| wrong(&error))?;
    merge::read_back(ca, &ways.kept, machine, &target).await?;
    wanted.renew(ca, machine).await;
    Ok(())
}

struct Done {
    goes_by: Vec<String>,
    /// What is applied and stays; absent while it may still be put back.
    generation: Option<u64>,
    sessions_ended: Vec<String>,
    sessions_open: Vec<String>,
    changes: Vec<String>,
}

/// How often a delivery is tried where others come between: two admins, or an admin and the keeper, bring something at the same time.
const TRIES: u32 = 3;

/// What is brought, as the store has it: it may become newer while it is on its way.
struct Wanted {
    krl: Arc<KrlRecord>,
    record: FleetRecord,
    /// The fleet keys that the machine goes by, as far as is known.
    goes_by: Vec<String>,
}

impl Wanted {
    /// Is another try worth it? What is newer by now is what it brings: a newer KRL has all that the older one had.
    async fn may_pass(&mut self, ca: &Ca, machine: &MachineName, failure: &Failure) -> bool {
        match failure.cause {
            Cause::Lasting => false,
            // Put back to an older disk, or led on by somebody else meanwhile: now that it has said what it goes by, there may be a way.
            Cause::OtherFleetKey => match &failure.goes_by {
                Some(goes_by) if *goes_by != self.goes_by => {
                    self.goes_by.clone_from(goes_by);
                    true
                }
                _ => false,
            },
            Cause::Busy => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                self.renew(ca, machine).await;
                true
            }
            Cause::Overtaken => {
                let before = (self.krl.version, self.record.generation);
                self.renew(ca, machine).await;
                (self.krl.version, self.record.generation) != before
            }
        }
    }

    /// What cannot be read stays as it was.
    async fn renew(&mut self, ca: &Ca, machine: &MachineName) {
        if let Ok(krl) = krl::current(ca).await {
            self.krl = Arc::new(krl);
        }
        if let Ok(Some(record)) = current_record(ca, machine) {
            self.record = record;
        }
    }
}

/// The machine's record as it is now.
///
/// # Errors
/// If the store cannot be read.
pub fn current_record(ca: &Ca, machine: &MachineName) -> Result<Option<FleetRecord>, ReadError> {
    ca.db
        .read(|view| view.get_json(Table::Fleet, machine.as_str().as_bytes()))
}

async fn attempt(
    ca: &Ca,
    ways: &Ways,
    machine: &MachineName,
    wanted: &Wanted,
    lanes: Lanes,
) -> Result<Done, Failure> {
    let (record, krl) = (&wanted.record, &wanted.krl);
    let wrong = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let target = target(ca, &ways.agent, record).map_err(|error| wrong(&error))?;
    let limits = limits(ca);
    // Taken once: what is signed, and what leads to the key that signs, belong together.
    let keys = ca.keys();
    let chain = succession::chain(ca, &keys).map_err(|error| wrong(&error))?;
    let parcel = wanted::signed(&keys, Namespace::Krl, &krl.parcel, &krl.signature)
        .map_err(|error| wrong(&error))?;
    let bundle = match lanes {
        Lanes::Krl => None,
        Lanes::Both if record.status == MachineStatus::Leaving => None,
        // A bundle that cannot be used keeps no KRL from its machine (R10); it counts as behind, and is tried again.
        Lanes::Both => wanted::signed_bundle(&keys, record)
            .inspect_err(|error| tracing::error!(%error, "only the KRL is brought"))
            .ok(),
    };
    let nonce = Nonce::random();
    let request = Request::Apply {
        delivery: Delivery {
            successions: chain.onward(&wanted.goes_by),
            krl: Some(parcel),
            bundle,
            first: None,
        },
        nonce,
        confirm_within: CONFIRM_WITHIN,
    };
    let report = ways
        .kept
        .ask(machine, &target, &request, &limits)
        .await
        .map_err(|error| Failure::unanswered(&error))?;
    let goes_by = goes_by(&report);
    proven(&report, krl).map_err(|failure| {
        let lost = failure.cause == Cause::OtherFleetKey
            && goes_by.as_ref().is_some_and(|keys| !chain.begins_at(keys));
        Failure {
            reason: if lost {
                astray(machine)
            } else {
                failure.reason
            },
            goes_by: goes_by.clone(),
            ..failure
        }
    })?;
    let mut generation = settled(&report);
    // Only what this delivery brought: a change that waits for somebody else's proofs is theirs to confirm (H2, R10).
    if report.awaiting() == Some(nonce) {
        let brought = report.state().map_or(0, |state| state.applied_generation);
        // A new connection: that it can be made is what the machine waits to see (H1, H2).
        confirm(&target, &limits, nonce, brought).await?;
        generation = Some(brought);
    }
    Ok(Done {
        goes_by: goes_by.unwrap_or_default(),
        generation,
        sessions_ended: named(&report, &[SessionState::Ended]),
        sessions_open: named(&report, &[SessionState::Open, SessionState::Unknown]),
        changes: changes(&report),
    })
}

/// The fleet keys that the machine says it goes by; `None` where it does not say.
pub(super) fn goes_by(report: &Report) -> Option<Vec<String>> {
    let state = report.state()?;
    Some(state.trusted().iter().map(fingerprint).collect())
}

/// The CA's word does not reach it any more, and must not: an admin's own login does.
fn astray(machine: &MachineName) -> String {
    format!(
        "it goes by another fleet key, from which nothing leads to the one in force: run `bootstrap add-machine {machine} --resync`"
    )
}

/// How often a confirmation is tried: sshd closes its listener for a moment when it is reloaded.
const CONFIRM_TRIES: u32 = 4;

/// Confirms an apply over a fresh login.
async fn confirm(
    target: &Target,
    limits: &Limits,
    nonce: Nonce,
    generation: u64,
) -> Result<(), Failure> {
    let mut tries = 1;
    let confirmed = loop {
        match exchange(target, &Request::Confirm(nonce), limits).await {
            Ok(report) => break report,
            Err(_) if tries < CONFIRM_TRIES => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => {
                return Err(Failure::new(format!(
                    "it took the new configuration, but not a fresh login ({error}): it puts the old one back by itself"
                )));
            }
        }
    };
    match confirmed.refusal() {
        None => Ok(()),
        // The confirmation may have come through, and only its answer was lost.
        Some(("nothing-pending", _)) if stands_at(target, limits, generation).await => Ok(()),
        Some((code, detail)) => Err(Failure::new(format!(
            "it did not take the confirmation ({code}): {detail}"
        ))),
    }
}

/// Whether the machine says that this generation is applied and waits for nothing.
async fn stands_at(target: &Target, limits: &Limits, generation: u64) -> bool {
    let report = exchange(target, &Request::Report, limits).await;
    report.is_ok_and(|report| {
        report.awaiting().is_none()
            && report
                .state()
                .is_some_and(|state| state.applied_generation == generation)
    })
}

fn named(report: &Report, states: &[SessionState]) -> Vec<String> {
    report
        .sessions()
        .filter(|session| states.contains(&session.state))
        .map(|session| {
            let who = match (session.account.as_str(), session.key_id.as_str()) {
                ("", _) => "unknown".to_owned(),
                (account, "") => account.to_owned(),
                (account, key_id) => format!("{account} ({key_id})"),
            };
            format!("{who}, pid {}", session.pid)
        })
        .collect()
}

/// What changed on the machine, a line each.
#[must_use]
pub fn changes(report: &Report) -> Vec<String> {
    report
        .events
        .iter()
        .filter_map(|event| match event {
            MachineEvent::File { path, change } => Some(format!("{path} {change}")),
            MachineEvent::Account { name, change } => Some(format!("account {name} {change}")),
            _ => None,
        })
        .collect()
}

/// What was last heard of a machine.
///
/// # Errors
/// If the store cannot be read.
pub fn seen(ca: &Ca, machine: &MachineName) -> Result<SeenRecord, ReadError> {
    ca.db.read(|view| {
        let seen: Option<SeenRecord> = view.get_json(Table::Seen, machine.as_str().as_bytes())?;
        Ok(seen.unwrap_or_default())
    })
}
