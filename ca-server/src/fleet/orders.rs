//! Orders to one machine: numbered, in the ledger before they leave, signed by the fleet key, sent once each.

use std::sync::atomic::{AtomicU64, Ordering};

use ca_machine::{Bundle, Order, Report, Request, exchange, order::Task, sign::SignError};
use policies::MachineName;

use super::{
    agent::SyncAgent,
    deliver::{limits, seen, target},
    succession,
};
use crate::{
    ca::{Ca, unix_ms},
    ledger::{Actor, Event},
    records::FleetRecord,
    signer::SigningKey,
    store::{ReadError, StoreError, Txn, WriteError},
};

/// How often an order is made anew where the machine has seen a higher number.
const TRIES: u32 = 4;

/// The number of the last order that was signed. Numbers follow the clock, so that a new process starts above those of the last; where the
/// clock stepped back, the machine says which number it has seen.
static LAST_ORDER: AtomicU64 = AtomicU64::new(0);

/// Why an order was not obeyed, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// What is stored of the machine.
    #[error("what is stored of it cannot be used: {0}")]
    Record(#[from] ssh_key::Error),
    /// The fleet key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The store.
    #[error("what is known of it cannot be read: {0}")]
    Store(#[from] ReadError),
    /// The ledger: nothing was sent.
    #[error("the order could not be written down, so it was not sent: {0}")]
    Ledger(StoreError),
    /// No answer: whether it was obeyed is not known.
    #[error(transparent)]
    Run(#[from] ca_machine::RunError),
    /// The machine says no.
    #[error("it refused ({code}): {detail}")]
    Refused {
        /// Its word for it.
        code: String,
        /// Its sentence.
        detail: String,
    },
}

/// Sends an order. `note` writes it down with its number, in one transaction, before it is signed.
///
/// # Errors
/// [`OrderError`]; all but [`OrderError::Run`] say that it was not obeyed.
pub async fn order<F>(
    ca: &Ca,
    agent: &SyncAgent,
    actor: &Actor,
    (name, record): (&MachineName, &FleetRecord),
    task: &Task,
    note: F,
) -> Result<Report, OrderError>
where
    F: Fn(&mut Txn<'_>, u64) -> Result<Vec<Event>, ReadError> + Clone + Send + 'static,
{
    let target = target(ca, agent, record)?;
    let mut number = next_number(ca, 0);
    let mut tries = 1;
    loop {
        let order = Order {
            machine: name.clone(),
            number,
            task: task.clone(),
            // Obeyed over this connection, or nowhere.
            shelf: None,
        };
        write_down(ca, actor, number, note.clone()).await?;
        let keys = ca.keys();
        let chain = succession::chain(ca, &keys)?;
        let request = Request::Order {
            order: order.sign(&SigningKey(keys.fleet.current().as_ref()))?,
            successions: chain.onward(&seen(ca, name)?.fleet_keys),
        };
        let report = exchange(&target, &request, &limits(ca)).await?;
        let Some((code, detail)) = report.refusal() else {
            return Ok(report);
        };
        // Another order was quicker, or this server's clock stepped back: the next one is above what the machine has seen.
        if code == "old-order" && tries < TRIES {
            tries += 1;
            number = next_number(ca, seen_there(detail).unwrap_or(0));
            continue;
        }
        return Err(OrderError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
    }
}

async fn write_down<F>(ca: &Ca, actor: &Actor, number: u64, note: F) -> Result<(), OrderError>
where
    F: Fn(&mut Txn<'_>, u64) -> Result<Vec<Event>, ReadError> + Send + 'static,
{
    let (at, actor) = (unix_ms(ca.clock.now()), actor.clone());
    let written = ca
        .db
        .write_async(move |txn| {
            for event in note(txn, number)? {
                txn.record(at, &actor, &event);
            }
            Ok::<_, ReadError>(())
        })
        .await;
    written.map_err(|error| {
        OrderError::Ledger(match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Store(error) => error,
        })
    })
}

/// The number in `order N came, but M was here already`: a machine that lies about it harms its own next orders alone.
fn seen_there(detail: &str) -> Option<u64> {
    let rest = detail.split_once(", but ")?.1;
    let number: u64 = rest.split(' ').next()?.parse().ok()?;
    // Room is left above it, so that no machine can use the numbers up.
    (number < Bundle::MAX_NUMBER / 2).then_some(number)
}

/// The next number: above every one of this process, above `seen`, and in step with the clock (microseconds).
pub(super) fn next_number(ca: &Ca, seen: u64) -> u64 {
    let clock = ca.clock.now().unix_timestamp_nanos() / 1000;
    let least = u64::try_from(clock).unwrap_or(1).max(seen + 1);
    if seen > 0 && least > u64::try_from(clock).unwrap_or(1) {
        // What one machine says does not move the others' numbers.
        return least;
    }
    let next = |last: u64| Some(least.max(last + 1));
    let last = LAST_ORDER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    least.max(last.unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_machine_has_seen_is_read_from_its_refusal() {
        let detail = "order 5 came, but 77 was here already; an order is obeyed once";
        assert_eq!(seen_there(detail), Some(77));
        assert_eq!(
            seen_there("order 5 came, but 999999999999999999 was here"),
            None
        );
        assert_eq!(seen_there("no"), None);
    }

    proptest! {
        #[test]
        fn w3_no_refusal_panics(text in ".{0,60}") {
            let _ = seen_there(&text);
        }
    }
}
