//! What nobody confirms is put back by the machine itself, byte for byte, and what must not come back does not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ca_machine::{Connection, Limits, MachineSpec, Nonce, Request, SudoRule, bundle::AccountState};

use crate::bench::{Bench, SOON, certificate, done, key, refusal};

const LOOK: &str = "for f in /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /etc/pam.d/sshd /etc/sudoers.d/* /etc/ssh/ca/*.pub /etc/ssh/ca/sync_* \
     /etc/ssh/ca/principals/* /var/lib/ssh-ca/applier /var/lib/ssh-ca/session-record; do [ -e $f ] && stat -c '%n %a %u %g %s %Y' $f && sha256sum $f; done; true";

fn look(bench: &Bench) -> Result<String> {
    Ok(bench.machine.run(&["sh", "-c", LOOK])?.stdout)
}

/// Alice loses her principal, deploy goes, bob comes, and sshd's configuration changes.
fn changed(bench: &Bench) -> Result<MachineSpec> {
    let mut spec = bench.ca.spec("web-1")?;
    spec.accounts.pop();
    spec.accounts[0].principals = ["alice@elsewhere".parse()?].into();
    spec.accounts.push(crate::bench::account("bob", 61003)?);
    Ok(spec)
}

fn await_roll_back(bench: &Bench, limit: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if bench
            .machine
            .exec(&["test", "-d", "/var/lib/ssh-ca/pending"])?
            .status
            .code()
            == Some(1)
        {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    bail!(
        "still pending after {limit:?}\n{}",
        bench
            .machine
            .run(&["sh", "-c", "ls -l /etc/cron.d; ps ax"])?
            .stdout
    )
}

#[test]
fn h1_cron_puts_back_what_nobody_confirms() -> Result<()> {
    let bench = bench!("h1_cron_puts_back_what_nobody_confirms");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let before = look(&bench)?;
    let apply = bench.apply_within(
        Some(bench.ca.signed_krl(2, &["mallory@corp.example/1"])?),
        Some(bench.ca.signed(&changed(&bench)?, 2)?),
        SOON,
    );
    let report = done(bench.send(&apply)?)?;
    ensure!(report.changed() && look(&bench)? != before);
    ensure!(
        !bench.enters("alice", "alice@web", "alice@corp.example/1")?,
        "the change holds at once"
    );
    await_roll_back(&bench, Duration::from_secs(300))?;
    ensure!(look(&bench)? == before, "{before}\n{}", look(&bench)?);
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    // R10: neither the generation nor the KRL goes back, and the timer is gone.
    let state = bench.state()?;
    ensure!(
        (
            state.generation,
            state.applied_generation,
            state.krl_version
        ) == (2, 1, 2),
        "{state:?}"
    );
    ensure!(!bench.enters("alice", "alice@web", "mallory@corp.example/1")?);
    ensure!(
        bench
            .machine
            .exec(&["test", "-e", "/etc/cron.d/ssh-ca-restore"])?
            .status
            .code()
            == Some(1)
    );
    // H8: the same bundle again converges.
    let again = bench.apply(None, Some(bench.ca.signed(&changed(&bench)?, 3)?));
    done(bench.send(&again)?)?;
    bench.confirm(&again)?;
    ensure!(bench.enters("bob", "bob@web", "bob@corp.example/1")?);
    Ok(())
}

#[test]
fn h1_a_reboot_puts_back_the_first_apply_and_leaves_the_machine_as_it_was() -> Result<()> {
    let bench = bench!("h1_a_reboot_puts_back_the_first_apply_and_leaves_the_machine_as_it_was");
    let before = look(&bench)?;
    let apply = bench.apply_within(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&bench.ca.spec("web-1")?, 1)?),
        Duration::from_secs(3600),
    );
    done(bench.send(&apply)?)?;
    ensure!(bench.probe_enters()?);
    bench.machine.power_cycle()?;
    await_roll_back(&bench, Duration::from_secs(300))?;
    ensure!(look(&bench)? == before, "{before}\n{}", look(&bench)?);
    ensure!(bench.admin_enters()?);
    ensure!(!bench.probe_enters()?, "no trace of the CA opens a door");
    let report = bench.send(&Request::RollBack)?;
    ensure!(refusal(&report) == "nothing-pending", "{report:?}");
    // And the rerun converges.
    bench.settle(&bench.ca.spec("web-1")?, 2, 2)?;
    ensure!(bench.probe_enters()? && bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    Ok(())
}

#[test]
fn r10_a_removed_ca_key_does_not_come_back() -> Result<()> {
    let bench = bench!("r10_a_removed_ca_key_does_not_come_back");
    let compromised = key();
    let mut both = bench.ca.spec("web-1")?;
    both.user_ca_keys.push(compromised.public_key().clone());
    let (old_sync, old_fleet) = (key(), key());
    both.sync_keys.push(old_sync.public_key().clone());
    both.fleet_keys.push(old_fleet.public_key().clone());
    bench.settle(&both, 1, 1)?;
    let forged_key = key();
    let forged = crate::bench::certificate(
        &compromised,
        &forged_key,
        "mallory@corp.example/9",
        3,
        "alice@web",
    );
    ensure!(
        bench.enters_with("alice", &forged_key, Some(&forged))?,
        "both keys are trusted"
    );
    let (path, _) = bench.ca.files("old-sync", &old_sync, None)?;
    let login = ca_machine::Login::IdentityFile {
        path,
        passphrase: None,
    };
    let old_sync_target = bench.target("ssh-ca-sync", login)?;
    bench.run(async || {
        Ok(ca_machine::exchange(&old_sync_target, &Request::Report, &Limits::default()).await?)
    })?;

    let mut one = changed(&bench)?;
    one.sync_keys = both.sync_keys[..1].to_vec();
    done(bench.send(&bench.apply_within(
        None,
        Some(bench.ca.signed(&one, 2)?),
        Duration::from_secs(600),
    ))?)?;
    done(bench.send(&Request::RollBack)?)?;
    ensure!(
        bench.enters("alice", "alice@web", "alice@corp.example/1")?,
        "the rest came back"
    );
    ensure!(
        !bench.enters_with("alice", &forged_key, Some(&forged))?,
        "the removed user CA key did not"
    );
    let refused = bench.run(async || {
        Ok(Connection::open(&old_sync_target, Limits::default())
            .await
            .is_err())
    })?;
    ensure!(refused, "nor the removed key of ssh-ca-sync");
    let by_old_fleet = bench.ca.bundle(&both, 3)?.sign(&old_fleet)?;
    ensure!(
        refusal(&bench.sync(&bench.sync_apply(None, Some(by_old_fleet)))?) == "bad-signature",
        "nor the removed fleet key"
    );
    Ok(())
}

#[test]
fn h1_only_a_younger_login_with_the_right_nonce_confirms() -> Result<()> {
    let bench = bench!("h1_only_a_younger_login_with_the_right_nonce_confirms");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let apply = bench.sync_apply(None, Some(bench.ca.signed(&changed(&bench)?, 2)?));
    let Request::Apply { nonce, .. } = &apply else {
        bail!("an apply")
    };
    let target = bench.sync_target()?;
    let (applied, old_login, wrong_nonce) = bench.run(async || {
        let connection = Connection::open(&target, Limits::default()).await?;
        let applied = connection.request(&apply).await?;
        let old_login = connection.request(&Request::Confirm(*nonce)).await?;
        let fresh = Connection::open(&target, Limits::default()).await?;
        let wrong_nonce = fresh.request(&Request::Confirm(Nonce::random())).await?;
        Ok((applied, old_login, wrong_nonce))
    })?;
    ensure!(done(applied)?.awaiting() == Some(*nonce));
    ensure!(refusal(&old_login) == "not-fresh", "{old_login:?}");
    ensure!(refusal(&wrong_nonce) == "wrong-nonce", "{wrong_nonce:?}");
    ensure!(bench.state()?.awaiting == nonce.to_string());
    bench.confirm(&apply)?;
    ensure!(bench.state()?.awaiting.is_empty());
    Ok(())
}

#[test]
fn h1_without_a_timer_nothing_is_changed() -> Result<()> {
    let bench = bench!("h1_without_a_timer_nothing_is_changed");
    let before = look(&bench)?;
    let cron = bench.machine.run(&["sh", "-c", "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /usr/sbin/cron ] && echo ${p#/proc/}; done; true"])?;
    for pid in cron.stdout.split_whitespace() {
        bench.machine.run(&["kill", "-9", pid])?;
    }
    let apply = bench.apply(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&bench.ca.spec("web-1")?, 1)?),
    );
    let report = bench.send(&apply)?;
    ensure!(refusal(&report) == "no-timer", "{report:?}");
    ensure!(look(&bench)? == before);
    Ok(())
}

/// How often sshd was told to read its configuration again.
fn reloads(bench: &Bench) -> usize {
    bench.machine.sshd_log().matches("Received SIGHUP").count()
}

fn await_reloads(bench: &Bench, count: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while reloads(bench) < count {
        ensure!(
            Instant::now() < deadline,
            "sshd was not reloaded:\n{}",
            bench.machine.sshd_log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    ensure!(reloads(bench) == count, "{}", bench.machine.sshd_log());
    Ok(())
}

#[test]
fn h2_the_listener_closes_only_for_what_sshd_reads_once() -> Result<()> {
    let bench = bench!("h2_the_listener_closes_only_for_what_sshd_reads_once");
    let ca = &bench.ca;
    let mut spec = ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    await_reloads(&bench, 1)?;

    // Principals, sudo, a second user CA, another key of ssh-ca-sync, an account that expires.
    let second_ca = key();
    let second_sync = key();
    spec.accounts[0].principals = ["alice@elsewhere".parse()?].into();
    spec.accounts[0].sudo = SudoRule::All;
    spec.accounts[1].state = AccountState::Expired;
    spec.accounts[1].principals.clear();
    spec.user_ca_keys.push(second_ca.public_key().clone());
    spec.sync_keys.push(second_sync.public_key().clone());
    let all_hold = |principal: &str| -> Result<bool> {
        let person = key();
        let by_second = certificate(
            &second_ca,
            &person,
            "alice@corp.example/1",
            77,
            "alice@elsewhere",
        );
        Ok(bench.enters("alice", principal, "alice@corp.example/1")?
            && bench.enters_with("alice", &person, Some(&by_second))?)
    };
    let apply = bench.apply(None, Some(ca.signed(&spec, 2)?));
    let report = done(bench.send(&apply)?)?;
    ensure!(report.changed(), "{report:?}");
    ensure!(all_hold("alice@elsewhere")?, "it holds at once");
    ensure!(!bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    ensure!(!bench.enters("deploy", "deploy@web", "carol@corp.example/1")?);
    ensure!(reloads(&bench) == 1, "{}", bench.machine.sshd_log());

    // The way back closes it no more than the way there.
    done(bench.send(&Request::RollBack)?)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    ensure!(!all_hold("alice@elsewhere")?);
    ensure!(reloads(&bench) == 1, "{}", bench.machine.sshd_log());

    // sshd's own configuration: there and back.
    spec.accounts.push(crate::bench::account("bob", 61003)?);
    let apply = bench.apply(None, Some(ca.signed(&spec, 3)?));
    done(bench.send(&apply)?)?;
    await_reloads(&bench, 2)?;
    ensure!(bench.enters("bob", "bob@web", "bob@corp.example/1")?);
    done(bench.send(&Request::RollBack)?)?;
    await_reloads(&bench, 3)?;
    Ok(())
}

#[test]
fn h2_the_server_leaves_an_admins_change_to_the_admin_until_its_time_is_over() -> Result<()> {
    let bench = bench!("h2_the_server_leaves_an_admins_change_to_the_admin_until_its_time_is_over");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let bundle = bench.ca.signed(&changed(&bench)?, 2)?;
    let admins = bench.apply(None, Some(bundle.clone()));
    done(bench.send(&admins)?)?;
    // The same generation over the server's own login, with a new KRL: that arrives, and the change stays the admin's.
    let servers = bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["mallory@corp.example/1"])?),
        Some(bundle),
    );
    let report = bench.sync(&servers)?;
    ensure!(refusal(&report) == "busy", "{report:?}");
    ensure!(
        report.state().is_some_and(|state| state.krl_version == 2),
        "{report:?}"
    );
    let Request::Apply { nonce, .. } = &admins else {
        bail!("an apply")
    };
    ensure!(report.awaiting() == Some(*nonce), "{report:?}");
    bench.confirm(&admins)?;
    let report = done(bench.sync(&servers)?)?;
    ensure!(!report.changed(), "{report:?}");
    // Its own change, cut off before its confirmation, it takes up again itself.
    let back = bench.ca.signed(&bench.ca.spec("web-1")?, 3)?;
    done(bench.sync(&bench.sync_apply(None, Some(back.clone())))?)?;
    let again = bench.sync_apply(None, Some(back));
    done(bench.sync(&again)?)?;
    bench.confirm(&again)
}
