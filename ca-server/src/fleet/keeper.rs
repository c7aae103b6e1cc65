//! Keeps every machine at what the CA wants: looks after each change, and every minute, who lacks what, and hands it to the courier.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use ca_api::admin::{AdminEvent, DeliveryOutcome, MachineDelivery};
use policies::MachineName;
use tokio::sync::mpsc;

use super::{
    courier::Courier,
    deliver::host_ca,
    schedule::{Lanes, Need},
    wanted,
};
use crate::{
    admin::machine::{self, HOST_CERTIFICATE_SECS},
    ca::Ca,
    house,
    records::{FleetRecord, KrlRecord, MachineStatus, SeenRecord, fleet},
    revoke::krl,
    rotate,
    store::{KeyRange, Read, ReadError, Table},
};

/// How often machines are looked at when nothing changed.
const ROUND: Duration = Duration::from_secs(60);

/// A machine's KRL is read back at least this often, in seconds, also when nothing changed.
const LOOK_AGAIN_SECS: i64 = 15 * 60;

/// How many host certificates are made before the keeper looks again what else is to be done.
const HOSTS_A_ROUND: usize = 64;

/// How often rows that ended are deleted.
const SWEEP: Duration = Duration::from_secs(3600);

/// A push to many machines.
pub struct Push {
    /// To these.
    pub machines: Vec<MachineName>,
    /// What to bring.
    pub lanes: Lanes,
    /// Until when a revoked certificate would still work on a machine that is not reached.
    pub exposed_until_unix: Option<i64>,
}

/// Machines that the server keeps, by name; those that leave among them, until they are off.
///
/// # Errors
/// If the store cannot be read.
pub fn managed(ca: &Ca) -> Result<Vec<(MachineName, FleetRecord)>, ReadError> {
    let all = ca.db.read(fleet)?;
    Ok(all
        .into_iter()
        .filter(|(_, record)| record.status != MachineStatus::Preparing)
        .collect())
}

/// Brings the KRL (and bundles) to machines at once and waits for what each came to. Sends a line for each as it is done.
pub async fn push(
    courier: &Courier,
    krl: &KrlRecord,
    push: Push,
    events: Option<&mpsc::Sender<AdminEvent>>,
) -> Vec<MachineDelivery> {
    let total = push.machines.len();
    courier.publish(krl);
    let mut results = courier.order(push.machines, push.lanes);
    let mut deliveries = Vec::with_capacity(total);
    while let Some(attempt) = results.recv().await {
        let mut delivery = attempt.delivery;
        if let DeliveryOutcome::NotReached {
            exposed_until_unix, ..
        } = &mut delivery.outcome
        {
            *exposed_until_unix = push.exposed_until_unix;
        }
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

/// Keeps the machines until `stop` says so.
pub async fn keep(
    ca: Arc<Ca>,
    courier: Arc<Courier>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    let mut swept = None;
    // Connections that are kept are opened before a revocation needs them.
    let mut greet = ca.config.sync.keep;
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
        match round(&ca, &courier, greet).await {
            Ok(()) => greet = 0,
            Err(error) => tracing::error!(%error, "machines could not be brought up to date"),
        }
        tokio::select! {
            () = ca.fleet_changed.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
            _ = stop.changed() => return,
        }
    }
}

/// Makes host certificates anew when half of their life is over, or another key of the host CA signs; the next bundle
/// carries them.
async fn renew_host_certificates(ca: &Arc<Ca>) {
    let half = i64::try_from(HOST_CERTIFICATE_SECS / 2).unwrap_or(i64::MAX);
    let soon = ca.clock.now().unix_timestamp() + half;
    let keys = ca.keys();
    let current = keys.host_ca.current_held().fingerprint();
    let old = managed(ca)
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, record)| record.status == MachineStatus::Managed)
        .filter(|(_, record)| {
            record.host_certificate_until_unix < soon || host_ca(record) != current
        });
    for (number, (name, _)) in old.enumerate() {
        if number == HOSTS_A_ROUND {
            // The rest in the next round, which begins at once: nothing that came meanwhile waits behind all of them.
            ca.fleet_changed.notify_one();
            return;
        }
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

/// Does a machine go by another fleet key than the one that signs? It is led on by the next request, also where nothing else is to be brought.
fn is_behind(seen: &SeenRecord, fleet_key: &str) -> bool {
    !seen.fleet_keys.is_empty() && !seen.fleet_keys.iter().any(|key| key == fleet_key)
}

/// A round failed as a whole.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Krl(#[from] krl::KrlError),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Says who lacks what, revocations first: the courier goes on by itself.
async fn round(ca: &Arc<Ca>, courier: &Courier, greet: usize) -> Result<(), RoundError> {
    // What machines confirmed since the last round may be what the replacement of a key waits for.
    rotate::go_on(ca).await;
    let krl = krl::current(ca).await?;
    courier.publish(&krl);
    courier.want(needs(ca, krl.version, greet)?);
    // A bundle that cannot be made must not keep a revocation from its machine (R10).
    renew_host_certificates(ca).await;
    match wanted::refresh_all(ca).await {
        Ok(changed) if changed.is_empty() => {}
        Ok(_) => courier.want(needs(ca, krl.version, greet)?),
        Err(error) => tracing::error!(%error, "bundles could not be brought up to date"),
    }
    Ok(())
}

/// What each machine lacks; the first `greet` of them are looked at in any case.
fn needs(ca: &Ca, krl: u64, greet: usize) -> Result<Vec<(MachineName, Need)>, ReadError> {
    let view = ca.db.snapshot()?;
    let now_unix = ca.clock.now().unix_timestamp();
    let seen: BTreeMap<Vec<u8>, SeenRecord> = view
        .scan_json(Table::Seen, &KeyRange::all(), usize::MAX)?
        .into_iter()
        .collect();
    let nothing = SeenRecord::default();
    let keys = ca.keys();
    let fleet_key = keys.fleet.current_held().fingerprint();
    Ok(fleet(&view)?
        .into_iter()
        .filter(|(_, record)| record.status != MachineStatus::Preparing && record.is_pushed_to())
        .enumerate()
        .map(|(number, (name, record))| {
            let seen = seen.get(name.as_str().as_bytes()).unwrap_or(&nothing);
            let lacking = |wanted: u64, there: u64| if there == wanted { 0 } else { wanted };
            let need = Need {
                krl: lacking(krl, seen.krl_version),
                // What leaves gets revocations only.
                generation: match record.status {
                    MachineStatus::Leaving => 0,
                    _ => lacking(record.generation, seen.generation),
                },
                look: number < greet || is_due(seen, now_unix) || is_behind(seen, fleet_key),
                silent: !seen.trouble.is_empty(),
            };
            (name, need)
        })
        .collect())
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
}
