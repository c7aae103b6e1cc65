//! OpenSSH's own parser reads in a certificate what was decided.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use policies::{Blueprint, Conditions, Extension, KeyDemand, NONCE_BYTES, Serial};

use crate::{
    build::*,
    profile::{security_key, security_key_order, subject},
};

/// What `ssh-keygen -L` prints, in UTC.
fn ssh_keygen_lists(certificate: &str) -> String {
    let mut child = Command::new("ssh-keygen")
        .args(["-L", "-f", "-"])
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh-keygen is installed");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(certificate.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn i4_openssh_reads_what_was_decided() {
    let draft = Draft::default()
        .employee("alice")
        .pool("web", &[])
        .pool("db.eu", &[])
        .grant(grant("alice", "self", "web"))
        .grant(grant("alice", "deploy", "db.eu"))
        .with(|policy| {
            for grant in policy.grants.values_mut() {
                grant.conditions = Conditions {
                    forced_command: Some("/bin/echo \"a  b\" é".to_owned()),
                    sources: BTreeSet::from(["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()]),
                    extensions: BTreeSet::from([
                        Extension::Pty,
                        Extension::PortForwarding,
                        Extension::AgentForwarding,
                        Extension::X11Forwarding,
                    ]),
                    max_lifetime_secs: Some(60),
                    key: KeyDemand::Any,
                };
            }
        });
    let order = orders(&draft.index(), &request("alice")).remove(0);
    let serial = Serial::from_parts(0x7fff_ffff, u32::MAX).unwrap();
    let blueprint = Blueprint::of(&order, serial, &subject(&public(5))).unwrap();
    let certificate = blueprint.build([0; NONCE_BYTES]).sign(&key(1)).unwrap();
    let listed = ssh_keygen_lists(&certificate.to_openssh().unwrap());
    let lines: Vec<&str> = listed.lines().map(str::trim).collect();
    let after_key: Vec<&str> = lines
        .into_iter()
        .skip_while(|line| !line.starts_with("Key ID"))
        .collect();
    assert_eq!(
        after_key,
        [
            "Key ID: \"alice@corp.example/7\"",
            "Serial: 9223372036854775807",
            "Valid: from 2026-11-22T00:59:00 to 2026-11-22T01:01:00",
            "Principals:",
            "alice@web",
            "deploy@db.eu",
            "Critical Options:",
            "force-command /bin/echo \"a  b\" é",
            "source-address 10.0.0.0/8,2001:db8::/32",
            "Extensions:",
            "permit-X11-forwarding",
            "permit-agent-forwarding",
            "permit-port-forwarding",
            "permit-pty",
        ],
        "{listed}"
    );
    assert!(
        listed.contains("ssh-ed25519-cert-v01@openssh.com user certificate"),
        "{listed}"
    );
}

#[test]
fn i4_openssh_reads_the_demand_for_a_security_key_as_a_flag() {
    let serial = Serial::from_parts(1, 1).unwrap();
    let blueprint =
        Blueprint::of(&security_key_order(), serial, &subject(&security_key())).unwrap();
    let certificate = blueprint.build([0; NONCE_BYTES]).sign(&key(1)).unwrap();
    let listed = ssh_keygen_lists(&certificate.to_openssh().unwrap());
    let lines: Vec<&str> = listed.lines().map(str::trim).collect();
    let options = lines
        .iter()
        .skip_while(|line| **line != "Critical Options:")
        .copied();
    // A value would be printed behind it.
    assert_eq!(
        options.collect::<Vec<_>>(),
        [
            "Critical Options:",
            "verify-required",
            "Extensions:",
            "permit-pty"
        ],
        "{listed}"
    );
    assert!(
        listed.contains("sk-ssh-ed25519-cert-v01@openssh.com user certificate"),
        "{listed}"
    );
}
