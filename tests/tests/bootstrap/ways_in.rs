//! Every login that an admin may have, and what stays as it was.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Result, ensure};
use e2e::{Machine, Sudo, said};

use crate::scene::{Scene, differences, ended, has, state};

/// A machine's own account, with its own key: nothing of the CA's.
fn somebody(scene: &Scene, machine: &Machine) -> Result<()> {
    machine.run(&["useradd", "-m", "-s", "/bin/sh", "ubuntu"])?;
    machine.run(&[
        "install",
        "-d",
        "-m",
        "700",
        "-o",
        "ubuntu",
        "-g",
        "ubuntu",
        "/home/ubuntu/.ssh",
    ])?;
    machine.write_file(
        "/home/ubuntu/.ssh/authorized_keys",
        format!("{}\n", scene.key).as_bytes(),
    )
}

fn gets_in(scene: &Scene, machine: &Machine, account: &str) -> Result<()> {
    let output = scene
        .admin
        .command("ssh")
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "BatchMode=yes",
        ])
        .arg(format!("{account}@{}", machine.addr()))
        .arg("id -un")
        .output()?;
    ensure!(
        said(&output).contains(account) && output.status.success(),
        "{account}: {}",
        said(&output)
    );
    Ok(())
}

#[test]
fn h8_added_with_a_key_and_a_second_run_changes_nothing() -> Result<()> {
    let Some(mut scene) = Scene::new("h8_added_with_a_key_and_a_second_run_changes_nothing")?
    else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    somebody(&scene, &web)?;
    let untouched = state(&web)?;

    // Nothing is written by a dry run, neither here nor there.
    let words = ended(&scene.add(&web)?.arg("--dry-run").output()?, 0)?;
    has(
        &words,
        &[
            "would change",
            "/etc/ssh/ca/user_ca.pub (new)",
            "account alice (made)",
            "nothing was changed",
        ],
    )?;
    assert_eq!(
        differences(&untouched, &state(&web)?),
        Vec::<String>::new(),
        "a dry run changed something"
    );
    assert!(
        !scene.company.ca_ok(&["machine", "list"])?.contains("web-1"),
        "a dry run told the CA something"
    );

    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(
        &words,
        &[
            "web-1  host key SHA256:",
            "web-1  logged in as ssh-admin with a key",
            "web-1  becomes root with sudo",
            "web-1  no obstacles on Debian",
            "web-1  snapshot kept",
            "web-1  a new login comes through",
            "web-1  a good certificate gets in",
            "web-1  a certificate for another pool is refused, and a revoked one too",
            "web-1  no password opens alice",
            "web-1  confirmed: the change stays",
            "web-1  the CA logged in itself and keeps it now",
            "alice@corp.example: ssh web-1",
        ],
    )?;
    has(&scene.status("web-1")?, &["managed"])?;
    // The proofs were real: sshd says so.
    has(
        &web.sshd_log(),
        &[
            "Accepted publickey for ssh-ca-probe",
            "revoked",
            "Accepted publickey for ssh-ca-sync",
        ],
    )?;
    scene.alice_gets_in(&web)?;
    gets_in(&scene, &web, "ssh-admin")?;
    gets_in(&scene, &web, "ubuntu")?;

    let once = state(&web)?;
    for account in [
        "home/ssh-admin/.ssh/authorized_keys",
        "home/ubuntu/.ssh/authorized_keys",
    ] {
        assert_eq!(
            untouched.get(account),
            once.get(account),
            "{account} was touched"
        );
    }
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(
        &words,
        &[
            "as --host-key says",
            "nothing to change",
            "alice@corp.example: ssh web-1",
        ],
    )?;
    assert_eq!(
        differences(&once, &state(&web)?),
        Vec::<String>::new(),
        "the second run changed something"
    );
    let words = ended(
        &scene
            .bootstrap()
            .args(["add-machine", "web-1", "--dry-run"])
            .output()?,
        0,
    )?;
    has(&words, &["as the CA says", "nothing would change"])?;
    Ok(())
}

#[test]
fn h2_with_the_agent_alone() -> Result<()> {
    let Some(scene) = Scene::new("h2_with_the_agent_alone")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    scene.admin.agent()?;
    let added = scene
        .admin
        .command("ssh-add")
        .arg("/root/.ssh/id_ed25519")
        .output()?;
    ended(&added, 0)?;
    fs::rename(
        scene.admin.ssh_path("id_ed25519"),
        scene.admin.ssh_path("away"),
    )?;
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(
        &words,
        &["logged in as ssh-admin with a key", "keeps it now"],
    )?;
    // By its public half as well, which only the agent can use; and a key that nobody knows is refused.
    let words = ended(
        &scene
            .add(&web)?
            .args(["--identity", "/root/.ssh/id_ed25519.pub"])
            .output()?,
        0,
    )?;
    has(
        &words,
        &[
            "the agent's key of /root/.ssh/id_ed25519.pub",
            "nothing to change",
        ],
    )?;
    let made = scene
        .admin
        .command("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", "/root/.ssh/other"])
        .output()?;
    ended(&made, 0)?;
    let words = ended(
        &scene
            .add(&web)?
            .args(["--identity", "/root/.ssh/other"])
            .output()?,
        1,
    )?;
    has(&words, &["refused the login", "--identity FILE"])
}

#[test]
fn c3_with_a_password_for_login_and_sudo_asked_for_once() -> Result<()> {
    let Some(scene) = Scene::new("c3_with_a_password_for_login_and_sudo_asked_for_once")? else {
        return Ok(());
    };
    let password = "correct horse";
    let machine = |name: &str| {
        scene
            .fleet
            .machine(name)
            .sudo(Sudo::Password(password.into()))
            .password(password)
            .start()
    };
    let (web, db) = (machine("web-1")?, machine("db-1")?);

    // Without a terminal nothing is asked for.
    let words = ended(&scene.add(&web)?.output()?, 1)?;
    has(&words, &["refused the login", "--password-file FILE"])?;

    // On a terminal: refused, asked again, and then for sudo too, without another question.
    let mut words = Scene::words(&web);
    words.extend(["--host-key".to_owned(), web.host_key()?]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut terminal = scene.at_terminal(&words)?;
    terminal.converse("Password of ssh-admin@", "wrong")?;
    terminal.expect("the password was refused")?;
    terminal.converse("Password of ssh-admin@", password)?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{screen}");
    has(
        &screen,
        &[
            "logged in as ssh-admin with a password",
            "becomes root with sudo and its password",
            "keeps it now",
        ],
    )?;
    ensure!(!screen.contains(password), "the password was shown");

    // From a file: only a private one.
    let file = scene.admin.path().join("password");
    fs::write(&file, format!("{password}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    let words = ended(
        &scene
            .add(&db)?
            .args(["--password-file", "/root/password"])
            .output()?,
        1,
    )?;
    has(&words, &["can be read by others; make it 0600"])?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let words = ended(
        &scene
            .add(&db)?
            .args(["--password-file", "/root/password"])
            .output()?,
        0,
    )?;
    has(
        &words,
        &[
            "logged in as ssh-admin with a password",
            "becomes root with sudo and its password",
        ],
    )
}

#[test]
fn h2_with_a_key_and_a_sudo_password() -> Result<()> {
    let Some(scene) = Scene::new("h2_with_a_key_and_a_sudo_password")? else {
        return Ok(());
    };
    let web = scene
        .fleet
        .machine("web-1")
        .admin_key(&scene.key)
        .sudo(Sudo::Password("correct horse".into()))
        .start()?;
    let untouched = state(&web)?;
    let words = ended(&scene.add(&web)?.output()?, 1)?;
    has(&words, &["cannot become root"])?;
    let file = scene.admin.path().join("password");
    fs::write(&file, "wrong\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let words = ended(
        &scene
            .add(&web)?
            .args(["--password-file", "/root/password"])
            .output()?,
        1,
    )?;
    has(&words, &["cannot become root"])?;
    assert_eq!(differences(&untouched, &state(&web)?), Vec::<String>::new());
    fs::write(&file, "correct horse\n")?;
    let words = ended(
        &scene
            .add(&web)?
            .args(["--password-file", "/root/password"])
            .output()?,
        0,
    )?;
    has(
        &words,
        &[
            "logged in as ssh-admin with a key",
            "becomes root with sudo and its password",
            "keeps it now",
        ],
    )?;
    // No sudo at all is said as what it is.
    let never = scene
        .fleet
        .machine("db-1")
        .admin_key(&scene.key)
        .sudo(Sudo::Never)
        .start()?;
    let words = ended(&scene.add(&never)?.output()?, 1)?;
    has(&words, &["cannot become root", "The login must be root"])
}

#[test]
fn h5_from_a_root_login_ssh_admin_is_made_with_the_key_given() -> Result<()> {
    let Some(scene) = Scene::new("h5_from_a_root_login_ssh_admin_is_made_with_the_key_given")?
    else {
        return Ok(());
    };
    let bare = scene
        .fleet
        .machine("web-1")
        .admin_key(&scene.key)
        .root_only()
        .start()?;
    let untouched = state(&bare)?;
    let words = ended(&scene.add(&bare)?.args(["--as", "root"]).output()?, 1)?;
    has(
        &words,
        &[
            "there is no account ssh-admin",
            "give --admin-key FILE.pub",
            "nothing was changed",
        ],
    )?;
    assert_eq!(
        differences(&untouched, &state(&bare)?),
        Vec::<String>::new()
    );

    let words = ended(
        &scene
            .add(&bare)?
            .args(["--as", "root", "--admin-key", "/root/.ssh/id_ed25519.pub"])
            .output()?,
        0,
    )?;
    has(
        &words,
        &["logged in as root with a key", "ssh-admin", "keeps it now"],
    )?;
    gets_in(&scene, &bare, "ssh-admin")?;
    let output = bare.run(&["su", "ssh-admin", "-c", "sudo -n id -un"])?;
    assert_eq!(output.stdout, "root\n");
    // From now on ssh-admin will do, and its keys are never changed again.
    let once = state(&bare)?;
    let words = ended(&scene.add(&bare)?.output()?, 0)?;
    has(
        &words,
        &["logged in as ssh-admin with a key", "nothing to change"],
    )?;
    assert_eq!(differences(&once, &state(&bare)?), Vec::<String>::new());
    Ok(())
}

#[test]
fn h2_over_a_jump_host() -> Result<()> {
    let Some(scene) = Scene::new("h2_over_a_jump_host")? else {
        return Ok(());
    };
    let (gate, web) = (scene.machine("gate")?, scene.machine("web-1")?);
    scene.admin.write_ssh(
        "known_hosts",
        &format!("{} {}\n", gate.addr(), gate.host_key()?),
    )?;
    let jump = format!("ssh-admin@{}", gate.addr());
    let words = ended(&scene.add(&web)?.args(["--jump", &jump]).output()?, 0)?;
    has(&words, &["keeps it now"])?;
    let from_gate = format!("Accepted publickey for ssh-admin from {} ", gate.addr());
    has(&web.sshd_log(), &[&from_gate])?;
    // A jump host that is not known is not believed.
    scene.admin.write_ssh("known_hosts", "")?;
    let words = ended(&scene.add(&web)?.args(["--jump", &jump]).output()?, 1)?;
    ensure!(!words.contains("logged in as"), "{words}");
    Ok(())
}

#[test]
fn h2_from_another_admins_account() -> Result<()> {
    let Some(scene) = Scene::new("h2_from_another_admins_account")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    somebody(&scene, &web)?;
    web.write_file(
        "/etc/sudoers.d/ubuntu",
        b"ubuntu ALL=(ALL:ALL) NOPASSWD: ALL\n",
    )?;
    let words = ended(&scene.add(&web)?.args(["--as", "ubuntu"]).output()?, 0)?;
    has(&words, &["logged in as ubuntu with a key", "keeps it now"])?;
    gets_in(&scene, &web, "ubuntu")?;
    gets_in(&scene, &web, "ssh-admin")
}

#[test]
fn c3_a_keys_passphrase_is_asked_for_and_tried_here_first() -> Result<()> {
    let Some(scene) = Scene::new("c3_a_keys_passphrase_is_asked_for_and_tried_here_first")? else {
        return Ok(());
    };
    let made = scene
        .admin
        .command("ssh-keygen")
        .args([
            "-q",
            "-t",
            "ed25519",
            "-N",
            "open sesame",
            "-f",
            "/root/.ssh/locked",
        ])
        .output()?;
    ended(&made, 0)?;
    let key = fs::read_to_string(scene.admin.ssh_path("locked.pub"))?;
    let web = scene.fleet.machine("web-1").admin_key(&key).start()?;
    let words = ended(
        &scene
            .add(&web)?
            .args(["--identity", "/root/.ssh/locked"])
            .output()?,
        1,
    )?;
    has(
        &words,
        &["there is no terminal to ask for Passphrase of /root/.ssh/locked"],
    )?;

    let mut words = Scene::words(&web);
    words.extend(
        [
            "--host-key",
            &web.host_key()?,
            "--identity",
            "/root/.ssh/locked",
        ]
        .map(str::to_owned),
    );
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut terminal = scene.at_terminal(&words)?;
    terminal.expect("Passphrase of /root/.ssh/locked: ")?;
    let connections = || web.sshd_log().matches("Connection from").count();
    let before = connections();
    terminal.answer("open barley")?;
    terminal.expect("that is not its passphrase")?;
    assert_eq!(
        connections(),
        before,
        "a wrong passphrase was tried at the machine"
    );
    terminal.converse("Passphrase of /root/.ssh/locked: ", "open sesame")?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{screen}");
    ensure!(!screen.contains("sesame"), "the passphrase was shown");
    has(
        &screen,
        &[
            "logged in as ssh-admin with the key /root/.ssh/locked",
            "keeps it now",
        ],
    )
}
