//! The lives of the TLS CA's generations, as the store has them (table `keys`).

use serde::{Deserialize, Serialize};

use super::Line;
use crate::{
    keys::Life,
    store::{Read, ReadError, Table, Txn},
};

const ROW: &[u8] = b"tls";

/// One generation of the TLS CA. Never deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// `SHA256:…` of its certificate: what employees pin.
    pub fingerprint: String,
    /// Where it is in its life.
    pub life: Life,
    /// When it was made.
    pub made_unix: i64,
    /// When it stopped signing.
    #[serde(default)]
    pub signed_until_unix: Option<i64>,
    /// When it was of no use any more, and its private half was deleted.
    #[serde(default)]
    pub ended_unix: Option<i64>,
}

impl Generation {
    /// One that signs.
    #[must_use]
    pub fn current(number: u32, fingerprint: String, made_unix: i64) -> Self {
        Self {
            number,
            fingerprint,
            life: Life::Current,
            made_unix,
            signed_until_unix: None,
            ended_unix: None,
        }
    }

    /// How people call it: `tls`, then `tls.2`, …
    #[must_use]
    pub fn name(&self) -> String {
        match self.number {
            1 => "tls".to_owned(),
            number => format!("tls.{number}"),
        }
    }
}

/// All generations by age; none in a store that knows of the first alone.
///
/// # Errors
/// If the store cannot be read.
pub fn all<R: Read>(source: &R) -> Result<Vec<Generation>, ReadError> {
    Ok(source.get_json(Table::Keys, ROW)?.unwrap_or_default())
}

/// Stores them. The caller records why, in the same transaction.
pub fn put(txn: &mut Txn<'_>, all: &[Generation]) {
    txn.put_json(Table::Keys, ROW, &all);
}

/// Which of them count.
#[must_use]
pub fn line(all: &[Generation]) -> Line {
    let of = |life| all.iter().rev().filter(move |one| one.life == life);
    let Some(current) = of(Life::Current).next() else {
        return Line::default();
    };
    Line {
        current: current.number,
        retiring: of(Life::Retiring).map(|one| one.number).collect(),
    }
}
