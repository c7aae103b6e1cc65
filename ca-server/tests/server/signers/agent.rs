//! A CA key that a real ssh-agent holds.

use std::time::Duration;

use ca_server::signer::{Signer, SignerError, agent::open, spec::AgentSpec};
use ssh_key::{Algorithm, HashAlg};

use super::{error, public, recovers, signs};
use crate::back_ends::{Agent, P256, key};

#[test]
fn an_agent_signs_with_both_kinds_of_keys() {
    for algorithm in [Algorithm::Ed25519, P256] {
        let (agent, key) = (Agent::start(), key(algorithm));
        agent.add(&key);
        let signer = open(&agent.spec(), None, "").unwrap();
        assert_eq!(signer.public_key(), public(&key));
        // Often enough that an ECDSA number with a leading zero is among them, most of the time.
        for _ in 0..64 {
            signs(&signer);
        }
    }
}

#[test]
fn of_several_keys_the_one_that_is_named_is_taken_and_none_is_guessed() {
    let (agent, one, other) = (Agent::start(), key(Algorithm::Ed25519), key(P256));
    agent.add(&one);
    agent.add(&other);
    // A kind that no CA key has is in nobody's way.
    let rsa = agent.folder.path().join("rsa");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(&rsa)
        .status()
        .unwrap();
    assert!(made.success());
    agent.ssh_add(&["-q", rsa.to_str().unwrap()]);
    let told = error(open(&agent.spec(), None, "")).to_string();
    for key in [&one, &other] {
        assert!(
            told.contains(&key.fingerprint(HashAlg::Sha256).to_string()),
            "{told}"
        );
        let spec = AgentSpec {
            key: Some(key.fingerprint(HashAlg::Sha256)),
            ..agent.spec()
        };
        assert_eq!(open(&spec, None, "").unwrap().public_key(), public(key));
        let known = open(&agent.spec(), Some(public(key)), "").unwrap();
        assert_eq!(known.public_key(), public(key));
    }
}

#[test]
fn k6_an_agent_with_another_key_is_not_taken_for_the_cas() {
    let agent = Agent::start();
    agent.add(&key(Algorithm::Ed25519));
    let ours = key(Algorithm::Ed25519);
    assert!(matches!(
        open(&agent.spec(), Some(public(&ours)), ""),
        Err(SignerError::NoKey { .. })
    ));
}

#[test]
fn an_agent_that_was_started_anew_is_found_again_once_it_has_the_key() {
    let (mut agent, key) = (Agent::start(), key(Algorithm::Ed25519));
    agent.add(&key);
    let signer = open(&agent.spec(), None, "").unwrap();
    signs(&signer);
    agent.stop();
    let gone = signer.sign(b"data").unwrap_err();
    assert!(matches!(gone, SignerError::Absent { .. }), "{gone}");
    agent.restart();
    let empty = signer.sign(b"data").unwrap_err();
    assert!(matches!(empty, SignerError::NoKey { .. }), "{empty}");
    agent.add(&key);
    signs(&signer);
}

#[test]
fn a_locked_agent_is_told_apart() {
    let (agent, key) = (Agent::start(), key(Algorithm::Ed25519));
    agent.add(&key);
    let signer = open(&agent.spec(), None, "").unwrap();
    let askpass = agent.folder.path().join("askpass");
    std::fs::write(&askpass, "#!/bin/sh\necho secret\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&askpass, std::fs::Permissions::from_mode(0o700)).unwrap();
    let lock = |flag: &str| {
        let done = std::process::Command::new("ssh-add")
            .arg(flag)
            .env("SSH_AUTH_SOCK", agent.socket())
            .env("SSH_ASKPASS", &askpass)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    lock("-x");
    let told = signer.sign(b"data").unwrap_err().to_string();
    assert!(
        told.contains("locked") && told.contains("ssh-add -X"),
        "{told}"
    );
    lock("-X");
    signs(&signer);
}

#[test]
fn an_agent_that_hangs_costs_one_wait_and_signs_again_when_it_goes_on() {
    let (agent, key) = (Agent::start(), key(Algorithm::Ed25519));
    agent.add(&key);
    let spec = AgentSpec {
        wait: Duration::from_secs(15),
        ..agent.spec()
    };
    let signer = open(&spec, None, "").unwrap();
    agent.pause();
    let late = signer.sign(b"data").unwrap_err();
    assert!(matches!(late, SignerError::TimedOut { .. }), "{late}");
    for _ in 0..50 {
        let hung = signer.sign(b"data").unwrap_err();
        assert!(matches!(hung, SignerError::Hung { .. }), "{hung}");
    }
    agent.go_on();
    recovers(&signer);
}
