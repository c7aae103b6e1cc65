//! What other tools say about who reaches what, read into values that can be added to a policy: nothing here stores or removes.
//!
//! Each reader ([`keymgr()`], [`ssh_handler()`], [`authorized_keys()`]) gives an [`Imported`]; [`Imported::added_to`] gives the
//! policy as it would be, so that a plan of both can be shown before anything is stored.

mod add;
mod authorized_keys;
mod key_blob;
mod keymgr;
mod ssh_handler;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

pub use add::{AddError, Added, Next};
pub use authorized_keys::{KeyOption, KeyOptionKind, LineFault, StaticKey, Whose, authorized_keys};
pub use key_blob::{KeyBlobError, KeyType};
pub use keymgr::{KeymgrFault, keymgr};
pub use ssh_handler::{SshHandlerFault, ssh_handler};

use crate::{Email, Grantee, MachineName, PoolName};

/// Where in a file something stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The file, as the caller named it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One fault of a file, and where: `keys.cfg:7:10: …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {fault}")]
pub struct ImportError<F: fmt::Display> {
    /// Where.
    pub at: Position,
    /// What.
    pub fault: F,
}

/// What a file says, not yet part of any policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Teams, with their members by name.
    pub teams: BTreeMap<crate::TeamName, crate::Team>,
    /// Pools; which machines are in them stands in [`Self::machines`].
    pub pools: BTreeMap<PoolName, crate::Pool>,
    /// Grants of the own account without sudo, in the file's order.
    pub grants: Vec<ImportedGrant>,
    /// Everybody whom the file names.
    pub employees: BTreeSet<Email>,
    /// Every machine that the file names, with the pools that it says it is in.
    pub machines: BTreeMap<MachineName, BTreeSet<PoolName>>,
    /// Keys that let somebody in without the CA. Listed, never trusted.
    pub static_keys: Vec<StaticKey>,
    /// What an admin should know, with its place.
    pub notes: Vec<Note>,
}

/// A grant of the own account, as a file says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportedGrant {
    /// Who.
    pub who: Grantee,
    /// Where.
    pub pool: PoolName,
    /// What the file calls it (a comment behind it), empty if nothing.
    pub title: String,
    /// Where it stands.
    pub at: Position,
}

/// Something that an admin should know about an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// How much it matters.
    pub weight: Weight,
    /// Where it stands; `None` for what is about a name and no one place.
    pub at: Option<Position>,
    /// What, and what to do.
    pub sentence: String,
}

/// How much a note matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Good to know.
    Info,
    /// Something to act on.
    Warning,
    /// Lets in more than one person, or keeps a secret in the open: look at it today.
    Alarm,
}

/// How names of people become emails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

impl Domain {
    /// The domain that is put behind a name: `corp.example` makes `u1@corp.example` of `u1`.
    ///
    /// # Errors
    /// It cannot be the part of an email behind the `@`.
    pub fn new(domain: &str) -> Result<Self, crate::NameError> {
        let email: Email = format!("a@{domain}").parse()?;
        let (_, canonical) = email
            .as_str()
            .split_once('@')
            .expect("every email has an @");
        Ok(Self(canonical.to_owned()))
    }

    /// The email of `name`; a name with an `@` is an email already.
    ///
    /// # Errors
    /// It cannot be an email.
    pub fn email(&self, name: &str) -> Result<Email, crate::NameError> {
        if name.contains('@') {
            name.parse()
        } else {
            format!("{name}@{}", self.0).parse()
        }
    }
}
