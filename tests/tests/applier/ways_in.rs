//! ssh to a machine: the whole story over real connections, and what a machine that lies, floods or hangs gets.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ca_machine::{
    Connection, HostKey, Limits, Login, OpenError, Privilege, Request, RunError, Secret, exchange,
    report::ReportError, spec::PROBE_PRINCIPAL,
};
use e2e::Sudo;

use crate::bench::{done, drift, key};

#[test]
fn h2_first_apply_confirm_and_proofs_over_real_ssh() -> Result<()> {
    let bench = bench!("h2_first_apply_confirm_and_proofs_over_real_ssh");
    let spec = bench.ca.spec("web-1")?;
    let apply = bench.apply_within(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&spec, 1)?),
        Duration::from_secs(300),
    );
    let target = bench.admin_target()?;
    let (planned, applied) = bench.run(async || {
        let connection = Connection::open(&target, Limits::default()).await?;
        let privilege = connection.privilege(None).await?;
        let Request::Apply { delivery, .. } = &apply else {
            bail!("an apply")
        };
        let planned = connection
            .first_contact(&Request::DryRun(delivery.clone()), &privilege)
            .await?;
        Ok((planned, connection.first_contact(&apply, &privilege).await?))
    })?;
    let (planned, applied) = (done(planned)?, done(applied)?);
    // The dry run names exactly what the apply then does.
    let changes = |report: &ca_machine::Report| {
        let mut changes: Vec<String> = report
            .events
            .iter()
            .filter(|event| {
                matches!(
                    event,
                    ca_machine::report::Event::File { .. }
                        | ca_machine::report::Event::Account { .. }
                )
            })
            .map(|event| format!("{event:?}"))
            .collect();
        changes.sort();
        changes
    };
    ensure!(
        !changes(&planned).is_empty() && changes(&planned) == changes(&applied),
        "{planned:#?}\n{applied:#?}"
    );
    bench.confirm(&apply)?;
    // A certificate that must work, over a connection of its own.
    let probe_key = key();
    let probe = bench
        .ca
        .certificate(&probe_key, "probe/1", 1, PROBE_PRINCIPAL);
    let (key_path, certificate) = bench.ca.files("probe", &probe_key, Some(&probe))?;
    let target = bench.target(
        "ssh-ca-probe",
        Login::Certificate {
            key: key_path,
            certificate,
        },
    )?;
    let said = bench.run(async || {
        Ok(Connection::open(&target, Limits::default())
            .await?
            .forced_output()
            .await?)
    })?;
    ensure!(said == "ssh-ca-probe\n", "{said:?}");
    // And over loopback those that must not.
    let stranger = key();
    let elsewhere = bench
        .ca
        .certificate(&stranger, "alice@corp.example/1", 5, "alice@db");
    let prove = |certificate| -> Result<ca_machine::report::Proof> {
        let request = Request::Prove {
            account: "alice".parse()?,
            key: Box::new(stranger.clone()),
            certificate: Some(Box::new(certificate)),
        };
        let by_the_server = bench.sync(&request)?;
        ensure!(
            by_the_server.refusal().is_some() && by_the_server.proof().is_none(),
            "the key of ssh-ca-sync alone logs in over loopback: {by_the_server:?}"
        );
        Ok(done(bench.send(&request)?)?
            .proof()
            .cloned()
            .expect("a proof was asked for"))
    };
    let refused = prove(elsewhere)?;
    ensure!(
        refused.answered && !refused.accepted && refused.methods == "publickey",
        "{refused:?}"
    );
    let accepted = prove(
        bench
            .ca
            .certificate(&stranger, "alice@corp.example/1", 5, "alice@web"),
    )?;
    ensure!(accepted.answered && accepted.accepted, "{accepted:?}");
    // H8: a second run changes nothing.
    let again = done(bench.sync(&bench.sync_apply(None, Some(bench.ca.signed(&spec, 2)?)))?)?;
    ensure!(!again.changed() && again.awaiting().is_none(), "{again:#?}");
    // Drift is told, and the next generation mends it.
    bench.machine.run(&[
        "sh",
        "-c",
        "echo deploy@web >>/etc/ssh/ca/principals/alice; chmod 666 /etc/ssh/ca/user_ca.pub",
    ])?;
    let check = done(bench.sync(&Request::Check)?)?;
    ensure!(drift(&check).len() == 2, "{:?}", drift(&check));
    let mend = bench.sync_apply(None, Some(bench.ca.signed(&spec, 3)?));
    ensure!(done(bench.sync(&mend)?)?.changed());
    bench.confirm(&mend)?;
    let check = done(bench.sync(&Request::Check)?)?;
    ensure!(drift(&check).is_empty(), "{:?}", drift(&check));
    Ok(())
}

#[test]
fn h7_the_host_key_is_pinned_from_the_first_contact_on() -> Result<()> {
    let bench = bench!("h7_the_host_key_is_pinned_from_the_first_contact_on");
    let mut target = bench.admin_target()?;
    let HostKey::Pinned(shown) = target.host_key.clone() else {
        bail!("pinned")
    };
    target.host_key = HostKey::AskOnFirstContact;
    let first = bench.run(async || Ok(Connection::open(&target, Limits::default()).await.err()))?;
    let Some(OpenError::UnknownHostKey {
        key: asked,
        fingerprint,
        ..
    }) = first
    else {
        bail!("{first:?}")
    };
    ensure!(asked.key_data() == shown.key_data() && fingerprint.starts_with("SHA256:"));
    ensure!(
        !bench.machine.sshd_log().contains("Accepted"),
        "nobody logged in before the question"
    );
    target.host_key = HostKey::Pinned(Box::new(key().public_key().clone()));
    let other = bench.run(async || Ok(Connection::open(&target, Limits::default()).await.err()))?;
    ensure!(
        matches!(other, Some(OpenError::HostKeyChanged { .. })),
        "{other:?}"
    );
    let other = bench.run(async || {
        Ok(exchange(&target, &Request::Report, &Limits::default())
            .await
            .err())
    })?;
    ensure!(
        matches!(
            other,
            Some(RunError::Open(OpenError::HostKeyChanged { .. }))
        ),
        "{other:?}"
    );
    Ok(())
}

#[test]
fn c3_a_password_for_login_and_sudo_stands_in_no_argument() -> Result<()> {
    let secret = "correct horse 7 % \" $battery";
    let bench = bench!(
        "c3_a_password_for_login_and_sudo_stands_in_no_argument",
        |spec| spec
            .password(secret)
            .sudo(Sudo::Password(secret.to_owned()))
    );
    let target = bench.target("ssh-admin", Login::Password(Secret::new(secret.to_owned())))?;
    let wrong = bench.target(
        "ssh-admin",
        Login::Password(Secret::new("wrong".to_owned())),
    )?;
    let apply = bench.apply(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&bench.ca.spec("web-1")?, 1)?),
    );
    let (privilege, report, refused, seen) = bench.run(async || {
        let connection = Connection::open(&target, Limits::default()).await?;
        ensure!(matches!(
            connection.privilege(None).await,
            Err(RunError::NotRoot { .. })
        ));
        let privilege = connection
            .privilege(Some(&Secret::new(secret.to_owned())))
            .await?;
        let seen = std::process::Command::new("grep")
            .args(["-rlaF", "horse 7", "/proc/self/environ"])
            .output()?;
        let report = connection.first_contact(&apply, &privilege).await?;
        let refused = Connection::open(&wrong, Limits::default()).await.err();
        Ok((privilege, report, refused, seen))
    })?;
    ensure!(
        matches!(privilege, Privilege::SudoPassword(_)),
        "{privilege:?}"
    );
    ensure!(
        !format!("{privilege:?} {target:?}").contains("horse"),
        "Debug redacts"
    );
    ensure!(seen.stdout.is_empty());
    done(report)?;
    bench.confirm(&apply)?;
    ensure!(
        matches!(refused, Some(OpenError::Refused { .. })),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn r7_a_machine_that_lies_floods_or_hangs_is_cut_off() -> Result<()> {
    let bench = bench!("r7_a_machine_that_lies_floods_or_hangs_is_cut_off");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let target = bench.sync_target()?;
    let limits = Limits {
        connect: Duration::from_secs(10),
        request: Duration::from_secs(15),
    };
    let ask = |script: &str| -> Result<(RunError, Duration)> {
        bench.machine.write_file(
            "/var/lib/ssh-ca/applier",
            format!("#!/bin/sh\n{script}\n").as_bytes(),
        )?;
        let start = Instant::now();
        let error =
            bench.run(async || Ok(exchange(&target, &Request::Report, &limits).await.err()))?;
        match error {
            Some(error) => Ok((error, start.elapsed())),
            None => bail!("{script}: it answered"),
        }
    };
    let (flood, took) = ask("exec cat /dev/zero")?;
    ensure!(
        matches!(
            flood,
            RunError::Answer {
                source: ReportError::TooLong,
                ..
            }
        ),
        "{flood:?} after {took:?}"
    );
    let (hang, took) = ask("exec sleep 600")?;
    ensure!(
        matches!(hang, RunError::TimedOut { .. }) && took < Duration::from_secs(180),
        "{hang:?} after {took:?}"
    );
    let (drip, took) = ask("while :; do echo x; sleep 1; done")?;
    ensure!(
        matches!(drip, RunError::TimedOut { .. }) && took < Duration::from_secs(180),
        "{drip:?} after {took:?}"
    );
    let (lie, _) = ask("echo '{\"step\":\"did\",\"name\":\"applied\"}'; exit 0")?;
    ensure!(
        matches!(
            lie,
            RunError::Answer {
                source: ReportError::Unfinished { lines: 1 },
                ..
            }
        ),
        "{lie:?}"
    );
    bench.machine.drop_packets()?;
    let start = Instant::now();
    let gone = bench.run(async || Ok(exchange(&target, &Request::Report, &limits).await.err()))?;
    ensure!(
        matches!(
            gone,
            Some(RunError::Open(OpenError::Unreachable { .. }) | RunError::TimedOut { .. })
        ),
        "{gone:?}"
    );
    ensure!(start.elapsed() < Duration::from_secs(180));
    Ok(())
}

#[test]
fn h6_words_of_a_target_are_never_options() -> Result<()> {
    let bench = bench!("h6_words_of_a_target_are_never_options");
    for (address, user, jump) in [
        ("-oProxyCommand=id", "a", None),
        ("a", "-l", None),
        ("a b", "a", None),
        ("a", "a", Some("-J")),
    ] {
        let mut target = bench.admin_target()?;
        target.address = address.to_owned();
        target.user = user.to_owned();
        target.jump = jump.map(str::to_owned);
        let error =
            bench.run(async || Ok(Connection::open(&target, Limits::default()).await.err()))?;
        ensure!(
            matches!(error, Some(OpenError::BadTarget { .. })),
            "{error:?}"
        );
    }
    Ok(())
}
