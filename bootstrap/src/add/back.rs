//! The way back: put the snapshot back, or wait until the machine has done it, and look whether it is so.

use std::{
    fmt,
    time::{Duration, Instant},
};

use ca_machine::{Connection, Request, RunError};

use crate::contact::Contact;

/// cron looks once a minute, so a timer may be late by that; a slow machine takes its time to put everything back and to let us in again.
const LATE: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_secs(3);

/// Whether there is anything to put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Armed {
    /// A snapshot waits, with its timer.
    Yes,
    /// Something changed that has no snapshot: accounts, the KRL.
    No,
    /// Nothing changed.
    NothingChanged,
}

/// What became of a change that did not stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// There was nothing to put back.
    NothingChanged,
    /// The machine was put back, and a new login comes through.
    Done,
    /// The CA was taken off a machine that it did not keep yet.
    TakenOff,
    /// It stays: it was proven before, or needs no way back (accounts, the KRL).
    Stays,
    /// The machine was not reached again; its own timer does it.
    ByTimer {
        /// The timer's seconds.
        within_secs: u64,
    },
    /// The machine did not go back.
    Refused(String),
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingChanged => f.write_str("nothing was changed"),
            Self::Done => {
                f.write_str("the machine was put back as it was, and a new login comes through")
            }
            Self::TakenOff => {
                f.write_str("the CA was taken off the machine again, and a new login comes through")
            }
            Self::Stays => f.write_str("what was changed stays"),
            Self::ByTimer { within_secs } => write!(
                f,
                "the machine was not reached again; its own timer puts everything back within {within_secs} s (with cron up to a minute later)"
            ),
            Self::Refused(why) => write!(f, "the machine did not go back: {why}"),
        }
    }
}

/// Puts the snapshot back over an open connection; where that is gone, waits for the machine's timer.
pub(super) async fn roll_back_or_wait(
    contact: &Contact,
    connection: &Connection,
    armed: Armed,
    within: Duration,
) -> Back {
    match armed {
        Armed::NothingChanged => return Back::NothingChanged,
        Armed::No => return Back::Stays,
        Armed::Yes => {}
    }
    // `Gone` included: the timer may just have done it.
    let _ = ask(contact, connection, &Request::RollBack).await;
    after_a_break(contact, within).await
}

/// After a connection that broke in the middle of an apply: nobody knows how far it came, so it goes back. The applier itself
/// goes on without us, and the roll-back waits for its lock.
pub(super) async fn after_a_break(contact: &Contact, within: Duration) -> Back {
    let until = Instant::now() + within + LATE;
    let mut refused = None;
    while Instant::now() < until {
        if let Ok(connection) = contact.anew().await {
            match ask(contact, &connection, &Request::RollBack).await {
                Answer::Done | Answer::Gone => return Back::Done,
                Answer::Refused(why) => refused = Some(why),
                Answer::None(_) => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    refused.map_or(
        Back::ByTimer {
            within_secs: within.as_secs(),
        },
        Back::Refused,
    )
}

/// Takes the CA off a machine that it does not keep yet.
pub(super) async fn take_off(contact: &Contact, connection: &Connection) -> Back {
    match ask(contact, connection, &Request::Remove).await {
        Answer::Done | Answer::Gone => match contact.anew().await {
            Ok(_) => Back::TakenOff,
            Err(error) => Back::Refused(format!(
                "the CA was taken off, but a new login does not come through: {error}"
            )),
        },
        Answer::Refused(why) => Back::Refused(why),
        Answer::None(error) => Back::Refused(error.to_string()),
    }
}

enum Answer {
    Done,
    /// Nothing waits any more.
    Gone,
    Refused(String),
    None(RunError),
}

async fn ask(contact: &Contact, connection: &Connection, request: &Request) -> Answer {
    match connection.first_contact(request, &contact.privilege).await {
        Err(error) => Answer::None(error),
        Ok(report) => match report.refusal() {
            None => Answer::Done,
            Some(("nothing-pending", _)) => Answer::Gone,
            Some((code, detail)) => Answer::Refused(format!("{detail} ({code})")),
        },
    }
}
