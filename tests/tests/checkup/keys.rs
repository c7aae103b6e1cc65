//! From static keys to certificates: observe, enforce, and back.

use anyhow::{Context, Result, ensure};
use e2e::{said, success};
use serde_json::Value;

use crate::scene::{Scene, codes, poll};

fn key<'a>(machine: &'a Value, account: &str, file: &str) -> Result<&'a Value> {
    let found = machine["keys"].as_array().and_then(|keys| {
        keys.iter().find(|key| {
            key["account"] == account
                && key["file"]
                    .as_str()
                    .is_some_and(|held| held.ends_with(file))
        })
    });
    found.with_context(|| format!("no key of {account} in {file}: {machine:#}"))
}

#[test]
fn static_keys_are_listed_ended_and_brought_back() -> Result<()> {
    let Some(mut scene) = Scene::new("static_keys_are_listed_ended_and_brought_back")? else {
        return Ok(());
    };
    let hers = scene.alice_key()?;
    let keys = || -> Result<Value> {
        let all = scene.company.ca_json(&["check", "--keys"])?;
        Ok(all[0].clone())
    };
    // sshd logs to a file of its own here: no log that says when.
    let listed = keys()?;
    ensure!(
        listed["logs"].as_array().is_some_and(Vec::is_empty),
        "{listed:#}"
    );
    let ubuntu = key(&listed, "ubuntu", "authorized_keys")?;
    ensure!(
        ubuntu["comment"] == "ops laptop"
            && ubuntu["state"] == "opens"
            && ubuntu["door"] == "other"
            && ubuntu["last_used_unix"].is_null(),
        "{ubuntu:#}"
    );
    let printed = scene
        .ops
        .command("ssh-keygen")
        .args(["-lf", "/root/.ssh/id_ed25519.pub"])
        .output()?;
    ensure!(
        said(&printed).contains(ubuntu["fingerprint"].as_str().context("a fingerprint")?),
        "{ubuntu:#} is not {}",
        said(&printed)
    );
    ensure!(
        key(&listed, "ssh-admin", "authorized_keys")?["door"] == "admin",
        "{listed:#}"
    );
    ensure!(
        key(&listed, "ssh-ca-sync", "sync_authorized_keys")?["door"] == "ca",
        "{listed:#}"
    );
    let text = scene.company.ca_ok(&["check", "--keys"])?;
    ensure!(text.contains("no log"), "{text}");

    // The same sshd with its words in a log as syslog writes it; keys with options, in the second file, in a file that sshd does not heed.
    scene.sh(
        "kill $(cat /run/sshd.pid); mkdir -p /var/log; ( /usr/sbin/sshd -D -e 2>&1 | while read -r l; do \
         echo \"$(date '+%b %e %H:%M:%S') web-1 sshd[77]: $(echo \"$l\" | tr -d '\\r')\" >>/var/log/auth.log; done ) >/dev/null 2>&1 </dev/null &",
    )?;
    poll("the login that is logged", || {
        Ok(scene.ops_enters(&scene.web, "ubuntu").unwrap_or(false))
    })?;
    poll("the log of it", || {
        let log = scene.web.exec(&[
            "grep",
            "-q",
            "Accepted publickey for ubuntu",
            "/var/log/auth.log",
        ])?;
        Ok(log.status.success())
    })?;
    scene.sh("printf 'command=\"echo a b\",from=\"10.77.0.0/16\" %s\\n' \"$(cat /home/ubuntu/.ssh/authorized_keys)\" >/home/ubuntu/.ssh/authorized_keys2; chown ubuntu: /home/ubuntu/.ssh/*")?;
    scene.sh("useradd -m loose; install -d -o loose -m 700 /home/loose/.ssh; cp /home/ubuntu/.ssh/authorized_keys /home/loose/.ssh/; chown loose: /home/loose/.ssh/*; chmod 666 /home/loose/.ssh/authorized_keys")?;
    let listed = keys()?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let used = key(&listed, "ubuntu", "authorized_keys")?["last_used_unix"].as_u64();
    ensure!(
        used.is_some_and(|used| used.abs_diff(now) < 600),
        "last used {used:?}, now {now}: {listed:#}"
    );
    let log = &listed["logs"][0];
    ensure!(
        log["source"] == "/var/log/auth.log" && log["since_unix"].is_i64(),
        "{listed:#}"
    );
    let second = key(&listed, "ubuntu", "authorized_keys2")?;
    ensure!(
        second["options"]
            .as_str()
            .is_some_and(|options| options.contains("command=\"echo a b\"")),
        "{second:#}"
    );
    let loose = key(&listed, "loose", "authorized_keys")?;
    ensure!(loose["state"] == "not heeded", "{loose:#}");
    ensure!(
        !scene.ops_enters(&scene.web, "loose")?,
        "sshd heeds what the list says it does not"
    );
    // The one that the CA knows: alice's own key, which somebody also wrote into a file.
    scene.web.write_file(
        "/home/loose/.ssh/authorized_keys",
        format!("{hers}\n").as_bytes(),
    )?;
    let listed = keys()?;
    ensure!(
        key(&listed, "loose", "authorized_keys")?["employee"] == "alice@corp.example",
        "{listed:#}"
    );

    // Enforced, for the whole pool: nobody but the CA's certificates and the admins.
    success(
        "enforce",
        &scene
            .company
            .ca(&["machine", "enforce", "--pool", "web-server"])?,
    )?;
    poll("the end of the static key", || {
        Ok(!scene.ops_enters(&scene.web, "ubuntu")?)
    })?;
    ensure!(scene.admin_enters(&scene.web)?, "the admins are shut out");
    let output = scene.alice.ssh(&["web-1", "id -un"])?;
    ensure!(output.stdout == b"alice\n", "{}", said(&output));
    success("sync", &scene.company.ca(&["sync"])?)?;
    let (exit, check) = scene.check(&[])?;
    ensure!(exit == 0, "exit {exit}: {check:#}");
    ensure!(
        !codes(&check, &["notice"]).contains(&"static-key".to_owned()),
        "{check:#}"
    );
    let listed = keys()?;
    ensure!(
        key(&listed, "ubuntu", "authorized_keys").is_err(),
        "{listed:#}"
    );

    // And back.
    success(
        "observe",
        &scene.company.ca(&["machine", "observe", "web-1"])?,
    )?;
    poll("the static key again", || {
        scene.ops_enters(&scene.web, "ubuntu")
    })?;
    Ok(())
}
