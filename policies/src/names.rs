//! Names with one canonical form each: email, account, pool, team, machine, principal.
//!
//! A name is parsed once, at the border; inside, a value of these types is proof that it is well formed (I2, A6, H5). Its text is
//! shared: a clone costs a counter, for a policy's names stand in many places.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A text that is not the name it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct NameError {
    /// What the text was meant to be, with its article: `an account name`.
    pub what: &'static str,
    /// The rule it breaks, for a person.
    pub rule: &'static str,
    /// The text as it came (cut to 80 characters, so that a log line stays a line).
    pub text: String,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> Option<String> = $check;
                check(text).map(|name| Self(name.into())).ok_or_else(|| NameError {
                    what: $what,
                    rule: $rule,
                    text: text.chars().take(80).collect(),
                })
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// An employee's email in its one canonical form: trimmed, lower case, ASCII.
    Email,
    "an email address",
    "expected name@domain with the letters a-z, digits and . _ + - before the @, and a-z, digits, . and - after it",
    |text| {
        let canonical = text.trim().to_ascii_lowercase();
        let (local, domain) = canonical.split_once('@')?;
        let local_ok = (1..=64).contains(&local.len())
            && local
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._+-".contains(&b));
        let domain_ok = (1..=253).contains(&domain.len())
            && !domain.starts_with(['.', '-'])
            && !domain.ends_with(['.', '-'])
            && !domain.contains("..")
            && domain
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
        (local_ok && domain_ok).then_some(canonical)
    }
);

name!(
    /// A Unix login name on machines.
    AccountName,
    "an account name",
    "expected 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or _",
    |text| word(text, b"_-")
);

name!(
    /// A pool: a named set of machines and of other pools.
    PoolName,
    "a pool name",
    "expected 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _",
    |text| word(text, b"_-.")
);

name!(
    /// A team: a named set of employees and of other teams.
    TeamName,
    "a team name",
    "expected 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _",
    |text| word(text, b"_-.")
);

name!(
    /// A machine's name: a host name of one or more labels, lower case.
    MachineName,
    "a machine name",
    "expected a host name: labels of a-z, 0-9 and -, parted by dots, at most 253 characters",
    |text| {
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        (text.len() <= 253 && text.split('.').all(label_ok)).then(|| text.to_owned())
    }
);

/// `^[a-z_][a-z0-9_-]{0,31}$`, with `extra` allowed after the first character beside letters and digits.
fn word(text: &str, extra: &[u8]) -> Option<String> {
    let mut bytes = text.bytes();
    let first = bytes.next()?;
    let ok = (first.is_ascii_lowercase() || first == b'_')
        && text.len() <= 32
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || extra.contains(&b));
    ok.then(|| text.to_owned())
}

/// What a certificate carries and a machine's principals file lists: `account@pool` (I2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Principal {
    /// The Unix account.
    pub account: AccountName,
    /// The pool that the grant names, not an expanded child of it.
    pub pool: PoolName,
}

impl Principal {
    /// The principal of `account` on `pool`.
    #[must_use]
    pub fn new(account: AccountName, pool: PoolName) -> Self {
        Self { account, pool }
    }
}

impl FromStr for Principal {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (account, pool) = text.split_once('@').ok_or_else(|| NameError {
            what: "a principal",
            rule: "expected account@pool",
            text: text.chars().take(80).collect(),
        })?;
        Ok(Self {
            account: account.parse()?,
            pool: pool.parse()?,
        })
    }
}

impl TryFrom<String> for Principal {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.account, self.pool)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}
