//! Commands that speak to machines: the proof at the end of bootstrap, and sync.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminEvent, AdminReply, DeliveryOutcome},
};
use policies::{MachineName, PoolName};

use super::{Admin, Events, change::store_error, look, machine, parse, parse_all, unknown};
use crate::{
    fleet::{
        deliver::Lanes,
        keeper::{Push, managed, push},
        wanted,
    },
    ledger::Actor,
    records::{FleetRecord, Reach, SeenRecord},
    revoke::krl,
};

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

impl Admin {
    /// The end of bootstrap: the server itself logs in as `ssh-ca-sync`, brings what is missing and reads back; only then
    /// is the machine in its keeping.
    pub(super) async fn confirm(
        &self,
        actor: Actor,
        name: &str,
        generation: u64,
        krl_version: u64,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let name: MachineName = parse(name)?;
        let record = machine::record(&self.ca, &name)?
            .ok_or_else(|| unknown("machine", &name, "machine"))?;
        if generation > record.generation {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("{name} reports generation {generation}, which this CA never made"),
            ));
        }
        tracing::info!(machine = %name, generation, krl_version, "bootstrap reports it proven");
        let krl = krl::current(&self.ca).await.map_err(unavailable)?;
        self.courier.publish(&krl);
        // Whether it is reached is what is to be found out.
        machine::try_push(&self.ca, &name).await?;
        let mut results = self.courier.order(vec![name.clone()], Lanes::Both);
        let attempt = results
            .recv()
            .await
            .ok_or_else(|| unavailable("the server is stopping; run bootstrap again later"))?;
        let event = AdminEvent::Machine {
            done: 1,
            total: 1,
            state: attempt.delivery.clone(),
        };
        drop(events.send(event).await);
        if let DeliveryOutcome::NotReached { reason, .. } = attempt.delivery.outcome {
            if record.pull.is_some() && !attempt.answered {
                let text = format!(
                    "the CA does not reach {name} itself ({reason}), so the machine fetches for itself"
                );
                drop(events.send(AdminEvent::Note { text }).await);
                // What an admin has read back over their own login, and proven with real logins.
                let seen = SeenRecord {
                    generation,
                    krl_version,
                    krl_covers: if krl_version == krl.version {
                        krl.covers
                    } else {
                        0
                    },
                    trouble: String::new(),
                    ..attempt.seen
                };
                machine::managed(&self.ca, actor, &name, seen, Reach::PullOnly).await?;
                return look::machine(&self.ca, name.as_str());
            }
            return Err(ApiError::new(
                ErrorCode::Unavailable,
                format!("the CA itself cannot keep {name}: {reason}"),
            )
            .hint(format!(
                "it must reach {}:{} by ssh; mend that and run bootstrap again: it goes on from here",
                record.address, record.port
            )));
        }
        machine::managed(&self.ca, actor, &name, attempt.seen, Reach::PushToo).await?;
        look::machine(&self.ca, name.as_str())
    }

    /// The machines that are named, or of the pool, or all that the server keeps.
    pub(super) fn chosen(
        &self,
        machines: &[String],
        pool: Option<&str>,
    ) -> Result<Vec<(MachineName, FleetRecord)>, ApiError> {
        let wanted: Vec<MachineName> = parse_all(machines)?;
        let pool: Option<PoolName> = pool.map(parse).transpose()?;
        let all = managed(&self.ca).map_err(|error| store_error(&error.into()))?;
        for name in &wanted {
            if !all.iter().any(|(known, _)| known == name) {
                return Err(unknown("machine", name, "machine"));
            }
        }
        let compiled = look::compiled(&self.ca)?;
        if let Some(pool) = &pool {
            super::pool::known(&compiled.policy, pool)?;
        }
        Ok(all
            .into_iter()
            .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
            .filter(|(name, _)| {
                pool.as_ref()
                    .is_none_or(|pool| compiled.index.pools_of(name).any(|held| held == pool))
            })
            .collect())
    }

    /// `sync`.
    pub(super) async fn sync(
        &self,
        machines: &[String],
        pool: Option<&str>,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let krl = krl::current(&self.ca).await.map_err(unavailable)?;
        wanted::refresh_all(&self.ca).await.map_err(unavailable)?;
        let what = Push {
            machines: self
                .chosen(machines, pool)?
                .into_iter()
                .map(|(name, _)| name)
                .collect(),
            lanes: Lanes::Both,
            exposed_until_unix: None,
        };
        let deliveries = push(&self.courier, &krl, what, Some(events)).await;
        Ok(AdminReply::Synced(deliveries))
    }
}
