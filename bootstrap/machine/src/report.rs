//! What the applier answers: JSON lines, read as foreign bytes (a machine may lie, hang or flood).

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use ssh_key::PublicKey;

use crate::{facts::Fact, request::Nonce};

/// The most bytes that an answer may have; more is a flood and is cut off.
pub const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Event {
    /// A step was taken; `name` is a word such as `verified`, `snapshot`, `timer-armed`, `reloaded`.
    Did {
        /// Which.
        name: String,
        /// For a person.
        #[serde(default)]
        detail: String,
    },
    /// A file was (in a dry run: would be) changed.
    File {
        /// Its path.
        path: String,
        /// `new`, `changed`, `removed`.
        change: String,
    },
    /// An account was (in a dry run: would be) changed.
    Account {
        /// Its name.
        name: String,
        /// `made`, `adopted`, `updated`, `expired`, `reopened`, `purged`.
        change: String,
    },
    /// Something a person should know; the work went on.
    Warning {
        /// A word for programs.
        code: String,
        /// For a person.
        #[serde(default)]
        detail: String,
    },
    /// A file differs from what was applied last.
    Drift {
        /// Its path, or `account NAME`.
        path: String,
        /// `missing`, `changed`, `owner`, `mode`, `unexpected`.
        what: String,
    },
    /// Something of how the machine stands, for [`crate::checkup`] to judge.
    Fact(Fact),
    /// A live ssh connection.
    Session(Session),
    /// A piece of the KRL that stands there, with what makes the parcel whole that brought it.
    Krl {
        /// The length of the whole KRL, in bytes.
        size: u64,
        /// The parcel's manifest, base64.
        manifest: String,
        /// The fleet key's signature over the parcel, base64 of its PEM; empty where an older applier kept none.
        signature: String,
        /// The piece, base64.
        piece: String,
    },
    /// A loopback login was tried.
    Proof(Proof),
    /// Where the machine stands.
    State(State),
    /// The end: all was done as asked.
    Done,
    /// The end: it was not done. Nothing was changed unless an earlier line says so.
    Refused {
        /// A word for programs, see [`Report::refusal`].
        code: String,
        /// What happened and what to do next.
        detail: String,
    },
}

/// A live ssh connection on a machine, from the root-owned record made at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// PID of its privileged sshd process.
    pub pid: u32,
    /// When that process began, in clock ticks since the machine's boot: with the PID, it names the connection.
    #[serde(default)]
    pub started: u64,
    /// When it began by the machine's clock, Unix seconds.
    #[serde(default)]
    pub since_unix: Option<i64>,
    /// Whether it is the connection that brought this request.
    #[serde(default)]
    pub own: bool,
    /// The account, or empty where it is not known.
    #[serde(default)]
    pub account: String,
    /// Where it comes from.
    #[serde(default)]
    pub peer: String,
    /// Key ID of its certificate; empty where there is none.
    #[serde(default)]
    pub key_id: String,
    /// Serial of its certificate.
    #[serde(default)]
    pub serial: Option<u64>,
    /// `live`, `ended`, `open` (should have ended and did not), `unknown` (no record: cannot be attributed).
    pub state: SessionState,
}

/// What is known of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// It goes on, as it may.
    Live,
    /// It was ended by this request.
    Ended,
    /// It should have ended, and is still there.
    Open,
    /// Nobody can say whose it is: it began before the record did, or the record could not be written.
    Unknown,
}

/// What the machine's own sshd said to a login over loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The account tried.
    pub account: String,
    /// Whether it let the key in.
    pub accepted: bool,
    /// Whether sshd answered at all; `false` proves nothing.
    pub answered: bool,
    /// The methods that sshd offers for the account: `publickey` alone where no password can open it.
    #[serde(default)]
    pub methods: String,
    /// What the login printed (the forced command of the probe account), at most 200 bytes.
    #[serde(default)]
    pub output: String,
    /// The client's own words, for a person.
    #[serde(default)]
    pub detail: String,
}

/// Where a machine stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Machine name of the bundle applied last.
    pub machine: String,
    /// The highest generation seen (never goes back, also by roll-back).
    pub generation: u64,
    /// The generation whose files stand on the machine: lower after a roll-back.
    pub applied_generation: u64,
    /// Hash of that bundle's bytes.
    pub bundle_sha256: String,
    /// The nonce of the apply that waits for its confirmation.
    pub awaiting: String,
    /// Seconds until the timer puts the snapshot back.
    pub restore_in_secs: Option<u64>,
    /// Version of the KRL seen last.
    pub krl_version: u64,
    /// Hash of the KRL as it stands in the file that sshd reads.
    pub krl_sha256: String,
    /// `ok`, `failed`, or `none`: what OpenSSH's own parser says of it now, with the canaries kept beside it.
    pub krl_canaries: String,
    /// The machine's clock, Unix seconds.
    pub clock_unix: i64,
    /// `9.2` and the like.
    pub openssh: String,
    /// Hash of the applier.
    pub applier_sha256: String,
    /// Whether the bundle's `fresh-until` has passed.
    pub stale: bool,
    /// The fleet keys that it goes by, each as the base64 of an OpenSSH public key.
    pub fleet_keys: Vec<String>,
    /// The highest [`Succession`](crate::Succession) that it followed; 0: none.
    pub succession: u64,
    /// The number of the last [`Order`](crate::Order) that it obeyed; 0: none, or its applier does not say.
    pub order: u64,
}

impl State {
    /// Whether this is a fleet key that the machine goes by.
    #[must_use]
    pub fn trusts(&self, fleet_key: &PublicKey) -> bool {
        let blob = fleet_key
            .to_bytes()
            .map(|bytes| STANDARD.encode(bytes))
            .unwrap_or_default();
        self.fleet_keys.contains(&blob)
    }

    /// The fleet keys that it goes by; what is no key is left out.
    #[must_use]
    pub fn trusted(&self) -> Vec<PublicKey> {
        self.fleet_keys
            .iter()
            .filter_map(|blob| PublicKey::from_bytes(&STANDARD.decode(blob).ok()?).ok())
            .collect()
    }
}

/// The whole answer to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Every line, in order.
    pub events: Vec<Event>,
}

/// An answer that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// More bytes than [`MAX_REPORT_BYTES`].
    #[error("the machine's answer is longer than 1 MiB and was cut off")]
    TooLong,
    /// The last line is neither `done` nor `refused`: the connection broke, or the applier was killed.
    #[error(
        "the machine's answer has no end ({lines} lines came); ask it for a report to see where it stands"
    )]
    Unfinished {
        /// Lines that could be read.
        lines: usize,
    },
}

impl Report {
    /// Reads an answer. Lines that are no event (a login banner, a profile's chatter) are passed over.
    ///
    /// # Errors
    /// [`ReportError`] if it has no end or is too long.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLong);
        }
        let text = String::from_utf8_lossy(bytes);
        let events: Vec<Event> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        match events.last() {
            Some(Event::Done | Event::Refused { .. }) => Ok(Self { events }),
            _ => Err(ReportError::Unfinished {
                lines: events.len(),
            }),
        }
    }

    /// Why the machine refused, as `(code, detail)`; `None` when it did as asked. Codes: `busy`, `bad-request`, `bad-signature`,
    /// `wrong-machine`, `old-order`, `old-generation`, `other-hash`, `stale`, `old-krl`, `bad-krl`, `canary`, `no-krl`, `account-exists`, `invalid-config`, `no-timer`,
    /// `foreign-config`, `not-fresh`, `wrong-nonce`, `nothing-pending`, `other-ca`, `disk`, `failed`.
    #[must_use]
    pub fn refusal(&self) -> Option<(&str, &str)> {
        self.events.iter().find_map(|event| match event {
            Event::Refused { code, detail } => Some((code.as_str(), detail.as_str())),
            _ => None,
        })
    }

    /// Whether files or accounts changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        let change = |event: &Event| matches!(event, Event::File { .. } | Event::Account { .. });
        self.events.iter().any(change)
    }

    /// Where the machine stands at the end.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.events.iter().rev().find_map(|event| match event {
            Event::State(state) => Some(state),
            _ => None,
        })
    }

    /// The apply that waits for its confirmation.
    #[must_use]
    pub fn awaiting(&self) -> Option<Nonce> {
        self.state()
            .and_then(|state| Nonce::from_str(&state.awaiting).ok())
    }

    /// The sessions it names.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.events.iter().filter_map(|event| match event {
            Event::Session(session) => Some(session),
            _ => None,
        })
    }

    /// The facts it tells.
    pub fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.events.iter().filter_map(|event| match event {
            Event::Fact(fact) => Some(fact),
            _ => None,
        })
    }

    /// The loopback login it tried.
    #[must_use]
    pub fn proof(&self) -> Option<&Proof> {
        self.events.iter().find_map(|event| match event {
            Event::Proof(proof) => Some(proof),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_machine_says_which_fleet_keys_it_goes_by() {
        let key = || {
            let key =
                ssh_key::PrivateKey::random(&mut rand_core::OsRng, ssh_key::Algorithm::Ed25519);
            key.unwrap().public_key().clone()
        };
        let (one, other) = (key(), key());
        let text = one.to_openssh().unwrap();
        let state = State {
            fleet_keys: vec!["no key".into(), text.split(' ').nth(1).unwrap().into()],
            ..State::default()
        };
        assert!(state.trusts(&one) && !state.trusts(&other));
        let trusted = state.trusted();
        assert_eq!(trusted.len(), 1);
        assert_eq!(trusted[0].key_data(), one.key_data());
    }

    #[test]
    fn an_answer_without_its_end_is_no_answer() {
        let step = "{\"step\":\"did\",\"name\":\"verified\"}\n";
        assert_eq!(
            Report::parse(step.as_bytes()),
            Err(ReportError::Unfinished { lines: 1 })
        );
        let whole = format!(
            "Welcome!\n{step}{{\"step\":\"state\",\"generation\":7}}\n{{\"step\":\"done\"}}\n"
        );
        let report = Report::parse(whole.as_bytes()).unwrap();
        assert_eq!(report.state().unwrap().generation, 7);
        assert_eq!((report.refusal(), report.changed()), (None, false));
    }

    proptest! {
        #[test]
        fn w3_no_answer_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Report::parse(&bytes);
        }
    }
}
