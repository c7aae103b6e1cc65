//! What a signature and a certificate cost with each signer back end, as the CA makes them: signed, verified, and read again.
//!
//! `cargo bench -p ca-server --bench signers`. It needs `softhsm2` (tests/setup) and OpenSSH's ssh-agent. One line is one
//! signer: `certificate` is a user certificate from its blueprint to checked text, one after the other; the reciprocal of the
//! median is certificates per second.

#![allow(clippy::unwrap_used, reason = "a bench that fails should stop")]

#[path = "../tests/server/back_ends.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod back_ends;

use std::sync::Arc;

use back_ends::{Agent, P256, PIN, Token, key};
use ca_api::Secret;
use ca_server::signer::{
    Attempt, FileSigner, Signer, agent,
    pkcs11::{self, Which},
    spec::{KeyKind, Pkcs11Spec},
};
use policies::{Blueprint, KeyId, MachineName, Serial, Subject};
use ssh_key::Algorithm;

fn main() {
    divan::main();
}

const KINDS: [&str; 2] = ["ed25519", "ecdsa-p256"];

fn algorithm(kind: &str) -> Algorithm {
    match kind {
        "ed25519" => Algorithm::Ed25519,
        _ => P256,
    }
}

fn blueprint() -> Blueprint {
    let subject = key(Algorithm::Ed25519);
    let subject: Subject = policies::acceptable_subject(subject.public_key(), []).unwrap();
    let machine: MachineName = "web-1.corp.example".parse().unwrap();
    let names = [machine.to_string(), "10.0.0.1".to_owned()].into();
    let serial = Serial::from_parts(1_900_000_000, 7).unwrap();
    let blueprint = Blueprint::host(
        serial,
        &machine,
        &subject,
        names,
        1_900_000_000,
        1_900_003_600,
    )
    .unwrap();
    assert!(matches!(blueprint.key_id(), KeyId::Host(_)));
    blueprint
}

/// One certificate: built, signed, verified, parsed again and compared.
fn certificate(bencher: divan::Bencher<'_, '_>, signer: &dyn Signer) {
    let blueprint = blueprint();
    bencher.bench(|| {
        let attempt = Attempt::new(signer);
        let signed = blueprint
            .build([7; policies::NONCE_BYTES])
            .sign(&attempt)
            .unwrap();
        policies::lint(
            &signed.to_openssh().unwrap(),
            &blueprint,
            signer.public_key(),
        )
        .unwrap()
    });
}

#[divan::bench(args = KINDS)]
fn file(bencher: divan::Bencher<'_, '_>, kind: &str) {
    certificate(bencher, &FileSigner::new(key(algorithm(kind))));
}

#[divan::bench(args = KINDS)]
fn ssh_agent(bencher: divan::Bencher<'_, '_>, kind: &str) {
    let running = Agent::start();
    running.add(&key(algorithm(kind)));
    let signer = agent::open(&running.spec(), None, "").unwrap();
    certificate(bencher, &signer);
}

#[divan::bench(args = KINDS)]
fn softhsm(bencher: divan::Bencher<'_, '_>, kind: &str) {
    let token = Token::new();
    let kind = match kind {
        "ed25519" => KeyKind::Ed25519,
        _ => KeyKind::EcdsaP256,
    };
    let spec = Pkcs11Spec {
        kind: Some(kind),
        ..token.spec()
    };
    let pin = Secret::new(PIN.to_owned());
    let signer = Arc::new(pkcs11::open(&spec, Some(pin), Which::FoundOrMade).unwrap());
    certificate(bencher, signer.as_ref());
}
