//! Live ssh sessions across the fleet: who is behind each, and the order that ends one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, NotReached, SessionView, SessionsEnded, SessionsView},
};
use ca_machine::{
    Order, Report, Request, exchange,
    order::Connection,
    report::{Session, SessionState},
    sign::SignError,
    spec::SYNC_ACCOUNT,
};
use policies::{Email, MachineName, profile::KeyId};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Admin, change::store_error, parse, unknown};
use crate::{
    ca::{Ca, unix_ms},
    fleet::{
        agent::SyncAgent,
        deliver::{limits, seen, target},
        succession,
    },
    ledger::{Actor, Event},
    records::FleetRecord,
    signer::SigningKey,
    store::{ReadError, WriteError},
};

/// The most sessions that one command ends.
const MOST: usize = 1000;

/// The number of the last order that was signed. Numbers follow the clock, so that a new process starts above those of the last; where the
/// clock stepped back, the machine says which number it has seen.
static LAST_ORDER: AtomicU64 = AtomicU64::new(0);

/// A session as a command names it: `MACHINE:PID-STARTED`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    machine: MachineName,
    pid: u32,
    started: u64,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}-{}", self.machine, self.pid, self.started)
    }
}

impl Id {
    fn of(machine: &MachineName, session: &Session) -> Self {
        Self {
            machine: machine.clone(),
            pid: session.pid,
            started: session.started,
        }
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            ApiError::new(
                ErrorCode::Invalid,
                format!("{shown:?} is no session: expected MACHINE:PID-STARTED"),
            )
            .hint("`ca-server session list` shows the IDs")
        };
        let (machine, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (pid, started) = rest.split_once('-').ok_or_else(wrong)?;
        Ok(Self {
            machine: parse(machine)?,
            pid: pid.parse().map_err(|_| wrong())?,
            started: started.parse().map_err(|_| wrong())?,
        })
    }
}

impl Admin {
    /// `session list`.
    pub(super) async fn sessions(
        &self,
        machines: &[String],
        pool: Option<&str>,
        employee: Option<&str>,
    ) -> Result<AdminReply, ApiError> {
        let employee: Option<Email> = employee.map(parse).transpose()?;
        if let Some(email) = &employee
            && !super::look::compiled(&self.ca)?
                .policy
                .employees
                .contains_key(email)
        {
            return Err(unknown("employee", email, "employee"));
        }
        let chosen = self.chosen(machines, pool)?;
        let mut view = SessionsView {
            sessions: Vec::new(),
            not_reached: Vec::new(),
        };
        for (name, answer) in ask_all(&self.ca, &self.agent, chosen).await {
            match answer {
                Ok(report) => view
                    .sessions
                    .extend(others(&report).map(|session| shown(&name, session))),
                Err(reason) => view.not_reached.push(NotReached {
                    machine: name.to_string(),
                    reason,
                }),
            }
        }
        if let Some(email) = employee {
            // One that nobody can attribute may be theirs.
            view.sessions.retain(|session| {
                session.employee.as_deref() == Some(email.as_str()) || session.state == "unknown"
            });
        }
        Ok(AdminReply::Sessions(view))
    }

    /// `session end`: an order for each machine, signed by the fleet key and in the ledger before it leaves.
    pub(super) async fn end_sessions(
        &self,
        actor: Actor,
        ids: &[String],
    ) -> Result<AdminReply, ApiError> {
        let mut wanted: BTreeMap<MachineName, Vec<Id>> = BTreeMap::new();
        if ids.is_empty() || ids.len() > MOST {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                format!("name 1 to {MOST} sessions"),
            ));
        }
        for id in ids {
            let id = Id::parse(id)?;
            wanted.entry(id.machine.clone()).or_default().push(id);
        }
        let names: Vec<String> = wanted.keys().map(ToString::to_string).collect();
        let mut outcome = SessionsEnded {
            ended: Vec::new(),
            gone: Vec::new(),
            open: Vec::new(),
            not_reached: Vec::new(),
        };
        let turns = Arc::new(Semaphore::new(self.ca.config.sync.parallel));
        let mut running = JoinSet::new();
        for (name, record) in self.chosen(&names, None)? {
            let ids = wanted.remove(&name).unwrap_or_default();
            let (ca, agent, turns) = (self.ca.clone(), self.agent.clone(), turns.clone());
            let actor = actor.clone();
            running.spawn(async move {
                let _turn = turns.acquire().await;
                let answer = end_on(&ca, &agent, &actor, &name, &record, &ids).await;
                (name, ids, answer)
            });
        }
        for (name, ids, answer) in running.join_all().await {
            match answer {
                Ok(report) => sort_out(&mut outcome, &name, &ids, &report),
                Err(error) => outcome.not_reached.push(NotReached {
                    machine: name.to_string(),
                    reason: error.to_string(),
                }),
            }
        }
        outcome.ended.sort_by(|a, b| a.id.cmp(&b.id));
        outcome.gone.sort();
        outcome
            .not_reached
            .sort_by(|a, b| a.machine.cmp(&b.machine));
        Ok(AdminReply::SessionsEnded(outcome))
    }
}

/// All but the CA's own connections: the one that asked, and those that it keeps from the same address. Somebody else with its key is shown.
fn others(report: &Report) -> impl Iterator<Item = &Session> {
    let own = report.sessions().find(|session| session.own);
    let own = own.map(|session| session.peer.clone());
    report.sessions().filter(move |session| {
        let kept = session.account == SYNC_ACCOUNT && own.as_ref() == Some(&session.peer);
        !session.own && !kept
    })
}

fn sort_out(outcome: &mut SessionsEnded, name: &MachineName, ids: &[Id], report: &Report) {
    for id in ids {
        let found = report
            .sessions()
            .find(|session| session.pid == id.pid && session.started == id.started);
        match found {
            Some(session) if session.state == SessionState::Ended => {
                outcome.ended.push(shown(name, session));
            }
            Some(session) => outcome.open.push(shown(name, session)),
            // The machine prints a line for each connection that the order named and that was there.
            None => outcome.gone.push(id.to_string()),
        }
    }
}

fn shown(machine: &MachineName, session: &Session) -> SessionView {
    let employee = match session.key_id.parse::<KeyId>() {
        Ok(KeyId::Employee { email, .. }) => Some(email.to_string()),
        _ => None,
    };
    SessionView {
        id: Id::of(machine, session).to_string(),
        machine: machine.to_string(),
        account: session.account.clone(),
        from: session.peer.clone(),
        since_unix: session.since_unix,
        key_id: session.key_id.clone(),
        employee,
        serial: session.serial,
        state: match session.state {
            SessionState::Live => "live",
            SessionState::Ended => "ended",
            SessionState::Open => "revoked",
            SessionState::Unknown => "unknown",
        }
        .to_owned(),
    }
}

/// Asks machines for a report, many at once, each on its own (R7); in order of their names.
async fn ask_all(
    ca: &Arc<Ca>,
    agent: &Arc<SyncAgent>,
    machines: Vec<(MachineName, FleetRecord)>,
) -> Vec<(MachineName, Result<Report, String>)> {
    let turns = Arc::new(Semaphore::new(ca.config.sync.parallel));
    let mut running = JoinSet::new();
    for (name, record) in machines {
        let (ca, agent, turns) = (ca.clone(), agent.clone(), turns.clone());
        running.spawn(async move {
            let _turn = turns.acquire().await;
            let answer = match target(&ca, &agent, &record) {
                Ok(target) => exchange(&target, &Request::Report, &limits(&ca))
                    .await
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let answer = answer.and_then(|report| match report.refusal() {
                Some((code, detail)) => Err(format!("it refused ({code}): {detail}")),
                None => Ok(report),
            });
            (name, answer)
        });
    }
    let mut answers = running.join_all().await;
    answers.sort_by(|a, b| a.0.cmp(&b.0));
    answers
}

/// Why no session was ended on a machine.
#[derive(Debug, thiserror::Error)]
enum EndError {
    #[error("what is stored of it cannot be used: {0}")]
    Record(#[from] ssh_key::Error),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("what is known of it cannot be read: {0}")]
    Store(#[from] ReadError),
    #[error("the order could not be written down, so it was not sent: {0}")]
    Ledger(String),
    #[error(transparent)]
    Run(#[from] ca_machine::RunError),
    #[error("it refused ({code}): {detail}")]
    Refused { code: String, detail: String },
}

async fn end_on(
    ca: &Ca,
    agent: &SyncAgent,
    actor: &Actor,
    name: &MachineName,
    record: &FleetRecord,
    ids: &[Id],
) -> Result<Report, EndError> {
    let target = target(ca, agent, record)?;
    let mut number = next_number(ca, 0);
    let mut tries = 0;
    loop {
        let order = Order {
            machine: name.clone(),
            number,
            key_ids: Vec::new(),
            serials: Vec::new(),
            connections: ids
                .iter()
                .map(|id| Connection {
                    pid: id.pid,
                    started: id.started,
                })
                .collect(),
        };
        write_down(ca, actor, ids, number).await?;
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
        if code == "old-order" && tries < 3 {
            tries += 1;
            number = next_number(ca, seen_there(detail).unwrap_or(0));
            continue;
        }
        return Err(EndError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
    }
}

/// The number in `order N came, but M was here already`: a machine that lies about it harms its own next orders alone.
fn seen_there(detail: &str) -> Option<u64> {
    let rest = detail.split_once(", but ")?.1;
    let number: u64 = rest.split(' ').next()?.parse().ok()?;
    // Room is left above it, so that no machine can use the numbers up.
    (number < ca_machine::Bundle::MAX_NUMBER / 2).then_some(number)
}

/// The next number: above every one of this process, above `seen`, and in step with the clock (microseconds).
fn next_number(ca: &Ca, seen: u64) -> u64 {
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

async fn write_down(ca: &Ca, actor: &Actor, ids: &[Id], number: u64) -> Result<(), EndError> {
    let (at, actor, ids) = (unix_ms(ca.clock.now()), actor.clone(), ids.to_vec());
    let written = ca
        .db
        .write_async(move |txn| {
            for id in &ids {
                let event = Event::SessionEndOrdered {
                    machine: id.machine.clone(),
                    session: format!("{}-{}", id.pid, id.started),
                    number,
                };
                txn.record(at, &actor, &event);
            }
            Ok::<_, ReadError>(())
        })
        .await;
    written.map_err(|error| {
        let error = match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Store(error) => error,
        };
        EndError::Ledger(store_error(&error).to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_reads_back() {
        let id = Id::parse("web-1.corp.example:4711-889").unwrap();
        assert_eq!(id.to_string(), "web-1.corp.example:4711-889");
        for text in [
            "",
            "web-1",
            "web-1:5",
            "web-1:x-1",
            "web-1:1-",
            "WEB:1-1",
            "web-1:1-1-1",
        ] {
            assert!(Id::parse(text).is_err(), "{text:?}");
        }
    }

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
        fn w3_no_id_panics(text in ".{0,60}") {
            let _ = Id::parse(&text);
            let _ = seen_there(&text);
        }
    }
}
