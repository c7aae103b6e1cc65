//! The check-up: a machine tells facts, `ca_machine::checkup` judges them, and what is found is kept, shown and on request repaired.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, CheckFinding, Gravity, MachineCheck},
};
use ca_machine::{
    Bundle, Mode, OpenError, Request, RunError,
    checkup::{Expected, Finding, Mend, OPENSSH_CHANGED, Severity, judge},
    exchange,
};
use policies::MachineName;
use ssh_key::{HashAlg, PublicKey};
use tokio::{sync::Semaphore, task::JoinSet};

mod uses;

use super::{Admin, Events, change::store_error, machine};
use crate::{
    ca::{Ca, sha256_hex, unix_ms},
    config::Every,
    fleet::{
        agent::SyncAgent,
        courier::Courier,
        deliver::{current_record, limits, target},
        keeper::managed,
        wanted,
    },
    ledger::{Actor, Event},
    records::{FleetRecord, KrlRecord},
    revoke::krl,
    store::{Read, ReadError, Table},
};

/// What a check-up does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Tells it.
    LookOnly,
    /// Applies again what the CA wants, where that mends something.
    Repair,
}

/// How long the schedule sleeps at most before it looks who is due.
const PAUSE: Duration = Duration::from_secs(60);

/// A machine that was not reached is tried again this soon, in seconds, where the schedule would wait longer.
const AGAIN_SECS: i64 = 3600;

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

impl Admin {
    /// `check`.
    pub(super) async fn check(
        &self,
        machines: &[String],
        pool: Option<&str>,
        repair: Repair,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let chosen = self.chosen(machines, pool)?;
        let mut checks = look_at_all(&self.ca, &self.agent, chosen)
            .await
            .map_err(unavailable)?;
        if repair == Repair::Repair {
            checks = self.repair(checks, events).await?;
        }
        for check in &checks {
            store(&self.ca, check)
                .await
                .map_err(|error| store_error(&error))?;
        }
        Ok(AdminReply::Checked(checks))
    }

    /// Applies again what the CA wants where that mends something, and looks again.
    async fn repair(
        &self,
        before: Vec<MachineCheck>,
        events: &Events,
    ) -> Result<Vec<MachineCheck>, ApiError> {
        let mendable = |check: &&MachineCheck| {
            check.reached && check.findings.iter().any(|finding| finding.repairable)
        };
        let names: Vec<String> = before
            .iter()
            .filter(mendable)
            .map(|check| check.machine.clone())
            .collect();
        if names.is_empty() {
            return Ok(before);
        }
        for check in before.iter().filter(mendable) {
            if check
                .findings
                .iter()
                .any(|finding| finding.code == OPENSSH_CHANGED)
            {
                self.note_openssh(&check.machine).await?;
            }
        }
        self.sync(&names, None, events).await?;
        let chosen = self.chosen(&names, None)?;
        let after = look_at_all(&self.ca, &self.agent, chosen)
            .await
            .map_err(unavailable)?;
        Ok(before
            .into_iter()
            .map(|old| {
                let Some(new) = after.iter().find(|new| new.machine == old.machine) else {
                    return old;
                };
                let mut new = new.clone();
                let left: BTreeSet<(&str, &str)> = new.findings.iter().map(key).collect();
                new.repaired = old
                    .findings
                    .iter()
                    .filter(|finding| !left.contains(&key(finding)))
                    .cloned()
                    .collect();
                new
            })
            .collect())
    }

    /// A machine whose OpenSSH was upgraded gets a configuration for the version that it has now (H4).
    async fn note_openssh(&self, name: &str) -> Result<(), ApiError> {
        let machine: MachineName = super::parse(name)?;
        let record = machine::record(&self.ca, &machine)?
            .ok_or_else(|| super::unknown("machine", name, "machine"))?;
        let target = target(&self.ca, &self.agent, &record).map_err(unavailable)?;
        let report = exchange(&target, &Request::Report, &limits(&self.ca))
            .await
            .map_err(unavailable)?;
        let version = report.state().map(|state| state.openssh.clone());
        let Some(version) = version.filter(|text| wanted::version(text).is_some()) else {
            return Ok(());
        };
        machine::edit(&self.ca, Actor::Server, name, move |_, record| {
            record.sshd_version.clone_from(&version);
            Ok(Event::MachineChanged {
                machine: machine.clone(),
                changes: [("sshd_version".to_owned(), version.clone())].into(),
            })
        })
        .await
        .map(drop)
    }
}

fn key(finding: &CheckFinding) -> (&str, &str) {
    (&finding.code, &finding.what)
}

/// Looks at machines, many at once, each on its own (R7); in order of their names.
async fn look_at_all(
    ca: &Arc<Ca>,
    agent: &Arc<SyncAgent>,
    machines: Vec<(MachineName, FleetRecord)>,
) -> Result<Vec<MachineCheck>, krl::KrlError> {
    let krl = Arc::new(krl::current(ca).await?);
    let turns = Arc::new(Semaphore::new(ca.config.sync.parallel));
    let mut running = JoinSet::new();
    for (name, record) in machines {
        let (ca, agent, krl, turns) = (ca.clone(), agent.clone(), krl.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            look(&ca, &agent, &name, &record, &krl).await
        });
    }
    let mut checks = running.join_all().await;
    checks.sort_by(|a, b| a.machine.cmp(&b.machine));
    Ok(checks)
}

/// Looks at one machine.
async fn look(
    ca: &Ca,
    agent: &SyncAgent,
    name: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
) -> MachineCheck {
    let asked_unix = ca.clock.now().unix_timestamp();
    let answer = match target(ca, agent, record) {
        Ok(target) => exchange(&target, &Request::Check, &limits(ca)).await,
        Err(error) => return missed(name, asked_unix, "record", error.to_string()),
    };
    let report = match answer {
        Ok(report) => report,
        Err(error) => {
            let code = match &error {
                RunError::Open(OpenError::HostKeyChanged { .. }) => "host-key-changed",
                RunError::Open(OpenError::Refused { .. }) => "login-refused",
                RunError::Answer { .. } => "nonsense",
                _ => "not-reached",
            };
            return missed(name, asked_unix, code, error.to_string());
        }
    };
    let findings = match judged(&report, record, krl, asked_unix) {
        Ok(findings) => findings
            .iter()
            .map(|finding| told(finding, name))
            .chain(uses::found(ca, &report))
            .collect(),
        Err(why) => return missed(name, asked_unix, "record", why),
    };
    MachineCheck {
        machine: name.to_string(),
        reached: true,
        at_unix: asked_unix,
        findings,
        repaired: Vec::new(),
    }
}

fn judged(
    report: &ca_machine::Report,
    record: &FleetRecord,
    krl: &KrlRecord,
    asked_unix: i64,
) -> Result<Vec<Finding>, String> {
    let bytes = STANDARD
        .decode(&record.bundle)
        .map_err(|error| error.to_string())?;
    let bundle = Bundle::decode(&bytes).map_err(|error| error.to_string())?;
    let host_key = PublicKey::from_openssh(&record.host_key).map_err(|error| error.to_string())?;
    let admin = record
        .admin_account
        .parse()
        .map_err(|error: policies::NameError| error.to_string())?;
    let expected = Expected {
        bundle: &bundle,
        bundle_sha256: &sha256_hex(&bytes),
        krl_version: krl.version,
        krl_sha256: &krl.krl_sha256,
        host_key: &host_key.fingerprint(HashAlg::Sha256).to_string(),
        admin: &admin,
        mode: if record.observed {
            Mode::Observe
        } else {
            Mode::Enforce
        },
        openssh: wanted::version(&record.sshd_version)
            .ok_or_else(|| format!("sshd version {:?}", record.sshd_version))?,
        asked_unix,
    };
    Ok(judge(report, &expected))
}

fn told(finding: &Finding, name: &MachineName) -> CheckFinding {
    CheckFinding {
        gravity: match finding.severity {
            Severity::Notice => Gravity::Notice,
            Severity::Warning => Gravity::Warning,
            Severity::Danger => Gravity::Danger,
        },
        code: finding.code.to_owned(),
        what: finding.what.clone(),
        meaning: finding.meaning.to_owned(),
        remedy: finding
            .remedy
            .replace("check --repair", &format!("check {name} --repair")),
        repairable: finding.mend == Mend::Reapply,
    }
}

/// A machine that could not be looked at.
fn missed(name: &MachineName, at_unix: i64, code: &str, reason: String) -> MachineCheck {
    let (gravity, meaning, remedy) = match code {
        "host-key-changed" => (
            Gravity::Danger,
            "somebody stands in between, or the machine was made anew; nothing was sent to it",
            format!(
                "compare the key on its console; if the new one is meant: `bootstrap add-machine {name} --resync`"
            ),
        ),
        "login-refused" => (
            Gravity::Danger,
            "the CA itself is shut out: ssh-ca-sync is gone, expired, or turned away, so no revocation arrives",
            format!(
                "`bootstrap check {name}` looks from an admin's login; `bootstrap add-machine {name} --resync` puts it right"
            ),
        ),
        "nonsense" => (
            Gravity::Danger,
            "nobody can say how it stands, and whether it obeys",
            format!("`bootstrap check {name}` looks from an admin's login"),
        ),
        "record" => (
            Gravity::Danger,
            "the CA's own record of it cannot be used",
            format!("`bootstrap add-machine {name} --resync` makes it anew"),
        ),
        _ => (
            Gravity::Warning,
            "nobody can say how it stands; what is revoked meanwhile still opens it",
            format!("see whether it is on and its port is open; then `ca-server sync {name}`"),
        ),
    };
    MachineCheck {
        machine: name.to_string(),
        reached: false,
        at_unix,
        findings: vec![CheckFinding {
            gravity,
            code: code.to_owned(),
            what: reason,
            meaning: meaning.to_owned(),
            remedy,
            repairable: false,
        }],
        repaired: Vec::new(),
    }
}

/// The last check-up of a machine.
///
/// # Errors
/// If the store cannot be read.
pub fn last<R: Read>(source: &R, machine: &MachineName) -> Result<Option<MachineCheck>, ReadError> {
    source.get_json(Table::Checks, machine.as_str().as_bytes())
}

/// Keeps what was found; what is newly wrong goes into the ledger and the log.
async fn store(ca: &Ca, check: &MachineCheck) -> Result<(), crate::store::StoreError> {
    let Ok(name) = check.machine.parse::<MachineName>() else {
        return Ok(());
    };
    let (at, check) = (unix_ms(ca.clock.now()), check.clone());
    ca.db
        .write_async(move |txn| {
            let old: Option<MachineCheck> = last(txn, &name)?;
            let wrong = |check: &MachineCheck| -> BTreeSet<String> {
                let counted = check
                    .findings
                    .iter()
                    .filter(|finding| finding.gravity > Gravity::Notice);
                counted
                    .map(|finding| format!("{}: {}", finding.code, finding.what))
                    .collect()
            };
            let known = old.as_ref().map(wrong).unwrap_or_default();
            let new: Vec<String> = wrong(&check).difference(&known).cloned().collect();
            if !new.is_empty() {
                for finding in &new {
                    tracing::warn!(machine = %name, finding, "the check-up found something");
                }
                // What stands in a ledger for ever is bounded, however much a machine says.
                let findings = new
                    .iter()
                    .take(20)
                    .map(|text| text.chars().take(300).collect());
                let event = Event::MachineDrifted {
                    machine: name.clone(),
                    findings: findings.collect(),
                };
                txn.record(at, &Actor::Server, &event);
            }
            txn.unrecorded()
                .put_json(Table::Checks, name.as_str().as_bytes(), &check);
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| match error {
            crate::store::WriteError::Refused(error) => error.into(),
            crate::store::WriteError::Store(error) => error,
        })
}

/// Is it time to look at a machine again?
fn is_due(last: Option<&MachineCheck>, every_secs: i64, now_unix: i64) -> bool {
    last.is_none_or(|check| {
        let pause = if check.reached {
            every_secs
        } else {
            every_secs.min(AGAIN_SECS)
        };
        // A clock that stepped back makes none wait for longer than the pause.
        now_unix.saturating_sub(check.at_unix) >= pause || check.at_unix > now_unix
    })
}

/// The schedule: looks at each machine as often as the configuration says, until `stop`.
pub async fn keep(
    ca: Arc<Ca>,
    agent: Arc<SyncAgent>,
    courier: Arc<Courier>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let Every::Secs(every_secs) = ca.config.check.every else {
        return;
    };
    let every_secs = i64::try_from(every_secs).unwrap_or(i64::MAX);
    let pause = PAUSE.min(Duration::from_secs(every_secs.unsigned_abs()));
    loop {
        let looked = tokio::select! {
            looked = round(&ca, &agent, &courier, every_secs) => looked,
            _ = stop.changed() => return,
        };
        if let Err(error) = looked {
            tracing::error!(%error, "the scheduled check-up could not be made");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => return,
        }
    }
}

/// A scheduled look failed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Krl(#[from] krl::KrlError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}

/// How long a scheduled look lets revocations go first.
const LETS_PASS: Duration = Duration::from_secs(60);

/// Looks at those that are due. Nobody waits for it, and a look costs a machine as much as two revocations: it goes after these, and few are
/// under way when one comes. Each is stored when it is done, so that a server that is killed goes on with the rest.
async fn round(
    ca: &Arc<Ca>,
    agent: &Arc<SyncAgent>,
    courier: &Arc<Courier>,
    every_secs: i64,
) -> Result<(), RoundError> {
    let now = ca.clock.now().unix_timestamp();
    let turns = Arc::new(Semaphore::new(ca.config.sync.parallel.div_ceil(4)));
    let mut running = JoinSet::new();
    for (name, _) in managed(ca)? {
        let found = ca.db.read(|view| last(view, &name))?;
        if !is_due(found.as_ref(), every_secs, now) {
            continue;
        }
        let (ca, agent, courier, turns) =
            (ca.clone(), agent.clone(), courier.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            courier.pulse().calm(LETS_PASS).await;
            // As it is now: much may have happened since the round began.
            let krl = krl::current(&ca).await?;
            let Some(record) = current_record(&ca, &name)?.filter(FleetRecord::is_pushed_to) else {
                return Ok(());
            };
            let check = look(&ca, &agent, &name, &record, &krl).await;
            store(&ca, &check).await?;
            Ok::<_, RoundError>(())
        });
    }
    running.join_all().await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_looked_at_again_when_it_is_time() {
        let check = |reached, at_unix| MachineCheck {
            machine: "web-1".to_owned(),
            reached,
            at_unix,
            findings: Vec::new(),
            repaired: Vec::new(),
        };
        let day = 24 * 3600;
        assert!(is_due(None, day, 0));
        assert!(!is_due(Some(&check(true, 1000)), day, 1000 + day - 1));
        assert!(is_due(Some(&check(true, 1000)), day, 1000 + day));
        assert!(is_due(Some(&check(false, 1000)), day, 1000 + AGAIN_SECS));
        assert!(
            is_due(Some(&check(true, 1000)), day, 999),
            "a clock that stepped back"
        );
    }
}
