//! Orders that lie where a machine fetches, until it has obeyed them: one for each machine at most, which asks for all that is wanted of it.
//!
//! The place may be anybody's. Who keeps it may hold an order back, and bring it later: so it ends ([`Shelf`]), and one that takes the CA off a
//! machine means nothing to that machine once it was added again. What was obeyed is known from the machine's own report alone.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::admin::WaitingOrderView;
use ca_machine::{
    Namespace, Order,
    order::{Connection, Sessions, Shelf, SignedOrder, Task},
    sign::SignError,
};
use policies::MachineName;

use crate::{
    ca::{Ca, unix_ms},
    fleet::{
        deliver::{current_record, seen},
        orders::next_number,
        wanted,
    },
    ledger::{Actor, Event},
    records::{FleetRecord, MachineStatus, WaitingOrder, WaitingTask},
    signer::SigningKey,
    store::{Read, ReadError, StoreError, Table, WriteError},
};

/// How long a removal is good, in seconds: as long as a bundle. It is made anew at half of that.
const REMOVAL_SECS: i64 = 30 * 24 * 3600;

/// How long the end of sessions is good, in seconds: nobody's session is ended by surprise a week later.
const SESSIONS_SECS: i64 = 24 * 3600;

/// The most sessions that one order names.
const MOST: usize = 1000;

/// How often an order is made anew because another one was laid there meanwhile.
const TRIES: u32 = 4;

/// Why no order lies there.
#[derive(Debug, thiserror::Error)]
pub enum LayError {
    /// It fetches nothing.
    #[error("{0} does not fetch for itself")]
    NotPulling(MachineName),
    /// It is none that leaves.
    #[error("{0} is not being removed any more: it was removed meanwhile, or added again")]
    NotLeaving(MachineName),
    /// The fleet key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store.
    #[error("what is known of it cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The ledger: nothing lies there.
    #[error("the order could not be written down, so it was not published: {0}")]
    Store(StoreError),
    /// Others were quicker, again and again.
    #[error("too many others changed what is wanted of it at the same time; ask again")]
    Busy,
}

/// Lays an order where `machine` fetches, with what the one asks for that lies there. One that lies there as it must stays.
///
/// # Errors
/// [`LayError`]: nothing new lies there.
pub async fn lay(
    ca: &Ca,
    actor: &Actor,
    machine: &MachineName,
    task: &WaitingTask,
) -> Result<WaitingOrder, LayError> {
    for _ in 0..TRIES {
        let record = current_record(ca, machine)?;
        let Some((record, pull)) = record
            .as_ref()
            .and_then(|record| Some((record, record.pull.as_ref()?)))
        else {
            return Err(LayError::NotPulling(machine.clone()));
        };
        let obeyed = seen(ca, machine)?.order;
        let now = ca.clock.now().unix_timestamp();
        let lies = pull.order.as_ref().filter(|order| order.until_unix > now);
        let task = joined(lies.map(|order| &order.task), task);
        if task == WaitingTask::Remove && record.status != MachineStatus::Leaving {
            return Err(LayError::NotLeaving(machine.clone()));
        }
        if let Some(lies) = lies
            && lies.task == task
            && lies.number > obeyed
            && now < lies.made_unix.midpoint(lies.until_unix)
            && wanted::signed(&ca.keys(), Namespace::Order, &lies.order, &lies.signature).is_ok()
        {
            return Ok(lies.clone());
        }
        let above = pull.order.as_ref().map_or(0, |order| order.number);
        let number = next_number(ca, obeyed.max(above));
        let order = made(ca, machine, record, task, number).await?;
        if put(ca, actor, machine, pull.order.as_ref(), &order).await? {
            return Ok(order);
        }
    }
    Err(LayError::Busy)
}

/// What both ask for: once the CA is off, no session of its is left to end.
fn joined(lies: Option<&WaitingTask>, wanted: &WaitingTask) -> WaitingTask {
    match (lies, wanted) {
        (Some(WaitingTask::EndSessions(some)), WaitingTask::EndSessions(more)) => {
            let all: BTreeSet<_> = some.union(more).copied().collect();
            WaitingTask::EndSessions(if all.len() > MOST { more.clone() } else { all })
        }
        (Some(WaitingTask::Remove), _) => WaitingTask::Remove,
        (_, wanted) => wanted.clone(),
    }
}

async fn made(
    ca: &Ca,
    machine: &MachineName,
    record: &FleetRecord,
    task: WaitingTask,
    number: u64,
) -> Result<WaitingOrder, LayError> {
    let made_unix = ca.clock.now().unix_timestamp();
    let (secs, generation, order) = match &task {
        WaitingTask::Remove => (REMOVAL_SECS, Some(record.generation), Task::Remove),
        WaitingTask::EndSessions(connections) => {
            let connections = connections
                .iter()
                .map(|&(pid, started)| Connection { pid, started })
                .collect();
            let sessions = Sessions {
                connections,
                ..Sessions::default()
            };
            (SESSIONS_SECS, None, Task::EndSessions(sessions))
        }
    };
    let until_unix = made_unix + secs;
    let order = Order {
        machine: machine.clone(),
        number,
        task: order,
        shelf: Some(Shelf {
            until_unix: u64::try_from(until_unix).unwrap_or(0),
            generation,
        }),
    };
    // A fleet key in hardware takes its time.
    let keys = ca.keys();
    let signed =
        tokio::task::spawn_blocking(move || order.sign(&SigningKey(keys.fleet.current().as_ref())));
    let SignedOrder { signed, .. } = match signed.await {
        Ok(signed) => signed?,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    Ok(WaitingOrder {
        number,
        task,
        made_unix,
        until_unix,
        order: STANDARD.encode(signed.object()),
        signature: signed.signature().to_owned(),
    })
}

/// Stores an order and what the ledger says of it, if `before` still lies there; whether it did.
async fn put(
    ca: &Ca,
    actor: &Actor,
    machine: &MachineName,
    before: Option<&WaitingOrder>,
    order: &WaitingOrder,
) -> Result<bool, LayError> {
    let (at, actor, machine) = (unix_ms(ca.clock.now()), actor.clone(), machine.clone());
    let (before, order) = (before.cloned(), order.clone());
    let written = ca
        .db
        .write_async(move |txn| {
            let key = machine.as_str().as_bytes();
            let Some(mut record) = txn.get_json::<FleetRecord>(Table::Fleet, key)? else {
                return Ok(false);
            };
            let leaves = record.status == MachineStatus::Leaving;
            let Some(pull) = &mut record.pull else {
                return Ok(false);
            };
            if pull.order != before || (order.task == WaitingTask::Remove && !leaves) {
                return Ok(false);
            }
            pull.order = Some(order.clone());
            txn.put_json(Table::Fleet, key, &record);
            for event in events(&machine, &order) {
                txn.record(at, &actor, &event);
            }
            Ok::<_, ReadError>(true)
        })
        .await;
    written.map_err(|error| match error {
        WriteError::Refused(error) => error.into(),
        WriteError::Store(error) => LayError::Store(error),
    })
}

fn events(machine: &MachineName, order: &WaitingOrder) -> Vec<Event> {
    match &order.task {
        WaitingTask::Remove => vec![Event::MachineRemovalOrdered {
            machine: machine.clone(),
            number: order.number,
        }],
        WaitingTask::EndSessions(connections) => connections
            .iter()
            .map(|(pid, started)| Event::SessionEndOrdered {
                machine: machine.clone(),
                session: format!("{pid}-{started}"),
                number: order.number,
            })
            .collect(),
    }
}

/// What a report says of the order that lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: it was not fetched yet, or none lies there.
    Nothing,
    /// It was obeyed.
    Obeyed(u64),
    /// Its number is used up there, and what it asks for was not done: another order came before it, or the machine died when it began.
    Again(WaitingTask),
}

/// What a machine's report says of the order that lies there: `number` is the last that it obeyed.
#[must_use]
pub fn heard(lies: Option<&WaitingOrder>, number: u64) -> Heard {
    match lies {
        Some(order) if number >= order.number => match &order.task {
            WaitingTask::EndSessions(_) if number == order.number => Heard::Obeyed(number),
            // One that took the CA off says so in another way, and never again how it stands.
            task => Heard::Again(task.clone()),
        },
        _ => Heard::Nothing,
    }
}

/// As the commands show it.
#[must_use]
pub fn view(order: &WaitingOrder) -> WaitingOrderView {
    WaitingOrderView {
        verb: match order.task {
            WaitingTask::Remove => "remove",
            WaitingTask::EndSessions(_) => "end-sessions",
        }
        .to_owned(),
        number: order.number,
        made_unix: order.made_unix,
        until_unix: order.until_unix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(all: &[(u32, u64)]) -> WaitingTask {
        WaitingTask::EndSessions(all.iter().copied().collect())
    }

    #[test]
    fn an_order_asks_for_what_the_one_before_it_asked_for() {
        let (one, two) = (sessions(&[(1, 10)]), sessions(&[(2, 20)]));
        assert_eq!(joined(None, &one), one);
        assert_eq!(joined(Some(&one), &two), sessions(&[(1, 10), (2, 20)]));
        assert_eq!(
            joined(Some(&one), &WaitingTask::Remove),
            WaitingTask::Remove
        );
        assert_eq!(
            joined(Some(&WaitingTask::Remove), &one),
            WaitingTask::Remove
        );
        let many: BTreeSet<_> = (0..1000).map(|pid| (pid, 1)).collect();
        let many = WaitingTask::EndSessions(many);
        assert_eq!(joined(Some(&many), &one).clone(), one, "bounded");
    }

    #[test]
    fn r8_a_number_that_is_used_up_counts_as_obeyed_only_where_that_is_certain() {
        let order = |number, task: &WaitingTask| WaitingOrder {
            number,
            task: task.clone(),
            made_unix: 0,
            until_unix: 1,
            order: String::new(),
            signature: String::new(),
        };
        let (end, remove) = (sessions(&[(1, 10)]), WaitingTask::Remove);
        assert_eq!(heard(None, 7), Heard::Nothing);
        assert_eq!(heard(Some(&order(7, &end)), 6), Heard::Nothing);
        assert_eq!(heard(Some(&order(7, &end)), 7), Heard::Obeyed(7));
        assert_eq!(heard(Some(&order(7, &end)), 8), Heard::Again(end.clone()));
        for number in [7, 8] {
            let heard = heard(Some(&order(7, &remove)), number);
            assert_eq!(heard, Heard::Again(remove.clone()), "it still stands there");
        }
    }
}
