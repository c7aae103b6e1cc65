//! What a bundle says of one account.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where an account comes from, and so what the machine may do to it (H5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The CA makes it; one that exists already is refused.
    Made,
    /// It stood there before and an admin said `--adopt`.
    Adopted,
    /// A system account of the CA's own (`ssh-ca-sync`, `ssh-ca-probe`): no home, uid from the machine's system range.
    System,
}

/// What is to become of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountState {
    /// It can be logged in to.
    Active,
    /// Expired (`usermod -e 1`), processes ended, crontab disabled, home kept.
    Expired,
    /// Deleted with its home.
    Purged,
}

macro_rules! words {
    ($type:ident { $($variant:ident = $word:literal),+ }) => {
        impl $type {
            /// The word in the manifest.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(super) fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
words!(Origin { Made = "made", Adopted = "adopted", System = "system" });
words!(AccountState { Active = "active", Expired = "expired", Purged = "purged" });

/// A text that cannot stand in a manifest line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {rule}")]
pub struct TextError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

macro_rules! text {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    return Ok(Self(text.to_owned()));
                }
                let text = text.chars().take(80).collect();
                Err(TextError { what: $what, rule: $rule, text })
            }
        }

        impl TryFrom<String> for $type {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(text: $type) -> String {
                text.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text!(
    /// An absolute path of a program, such as a login shell.
    PathName,
    "a path",
    "expected an absolute path of at most 200 letters, digits and . _ + - / without ..",
    |text| {
        text.len() <= 200
            && text.starts_with('/')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-/".contains(&b))
            && text.split('/').all(|part| part != "..")
    }
);

text!(
    /// A Unix group.
    GroupName,
    "a group name",
    "expected 1 to 32 of a-z, 0-9, _ and -, beginning with a letter or _",
    |text| text.parse::<policies::AccountName>().is_ok()
);

text!(
    /// A person's name for the account (GECOS); may be empty.
    Gecos,
    "a person's name for an account",
    "expected at most 100 printable characters without : , = \" \\ or a leading -",
    |text| {
        text.chars().count() <= 100
            && !text.starts_with(['-', ' '])
            && !text.ends_with(' ')
            && !text.chars().any(|c| c.is_control() || ":,=\"\\".contains(c))
    }
);

impl Gecos {
    /// The nearest text that an account can carry: what cannot stand there is left out.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let kept: String = text
            .chars()
            .filter(|c| !c.is_control() && !":,=\"\\".contains(*c))
            .collect();
        let cut: String = kept
            .trim_start_matches(['-', ' '])
            .chars()
            .take(100)
            .collect();
        Self(cut.trim_end().to_owned())
    }
}

/// One account of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The uid it must have; `None` for accounts whose uid the machine chooses or already has.
    pub uid: Option<u32>,
    /// Where it comes from.
    pub origin: Origin,
    /// What is to become of it.
    pub state: AccountState,
    /// Its login shell.
    pub shell: PathName,
    /// Further groups that it must be in (its own is made with it); groups that the machine lacks are reported.
    pub groups: Vec<GroupName>,
    /// The person's name.
    pub gecos: Gecos,
}
