//! What was applied reaches the machines: those with a new generation, and where something was revoked every other too.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminEvent, PolicyApplied},
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
};

/// What was so before: generations, and certificates that were live and good.
pub(super) struct Before {
    generations: BTreeMap<MachineName, u64>,
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
                let generations = fleet(view)?
                    .into_iter()
                    .map(|(name, record)| (name, record.generation))
                    .collect();
                Ok(Self { generations, good })
            })
            .map_err(failed)
    }

    /// Those of its certificates that are revoked now, with when each would have ended.
    fn revoked_since(&self, ca: &Ca) -> Result<Vec<i64>, ApiError> {
        let now = ca.clock.now().unix_timestamp();
        ca.db
            .read(|view| {
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
            .map_err(failed)
    }
}

impl Admin {
    /// Brings what was applied to the machines, and says what is proven of it.
    pub(super) async fn bring(
        &self,
        before: Before,
        reply: &mut PolicyApplied,
        events: &Events,
    ) -> Result<(), ApiError> {
        let ca = &self.ca;
        let text = format!("applied, durably: {}", reply.planned.document);
        drop(events.send(AdminEvent::Note { text }).await);
        let unavailable = |error: String| {
            tracing::error!(%error, "what was applied could not be brought to the machines");
            ApiError::new(
                ErrorCode::Unavailable,
                format!("the policy is applied, durably, but {error}"),
            )
            .hint("mend this and run `ca-server sync`; `ca-server audit list` shows what was done")
        };
        let krl = krl::current(ca)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        wanted::refresh_all(ca)
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        let ends = before.revoked_since(ca)?;
        reply.revoked_certificates = ends.len();
        reply.krl_version = krl.version;
        let exposed_until_unix = ends.into_iter().max();
        let all = ca.db.read(fleet).map_err(failed)?;
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
        // Whoever was not reached is tried again by the keeper.
        ca.fleet_changed.notify_one();
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
