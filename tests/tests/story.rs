//! The main job, end to end: an admin sets up the CA and two machines, people log in and work, one is revoked.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Company, Fleet, Machine, Person, poll, said, success};

struct Scene {
    company: Company,
    web: Machine,
    db: Machine,
    alice: Person,
    bob: Person,
}

/// A CA, two machines in two pools, alice on one of them, bob on both.
fn scene(fleet: &Fleet) -> Result<Scene> {
    let company = Company::new(fleet)?;
    company.ca_ok(&["pool", "add", "web-server"])?;
    company.ca_ok(&["pool", "add", "database"])?;
    let alice = company.hire(
        "alice@corp.example",
        &["--name", "Alice Liddell", "--pool", "web-server"],
    )?;
    let bob = company.hire(
        "bob@corp.example",
        &["--pool", "web-server", "--pool", "database"],
    )?;
    let admin = fleet.home("admin")?;
    let machines = fleet.machines(&["web-1", "db-1"], &[&admin.public_key()?])?;
    let [web, db]: [Machine; 2] = machines
        .try_into()
        .ok()
        .context("two machines were asked for")?;
    company.bootstrap(&admin, &web, "web-server")?;
    company.bootstrap(&admin, &db, "database")?;
    Ok(Scene {
        company,
        web,
        db,
        alice,
        bob,
    })
}

fn assert_runs(person: &Person, words: &[&str], expected: &str) -> Result<()> {
    let output = person.ssh(words)?;
    success(
        &format!("{}: ssh {}", person.email, words.join(" ")),
        &output,
    )?;
    let out = String::from_utf8_lossy(&output.stdout);
    ensure!(
        out.trim() == expected,
        "ssh {} said {out:?}",
        words.join(" ")
    );
    Ok(())
}

fn assert_denied(output: &Output) -> Result<()> {
    let words = said(output);
    ensure!(
        !output.status.success() && words.contains("Permission denied (publickey"),
        "expected a refusal, got {}: {words}",
        output.status
    );
    Ok(())
}

#[test]
fn the_main_job() -> Result<()> {
    let Some(fleet) = Fleet::for_test("the_main_job") else {
        return Ok(());
    };
    let Scene {
        company,
        web,
        db,
        mut alice,
        mut bob,
    } = scene(&fleet)?;
    alice.home.agent()?;
    bob.home.agent()?;

    // An employee's morning.
    let words = alice.login()?;
    ensure!(
        words.contains("web-1"),
        "the login does not name her machine:\n{words}"
    );
    assert_runs(&alice, &["web-1", "id -un; hostname"], "alice\nweb-1")?;
    bob.login()?;
    assert_runs(&bob, &["web-1", "id -un"], "bob")?;
    assert_runs(&bob, &["db-1", "hostname"], "db-1")?;
    c1_no_private_key_is_on_disk(&alice)?;

    // The other pool's machine: her certificate does not open it, whatever she types.
    let address = db.addr().to_string();
    let other = alice.ssh(&[
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "CertificateFile=/root/.ssh/ca/cert-1-cert.pub",
        "-o",
        "IdentityFile=/root/.ssh/ca/id.pub",
        "-l",
        "alice",
        &address,
        "true",
    ])?;
    assert_denied(&other)?;

    // Unmodified tools.
    tools(&alice)?;

    // The laptop is stolen while a connection is kept open.
    let mut master = alice
        .home
        .command("ssh")
        .args(["-M", "-S", "/root/.ssh/master", "web-1", "sleep 600"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let over_master = |words: &str| {
        alice.ssh(&[
            "-S",
            "/root/.ssh/master",
            "-o",
            "ControlMaster=no",
            "-o",
            "ProxyCommand=false",
            "web-1",
            words,
        ])
    };
    poll("the kept connection", || {
        Ok(over_master("true")?.status.success())
    })?;

    let revoked = company.ca(&[
        "krl",
        "revoke",
        "alice@corp.example",
        "--reason",
        "laptop stolen",
    ])?;
    success("krl revoke", &revoked)?;
    let words = said(&revoked);
    for expected in ["web-1", "db-1"] {
        ensure!(
            words.contains(expected),
            "the proof does not name {expected}:\n{words}"
        );
    }
    assert_denied(&alice.ssh(&["web-1", "true"])?)?;
    poll("the end of the kept connection", || {
        Ok(master.try_wait()?.is_some())
    })?;
    ensure!(
        !over_master("true")?.status.success(),
        "the kept connection still opens sessions"
    );
    let login = alice.try_login(&[])?;
    ensure!(
        login.status.code() == Some(1),
        "her login is still open: {}",
        said(&login)
    );
    let renewal = alice.client().arg("renew").output()?;
    ensure!(
        !renewal.status.success(),
        "her renewal is still open: {}",
        said(&renewal)
    );

    // Everybody else is untouched.
    assert_runs(&bob, &["web-1", "hostname"], "web-1")?;
    assert_runs(&bob, &["db-1", "hostname"], "db-1")?;
    company.ca_ok(&["audit", "verify"])?;
    let ledger = company.ca_ok(&["audit", "list", "--about", "alice@corp.example"])?;
    for event in ["employee_added", "session_opened", "revoked"] {
        ensure!(
            ledger.contains(event),
            "the ledger does not tell of {event}:\n{ledger}"
        );
    }
    r8_what_she_ran_is_gone(&web)?;
    Ok(())
}

fn c1_no_private_key_is_on_disk(person: &Person) -> Result<()> {
    let found = person
        .home
        .command("grep")
        .args(["-rl", "PRIVATE KEY", "/root/.ssh/ca", "/root/.config"])
        .output()?;
    ensure!(
        found.stdout.is_empty(),
        "a private key is on disk: {}",
        said(&found)
    );
    let listed = person.home.command("ssh-add").arg("-l").output()?;
    ensure!(
        said(&listed).contains("ED25519"),
        "the agent does not hold the key: {}",
        said(&listed)
    );
    Ok(())
}

fn tools(person: &Person) -> Result<()> {
    let run = |program: &str, words: &[&str]| -> Result<String> {
        let output = person
            .home
            .command(program)
            .args(words)
            .stdin(Stdio::null())
            .output()?;
        success(&format!("{program} {}", words.join(" ")), &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    std::fs::write(person.home.path().join("report.txt"), "all is well\n")?;
    run("scp", &["-q", "report.txt", "web-1:by-scp.txt"])?;
    run("scp", &["-q", "-O", "report.txt", "web-1:by-old-scp.txt"])?;
    run("rsync", &["-a", "report.txt", "web-1:by-rsync.txt"])?;
    std::fs::write(
        person.home.path().join("batch"),
        "put report.txt by-sftp.txt\n",
    )?;
    run("sftp", &["-q", "-b", "batch", "web-1"])?;
    let copied = run(
        "ssh",
        &[
            "web-1",
            "cat by-scp.txt by-old-scp.txt by-rsync.txt by-sftp.txt",
        ],
    )?;
    ensure!(
        copied == "all is well\n".repeat(4),
        "copies differ: {copied:?}"
    );
    run("ssh", &["web-1", "git init -q --bare repo.git"])?;
    run("git", &["clone", "-q", "web-1:repo.git", "clone"])?;
    // No grant of forwarding: the terminal works, the tunnel does not.
    let tunnel = person.ssh(&[
        "-o",
        "ExitOnForwardFailure=yes",
        "-W",
        "127.0.0.1:22",
        "web-1",
    ])?;
    ensure!(!tunnel.status.success(), "a tunnel opened without a grant");
    Ok(())
}

fn r8_what_she_ran_is_gone(web: &Machine) -> Result<()> {
    poll("the end of what she ran", || {
        let left = web.exec(&["pgrep", "-u", "alice"])?;
        Ok(left.stdout.is_empty())
    })
}

#[test]
fn port_forwarding_works_where_it_is_granted_and_a_narrowing_takes_it_away() -> Result<()> {
    let name = "port_forwarding_works_where_it_is_granted_and_a_narrowing_takes_it_away";
    let Some(fleet) = Fleet::for_test(name) else {
        return Ok(());
    };
    let company = Company::new(&fleet)?;
    company.ca_ok(&["pool", "add", "web-server"])?;
    let mut alice = company.hire("alice@corp.example", &[])?;
    company.ca_ok(&[
        "grant",
        "add",
        "--employee",
        "alice@corp.example",
        "--pool",
        "web-server",
        "--port-forwarding",
    ])?;
    let admin = fleet.home("admin")?;
    let web = fleet
        .machine("web-1")
        .admin_key(&admin.public_key()?)
        .start()?;
    company.bootstrap(&admin, &web, "web-server")?;
    alice.home.agent()?;
    alice.login()?;
    let banner = alice.ssh(&["-W", "127.0.0.1:22", "web-1"])?;
    ensure!(
        said(&banner).contains("SSH-2.0-OpenSSH"),
        "the granted tunnel does not open: {}",
        said(&banner)
    );

    // P7: the grant goes, and with it the live certificate, on the machine itself, within a minute.
    company
        .ca_ok(&["grant", "remove", "1", "--yes"])
        .or_else(|_| company.ca_ok(&["grant", "remove", "1"]))?;
    poll(
        "the refusal of the certificate that was narrowed away",
        // Once her client knows, it has no such machine.
        || {
            let words = said(&alice.ssh(&["web-1", "true"])?);
            Ok(words.contains("Permission denied") || words.contains("Could not resolve hostname"))
        },
    )?;
    Ok(())
}

#[test]
fn a_machine_that_is_off_is_told_as_exposed_and_catches_up() -> Result<()> {
    let Some(fleet) = Fleet::for_test("a_machine_that_is_off_is_told_as_exposed_and_catches_up")
    else {
        return Ok(());
    };
    let Scene {
        company,
        web,
        db,
        mut bob,
        ..
    } = scene(&fleet)?;
    bob.home.agent()?;
    bob.login()?;
    db.power_off()?;
    let revoked = company.ca(&["krl", "revoke", "bob@corp.example", "--reason", "test"])?;
    ensure!(
        revoked.status.code() == Some(3),
        "expected exit 3: {}",
        said(&revoked)
    );
    let words = said(&revoked);
    ensure!(
        words.contains("NOT REACHED"),
        "db-1 is not told as exposed:\n{words}"
    );
    assert_denied(&bob.ssh(&["web-1", "true"])?)?;
    db.power_on()?;
    // The keeper's own pace: nobody asks it to.
    poll("db-1 to refuse him", || {
        Ok(said(&bob.ssh(&["db-1", "true"])?).contains("Permission denied"))
    })?;
    drop(web);
    Ok(())
}

#[test]
fn z6_with_the_ca_down_certificates_go_on_working_and_nothing_waits() -> Result<()> {
    let name = "z6_with_the_ca_down_certificates_go_on_working_and_nothing_waits";
    let Some(fleet) = Fleet::for_test(name) else {
        return Ok(());
    };
    let Scene {
        mut company,
        mut bob,
        web: _web,
        db: _db,
        ..
    } = scene(&fleet)?;
    bob.home.agent()?;
    bob.login()?;
    company.kill()?;
    let began = Instant::now();
    assert_runs(&bob, &["web-1", "hostname"], "web-1")?;
    ensure!(
        began.elapsed() < Duration::from_secs(180),
        "it took {:?}",
        began.elapsed()
    );
    // What was acknowledged before the power cut is there after it.
    company.start()?;
    company.ca_ok(&["audit", "verify"])?;
    let shown = company.ca_json(&["employee", "show", "bob@corp.example"])?;
    ensure!(shown["sessions"] == 1, "his session is lost: {shown}");
    success("ca-client renew", &bob.client().arg("renew").output()?)?;
    assert_runs(&bob, &["db-1", "hostname"], "db-1")?;
    Ok(())
}
