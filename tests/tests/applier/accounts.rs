//! Accounts: made, adopted, expired, purged, and those that are nobody's but the machine's own.

use anyhow::{Result, ensure};
use ca_machine::{
    Delivery, FirstContact, Nonce, Request, SudoRule, Trust,
    bundle::{AccountState, Origin},
};

use crate::bench::{SOON, account, done, key, refusal};

#[test]
fn h5_an_existing_account_is_never_taken_over_silently() -> Result<()> {
    let bench = bench!("h5_an_existing_account_is_never_taken_over_silently");
    bench
        .machine
        .run(&["useradd", "-m", "-u", "61001", "alice"])?;
    let before = bench
        .machine
        .run(&["sh", "-c", "cat /etc/passwd /etc/shadow; ls -lR /etc/ssh"])?
        .stdout;
    let mut spec = bench.ca.spec("web-1")?;
    let krl = bench.ca.signed_krl(1, &[])?;
    let report = bench.send(&bench.apply(Some(krl.clone()), Some(bench.ca.signed(&spec, 1)?)))?;
    ensure!(refusal(&report) == "account-exists", "{report:?}");
    bench.machine.run(&["rm", "-r", "/etc/ssh/ca"])?;
    let after = bench
        .machine
        .run(&["sh", "-c", "cat /etc/passwd /etc/shadow; ls -lR /etc/ssh"])?
        .stdout;
    ensure!(
        before.replace(char::is_numeric, "") == after.replace(char::is_numeric, ""),
        "{before}\n{after}"
    );
    ensure!(!bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    // A uid that somebody has, and a group of that name, are refused as well.
    spec.accounts[0] = account("carol", 61001)?;
    let report = bench.send(&bench.apply(Some(krl.clone()), Some(bench.ca.signed(&spec, 2)?)))?;
    ensure!(refusal(&report) == "account-exists", "{report:?}");
    spec.accounts[0] = account("sudo", 61009)?;
    let report = bench.send(&bench.apply(Some(krl.clone()), Some(bench.ca.signed(&spec, 3)?)))?;
    ensure!(refusal(&report) == "account-exists", "{report:?}");
    // Said out loud, it is taken over as it is.
    spec.accounts[0] = account("alice", 61001)?;
    spec.accounts[0].origin = Origin::Adopted;
    bench.settle(&spec, 4, 2)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    ensure!(bench.machine.run(&["id", "-u", "alice"])?.stdout.trim() == "61001");
    // Adopted and then forgotten is given back, not expired.
    spec.accounts.remove(0);
    let apply = bench.apply(None, Some(bench.ca.signed(&spec, 5)?));
    done(bench.send(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(!bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    ensure!(
        bench
            .machine
            .run(&["getent", "shadow", "alice"])?
            .stdout
            .trim()
            .split(':')
            .nth(7)
            == Some("")
    );
    Ok(())
}

#[test]
fn h9_accounts_of_the_ca_take_certificates_only_and_all_others_work_until_enforce() -> Result<()> {
    let bench = bench!(
        "h9_accounts_of_the_ca_take_certificates_only_and_all_others_work_until_enforce",
        |spec| spec.sshd_config(
            "PasswordAuthentication no\nMatch User carol\n    PasswordAuthentication yes\n"
        )
    );
    let mut spec = bench.ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    let planted = key();
    let line = planted.public_key().to_openssh()?;
    bench
        .machine
        .run(&["useradd", "-m", "-u", "1500", "carol"])?;
    for name in ["alice", "carol"] {
        bench.machine.write_file("/run/planted", line.as_bytes())?;
        bench.machine.run(&[
            "sh",
            "-c",
            "mkdir -p ~$1/.ssh && cp /run/planted ~$1/.ssh/authorized_keys && chown -R $1: ~$1/.ssh && chmod 700 ~$1/.ssh"
                .replace("$1", name)
                .as_str(),
        ])?;
    }
    bench.machine.run(&[
        "sh",
        "-c",
        "echo alice:secret-1234 | chpasswd; echo carol:secret-1234 | chpasswd",
    ])?;
    ensure!(
        !bench.enters_with("alice", &planted, None)?,
        "a planted key opens nothing"
    );
    ensure!(
        bench.enters_with("carol", &planted, None)?,
        "somebody's own account works as before"
    );
    let methods = |account: &str| -> Result<String> {
        let key = Box::new(key());
        let prove = Request::Prove {
            account: account.parse()?,
            key,
            certificate: None,
        };
        let proof = done(bench.send(&prove)?)?
            .proof()
            .cloned()
            .expect("a proof was asked for");
        ensure!(proof.answered && !proof.accepted, "{proof:?}");
        Ok(proof.methods)
    };
    ensure!(
        methods("alice")? == "publickey",
        "no password opens it: {}",
        methods("alice")?
    );
    ensure!(
        methods("carol")? == "publickey,password",
        "a Match of the site's own still holds: {}",
        methods("carol")?
    );
    // Root-owned, absolute, never in a home.
    let principals = bench.machine.run(&[
        "stat",
        "-c",
        "%u %g %a",
        "/etc/ssh/ca/principals",
        "/etc/ssh/ca/principals/alice",
    ])?;
    ensure!(principals.stdout == "0 0 755\n0 0 644\n", "{principals:?}");
    spec.mode = ca_machine::Mode::Enforce;
    let apply = bench.sync_apply(None, Some(bench.ca.signed(&spec, 2)?));
    done(bench.sync(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(!bench.enters_with("carol", &planted, None)? && methods("carol")? == "publickey");
    ensure!(bench.admin_enters()? && bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    // And back again.
    spec.mode = ca_machine::Mode::Observe;
    let apply = bench.sync_apply(None, Some(bench.ca.signed(&spec, 3)?));
    done(bench.sync(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(bench.enters_with("carol", &planted, None)?);
    Ok(())
}

#[test]
fn p3_a_removed_account_is_expired_with_its_processes_and_crontab_and_purged_on_request()
-> Result<()> {
    let bench = bench!(
        "p3_a_removed_account_is_expired_with_its_processes_and_crontab_and_purged_on_request"
    );
    let mut spec = bench.ca.spec("web-1")?;
    spec.accounts[0].sudo = SudoRule::All;
    spec.accounts[0].groups = vec!["adm".parse()?, "no-such-group".parse()?];
    bench.settle(&spec, 1, 1)?;
    let id = bench.machine.run(&["id", "-Gn", "alice"])?.stdout;
    ensure!(id.contains("adm"), "{id}");
    bench.machine.run(&["su", "alice", "-c", "sudo -n true"])?;
    bench
        .machine
        .run(&["su", "alice", "-c", "echo '* * * * * true' | crontab -"])?;
    bench.machine.run(&[
        "su",
        "alice",
        "-c",
        "sleep 1000 >/dev/null 2>&1 & echo started",
    ])?;
    ensure!(
        !bench
            .machine
            .run(&[
                "sh",
                "-c",
                "grep -lE '^Uid:.61001' /proc/[0-9]*/status; true"
            ])?
            .stdout
            .is_empty()
    );
    let expire = |spec: &ca_machine::MachineSpec, generation: u64| -> Result<()> {
        let apply = bench.sync_apply(None, Some(bench.ca.signed(spec, generation)?));
        done(bench.sync(&apply)?)?;
        bench.confirm(&apply)
    };
    spec.accounts[0].state = AccountState::Expired;
    expire(&spec, 2)?;
    ensure!(!bench.enters("alice", "alice@web", "alice@corp.example/1")?);
    let left = bench.machine.run(&[
        "sh",
        "-c",
        "grep -lE '^Uid:.61001' /proc/[0-9]*/status; ls /var/spool/cron/crontabs; true",
    ])?;
    ensure!(left.stdout.is_empty(), "{left:?}");
    ensure!(
        bench
            .machine
            .exec(&["su", "alice", "-c", "true"])?
            .status
            .code()
            != Some(0),
        "expired for every door that asks PAM"
    );
    ensure!(
        bench
            .machine
            .exec(&["su", "alice", "-c", "sudo -n true"])?
            .status
            .code()
            != Some(0)
    );
    bench.machine.run(&["test", "-d", "/home/alice"])?;
    // She comes back, with the same uid and home.
    spec.accounts[0].state = AccountState::Active;
    expire(&spec, 3)?;
    ensure!(bench.enters("alice", "alice@web", "alice@corp.example/2")?);
    // Merely forgotten, an account that the CA made is expired, too: it never falls back to its own keys.
    let deploy = spec.accounts.remove(1);
    expire(&spec, 4)?;
    ensure!(
        bench
            .machine
            .run(&["getent", "shadow", "deploy"])?
            .stdout
            .trim()
            .split(':')
            .nth(7)
            == Some("1")
    );
    spec.accounts.push(deploy);
    spec.accounts[1].state = AccountState::Purged;
    expire(&spec, 5)?;
    ensure!(
        bench
            .machine
            .exec(&["test", "-e", "/home/deploy"])?
            .status
            .code()
            == Some(1)
    );
    ensure!(
        bench
            .machine
            .exec(&["getent", "passwd", "deploy"])?
            .status
            .code()
            == Some(2)
    );
    Ok(())
}

#[test]
fn h2_from_a_root_login_ssh_admin_is_made_and_an_existing_one_is_never_touched() -> Result<()> {
    let bench = bench!(
        "h2_from_a_root_login_ssh_admin_is_made_and_an_existing_one_is_never_touched",
        |spec| spec.root_only()
    );
    let admin_key = key();
    let krl = bench.ca.signed_krl(1, &[])?;
    let apply = |generation: u64, admin: &ssh_key::PrivateKey| -> Result<Request> {
        Ok(Request::Apply {
            delivery: Delivery {
                successions: Vec::new(),
                krl: Some(krl.clone()),
                bundle: Some(bench.ca.signed(&bench.ca.spec("web-1")?, generation)?),
                first: Some(FirstContact {
                    fleet_keys: vec![bench.ca.fleet_key.public_key().clone()],
                    trust: Trust::IfNone,
                    admin: Some(("ssh-admin".parse()?, admin.public_key().clone())),
                    pull_secret: None,
                }),
            },
            nonce: Nonce::random(),
            confirm_within: SOON * 10,
        })
    };
    let first = apply(1, &admin_key)?;
    done(bench.send(&first)?)?;
    bench.confirm(&first)?;
    ensure!(bench.enters_with("ssh-admin", &admin_key, None)?);
    bench
        .machine
        .run(&["su", "ssh-admin", "-c", "sudo -n true"])?;
    // Its keys are its own from now on.
    let other = key();
    done(bench.send(&apply(2, &other)?)?)?;
    ensure!(
        !bench.enters_with("ssh-admin", &other, None)?
            && bench.enters_with("ssh-admin", &admin_key, None)?
    );
    // P6: whatever a certificate says, it opens neither ssh-admin nor root.
    for account in ["ssh-admin", "root", "ssh-ca-sync"] {
        ensure!(
            !bench.enters(account, &format!("{account}@web"), "alice@corp.example/1")?,
            "{account}"
        );
    }
    Ok(())
}
