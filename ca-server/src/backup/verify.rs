//! `backup verify`: opens a backup, checks every hash, the manifest's signature and the whole chain of the ledger; writes nothing.

use std::io::{BufRead, Read};

use super::{
    About, BackupError,
    archive::{self, Contents, Taker},
    lock::{Key, Locked},
};
use crate::{
    ledger::{CaId, Chain, ChainError},
    store::Table,
};

/// Opens it and reads it to its end.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn locked<R: BufRead>(backup: Locked<R>, key: &Key) -> Result<Contents, BackupError> {
    archive(backup.unlock(key)?)
}

/// The same for an archive that is open already.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn archive(input: impl Read) -> Result<Contents, BackupError> {
    let mut chained = Chained::default();
    let contents = archive::read(input, &mut chained)?;
    chained.finish()?;
    Ok(contents)
}

/// Follows the ledger's chain as its entries come.
#[derive(Default)]
pub(super) struct Chained {
    chain: Option<Chain>,
}

impl Chained {
    /// The whole ledger came, and ends where the archive says.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        let chain = self
            .chain
            .ok_or_else(|| BackupError::Damaged("it is cut off".to_owned()))?;
        chain.finish().map_err(broken)
    }
}

fn broken(error: ChainError) -> BackupError {
    BackupError::Ledger(error.to_string())
}

impl Taker for Chained {
    fn about(&mut self, about: &About) -> Result<(), BackupError> {
        self.chain = Some(Chain::new(&ca_id(about)?, about.head));
        Ok(())
    }

    fn file(&mut self, _: &str, _: &[u8]) -> Result<(), BackupError> {
        Ok(())
    }

    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        match (&mut self.chain, table) {
            (Some(chain), Table::Ledger) => chain.entry(key, value).map_err(broken),
            _ => Ok(()),
        }
    }
}

/// The CA that an archive belongs to.
pub(super) fn ca_id(about: &About) -> Result<CaId, BackupError> {
    data_encoding::HEXLOWER
        .decode(about.ca.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .map(CaId)
        .ok_or_else(|| BackupError::Damaged("it names no CA".to_owned()))
}
