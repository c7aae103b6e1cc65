//! A machine that leaves: the order that takes the CA off it, and what its answer, or its silence, is worth.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use ca_machine::{OpenError, Report, Request, RunError, exchange, order::Task};
use policies::MachineName;

use super::{
    agent::SyncAgent,
    deliver::{current_record, limits, target},
    orders::{OrderError, order},
};
use crate::{
    ca::Ca,
    ledger::{Actor, Event},
    records::{FleetRecord, MachineStatus},
    store::{Read, ReadError, Table},
};

/// Machines that are being taken off right now: one attempt at a time.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<BTreeSet<MachineName>>);

impl UnderWay {
    /// The turn to take this machine off, or `None` while somebody else has it.
    #[must_use]
    pub fn begin<'a>(&'a self, machine: &MachineName) -> Option<Turn<'a>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(machine.clone()).then(|| Turn {
            all: self,
            machine: machine.clone(),
        })
    }
}

/// The turn to take a machine off; it ends when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    all: &'a UnderWay,
    machine: MachineName,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut held = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(&self.machine);
    }
}

/// The CA is off a machine.
#[derive(Debug)]
pub enum Off {
    /// By the machine's own report.
    Reported(Box<Report>),
    /// An order was sent over a lane that stood, its answer was lost, and that lane is shut now. What lets the CA in and what makes the machine
    /// trust it are one file of its sshd's.
    Shut,
}

/// Why the CA is not known to be off a machine.
#[derive(Debug, thiserror::Error)]
pub enum LeaveError {
    /// It is none that leaves.
    #[error("{0} is not being removed any more: it was removed meanwhile, or added again")]
    NotLeaving(MachineName),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The machine, or the way to it.
    #[error(transparent)]
    Order(#[from] OrderError),
}

/// Takes the CA off a machine that leaves.
///
/// # Errors
/// [`LeaveError`]: it is not known to be off; the machine finishes by itself what it began.
pub async fn take_off(
    ca: &Ca,
    agent: &SyncAgent,
    actor: &Actor,
    name: &MachineName,
) -> Result<Off, LeaveError> {
    let mut tries = 1;
    loop {
        let record = current_record(ca, name)?
            .filter(|record| record.status == MachineStatus::Leaving)
            .ok_or_else(|| LeaveError::NotLeaving(name.clone()))?;
        // An order counts as sent only where the lane stood right before: what shuts it then is the order.
        match lane_stands(ca, agent, &record).await {
            Ok(()) => {}
            Err(OrderError::Run(RunError::Open(OpenError::Refused { .. })))
                if record.removal_ordered.is_some() =>
            {
                return Ok(Off::Shut);
            }
            Err(error) => return Err(error.into()),
        }
        let machine = name.clone();
        let note = move |txn: &mut crate::store::Txn<'_>, number: u64| {
            let key = machine.as_str().as_bytes();
            if let Some(record) = txn.get_json::<FleetRecord>(Table::Fleet, key)? {
                let ordered = FleetRecord {
                    removal_ordered: Some(number),
                    ..record
                };
                txn.put_json(Table::Fleet, key, &ordered);
            }
            Ok(vec![Event::MachineRemovalOrdered {
                machine: machine.clone(),
                number,
            }])
        };
        match order(ca, agent, actor, (name, &record), &Task::Remove, note).await {
            Ok(report) => return Ok(Off::Reported(Box::new(report))),
            // The answer was lost, perhaps because it was obeyed.
            Err(OrderError::Run(_)) if tries < 2 => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

async fn lane_stands(ca: &Ca, agent: &SyncAgent, record: &FleetRecord) -> Result<(), OrderError> {
    let target = target(ca, agent, record)?;
    let report = exchange(&target, &Request::Report, &limits(ca)).await?;
    match report.refusal() {
        None => Ok(()),
        Some((code, detail)) => Err(OrderError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attempt_at_a_time() {
        let all = UnderWay::default();
        let web: MachineName = "web-1".parse().unwrap();
        let turn = all.begin(&web).unwrap();
        assert!(all.begin(&web).is_none());
        assert!(all.begin(&"web-2".parse().unwrap()).is_some());
        drop(turn);
        assert!(all.begin(&web).is_some());
    }
}
