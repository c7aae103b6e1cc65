//! One entry: who did what, when, and the hash of the entry before.

use std::{fmt, net::IpAddr, ops::ControlFlow};

use policies::{Email, MachineName};
use serde::{Deserialize, Serialize};

use super::{Event, Head, text::printable};
use crate::store::{Direction, KeyRange, Read, ReadError, Table};

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// The server itself: timers, sync, clean-up.
    Server,
    /// An admin on the CA host, over the Unix socket.
    Console {
        /// The Unix uid at the other end of the socket.
        uid: u32,
    },
    /// An admin over the network.
    Admin {
        /// Who.
        email: Email,
        /// From where.
        address: IpAddr,
    },
    /// An employee, as far as she is proven.
    Employee {
        /// Who.
        email: Email,
        /// From where.
        address: IpAddr,
    },
    /// Somebody who has proven nothing.
    Stranger {
        /// From where.
        address: IpAddr,
    },
    /// A machine, by its signed report.
    Machine {
        /// Which.
        name: MachineName,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Console { uid } => write!(f, "console (uid {uid})"),
            Self::Admin { email, address } => write!(f, "admin {email} from {address}"),
            Self::Employee { email, address } => write!(f, "{email} from {address}"),
            Self::Stranger { address } => write!(f, "somebody from {address}"),
            Self::Machine { name } => write!(f, "machine {name}"),
        }
    }
}

/// An entry as it is read back.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its place, from 1, without gaps.
    pub seq: u64,
    /// When, in milliseconds since 1970 (UTC).
    pub at_unix_ms: i64,
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: Event,
    /// The hash of the entry before.
    #[serde(with = "super::text::hex32")]
    pub prev: [u8; 32],
}

/// An entry as it is written: the order of the fields is the order in the stored bytes.
#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    at_unix_ms: i64,
    actor: &'a Actor,
    event: &'a Event,
    #[serde(with = "super::text::hex32")]
    prev: [u8; 32],
}

/// The part of an entry that chains it: readable whatever the event is.
#[derive(Deserialize)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    #[serde(with = "super::text::hex32")]
    pub(crate) prev: [u8; 32],
}

/// The stored bytes of the entry after `head`, and the head with it.
pub(crate) fn chain(head: &Head, at_unix_ms: i64, actor: &Actor, event: &Event) -> (Vec<u8>, Head) {
    let line = Line {
        seq: head.entries + 1,
        at_unix_ms,
        actor,
        event,
        prev: head.hash,
    };
    let bytes = serde_json::to_vec(&line).expect("actors and events serialise to JSON");
    let head = head.after(&bytes);
    (bytes, head)
}

impl Entry {
    /// An entry from its stored bytes.
    ///
    /// # Errors
    /// If this version does not know such an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        serde_json::from_slice(bytes).map_err(|e| ReadError::decode(Table::Ledger, e))
    }

    /// The entry as one line for a person: what, about whom, in detail, by whom; no control characters (S5).
    #[must_use]
    pub fn line(&self) -> String {
        let (about, detail) = (self.event.about(), self.event.detail());
        let mut line = format!("{} {}", self.seq, self.event.word());
        for part in [about, detail] {
            if !part.is_empty() {
                line.push(' ');
                line.push_str(&part);
            }
        }
        line.push_str(&printable(&format!(" (by {})", self.actor)));
        line
    }
}

/// The entry at `seq`.
///
/// # Errors
/// If the store cannot be read, or this version does not know such an entry.
pub fn find(source: &impl Read, seq: u64) -> Result<Option<Entry>, ReadError> {
    source
        .get(Table::Ledger, &seq.to_be_bytes())?
        .map(|bytes| Entry::from_bytes(&bytes))
        .transpose()
}

/// Up to `limit` entries that `wanted` keeps, the newest first, beginning before `before` (`None`: at the end).
///
/// # Errors
/// If the store cannot be read, or this version does not know an entry.
pub fn recent(
    source: &impl Read,
    before: Option<u64>,
    limit: usize,
    mut wanted: impl FnMut(&Entry) -> bool,
) -> Result<Vec<Entry>, ReadError> {
    let range = match before {
        Some(seq) => KeyRange::before(seq.to_be_bytes()),
        None => KeyRange::all(),
    };
    let mut entries = Vec::new();
    let mut failed = None;
    if limit == 0 {
        return Ok(entries);
    }
    source.visit(
        Table::Ledger,
        &range,
        Direction::Backward,
        &mut |_, bytes| {
            match Entry::from_bytes(bytes) {
                Ok(entry) if wanted(&entry) => entries.push(entry),
                Ok(_) => {}
                Err(e) => failed = Some(e),
            }
            if failed.is_some() || entries.len() == limit {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )?;
    match failed {
        Some(e) => Err(e),
        None => Ok(entries),
    }
}
