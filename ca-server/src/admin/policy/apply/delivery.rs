//! What was applied reaches the machines: those with a new generation, and where something was revoked every other too.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::{
    ApiError,
    admin::{AdminEvent, DeliveryOutcome, MachineDelivery, PolicyApplied},
};
use policies::MachineName;
use tokio::sync::mpsc;

use crate::{
    admin::{Admin, Events, look::Revocations, policy::failed},
    ca::Ca,
    fleet::{
        deliver::Lanes,
        keeper::{Push, push},
        wanted,
    },
    records::{FleetRecord, MachineStatus, fleet, live_certificates, policy},
    revoke::krl,
    store::ReadError,
};

/// What was so before: generations, and certificates that were live and good.
pub(super) struct Before {
    generations: BTreeMap<MachineName, u64>,
    /// Machines in the CA's keeping.
    managed: Vec<MachineName>,
    /// Serials, with when each ends.
    good: BTreeMap<u64, i64>,
}

impl Before {
    /// As it stands.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn look(ca: &Ca) -> Result<Self, ApiError> {
        let now = ca.clock.now().unix_timestamp();
        ca.db
            .read(|view| {
                let revoked = Revocations::read(view)?;
                let mut good = BTreeMap::new();
                for email in policy(view)?.employees.keys() {
                    for (serial, record) in live_certificates(view, email, now)? {
                        if !revoked.contains(serial, &record) {
                            let end = i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX);
                            good.insert(serial, end);
                        }
                    }
                }
                let all = fleet(view)?;
                let kept = |record: &FleetRecord| record.status == MachineStatus::Managed;
                Ok(Self {
                    managed: all
                        .iter()
                        .filter(|(_, record)| kept(record))
                        .map(|(name, _)| name.clone())
                        .collect(),
                    generations: all
                        .into_iter()
                        .map(|(name, record)| (name, record.generation))
                        .collect(),
                    good,
                })
            })
            .map_err(failed)
    }

    /// Those of its certificates that are revoked now, with when each would have ended.
    fn revoked_since(&self, ca: &Ca) -> Result<Vec<i64>, ReadError> {
        let now = ca.clock.now().unix_timestamp();
        ca.db.read(|view| {
            let revoked = Revocations::read(view)?;
            let mut ends = Vec::new();
            for email in policy(view)?.employees.keys() {
                for (serial, record) in live_certificates(view, email, now)? {
                    if let Some(end) = self.good.get(&serial)
                        && revoked.contains(serial, &record)
                    {
                        ends.push(*end);
                    }
                }
            }
            Ok(ends)
        })
    }

    /// Every machine in the CA's keeping as one that was not reached.
    fn nobody_reached(&self, reason: &str) -> Vec<MachineDelivery> {
        let exposed_until_unix = self.good.values().copied().max();
        self.managed
            .iter()
            .map(|machine| MachineDelivery {
                machine: machine.to_string(),
                outcome: DeliveryOutcome::NotReached {
                    reason: reason.to_owned(),
                    krl_version: 0,
                    exposed_until_unix,
                },
                millis: 0,
                changes: Vec::new(),
            })
            .collect()
    }
}

impl Admin {
    /// Brings what was applied to the machines, and says what is proven of it. It is applied by now, whatever happens here: no
    /// failure may keep the invitations from whoever asked.
    pub(super) async fn bring(&self, before: Before, reply: &mut PolicyApplied, events: &Events) {
        let text = format!("applied, durably: {}", reply.planned.document);
        drop(events.send(AdminEvent::Note { text }).await);
        if let Err(reason) = self.try_bring(&before, reply, events).await {
            tracing::error!(%reason, "what was applied could not be brought to the machines");
            let text = format!(
                "it is applied, but no machine has it yet: {reason}; mend this and run `ca-server sync`"
            );
            drop(events.send(AdminEvent::Note { text }).await);
            reply.machines = before.nobody_reached(&reason);
        }
        // Whoever was not reached is tried again by the keeper.
        self.ca.fleet_changed.notify_one();
    }

    async fn try_bring(
        &self,
        before: &Before,
        reply: &mut PolicyApplied,
        events: &Events,
    ) -> Result<(), String> {
        let ca = &self.ca;
        let krl = krl::current(ca).await.map_err(|error| error.to_string())?;
        wanted::refresh_all(ca)
            .await
            .map_err(|error| error.to_string())?;
        let ends = before
            .revoked_since(ca)
            .map_err(|error| error.to_string())?;
        reply.revoked_certificates = ends.len();
        reply.krl_version = krl.version;
        let exposed_until_unix = ends.into_iter().max();
        let all = ca
            .db
            .read(fleet)
            .map_err(|error: ReadError| error.to_string())?;
        let (changed, rest) = parted(all, &before.generations);
        let rest = if exposed_until_unix.is_some() {
            rest
        } else {
            Vec::new()
        };
        let (counted, counting) = counted(events.clone(), changed.len() + rest.len());
        let bring = |machines: Vec<(MachineName, FleetRecord)>, lanes| Push {
            machines: machines.into_iter().map(|(name, _)| name).collect(),
            lanes,
            exposed_until_unix,
        };
        let (mut machines, others) = tokio::join!(
            push(
                &self.courier,
                &krl,
                bring(changed, Lanes::Both),
                Some(&counted)
            ),
            push(&self.courier, &krl, bring(rest, Lanes::Krl), Some(&counted)),
        );
        drop(counted);
        // Whoever asked may be gone: that is no failure.
        drop(counting.await);
        machines.extend(others);
        machines.sort_by(|a, b| a.machine.cmp(&b.machine));
        reply.machines = machines;
        Ok(())
    }
}

type Machines = Vec<(MachineName, FleetRecord)>;

/// Machines in the CA's keeping whose generation rose, and all others.
fn parted(all: Machines, before: &BTreeMap<MachineName, u64>) -> (Machines, Machines) {
    all.into_iter().partition(|(name, record)| {
        record.status == MachineStatus::Managed && before.get(name) != Some(&record.generation)
    })
}

/// Two pushes at a time, counted as one.
fn counted(events: Events, total: usize) -> (Events, tokio::task::JoinHandle<()>) {
    let (sender, mut receiver) = mpsc::channel(64);
    let counting = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        while let Some(event) = receiver.recv().await {
            let event = match event {
                AdminEvent::Machine { state, .. } => {
                    seen.insert(state.machine.clone());
                    AdminEvent::Machine {
                        done: seen.len(),
                        total,
                        state,
                    }
                }
                other => other,
            };
            drop(events.send(event).await);
        }
    });
    (sender, counting)
}
