//! A back end in memory: for tests, and as the plainest reading of the contract.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Backend, Batch, CommitError, Direction, KeyRange, Mark, ReadError, Table, View,
    backend::Visitor,
};

type Tables = [Arc<BTreeMap<Vec<u8>, Vec<u8>>>; Table::COUNT];

/// Keeps everything in memory; a clone shares it, so it "reopens" as long as one is held.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    committed: Arc<Mutex<MemoryView>>,
}

#[derive(Clone, Default)]
struct MemoryView {
    tables: Tables,
    mark: Option<Mark>,
}

impl Backend for MemoryBackend {
    fn snapshot(&self) -> Result<Box<dyn View>, ReadError> {
        let committed = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(committed.clone()))
    }

    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError> {
        let mut committed = self
            .committed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if committed.mark.as_ref() != expected {
            return Err(CommitError::Conflict);
        }
        for (table, key, value) in &batch.changes {
            let pairs = Arc::make_mut(&mut committed.tables[table.index()]);
            match value {
                Some(value) => pairs.insert(key.clone(), value.clone()),
                None => pairs.remove(key),
            };
        }
        committed.mark = Some(batch.mark);
        Ok(())
    }

    fn reopen(&self) -> Result<(), CommitError> {
        Ok(())
    }
}

impl View for MemoryView {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.tables[table.index()].get(key).cloned())
    }

    fn visit(
        &self,
        table: Table,
        range: &KeyRange,
        direction: Direction,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadError> {
        let mut within = self.tables[table.index()].range::<[u8], _>(range.bounds());
        loop {
            let next = match direction {
                Direction::Forward => within.next(),
                Direction::Backward => within.next_back(),
            };
            match next {
                Some((key, value)) if visitor(key, value).is_continue() => {}
                _ => return Ok(()),
            }
        }
    }

    fn mark(&self) -> Result<Option<Mark>, ReadError> {
        Ok(self.mark)
    }
}
