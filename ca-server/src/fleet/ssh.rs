//! The fleet over ssh: what the schedule asks for, done with real machines and written down.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ca_api::admin::DeliveryOutcome;
use ca_machine::knock;
use policies::MachineName;

use super::{
    agent::SyncAgent,
    courier::{Attempt, Carrier, Courier, Walk},
    deliver::{Ways, current_record, deliver, seen, target},
    kept::Kept,
    pull,
    schedule::{Bounds, Errand},
};
use crate::{
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    records::KrlRecord,
    store::{ReadError, Table},
};

/// How long a silent machine may take for sshd's banner.
const KNOCK: Duration = Duration::from_secs(5);

/// How often it is looked whether kept connections are there still.
const SWEEP: Duration = Duration::from_secs(5);

struct Ssh {
    ca: Arc<Ca>,
    ways: Ways,
}

/// Starts the work with the fleet of this CA.
#[must_use]
pub fn start(ca: &Arc<Ca>, agent: &Arc<SyncAgent>) -> Arc<Courier> {
    let sync = &ca.config.sync;
    let ssh = Arc::new(Ssh {
        ca: Arc::clone(ca),
        ways: Ways {
            agent: Arc::clone(agent),
            kept: Kept::new(sync.keep, Duration::from_secs(sync.keep_idle_secs)),
        },
    });
    let carrier: Arc<dyn Carrier> = Arc::clone(&ssh) as _;
    let courier = Arc::new(Courier::start(carrier, Bounds::around(sync.parallel)));
    tokio::spawn(watch(Arc::downgrade(&ssh), Arc::downgrade(&courier)));
    courier
}

/// A machine whose kept connection ended is read back at once: it was restarted, cut off, or turned back to an old disk.
async fn watch(ssh: Weak<Ssh>, courier: Weak<Courier>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (Some(ssh), Some(courier)) = (ssh.upgrade(), courier.upgrade()) else {
            return;
        };
        let ended = ssh.ways.kept.sweep();
        courier.pulse().kept(ssh.ways.kept.open());
        if !ended.is_empty() {
            courier.look(ended);
        }
    }
}

impl Carrier for Ssh {
    fn knock<'a>(&'a self, machine: &'a MachineName) -> Walk<'a, Result<(), Attempt>> {
        Box::pin(async move {
            if let Ok(Some(record)) = current_record(&self.ca, machine)
                && !record.is_pushed_to()
            {
                return Ok(());
            }
            let reason = match self.target(machine) {
                Ok(target) => match knock(&target, KNOCK).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error.to_string(),
                },
                Err(reason) => reason,
            };
            let attempt = self.failed(machine, reason);
            note(&self.ca, machine, &attempt).await;
            Err(attempt)
        })
    }

    fn carry<'a>(&'a self, errand: &'a Errand, krl: &'a Arc<KrlRecord>) -> Walk<'a, Attempt> {
        Box::pin(async move {
            let machine = &errand.machine;
            let attempt = match current_record(&self.ca, machine) {
                Ok(Some(record)) if !record.is_pushed_to() => {
                    let seen = seen(&self.ca, machine).unwrap_or_default();
                    return pull::stands(machine, &record, krl, errand.lanes, seen);
                }
                Ok(Some(record)) => {
                    deliver(&self.ca, &self.ways, machine, &record, krl, errand.lanes).await
                }
                // It was forgotten meanwhile: nothing is written down of it.
                Ok(None) => return self.failed(machine, GONE.to_owned()),
                Err(error) => self.failed(machine, error.to_string()),
            };
            note(&self.ca, machine, &attempt).await;
            attempt
        })
    }
}

const GONE: &str = "it is no machine of this CA any more";

impl Ssh {
    fn target(&self, machine: &MachineName) -> Result<ca_machine::Target, String> {
        let record = current_record(&self.ca, machine).map_err(|error| error.to_string())?;
        let record = record.ok_or(GONE)?;
        target(&self.ca, &self.ways.agent, &record).map_err(|error| error.to_string())
    }

    fn failed(&self, machine: &MachineName, reason: String) -> Attempt {
        let before = seen(&self.ca, machine).unwrap_or_default();
        Attempt::failed(machine, reason, before)
    }
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
    if event.is_none() && before == now {
        return;
    }
    let confirms = before.trusts != now.trusts
        || before.krl_ca_keys != now.krl_ca_keys
        || before.host_ca != now.host_ca
        || before.fleet_keys != now.fleet_keys;
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
    if confirms {
        // A key's replacement may have waited for exactly this.
        ca.fleet_changed.notify_one();
    }
}
