//! The day when everything is down: sealed credentials, opened by two of three, and what they do not open.

use std::{fs, path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use ca_server::break_glass::seal::Sealed;
use e2e::{Home, Identity, Machine, program, said, success};
use rand_core::OsRng;
use ssh_key::{
    Algorithm, LineEnding, PrivateKey,
    certificate::{Builder, CertType},
};
use zeroize::Zeroizing;

use crate::scene::{Scene, poll};

/// `ssh` to an account with a key file and the certificate beside it.
fn ssh(
    home: &Home,
    machine: &Machine,
    key: &Path,
    account: &str,
    words: &[&str],
) -> Result<Output> {
    let identity = Identity {
        key,
        certificate: None,
    };
    home.ssh_by_hand(identity, account, machine, words)
}

/// A certificate by the break-glass CA key that says something else than the program would.
fn forge(
    ca: &PrivateKey,
    folder: &Path,
    name: &str,
    principal: &str,
) -> Result<std::path::PathBuf> {
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let mut builder =
        Builder::new_with_random_nonce(&mut OsRng, key.public_key(), now - 60, now + 600)?;
    builder.cert_type(CertType::User)?;
    builder.serial(7)?;
    builder.key_id("forged")?;
    builder.valid_principal(principal)?;
    builder.extension("permit-pty", "")?;
    let path = folder.join(name);
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(&path, key.to_openssh(LineEnding::LF)?.as_bytes())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    fs::write(
        folder.join(format!("{name}-cert.pub")),
        builder.sign(ca)?.to_openssh()?,
    )?;
    Ok(path)
}

#[test]
fn z6_with_the_ca_gone_two_of_three_shares_open_a_machine_and_it_alarms() -> Result<()> {
    let fleet = fleet!("z6_with_the_ca_gone_two_of_three_shares_open_a_machine_and_it_alarms");
    let mut scene = Scene::new(&fleet, 1)?;
    let mut alice = scene
        .company
        .hire("alice@corp.example", &["--pool", "web"])?;
    let home = fleet.home("keeper")?;
    home.public_key()?;
    let ssh_folder = home.ssh_path("");
    let glass = ssh_folder.join("glass");
    let path = |file: &str| glass.join(file).to_string_lossy().into_owned();
    scene.company.ca_ok(&[
        "break-glass",
        "make",
        &path(""),
        "--shares",
        "3",
        "--needed",
        "2",
        "--yes",
    ])?;
    alice.login()?;
    scene.converges()?;
    // The same sshd, with its words in a log as syslog writes it.
    let web = &scene.machines[0];
    web.run(&[
        "sh",
        "-c",
        "kill $(cat /run/sshd.pid); mkdir -p /var/log; ( /usr/sbin/sshd -D -e 2>&1 | while read -r l; do \
         echo \"$(date '+%b %e %H:%M:%S') web-1 sshd[77]: $(echo \"$l\" | tr -d '\\r')\" >>/var/log/auth.log; done ) >/dev/null 2>&1 </dev/null &",
    ])?;
    poll("sshd to be back", || {
        Ok(alice.ssh(&["web-1", "true"])?.status.success())
    })?;

    scene.company.kill()?;
    let ca = |words: &[&str]| -> Result<Output> {
        Ok(home
            .command(&program("ca-server").to_string_lossy())
            .args(words)
            .output()?)
    };
    let (sealed, one, three) = (path("sealed"), path("share-1"), path("share-3"));
    let out = ssh_folder.join("way-in");
    let out = out.to_string_lossy().into_owned();
    let few = ca(&[
        "break-glass",
        "open",
        &sealed,
        "--share",
        &one,
        "--share",
        &one,
        "--out",
        &out,
    ])?;
    ensure!(
        few.status.code() == Some(1) && said(&few).contains("different shares are needed"),
        "{few:?}"
    );
    ensure!(
        !Path::new(&out).exists(),
        "a refused opening left something"
    );
    let opened = ca(&[
        "break-glass",
        "open",
        &sealed,
        "--share",
        &three,
        "--share",
        &one,
        "--out",
        &out,
        "--who",
        "dana",
        "--minutes",
        "30",
    ])?;
    success("break-glass open", &opened)?;
    let key = Path::new(&out).join("breakglass");
    let web = &scene.machines[0];
    let root = ssh(&home, web, &key, "breakglass", &["sudo", "-n", "id", "-u"])?;
    ensure!(
        said(&root).trim() == "0",
        "no root with the CA gone: {root:?}\n{}",
        web.sshd_log()
    );
    // Nobody else's door, with the principals of the program or with others.
    for account in ["root", "ssh-admin", "ssh-ca-sync", "ssh-ca-probe", "alice"] {
        let refused = ssh(&home, web, &key, account, &["true"])?;
        ensure!(!refused.status.success(), "it opens {account}");
    }
    let text = fs::read_to_string(&sealed)?;
    let shares = [one.as_str(), three.as_str()]
        .into_iter()
        .map(|file| fs::read_to_string(file).map(Zeroizing::new))
        .collect::<Result<Vec<_>, _>>()?;
    let ca_key = Sealed::parse(&text)?.open(&shares)?;
    for (principal, account) in [
        ("root", "root"),
        ("alice@web", "alice"),
        ("ssh-ca-probe@_probe", "ssh-ca-probe"),
        ("root", "breakglass"),
        ("alice@web", "breakglass"),
        ("breakglass@web", "breakglass"),
    ] {
        let name = format!("forged-{account}-{}", principal.len());
        let forged = forge(&ca_key, &ssh_folder, &name, principal)?;
        let refused = ssh(&home, web, &forged, account, &["true"])?;
        ensure!(!refused.status.success(), "{principal} opens {account}");
    }
    // A drill's certificate runs one command, whatever is asked; and the user CA does not open the account.
    let drill = forge(&ca_key, &ssh_folder, "drill", "breakglass-drill")?;
    let ran = ssh(&home, web, &drill, "breakglass", &["id", "-u"])?;
    ensure!(
        said(&ran).trim() == "break-glass drill: this machine would open",
        "{ran:?}"
    );
    let alices = alice.ssh(&["-l", "breakglass", "web-1", "true"])?;
    ensure!(!alices.status.success(), "the user CA opens breakglass");
    // The command does the same for real.
    home.write_ssh("config", "Host *\n  StrictHostKeyChecking accept-new\n")?;
    let address = web.addr().to_string();
    let drilled = ca(&[
        "break-glass",
        "drill",
        &sealed,
        "--share",
        &one,
        "--share",
        &three,
        "--who",
        "dana",
        &address,
    ])?;
    success("break-glass drill", &drilled)?;
    ensure!(said(&drilled).contains("would open"), "{drilled:?}");

    // Everything is up again: the check-up alarms of both, and tells them apart.
    scene.company.start()?;
    scene.converges()?;
    let checked = scene.company.ca(&["check", "--json"])?;
    ensure!(checked.status.code() == Some(1), "{checked:?}");
    let found: serde_json::Value = serde_json::from_slice(&checked.stdout)?;
    let findings = found[0]["findings"].as_array().context("findings")?;
    let of = |code: &str| -> Vec<&str> {
        let of = findings.iter().filter(|one| one["code"] == code);
        of.filter_map(|one| one["what"].as_str()).collect()
    };
    ensure!(
        of("break-glass-used")
            .iter()
            .any(|what| what.contains("break-glass/dana")),
        "{found:#}"
    );
    ensure!(
        of("break-glass-drill")
            .iter()
            .any(|what| what.contains("break-glass-drill/dana")),
        "{found:#}"
    );
    ensure!(of("unknown-serial").is_empty(), "{found:#}");
    let ledger = scene
        .company
        .ca_ok(&["audit", "list", "--about", "web-1"])?;
    ensure!(
        ledger.contains("break-glass-used"),
        "the alarm is not in the ledger: {ledger}"
    );

    // Revoked: the certificate that is still valid opens nothing any more.
    scene.company.ca_ok(&["break-glass", "revoke", "--yes"])?;
    let web = &scene.machines[0];
    poll("the credentials to be refused", || {
        Ok(!ssh(&home, web, &key, "breakglass", &["true"])?
            .status
            .success())
    })?;
    scene.converges()?;
    ensure!(
        alice.ssh(&["web-1", "true"])?.status.success(),
        "alice is shut out"
    );
    let listed = web.run(&["ssh-keygen", "-Q", "-l", "-f", "/etc/ssh/ca/revoked.krl"])?;
    // Its words of a hash are hexadecimal.
    let fingerprint = ca_key.fingerprint(ssh_key::HashAlg::Sha256);
    let bytes = fingerprint.as_bytes();
    let fingerprint: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(listed.stdout.contains(&fingerprint), "{listed:?}");
    Ok(())
}
