//! Reads the JSON in which SSH Handler keeps pools (name, machines) and employees (email, pools, public key).
//!
//! Two shapes are taken, also mixed. Lists:
//!
//! ```json
//! {"pools":     [{"name": "web", "machines": ["web-1", "web-2"]}],
//!  "employees": [{"email": "alice@corp.example", "pools": ["web"], "public_key": "ssh-ed25519 AAAA…"}]}
//! ```
//!
//! and maps, as SSH Handler's own `data.json` has them: `{"0": {"email": …, "public_key": …}}`, where a number is an id and any
//! other key is the name itself (`"pools": {"web": ["web-1"]}`, `"employees": {"alice@corp.example": {"pools": ["web"]}}`). Employees
//! by number may stand at the top, as they do there. Anything else is a fault; nothing is guessed.

mod locate;
mod shape;

use std::collections::{BTreeMap, BTreeSet};

use super::{ImportError, Imported, ImportedGrant, Note, Position, StaticKey, Weight};
use crate::{Email, Grantee, MachineName, NameError, Pool, PoolName};
use locate::Step;
use shape::{EmployeeEntry, File, PoolEntry};

/// One fault of a file of SSH Handler.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum SshHandlerFault {
    #[error("{message}")]
    Json { message: String },
    #[error("{why}")]
    BadName { why: NameError },
    #[error(
        "the pool {name:?} is named here and defined nowhere; add it to \"pools\", or correct the name"
    )]
    UnknownPool { name: String },
    #[error("the pool {name} is defined twice; put its machines into one")]
    PoolTwice { name: String },
    #[error("the employee {email} stands twice; put their pools into one")]
    EmployeeTwice { email: Email },
    #[error("{name} stands twice in this list; remove one")]
    Twice { name: String },
    #[error("this pool has no name; give it a \"name\"")]
    NoName,
    #[error("this employee has no email; give them an \"email\"")]
    NoEmail,
}

/// Reads one file of SSH Handler: pools with their machines, and a grant of the own account for each employee on each of their pools.
///
/// Public keys are listed in [`Imported::static_keys`], never trusted: everybody enrols with a key of their own.
///
/// # Errors
/// Every fault of the file, by line and column; of JSON itself the first one only.
pub fn ssh_handler(file: &str, text: &str) -> Result<Imported, Vec<ImportError<SshHandlerFault>>> {
    let parsed: File = match serde_json::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => return Err(vec![json_error(file, &error)]),
    };
    let mut reading = Reading {
        file,
        text,
        imported: Imported::default(),
        faults: Vec::new(),
        names: BTreeMap::new(),
        passwords: 0,
    };
    for (path, key, pool) in parsed.pools {
        reading.pool(&path, key.as_deref(), pool);
    }
    for (path, key, employee) in parsed.employees {
        reading.employee(&path, key.as_deref(), employee);
    }
    reading.conclude()
}

fn json_error(file: &str, error: &serde_json::Error) -> ImportError<SshHandlerFault> {
    let number = |n: usize| u32::try_from(n.max(1)).unwrap_or(u32::MAX);
    let text = error.to_string();
    // serde_json repeats the place at the end, where a person has read it already.
    let message = match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    };
    ImportError {
        at: Position {
            file: file.to_owned(),
            line: number(error.line()),
            column: number(error.column()),
        },
        fault: SshHandlerFault::Json { message },
    }
}

/// Whether a key of a map is an id, and not a name.
fn is_id(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

struct Reading<'r> {
    file: &'r str,
    text: &'r str,
    imported: Imported,
    faults: Vec<ImportError<SshHandlerFault>>,
    /// What the file calls each pool: its name, and its id where it has one.
    names: BTreeMap<String, PoolName>,
    passwords: usize,
}

impl Reading<'_> {
    fn at(&self, path: &[Step]) -> Position {
        let (line, column) = locate::locate(self.text, path);
        Position {
            file: self.file.to_owned(),
            line,
            column,
        }
    }

    fn fault(&mut self, path: &[Step], fault: SshHandlerFault) {
        let at = self.at(path);
        self.faults.push(ImportError { at, fault });
    }

    fn note(&mut self, path: &[Step], weight: Weight, sentence: String) {
        let at = Some(self.at(path));
        self.imported.notes.push(Note {
            weight,
            at,
            sentence,
        });
    }

    fn pool(&mut self, path: &[Step], key: Option<&str>, entry: PoolEntry) {
        // A number is an id, and the name stands inside; any other key is the name, and what stands inside is for people.
        let (written, title) = match (key, entry.name) {
            (Some(key), name) if !is_id(key) => (key.to_owned(), name.unwrap_or_default()),
            (_, Some(name)) => (name, String::new()),
            (_, None) => return self.fault(path, SshHandlerFault::NoName),
        };
        let pool: PoolName = match slug(&written).parse() {
            Ok(pool) => pool,
            Err(why) => return self.fault(path, SshHandlerFault::BadName { why }),
        };
        if self.imported.pools.contains_key(&pool) {
            let name = pool.to_string();
            return self.fault(path, SshHandlerFault::PoolTwice { name });
        }
        if pool.as_str() != written {
            let sentence = format!("the pool {written:?} is called {pool} here");
            self.note(path, Weight::Info, sentence);
        }
        let title = match title {
            title if title.is_empty() && pool.as_str() != written => written.clone(),
            title => title,
        };
        self.names.insert(written, pool.clone());
        if let Some(id) = key {
            self.names.insert(id.to_owned(), pool.clone());
        }
        for (at, machine) in entry.machines.iter().enumerate() {
            let place = path_of(path, entry.machines_key, at);
            match machine.to_ascii_lowercase().parse::<MachineName>() {
                Ok(machine) => {
                    let pools = self.imported.machines.entry(machine.clone()).or_default();
                    if !pools.insert(pool.clone()) {
                        let name = machine.to_string();
                        self.fault(&place, SshHandlerFault::Twice { name });
                    }
                }
                Err(why) => self.fault(&place, SshHandlerFault::BadName { why }),
            }
        }
        let include = BTreeSet::new();
        self.imported.pools.insert(pool, Pool { title, include });
    }

    fn employee(&mut self, path: &[Step], key: Option<&str>, entry: EmployeeEntry) {
        let by_key = key.filter(|key| !is_id(key)).map(str::to_owned);
        let Some(written) = entry.email.or(by_key) else {
            return self.fault(path, SshHandlerFault::NoEmail);
        };
        let email: Email = match written.parse() {
            Ok(email) => email,
            Err(why) => return self.fault(path, SshHandlerFault::BadName { why }),
        };
        if !self.imported.employees.insert(email.clone()) {
            return self.fault(path, SshHandlerFault::EmployeeTwice { email });
        }
        let mut named = BTreeSet::new();
        for (at, name) in entry.pools.iter().enumerate() {
            let place = path_of(path, Some("pools"), at);
            match self.names.get(name).cloned() {
                None => self.fault(&place, SshHandlerFault::UnknownPool { name: name.clone() }),
                Some(pool) if named.contains(&pool) => {
                    let name = pool.to_string();
                    self.fault(&place, SshHandlerFault::Twice { name });
                }
                Some(pool) => {
                    named.insert(pool.clone());
                    let at = self.at(&place);
                    self.imported.grants.push(ImportedGrant {
                        who: Grantee::Employee(email.clone()),
                        pool,
                        title: String::new(),
                        at,
                    });
                }
            }
        }
        self.passwords += usize::from(entry.has_password);
        let one = entry
            .public_key
            .into_iter()
            .map(|key| ("public_key", None, key));
        let many = entry
            .public_keys
            .into_iter()
            .enumerate()
            .map(|(at, key)| ("public_keys", Some(at), key));
        for (field, at, key) in one.chain(many).collect::<Vec<_>>() {
            let mut place = path.to_vec();
            place.push(Step::Key(field.to_owned()));
            place.extend(at.map(Step::At));
            self.public_key(&place, &email, &key);
        }
    }

    fn public_key(&mut self, place: &[Step], email: &Email, text: &str) {
        let at = self.at(place);
        let mut read = super::authorized_keys(self.file, None, text.as_bytes());
        if read.static_keys.is_empty() && read.notes.is_empty() && !text.trim().is_empty() {
            let sentence = format!("the public key of {email} is no key; it is left out");
            return self.note(place, Weight::Warning, sentence);
        }
        for note in &mut read.notes {
            note.at = Some(at.clone());
            note.sentence = format!("{email}: {}", note.sentence);
        }
        self.imported.notes.append(&mut read.notes);
        let keys = read.static_keys.into_iter().map(|key| StaticKey {
            at: at.clone(),
            employee: Some(email.clone()),
            ..key
        });
        self.imported.static_keys.extend(keys);
    }

    fn conclude(mut self) -> Result<Imported, Vec<ImportError<SshHandlerFault>>> {
        if self.passwords > 0 {
            let sentence = format!(
                "the file holds {} in plain text; they are not read, and whoever uses one elsewhere should change it",
                match self.passwords {
                    1 => "a password".to_owned(),
                    count => format!("{count} passwords"),
                }
            );
            self.imported.notes.push(Note {
                weight: Weight::Alarm,
                at: None,
                sentence,
            });
        }
        if self.faults.is_empty() {
            Ok(self.imported)
        } else {
            self.faults.sort_by(|a, b| a.at.cmp(&b.at));
            Err(self.faults)
        }
    }
}

/// The place of an entry of a list within an entry.
fn path_of(path: &[Step], field: Option<&str>, at: usize) -> Vec<Step> {
    let mut path = path.to_vec();
    path.extend(field.map(|field| Step::Key(field.to_owned())));
    path.push(Step::At(at));
    path
}

/// A name for people as a name for a pool: lower case, blanks as `-`.
fn slug(name: &str) -> String {
    name.trim()
        .to_ascii_lowercase()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join("-")
}
