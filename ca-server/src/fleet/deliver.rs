//! One machine, one round trip: bring what it lacks, and read back what it now has.

use std::time::{Duration, Instant};

use ca_api::admin::{DeliveryOutcome, MachineDelivery};
use ca_machine::{
    Delivery, HostKey, Limits, Login, Namespace, Nonce, Report, Request, Target, exchange,
    report::{Event as MachineEvent, SessionState},
    spec::SYNC_ACCOUNT,
};
use policies::MachineName;
use ssh_key::PublicKey;

use super::{agent::SyncAgent, wanted};
use crate::{
    ca::Ca,
    records::{FleetRecord, KrlRecord, SeenRecord},
    store::{Read, ReadError, Table},
};

/// How long a machine waits for the confirmation of an apply before it puts everything back.
const CONFIRM_WITHIN: Duration = Duration::from_secs(120);

/// What to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lanes {
    /// The KRL alone: depends on nothing in the configuration (R10).
    Krl,
    /// The KRL, then the bundle.
    Both,
}

/// What an attempt came to.
pub struct Attempt {
    /// For people.
    pub delivery: MachineDelivery,
    /// For the store.
    pub seen: SeenRecord,
}

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
            key: Some(Box::new(ca.keys.sync.public_key().clone())),
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

/// Brings the KRL, and with [`Lanes::Both`] the bundle, and reads back what the machine's own OpenSSH says.
pub async fn deliver(
    ca: &Ca,
    agent: &SyncAgent,
    machine: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
    lanes: Lanes,
    exposed_until_unix: Option<i64>,
) -> Attempt {
    let began = Instant::now();
    let mut seen = seen(ca, machine).unwrap_or_default();
    let outcome = match attempt(ca, agent, record, krl, lanes).await {
        Ok(done) => {
            seen.krl_version = krl.version;
            seen.generation = done.generation;
            seen.last_seen_unix = Some(ca.clock.now().unix_timestamp());
            seen.trouble = String::new();
            Ok(done)
        }
        Err(failure) => {
            if let Some(stands) = failure.stands {
                // It answered, and did not do all that was asked: a refused bundle takes nothing from a KRL that is there (R10).
                seen.last_seen_unix = Some(ca.clock.now().unix_timestamp());
                seen.generation = stands.generation;
                if stands.krl == KrlThere::Proven {
                    seen.krl_version = krl.version;
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
                generation: done.generation,
                sessions_ended: done.sessions_ended,
                sessions_open: done.sessions_open,
            },
            done.changes,
        ),
        Err(reason) => (
            DeliveryOutcome::NotReached {
                reason,
                krl_version: seen.krl_version,
                exposed_until_unix,
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
    }
}

struct Done {
    generation: u64,
    sessions_ended: Vec<String>,
    sessions_open: Vec<String>,
    changes: Vec<String>,
}

struct Failure {
    reason: String,
    stands: Option<Stands>,
}

/// Where a machine stands that did not do all that was asked.
#[derive(Debug, Clone, Copy)]
struct Stands {
    generation: u64,
    krl: KrlThere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KrlThere {
    Proven,
    NotProven,
}

impl Failure {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            stands: None,
        }
    }
}

async fn attempt(
    ca: &Ca,
    agent: &SyncAgent,
    record: &FleetRecord,
    krl: &KrlRecord,
    lanes: Lanes,
) -> Result<Done, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let target = target(ca, agent, record).map_err(|error| wrong(&error))?;
    let limits = limits(ca);
    let parcel = wanted::signed(ca, Namespace::Krl, &krl.parcel, &krl.signature)
        .map_err(|error| wrong(&error))?;
    let bundle = match lanes {
        Lanes::Krl => None,
        // A bundle that cannot be used keeps no KRL from its machine (R10); it counts as behind, and is tried again.
        Lanes::Both => wanted::signed_bundle(ca, record)
            .inspect_err(|error| tracing::error!(%error, "only the KRL is brought"))
            .ok(),
    };
    let request = Request::Apply {
        delivery: Delivery {
            krl: Some(parcel),
            bundle,
            first: None,
        },
        nonce: Nonce::random(),
        confirm_within: CONFIRM_WITHIN,
    };
    let report = exchange(&target, &request, &limits)
        .await
        .map_err(|error| wrong(&error))?;
    proven(&report, krl)?;
    let generation = report.state().map_or(0, |state| state.applied_generation);
    if let Some(nonce) = report.awaiting() {
        // A new connection: that it can be made is what the machine waits to see (H1, H2).
        let confirmed = confirm(&target, &limits, nonce).await?;
        if let Some((code, detail)) = confirmed.refusal() {
            return Err(Failure::new(format!(
                "it did not take the confirmation ({code}): {detail}"
            )));
        }
    }
    Ok(Done {
        generation,
        sessions_ended: named(&report, &[SessionState::Ended]),
        sessions_open: named(&report, &[SessionState::Open, SessionState::Unknown]),
        changes: changes(&report),
    })
}

/// How often a confirmation is tried: sshd closes its listener for a moment when it is reloaded.
const CONFIRM_TRIES: u32 = 4;

/// Confirms an apply over a fresh login. Where only the answer was lost, the next try hears that nothing is pending: told as a failure, and
/// the next round reads where the machine stands.
async fn confirm(target: &Target, limits: &Limits, nonce: Nonce) -> Result<Report, Failure> {
    let mut tries = 1;
    loop {
        match exchange(target, &Request::Confirm(nonce), limits).await {
            Ok(report) => return Ok(report),
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
    }
}

/// Is this KRL what the machine's own OpenSSH reads and obeys, and did the machine do what was asked?
fn proven(report: &Report, krl: &KrlRecord) -> Result<(), Failure> {
    let state = report
        .state()
        .ok_or_else(|| Failure::new("it did not say where it stands"))?;
    let there = state.krl_version == krl.version
        && state.krl_canaries == "ok"
        && state.krl_sha256 == krl.krl_sha256;
    let fail = |reason: String| Failure {
        reason,
        stands: Some(Stands {
            generation: state.applied_generation,
            krl: if there {
                KrlThere::Proven
            } else {
                KrlThere::NotProven
            },
        }),
    };
    if let Some((code, detail)) = report.refusal() {
        return Err(fail(format!("it refused ({code}): {detail}")));
    }
    if state.krl_version != krl.version {
        return Err(fail(format!(
            "it has KRL {} instead of {}",
            state.krl_version, krl.version
        )));
    }
    if state.krl_canaries != "ok" {
        return Err(fail(format!(
            "its own OpenSSH does not judge the canaries as it must ({})",
            state.krl_canaries
        )));
    }
    if state.krl_sha256 != krl.krl_sha256 {
        return Err(fail(
            "the KRL that its sshd reads has another hash".to_owned(),
        ));
    }
    Ok(())
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
