//! What is judged of facts that no real machine of the tests shows easily: clocks, versions, other people's bundles.

use std::collections::BTreeSet;

use rand_core::OsRng;
use sha2::{Digest, Sha256};
use ssh_key::{Algorithm, PrivateKey, PublicKey};

use super::*;
use crate::{
    AccountSpec, MachineSpec, SudoRule,
    bundle::{Gecos, Origin, manifest::hex},
    facts::KeyFact,
    render,
    report::State,
    spec::BreakGlass,
};

const NOW: i64 = 1_795_000_000;
const HOST_KEY: &str = "SHA256:host";

fn public() -> PublicKey {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    key.public_key().clone()
}

fn bundle() -> Bundle {
    let alice = AccountSpec {
        name: "alice".parse().unwrap(),
        uid: Some(61_001),
        origin: Origin::Made,
        state: AccountState::Active,
        shell: "/bin/sh".parse().unwrap(),
        groups: Vec::new(),
        gecos: Gecos::nearest("Alice"),
        principals: BTreeSet::from(["alice@web".parse().unwrap()]),
        sudo: SudoRule::None,
    };
    let spec = MachineSpec {
        machine: "web-1".parse().unwrap(),
        user_ca_keys: vec![public()],
        fleet_keys: vec![public()],
        sync_keys: vec![public()],
        sync_from: Vec::new(),
        admin: "ssh-admin".parse().unwrap(),
        accounts: vec![alice],
        break_glass: BreakGlass::Never,
        host_certificate: None,
        mode: Mode::Observe,
        openssh: OpenSshVersion(9, 2),
        pull: None,
    };
    render(&spec, 7, 1, 2).unwrap()
}

/// A machine on which all is well.
struct Well {
    bundle: Bundle,
    sha256: String,
    state: State,
    facts: Vec<Fact>,
    mode: Mode,
}

impl Well {
    fn new() -> Self {
        let bundle = bundle();
        let bytes = bundle.encode();
        let end = bytes.windows(5).position(|at| at == b"\nend\n").unwrap() + 5;
        let sha256 = hex(&Sha256::digest(&bytes));
        let state = State {
            machine: "web-1".to_owned(),
            generation: 7,
            applied_generation: 7,
            bundle_sha256: sha256.clone(),
            krl_version: 3,
            krl_sha256: "krl".to_owned(),
            krl_canaries: "ok".to_owned(),
            clock_unix: NOW,
            openssh: "9.2p1".to_owned(),
            applier_sha256: hex(&Sha256::digest(applier::APPLIER.as_bytes())),
            fleet_keys: String::from_utf8_lossy(&bundle.files[&Place::Fleet])
                .split_whitespace()
                .filter(|word| word.starts_with("AAAA"))
                .map(str::to_owned)
                .collect(),
            ..State::default()
        };
        let account = |name: &str, uid, shell: &str, origin: &str, answer| {
            Fact::Account(AccountFact {
                name: name.to_owned(),
                uid: Some(uid),
                shell: shell.to_owned(),
                home: format!("/home/{name}"),
                origin: origin.to_owned(),
                password: "no".to_owned(),
                answer,
                groups: name.to_owned(),
                ..AccountFact::default()
            })
        };
        let key = |account: &str, file: &str| {
            Fact::Key(KeyFact {
                account: account.to_owned(),
                file: file.to_owned(),
                line: 1,
                heeded: true,
                algorithm: "ssh-ed25519".to_owned(),
                blob: "AAAAC3NzaC1lZDI1NTE5AAAAIA".to_owned(),
                ..KeyFact::default()
            })
        };
        let sync_keys = Place::SyncKeys.path();
        let mut facts = vec![
            account("root", 0, "/bin/bash", "", 1),
            account("ssh-admin", 1000, "/bin/bash", "", 2),
            account("ssh-ca-sync", 998, "/bin/sh", "system", 3),
            account("ssh-ca-probe", 997, "/bin/sh", "system", 4),
            account("alice", 61_001, "/bin/sh", "made", 4),
            key("ssh-admin", "/home/ssh-admin/.ssh/authorized_keys"),
            key("ssh-ca-sync", &sync_keys),
            Fact::HostKey {
                file: "/etc/ssh/ssh_host_ed25519_key".to_owned(),
                fingerprint: HOST_KEY.to_owned(),
            },
            Fact::Manifest {
                sha256: hex(&Sha256::digest(&bytes[..end])),
            },
        ];
        let krl = applier::KRL_PATH;
        for (answer, word, value) in [
            (1, "trustedusercakeys", "/etc/ssh/ca/user_ca.pub"),
            (1, "revokedkeys", krl),
            (1, "authorizedprincipalsfile", "/etc/ssh/ca/principals/%u"),
            (1, "pubkeyauthentication", "yes"),
            (1, "usepam", "yes"),
            (1, "authorizedkeysfile", ".ssh/authorized_keys"),
            (2, "revokedkeys", "/etc/ssh/ca/admin_revoked.krl"),
            (2, "trustedusercakeys", "/etc/ssh/ca/admin_user_ca.pub"),
            (2, "pubkeyauthentication", "yes"),
            (3, "authorizedkeysfile", &sync_keys),
            (3, "authenticationmethods", "publickey"),
            (3, "revokedkeys", "/etc/ssh/ca/admin_revoked.krl"),
            (3, "trustedusercakeys", "/etc/ssh/ca/admin_user_ca.pub"),
            (3, "passwordauthentication", "no"),
            (4, "authorizedkeysfile", "none"),
            (4, "authenticationmethods", "publickey"),
            (4, "passwordauthentication", "no"),
            (4, "kbdinteractiveauthentication", "no"),
            (4, "hostbasedauthentication", "no"),
            (4, "revokedkeys", krl),
        ] {
            facts.push(Fact::Sshd {
                answer,
                word: word.to_owned(),
                value: value.to_owned(),
            });
        }
        Self {
            bundle,
            sha256,
            state,
            facts,
            mode: Mode::Observe,
        }
    }

    fn judge(&self) -> Vec<Finding> {
        let mut events: Vec<Event> = self.facts.iter().cloned().map(Event::Fact).collect();
        events.push(Event::State(self.state.clone()));
        events.push(Event::Done);
        let expected = Expected {
            bundle: &self.bundle,
            bundle_sha256: &self.sha256,
            krl_version: 3,
            krl_sha256: "krl",
            host_key: HOST_KEY,
            admin: &"ssh-admin".parse().unwrap(),
            mode: self.mode,
            openssh: OpenSshVersion(9, 2),
            asked_unix: NOW,
        };
        judge(&Report { events }, &expected)
    }

    fn codes(&self) -> Vec<&'static str> {
        self.judge().iter().map(|finding| finding.code).collect()
    }

    fn with_state(change: impl FnOnce(&mut State)) -> Vec<&'static str> {
        let mut well = Self::new();
        change(&mut well.state);
        well.codes()
    }

    fn account(&mut self, name: &str) -> &mut AccountFact {
        let found = self.facts.iter_mut().find_map(|fact| match fact {
            Fact::Account(account) if account.name == name => Some(account),
            _ => None,
        });
        found.unwrap()
    }
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(Well::new().judge(), []);
}

#[test]
fn versions_and_numbers_that_are_not_as_wanted_are_found() {
    type Change = fn(&mut State);
    let cases: [(&[&str], Change); 15] = [
        (&["fleet-key"], |state| {
            state.fleet_keys = vec!["AAAAearlier".to_owned()];
        }),
        (&["fleet-key-foreign"], |state| {
            state.fleet_keys.push("AAAAforeign".to_owned());
        }),
        // An applier that does not say.
        (&[], |state| state.fleet_keys.clear()),
        (&["generation"], |state| state.applied_generation = 6),
        (&["other-bundle"], |state| {
            state.bundle_sha256 = "x".to_owned()
        }),
        (&["applier"], |state| state.applier_sha256 = "x".to_owned()),
        (&["pending"], |state| state.awaiting = "0".repeat(32)),
        (&["stale"], |state| state.stale = true),
        (&["krl"], |state| state.krl_version = 2),
        (&["krl"], |state| state.krl_sha256 = "x".to_owned()),
        (&["krl-ahead"], |state| state.krl_version = 4),
        (&["krl-canaries"], |state| {
            state.krl_canaries = "failed".to_owned()
        }),
        (&["old-openssh"], |state| state.openssh = "8.1p1".to_owned()),
        (&[OPENSSH_CHANGED], |state| {
            state.openssh = "9.8p1".to_owned()
        }),
        (&[], |state| state.clock_unix += 60),
    ];
    for (codes, change) in cases {
        assert_eq!(Well::with_state(change), codes);
    }
}

#[test]
fn a_clock_that_is_off_is_found_on_both_sides() {
    for (skew, severity) in [
        (61, Severity::Warning),
        (-61, Severity::Warning),
        (86_400, Severity::Danger),
        (-86_400, Severity::Danger),
    ] {
        let mut well = Well::new();
        well.state.clock_unix += skew;
        let found = well.judge();
        assert_eq!((found.len(), found[0].code), (1, "clock"));
        assert_eq!(found[0].severity, severity);
        let side = if skew > 0 { "ahead" } else { "behind" };
        assert!(found[0].what.contains(side), "{}", found[0].what);
    }
    let mut lie = Well::new();
    lie.state.clock_unix = i64::MIN;
    assert_eq!(lie.codes(), ["clock"], "w3: no clock of a machine's panics");
}

#[test]
fn ways_in_that_are_shut_or_open_are_found() {
    let mut well = Well::new();
    well.account("ssh-admin").expiry_day = Some(1);
    assert_eq!(well.codes(), ["own-door"]);

    let mut well = Well::new();
    well.account("ssh-ca-sync").shell = "/usr/sbin/nologin".to_owned();
    assert_eq!(well.codes(), ["own-door"]);

    let mut well = Well::new();
    well.facts
        .retain(|fact| !matches!(fact, Fact::Key(key) if key.account == "ssh-admin"));
    assert_eq!(well.codes(), ["own-door"], "no key and no password");
    well.account("ssh-admin").password = "set".to_owned();
    assert_eq!(well.codes(), [""; 0]);

    // Root's own key: told while observed, a danger once enforced.
    let mut well = Well::new();
    well.facts.push(Fact::Key(KeyFact {
        account: "root".to_owned(),
        file: "/root/.ssh/authorized_keys".to_owned(),
        line: 2,
        heeded: true,
        ..KeyFact::default()
    }));
    let found = well.judge();
    assert_eq!((found.len(), found[0].severity), (1, Severity::Notice));
    well.mode = Mode::Enforce;
    let found = well.judge();
    let static_key = found.iter().find(|finding| finding.code == "static-key");
    assert_eq!(static_key.unwrap().severity, Severity::Danger);
    assert!(found.iter().any(|finding| finding.code == "overruled"));

    // Right after `machine enforce`, before the change has come: no line on the machine is to blame.
    well.state.applied_generation = 6;
    let found = well.judge();
    let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&"not-enforced-yet"), "{codes:?}");
    assert!(!codes.contains(&"overruled"), "{codes:?}");
    assert!(
        found
            .iter()
            .all(|finding| finding.severity < Severity::Danger),
        "{found:#?}"
    );
}

#[test]
fn a_host_key_that_is_gone_and_another_manifest_are_found() {
    let mut well = Well::new();
    for fact in &mut well.facts {
        match fact {
            Fact::HostKey { fingerprint, .. } => *fingerprint = "SHA256:other".to_owned(),
            Fact::Manifest { sha256 } => sha256.clear(),
            _ => {}
        }
    }
    assert_eq!(well.codes(), ["manifest", "host-key"]);
}

#[test]
fn an_applier_that_tells_no_facts_is_found_and_brought_up_to_date() {
    let mut well = Well::new();
    well.facts.clear();
    let found = well.judge();
    assert_eq!((found.len(), found[0].code), (1, "old-applier"));
    assert_eq!(found[0].mend, Mend::Reapply);
}
