//! What a document is read against: the policy, the numbers to give next, who has enrolled, and the names that were given once.

use std::collections::BTreeSet;

use policies::{
    Email, Policy,
    document::{Base, Holder, Numbers, Orphans, Spent},
    import::Next,
};

use crate::{
    admin::grant::SHARED,
    records::{CA, CaRecord, Credentials, NameRecord, name, policy},
    store::{KeyRange, Read, ReadError, Table},
};

/// Where the sentences stand that the last document expected (table `meta`).
pub const EXPECTATIONS: &[u8] = b"expectations";

/// Everything of the store that a reading depends on: where two are equal, so are the readings of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Against {
    /// As it stands.
    pub policy: Policy,
    numbers: Numbers,
    enrolled: BTreeSet<Email>,
    spent: Spent,
    /// What it is expected to keep.
    pub expectations: Vec<String>,
}

impl Against {
    /// As `source` has it; `uids` is the fleet's range.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read<R: Read>(source: &R, uids: [u32; 2]) -> Result<Self, ReadError> {
        let record: CaRecord = source
            .get_json(Table::Meta, CA)?
            .expect("`init` wrote the CA's record in the first transaction");
        let mut enrolled = BTreeSet::new();
        for (key, credentials) in
            source.scan_json::<Credentials>(Table::Credentials, &KeyRange::all(), usize::MAX)?
        {
            if credentials.password.is_some() {
                enrolled.insert(name(Table::Credentials, &key)?);
            }
        }
        Ok(Self {
            policy: policy(source)?,
            numbers: Numbers {
                next_grant: record.next_grant,
                first_uid: uids[0],
                next_uid: record.next_uid,
                last_uid: uids[1],
            },
            enrolled,
            spent: spent(source)?,
            expectations: source
                .get_json(Table::Meta, EXPECTATIONS)?
                .unwrap_or_default(),
        })
    }

    /// The digest of the policy as it stands.
    pub fn digest(&self) -> String {
        super::digest(&self.policy, &self.expectations)
    }

    /// The numbers that an import gives next.
    pub fn next(&self) -> Next {
        Next {
            uid: self.numbers.next_uid.max(self.numbers.first_uid),
            grant: self.numbers.next_grant,
        }
    }

    /// For reading a document called `file`.
    pub fn base<'s>(&'s self, file: &'s str, orphans: Orphans) -> Base<'s> {
        Base {
            file,
            store: &self.policy,
            numbers: self.numbers,
            enrolled: &self.enrolled,
            spent: &self.spent,
            orphans,
        }
    }
}

/// Names that were given once (P9).
fn spent<R: Read>(source: &R) -> Result<Spent, ReadError> {
    let mut spent = Spent::default();
    for (key, record) in
        source.scan_json::<NameRecord>(Table::Accounts, &KeyRange::all(), usize::MAX)?
    {
        let Some(at) = key.iter().position(|byte| *byte == 0) else {
            continue;
        };
        let (space, given) = (&key[..at], &key[at + 1..]);
        match space {
            b"pool" => {
                spent.pools.insert(name(Table::Accounts, given)?);
            }
            b"account" => {
                let holder = if record.holder == SHARED {
                    Holder::Shared
                } else {
                    Holder::Employee(name(Table::Accounts, record.holder.as_bytes())?)
                };
                spent.accounts.insert(name(Table::Accounts, given)?, holder);
            }
            // Host keys that are refused for ever.
            _ => {}
        }
    }
    Ok(spent)
}
