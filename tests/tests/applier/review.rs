//! What a local user, a killed run or an admin at the wrong moment could make of the applier.

use std::time::Duration;

use anyhow::{Result, ensure};
use ca_machine::{Delivery, Nonce, Request, bundle::AccountState, report::SessionState};

use crate::{
    bench::{Bench, account, done, key, refusal},
    sessions::{ends, session},
};

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

/// Whoever has the key of `ssh-ca-sync`, or serves what a machine fetches, has signed bundles: the old ones, and those of other machines.
#[test]
fn h1_an_old_bundle_that_is_sent_again_puts_no_change_back_that_waits_for_its_confirmation()
-> Result<()> {
    let bench = bench!(
        "h1_an_old_bundle_that_is_sent_again_puts_no_change_back_that_waits_for_its_confirmation"
    );
    let spec = bench.ca.spec("web-1")?;
    let old = bench.ca.signed(&spec, 1)?;
    bench.settle(&spec, 2, 1)?;
    let mut wanted = spec.clone();
    wanted.accounts.push(account("bob", 61_300)?);
    let change = bench.sync_apply(None, Some(bench.ca.signed(&wanted, 3)?));
    done(bench.send_installed(&change)?)?;
    let mut elsewhere = spec;
    elsewhere.machine = "web-2".parse()?;
    let foreign = bench.ca.signed(&elsewhere, 9)?;
    for (bundle, code) in [(old, "old-generation"), (foreign, "wrong-machine")] {
        let report = bench.send_installed(&bench.sync_apply(None, Some(bundle)))?;
        ensure!(refusal(&report) == code, "{report:?}");
        let state = bench.state()?;
        ensure!(
            state.applied_generation == 3 && !state.awaiting.is_empty(),
            "the change was put back: {state:?}"
        );
    }
    bench.confirm(&change)?;
    ensure!(bench.enters("bob", "bob@web", "bob@corp.example/1")?);
    Ok(())
}

/// Anybody here can start a process whose executable is sshd's (here a shell of that name, in a mount namespace of its own).
#[test]
fn r8_a_command_line_that_takes_hours_to_read_holds_no_revocation_up() -> Result<()> {
    let bench = bench!("r8_a_command_line_that_takes_hours_to_read_holds_no_revocation_up");
    bench.settle(&bench.ca.spec("web-1")?, 1, 1)?;
    let mut alice = session(&bench, "alice", "alice@corp.example/1", &[])?;
    says(
        &bench,
        "A=$(head -c 120000 /dev/zero | tr '\\0' '\\n'; echo x); unshare -m --propagation private sh -c 'mount --bind /bin/sh /usr/sbin/sshd && \
         exec setpriv --reuid 65534 --clear-groups /usr/sbin/sshd -c \"sleep 3000; exit\" \"$@\"' sh \
         \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" \"$A\" </dev/null >/dev/null 2>&1 & \
         until grep -qs '^Uid:[[:space:]]*65534' /proc/[0-9]*/status; do sleep 0.1; done",
    )?;
    let krl = bench.ca.signed_krl(2, &["alice@corp.example/1"])?;
    let report = done(bench.sync(&bench.sync_apply(Some(krl), None))?)?;
    ensure!(
        report
            .sessions()
            .any(|one| one.account == "alice" && one.state == SessionState::Ended),
        "{report:?}"
    );
    ensure!(ends(&mut alice, Duration::from_secs(60))?);
    Ok(())
}

#[test]
fn p3_a_process_that_forks_faster_than_it_is_listed_ends_with_its_account() -> Result<()> {
    let bench = bench!("p3_a_process_that_forks_faster_than_it_is_listed_ends_with_its_account");
    let mut spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    says(
        &bench,
        "touch /run/hops && chown alice: /run/hops && \
         setpriv --reuid alice --clear-groups sh -c 'hop() { (printf . >>/run/hops; hop) & }; for n in $(seq 24); do hop; done' </dev/null >/dev/null 2>&1 & \
         until [ -s /run/hops ]; do sleep 0.1; done",
    )?;
    for account in &mut spec.accounts {
        account.state = AccountState::Expired;
        account.principals.clear();
    }
    let change = bench.sync_apply(None, Some(bench.ca.signed(&spec, 2)?));
    done(bench.send_installed(&change)?)?;
    // Alive, it would hop some hundred times meanwhile.
    let hops = says(
        &bench,
        "stat -c %s /run/hops; sleep 1; stat -c %s /run/hops",
    )?;
    let hops: Vec<_> = hops.lines().collect();
    ensure!(hops.len() == 2 && hops[0] == hops[1], "{hops:?}");
    bench.confirm(&change)
}
