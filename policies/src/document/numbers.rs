//! Which number a grant keeps or gets, and which uid a new person gets: none is ever given twice (P9).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Numbers,
    draft::Spot,
    fault::{Collector, Wrong},
};
use crate::{Grant, GrantId, Grantee, Policy, PoolName};

/// A grant of the document that has no number yet.
pub(super) struct Unnumbered {
    pub(super) byte: usize,
    pub(super) id: Option<Spot<GrantId>>,
    pub(super) grant: Grant,
}

/// Gives each grant the number that is written, or that of an equal stored grant, or the next free one.
pub(super) fn grants(
    written: Vec<Unnumbered>,
    store: &Policy,
    numbers: &mut Numbers,
    faults: &mut Collector<'_>,
) -> BTreeMap<GrantId, (usize, Grant)> {
    same(&written, faults);
    let mut numbered: BTreeMap<GrantId, (usize, Grant)> = BTreeMap::new();
    let mut rest = Vec::new();
    for entry in written {
        let Some(id) = entry.id else {
            rest.push(entry);
            continue;
        };
        if let Some((first, _)) = numbered.get(&id.value) {
            let line = faults.lines.line(*first);
            faults.add(id.byte, Wrong::SameId { id: id.value, line });
            continue;
        }
        if !store.grants.contains_key(&id.value) {
            if id.value < numbers.next_grant {
                faults.add(id.byte, Wrong::SpentId { id: id.value });
                continue;
            }
            if i64::try_from(id.value).is_err() {
                let text = id.value.to_string();
                faults.add(id.byte, Wrong::BadId { text });
                continue;
            }
            numbers.next_grant = id.value + 1;
        }
        numbered.insert(id.value, (entry.byte, entry.grant));
    }
    let mut stored: BTreeMap<(&Grantee, &PoolName), Vec<(GrantId, &Grant)>> = BTreeMap::new();
    for (id, grant) in store.grants.iter().rev() {
        if !numbered.contains_key(id) {
            let key = (&grant.who, &grant.pool);
            stored.entry(key).or_default().push((*id, grant));
        }
    }
    let mut ids = Vec::with_capacity(rest.len());
    for entry in &rest {
        let equal = stored
            .get_mut(&(&entry.grant.who, &entry.grant.pool))
            .and_then(|list| {
                let at = list.iter().rposition(|(_, grant)| **grant == entry.grant)?;
                Some(list.remove(at).0)
            });
        ids.push(equal.unwrap_or_else(|| {
            while store.grants.contains_key(&numbers.next_grant) {
                numbers.next_grant += 1;
            }
            numbers.next_grant += 1;
            numbers.next_grant - 1
        }));
    }
    for (id, entry) in ids.into_iter().zip(rest) {
        numbered.insert(id, (entry.byte, entry.grant));
    }
    numbered
}

/// Two grants that say the same are a slip, unless both are numbered: then the store has them so.
fn same(written: &[Unnumbered], faults: &mut Collector<'_>) {
    let mut known: BTreeMap<(&Grantee, &PoolName), Vec<&Unnumbered>> = BTreeMap::new();
    let mut in_order: Vec<&Unnumbered> = written.iter().collect();
    in_order.sort_by_key(|entry| entry.byte);
    for entry in in_order {
        let others = known
            .entry((&entry.grant.who, &entry.grant.pool))
            .or_default();
        let twin = others
            .iter()
            .find(|other| other.grant == entry.grant && (other.id.is_none() || entry.id.is_none()));
        if let Some(twin) = twin {
            let line = faults.lines.line(twin.byte);
            faults.add(entry.byte, Wrong::SameGrant { line });
        }
        others.push(entry);
    }
}

/// The next uid that nobody ever had, and that nobody in `taken` has.
pub(super) fn next_uid(numbers: &mut Numbers, taken: &BTreeSet<u32>) -> Option<u32> {
    let mut uid = numbers.next_uid.max(numbers.first_uid);
    // `nobody` here and elsewhere: a range that holds them goes on behind them.
    while matches!(uid, 65_534 | 65_535) || taken.contains(&uid) {
        uid = uid.checked_add(1)?;
    }
    if uid > numbers.last_uid {
        return None;
    }
    numbers.next_uid = uid.checked_add(1)?;
    Some(uid)
}
