//! Reading, the same from a snapshot and inside a change.

use std::ops::ControlFlow;

use serde::de::DeserializeOwned;

use super::{
    Direction, KeyRange, ReadError, Revision, Table, TableGroup, View,
    backend::{Mark, Visitor},
};
use crate::ledger::{CaId, Head};

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Reads tables: implemented by [`Snapshot`] and [`super::Txn`], so that one function loads from both.
pub trait Read {
    /// The value under `key`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Shows the pairs of `range` to `visitor` until it breaks.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn visit(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadError>;

    /// The ledger's head, with what this reader itself recorded.
    fn head(&self) -> Head;

    /// Whether there is a value under `key`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn contains(&self, table: Table, key: &[u8]) -> Result<bool, ReadError> {
        Ok(self.get(table, key)?.is_some())
    }

    /// The value under `key`, from JSON.
    ///
    /// # Errors
    /// If the store cannot be read, or the value is not a `T`.
    fn get_json<T: DeserializeOwned>(
        &self,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, ReadError> {
        self.get(table, key)?
            .map(|bytes| serde_json::from_slice(&bytes).map_err(|e| ReadError::decode(table, e)))
            .transpose()
    }

    /// Up to `limit` pairs of `range`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Pair>, ReadError> {
        let mut pairs = Vec::new();
        if limit == 0 {
            return Ok(pairs);
        }
        self.visit(table, range, direction, &mut |key, value| {
            pairs.push((key.to_vec(), value.to_vec()));
            if pairs.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(pairs)
    }

    /// Up to `limit` pairs of `range`, forward, the values from JSON.
    ///
    /// # Errors
    /// If the store cannot be read, or a value is not a `T`.
    fn scan_json<T: DeserializeOwned>(
        &self,
        table: Table,
        range: &KeyRange,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, T)>, ReadError> {
        self.scan(table, range, Direction::Forward, limit)?
            .into_iter()
            .map(|(key, bytes)| match serde_json::from_slice(&bytes) {
                Ok(value) => Ok((key, value)),
                Err(e) => Err(ReadError::decode(table, e)),
            })
            .collect()
    }

    /// The first pair of `range` in the order of `direction`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn first(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Option<Pair>, ReadError> {
        Ok(self.scan(table, range, direction, 1)?.pop())
    }

    /// How many pairs `range` holds (walks them all).
    ///
    /// # Errors
    /// If the store cannot be read.
    fn count(&self, table: Table, range: &KeyRange) -> Result<u64, ReadError> {
        let mut count = 0;
        self.visit(table, range, Direction::Forward, &mut |_, _| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }

    /// What [`super::Cached`] compares: equal revisions mean equal content of the group's tables.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn revision(&self, group: TableGroup) -> Result<Revision, ReadError> {
        let bytes = self.get(Table::Internal, group.key())?;
        Ok(bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| Revision(u64::from_be_bytes(bytes)))
            .unwrap_or_default())
    }
}

/// One committed state, for as long as it is held.
pub struct Snapshot {
    view: Box<dyn View>,
    mark: Option<Mark>,
}

impl Snapshot {
    /// What is committed in `backend` now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn of(backend: &dyn super::Backend) -> Result<Self, ReadError> {
        let view = backend.snapshot()?;
        let mark = view.mark()?;
        Ok(Self { view, mark })
    }

    /// The mark of the last commit; `None` if the store is empty.
    #[must_use]
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// The id of the CA whose store this is; `None` if the store is empty.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn ca_id(&self) -> Result<Option<CaId>, ReadError> {
        let bytes = self.get(Table::Internal, CA_ID_KEY)?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(CaId))
    }
}

/// Where the CA's id is in [`Table::Internal`].
pub(crate) const CA_ID_KEY: &[u8] = b"ca_id";

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.view.get(table, key)
    }

    fn visit(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        self.view.visit(table, range, direction, visitor)
    }

    fn head(&self) -> Head {
        self.mark.map_or(Head::NONE, |mark| mark.head)
    }
}
