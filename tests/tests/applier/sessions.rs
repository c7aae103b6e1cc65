//! Live sessions end when their certificate is revoked, also those that a kept connection would still open (R8).

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ca_machine::{
    Order, Request,
    order::{Sessions, Task},
    report::SessionState,
};

use crate::bench::{Bench, done, key};

/// A session that says `ready` and then stays; with `options` for ssh.
pub fn session(bench: &Bench, name: &str, key_id: &str, options: &[&str]) -> Result<Child> {
    let key = key();
    let certificate = bench.ca.certificate(&key, key_id, 77, "alice@web");
    let (key, certificate) = bench.ca.files(name, &key, Some(&certificate))?;
    let mut child = bench
        .fleet
        .command("ssh")
        .args([
            "-F",
            "none",
            "-T",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "BatchMode=yes",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ])
        .arg("-i")
        .arg(key)
        .arg("-o")
        .arg(format!("CertificateFile={}", certificate.display()))
        .args(options)
        .args([
            "-l",
            "alice",
            &bench.machine.addr().to_string(),
            "echo ready; exec sleep 1000",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    ensure!(line == "ready\n", "the session began: {line:?}");
    Ok(child)
}

pub fn ends(child: &mut Child, limit: Duration) -> Result<bool> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(false)
}

#[test]
fn r8_sessions_of_a_revoked_certificate_end_and_others_go_on() -> Result<()> {
    let bench = bench!("r8_sessions_of_a_revoked_certificate_end_and_others_go_on");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let control = bench.fleet.folder().join("control");
    let control = format!("ControlPath={}", control.display());
    let mut revoked = session(&bench, "revoked", "alice@corp.example/1", &[])?;
    let mut kept = session(
        &bench,
        "kept",
        "alice@corp.example/1",
        &["-M", "-o", &control],
    )?;
    let mut other = session(&bench, "other", "carol@corp.example/1", &[])?;
    // What the account can do about it itself: a process of hers that looks like sshd, and no hand on the records.
    bench.machine.run(&[
        "sh",
        "-c",
        "! su alice -c 'rm -rf /run/ssh-ca/sessions; ls /run/ssh-ca/sessions'",
    ])?;
    let forged = bench.machine.run(&[
        "su",
        "alice",
        "-c",
        "cp /bin/sleep /home/alice/sshd; /home/alice/sshd 1000 >/dev/null 2>&1 & echo $!",
    ])?;
    let report = done(bench.sync(&Request::Report)?)?;
    let live: Vec<_> = report
        .sessions()
        .filter(|session| session.account == "alice")
        .collect();
    ensure!(
        live.len() == 3
            && live
                .iter()
                .all(|session| session.state == SessionState::Live && session.serial == Some(77)),
        "{report:?}"
    );

    let apply = bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["alice@corp.example/1"])?),
        None,
    );
    let report = done(bench.sync(&apply)?)?;
    let ended: Vec<_> = report
        .sessions()
        .filter(|session| session.state == SessionState::Ended)
        .collect();
    ensure!(
        ended.len() == 2
            && ended
                .iter()
                .all(|session| session.key_id == "alice@corp.example/1"),
        "{report:?}"
    );
    ensure!(
        ends(&mut revoked, Duration::from_secs(120))?,
        "her session is over"
    );
    ensure!(
        ends(&mut kept, Duration::from_secs(120))?,
        "and the kept connection"
    );
    ensure!(
        !ends(&mut other, Duration::from_millis(500))?,
        "carol's goes on"
    );
    let again = bench
        .fleet
        .command("ssh")
        .args([
            "-F",
            "none",
            "-o",
            &control,
            "-o",
            "ControlMaster=no",
            "-o",
            "BatchMode=yes",
            "-l",
            "alice",
        ])
        .args([
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            &bench.machine.addr().to_string(),
            "true",
        ])
        .output()?;
    ensure!(
        again.status.code() == Some(255),
        "no new session over it: {again:?}"
    );
    bench
        .machine
        .run(&["kill", "-0", forged.stdout.trim()])
        .context("what is not sshd is left alone")?;
    other.kill()?;
    other.wait()?;
    Ok(())
}

#[test]
fn r8_what_cannot_be_attributed_is_reported_as_open() -> Result<()> {
    let bench = bench!("r8_what_cannot_be_attributed_is_reported_as_open");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
    // As after a full /run, or a session from before the record.
    bench
        .machine
        .run(&["sh", "-c", "rm /run/ssh-ca/sessions/*"])?;
    let apply = bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["alice@corp.example/1"])?),
        None,
    );
    let report = done(bench.sync(&apply)?)?;
    let unknown: Vec<_> = report
        .sessions()
        .filter(|session| session.state == SessionState::Unknown)
        .collect();
    ensure!(
        unknown.len() == 1 && unknown[0].account == "alice",
        "{report:?}"
    );
    ensure!(!ends(&mut alice, Duration::from_millis(500))?);
    alice.kill()?;
    alice.wait()?;
    Ok(())
}

#[test]
fn r8_the_name_of_an_executable_makes_no_other_process_a_connection() -> Result<()> {
    let bench = bench!("r8_the_name_of_an_executable_makes_no_other_process_a_connection");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    // A path with line ends in it, that reads as if the machine's first process were an sshd and served a person.
    let forger = "nl='\n'; p=\"/tmp/e${nl}x /proc/1/exe -> /usr/sbin/sshd${nl}x /proc/$$/exe -> /usr/sbin/sshd\"; \
                  mkdir -p \"${p%/*}\" && cp /bin/sleep \"$p\" && exec \"$p\" 300";
    bench.machine.run(&[
        "sh",
        "-c",
        "cd /tmp; setpriv --reuid 65534 --regid 65534 --clear-groups sh -c \"$1\" >/dev/null 2>&1 & \
         tries=0; until readlink /proc/$!/exe | grep -q ^/tmp/e; do tries=$((tries + 1)); [ $tries -lt 300 ] || exit 1; sleep 0.1; done",
        "sh",
        forger,
    ])?;
    let apply = bench.sync_apply(Some(bench.ca.signed_krl(2, &["bob@corp.example/1"])?), None);
    let report = done(bench.sync(&apply)?)?;
    ensure!(
        report.sessions().next().is_none(),
        "nobody is logged in: {report:?}"
    );
    Ok(())
}

#[test]
fn r8_a_record_of_another_process_ends_nothing() -> Result<()> {
    let bench = bench!("r8_a_record_of_another_process_ends_nothing");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut carol = session(&bench, "carol", "carol@corp.example/1", &[])?;
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
    // The pid of a record came to mean another process: alice's certificate under a start time that is not its own.
    bench.machine.run(&[
        "sh",
        "-c",
        "cd /run/ssh-ca/sessions; for f in *; do sed -i 's/^started .*/started 1/' $f; done",
    ])?;
    bench.machine.run(&[
        "sh",
        "-c",
        "cp /run/ssh-ca/sessions/$(ls /run/ssh-ca/sessions | head -n 1) /run/ssh-ca/sessions/1",
    ])?;
    let apply = bench.sync_apply(
        Some(
            bench
                .ca
                .signed_krl(2, &["alice@corp.example/1", "carol@corp.example/1"])?,
        ),
        None,
    );
    let report = done(bench.sync(&apply)?)?;
    ensure!(
        report
            .sessions()
            .all(|session| session.state == SessionState::Unknown),
        "{report:?}"
    );
    for child in [&mut alice, &mut carol] {
        ensure!(!ends(child, Duration::from_millis(300))?);
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

#[test]
fn r8_sessions_end_by_key_id_or_serial_on_request() -> Result<()> {
    let bench = bench!("r8_sessions_end_by_key_id_or_serial_on_request");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let order = |number: u64, key_ids: &[&str], serials: &[u64]| -> Result<Request> {
        let order = Order {
            machine: "web-1".parse()?,
            number,
            task: Task::EndSessions(Sessions {
                key_ids: key_ids.iter().map(ToString::to_string).collect(),
                serials: serials.to_vec(),
                connections: Vec::new(),
            }),
            shelf: None,
        };
        Ok(Request::Order {
            order: order.sign(&bench.ca.fleet_key)?,
            successions: Vec::new(),
        })
    };
    for (number, key_ids, serials) in [
        (10, &["alice@corp.example/1"][..], &[][..]),
        (20, &[], &[77]),
    ] {
        let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
        let none = order(number, &["alice@corp.example/11"], &[7, 777])?;
        done(bench.sync(&none)?)?;
        ensure!(!ends(&mut alice, Duration::from_millis(200))?);
        done(bench.sync(&order(number + 1, key_ids, serials)?)?)?;
        ensure!(ends(&mut alice, Duration::from_secs(120))?, "{number}");
    }
    Ok(())
}

#[test]
fn r8_a_login_that_straddles_the_new_krl_ends_a_moment_later() -> Result<()> {
    let bench = bench!("r8_a_login_that_straddles_the_new_krl_ends_a_moment_later");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    bench
        .machine
        .run(&["cp", "-p", "/etc/ssh/ca/revoked.krl", "/run/old.krl"])?;
    let apply = bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["alice@corp.example/1"])?),
        None,
    );
    done(bench.sync(&apply)?)?;
    // sshd read the old KRL a moment before the rename, and the session began a moment after the first look.
    let swap =
        "cp -p /etc/ssh/ca/revoked.krl /run/new.krl; cp -p /run/old.krl /etc/ssh/ca/revoked.krl";
    bench.machine.run(&["sh", "-c", swap])?;
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
    bench
        .machine
        .run(&["cp", "-p", "/run/new.krl", "/etc/ssh/ca/revoked.krl"])?;
    ensure!(
        ends(&mut alice, Duration::from_secs(300))?,
        "nobody looked again"
    );
    Ok(())
}
