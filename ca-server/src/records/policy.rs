//! The policy as it stands in the store, and compiled for decisions.

use std::sync::Arc;

use super::{name, number};
use crate::store::{Cached, KeyRange, Read, ReadError, Revision, Table, TableGroup};

/// The key of the only row of table `limits`.
pub const LIMITS: &[u8] = b"limits";

/// The policy as it stands in the store, with its index.
pub struct Compiled {
    /// As it stands.
    pub policy: policies::Policy,
    /// For decisions.
    pub index: policies::Index,
    /// Which content it was made of.
    pub revision: Revision,
}

/// Keeps the compiled policy until a table of it changes.
pub struct PolicyCache(Cached<Compiled>);

impl Default for PolicyCache {
    fn default() -> Self {
        Self(Cached::new(TableGroup::Policy))
    }
}

impl PolicyCache {
    /// The policy that `source` sees.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn load<R: Read>(&self, source: &R) -> Result<Arc<Compiled>, ReadError> {
        self.0.load(source, |source| {
            let policy = policy(source)?;
            let index = policies::Index::new(&policy);
            Ok(Compiled {
                policy,
                index,
                revision: source.revision(TableGroup::Policy)?,
            })
        })
    }
}

/// Reads the whole policy.
///
/// # Errors
/// If the store cannot be read.
pub fn policy<R: Read>(source: &R) -> Result<policies::Policy, ReadError> {
    let mut policy = policies::Policy::default();
    for (_, employee) in
        source.scan_json::<policies::Employee>(Table::Employees, &KeyRange::all(), usize::MAX)?
    {
        policy.employees.insert(employee.email.clone(), employee);
    }
    for (key, pool) in source.scan_json(Table::Pools, &KeyRange::all(), usize::MAX)? {
        policy.pools.insert(name(Table::Pools, &key)?, pool);
    }
    for (key, team) in source.scan_json(Table::Teams, &KeyRange::all(), usize::MAX)? {
        policy.teams.insert(name(Table::Teams, &key)?, team);
    }
    for (key, machine) in source.scan_json(Table::Machines, &KeyRange::all(), usize::MAX)? {
        policy
            .machines
            .insert(name(Table::Machines, &key)?, machine);
    }
    for (key, grant) in source.scan_json(Table::Grants, &KeyRange::all(), usize::MAX)? {
        policy.grants.insert(number(Table::Grants, &key)?, grant);
    }
    if let Some(limits) = source.get_json(Table::Limits, LIMITS)? {
        policy.limits = limits;
    }
    Ok(policy)
}
