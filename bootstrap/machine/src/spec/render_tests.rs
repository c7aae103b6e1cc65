//! What a rendered bundle must and must not say.

use std::collections::BTreeSet;

use rand_core::OsRng;
use ssh_key::{Algorithm, PrivateKey};

use super::*;
use crate::spec::{OpenSshVersion, SudoCommand};

fn public_key() -> PublicKey {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    let mut key = key.public_key().clone();
    key.set_comment("somebody's free text\nssh-ed25519 AAAA");
    key
}

fn account(name: &str) -> AccountSpec {
    AccountSpec {
        name: name.parse().unwrap(),
        uid: Some(61_001),
        origin: Origin::Made,
        state: AccountState::Active,
        shell: "/bin/bash".parse().unwrap(),
        groups: Vec::new(),
        gecos: Gecos::nearest("Alice: the \"first\"\n"),
        principals: BTreeSet::from([
            format!("{name}@web").parse().unwrap(),
            format!("{name}@eu").parse().unwrap(),
        ]),
        sudo: SudoRule::None,
    }
}

fn spec() -> MachineSpec {
    MachineSpec {
        machine: "web-1".parse().unwrap(),
        user_ca_keys: vec![public_key()],
        fleet_keys: vec![public_key()],
        sync_keys: vec![public_key()],
        sync_from: vec![
            "10.1.0.0/16".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        ],
        admin: "ssh-admin".parse().unwrap(),
        accounts: vec![account("alice")],
        break_glass: BreakGlass::Never,
        host_certificate: None,
        mode: Mode::Observe,
        openssh: OpenSshVersion(9, 2),
        pull: None,
    }
}

fn text(spec: &MachineSpec, place: Place) -> String {
    let bundle = render(spec, 1, 10, 20).unwrap();
    String::from_utf8(bundle.files.get(&place).cloned().unwrap_or_default()).unwrap()
}

#[test]
fn r11_no_krl_and_no_user_ca_reach_the_repair_doors() {
    let mut spec = spec();
    for (admin, users) in [
        ("ssh-admin", "ssh-admin,ssh-ca-sync"),
        ("ops", "ssh-admin,ops,ssh-ca-sync"),
    ] {
        spec.admin = admin.parse().unwrap();
        let conf = text(&spec, Place::SshdDropIn);
        let block = format!(
            "Match User {users}\n    RevokedKeys /etc/ssh/ca/admin_revoked.krl\n    TrustedUserCAKeys /etc/ssh/ca/admin_user_ca.pub\n"
        );
        assert!(conf.contains(&block), "{conf}");
        assert!(!conf.contains("RevokedKeys none"));
    }
    assert_eq!(text(&spec, Place::AdminRevoked), "");
    assert_eq!(text(&spec, Place::AdminUserCa), "");
}

#[test]
fn p6_reserved_accounts_are_never_opened_by_a_certificate() {
    for name in ["ssh-admin", "ssh-ca-sync", "ssh-ca-probe", "ops"] {
        let mut spec = spec();
        spec.admin = "ops".parse().unwrap();
        spec.accounts.push(account(name));
        assert!(
            matches!(render(&spec, 1, 10, 20), Err(RenderError::Reserved { .. })),
            "{name}"
        );
    }
}

#[test]
fn i2_principals_of_another_account_are_refused() {
    let mut spec = spec();
    spec.accounts[0]
        .principals
        .insert("bob@web".parse().unwrap());
    assert!(matches!(
        render(&spec, 1, 10, 20),
        Err(RenderError::ForeignPrincipal { .. })
    ));
}

#[test]
fn h4_only_directives_that_the_version_knows() {
    let mut spec = spec();
    assert!(!text(&spec, Place::SshdDropIn).contains("PerSourcePenalty"));
    spec.openssh = OpenSshVersion(9, 8);
    let line = "PerSourcePenaltyExemptList 127.0.0.1,::1,10.1.0.0/16,2001:db8::1\n";
    assert!(text(&spec, Place::SshdDropIn).contains(line));
}

#[test]
fn h9_accounts_of_the_ca_take_certificates_only_also_when_retired() {
    let mut spec = spec();
    spec.accounts[0].state = AccountState::Expired;
    let conf = text(&spec, Place::SshdDropIn);
    assert!(
        conf.contains("Match User alice,ssh-ca-probe\n    AuthorizedKeysFile none\n"),
        "{conf}"
    );
    assert_eq!(text(&spec, Place::Principals("alice".parse().unwrap())), "");
    assert!(!conf.contains("Match User *"));
    spec.mode = Mode::Enforce;
    let conf = text(&spec, Place::SshdDropIn);
    assert!(
        conf.contains("Match User *,!ssh-admin,!ssh-ca-sync\n    AuthorizedKeysFile none\n"),
        "{conf}"
    );
}

#[test]
fn the_same_wish_has_the_same_bytes_and_free_text_reaches_no_file() {
    let spec = spec();
    let bundle = render(&spec, 3, 10, 20).unwrap();
    assert_eq!(bundle.encode(), render(&spec, 3, 10, 20).unwrap().encode());
    assert_eq!(Bundle::decode(&bundle.encode()).unwrap(), bundle);
    assert!(!String::from_utf8_lossy(&bundle.encode()).contains("free text"));
    assert_eq!(
        text(&spec, Place::Principals("alice".parse().unwrap())),
        "alice@eu\nalice@web\n"
    );
    assert!(text(&spec, Place::SyncKeys).starts_with(
        "restrict,command=\"sudo -n /var/lib/ssh-ca/applier\",from=\"10.1.0.0/16,2001:db8::1\" ssh-ed25519 AAAA"
    ));
}

#[test]
fn h10_sudo_rules_say_no_more_than_they_seem_to() {
    let mut spec = spec();
    let command = |text: &str| text.parse::<SudoCommand>();
    spec.accounts[0].sudo = SudoRule::Commands(vec![
        command("/usr/bin/systemctl restart nginx").unwrap(),
        command("/usr/bin/id").unwrap(),
        command("/usr/bin/env A=b:c").unwrap(),
    ]);
    let rules = text(&spec, Place::Sudoers);
    assert!(rules.contains("alice ALL=(root) NOPASSWD: /usr/bin/systemctl restart nginx\n"));
    assert!(rules.contains("alice ALL=(root) NOPASSWD: /usr/bin/id \"\"\n"));
    assert!(rules.contains("/usr/bin/env A\\=b\\:c\n"));
    assert!(rules.contains("ssh-ca-sync ALL=(root) NOPASSWD: /var/lib/ssh-ca/applier \"\"\n"));
    for bad in [
        "id",
        "/bin/*",
        "/bin/sh, ALL",
        "/bin/id\nroot",
        "/bin/../x",
        "/bin/",
        "/bin/id  x",
        "/bin/x !y",
        "",
    ] {
        assert!(command(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn k6_the_break_glass_ca_opens_its_own_account_and_the_user_ca_does_not() {
    let mut spec = spec();
    let never = text(&spec, Place::SshdDropIn);
    assert!(!never.contains("breakglass"), "{never}");
    let key = public_key();
    spec.break_glass = BreakGlass::Open(vec![key.clone()]);
    let conf = text(&spec, Place::SshdDropIn);
    assert!(
        conf.contains(
            "\nMatch User breakglass\n    TrustedUserCAKeys /etc/ssh/ca/break_glass_ca.pub\n"
        ),
        "{conf}"
    );
    assert!(
        conf.contains("Match User alice,breakglass,ssh-ca-probe\n    AuthorizedKeysFile none\n")
    );
    let blob = key.to_openssh().unwrap();
    let blob = blob.split(' ').nth(1).unwrap().to_owned();
    assert!(text(&spec, Place::BreakGlassCa).contains(&blob));
    assert!(!text(&spec, Place::UserCa).contains(&blob));
    let name: policies::AccountName = "breakglass".parse().unwrap();
    let principals = text(&spec, Place::Principals(name.clone()));
    assert!(
        principals.starts_with("breakglass\nrestrict,command="),
        "{principals}"
    );
    assert!(text(&spec, Place::Sudoers).contains("breakglass ALL=(ALL:ALL) NOPASSWD: ALL"));

    // Revoked: the account stays, and nothing opens it.
    spec.break_glass = BreakGlass::Shut;
    assert_eq!(text(&spec, Place::BreakGlassCa), "");
    assert_eq!(text(&spec, Place::Principals(name)), "");
    assert!(!text(&spec, Place::Sudoers).contains("breakglass"));
    assert!(text(&spec, Place::SshdDropIn).contains("Match User breakglass\n"));

    // No grant makes it anybody's.
    spec.accounts.push(account("breakglass"));
    assert!(matches!(
        render(&spec, 1, 10, 20),
        Err(RenderError::Reserved { .. })
    ));
}
