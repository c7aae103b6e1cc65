//! What the tests of the certificate profile share: a CA, an order, its blueprint, and the lint of a text.

use std::collections::BTreeSet;

use policies::{
    Blueprint, Conditions, Extension, KeyDemand, LintError, NONCE_BYTES, Order, Serial, Subject,
    acceptable_subject, lint,
};
use ssh_key::{Certificate, PublicKey};

use crate::build::*;

pub const CA: u8 = 1;
pub const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];

pub fn order() -> Order {
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db", &[])
        .grant(grant("alice", "self", "web"))
        .grant(grant("alice", "deploy", "db"))
        .with(|policy| {
            for grant in policy.grants.values_mut() {
                grant.conditions = Conditions {
                    forced_command: Some("/bin/date -u".to_owned()),
                    sources: BTreeSet::from(["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()]),
                    extensions: BTreeSet::from([Extension::Pty, Extension::X11Forwarding]),
                    max_lifetime_secs: None,
                    key: KeyDemand::Any,
                };
            }
        });
    orders(&draft.index(), &request("alice")).remove(0)
}

/// An order that demands a security key.
pub fn security_key_order() -> Order {
    let draft = Draft::default()
        .employee("alice")
        .pool("vault", &[])
        .grant(changed(grant("alice", "self", "vault"), |g| {
            g.conditions.key = KeyDemand::SecurityKey;
        }));
    let request = policies::Request {
        key: policies::KeyKind::SecurityKey,
        ..request("alice")
    };
    orders(&draft.index(), &request).remove(0)
}

/// A FIDO key.
pub fn security_key() -> PublicKey {
    crate::keys::blob(&[b"sk-ssh-ed25519@openssh.com", &[3; 32], b"ssh:"])
}

pub fn subject(key: &PublicKey) -> Subject {
    acceptable_subject(key, [public(CA).key_data()]).unwrap()
}

pub fn serial() -> Serial {
    Serial::from_parts(1_795_000_000, 42).unwrap()
}

pub fn blueprint() -> Blueprint {
    Blueprint::of(&order(), serial(), &subject(&public(5))).unwrap()
}

pub fn signed(blueprint: &Blueprint) -> String {
    blueprint
        .build(NONCE)
        .sign(&key(CA))
        .unwrap()
        .to_openssh()
        .unwrap()
}

pub fn host() -> Blueprint {
    let names = ["web-1", "web-1.corp.example", "10.77.0.1", "fd00::1"].map(str::to_owned);
    let machine = "web-1".parse().unwrap();
    Blueprint::host(
        serial(),
        &machine,
        &subject(&public(6)),
        names.into(),
        NOW_SECS,
        NOW_SECS + 30 * 86_400,
    )
    .unwrap()
}

pub fn check(text: &str, blueprint: &Blueprint) -> Result<Certificate, LintError> {
    lint(text, blueprint, public(CA).key_data())
}
