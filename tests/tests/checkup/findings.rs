//! What a check-up finds on a machine that somebody changed, and what a repair mends.

use std::fs;

use anyhow::{Result, ensure};

use crate::scene::{Scene, codes, finding, poll};

const WRONG: [&str; 2] = ["danger", "warning"];

#[test]
fn a_check_up_finds_what_was_changed_and_repairs_what_is_the_cas() -> Result<()> {
    let name = "a_check_up_finds_what_was_changed_and_repairs_what_is_the_cas";
    let Some(mut scene) = Scene::new(name)? else {
        return Ok(());
    };
    // As bootstrap left it: nothing wrong, and the site's own key is told without alarm.
    let (exit, check) = scene.check(&[])?;
    ensure!(
        exit == 0 && codes(&check, &WRONG).is_empty(),
        "exit {exit}: {check:#}"
    );
    finding(
        &check,
        "static-key",
        "a static key opens ubuntu: /home/ubuntu/.ssh/authorized_keys line 1",
    )?;
    finding(&check, "foreign-account", "ubuntu")?;

    // What is the CA's, changed in every way. A key that alice plants in her home is not read by sshd, so it is none.
    scene.sh("printf 'mallory@web-server\\n' >>/etc/ssh/ca/principals/alice")?;
    scene.sh("echo mallory@web-server >/etc/ssh/ca/principals/mallory")?;
    scene.sh("chmod 666 /etc/ssh/ca/user_ca.pub; chown 1000 /etc/ssh/ca/host-cert.pub")?;
    scene.sh("chmod 640 /etc/sudoers.d/ssh-ca; echo 'alice ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers.d/ssh-ca")?;
    scene.sh(
        "head -c 44 /etc/ssh/ca/revoked.krl >/run/cut; cat /run/cut >/etc/ssh/ca/revoked.krl",
    )?;
    scene.sh("sed -i /session-record/d /etc/pam.d/sshd")?;
    scene.sh("usermod -e 1 alice; usermod -s /bin/sh alice")?;
    scene.sh("echo '# note' >>/var/lib/ssh-ca/applier; rm /var/lib/ssh-ca/session-record")?;
    scene.sh("sed -i 's/^TrustedUserCAKeys.*/TrustedUserCAKeys \\/etc\\/ssh\\/other_ca.pub/' /etc/ssh/sshd_config.d/00-ssh-ca.conf")?;
    scene.sh("install -d -o alice -m 700 /home/alice/.ssh; cp /home/ubuntu/.ssh/authorized_keys /home/alice/.ssh/; chown alice /home/alice/.ssh/*")?;
    let (exit, check) = scene.check(&[])?;
    ensure!(exit == 1, "exit {exit}: {check:#}");
    for (code, words, gravity) in [
        ("drift", "/etc/ssh/ca/principals/alice is changed", "danger"),
        (
            "drift",
            "/etc/ssh/ca/principals/mallory is not the CA's",
            "danger",
        ),
        (
            "drift",
            "/etc/ssh/ca/user_ca.pub has another mode",
            "danger",
        ),
        (
            "drift",
            "/etc/ssh/ca/host-cert.pub has another owner",
            "warning",
        ),
        ("drift", "/etc/sudoers.d/ssh-ca is changed", "danger"),
        ("drift", "/etc/ssh/ca/revoked.krl is changed", "danger"),
        ("krl", "in force is", "danger"),
        ("drift", "/etc/pam.d/sshd is changed", "danger"),
        ("drift", "account alice is changed", "warning"),
        ("drift", "/var/lib/ssh-ca/applier is changed", "warning"),
        (
            "drift",
            "/var/lib/ssh-ca/session-record is missing",
            "warning",
        ),
        (
            "drift",
            "/etc/ssh/sshd_config.d/00-ssh-ca.conf is changed",
            "danger",
        ),
        (
            "overruled",
            "sshd goes by `trustedusercakeys /etc/ssh/other_ca.pub`",
            "danger",
        ),
    ] {
        let found = finding(&check, code, words)?;
        ensure!(
            found["gravity"] == gravity && found["repairable"] == true,
            "{found:#}"
        );
        for text in ["meaning", "remedy"] {
            ensure!(
                !found[text].as_str().unwrap_or_default().is_empty(),
                "{found:#}"
            );
        }
    }
    ensure!(
        !codes(&check, &WRONG).contains(&"planted-key".to_owned()),
        "sshd does not read it: {check:#}"
    );
    // It is kept, and seen without asking the machine again.
    let listed = scene.company.ca_json(&["machine", "show", "web-1"])?;
    ensure!(
        listed["check"]["findings"] == check["findings"],
        "{listed:#}"
    );
    let ledger = scene
        .company
        .ca_ok(&["audit", "list", "--about", "web-1"])?;
    ensure!(ledger.contains("machine_drifted"), "{ledger}");

    let (exit, check) = scene.check(&["--repair"])?;
    ensure!(
        exit == 0 && codes(&check, &WRONG).is_empty(),
        "exit {exit}: {check:#}"
    );
    let repaired = check["repaired"].as_array().map_or(0, Vec::len);
    ensure!(
        repaired >= 13,
        "only {repaired} are told as repaired: {check:#}"
    );
    scene.alice.home.agent()?;
    scene.alice.login()?;
    let output = scene
        .alice
        .ssh(&["web-1", "id -un; sudo -n true || echo no root"])?;
    ensure!(
        output.stdout == b"alice\nno root\n",
        "{}",
        e2e::said(&output)
    );
    Ok(())
}

#[test]
fn what_only_a_person_can_mend_is_told_with_its_place() -> Result<()> {
    let Some(scene) = Scene::new("what_only_a_person_can_mend_is_told_with_its_place")? else {
        return Ok(());
    };
    scene.sh("printf '# ours\\nAuthorizedPrincipalsFile /tmp/%%u\\nAllowUsers ssh-admin ssh-ca-*\\n' >/etc/ssh/sshd_config.d/00-aaa.conf")?;
    scene.sh("printf 'Match User alice\\n AuthorizedKeysFile .ssh/authorized_keys\\n' >>/etc/ssh/sshd_config.d/00-aaa.conf")?;
    scene.sh("printf 'Match Address 192.0.2.0/24\\n PasswordAuthentication yes\\nMatch all\\n' >>/etc/ssh/sshd_config.d/00-aaa.conf")?;
    scene.sh("install -d -o alice -m 700 /home/alice/.ssh; cp /home/ubuntu/.ssh/authorized_keys /home/alice/.ssh/; chown alice /home/alice/.ssh/*")?;
    scene.sh("echo 'alice,bob ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/zz-site; chmod 440 /etc/sudoers.d/zz-site")?;
    scene.sh("echo 'ubuntu ALL=(root) NOPASSWD: /bin/ls' >/etc/sudoers.d/yy-site; chmod 440 /etc/sudoers.d/yy-site")?;
    scene.sh("useradd -o -u 0 -g 0 -M toor; usermod -e 1 ssh-admin")?;
    let (exit, check) = scene.check(&[])?;
    ensure!(exit == 1, "exit {exit}: {check:#}");
    for (code, words, gravity) in [
        (
            "overruled",
            "for every account sshd goes by `authorizedprincipalsfile /tmp/%u` instead of `authorizedprincipalsfile \
             /etc/ssh/ca/principals/%u` (/etc/ssh/sshd_config.d/00-aaa.conf, line 2)",
            "danger",
        ),
        (
            "shut-out",
            "AllowUsers turns alice away (/etc/ssh/sshd_config.d/00-aaa.conf, line 3)",
            "warning",
        ),
        (
            "overruled",
            "for alice sshd goes by `authorizedkeysfile .ssh/authorized_keys`",
            "danger",
        ),
        (
            "planted-key",
            "a static key opens alice: /home/alice/.ssh/authorized_keys line 1",
            "danger",
        ),
        (
            "sudo-beyond-grant",
            "/etc/sudoers.d/zz-site, line 1, gives alice",
            "danger",
        ),
        (
            "sudo-rule",
            "/etc/sudoers.d/yy-site, line 1: ubuntu",
            "notice",
        ),
        ("second-root", "toor", "danger"),
        ("own-door", "ssh-admin is expired", "danger"),
        ("match-elsewhere", "192.0.2.0/24", "notice"),
    ] {
        let found = finding(&check, code, words)?;
        ensure!(
            found["gravity"] == gravity && found["repairable"] == false,
            "{found:#}"
        );
    }
    // Nobody is told that ssh-ca-sync is shut out: the pattern lets it in, and it is what answered.
    let shut = check["findings"].as_array().into_iter().flatten();
    let shut = shut.filter(|finding| finding["code"] == "shut-out").count();
    ensure!(shut == 1, "{check:#}");
    // The planted key is not only found: sshd really takes it, or the finding would be noise.
    scene.sh("sed -i '/^AllowUsers/d' /etc/ssh/sshd_config.d/00-aaa.conf")?;
    scene.web.reload_sshd()?;
    ensure!(
        scene.ops_enters(&scene.web, "alice")?,
        "the planted key does not open alice's account"
    );
    scene.sh("rm /etc/ssh/sshd_config.d/00-aaa.conf; rm /etc/sudoers.d/zz-site; sed -i /^toor:/d /etc/passwd /etc/shadow; usermod -e '' ssh-admin")?;
    scene.web.reload_sshd()?;
    let (exit, check) = scene.check(&[])?;
    ensure!(
        exit == 0 && codes(&check, &WRONG).is_empty(),
        "exit {exit}: {check:#}"
    );
    ensure!(
        !scene.ops_enters(&scene.web, "alice")?,
        "the planted key still opens alice's account"
    );

    // H7: another host key, and nothing is sent there.
    scene.sh("ssh-keygen -q -t ed25519 -N '' -f /run/new; mv /run/new /etc/ssh/ssh_host_ed25519_key; mv /run/new.pub /etc/ssh/ssh_host_ed25519_key.pub")?;
    let (exit, check) = scene.check(&[])?;
    finding(&check, "host-key-changed", "another host key")?;
    ensure!(
        exit == 3 && check["reached"] == false,
        "exit {exit}: {check:#}"
    );
    Ok(())
}

#[test]
fn a_schedule_looks_at_machines_by_itself_also_at_those_that_do_not_answer() -> Result<()> {
    let name = "a_schedule_looks_at_machines_by_itself_also_at_those_that_do_not_answer";
    let Some(mut scene) = Scene::new(name)? else {
        return Ok(());
    };
    let config = scene.company.data().join("config.toml");
    let text = fs::read_to_string(&config)?;
    ensure!(
        text.contains("every = \"1d\""),
        "the default is a day: {text}"
    );
    fs::write(&config, text.replace("every = \"1d\"", "every = \"1s\""))?;
    scene.company.kill()?;
    scene.company.start()?;
    scene.sh("echo 'alice ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/zz-site")?;
    let shown = |code: &str| -> Result<bool> {
        let view = scene.company.ca_json(&["machine", "show", "web-1"])?;
        Ok(codes(&view["check"], &WRONG).contains(&code.to_owned()))
    };
    poll("the scheduled check-up", || shown("sudo-beyond-grant"))?;
    scene.web.power_off()?;
    poll("the look at a machine that is off", || shown("not-reached"))?;
    let list = scene.company.ca_ok(&["machine", "list"])?;
    ensure!(list.contains("not reached"), "{list}");
    let (exit, check) = scene.check(&[])?;
    ensure!(
        exit == 3 && check["reached"] == false,
        "exit {exit}: {check:#}"
    );
    Ok(())
}
