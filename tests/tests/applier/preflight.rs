//! The look at a machine before anything is changed.

use anyhow::{Result, ensure};
use ca_machine::{Connection, Limits, Preflight, PreflightRequest};

use crate::bench::{Bench, now_unix};

fn look(bench: &Bench) -> Result<Preflight> {
    let request = PreflightRequest {
        admin: "ssh-admin".parse()?,
        accounts: vec![
            ("alice".parse()?, Some(61001)),
            ("deploy".parse()?, Some(61002)),
        ],
        now_unix: i64::try_from(now_unix())?,
        port: 22,
        pull: None,
    };
    let target = bench.admin_target()?;
    bench.run(async || {
        let connection = Connection::open(&target, Limits::default()).await?;
        let privilege = connection.privilege(None).await?;
        Ok(connection.preflight(&request, &privilege).await?)
    })
}

#[test]
fn h2_a_stock_machine_has_no_obstacle() -> Result<()> {
    let bench = bench!("h2_a_stock_machine_has_no_obstacle");
    let found = look(&bench)?;
    ensure!(found.obstacles.is_empty(), "{:#?}", found.obstacles);
    let facts = &found.facts;
    ensure!(
        facts.timer == "cron" && facts.sudo == "sudo" && facts.ports == [22],
        "{facts:?}"
    );
    ensure!(facts.openssh_version().is_some(), "{facts:?}");
    let shown: ssh_key::PublicKey = bench.machine.host_key()?.parse()?;
    ensure!(
        facts
            .host_keys()
            .any(|key| key.key_data() == shown.key_data()),
        "{facts:?}"
    );
    Ok(())
}

#[test]
fn h3_each_obstacle_is_named_with_file_and_line_and_nothing_is_changed() -> Result<()> {
    let bench = bench!(
        "h3_each_obstacle_is_named_with_file_and_line_and_nothing_is_changed",
        |spec| {
            spec.sshd_config(
        "# the site's own\nAllowUsers ssh-admin\nTrustedUserCAKeys /etc/ssh/old_ca.pub\nAuthenticationMethods publickey publickey,password\n"
    )
        }
    );
    bench.machine.write_file(
        "/etc/ssh/old_ca.pub",
        bench.ca.user_ca.public_key().to_openssh()?.as_bytes(),
    )?;
    bench.machine.run(&["useradd", "-u", "1500", "alice"])?;
    bench.machine.run(&["useradd", "-u", "61002", "somebody"])?;
    bench
        .machine
        .run(&["sed", "-i", "1i # Ansible managed", "/etc/ssh/sshd_config"])?;
    let everything = "find / -xdev -newer /run/mark -type f ! -path '/proc/*' ! -path '/var/log/*' ! -path '/run/*' ! -path '/sys/*' ! -path '/dev/*'";
    bench.machine.run(&["touch", "/run/mark"])?;
    let found = look(&bench)?;
    let at = |code: &str| {
        found
            .obstacles
            .iter()
            .find(|obstacle| obstacle.code == code)
            .map(|o| (o.file.as_str(), o.line))
    };
    let site = "/etc/ssh/sshd_config.d/50-site.conf";
    ensure!(at("allow-users") == Some((site, 2)), "{found:#?}");
    ensure!(at("foreign-ca") == Some((site, 3)), "{found:#?}");
    ensure!(
        at("authentication-methods") == Some((site, 4)),
        "{found:#?}"
    );
    ensure!(
        at("config-management") == Some(("/etc/ssh/sshd_config", 1)),
        "{found:#?}"
    );
    ensure!(
        at("account-exists").is_some_and(|(file, line)| file == "/etc/passwd" && line > 0),
        "{found:#?}"
    );
    ensure!(at("uid-taken").is_some(), "{found:#?}");
    ensure!(
        found
            .obstacles
            .iter()
            .all(|obstacle| !obstacle.remedy.is_empty())
    );
    let touched = bench.machine.run(&["sh", "-c", everything])?.stdout;
    ensure!(touched.is_empty(), "{touched}");
    Ok(())
}

#[test]
fn h3_a_machine_that_could_not_undo_a_change_is_an_obstacle() -> Result<()> {
    let bench = bench!("h3_a_machine_that_could_not_undo_a_change_is_an_obstacle");
    bench.machine.run(&["sh", "-c", "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" != /usr/sbin/cron ] || kill -9 ${p#/proc/}; done"])?;
    bench.machine.fill_disk()?;
    let found = look(&bench)?;
    let codes: Vec<&str> = found
        .obstacles
        .iter()
        .map(|obstacle| obstacle.code.as_str())
        .collect();
    ensure!(
        codes.contains(&"no-timer") && codes.contains(&"full-disk"),
        "{found:#?}"
    );
    Ok(())
}
