//! Where a replacement stands, and who is waited for: from the store alone.

use std::collections::{BTreeMap, BTreeSet};

use policies::MachineName;

use crate::{
    keys::{Held, KeyRecord, Keys, Purpose, Ring, record},
    records::{MachineStatus, SeenRecord, SessionRecord, fleet},
    store::{KeyRange, Read, ReadError, Table},
};

/// Where a replacement stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The next key is announced, and signs when nobody is waited for.
    Announced {
        /// The next key.
        next: KeyRecord,
        /// Who has not confirmed that it trusts it.
        waits: Vec<Waiting>,
        /// Who is waited for is not waited for longer than this.
        until_unix: Option<i64>,
    },
    /// The old key signs no more; what it signed may still be valid.
    Retiring {
        /// The old key.
        old: KeyRecord,
        /// Machines that still show what it signed.
        waits: Vec<Waiting>,
        /// When the last of what it signed ends; absent until that was counted.
        until_unix: Option<i64>,
    },
    /// Nothing that the old key signed is valid, and machines are told to trust it no more.
    Leaving {
        /// The old key.
        old: KeyRecord,
        /// Machines that have not confirmed that.
        waits: Vec<Waiting>,
    },
}

impl Stage {
    /// May the next step be taken?
    #[must_use]
    pub fn is_over(&self, now_unix: i64) -> bool {
        let passed = |until: &Option<i64>| until.is_some_and(|until| now_unix >= until);
        match self {
            Self::Announced { waits, .. } | Self::Leaving { waits, .. } => waits.is_empty(),
            // Of a user CA key nobody can tell who still holds what it signed: only the time ends it (K4).
            Self::Retiring {
                old, until_unix, ..
            } if old.purpose == Purpose::UserCa => passed(until_unix),
            // What a host CA key signed lies on machines, and each of them has proven that it shows something newer.
            Self::Retiring {
                waits, until_unix, ..
            } => until_unix.is_some() && (waits.is_empty() || passed(until_unix)),
        }
    }

    /// Who is waited for.
    #[must_use]
    pub fn waits(&self) -> &[Waiting] {
        match self {
            Self::Announced { waits, .. }
            | Self::Retiring { waits, .. }
            | Self::Leaving { waits, .. } => waits,
        }
    }

    /// Until when, if that is known.
    #[must_use]
    pub fn until_unix(&self) -> Option<i64> {
        match self {
            Self::Announced { until_unix, .. } | Self::Retiring { until_unix, .. } => *until_unix,
            Self::Leaving { .. } => None,
        }
    }
}

/// Somebody who is waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// A machine, or an employee.
    pub who: String,
    /// What is missing.
    pub why: String,
}

/// Where the replacement of this purpose's key stands; `None` while none is under way.
///
/// # Errors
/// If the store cannot be read.
pub fn stage<R: Read>(
    source: &R,
    keys: &Keys,
    purpose: Purpose,
    now_unix: i64,
) -> Result<Option<Stage>, ReadError> {
    let ring = keys.ring(purpose);
    let left = record::rotation(source, purpose)?
        .map(|plan| plan.leave_behind)
        .unwrap_or_default();
    match (purpose, ring.next(), ring.retiring().first()) {
        (_, None, None) | (Purpose::Fleet, _, None) => Ok(None),
        // The new key signed from the moment on in which it was made; the old one is of no use but to those who do not go by the new one yet.
        (Purpose::Fleet, _, Some(old)) => Ok(Some(Stage::Leaving {
            old: old.record().clone(),
            waits: machines(source, &left, |seen| stays_behind(seen, ring))?,
        })),
        (Purpose::UserCa, Some(next), _) => Ok(Some(Stage::Announced {
            next: next.record().clone(),
            waits: machines(source, &left, |seen| lacks(seen, next))?,
            until_unix: None,
        })),
        (Purpose::HostCa, Some(next), _) => {
            let (waits, until_unix) = sessions(source, next, now_unix)?;
            Ok(Some(Stage::Announced {
                next: next.record().clone(),
                waits,
                until_unix,
            }))
        }
        (Purpose::UserCa, None, Some(old)) => {
            let record = old.record().clone();
            Ok(Some(if record.is_trusted() {
                Stage::Retiring {
                    waits: Vec::new(),
                    until_unix: record.last_expiry_unix,
                    old: record,
                }
            } else {
                Stage::Leaving {
                    old: record,
                    waits: machines(source, &left, |seen| still_trusts(seen, old))?,
                }
            }))
        }
        (Purpose::HostCa, None, Some(old)) => Ok(Some(Stage::Retiring {
            waits: machines(source, &left, |seen| shows_another(seen, ring))?,
            until_unix: old.record().last_expiry_unix,
            old: old.record().clone(),
        })),
    }
}

/// The machines in the CA's keeping of which `why` says something, without those that are left behind.
pub(super) fn machines<R: Read>(
    source: &R,
    left: &BTreeSet<MachineName>,
    why: impl Fn(&SeenRecord) -> Option<String>,
) -> Result<Vec<Waiting>, ReadError> {
    let mut seen: BTreeMap<Vec<u8>, SeenRecord> = source
        .scan_json(Table::Seen, &KeyRange::all(), usize::MAX)?
        .into_iter()
        .collect();
    let mut waits = Vec::new();
    for (name, record) in fleet(source)? {
        if record.status != MachineStatus::Managed || left.contains(&name) {
            continue;
        }
        let seen = seen.remove(name.as_str().as_bytes()).unwrap_or_default();
        if let Some(why) = why(&seen) {
            let trouble = match seen.trouble.as_str() {
                "" => why,
                trouble => format!("{why} ({trouble})"),
            };
            waits.push(Waiting {
                who: name.to_string(),
                why: trouble,
            });
        }
    }
    Ok(waits)
}

/// What a machine lacks before this user CA key may sign: proven are the generation that trusts it, and the KRL that covers it.
fn lacks(seen: &SeenRecord, next: &Held) -> Option<String> {
    let has = |held: &[String]| held.iter().any(|one| one == next.fingerprint());
    if seen.trusts.is_empty() {
        return Some("it is not known what it trusts".to_owned());
    }
    if !has(&seen.trusts) {
        return Some("it does not trust the key yet".to_owned());
    }
    (!has(&seen.krl_ca_keys)).then(|| "its KRL does not cover the key yet".to_owned())
}

/// Does a machine still trust this user CA key, as far as anybody knows?
pub(super) fn still_trusts(seen: &SeenRecord, old: &Held) -> Option<String> {
    if seen.trusts.is_empty() {
        return Some("it is not known what it trusts".to_owned());
    }
    let trusts = seen.trusts.iter().any(|one| one == old.fingerprint());
    trusts.then(|| "it still trusts the key".to_owned())
}

/// Does a machine go by another fleet key than the one that signs, as far as anybody knows?
pub(super) fn stays_behind(seen: &SeenRecord, ring: &Ring) -> Option<String> {
    let current = ring.current_held().fingerprint();
    let goes_by = seen.fleet_keys.iter().any(|one| one == current);
    let ours = |one: &String| ring.find(one).is_some();
    (!goes_by).then(|| match seen.fleet_keys.as_slice() {
        [] => "it is not known which fleet key it goes by".to_owned(),
        known if known.iter().any(ours) => "it goes by an earlier fleet key yet".to_owned(),
        _ => "it goes by a fleet key that is none of this CA's: somebody else may command it"
            .to_owned(),
    })
}

/// Does a machine show a host certificate by another key than the one that signs?
fn shows_another(seen: &SeenRecord, ring: &Ring) -> Option<String> {
    let current = ring.current_held().fingerprint();
    (seen.host_ca != current).then(|| match seen.host_ca.as_str() {
        "" => "it is not known which host certificate it shows".to_owned(),
        _ => "it still shows a host certificate by the old key".to_owned(),
    })
}

/// Whose day sessions have not been given this host CA key's line, and when the last of them ends.
fn sessions<R: Read>(
    source: &R,
    next: &Held,
    now_unix: i64,
) -> Result<(Vec<Waiting>, Option<i64>), ReadError> {
    let all = source.scan_json::<SessionRecord>(Table::Sessions, &KeyRange::all(), usize::MAX)?;
    let mut waits = BTreeSet::new();
    let mut until = None;
    for (_, session) in all {
        if session.ends_unix > now_unix && session.told_host_ca < next.record().number {
            until = until.max(Some(session.ends_unix));
            waits.insert(Waiting {
                who: session.email.to_string(),
                why: "has a session that did not renew since".to_owned(),
            });
        }
    }
    Ok((waits.into_iter().collect(), until))
}
