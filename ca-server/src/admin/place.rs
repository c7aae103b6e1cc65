//! Commands that speak to machines: the proof at the end of bootstrap, sync, check-up.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminEvent, AdminReply, DeliveryOutcome, MachineCheck},
};
use ca_machine::{Request, exchange, report::Event as MachineEvent};
use policies::{MachineName, PoolName};
use tokio::task::JoinSet;

use super::{Admin, Events, change::store_error, look, machine, parse, parse_all, unknown};
use crate::{
    fleet::{
        deliver::{Lanes, limits, target},
        keeper::{Push, managed, push},
        wanted,
    },
    ledger::Actor,
    records::FleetRecord,
    revoke::krl,
};

/// What a check-up does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    LookOnly,
    Repair,
}

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
            return Err(ApiError::new(
                ErrorCode::Unavailable,
                format!("the CA itself cannot keep {name}: {reason}"),
            )
            .hint(format!(
                "it must reach {}:{} by ssh; mend that and run bootstrap again: it goes on from here",
                record.address, record.port
            )));
        }
        machine::managed(&self.ca, actor, &name, attempt.seen).await?;
        look::machine(&self.ca, name.as_str())
    }

    fn chosen(
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

    /// `check`.
    pub(super) async fn check(
        &self,
        machines: &[String],
        pool: Option<&str>,
        mend: Mend,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let chosen = self.chosen(machines, pool)?;
        if mend == Mend::Repair {
            let names: Vec<String> = chosen.iter().map(|(name, _)| name.to_string()).collect();
            self.sync(&names, None, events).await?;
        }
        let turns = std::sync::Arc::new(tokio::sync::Semaphore::new(self.ca.config.sync.parallel));
        let mut running = JoinSet::new();
        for (name, record) in chosen {
            let (ca, agent, turns) = (self.ca.clone(), self.agent.clone(), turns.clone());
            running.spawn(async move {
                let _turn = turns.acquire().await;
                let answer = match target(&ca, &agent, &record) {
                    Ok(target) => exchange(&target, &Request::Check, &limits(&ca))
                        .await
                        .map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                match answer {
                    Ok(report) => MachineCheck {
                        machine: name.to_string(),
                        reached: true,
                        findings: findings(&report, &record, &name),
                    },
                    Err(reason) => MachineCheck {
                        machine: name.to_string(),
                        reached: false,
                        findings: vec![reason],
                    },
                }
            });
        }
        let mut checks: Vec<MachineCheck> = running.join_all().await;
        checks.sort_by(|a, b| a.machine.cmp(&b.machine));
        Ok(AdminReply::Checked(checks))
    }
}

fn findings(report: &ca_machine::Report, record: &FleetRecord, name: &MachineName) -> Vec<String> {
    let mut findings: Vec<String> = report
        .events
        .iter()
        .filter_map(|event| match event {
            MachineEvent::Drift { path, what } => Some(format!(
                "{path} is {what}: `ca-server check {name} --repair` puts it right"
            )),
            MachineEvent::Warning { code, detail } => Some(format!("{code}: {detail}")),
            MachineEvent::Refused { code, detail } => {
                Some(format!("it refused ({code}): {detail}"))
            }
            _ => None,
        })
        .collect();
    if let Some(state) = report.state() {
        if state.applied_generation != record.generation {
            findings.push(format!(
                "its configuration is of generation {}, wanted is {}: `ca-server sync {name}`",
                state.applied_generation, record.generation
            ));
        }
        if state.krl_canaries != "ok" {
            findings.push(format!(
                "its KRL is not judged as it must be: `ca-server sync {name}`"
            ));
        }
        if state.stale {
            findings.push("its configuration is stale: is it reached by sync?".to_owned());
        }
    }
    findings
}
