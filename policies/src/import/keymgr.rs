//! Reads keymgr's file: `hostgroup NAME : members`, `usergroup NAME : members`, `manage TARGET… : WHO… #title`.
//!
//! A word is a group if a group of that name stands above it, and otherwise a host or a user by that name. So a group that is used
//! before its definition would silently be a host or a user: that is a fault here, as is everything else that could be read in
//! two ways. A cell of the resulting table is given by every `manage` line that covers it; no line takes anything away.

mod fault;
mod lines;

use std::collections::{BTreeMap, BTreeSet};

pub use fault::KeymgrFault;

use super::{Domain, ImportError, Imported, ImportedGrant, Note, Position, Weight};
use crate::{Email, Grantee, MachineName, Pool, PoolName, Team, TeamName};
use lines::{Keyword, Line, Word};

/// Reads one keymgr file; `domain` makes emails of the users' names.
///
/// Each host group becomes a pool (its comment the title), each host that a `manage` line names itself a pool of its own name, each
/// user group a team, and each pair of a target and a name in a `manage` line a grant of the own account, without sudo.
///
/// # Errors
/// Every fault of the file, by line and column.
pub fn keymgr(
    file: &str,
    text: &str,
    domain: &Domain,
) -> Result<Imported, Vec<ImportError<KeymgrFault>>> {
    let mut reading = Reading {
        file,
        domain,
        imported: Imported::default(),
        faults: Vec::new(),
        spelled: BTreeMap::new(),
    };
    let (lines, faults) = lines::lines(text.strip_prefix('\u{feff}').unwrap_or(text));
    for (line, column, fault) in faults {
        reading.fault(line, column, fault);
    }
    let groups = reading.groups(&lines);
    for line in &lines {
        match line.keyword {
            Keyword::HostGroup => reading.host_group(line, &groups),
            Keyword::UserGroup => reading.user_group(line, &groups),
            Keyword::Manage => reading.manage(line, &groups),
        }
    }
    if reading.faults.is_empty() {
        Ok(reading.imported)
    } else {
        reading.faults.sort_by(|a, b| a.at.cmp(&b.at));
        Err(reading.faults)
    }
}

/// The groups of a file by name: the line that defines each, and what it names.
#[derive(Default)]
struct Groups<'t> {
    hosts: BTreeMap<&'t str, Group<'t>>,
    users: BTreeMap<&'t str, Group<'t>>,
}

struct Group<'t> {
    line: u32,
    members: Vec<&'t str>,
}

/// What a word is.
enum Means {
    /// A group that is defined above.
    Group,
    /// The name of one host or one user.
    One,
    /// A fault, which was told.
    Nothing,
}

struct Reading<'r> {
    file: &'r str,
    domain: &'r Domain,
    imported: Imported,
    faults: Vec<ImportError<KeymgrFault>>,
    /// For each name that was written with capitals or not, how: two spellings of one name are a fault.
    spelled: BTreeMap<(Kind, String), String>,
}

/// Name spaces.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pool,
    Team,
    Machine,
    User,
}

impl Reading<'_> {
    fn at(&self, line: u32, column: u32) -> Position {
        Position {
            file: self.file.to_owned(),
            line,
            column,
        }
    }

    fn fault(&mut self, line: u32, column: u32, fault: KeymgrFault) {
        let at = self.at(line, column);
        self.faults.push(ImportError { at, fault });
    }

    /// Every definition, before anything is resolved.
    fn groups<'t>(&mut self, lines: &[Line<'t>]) -> Groups<'t> {
        let mut groups = Groups::default();
        for line in lines {
            let map = match line.keyword {
                Keyword::HostGroup => &mut groups.hosts,
                Keyword::UserGroup => &mut groups.users,
                Keyword::Manage => continue,
            };
            let Some(name) = line.left.first() else {
                continue;
            };
            if let Some(first) = map.get(name.text) {
                let fault = KeymgrFault::DefinedTwice {
                    name: name.text.to_owned(),
                    first_line: first.line,
                };
                self.fault(line.number, name.column, fault);
                continue;
            }
            let members = line.right.iter().map(|word| word.text).collect();
            map.insert(
                name.text,
                Group {
                    line: line.number,
                    members,
                },
            );
        }
        groups
    }

    fn host_group(&mut self, line: &Line<'_>, groups: &Groups<'_>) {
        let Some(pool) = self.pool_name(line.number, &line.left[0]) else {
            return;
        };
        let mut include = BTreeSet::new();
        for word in &line.right {
            match self.means(line, word, &groups.hosts, Some(&groups.users)) {
                Means::Group => include.extend(self.pool_name(line.number, word)),
                Means::One => self.machine(line.number, word, &pool),
                Means::Nothing => {}
            }
        }
        let title = line.title.clone();
        self.imported.pools.insert(pool, Pool { title, include });
    }

    fn user_group(&mut self, line: &Line<'_>, groups: &Groups<'_>) {
        let Some(team) = self.team_name(line.number, &line.left[0]) else {
            return;
        };
        let mut members = Team::default();
        for word in &line.right {
            match self.means(line, word, &groups.users, Some(&groups.hosts)) {
                Means::Group => members.teams.extend(self.team_name(line.number, word)),
                Means::One => members.employees.extend(self.user(line.number, word)),
                Means::Nothing => {}
            }
        }
        self.imported.teams.insert(team, members);
    }

    fn manage(&mut self, line: &Line<'_>, groups: &Groups<'_>) {
        let mut targets = Vec::new();
        for word in &line.left {
            match self.means(line, word, &groups.hosts, Some(&groups.users)) {
                Means::Group => targets.extend(self.pool_name(line.number, word)),
                Means::One => targets.extend(self.pool_of_host(line.number, word)),
                Means::Nothing => {}
            }
        }
        for word in &line.right {
            let who = match self.means(line, word, &groups.users, Some(&groups.hosts)) {
                Means::Group => self.team_name(line.number, word).map(Grantee::Team),
                Means::One => self.user(line.number, word).map(Grantee::Employee),
                Means::Nothing => None,
            };
            let Some(who) = who else { continue };
            for pool in &targets {
                self.grant(line, word, who.clone(), pool.clone());
            }
        }
    }

    fn grant(&mut self, line: &Line<'_>, word: &Word<'_>, who: Grantee, pool: PoolName) {
        let at = self.at(line.number, word.column);
        let same = |grant: &&ImportedGrant| grant.who == who && grant.pool == pool;
        if let Some(first) = self.imported.grants.iter().find(same) {
            self.imported.notes.push(Note {
                weight: Weight::Info,
                at: Some(at.clone()),
                sentence: format!(
                    "{} on {pool} is said in line {} already; it becomes one grant",
                    word.text, first.at.line
                ),
            });
        }
        self.imported.grants.push(ImportedGrant {
            who,
            pool,
            title: line.title.clone(),
            at,
        });
    }

    /// What `word` is where groups of `ours` are expected.
    fn means(
        &mut self,
        line: &Line<'_>,
        word: &Word<'_>,
        ours: &BTreeMap<&str, Group<'_>>,
        others: Option<&BTreeMap<&str, Group<'_>>>,
    ) -> Means {
        let fault = match ours.get(word.text) {
            Some(group) if group.line < line.number => return Means::Group,
            Some(group) => {
                let path = match line.keyword {
                    Keyword::Manage => None,
                    Keyword::HostGroup | Keyword::UserGroup => {
                        way(ours, word.text, line.left[0].text)
                    }
                };
                match path {
                    Some(path) => KeymgrFault::Circle { path },
                    None => KeymgrFault::BeforeDefinition {
                        name: word.text.to_owned(),
                        defined_line: group.line,
                    },
                }
            }
            None if others.is_some_and(|others| others.contains_key(word.text)) => {
                KeymgrFault::OtherKind {
                    name: word.text.to_owned(),
                }
            }
            None => return Means::One,
        };
        self.fault(line.number, word.column, fault);
        Means::Nothing
    }

    fn machine(&mut self, line: u32, word: &Word<'_>, pool: &PoolName) {
        if let Some(machine) = self.name::<MachineName>(Kind::Machine, line, word) {
            self.imported
                .machines
                .entry(machine)
                .or_default()
                .insert(pool.clone());
        }
    }

    /// The pool that stands for one host.
    fn pool_of_host(&mut self, line: u32, word: &Word<'_>) -> Option<PoolName> {
        let machine = self.name::<MachineName>(Kind::Machine, line, word)?;
        let Ok(pool) = machine.as_str().parse::<PoolName>() else {
            let fault = KeymgrFault::HostNeedsGroup {
                name: word.text.to_owned(),
            };
            self.fault(line, word.column, fault);
            return None;
        };
        self.spell(Kind::Pool, line, word, pool.as_str())?;
        self.imported.pools.entry(pool.clone()).or_default();
        self.imported
            .machines
            .entry(machine)
            .or_default()
            .insert(pool.clone());
        Some(pool)
    }

    fn pool_name(&mut self, line: u32, word: &Word<'_>) -> Option<PoolName> {
        self.name(Kind::Pool, line, word)
    }

    fn team_name(&mut self, line: u32, word: &Word<'_>) -> Option<TeamName> {
        self.name(Kind::Team, line, word)
    }

    fn user(&mut self, line: u32, word: &Word<'_>) -> Option<Email> {
        let email = match self.domain.email(word.text) {
            Ok(email) => email,
            Err(why) => {
                self.fault(line, word.column, KeymgrFault::BadName { why });
                return None;
            }
        };
        self.spell(Kind::User, line, word, email.as_str())?;
        self.imported.employees.insert(email.clone());
        Some(email)
    }

    /// `word` in lower case as a name.
    fn name<N: std::str::FromStr<Err = crate::NameError>>(
        &mut self,
        kind: Kind,
        line: u32,
        word: &Word<'_>,
    ) -> Option<N> {
        let lower = word.text.to_ascii_lowercase();
        match lower.parse() {
            Ok(name) => {
                self.spell(kind, line, word, &lower)?;
                Some(name)
            }
            Err(why) => {
                self.fault(line, word.column, KeymgrFault::BadName { why });
                None
            }
        }
    }

    /// Remembers how a name is written; `None` if it was written differently before.
    fn spell(&mut self, kind: Kind, line: u32, word: &Word<'_>, name: &str) -> Option<()> {
        let first = self.spelled.get(&(kind, name.to_owned())).cloned();
        match first {
            Some(first) if first == word.text => Some(()),
            Some(first) => {
                let fault = KeymgrFault::TwoSpellings {
                    name: word.text.to_owned(),
                    first,
                };
                self.fault(line, word.column, fault);
                None
            }
            None => {
                if word.text != name && kind != Kind::User {
                    self.imported.notes.push(Note {
                        weight: Weight::Info,
                        at: Some(self.at(line, word.column)),
                        sentence: format!("{} is called {name} here", word.text),
                    });
                }
                self.spelled
                    .insert((kind, name.to_owned()), word.text.to_owned());
                Some(())
            }
        }
    }
}

/// The path from the group `to` back to itself that begins with its member `from`; `None` if there is none.
fn way(groups: &BTreeMap<&str, Group<'_>>, from: &str, to: &str) -> Option<Vec<String>> {
    let mut came_from: BTreeMap<&str, Option<&str>> = BTreeMap::from([(from, None)]);
    let mut queue = std::collections::VecDeque::from([from]);
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut path = vec![to.to_owned()];
            let mut back = came_from[at];
            while let Some(step) = back {
                path.push(step.to_owned());
                back = came_from[step];
            }
            path.push(to.to_owned());
            // From the end to the beginning it was collected; `a > a` needs no middle.
            path.reverse();
            return Some(path);
        }
        for member in groups.get(at).into_iter().flat_map(|group| &group.members) {
            if groups.contains_key(member) && !came_from.contains_key(member) {
                came_from.insert(member, Some(at));
                queue.push_back(member);
            }
        }
    }
    None
}
