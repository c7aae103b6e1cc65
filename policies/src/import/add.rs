//! What was imported, added to a policy: unions only, so that an import takes nothing from anybody.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Imported, Note, Weight};
use crate::{
    AccountName, Conditions, Email, Employee, Grant, GrantAccount, GrantId, Grantee, MachineName,
    Policy, PoolName, Recording, Status, Sudo, rules,
};

/// The next numbers that nobody has had: they are never given twice, so that only the store knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// For a new employee's account.
    pub uid: u32,
    /// For a new grant.
    pub grant: GrantId,
}

/// A policy with an import in it, and what the policy cannot say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// As it would be.
    pub policy: Policy,
    /// People who are new; each is invited, and gets in after enrolling.
    pub new_employees: BTreeSet<Email>,
    /// What the file calls each new grant, where it says something.
    pub titles: BTreeMap<GrantId, String>,
    /// Machines that the CA does not know, with the pools that `bootstrap add-machine` should be given for them.
    pub machines_to_bootstrap: BTreeMap<MachineName, BTreeSet<PoolName>>,
    /// What an admin should know, beside [`Imported::notes`].
    pub notes: Vec<Note>,
    /// The next numbers after these.
    pub next: Next,
}

/// Why an import cannot be added as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// The part of the email before the `@` is no Unix name.
    #[error(
        "{email} cannot have an account of that name; add them first: ca-server employee add {email} --account NAME, then import again"
    )]
    BadAccount {
        /// Who.
        email: Email,
    },
    /// The account belongs to somebody else.
    #[error(
        "{email} would have the account {account}, which belongs to {by}; add them first: ca-server employee add {email} --account NAME, then import again"
    )]
    AccountTaken {
        /// Who.
        email: Email,
        /// As whom.
        account: AccountName,
        /// Who has it.
        by: Email,
    },
    /// No uid is left below 2^31.
    #[error("no uid is left for {email}")]
    UidsUsedUp {
        /// Who.
        email: Email,
    },
}

impl Imported {
    /// What another file says, too. A pool or team that both know has the members of both.
    pub fn absorb(&mut self, other: Self) {
        for (name, team) in other.teams {
            let entry = self.teams.entry(name).or_default();
            entry.employees.extend(team.employees);
            entry.teams.extend(team.teams);
        }
        for (name, pool) in other.pools {
            let entry = self.pools.entry(name).or_default();
            entry.include.extend(pool.include);
            if entry.title.is_empty() {
                entry.title = pool.title;
            }
        }
        for (name, pools) in other.machines {
            self.machines.entry(name).or_default().extend(pools);
        }
        self.grants.extend(other.grants);
        self.employees.extend(other.employees);
        self.static_keys.extend(other.static_keys);
        self.notes.extend(other.notes);
    }

    /// The machines that the CA does not know yet: an import cannot make a machine, `bootstrap add-machine` does.
    pub fn machines_unknown<'i>(
        &'i self,
        base: &'i Policy,
    ) -> impl Iterator<Item = (&'i MachineName, &'i BTreeSet<PoolName>)> {
        self.machines
            .iter()
            .filter(|(name, _)| !base.machines.contains_key(*name))
    }

    /// `base` with everything that was imported: what was there stays, what is there already is not added again.
    ///
    /// The result may have problems that [`crate::check()`] finds (a circle that both together make): check and plan it as any change.
    ///
    /// # Errors
    /// Each person whose account cannot be made.
    pub fn added_to(&self, base: &Policy, next: Next) -> Result<Added, Vec<AddError>> {
        let mut added = Added {
            policy: base.clone(),
            new_employees: BTreeSet::new(),
            titles: BTreeMap::new(),
            machines_to_bootstrap: self
                .machines_unknown(base)
                .map(|(name, pools)| (name.clone(), pools.clone()))
                .collect(),
            notes: Vec::new(),
            next,
        };
        let mut errors = Vec::new();
        let mut accounts: BTreeMap<AccountName, Email> = base
            .employees
            .iter()
            .map(|(email, employee)| (employee.account.clone(), email.clone()))
            .collect();
        let mut uids: BTreeSet<u32> = base.employees.values().map(|known| known.uid).collect();
        for email in &self.employees {
            if let Err(error) = added.employee(email, &mut accounts, &mut uids) {
                errors.push(error);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        added.teams(self);
        added.pools(self);
        for (name, pools) in &self.machines {
            if let Some(machine) = added.policy.machines.get_mut(name) {
                machine.pools.extend(pools.iter().cloned());
            }
        }
        added.grants(self);
        Ok(added)
    }
}

impl Added {
    fn note(&mut self, weight: Weight, sentence: String) {
        self.notes.push(Note {
            weight,
            at: None,
            sentence,
        });
    }

    /// Whether that person may be given anything by an import.
    fn takes(&self, email: &Email) -> bool {
        self.policy
            .employees
            .get(email)
            .is_some_and(|employee| employee.status != Status::Removed)
    }

    fn employee(
        &mut self,
        email: &Email,
        accounts: &mut BTreeMap<AccountName, Email>,
        uids: &mut BTreeSet<u32>,
    ) -> Result<(), AddError> {
        if let Some(known) = self.policy.employees.get(email) {
            match known.status {
                Status::Active | Status::Invited => {}
                Status::Suspended => self.note(
                    Weight::Info,
                    format!("{email} is suspended, and gets in only after `ca-server employee resume {email}`"),
                ),
                Status::Removed => self.note(
                    Weight::Warning,
                    format!(
                        "{email} was removed from this CA; the import leaves them out (to have them back: ca-server employee add {email}, then import again)"
                    ),
                ),
            }
            return Ok(());
        }
        let (local, _) = email
            .as_str()
            .split_once('@')
            .expect("every email has an @");
        let account: AccountName = local.parse().map_err(|_| AddError::BadAccount {
            email: email.clone(),
        })?;
        if let Some(by) = accounts.get(&account) {
            return Err(AddError::AccountTaken {
                email: email.clone(),
                account,
                by: by.clone(),
            });
        }
        accounts.insert(account.clone(), email.clone());
        let uid = self.uid(uids).ok_or_else(|| AddError::UidsUsedUp {
            email: email.clone(),
        })?;
        self.new_employees.insert(email.clone());
        self.policy.employees.insert(
            email.clone(),
            Employee {
                email: email.clone(),
                name: String::new(),
                account,
                uid,
                status: Status::Invited,
                roles: BTreeSet::new(),
                epoch: 1,
            },
        );
        Ok(())
    }

    /// The next uid that a person may have and nobody has had.
    fn uid(&mut self, taken: &mut BTreeSet<u32>) -> Option<u32> {
        let mut uid = self.next.uid.max(1000);
        while !rules::is_person_uid(uid) || taken.contains(&uid) {
            uid = uid
                .checked_add(1)
                .filter(|uid| i32::try_from(*uid).is_ok())?;
        }
        taken.insert(uid);
        self.next.uid = uid + 1;
        Some(uid)
    }

    fn teams(&mut self, imported: &Imported) {
        for (name, team) in &imported.teams {
            let people: BTreeSet<Email> = team
                .employees
                .iter()
                .filter(|email| self.takes(email))
                .cloned()
                .collect();
            let known = self.policy.teams.contains_key(name);
            let entry = self.policy.teams.entry(name.clone()).or_default();
            let more = !people.is_subset(&entry.employees) || !team.teams.is_subset(&entry.teams);
            entry.employees.extend(people);
            entry.teams.extend(team.teams.iter().cloned());
            if known && more {
                let sentence = format!(
                    "the team {name} is there already: who joins it through this import also gets what it is granted already"
                );
                self.note(Weight::Warning, sentence);
            }
        }
    }

    fn pools(&mut self, imported: &Imported) {
        for (name, pool) in &imported.pools {
            let known = self.policy.pools.contains_key(name);
            let entry = self.policy.pools.entry(name.clone()).or_default();
            let more = !pool.include.is_subset(&entry.include);
            entry.include.extend(pool.include.iter().cloned());
            if entry.title.is_empty() {
                entry.title.clone_from(&pool.title);
            }
            let joins = imported.machines.iter().any(|(machine, pools)| {
                pools.contains(name)
                    && self
                        .policy
                        .machines
                        .get(machine)
                        .is_some_and(|machine| !machine.pools.contains(name))
            });
            if known && (more || joins) {
                let sentence = format!(
                    "the pool {name} is there already: whoever is granted it also reaches the machines that join it through this import"
                );
                self.note(Weight::Warning, sentence);
            }
        }
    }

    fn grants(&mut self, imported: &Imported) {
        for wanted in &imported.grants {
            if let Grantee::Employee(email) = &wanted.who
                && !self.takes(email)
            {
                continue;
            }
            let grant = Grant {
                who: wanted.who.clone(),
                account: GrantAccount::Own,
                pool: wanted.pool.clone(),
                conditions: Conditions::default(),
                sudo: Sudo::None,
                until_unix_secs: None,
                hours: None,
                recording: Recording::None,
                system_account: false,
            };
            let same = self
                .policy
                .grants
                .iter()
                .find(|(_, there)| **there == grant);
            let id = match same {
                Some((id, _)) => *id,
                None => {
                    let id = self.fresh_grant();
                    self.policy.grants.insert(id, grant);
                    id
                }
            };
            if !wanted.title.is_empty() {
                let title = self.titles.entry(id).or_default();
                if !title.split("; ").any(|part| part == wanted.title) {
                    if !title.is_empty() {
                        title.push_str("; ");
                    }
                    title.push_str(&wanted.title);
                }
            }
        }
    }

    fn fresh_grant(&mut self) -> GrantId {
        let id = self
            .policy
            .grants
            .last_key_value()
            .map_or(0, |(id, _)| id.saturating_add(1))
            .max(self.next.grant);
        self.next.grant = id.saturating_add(1);
        id
    }
}
