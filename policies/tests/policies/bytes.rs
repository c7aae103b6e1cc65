//! The second parse sees every bit, also those that ssh-key reads past.

use base64::prelude::{BASE64_STANDARD, Engine};
use policies::{Blueprint, LintError};
use signature::Signer;
use ssh_key::Signature;

use crate::{build::*, profile::*};

/// The text of a certificate of these bytes, whatever they are.
fn text_of(bytes: &[u8], blueprint: &Blueprint) -> String {
    let base64 = BASE64_STANDARD.encode(bytes);
    format!(
        "ssh-ed25519-cert-v01@openssh.com {base64} {}",
        blueprint.comment()
    )
}

#[test]
fn i4_every_flipped_bit_is_seen() {
    for blueprint in [blueprint(), host()] {
        let bytes = blueprint
            .build(NONCE)
            .sign(&key(CA))
            .unwrap()
            .to_bytes()
            .unwrap();
        assert_eq!(text_of(&bytes, &blueprint), signed(&blueprint));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let text = text_of(&flipped, &blueprint);
                assert!(check(&text, &blueprint).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn i4_what_ssh_key_reads_past_is_seen() {
    // ssh-key 0.6.7 ignores the length before an Ed25519 key: what it writes again would be fine, what it read is not.
    let blueprint = blueprint();
    let mut bytes = blueprint
        .build(NONCE)
        .sign(&key(CA))
        .unwrap()
        .to_bytes()
        .unwrap();
    bytes[73] ^= 1;
    let said = check(&text_of(&bytes, &blueprint), &blueprint);
    assert_eq!(said, Err(LintError::NotCanonical));
}

/// A certificate whose signed bytes were edited by hand, and then signed by the CA itself.
fn edited(blueprint: &Blueprint, edit: impl FnOnce(&mut Vec<u8>)) -> String {
    let signature_length = 4 + 4 + 11 + 4 + 64;
    let mut bytes = blueprint
        .build(NONCE)
        .sign(&key(CA))
        .unwrap()
        .to_bytes()
        .unwrap();
    bytes.truncate(bytes.len() - signature_length);
    edit(&mut bytes);
    let signature: Signature = key(CA).try_sign(&bytes).unwrap();
    let signature: Vec<u8> = signature.try_into().unwrap();
    assert_eq!(4 + signature.len(), signature_length);
    bytes.extend((signature.len() as u32).to_be_bytes());
    bytes.extend(signature);
    text_of(&bytes, blueprint)
}

#[test]
fn i4_what_ssh_key_does_not_show_is_seen() {
    // The reserved field, filled and signed by the CA itself: ssh-key reads it and has no name for it.
    let blueprint = blueprint();
    assert!(check(&edited(&blueprint, |_| {}), &blueprint).is_ok());
    let ca_length = 4 + public(CA).to_bytes().unwrap().len();
    let text = edited(&blueprint, |bytes| {
        let end = bytes.len() - ca_length;
        bytes.splice(end - 4..end, [0, 0, 0, 1, b'x']);
    });
    assert_eq!(
        check(&text, &blueprint),
        Err(LintError::Differs("encoding"))
    );
}

#[test]
fn i7_a_certificate_that_ends_when_it_begins_or_never_is_seen() {
    let blueprint = blueprint();
    let before = blueprint.valid_before_unix_secs().to_be_bytes();
    let ending = |end: u64| {
        let text = edited(&blueprint, |bytes| {
            let at = bytes
                .windows(8)
                .position(|window| window == before)
                .unwrap();
            bytes[at..at + 8].copy_from_slice(&end.to_be_bytes());
        });
        check(&text, &blueprint).unwrap_err()
    };
    for end in [
        0,
        blueprint.valid_after_unix_secs() - 1,
        blueprint.valid_after_unix_secs(),
    ] {
        assert!(matches!(ending(end), LintError::Lifetime { .. }), "{end}");
    }
    assert!(
        matches!(ending(u64::MAX), LintError::Unreadable(_)),
        "forever"
    );
}

#[test]
fn i4_only_the_one_canonical_text() {
    let blueprint = blueprint();
    let text = signed(&blueprint);
    for other in [
        format!("{text}\n"),
        format!("{text} "),
        text.replacen(' ', "  ", 1),
    ] {
        assert!(check(&other, &blueprint).is_err(), "{other:?}");
    }
    for garbage in [
        "",
        "x",
        "ssh-ed25519 AAAA",
        &public(5).to_openssh().unwrap(),
        &text[..text.len() / 2],
    ] {
        assert!(
            matches!(check(garbage, &blueprint), Err(LintError::Unreadable(_))),
            "{garbage:?}"
        );
    }
}
