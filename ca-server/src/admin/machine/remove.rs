//! `machine remove`: out of every pool at once, then the CA off the machine, then out of the store.
//!
//! The decision is durable before the machine is asked, and employees' ssh refuses its host certificate from then on. A machine that is not
//! reached stays known as leaving: it gets revocations, and is asked again, until it has taken the CA off.

use std::{sync::Arc, time::Duration};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, MachineRemoved, RemovalOutcome},
};
use ca_machine::{Report, knock, report::Event as MachineEvent};
use policies::MachineName;
use ssh_key::PublicKey;
use tokio::task::JoinSet;

use super::{put_removed_host, with_record};
use crate::{
    admin::{
        Admin,
        change::{Editing, store_error},
        machine, parse, unknown,
    },
    ca::Ca,
    fleet::{
        agent::SyncAgent,
        deliver::{self, target},
        keeper::managed,
        leaving::{LeaveError, Off, take_off},
        pull::waiting,
    },
    ledger::{Actor, Event},
    records::{FleetRecord, MachineStatus, WaitingTask},
    store::Table,
};

/// How often a machine that leaves is asked again.
const AGAIN: Duration = Duration::from_secs(60);

/// How long a machine may take for sshd's banner.
const KNOCK: Duration = Duration::from_secs(5);

/// What becomes of the CA's files on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They are taken off, then the machine is forgotten.
    TakeOff,
    /// They stay where they are, or are off already: the machine is forgotten at once.
    Leave,
}

impl Admin {
    /// `machine remove`.
    pub(in crate::admin) async fn remove_machine(
        &self,
        actor: Actor,
        machine: &str,
        files: Files,
    ) -> Result<AdminReply, ApiError> {
        let name: MachineName = parse(machine)?;
        let ca = &self.ca;
        machine::record(ca, &name)?.ok_or_else(|| unknown("machine", &name, "machine"))?;
        let removed = |outcome| {
            Ok(AdminReply::MachineRemoved(MachineRemoved {
                machine: name.to_string(),
                outcome,
            }))
        };
        if files == Files::Leave {
            forget(ca, actor, &name, Known::Anyhow).await?;
            return removed(RemovalOutcome::Left);
        }
        let Some(_turn) = ca.leaving.begin(&name) else {
            let what = format!("{name} is being taken off right now; see `ca-server machine list`");
            return Err(ApiError::new(ErrorCode::Busy, what));
        };
        leave(ca, actor.clone(), &name).await?;
        // Whichever comes first, the CA or the machine's own timer.
        if let Some(fetches) = lay(ca, &actor, &name).await? {
            return removed(fetches);
        }
        match take_off(ca, &self.agent, &actor, &name).await {
            Ok(off) => {
                let outcome = match off {
                    Off::Reported(report) => {
                        let sshd_answers = answers(ca, &self.agent, &name).await;
                        taken_off(&report, sshd_answers)
                    }
                    Off::Shut => RemovalOutcome::Shut,
                };
                forget(ca, actor, &name, Known::AsLeaving).await?;
                removed(outcome)
            }
            Err(LeaveError::Read(error)) => Err(store_error(&error.into())),
            Err(error @ LeaveError::NotLeaving(_)) => {
                Err(ApiError::new(ErrorCode::Conflict, error.to_string()))
            }
            Err(LeaveError::Order(error)) => removed(RemovalOutcome::Waiting {
                reason: error.to_string(),
            }),
        }
    }
}

/// Lays the order where the machine fetches, if it does; says so where that is the only way to it.
async fn lay(
    ca: &Arc<Ca>,
    actor: &Actor,
    name: &MachineName,
) -> Result<Option<RemovalOutcome>, ApiError> {
    let Some(record) = machine::record(ca, name)? else {
        return Ok(None);
    };
    let Some(pull) = &record.pull else {
        return Ok(None);
    };
    let laid = waiting::lay(ca, actor, name, &WaitingTask::Remove).await;
    if record.is_pushed_to() {
        if let Err(error) = laid {
            tracing::warn!(machine = %name, %error, "the order does not lie where it fetches");
        }
        return Ok(None);
    }
    let seen = deliver::seen(ca, name).map_err(|error| store_error(&error.into()))?;
    Ok(Some(match laid {
        Ok(order) => RemovalOutcome::Fetches {
            tree: pull.tree.clone(),
            until_unix: order.until_unix,
            reported_unix: seen.reported_unix,
        },
        Err(error) => RemovalOutcome::Waiting {
            reason: error.to_string(),
        },
    }))
}

/// Does sshd answer there still? Its listener may be shut for a moment after the reload.
async fn answers(ca: &Ca, agent: &SyncAgent, name: &MachineName) -> bool {
    let Ok(Some(record)) = machine::record(ca, name) else {
        return false;
    };
    let Ok(target) = target(ca, agent, &record) else {
        return false;
    };
    for _ in 0..10 {
        if knock(&target, KNOCK).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    false
}

fn taken_off(report: &Report, sshd_answers: bool) -> RemovalOutcome {
    let (mut files, mut accounts, mut notes) = (0, Vec::new(), Vec::new());
    for event in &report.events {
        match event {
            MachineEvent::File { .. } => files += 1,
            MachineEvent::Account { name, change } => accounts.push(format!("{name} {change}")),
            MachineEvent::Warning { detail, .. } => notes.push(detail.clone()),
            _ => {}
        }
    }
    RemovalOutcome::TakenOff {
        files,
        accounts,
        notes,
        sshd_answers,
    }
}

/// From now on it is in no pool, and its host key is no machine's. Done before, it changes nothing.
async fn leave(ca: &Arc<Ca>, actor: Actor, name: &MachineName) -> Result<(), ApiError> {
    let machine = name.clone();
    with_record(ca, actor, name, move |policy, mut record, editing| {
        if record.status == MachineStatus::Leaving {
            return Ok(());
        }
        policy.machines.remove(&machine);
        record.status = MachineStatus::Leaving;
        let key = machine.as_str().as_bytes();
        editing.txn.put_json(Table::Fleet, key, &record);
        host_key_is_no_machines(editing, &record);
        editing.record(&Event::MachineLeaving {
            machine: machine.clone(),
        });
        Ok(())
    })
    .await
}

/// A machine has reported that the CA is off it, as it was ordered to: out of the store.
///
/// # Errors
/// When it was added again meanwhile, or the store fails.
pub async fn forget_reported(ca: &Arc<Ca>, name: &MachineName) -> Result<(), ApiError> {
    forget(ca, Actor::Server, name, Known::AsLeaving).await
}

/// As what a machine must still be known when it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Whatever it is.
    Anyhow,
    /// As one that leaves: it may have been added again meanwhile.
    AsLeaving,
}

/// Out of the store.
async fn forget(
    ca: &Arc<Ca>,
    actor: Actor,
    name: &MachineName,
    known: Known,
) -> Result<(), ApiError> {
    let machine = name.clone();
    with_record(ca, actor, name, move |policy, record, editing| {
        if known == Known::AsLeaving && record.status != MachineStatus::Leaving {
            let error = LeaveError::NotLeaving(machine.clone());
            return Err(ApiError::new(ErrorCode::Conflict, error.to_string()).into());
        }
        policy.machines.remove(&machine);
        let key = machine.as_str().as_bytes();
        editing.txn.delete(Table::Fleet, key);
        editing.txn.unrecorded().delete(Table::Seen, key);
        editing.txn.unrecorded().delete(Table::Checks, key);
        host_key_is_no_machines(editing, &record);
        editing.record(&Event::MachineRemoved {
            machine: machine.clone(),
        });
        Ok(())
    })
    .await
}

fn host_key_is_no_machines(editing: &mut Editing<'_, '_>, record: &FleetRecord) {
    if let Ok(key) = PublicKey::from_openssh(&record.host_key) {
        put_removed_host(editing, &key, &record.host_key);
    }
}

/// Asks machines that leave again, each minute, until `stop`.
pub async fn keep(
    ca: Arc<Ca>,
    agent: Arc<SyncAgent>,
    mut stop: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            _ = stop.changed() => return,
        }
        let leaving = match managed(&ca) {
            Ok(all) => all
                .into_iter()
                .filter(|(_, record)| record.status == MachineStatus::Leaving),
            Err(error) => {
                tracing::error!(%error, "machines that leave could not be looked at");
                continue;
            }
        };
        let turns = Arc::new(tokio::sync::Semaphore::new(ca.config.sync.parallel));
        let mut walks = JoinSet::new();
        for (name, record) in leaving {
            let (ca, agent, turns) = (Arc::clone(&ca), Arc::clone(&agent), Arc::clone(&turns));
            walks.spawn(async move {
                let _place = turns.acquire().await;
                again(&ca, &agent, &name, &record).await;
            });
        }
        tokio::select! {
            () = async { while walks.join_next().await.is_some() {} } => {}
            _ = stop.changed() => return,
        }
    }
}

async fn again(ca: &Arc<Ca>, agent: &SyncAgent, name: &MachineName, record: &FleetRecord) {
    let Some(_turn) = ca.leaving.begin(name) else {
        return;
    };
    if record.pull.is_some() {
        // One that grows old is made anew.
        if let Err(error) = waiting::lay(ca, &Actor::Server, name, &WaitingTask::Remove).await {
            tracing::warn!(machine = %name, %error, "the order does not lie where it fetches");
        }
        if !record.is_pushed_to() {
            return;
        }
    }
    // A machine that is off costs a socket.
    match target(ca, agent, record) {
        Ok(target) if knock(&target, KNOCK).await.is_ok() => {}
        Ok(_) | Err(_) => return,
    }
    match take_off(ca, agent, &Actor::Server, name).await {
        Ok(_) => match forget(ca, Actor::Server, name, Known::AsLeaving).await {
            Ok(()) => tracing::info!(machine = %name, "the CA is off it: removed"),
            Err(error) => tracing::error!(machine = %name, %error, "it could not be removed"),
        },
        Err(error) => {
            tracing::info!(machine = %name, %error, "the CA is not off it yet; tried again");
        }
    }
}
