//! Live ssh sessions across the fleet: who is behind each, and the order that ends one.

use std::{collections::BTreeMap, sync::Arc};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, NotReached, SessionView, SessionsEnded, SessionsView},
};
use ca_machine::{
    Report, Request, exchange,
    order::{Connection, Sessions, Task},
    report::{Session, SessionState},
    spec::SYNC_ACCOUNT,
};
use policies::{Email, MachineName, profile::KeyId};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Admin, parse, unknown};
use crate::{
    ca::Ca,
    fleet::{
        agent::SyncAgent,
        deliver::{limits, target},
        orders::{OrderError, order},
        pull::waiting,
    },
    ledger::{Actor, Event},
    records::{FleetRecord, WaitingTask},
};

/// The most sessions that one command ends.
const MOST: usize = 1000;

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
                let answer = if record.is_pushed_to() {
                    let sent = end_on(&ca, &agent, &actor, (&name, &record), &ids).await;
                    sent.map_err(|error| error.to_string())
                } else {
                    Err("it fetches for itself, and the CA does not log in there".to_owned())
                };
                let answer = match answer {
                    Err(reason) if record.pull.is_some() => {
                        Err(lay(&ca, &actor, &name, &ids, &reason).await)
                    }
                    answer => answer,
                };
                (name, ids, answer)
            });
        }
        for (name, ids, answer) in running.join_all().await {
            match answer {
                Ok(report) => sort_out(&mut outcome, &name, &ids, &report),
                Err(reason) => outcome.not_reached.push(NotReached {
                    machine: name.to_string(),
                    reason,
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

/// Lays the order where the machine fetches, and says what came of it: nothing is known to have ended yet.
async fn lay(ca: &Ca, actor: &Actor, name: &MachineName, ids: &[Id], reason: &str) -> String {
    let connections = ids.iter().map(|id| (id.pid, id.started)).collect();
    match waiting::lay(ca, actor, name, &WaitingTask::EndSessions(connections)).await {
        Ok(_) => format!(
            "{reason}: the signed order lies ready for its next fetch, for a day; `ca-server machine show {name}` says when it was obeyed"
        ),
        Err(error) => format!("{reason}; and no order lies where it fetches: {error}"),
    }
}

/// An order for one machine; each session in it has its ledger entry before it leaves.
async fn end_on(
    ca: &Ca,
    agent: &SyncAgent,
    actor: &Actor,
    machine: (&MachineName, &FleetRecord),
    ids: &[Id],
) -> Result<Report, OrderError> {
    let task = Task::EndSessions(Sessions {
        connections: ids
            .iter()
            .map(|id| Connection {
                pid: id.pid,
                started: id.started,
            })
            .collect(),
        ..Sessions::default()
    });
    let ids = ids.to_vec();
    order(ca, agent, actor, machine, &task, move |_, number| {
        let event = |id: &Id| Event::SessionEndOrdered {
            machine: id.machine.clone(),
            session: format!("{}-{}", id.pid, id.started),
            number,
        };
        Ok(ids.iter().map(event).collect())
    })
    .await
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

    proptest! {
        #[test]
        fn w3_no_id_panics(text in ".{0,60}") {
            let _ = Id::parse(&text);
        }
    }
}
