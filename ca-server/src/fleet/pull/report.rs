//! What a machine says of itself after it has fetched. It is worth what a read-back over ssh is: it is under the host key that the CA has
//! pinned, and over a nonce that the CA gave out and takes once. A machine that lies can lie about itself alone.

use ca_machine::{
    pull::{PullReport, PullReportError, REPORT_NAMESPACE},
    report::{SessionState, State},
};
use policies::MachineName;
use ssh_key::{PublicKey, SshSig};

use crate::{
    auth::nonce::NonceError,
    ca::{Ca, unix_ms},
    fleet::{
        deliver,
        pull::waiting::{self, Heard},
    },
    ledger::{Actor, Event},
    records::{FleetRecord, KrlRecord, MachineStatus, SeenRecord, WaitingOrder, WaitingTask},
    revoke::krl,
    store::{Read, ReadError, StoreError, Table, WriteError},
};

/// A machine's reports are taken this far apart, in seconds, at least: each may write to the store.
pub const PAUSE_SECS: i64 = 3;

/// The most characters of a machine's own words that are kept.
const MOST_WORDS: usize = 300;

/// A report that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is none.
    #[error(transparent)]
    Parse(#[from] PullReportError),
    /// It is another machine's.
    #[error("this report is of another machine")]
    Foreign,
    /// Its signature is not by the host key that the CA has pinned.
    #[error("the report is not signed with the host key that the CA knows")]
    Signature,
    /// Its nonce.
    #[error(transparent)]
    Nonce(#[from] NonceError),
    /// It came too soon after another one.
    #[error("this machine has reported a moment ago; once in a few seconds is enough")]
    TooSoon,
    /// It does not say where the machine stands.
    #[error("the report does not say where the machine stands")]
    NoState,
    /// It says that the CA is off, and nobody asked for that.
    #[error(
        "no order to take the CA off this machine lies where it fetches: it is no machine that leaves"
    )]
    NotLeaving,
    /// The KRL in force is not known.
    #[error(transparent)]
    Krl(#[from] krl::KrlError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for ReportError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// What a report comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// What it says is stored.
    Heard,
    /// It was the last one: the machine has taken the CA off itself, as it was ordered to. Nothing is stored of that yet.
    Off,
}

/// Takes a report: what it proves is durable when this returns.
///
/// # Errors
/// When it is not genuine, or the store fails.
pub async fn take(
    ca: &Ca,
    machine: &MachineName,
    record: &FleetRecord,
    bytes: &[u8],
) -> Result<Taken, ReportError> {
    let report = PullReport::parse(bytes)?;
    if report.machine != machine.as_str() {
        return Err(ReportError::Foreign);
    }
    check_signature(&report, record)?;
    let now = ca.clock.now().unix_timestamp();
    let before = deliver::seen(ca, machine)?;
    let since = before.reported_unix.map(|at| now.saturating_sub(at));
    if since.is_some_and(|secs| (0..PAUSE_SECS).contains(&secs)) {
        return Err(ReportError::TooSoon);
    }
    // Last of all checks: a stranger's bytes use up no nonce.
    ca.nonces.redeem(&report.nonce, now)?;
    let lies = record.pull.as_ref().and_then(|pull| pull.order.as_ref());
    if let Some(number) = report.removed_by() {
        return if is_leaving_by(record.status, lies, number) {
            Ok(Taken::Off)
        } else {
            Err(ReportError::NotLeaving)
        };
    }
    let krl = krl::current(ca).await?;
    let said = judge(&report, machine, record, &krl, &before).ok_or(ReportError::NoState)?;
    let seen = SeenRecord {
        last_seen_unix: Some(now),
        reported_unix: Some(now),
        ..said
    };
    let heard = waiting::heard(lies, seen.order);
    store(ca, machine, before, seen, &heard).await?;
    if let Heard::Again(task) = heard
        && let Err(error) = waiting::lay(ca, &Actor::Server, machine, &task).await
    {
        // The next report brings it up again.
        tracing::warn!(%machine, %error, "an order that was not obeyed could not be made anew");
    }
    Ok(Taken::Heard)
}

/// Was this machine told to take the CA off, by an order that was made with this number or a later one?
fn is_leaving_by(status: MachineStatus, lies: Option<&WaitingOrder>, number: u64) -> bool {
    status == MachineStatus::Leaving
        && lies.is_some_and(|order| order.task == WaitingTask::Remove && number <= order.number)
}

fn check_signature(report: &PullReport, record: &FleetRecord) -> Result<(), ReportError> {
    let wrong = |_: ssh_key::Error| ReportError::Signature;
    let pinned = PublicKey::from_openssh(&record.host_key).map_err(wrong)?;
    let signature = SshSig::from_pem(&report.signature).map_err(wrong)?;
    if signature.public_key() != pinned.key_data() {
        return Err(ReportError::Signature);
    }
    pinned
        .verify(REPORT_NAMESPACE, &report.signed, &signature)
        .map_err(wrong)
}

/// What the report says, beside what was known; `None` where it says nothing.
fn judge(
    report: &PullReport,
    machine: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
    before: &SeenRecord,
) -> Option<SeenRecord> {
    let state = report.report.state()?;
    let (krl_version, krl_covers) = krl_there(state, krl, before);
    let mut seen = SeenRecord {
        krl_version,
        krl_covers,
        krl_ca_keys: match krl_version {
            version if version == krl.version => krl.ca_keys.clone(),
            version if version == before.krl_version => before.krl_ca_keys.clone(),
            _ => Vec::new(),
        },
        fleet_keys: deliver::goes_by(&report.report).unwrap_or_default(),
        trouble: trouble(report, state, machine, record, krl),
        order: state.order,
        ..before.clone()
    };
    deliver::applied(&mut seen, state.applied_generation, record);
    Some(seen)
}

/// The KRL that counts as being there, and what it covers: only the one in force can be compared byte for byte.
fn krl_there(state: &State, krl: &KrlRecord, before: &SeenRecord) -> (u64, u64) {
    // Nor can it have what was never made.
    if state.krl_canaries != "ok" || state.krl_version > krl.version {
        return (0, 0);
    }
    if state.krl_version == krl.version {
        return if state.krl_sha256 == krl.krl_sha256 {
            (krl.version, krl.covers)
        } else {
            (0, 0)
        };
    }
    // One between what it had and what is in force holds at least what the older one held.
    let covers = if state.krl_version >= before.krl_version {
        before.krl_covers
    } else {
        0
    };
    (state.krl_version, covers)
}

/// What is the matter, in words; empty where nothing is.
fn trouble(
    report: &PullReport,
    state: &State,
    machine: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
) -> String {
    let mut words = String::new();
    if state.machine != machine.as_str() {
        words = format!("it calls itself {:?}", state.machine);
    } else if state.krl_canaries != "ok" {
        words = format!(
            "its own OpenSSH does not judge the canaries as it must ({})",
            state.krl_canaries
        );
    } else if state.krl_version == krl.version && state.krl_sha256 != krl.krl_sha256 {
        "the KRL that its sshd reads has another hash".clone_into(&mut words);
    } else if let Some((code, detail)) = report.report.refusal() {
        // A place that lags behind says nothing of a machine that has the newest already.
        let newest =
            state.krl_version == krl.version && state.applied_generation == record.generation;
        if !(newest && matches!(code, "old-krl" | "old-generation")) {
            words = format!("it fetched, and refused ({code}): {detail}");
        }
    } else if state.stale {
        "what it fetches is older than it may be: is the tree still published?"
            .clone_into(&mut words);
    } else {
        let open = report.report.sessions();
        let open = open
            .filter(|session| matches!(session.state, SessionState::Open | SessionState::Unknown));
        let open = open.count();
        if open > 0 {
            words = format!("{open} sessions could not be ended, or not be attributed to anybody");
        }
    }
    // Foreign words: bounded, and no control characters.
    let plain = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MOST_WORDS).collect()
}

/// Stores what was heard; a change for the better or worse goes into the ledger.
async fn store(
    ca: &Ca,
    machine: &MachineName,
    before: SeenRecord,
    seen: SeenRecord,
    heard: &Heard,
) -> Result<(), ReportError> {
    let obeyed = match heard {
        Heard::Obeyed(number) => Some(*number),
        Heard::Nothing | Heard::Again(_) => None,
    };
    let (at, name) = (unix_ms(ca.clock.now()), machine.clone());
    let event = if !seen.trouble.is_empty() && seen.trouble != before.trouble {
        Some(Event::MachineRefused {
            machine: name.clone(),
            generation: seen.generation,
            reason: seen.trouble.clone(),
        })
    } else if seen.krl_version > before.krl_version {
        Some(Event::KrlProven {
            machine: name.clone(),
            version: seen.krl_version,
        })
    } else if seen.generation != before.generation {
        Some(Event::MachineSynced {
            machine: name.clone(),
            generation: seen.generation,
        })
    } else {
        None
    };
    ca.db
        .write_async(move |txn| {
            txn.unrecorded()
                .put_json(Table::Seen, name.as_str().as_bytes(), &seen);
            if let Some(event) = &event {
                txn.record(at, &Actor::Server, event);
            }
            let key = name.as_str().as_bytes();
            if let Some(number) = obeyed
                && let Some(mut record) = txn.get_json::<FleetRecord>(Table::Fleet, key)?
                && let Some(pull) = &mut record.pull
                && pull
                    .order
                    .as_ref()
                    .is_some_and(|order| order.number == number)
            {
                pull.order = None;
                txn.put_json(Table::Fleet, key, &record);
                let event = Event::OrderObeyed {
                    machine: name.clone(),
                    number,
                };
                txn.record(at, &Actor::Server, &event);
            }
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Store(error) => ReportError::Store(error),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krl() -> KrlRecord {
        KrlRecord {
            version: 9,
            built_unix: 0,
            covers: 90,
            krl: String::new(),
            krl_sha256: "hash of 9".to_owned(),
            parcel: String::new(),
            signature: String::new(),
            ca_keys: Vec::new(),
        }
    }

    #[test]
    fn r2_a_machine_that_reports_an_older_krl_is_exposed_by_what_that_one_lacks() {
        let before = SeenRecord {
            krl_version: 7,
            krl_covers: 70,
            ..SeenRecord::default()
        };
        let there = |version: u64, hash: &str, canaries: &str| {
            let state = State {
                krl_version: version,
                krl_sha256: hash.to_owned(),
                krl_canaries: canaries.to_owned(),
                ..State::default()
            };
            krl_there(&state, &krl(), &before)
        };
        assert_eq!(there(9, "hash of 9", "ok"), (9, 90));
        assert_eq!(there(9, "another", "ok"), (0, 0));
        assert_eq!(there(9, "hash of 9", "failed"), (0, 0));
        assert_eq!(there(8, "hash of 8", "ok"), (8, 70), "between the two");
        assert_eq!(there(7, "hash of 7", "ok"), (7, 70));
        assert_eq!(there(3, "hash of 3", "ok"), (3, 0), "an old disk came back");
        assert_eq!(there(u64::MAX, "x", "ok"), (0, 0), "a lie about the future");
    }
}
