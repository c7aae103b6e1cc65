//! What one change sees and writes: the committed state, what earlier changes of its group wrote, and its own writes.

use std::{
    collections::{BTreeMap, btree_map},
    ops::ControlFlow,
    sync::atomic::{AtomicU64, Ordering},
};

use serde::Serialize;

use super::{
    Direction, KeyRange, Read, ReadError, Snapshot, StoreError, Table, TableGroup, backend::Visitor,
};
use crate::ledger::{Actor, Event, Head, entry};

/// Writes that are not committed: the new value of a key, or `None` where it is deleted.
#[derive(Default)]
pub(crate) struct Overlay {
    tables: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Table::COUNT],
}

impl Overlay {
    fn get(&self, table: Table, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        self.tables[table.index()].get(key)
    }

    fn insert(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.tables[table.index()].insert(key, value);
    }

    /// Puts `later` on top.
    pub(crate) fn absorb(&mut self, later: Self) {
        for (mine, theirs) in self.tables.iter_mut().zip(later.tables) {
            if mine.is_empty() {
                *mine = theirs;
            } else {
                mine.extend(theirs);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// The writes, by table and key.
    pub(crate) fn into_changes(self) -> Vec<(Table, Vec<u8>, Option<Vec<u8>>)> {
        let mut changes = Vec::with_capacity(self.tables.iter().map(BTreeMap::len).sum());
        for (table, writes) in Table::ALL.iter().zip(self.tables) {
            changes.extend(writes.into_iter().map(|(key, value)| (*table, key, value)));
        }
        changes
    }
}

/// Draws revisions: no two are the same in this process, and hardly any two ever.
pub(crate) struct Revisions(AtomicU64);

impl Revisions {
    pub(crate) fn starting_at(random: u64) -> Self {
        Self(AtomicU64::new(random))
    }

    fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// What a change sees and writes. Nothing is kept unless the change returns `Ok` and the whole group is committed.
///
/// A change may run more than once (another replica was first): it must derive all it writes from what it reads here and
/// from values fixed before it was submitted.
pub struct Txn<'a> {
    base: &'a Snapshot,
    group: &'a Overlay,
    own: Overlay,
    head: Head,
    recorded: bool,
    unrecorded_write: Option<Table>,
    forbidden_write: Option<Table>,
    revisions: &'a Revisions,
}

/// What a change that returned `Ok` leaves behind.
pub(crate) struct Outcome {
    pub(crate) writes: Overlay,
    pub(crate) head: Head,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(
        base: &'a Snapshot,
        group: &'a Overlay,
        head: Head,
        revisions: &'a Revisions,
    ) -> Self {
        Self {
            base,
            group,
            own: Overlay::default(),
            head,
            recorded: false,
            unrecorded_write: None,
            forbidden_write: None,
            revisions,
        }
    }

    /// Sets `key` to `value`. The change owes a [`record`](Self::record).
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.write(table, key.into(), Some(value.into()));
    }

    /// Sets `key` to `value` as JSON. The change owes a [`record`](Self::record).
    ///
    /// # Panics
    /// If `value` has no JSON (a map with keys that are not text): a bug of its type; the store answers
    /// [`StoreError::Panicked`] and nothing is written.
    pub fn put_json<T: Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) {
        let bytes = serde_json::to_vec(value).expect("stored types serialise to JSON");
        self.write(table, key.into(), Some(bytes));
    }

    /// Removes `key`. The change owes a [`record`](Self::record).
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.write(table, key.into(), None);
    }

    /// Adds an entry to the ledger and returns its sequence number (from 1).
    pub fn record(&mut self, at_unix_ms: i64, actor: &Actor, event: &Event) -> u64 {
        let (bytes, head) = entry::chain(&self.head, at_unix_ms, actor, event);
        self.own.insert(
            Table::Ledger,
            head.entries.to_be_bytes().to_vec(),
            Some(bytes),
        );
        self.head = head;
        self.recorded = true;
        head.entries
    }

    /// Writes that owe no ledger entry, because losing them loses no decision: only to tables where
    /// [`Table::is_cache`] holds.
    pub fn unrecorded(&mut self) -> Unrecorded<'_, 'a> {
        Unrecorded { txn: self }
    }

    fn write(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        if matches!(table, Table::Ledger | Table::Internal) {
            self.forbidden_write.get_or_insert(table);
            return;
        }
        if !table.is_cache() {
            self.unrecorded_write.get_or_insert(table);
        }
        if let Some(group) = table.group() {
            self.bump(group);
        }
        self.own.insert(table, key, value);
    }

    // Drawn at every write, not once a change: whoever looked between two writes must not keep what it saw.
    fn bump(&mut self, group: TableGroup) {
        let revision = self.revisions.draw().to_be_bytes().to_vec();
        self.own
            .insert(Table::Internal, group.key().to_vec(), Some(revision));
    }

    /// What the change leaves, unless it broke a rule of the store.
    pub(crate) fn finish(self) -> Result<Outcome, StoreError> {
        if let Some(table) = self.forbidden_write {
            return Err(StoreError::Forbidden(table));
        }
        match self.unrecorded_write {
            Some(table) if !self.recorded => Err(StoreError::Unrecorded(table)),
            _ => Ok(Outcome {
                writes: self.own,
                head: self.head,
            }),
        }
    }
}

impl Read for Txn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self
            .own
            .get(table, key)
            .or_else(|| self.group.get(table, key))
        {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
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
        let own = &self.own.tables[table.index()];
        let group = &self.group.tables[table.index()];
        if own.is_empty() && group.is_empty() {
            return self.base.visit(table, range, direction, visitor);
        }
        let mut writes = Writes::new(own, group, range, direction);
        let mut flow = ControlFlow::Continue(());
        self.base
            .visit(table, range, direction, &mut |key, value| {
                flow = writes.before(key, visitor);
                if flow.is_continue() && !writes.takes(key) {
                    flow = visitor(key, value);
                } else if flow.is_continue() {
                    flow = writes.show_next(visitor);
                }
                flow
            })?;
        while flow.is_continue() && writes.next.is_some() {
            flow = writes.show_next(visitor);
        }
        Ok(())
    }

    fn head(&self) -> Head {
        self.head
    }
}

type Write<'o> = (&'o Vec<u8>, &'o Option<Vec<u8>>);

/// The uncommitted writes of a range in order, each key once, the change's own before the group's.
struct Writes<'o> {
    own: Ordered<'o>,
    group: Ordered<'o>,
    next_own: Option<Write<'o>>,
    next_group: Option<Write<'o>>,
    next: Option<Write<'o>>,
    direction: Direction,
}

enum Ordered<'o> {
    Forward(btree_map::Range<'o, Vec<u8>, Option<Vec<u8>>>),
    Backward(std::iter::Rev<btree_map::Range<'o, Vec<u8>, Option<Vec<u8>>>>),
}

impl<'o> Ordered<'o> {
    fn new(
        map: &'o BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        range: &KeyRange,
        direction: Direction,
    ) -> Self {
        let within = map.range::<[u8], _>(range.bounds());
        match direction {
            Direction::Forward => Self::Forward(within),
            Direction::Backward => Self::Backward(within.rev()),
        }
    }

    fn next(&mut self) -> Option<Write<'o>> {
        match self {
            Self::Forward(within) => within.next(),
            Self::Backward(within) => within.next(),
        }
    }
}

impl<'o> Writes<'o> {
    fn new(
        own: &'o BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        group: &'o BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        range: &KeyRange,
        direction: Direction,
    ) -> Self {
        let mut own = Ordered::new(own, range, direction);
        let mut group = Ordered::new(group, range, direction);
        let (next_own, next_group) = (own.next(), group.next());
        let mut writes = Self {
            own,
            group,
            next_own,
            next_group,
            next: None,
            direction,
        };
        writes.advance();
        writes
    }

    fn precedes(&self, a: &[u8], b: &[u8]) -> bool {
        match self.direction {
            Direction::Forward => a < b,
            Direction::Backward => a > b,
        }
    }

    fn advance(&mut self) {
        self.next = match (self.next_own, self.next_group) {
            (Some(own), Some(group)) if self.precedes(group.0, own.0) => {
                self.next_group = self.group.next();
                Some(group)
            }
            (Some(own), group) => {
                if group.is_some_and(|group| group.0 == own.0) {
                    self.next_group = self.group.next();
                }
                self.next_own = self.own.next();
                Some(own)
            }
            (None, group) => {
                self.next_group = self.group.next();
                group
            }
        };
    }

    /// Whether the next write is of `key`.
    fn takes(&self, key: &[u8]) -> bool {
        self.next.is_some_and(|(next, _)| next == key)
    }

    /// Shows the next write, unless it is a delete.
    fn show_next(&mut self, visitor: &mut Visitor<'_>) -> ControlFlow<()> {
        let Some((key, value)) = self.next else {
            return ControlFlow::Continue(());
        };
        self.advance();
        match value {
            Some(value) => visitor(key, value),
            None => ControlFlow::Continue(()),
        }
    }

    /// Shows every write that comes before `key`.
    fn before(&mut self, key: &[u8], visitor: &mut Visitor<'_>) -> ControlFlow<()> {
        while let Some((next, _)) = self.next
            && self.precedes(next, key)
        {
            self.show_next(visitor)?;
        }
        ControlFlow::Continue(())
    }
}

/// Writes to caches, from [`Txn::unrecorded`].
pub struct Unrecorded<'t, 'a> {
    txn: &'t mut Txn<'a>,
}

impl Unrecorded<'_, '_> {
    /// Sets `key` to `value`.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.write(table, key.into(), Some(value.into()));
    }

    /// Sets `key` to `value` as JSON.
    ///
    /// # Panics
    /// As [`Txn::put_json`].
    pub fn put_json<T: Serialize + ?Sized>(
        &mut self,
        table: Table,
        key: impl Into<Vec<u8>>,
        value: &T,
    ) {
        let bytes = serde_json::to_vec(value).expect("stored types serialise to JSON");
        self.write(table, key.into(), Some(bytes));
    }

    /// Removes `key`.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.write(table, key.into(), None);
    }

    fn write(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) {
        if table.is_cache() {
            self.txn.own.insert(table, key, value);
        } else {
            self.txn.forbidden_write.get_or_insert(table);
        }
    }
}
