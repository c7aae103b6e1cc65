//! Keeps every machine at what the CA wants: pushes after a change, tries again what failed, revocations first.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ca_api::admin::{AdminEvent, DeliveryOutcome, MachineDelivery};
use policies::MachineName;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{
    agent::SyncAgent,
    deliver::{Attempt, Lanes, deliver, seen},
    wanted,
};
use crate::{
    admin::machine::{self, HOST_CERTIFICATE_SECS},
    ca::{Ca, unix_ms},
    house,
    ledger::{Actor, Event},
    records::{FleetRecord, KrlRecord, MachineStatus, SeenRecord, fleet},
    revoke::krl,
    store::{ReadError, Table},
};

/// How often machines are looked at when nothing changed.
const ROUND: Duration = Duration::from_secs(60);

/// A machine's KRL is read back at least this often, in seconds, also when nothing changed.
const LOOK_AGAIN_SECS: i64 = 15 * 60;

/// How often rows that ended are deleted.
const SWEEP: Duration = Duration::from_secs(3600);

/// The longest pause after failures: a machine that is back has its revocations within a minute (R1).
const LONGEST_PAUSE: Duration = ROUND;

/// A machine that failed: how often, with which KRL, and until when it is left alone.
struct Pause {
    failures: u32,
    krl_version: u64,
    until: Instant,
}

impl Pause {
    /// A KRL that was not tried yet does not wait: why the last push failed may have nothing to do with it (R10).
    fn holds(&self, krl_version: u64, now: Instant) -> bool {
        self.krl_version == krl_version && now < self.until
    }
}

/// A push to many machines.
pub struct Push {
    /// To these.
    pub machines: Vec<(MachineName, FleetRecord)>,
    /// What to bring.
    pub lanes: Lanes,
    /// Until when a revoked certificate would still work on a machine that is not reached.
    pub exposed_until_unix: Option<i64>,
}

/// Machines that the server keeps, by name.
///
/// # Errors
/// If the store cannot be read.
pub fn managed(ca: &Ca) -> Result<Vec<(MachineName, FleetRecord)>, ReadError> {
    let all = ca.db.read(fleet)?;
    Ok(all
        .into_iter()
        .filter(|(_, record)| record.status == MachineStatus::Managed)
        .collect())
}

/// Brings the KRL (and bundles) to machines, many at once, each on its own: a slow or dead one delays no other (R7).
/// Sends a line for each as it is done.
pub async fn push(
    ca: &Arc<Ca>,
    agent: &Arc<SyncAgent>,
    krl: &KrlRecord,
    push: Push,
    events: Option<&mpsc::Sender<AdminEvent>>,
) -> Vec<MachineDelivery> {
    let turns = Arc::new(Semaphore::new(ca.config.sync.parallel));
    let krl = Arc::new(krl.clone());
    let total = push.machines.len();
    let mut running = JoinSet::new();
    for (name, record) in push.machines {
        let (ca, agent, krl, turns) = (
            Arc::clone(ca),
            Arc::clone(agent),
            Arc::clone(&krl),
            Arc::clone(&turns),
        );
        let (lanes, exposed) = (push.lanes, push.exposed_until_unix);
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let attempt = deliver(&ca, &agent, &name, &record, &krl, lanes, exposed).await;
            note(&ca, &name, &attempt).await;
            attempt.delivery
        });
    }
    let mut deliveries = Vec::with_capacity(total);
    while let Some(done) = running.join_next().await {
        let Ok(delivery) = done else {
            tracing::error!("a delivery ended without a result");
            continue;
        };
        if let Some(events) = events {
            let event = AdminEvent::Machine {
                done: deliveries.len() + 1,
                total,
                state: delivery.clone(),
            };
            // Whoever asked may be gone: the push goes on.
            drop(events.send(event).await);
        }
        deliveries.push(delivery);
    }
    deliveries.sort_by(|a, b| a.machine.cmp(&b.machine));
    deliveries
}

/// Stores what was heard; a change for the better or worse goes into the ledger.
async fn note(ca: &Ca, machine: &MachineName, attempt: &Attempt) {
    let before = seen(ca, machine).unwrap_or_default();
    let (at, name, now) = (
        unix_ms(ca.clock.now()),
        machine.clone(),
        attempt.seen.clone(),
    );
    let event = match &attempt.delivery.outcome {
        DeliveryOutcome::Proven { krl_version, .. } if before.krl_version != *krl_version => {
            Some(Event::KrlProven {
                machine: machine.clone(),
                version: *krl_version,
            })
        }
        DeliveryOutcome::Proven { generation, .. } if before.generation != *generation => {
            Some(Event::MachineSynced {
                machine: machine.clone(),
                generation: *generation,
            })
        }
        DeliveryOutcome::NotReached { reason, .. } if before.trouble != *reason => {
            Some(Event::MachineUnreachable {
                machine: machine.clone(),
                reason: reason.clone(),
            })
        }
        DeliveryOutcome::Proven { .. } | DeliveryOutcome::NotReached { .. } => None,
    };
    let stored = ca
        .db
        .write_async(move |txn| {
            txn.unrecorded()
                .put_json(Table::Seen, name.as_str().as_bytes(), &now);
            if let Some(event) = &event {
                txn.record(at, &Actor::Server, event);
            }
            Ok::<_, ReadError>(())
        })
        .await;
    if let Err(error) = stored {
        tracing::error!(%machine, %error, "what was heard of the machine could not be stored");
    }
}

/// Keeps the machines until `stop` says so.
pub async fn keep(
    ca: Arc<Ca>,
    agent: Arc<SyncAgent>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let mut pauses: BTreeMap<MachineName, Pause> = BTreeMap::new();
    let mut swept = None;
    loop {
        if swept.is_none_or(|at: Instant| at.elapsed() > SWEEP) {
            swept = Some(Instant::now());
            if let Err(error) = house::prune(&ca).await {
                tracing::error!(%error, "rows that ended could not be deleted");
            }
        }
        if let Err(error) = house::sum_refusals(&ca).await {
            tracing::error!(%error, "refusals that were counted could not be written down");
        }
        if let Err(error) = round(&ca, &agent, &mut pauses).await {
            tracing::error!(%error, "machines could not be brought up to date");
        }
        tokio::select! {
            () = ca.fleet_changed.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.changed() => return,
        }
    }
}

/// Makes host certificates anew when half of their life is over; the next bundle carries them.
async fn renew_host_certificates(ca: &Arc<Ca>) {
    let half = i64::try_from(HOST_CERTIFICATE_SECS / 2).unwrap_or(i64::MAX);
    let soon = ca.clock.now().unix_timestamp() + half;
    let old = managed(ca)
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, record)| record.host_certificate_until_unix < soon);
    for (name, _) in old {
        if let Err(error) = machine::renew_host_certificate(ca, &name).await {
            tracing::error!(machine = %name, %error, "its host certificate could not be renewed; the old one stays");
        }
    }
}

/// Was a machine not asked for so long that its KRL must be read back again? One that was put back to an old snapshot or disk
/// would accept a revoked certificate, and nobody would know (R2).
fn is_due(seen: &SeenRecord, now_unix: i64) -> bool {
    seen.last_seen_unix
        .is_none_or(|at| now_unix.saturating_sub(at) >= LOOK_AGAIN_SECS || at > now_unix)
}

/// A round failed as a whole.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Wanted(#[from] wanted::WantedError),
    #[error(transparent)]
    Krl(#[from] krl::KrlError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

async fn round(
    ca: &Arc<Ca>,
    agent: &Arc<SyncAgent>,
    pauses: &mut BTreeMap<MachineName, Pause>,
) -> Result<(), RoundError> {
    let krl = krl::current(ca).await?;
    // A bundle that cannot be made must not keep a revocation from its machine (R10).
    renew_host_certificates(ca).await;
    if let Err(error) = wanted::refresh_all(ca).await {
        tracing::error!(%error, "bundles could not be brought up to date");
    }
    let mut behind = (Vec::new(), Vec::new());
    let now_unix = ca.clock.now().unix_timestamp();
    for (name, record) in managed(ca)? {
        if pauses
            .get(&name)
            .is_some_and(|pause| pause.holds(krl.version, Instant::now()))
        {
            continue;
        }
        let seen = seen(ca, &name)?;
        if seen.generation != record.generation {
            behind.1.push((name, record));
        } else if seen.krl_version != krl.version || is_due(&seen, now_unix) {
            behind.0.push((name, record));
        }
    }
    for (mut machines, lanes) in [(behind.0, Lanes::Krl), (behind.1, Lanes::Both)] {
        if machines.is_empty() {
            continue;
        }
        // Those that failed before come last: they take their time-out after the others have their turn (R7).
        machines.sort_by_key(|(name, _)| pauses.get(name).map_or(0, |pause| pause.failures));
        let pushed = Push {
            machines,
            lanes,
            exposed_until_unix: None,
        };
        for delivery in push(ca, agent, &krl, pushed, None).await {
            let Ok(name) = delivery.machine.parse::<MachineName>() else {
                continue;
            };
            match delivery.outcome {
                DeliveryOutcome::Proven { .. } => {
                    pauses.remove(&name);
                }
                DeliveryOutcome::NotReached { .. } => {
                    let failures = pauses.get(&name).map_or(0, |pause| pause.failures) + 1;
                    let length = Duration::from_secs(5 << failures.min(10)).min(LONGEST_PAUSE);
                    let pause = Pause {
                        failures,
                        krl_version: krl.version,
                        until: Instant::now() + length,
                    };
                    pauses.insert(name, pause);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r2_a_machine_is_asked_again_also_when_nothing_changed() {
        let seen = |at| SeenRecord {
            last_seen_unix: at,
            ..SeenRecord::default()
        };
        assert!(is_due(&seen(None), 10_000));
        assert!(!is_due(&seen(Some(10_000 - LOOK_AGAIN_SECS + 1)), 10_000));
        assert!(is_due(&seen(Some(10_000 - LOOK_AGAIN_SECS)), 10_000));
        assert!(
            is_due(&seen(Some(10_001)), 10_000),
            "a clock that stepped back"
        );
    }

    #[test]
    fn r1_a_machine_that_failed_does_not_wait_for_a_krl_that_was_not_tried_yet() {
        let now = Instant::now();
        let pause = Pause {
            failures: 9,
            krl_version: 7,
            until: now + LONGEST_PAUSE,
        };
        assert!(pause.holds(7, now));
        assert!(!pause.holds(8, now));
        assert!(!pause.holds(7, now + LONGEST_PAUSE));
        assert!(LONGEST_PAUSE <= Duration::from_secs(60));
    }
}
