//! What a local user, a killed run or an admin at the wrong moment could make of the applier.

use std::time::Duration;

use anyhow::{Result, ensure};
use ca_machine::{Delivery, Nonce, Request};

use crate::bench::{Bench, done, key, refusal};

fn says(bench: &Bench, script: &str) -> Result<String> {
    Ok(bench.machine.run(&["sh", "-c", script])?.stdout)
}

/// Debian's PAM reads a file of the account's own into the session's environment, and pam_exec hands that to what root runs.
#[test]
fn r8_an_accounts_own_environment_never_reaches_what_root_runs_at_its_login() -> Result<()> {
    let bench = bench!("r8_an_accounts_own_environment_never_reaches_what_root_runs_at_its_login");
    says(
        &bench,
        "grep -q user_readenv=1 /etc/pam.d/sshd || echo 'session required pam_env.so user_readenv=1' >>/etc/pam.d/sshd",
    )?;
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    // With LD_PRELOAD this would be root; LD_DEBUG shows it without a compiler.
    says(
        &bench,
        "printf '%s\\n' 'LD_DEBUG DEFAULT=files' 'LD_DEBUG_OUTPUT DEFAULT=/home/alice/loaded' \
         'SSH_AUTH_INFO_0 DEFAULT=password' 'ALICE DEFAULT=here' >/home/alice/.pam_environment; \
         chown alice: /home/alice/.pam_environment",
    )?;
    let key = key();
    let certificate = bench
        .ca
        .certificate(&key, "alice@corp.example/1", 77, "alice@web");
    ensure!(bench.enters_with("alice", &key, Some(&certificate))?);
    let loaded = says(&bench, "ls -ln /home/alice/loaded.*")?;
    ensure!(
        loaded.lines().count() > 0,
        "her own processes have her own environment"
    );
    let by_root = says(&bench, "find /home/alice -uid 0 -name 'loaded.*'")?;
    ensure!(
        by_root.is_empty(),
        "root's program took alice's environment: {by_root}"
    );
    // Where it comes in before any session line, nothing of root's may run there at all.
    says(
        &bench,
        "sed -i '1i auth required pam_env.so user_readenv=1' /etc/pam.d/sshd",
    )?;
    let apply = bench.sync_apply(None, Some(bench.ca.signed(&bench.ca.spec("web-1")?, 2)?));
    done(bench.send(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(says(&bench, "grep -c session-record /etc/pam.d/sshd || true")? == "0\n");
    ensure!(bench.enters_with("alice", &key, Some(&certificate))?);
    let by_root = says(&bench, "find /home/alice -uid 0 -name 'loaded.*'")?;
    ensure!(by_root.is_empty(), "{by_root}");
    Ok(())
}

#[test]
fn h1_an_admins_own_edit_survives_the_roll_back() -> Result<()> {
    let bench = bench!("h1_an_admins_own_edit_survives_the_roll_back");
    let before = says(&bench, "cat /etc/pam.d/sshd")?;
    let apply = bench.apply_within(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&bench.ca.spec("web-1")?, 1)?),
        Duration::from_secs(600),
    );
    done(bench.send(&apply)?)?;
    says(
        &bench,
        "echo '# an admin was here' >>/etc/pam.d/sshd; echo 'MaxAuthTries 4' >/tmp/new; cat /etc/ssh/sshd_config >>/tmp/new; cat /tmp/new >/etc/ssh/sshd_config",
    )?;
    done(bench.send(&Request::RollBack)?)?;
    let pam = says(&bench, "cat /etc/pam.d/sshd")?;
    ensure!(
        pam == format!("{before}# an admin was here\n"),
        "the CA's line is gone and the admin's stays:\n{pam}"
    );
    let config = says(&bench, "cat /etc/ssh/sshd_config")?;
    ensure!(
        config.starts_with("MaxAuthTries 4\n") && !config.contains("ssh-ca"),
        "{config}"
    );
    ensure!(bench.admin_enters()?);
    Ok(())
}

/// sshd keeps its configuration in memory until it is told to read it again; what that names must not be gone before.
#[test]
fn r11_a_roll_back_cut_in_the_middle_leaves_the_admins_door_open() -> Result<()> {
    let bench = bench!("r11_a_roll_back_cut_in_the_middle_leaves_the_admins_door_open");
    let apply = bench.apply_within(
        Some(bench.ca.signed_krl(1, &[])?),
        Some(bench.ca.signed(&bench.ca.spec("web-1")?, 1)?),
        Duration::from_secs(600),
    );
    done(bench.send(&apply)?)?;
    ensure!(bench.admin_enters()?);
    // sshd cannot be told: something else broke its configuration meanwhile.
    says(
        &bench,
        "echo 'NoSuchWord yes' >/etc/ssh/sshd_config.d/99-broken.conf",
    )?;
    done(bench.send(&Request::RollBack)?)?;
    ensure!(
        bench.admin_enters()?,
        "the admin gets in while sshd still goes by what it has read"
    );
    Ok(())
}

#[test]
fn h5_a_home_that_somebody_else_owns_is_never_given_to_a_new_account() -> Result<()> {
    let bench = bench!("h5_a_home_that_somebody_else_owns_is_never_given_to_a_new_account");
    says(
        &bench,
        "useradd -m bob && mkdir /home/alice && chown bob: /home/alice",
    )?;
    let request = |generation| -> Result<Request> {
        Ok(bench.apply(
            Some(bench.ca.signed_krl(1, &[])?),
            Some(bench.ca.signed(&bench.ca.spec("web-1")?, generation)?),
        ))
    };
    let report = bench.send(&request(1)?)?;
    ensure!(refusal(&report) == "account-exists", "{report:?}");
    ensure!(says(&bench, "getent passwd alice || echo none")? == "none\n");
    // Her own from an earlier life of the machine is hers.
    says(&bench, "chown 61001:61001 /home/alice")?;
    let apply = Request::Apply {
        delivery: Delivery {
            successions: Vec::new(),
            krl: Some(bench.ca.signed_krl(2, &[])?),
            bundle: Some(bench.ca.signed(&bench.ca.spec("web-1")?, 2)?),
            first: bench.ca.first(),
        },
        nonce: Nonce::random(),
        confirm_within: Duration::from_secs(600),
    };
    done(bench.send(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    Ok(())
}

/// In observe mode an account that no `Match` names takes the keys in its home, and its owner may have put some there.
#[test]
fn h9_an_account_whose_making_was_put_back_takes_no_key_of_its_own() -> Result<()> {
    let bench = bench!("h9_an_account_whose_making_was_put_back_takes_no_key_of_its_own");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut more = bench.ca.spec("web-1")?;
    more.accounts.push(crate::bench::account("bob", 61003)?);
    let apply = bench.sync_apply(None, Some(bench.ca.signed(&more, 2)?));
    done(bench.send(&apply)?)?;
    let planted = key();
    let line = planted.public_key().to_openssh()?;
    says(
        &bench,
        &format!(
            "mkdir -m 700 /home/bob/.ssh && echo '{line}' >/home/bob/.ssh/authorized_keys && chown -R bob: /home/bob/.ssh"
        ),
    )?;
    ensure!(!bench.enters_with("bob", &planted, None)?);
    done(bench.send(&Request::RollBack)?)?;
    // PAM's refusal ends the connection without a word, which `enters_with` takes for no answer.
    ensure!(
        !bench.enters_with("bob", &planted, None).unwrap_or(false),
        "what bob planted opens nothing after the roll-back"
    );
    ensure!(says(&bench, "getent shadow bob | cut -d: -f8")? == "1\n");
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    let again = bench.sync_apply(None, Some(bench.ca.signed(&more, 3)?));
    done(bench.send(&again)?)?;
    bench.confirm(&again)?;
    ensure!(
        bench.enters("bob", "bob@web", "bob@corp.example/1")?
            && !bench.enters_with("bob", &planted, None)?
    );
    Ok(())
}

/// As in a container, where `/run` is no file system of its own.
#[test]
fn r6_a_krl_arrives_where_neither_disk_nor_run_has_room() -> Result<()> {
    let bench = bench!("r6_a_krl_arrives_where_neither_disk_nor_run_has_room");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    says(
        &bench,
        "mount -t tmpfs -o size=16k tmpfs /run && head -c 1M /dev/zero >/run/filler 2>/dev/null; true",
    )?;
    bench.machine.fill_disk()?;
    let krl = bench.ca.signed_krl(2, &["alice@corp.example/1"])?;
    let report = done(bench.send_installed(&bench.sync_apply(Some(krl), None))?)?;
    ensure!(
        report
            .state()
            .is_some_and(|state| state.krl_version == 2 && state.krl_canaries == "ok"),
        "{report:?}"
    );
    Ok(())
}
