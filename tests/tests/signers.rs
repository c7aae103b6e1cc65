//! A day with CA keys that are not files: the user CA in a token (ECDSA), the host CA with an ssh-agent; real ssh, real sshd.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{Company, Fleet, Machine, said, success};

/// Ends with the test, by its own PID.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An ssh-agent at `socket` with a new Ed25519 key.
fn agent(folder: &Path, socket: &Path) -> Result<Agent> {
    let child = Command::new("ssh-agent")
        .args(["-D", "-a"])
        .arg(socket)
        .stdout(Stdio::null())
        .spawn()?;
    let agent = Agent(child);
    let patience = Instant::now() + Duration::from_secs(120);
    while std::os::unix::net::UnixStream::connect(socket).is_err() {
        ensure!(Instant::now() < patience, "the agent does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let key = folder.join("host_ca_of_agent");
    for command in [
        Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "host ca", "-f"])
            .arg(&key),
        Command::new("ssh-add")
            .arg("-q")
            .arg(&key)
            .env("SSH_AUTH_SOCK", socket),
    ] {
        success(
            "a key for the agent",
            &command.stdin(Stdio::null()).output()?,
        )?;
    }
    fs::remove_file(key)?;
    Ok(agent)
}

/// A SoftHSM token `ca` in `folder`; its configuration file.
fn token(folder: &Path) -> Result<String> {
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens)?;
    let config = folder.join("softhsm2.conf");
    fs::write(
        &config,
        format!("directories.tokendir = {}\n", tokens.display()),
    )?;
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "ca"])
        .args(["--so-pin", "1357-tests", "--pin", "2468-tests"])
        .env("SOFTHSM2_CONF", &config)
        .output()
        .context("softhsm2-util: run tests/setup")?;
    success("softhsm2-util", &made)?;
    let pin = folder.join("pin");
    fs::write(&pin, "2468-tests\n")?;
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600))?;
    Ok(format!(
        "user=pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:{}&key-type=ecdsa-p256&env=SOFTHSM2_CONF={}",
        pin.display(),
        config.display()
    ))
}

#[test]
fn people_log_in_with_a_user_ca_in_a_token_and_a_host_ca_in_an_agent() -> Result<()> {
    let Some(fleet) = Fleet::for_test("signers") else {
        return Ok(());
    };
    let folder = fleet.folder().join("signers");
    fs::create_dir(&folder)?;
    let socket = folder.join("agent");
    let _agent = agent(&folder, &socket)?;
    let (user, host) = (token(&folder)?, format!("host=agent:{}", socket.display()));
    let company = Company::with(&fleet, &["--signer", &user, "--signer", &host])?;
    for name in ["user_ca", "host_ca"] {
        let keys = company.data().join("keys");
        ensure!(!keys.join(name).exists() && keys.join(format!("{name}.signer")).exists());
    }
    company.ca_ok(&["pool", "add", "web-server"])?;
    let mut alice = company.hire("alice@corp.example", &["--pool", "web-server"])?;
    let admin = fleet.home("admin")?;
    let machines = fleet.machines(&["web-1"], &[&admin.public_key()?])?;
    let [web]: [Machine; 1] = machines.try_into().ok().context("one machine")?;
    company.bootstrap(&admin, &web, "web-server")?;

    alice.home.agent()?;
    alice.login()?;
    // A strict client: the host certificate alone makes it trust the machine.
    let output = alice.ssh(&["-o", "StrictHostKeyChecking=yes", "web-1", "hostname"])?;
    success("alice: ssh web-1", &output)?;
    ensure!(said(&output).contains("web-1"));
    let certificate = alice
        .home
        .command("sh")
        .args(["-c", "cat /root/.ssh/ca/*-cert.pub | ssh-keygen -L -f -"])
        .output()?;
    ensure!(
        said(&certificate).contains("Signing CA: ECDSA"),
        "{}",
        said(&certificate)
    );

    // A revoked one is refused: the KRL has a section for an ECDSA key, and OpenSSH reads it.
    success(
        "krl revoke",
        &company.ca(&["krl", "revoke", "alice@corp.example"])?,
    )?;
    let refused = alice.ssh(&["web-1", "true"])?;
    ensure!(
        !refused.status.success() && said(&refused).contains("Permission denied (publickey"),
        "{}",
        said(&refused)
    );
    Ok(())
}
