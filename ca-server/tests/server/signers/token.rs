//! A CA key in a real SoftHSM token, through a helper process.

use std::{process::Command, time::Duration};

use ca_api::Secret;
use ca_server::signer::{
    Signer, SignerError,
    pkcs11::{Which, open},
    spec::{KeyKind, Pkcs11Spec},
};
use ssh_key::Algorithm;

use super::{error, public, recovers, signs};
use crate::back_ends::{P256, PIN, SOFTHSM, Token, key};

fn pin() -> Option<Secret> {
    Some(Secret::new(PIN.to_owned()))
}

fn labelled(spec: Pkcs11Spec, label: &str) -> Pkcs11Spec {
    Pkcs11Spec {
        object: Some(label.to_owned()),
        ..spec
    }
}

#[test]
fn k1_a_key_is_made_in_the_token_used_again_and_cannot_leave_it() {
    let token = Token::new();
    for (kind, algorithm) in [(None, Algorithm::Ed25519), (Some(KeyKind::EcdsaP256), P256)] {
        let spec = Pkcs11Spec {
            kind,
            ..labelled(token.spec(), algorithm.as_str())
        };
        let made = open(&spec, pin(), Which::FoundOrMade).unwrap();
        assert_eq!(made.public_key().algorithm(), algorithm);
        for _ in 0..64 {
            signs(&made);
        }
        // Asked for again, it is the same one: nothing is made beside it.
        let again = open(&spec, pin(), Which::FoundOrMade).unwrap();
        assert_eq!(again.public_key(), made.public_key());
        let known = open(
            &token.spec(),
            pin(),
            Which::Known(made.public_key().clone()),
        )
        .unwrap();
        signs(&known);
    }
    // Somebody else's tool asks the token itself.
    let out = Command::new("pkcs11-tool")
        .args(["--module", SOFTHSM, "-O", "--type", "privkey"])
        .args(["--login", "--pin", PIN])
        .env("SOFTHSM2_CONF", token.config())
        .output()
        .expect("pkcs11-tool: run tests/setup");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(said.matches("never extractable").count(), 2, "{said}");
}

#[test]
fn a_key_from_a_file_is_brought_in_and_signs_as_before() {
    let token = Token::new();
    for algorithm in [Algorithm::Ed25519, P256] {
        let spec = labelled(token.spec(), algorithm.as_str());
        let ours = key(algorithm);
        let absent = open(&spec, pin(), Which::Known(public(&ours).clone()));
        assert!(matches!(error(absent), SignerError::NoKey { .. }));
        // Twice: a move that was interrupted is made again.
        for _ in 0..2 {
            let signer = open(&spec, pin(), Which::Import(Box::new(ours.clone()))).unwrap();
            assert_eq!(signer.public_key(), public(&ours));
            signs(&signer);
        }
        signs(&open(&spec, pin(), Which::Known(public(&ours).clone())).unwrap());
    }
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let token = Token::new();
    let told = |spec: &Pkcs11Spec, pin| error(open(spec, pin, Which::FoundOrMade)).to_string();
    let other = Pkcs11Spec {
        token: Some("another".to_owned()),
        ..token.spec()
    };
    let absent = told(&other, pin());
    assert!(
        absent.contains("no token \"another\"") && absent.contains("\"ssh-ca\""),
        "{absent}"
    );
    let module = Pkcs11Spec {
        module: "/nowhere/module.so".into(),
        ..token.spec()
    };
    assert!(told(&module, pin()).contains("/nowhere/module.so cannot be loaded"));
    assert!(told(&token.spec(), None).contains("wants a PIN"));
    let wrong = Some(Secret::new("000000".to_owned()));
    assert!(told(&token.spec(), wrong).contains("the PIN is wrong"));
    token.make("ssh-ca");
    assert!(told(&token.spec(), pin()).contains("say which with serial="));
}

#[test]
fn a_module_that_hangs_is_ended_and_the_server_is_not() {
    let token = Token::new();
    let spec = Pkcs11Spec {
        wait: Duration::from_secs(15),
        ..token.faulty()
    };
    let signer = open(&spec, pin(), Which::FoundOrMade).unwrap();
    signs(&signer);
    token.fault("hang");
    let late = signer.sign(b"data").unwrap_err();
    assert!(matches!(late, SignerError::TimedOut { .. }), "{late}");
    token.fault("");
    recovers(&signer);
}

#[test]
fn i4_a_token_that_lies_is_found_out_each_time() {
    let token = Token::new();
    let signer = open(&token.faulty(), pin(), Which::FoundOrMade).unwrap();
    for fault in ["lie", "", "lie"] {
        token.fault(fault);
        match signer.sign(b"data") {
            Ok(_) => assert_eq!(fault, ""),
            Err(SignerError::WrongSignature) => assert_eq!(fault, "lie"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_token_that_was_away_signs_again_when_it_is_back() {
    let token = Token::new();
    let signer = open(&token.faulty(), pin(), Which::FoundOrMade).unwrap();
    token.fault("gone");
    let gone = signer.sign(b"data").unwrap_err();
    assert!(matches!(gone, SignerError::Absent { .. }), "{gone}");
    token.unplug();
    token.fault("gone");
    let gone = signer.sign(b"data").unwrap_err();
    assert!(gone.to_string().contains("plug it in"), "{gone}");
    token.fault("");
    token.plug();
    signs(&signer);
}

#[test]
fn a_module_that_crashes_takes_only_its_helper_with_it() {
    let token = Token::new();
    let signer = open(&token.faulty(), pin(), Which::FoundOrMade).unwrap();
    token.fault("crash");
    let crashed = signer.sign(b"data").unwrap_err();
    assert!(
        crashed.to_string().contains("may have crashed"),
        "{crashed}"
    );
    token.fault("");
    signs(&signer);
}
