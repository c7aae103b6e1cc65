//! An order: what the server asks of one machine once, beside bundles and KRLs, as signed text.
//!
//! ```text
//! ssh-ca-order v1
//! machine NAME
//! number N                            higher than of every order before, on that machine
//! verb end-sessions | remove
//! until UNIX                          (of one that lies where machines fetch) not obeyed after this
//! generation N                        (of a removal that lies there) nor where a higher generation was seen
//! key-id EMAIL/EPOCH | serial N | session PID STARTED      (of end-sessions)
//! end
//! ```
//!
//! The key of `ssh-ca-sync` alone brings nothing about: it takes the fleet key's signature, and a copy of an order that was obeyed is refused by
//! its number. No clock is asked of an order that is sent; one that lies where machines fetch ([`Shelf`]) could be kept back by whoever has that
//! place, and be given when nobody expects it any more: it ends.

use policies::MachineName;
use ssh_key::SigningKey;

use crate::{
    bundle::Bundle,
    sign::{Namespace, SignError, Signed},
};

/// What one machine is to do once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The machine that it is for; every other one refuses it.
    pub machine: MachineName,
    /// Higher than that of any order before: 1 to [`Bundle::MAX_NUMBER`].
    pub number: u64,
    /// What to do.
    pub task: Task,
    /// How long it may lie where the machine fetches it; `None` for one that is sent over a connection, and obeyed there or nowhere.
    pub shelf: Option<Shelf>,
}

/// Until when an order that lies somewhere is obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelf {
    /// Not after this, by the machine's clock.
    pub until_unix: u64,
    /// Nor by a machine that has seen a higher generation than this: one that was to leave, and was added again.
    pub generation: Option<u64>,
}

/// What an order asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// End sessions.
    EndSessions(Sessions),
    /// Take the CA off the machine: [`crate::Request::Remove`] over the sync lane.
    Remove,
}

impl Task {
    /// The applier's word for it.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::EndSessions(_) => "end-sessions",
            Self::Remove => "remove",
        }
    }
}

/// The sessions to end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those of certificates with these key IDs (`email/epoch`).
    pub key_ids: Vec<String>,
    /// Those of certificates with these serials.
    pub serials: Vec<u64>,
    /// These connections.
    pub connections: Vec<Connection>,
}

/// A connection on a machine, as its report names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// PID of its privileged sshd process.
    pub pid: u32,
    /// When that process began, in clock ticks since the machine's boot.
    pub started: u64,
}

/// An order with its signature, as [`crate::Request::Order`] carries it.
#[derive(Debug, Clone)]
pub struct SignedOrder {
    /// The applier's word for its task.
    pub verb: &'static str,
    /// Its bytes and their signature.
    pub signed: Signed,
}

impl Order {
    /// The bytes to sign and send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut text = format!(
            "ssh-ca-order v1\nmachine {}\nnumber {}\nverb {}\n",
            self.machine,
            self.number,
            self.task.verb()
        );
        if let Some(shelf) = &self.shelf {
            text.push_str(&format!("until {}\n", shelf.until_unix));
            if let Some(generation) = shelf.generation {
                text.push_str(&format!("generation {generation}\n"));
            }
        }
        if let Task::EndSessions(sessions) = &self.task {
            sessions.write(&mut text);
        }
        text.push_str("end\n");
        text.into_bytes()
    }

    /// Signs it with the fleet key.
    ///
    /// # Errors
    /// [`SignError`] if the key does not sign.
    pub fn sign<S: SigningKey>(&self, fleet_key: &S) -> Result<SignedOrder, SignError> {
        debug_assert!((1..=Bundle::MAX_NUMBER).contains(&self.number));
        Ok(SignedOrder {
            verb: self.task.verb(),
            signed: Signed::sign(fleet_key, Namespace::Order, self.encode())?,
        })
    }
}

impl Sessions {
    fn write(&self, text: &mut String) {
        // What holds a blank or a line end is no key ID, and could be read as another line.
        let plain = |id: &&String| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        for key_id in self.key_ids.iter().filter(plain) {
            text.push_str(&format!("key-id {key_id}\n"));
        }
        for serial in &self.serials {
            text.push_str(&format!("serial {serial}\n"));
        }
        for one in &self.connections {
            text.push_str(&format!("session {} {}\n", one.pid, one.started));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h6_what_is_no_key_id_makes_no_line_of_its_own() {
        let order = Order {
            machine: "web-1".parse().unwrap(),
            number: 5,
            task: Task::EndSessions(Sessions {
                key_ids: vec![
                    "alice@corp.example/1".into(),
                    "forged\nserial 7".into(),
                    String::new(),
                ],
                serials: vec![9],
                connections: vec![Connection {
                    pid: 4711,
                    started: 88,
                }],
            }),
            shelf: None,
        };
        assert_eq!(
            String::from_utf8(order.encode()).unwrap(),
            "ssh-ca-order v1\nmachine web-1\nnumber 5\nverb end-sessions\nkey-id alice@corp.example/1\nserial 9\nsession 4711 88\nend\n"
        );
    }
    #[test]
    fn a_removal_names_nothing_but_its_machine() {
        let order = Order {
            machine: "web-1".parse().unwrap(),
            number: 6,
            task: Task::Remove,
            shelf: None,
        };
        assert_eq!(
            String::from_utf8(order.encode()).unwrap(),
            "ssh-ca-order v1\nmachine web-1\nnumber 6\nverb remove\nend\n"
        );
        let lying = Order {
            shelf: Some(Shelf {
                until_unix: 77,
                generation: Some(5),
            }),
            ..order
        };
        assert_eq!(
            String::from_utf8(lying.encode()).unwrap(),
            "ssh-ca-order v1\nmachine web-1\nnumber 6\nverb remove\nuntil 77\ngeneration 5\nend\n"
        );
    }
}
