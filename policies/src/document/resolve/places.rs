//! Where the document says what `check` finds fault with.

use std::collections::BTreeMap;

use super::super::draft::Draft;
use crate::{Email, GrantId, Place, PoolName, Problem, TeamName};

/// The bytes at which things are defined.
pub(super) struct Places<'d> {
    limits: usize,
    employees: BTreeMap<&'d Email, usize>,
    teams: BTreeMap<&'d TeamName, usize>,
    pub(super) pools: BTreeMap<&'d PoolName, usize>,
    pub(super) grants: BTreeMap<GrantId, usize>,
}

impl<'d> Places<'d> {
    pub(super) fn of(draft: &'d Draft) -> Self {
        Self {
            limits: draft.limits_byte,
            employees: draft
                .employees
                .iter()
                .map(|entry| (&entry.email.value, entry.email.byte))
                .collect(),
            teams: draft
                .teams
                .iter()
                .map(|entry| (&entry.name.value, entry.name.byte))
                .collect(),
            pools: draft
                .pools
                .iter()
                .map(|entry| (&entry.name.value, entry.name.byte))
                .collect(),
            grants: BTreeMap::new(),
        }
    }

    /// The byte to show for a problem: of several things that do not go together the one that is written last.
    pub(super) fn of_problem(&self, problem: &Problem) -> usize {
        let place = match problem {
            Problem::BadLimit { .. } => Some(self.limits),
            Problem::PoolCycle { path } => last(&self.pools, path),
            Problem::TeamCycle { path } => last(&self.teams, path),
            Problem::UnknownPool { place, .. }
            | Problem::UnknownTeam { place, .. }
            | Problem::UnknownEmployee { place, .. } => self.of_place(place),
            Problem::ReservedPool { pool } => self.pools.get(pool).copied(),
            Problem::AccountTwice { employees, .. } | Problem::UidTwice { employees, .. } => {
                last(&self.employees, employees)
            }
            Problem::EmployeeUnderOtherEmail { key: email, .. }
            | Problem::SystemUid { email, .. }
            | Problem::OwnAccountIsSystem { email, .. }
            | Problem::ManyPrincipals { email, .. } => self.employees.get(email).copied(),
            Problem::SudoConflict { grants, .. }
            | Problem::SudoOverlap { grants, .. }
            | Problem::RecordingConflict { grants, .. }
            | Problem::RecordingOverlap { grants, .. } => grants
                .iter()
                .filter_map(|id| self.grants.get(id))
                .max()
                .copied(),
            Problem::SystemAccount { grant, .. }
            | Problem::NeverGrantable { grant, .. }
            | Problem::SharedIsOwn { grant, .. }
            | Problem::NoRecorder { grant }
            | Problem::BadSource { grant, .. }
            | Problem::BadForcedCommand { grant, .. }
            | Problem::BadSudoCommand { grant, .. }
            | Problem::EmptySudo { grant }
            | Problem::ForcedCommandWithUserRc { grant }
            | Problem::ZeroLifetime { grant }
            | Problem::LifetimeAboveCeiling { grant, .. } => self.grants.get(grant).copied(),
        };
        place.unwrap_or(0)
    }

    fn of_place(&self, place: &Place) -> Option<usize> {
        match place {
            Place::Grant(id) => self.grants.get(id).copied(),
            Place::Pool(name) => self.pools.get(name).copied(),
            Place::Team(name) => self.teams.get(name).copied(),
            Place::Machine(_) => None,
        }
    }
}

fn last<N: Ord>(places: &BTreeMap<&N, usize>, names: &[N]) -> Option<usize> {
    names
        .iter()
        .filter_map(|name| places.get(name))
        .max()
        .copied()
}
