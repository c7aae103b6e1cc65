//! Random revocations, as data: for our builder and for the input of `ssh-keygen -k`.

use std::fmt::Write as _;

use proptest::prelude::*;
use sha2::{Digest, Sha256};
use ssh_krl::{CaScope, Krl, KrlBuilder, PlainKey};

use crate::pool::{CA_COUNT, KEY_IDS, Pool, SERIALS, SUBJECT_COUNT};

/// One revocation; CAs and keys are indices into the pool.
#[derive(Debug, Clone)]
pub enum Step {
    Serial(Option<usize>, u64),
    Serials(Option<usize>, u64, u64),
    /// Every second serial from here on: what tempts `ssh-keygen -k` into a bitmap.
    Alternating(Option<usize>, u64, u64),
    KeyId(Option<usize>, String),
    Key(usize),
    KeySha256(usize),
    KeySha1(usize),
}

fn ca() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![1 => Just(None), 4 => (0..CA_COUNT).prop_map(Some)]
}

fn serial() -> impl Strategy<Value = u64> {
    let near = (prop::sample::select(&SERIALS[..]), 0..3_u64)
        .prop_map(|(serial, more)| serial.saturating_add(more).max(1));
    prop_oneof![2 => near, 2 => 1..40_u64, 1 => 1..=u64::MAX]
}

fn key_id() -> impl Strategy<Value = String> {
    let known =
        prop::sample::select(&KEY_IDS[..]).prop_map(|id| id.trim_end_matches('\0').to_owned());
    prop_oneof![3 => known, 1 => "[a-z@/#0-9 ]{0,20}"]
}

fn key() -> std::ops::Range<usize> {
    0..CA_COUNT + SUBJECT_COUNT
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (ca(), serial()).prop_map(|(ca, serial)| Step::Serial(ca, serial)),
        3 => (ca(), serial(), serial())
            .prop_map(|(ca, a, b)| Step::Serials(ca, a.min(b), a.max(b))),
        1 => (ca(), serial(), 1..200_u64).prop_map(|(ca, from, n)| Step::Alternating(ca, from, n)),
        5 => (ca(), key_id()).prop_map(|(ca, id)| Step::KeyId(ca, id)),
        1 => key().prop_map(Step::Key),
        1 => key().prop_map(Step::KeySha256),
        1 => key().prop_map(Step::KeySha1),
    ]
}

pub fn plan() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..16)
}

fn key_of(pool: &Pool, index: usize) -> (&[u8], &str) {
    match pool.cas.get(index) {
        Some(ca) => (&ca.blob, &ca.line),
        None => {
            let subject = &pool.subjects[index - CA_COUNT];
            (&subject.blob, &subject.line)
        }
    }
}

fn alternating(from: u64, count: u64) -> impl Iterator<Item = u64> {
    (0..count).map_while(move |index| from.checked_add(2 * index))
}

/// What our builder makes of the plan; SHA-1 it does not offer, so that step becomes a SHA-256 one.
pub fn build(pool: &Pool, plan: &[Step]) -> Krl {
    let scope = |ca: &Option<usize>| match ca {
        Some(index) => CaScope::key(&*pool.cas[*index].blob).unwrap(),
        None => CaScope::ANY,
    };
    let mut builder = KrlBuilder::new(plan.len() as u64, 1_795_305_600);
    builder.comment("random").unwrap();
    for step in plan {
        match step {
            Step::Serial(ca, serial) => {
                builder.revoke_serial(&scope(ca), *serial).unwrap();
            }
            Step::Serials(ca, first, last) => {
                builder.revoke_serials(&scope(ca), *first..=*last).unwrap();
            }
            Step::Alternating(ca, from, count) => {
                let serials = alternating(*from, *count);
                builder.revoke_serial_list(&scope(ca), serials).unwrap();
            }
            Step::KeyId(ca, id) => {
                builder.revoke_key_id(&scope(ca), id).unwrap();
            }
            Step::Key(index) => {
                let key = PlainKey::new(key_of(pool, *index).0).unwrap();
                builder.revoke_key(key);
            }
            Step::KeySha256(index) | Step::KeySha1(index) => {
                builder.revoke_key_sha256(Sha256::digest(key_of(pool, *index).0).into());
            }
        }
    }
    builder.build()
}

/// The input of `ssh-keygen -k` cannot say key IDs with `#` or with spaces at the ends, or empty ones.
fn sayable(key_id: &str) -> bool {
    !key_id.is_empty() && !key_id.contains('#') && key_id.trim() == key_id
}

/// The plan as input for `ssh-keygen -k`: one text for each CA.
pub fn specs<'a>(pool: &'a Pool, plan: &[Step]) -> Vec<(Option<&'a std::path::Path>, String)> {
    let scopes = std::iter::once(None).chain((0..CA_COUNT).map(Some));
    let mut specs = Vec::new();
    for scope in scopes {
        let mut text = String::new();
        for step in plan {
            match step {
                Step::Serial(ca, serial) if *ca == scope => {
                    writeln!(text, "serial: {serial}").unwrap();
                }
                // ssh-keygen refuses a range of one.
                Step::Serials(ca, first, last) if *ca == scope && first == last => {
                    writeln!(text, "serial: {first}").unwrap();
                }
                Step::Serials(ca, first, last) if *ca == scope => {
                    writeln!(text, "serial: {first}-{last}").unwrap();
                }
                Step::Alternating(ca, from, count) if *ca == scope => {
                    for serial in alternating(*from, *count) {
                        writeln!(text, "serial: {serial}").unwrap();
                    }
                }
                Step::KeyId(ca, id) if *ca == scope && sayable(id) => {
                    writeln!(text, "id: {id}").unwrap();
                }
                Step::Key(index) if scope.is_none() => {
                    write!(text, "key: {}", key_of(pool, *index).1).unwrap();
                }
                Step::KeySha256(index) if scope.is_none() => {
                    write!(text, "sha256: {}", key_of(pool, *index).1).unwrap();
                }
                Step::KeySha1(index) if scope.is_none() => {
                    write!(text, "sha1: {}", key_of(pool, *index).1).unwrap();
                }
                _ => {}
            }
        }
        if !text.is_empty() || scope.is_none() {
            let ca = scope.map(|index| pool.cas[index].public_path.as_path());
            specs.push((ca, text));
        }
    }
    specs
}
