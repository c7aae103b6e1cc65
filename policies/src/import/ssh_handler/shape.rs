//! The two shapes of the JSON, lists and maps, as one: strict, so that a misspelt field is found and not ignored.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{is_id, locate::Step};

/// An entry with its place, and its key where it stood in a map.
type Entry<T> = (Vec<Step>, Option<String>, T);

/// The whole file.
#[derive(Default)]
pub(super) struct File {
    pub(super) pools: Vec<Entry<PoolEntry>>,
    pub(super) employees: Vec<Entry<EmployeeEntry>>,
}

pub(super) struct PoolEntry {
    pub(super) name: Option<String>,
    pub(super) machines: Vec<String>,
    /// The field under which the machines stand; `None` where the pool is the list itself.
    pub(super) machines_key: Option<&'static str>,
}

pub(super) struct EmployeeEntry {
    pub(super) email: Option<String>,
    pub(super) pools: Vec<String>,
    pub(super) public_key: Option<String>,
    pub(super) public_keys: Vec<String>,
    pub(super) has_password: bool,
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = File;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"pools\" and \"employees\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
        let mut file = File::default();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!("{key:?} stands twice")));
            }
            match key.as_str() {
                "pools" => file.pools = placed("pools", map.next_value::<Entries<_>>()?),
                "employees" => file
                    .employees
                    .extend(placed("employees", map.next_value::<Entries<_>>()?)),
                id if is_id(id) => {
                    let path = vec![Step::Key(key.clone())];
                    file.employees.push((path, Some(key), map.next_value()?));
                }
                _ => {
                    return Err(de::Error::custom(format!(
                        "{key:?} is no field of this file; it has \"pools\" and \"employees\", or employees by number"
                    )));
                }
            }
        }
        Ok(file)
    }
}

fn placed<T>(field: &str, entries: Entries<T>) -> Vec<Entry<T>> {
    let first = Step::Key(field.to_owned());
    let placed = entries.0.into_iter().enumerate().map(|(at, (key, entry))| {
        let step = key.clone().map_or(Step::At(at), Step::Key);
        (vec![first.clone(), step], key, entry)
    });
    placed.collect()
}

/// A list, or a map with its keys.
struct Entries<T>(Vec<(Option<String>, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects, or an object of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push((None, entry));
        }
        Ok(Entries(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format!("{key:?} stands twice")));
            }
            entries.push((Some(key), map.next_value()?));
        }
        Ok(Entries(entries))
    }
}

impl<'de> Deserialize<'de> for PoolEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PoolVisitor)
    }
}

struct PoolVisitor;

impl<'de> Visitor<'de> for PoolVisitor {
    type Value = PoolEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pool: an object with \"name\" and \"machines\", or a list of machines")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<PoolEntry, A::Error> {
        let mut machines = Vec::new();
        while let Some(machine) = list.next_element()? {
            machines.push(machine);
        }
        Ok(PoolEntry {
            name: None,
            machines,
            machines_key: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PoolEntry, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            name: Option<String>,
            machines: Vec<String>,
        }
        let fields = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(PoolEntry {
            name: fields.name,
            machines: fields.machines,
            machines_key: Some("machines"),
        })
    }
}

impl<'de> Deserialize<'de> for EmployeeEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            email: Option<String>,
            #[serde(default)]
            pools: Vec<String>,
            public_key: Option<String>,
            #[serde(default)]
            public_keys: Vec<String>,
            /// Looked at only to say that it is there.
            password: Option<de::IgnoredAny>,
        }
        let fields = Fields::deserialize(deserializer)?;
        Ok(Self {
            email: fields.email,
            pools: fields.pools,
            public_key: fields.public_key,
            public_keys: fields.public_keys,
            has_password: fields.password.is_some(),
        })
    }
}
