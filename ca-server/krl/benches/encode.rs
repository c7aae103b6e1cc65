//! What a KRL costs: 1,000,000 serials and 100,000 key IDs; built, encoded, decoded, asked.
//!
//! `cargo bench -p ssh-krl`. The aim: `build_and_encode` of 1,000,000 serials in under 100 ms.
#![allow(clippy::unwrap_used, reason = "a bench that fails should stop")]

use divan::{Bencher, black_box};
use ssh_krl::{CaScope, CertificateFacts, Krl, KrlBuilder, PlainKey};

const SERIALS: u64 = 1_000_000;
const KEY_IDS: u64 = 100_000;

fn main() {
    divan::main();
}

fn ca_key_blob() -> Vec<u8> {
    let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
    blob.extend([7; 32]);
    blob
}

fn ca() -> CaScope {
    CaScope::key(ca_key_blob()).unwrap()
}

#[derive(Debug, Clone, Copy)]
enum Serials {
    Random,
    Alternating,
}

const KINDS: [Serials; 2] = [Serials::Random, Serials::Alternating];

/// xorshift64*: the same numbers in every run.
fn serials(kind: Serials) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..SERIALS)
        .map(|index| match kind {
            Serials::Alternating => 2 * index + 1,
            Serials::Random => {
                state ^= state >> 12;
                state ^= state << 25;
                state ^= state >> 27;
                state.wrapping_mul(0x2545_f491_4f6c_dd1d).max(1)
            }
        })
        .collect()
}

fn krl_of(serials: &[u64]) -> Krl {
    let mut builder = KrlBuilder::new(1, 1_795_305_600);
    let serials = serials.iter().copied();
    builder.revoke_serial_list(&ca(), serials).unwrap();
    builder.build()
}

#[divan::bench(args = KINDS)]
fn serials_build_and_encode(bencher: Bencher<'_, '_>, kind: Serials) {
    let serials = serials(kind);
    bencher.bench_local(|| krl_of(black_box(&serials)).encode().unwrap());
}

#[divan::bench(args = KINDS)]
fn serials_encode(bencher: Bencher<'_, '_>, kind: Serials) {
    let krl = krl_of(&serials(kind));
    bencher.bench_local(|| black_box(&krl).encode().unwrap());
}

#[divan::bench(args = KINDS)]
fn serials_decode(bencher: Bencher<'_, '_>, kind: Serials) {
    let file = krl_of(&serials(kind)).encode().unwrap();
    bencher.bench_local(|| Krl::decode(black_box(&file)).unwrap());
}

/// One more serial in a KRL that exists: decode, merge, encode.
#[divan::bench(args = KINDS)]
fn serials_add_one(bencher: Bencher<'_, '_>, kind: Serials) {
    let old = krl_of(&serials(kind));
    bencher.bench_local(|| {
        let mut next = KrlBuilder::new(2, 1_795_305_601);
        next.merge(black_box(&old));
        next.revoke_serial(&ca(), 4_000_000).unwrap();
        next.build().encode().unwrap()
    });
}

#[divan::bench(args = KINDS)]
fn serials_judge_one_certificate(bencher: Bencher<'_, '_>, kind: Serials) {
    let krl = krl_of(&serials(kind));
    let ca_key = ca_key_blob();
    let facts = CertificateFacts {
        ca_key: PlainKey::new(&ca_key).unwrap(),
        subject_key: PlainKey::new(&ca_key).unwrap(),
        serial: 1_000_002,
        key_id: b"alice@corp.example/1",
    };
    bencher.bench_local(|| black_box(&krl).judge_certificate(black_box(&facts)));
}

fn key_ids() -> Vec<String> {
    let people = (0..KEY_IDS).rev();
    people
        .map(|index| format!("person.{index:06}@corp.example/{}", index % 7))
        .collect()
}

fn krl_of_key_ids(key_ids: &[String]) -> Krl {
    let mut builder = KrlBuilder::new(1, 1_795_305_600);
    let ca = ca();
    for key_id in key_ids {
        builder.revoke_key_id(&ca, key_id).unwrap();
    }
    builder.build()
}

#[divan::bench]
fn key_ids_build_and_encode(bencher: Bencher<'_, '_>) {
    let key_ids = key_ids();
    bencher.bench_local(|| krl_of_key_ids(black_box(&key_ids)).encode().unwrap());
}

#[divan::bench]
fn key_ids_decode(bencher: Bencher<'_, '_>) {
    let file = krl_of_key_ids(&key_ids()).encode().unwrap();
    bencher.bench_local(|| Krl::decode(black_box(&file)).unwrap());
}
