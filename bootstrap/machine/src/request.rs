//! What is sent to the applier on standard input: one line of words, then the parts' bytes one after another.
//!
//! ```text
//! ssh-ca-request v1 VERB WORD=VALUE… PART=LENGTH…
//! …bytes of the parts, in the order of their words…
//! ```
//!
//! One request carries both lanes, the KRL first, so that one ssh round trip does all.

use std::{fmt, str::FromStr, time::Duration};

use policies::AccountName;
use ssh_key::{Certificate, LineEnding, PrivateKey, PublicKey};

use crate::{
    bundle::manifest::hex,
    order::SignedOrder,
    pull::PullSecret,
    sign::{FLEET_IDENTITY, Namespace, Signed},
    succession,
};

/// Names one apply: only a confirmation that carries it disarms that apply's timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// A fresh one from the system's random numbers.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand_core::RngCore::fill_bytes(&mut rand_core::OsRng, &mut bytes);
        Self(bytes)
    }

    /// The one with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A text that is no nonce: expected 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a nonce: expected 32 hexadecimal digits")]
pub struct NonceError;

impl FromStr for Nonce {
    type Err = NonceError;

    fn from_str(text: &str) -> Result<Self, NonceError> {
        let digits =
            text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(|n| Self(n.to_be_bytes())).ok_or(NonceError)
    }
}

/// What only the very first apply brings, through the admin's own login; the applier of `ssh-ca-sync` refuses it.
#[derive(Debug, Clone)]
pub struct FirstContact {
    /// The fleet keys to trust.
    pub fleet_keys: Vec<PublicKey>,
    /// Whether also where the machine trusts others.
    pub trust: Trust,
    /// The admin account to make where the login was `root`, with its key.
    pub admin: Option<(AccountName, PublicKey)>,
    /// The secret that the machine fetches with, where it does so itself.
    pub pull_secret: Option<PullSecret>,
}

/// When a machine takes the fleet keys of a first contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// If it trusts none yet.
    IfNone,
    /// In the place of whatever it trusts: the admin says that the CA's own word does not reach it any more (`--resync`).
    Replace {
        /// No [`Succession`](crate::Succession) up to this number is followed there afterwards.
        succession: u64,
    },
}

/// Both lanes of one apply or dry run.
#[derive(Debug, Clone, Default)]
pub struct Delivery {
    /// What leads the machine from the fleet key that it trusts to the one that signed the rest: signed
    /// [`Succession`](crate::Succession)s, the oldest first. Empty where it is there already.
    pub successions: Vec<Signed>,
    /// The KRL parcel, applied first and on its own.
    pub krl: Option<Signed>,
    /// The bundle.
    pub bundle: Option<Signed>,
    /// For the first apply only.
    pub first: Option<FirstContact>,
}

/// One request to the applier.
#[derive(Debug, Clone)]
pub enum Request {
    /// Make it so. Without a [`Request::Confirm`] within `confirm_within` the machine puts its configuration back.
    Apply {
        /// What to apply.
        delivery: Delivery,
        /// Names this apply.
        nonce: Nonce,
        /// How long the timer waits; the applier takes at least 20 s (cron adds up to a minute).
        confirm_within: Duration,
    },
    /// Say what an apply would change; changes nothing.
    DryRun(Delivery),
    /// Disarm the timer; refused over a connection that is older than the apply.
    Confirm(Nonce),
    /// State, versions, clock, sessions.
    Report,
    /// Do what a signed [`Order`](crate::Order) says, once.
    Order {
        /// The order.
        order: SignedOrder,
        /// As in [`Delivery::successions`].
        successions: Vec<Signed>,
    },
    /// Compare the machine with the bundle it applied last, and tell the facts of it; changes nothing.
    Check,
    /// The facts, with when each static key was last let in by sshd's log; changes nothing.
    Keys,
    /// Show a piece of the KRL that stands there, with its signature; changes nothing.
    Krl {
        /// From this byte on.
        from: u64,
        /// At most this many bytes.
        most: u64,
    },
    /// Put the snapshot back now. Through an admin's own login only.
    RollBack,
    /// Take off everything that the CA put there, but no account's home (made accounts are expired). Through an admin's own login; over the
    /// sync lane it takes an [`Order`](crate::Order).
    Remove,
    /// Fetch now, where the machine does so itself. Through an admin's own login only.
    Pull,
    /// Log in from the machine to itself with this key, to prove what its sshd accepts.
    Prove {
        /// The account to log in to.
        account: AccountName,
        /// The private key to try (a throw-away one).
        key: Box<PrivateKey>,
        /// Its certificate.
        certificate: Option<Box<Certificate>>,
    },
}

impl Request {
    /// The bytes for the applier's standard input.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut line = Line::new(self.verb());
        match self {
            Self::Apply {
                delivery,
                nonce,
                confirm_within,
            } => {
                line.word("nonce", nonce);
                line.word("confirm", confirm_within.as_secs());
                line.delivery(delivery);
            }
            Self::DryRun(delivery) => line.delivery(delivery),
            Self::Confirm(nonce) => line.word("nonce", nonce),
            Self::Krl { from, most } => {
                line.word("from", from);
                line.word("most", most);
            }
            Self::Report
            | Self::Check
            | Self::Keys
            | Self::RollBack
            | Self::Remove
            | Self::Pull => {}
            Self::Order { order, successions } => {
                line.successions(successions);
                line.part("order-sig", order.signed.signature().as_bytes());
                line.part("order", order.signed.object());
            }
            Self::Prove {
                account,
                key,
                certificate,
            } => {
                line.word("account", account);
                let pem = key
                    .to_openssh(LineEnding::LF)
                    .expect("a private key in memory encodes");
                line.part("key", pem.as_bytes());
                if let Some(certificate) = certificate {
                    let text = certificate
                        .to_openssh()
                        .expect("a certificate in memory encodes");
                    line.part("certificate", format!("{}\n", text.trim_end()).as_bytes());
                }
            }
        }
        line.finish()
    }

    /// The word of the first line.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::DryRun(_) => "dry-run",
            Self::Confirm(_) => "confirm",
            Self::Report => "report",
            Self::Order { order, .. } => order.verb,
            Self::Check => "check",
            Self::Keys => "keys",
            Self::Krl { .. } => "krl",
            Self::RollBack => "roll-back",
            Self::Remove => "remove",
            Self::Pull => "pull",
            Self::Prove { .. } => "prove",
        }
    }
}

/// The first line, and the parts that follow it.
struct Line {
    text: String,
    parts: Vec<u8>,
}

impl Line {
    fn new(verb: &str) -> Self {
        Self {
            text: format!("ssh-ca-request v1 {verb}"),
            parts: Vec::new(),
        }
    }

    fn word(&mut self, key: &str, value: impl fmt::Display) {
        self.text.push_str(&format!(" {key}={value}"));
    }

    fn part(&mut self, key: &str, bytes: &[u8]) {
        self.word(key, bytes.len());
        self.parts.extend_from_slice(bytes);
    }

    fn successions(&mut self, chain: &[Signed]) {
        if !chain.is_empty() {
            self.part("successions", &succession::encode_chain(chain));
        }
    }

    fn delivery(&mut self, delivery: &Delivery) {
        self.successions(&delivery.successions);
        if let Some(first) = &delivery.first {
            if let Trust::Replace { succession } = first.trust {
                self.word("trust", "replace");
                self.word("succession", succession);
            }
            self.part("fleet", allowed_signers(&first.fleet_keys).as_bytes());
            if let Some((admin, key)) = &first.admin {
                self.word("admin", admin);
                let line = key.to_openssh().expect("a public key in memory encodes");
                self.part("admin-key", format!("{}\n", line.trim_end()).as_bytes());
            }
        }
        if let Some(secret) = delivery
            .first
            .as_ref()
            .and_then(|first| first.pull_secret.as_ref())
        {
            self.part("pull-key", format!("{}\n", *secret.to_text()).as_bytes());
        }
        for (name, signed) in [("krl", &delivery.krl), ("bundle", &delivery.bundle)] {
            if let Some(signed) = signed {
                self.part(&format!("{name}-sig"), signed.signature().as_bytes());
                self.part(name, signed.object());
            }
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = self.text.into_bytes();
        bytes.push(b'\n');
        bytes.extend(self.parts);
        bytes
    }
}

/// The allowed-signers file that makes `fleet_keys` good for bundles, KRL parcels and orders, and for nothing else. (A succession is held
/// against the one key that it names.)
#[must_use]
pub fn allowed_signers(fleet_keys: &[PublicKey]) -> String {
    let namespaces = [Namespace::Bundle, Namespace::Krl, Namespace::Order];
    let namespaces = namespaces.map(Namespace::as_str).join(",");
    fleet_keys
        .iter()
        .map(|key| {
            let key = PublicKey::from(key.key_data().clone());
            let line = key.to_openssh().expect("a public key in memory encodes");
            format!(
                "{FLEET_IDENTITY} namespaces=\"{namespaces}\" {}\n",
                line.trim_end()
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_nonce_reads_back(bytes in any::<[u8; 16]>()) {
            let nonce = Nonce::from_bytes(bytes);
            prop_assert_eq!(nonce.to_string().parse::<Nonce>(), Ok(nonce));
        }

        #[test]
        fn no_text_but_32_hexadecimal_digits_is_a_nonce(text in ".{0,40}") {
            let ok = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            prop_assert_eq!(text.parse::<Nonce>().is_ok(), ok);
        }
    }

    #[test]
    fn the_first_line_gives_the_length_of_each_part() {
        let key = PrivateKey::random(&mut rand_core::OsRng, ssh_key::Algorithm::Ed25519).unwrap();
        let signed = Signed::sign(&key, Namespace::Order, b"object".to_vec()).unwrap();
        let signature = signed.signature().to_owned();
        let expected = format!(
            "ssh-ca-request v1 end-sessions order-sig={} order=6\n{signature}object",
            signature.len()
        );
        let request = Request::Order {
            order: SignedOrder {
                verb: "end-sessions",
                signed,
            },
            successions: Vec::new(),
        };
        assert_eq!(String::from_utf8(request.encode()).unwrap(), expected);
    }
}
