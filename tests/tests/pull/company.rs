//! A whole CA, and machines that fetch: one that it does not reach at all, and one whose tree outlives a CA that is down.

use std::{collections::BTreeMap, fs, path::Path, process::Output};

use anyhow::{Context, Result, ensure};
use ca_machine::Report;
use e2e::{Company, Fleet, Home, Machine, Person, poll, said};
use serde_json::Value;

use crate::web::Web;

/// A CA whose machines fetch each minute.
fn company(fleet: &Fleet) -> Result<Company> {
    let mut company = Company::new(fleet)?;
    company.kill()?;
    let config = company.data().join("config.toml");
    let text = fs::read_to_string(&config)?
        .replace("every_minutes = 2", "every_minutes = 1")
        .replace("timeout_secs = 60", "timeout_secs = 20");
    ensure!(text.contains("every_minutes = 1"), "{text}");
    fs::write(&config, text)?;
    company.start()?;
    company.ca_ok(&["pool", "add", "web"])?;
    Ok(company)
}

fn add(company: &Company, admin: &Home, machine: &Machine, words: &[&str]) -> Result<String> {
    let key = machine.host_key()?;
    let output = company
        .bootstrap_command(admin)
        .args([
            "add-machine",
            machine.name(),
            "--pool",
            "web",
            "--yes",
            "--host-key",
            &key,
        ])
        .args(words)
        .output()?;
    e2e::success("bootstrap add-machine", &output)?;
    Ok(said(&output))
}

fn pull(machine: &Machine) -> Result<Report> {
    let output = machine.exec(&["/var/lib/ssh-ca/puller", "now"])?;
    Report::parse(&output.stdout).with_context(|| format!("{output:?}"))
}

fn view(company: &Company, machine: &str) -> Result<Value> {
    company.ca_json(&["machine", "show", machine])
}

fn is_current(view: &Value) -> bool {
    view["krl_version"] == view["krl_wanted"]
        && view["generation"] == view["generation_wanted"]
        && view["trouble"] == ""
}

/// ssh with her certificate to where the machine really is.
fn ssh(person: &Person, machine: &Machine) -> Result<Output> {
    let address = format!("HostName={}", machine.addr());
    person.ssh(&[
        "-o",
        &address,
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "BatchMode=yes",
        machine.name(),
        "id -un",
    ])
}

#[test]
fn r1_a_machine_that_the_ca_does_not_reach_fetches_from_it_and_proves_a_revocation() -> Result<()> {
    let Some(fleet) = Fleet::for_test(
        "r1_a_machine_that_the_ca_does_not_reach_fetches_from_it_and_proves_a_revocation",
    ) else {
        return Ok(());
    };
    let company = company(&fleet)?;
    let mut alice = company.hire("alice@corp.example", &["--pool", "web"])?;
    let admin = fleet.home("admin")?;
    let web = fleet
        .machine("web-1")
        .admin_key(&admin.public_key()?)
        .start()?;
    // Only by a jump is it reached, and the CA jumps nowhere.
    let known = format!("{} {}\n", web.addr(), web.host_key()?);
    fs::write(admin.ssh_path("known_hosts"), known)?;
    let jump = format!("ssh-admin@{}", web.addr());
    let told = add(
        &company,
        &admin,
        &web,
        &["--address", "127.0.0.1", "--jump", &jump, "--pull"],
    )?;
    ensure!(told.contains("the CA does not log in there"), "{told}");
    ensure!(
        told.contains("it fetches for itself, and has reported to the CA"),
        "{told}"
    );
    let seen = view(&company, "web-1")?;
    // The admin's own logins began before sessions were recorded there, and may stand open when it first reports: that is its trouble, if any.
    ensure!(
        seen["pull"]["reach"] == "pull only"
            && seen["krl_version"] == seen["krl_wanted"]
            && seen["generation"] == seen["generation_wanted"],
        "{seen:#}"
    );
    // Long before the next report would be due.
    poll("the admin's own login to be no trouble any more", || {
        crate::bench::done(pull(&web)?)?;
        Ok(view(&company, "web-1")?["trouble"] == "")
    })?;

    alice.home.agent()?;
    alice.login()?;
    let entered = ssh(&alice, &web)?;
    ensure!(
        entered.status.success() && said(&entered).contains("alice"),
        "{}",
        said(&entered)
    );
    let revoked = company.ca(&[
        "krl",
        "revoke",
        "alice@corp.example",
        "--reason",
        "laptop stolen",
    ])?;
    ensure!(
        revoked.status.code() == Some(3),
        "nothing is proven yet: {}",
        said(&revoked)
    );
    ensure!(
        said(&revoked).contains("fetches for itself"),
        "{}",
        said(&revoked)
    );
    // Its own timer, and its own word.
    poll("the machine to prove the revocation", || {
        Ok(company.ca(&["krl", "show"])?.status.success())
    })?;
    let refused = ssh(&alice, &web)?;
    ensure!(
        refused.status.code() == Some(255) && said(&refused).contains("Permission denied"),
        "{}\n{}",
        said(&refused),
        web.sshd_log()
    );

    // The other tool, over the same pinned TLS; and nothing over any other.
    web.run(&["rm", "/usr/bin/curl"])?;
    company.ca_ok(&["employee", "add", "bob@corp.example", "--pool", "web"])?;
    poll("bob's account to come", || {
        crate::bench::done(pull(&web)?)?;
        Ok(web.exec(&["id", "-u", "bob"])?.status.success())
    })?;
    poll("the machine to be as wanted", || {
        Ok(is_current(&view(&company, "web-1")?))
    })?;
    web.run(&["cp", "/var/lib/ssh-ca/pull-ca.pem", "/root/pull-ca.pem"])?;
    web.run(&["sh", "-c", "cp /etc/ssl/certs/ca-certificates.crt /var/lib/ssh-ca/pull-ca.pem || : >/var/lib/ssh-ca/pull-ca.pem"])?;
    let report = pull(&web)?;
    ensure!(
        report
            .refusal()
            .is_some_and(|(code, _)| code == "not-fetched"),
        "another CA's TLS is believed: {report:?}"
    );
    web.run(&["cp", "/root/pull-ca.pem", "/var/lib/ssh-ca/pull-ca.pem"])?;

    // Nobody logs in to take the CA off: its own timer fetches the order, and its last report is what the CA believes.
    let waits = company.ca(&["machine", "remove", "web-1", "--yes"])?;
    ensure!(
        waits.status.code() == Some(3) && said(&waits).contains("next fetch"),
        "{}",
        said(&waits)
    );
    poll("the CA to hear that it is off", || {
        Ok(!company.ca(&["machine", "show", "web-1"])?.status.success())
    })?;
    poll("the last of it to go", || {
        let left = web.exec(&[
            "sh",
            "-c",
            "ls -d /etc/ssh/ca /var/lib/ssh-ca/p* /var/lib/ssh-ca/removing /etc/cron.d/ssh-ca-*",
        ])?;
        Ok(left.stdout.is_empty())
    })
}

/// Puts what stands in a folder into the web server's tree.
fn serve(web: &Web, folder: &Path) -> Result<()> {
    for place in fs::read_dir(folder.join("v1"))? {
        let place = place?;
        for file in fs::read_dir(place.path())? {
            let file = file?;
            let name = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
            web.put_file(
                &name(place.file_name()),
                &name(file.file_name()),
                fs::read(file.path())?,
            );
        }
    }
    Ok(())
}

#[test]
fn z6_what_was_published_still_arrives_when_the_ca_is_down() -> Result<()> {
    let Some(fleet) = Fleet::for_test("z6_what_was_published_still_arrives_when_the_ca_is_down")
    else {
        return Ok(());
    };
    let mut company = company(&fleet)?;
    let admin = fleet.home("admin")?;
    let machine = fleet
        .machine("web-1")
        .admin_key(&admin.public_key()?)
        .start()?;
    let (web, tree) = (Web::start(&fleet)?, fleet.folder().join("tree"));
    let address = machine.addr().to_string();
    let told = add(
        &company,
        &admin,
        &machine,
        &["--address", &address, "--pull", &web.url()],
    )?;
    // Nothing is published yet: told, and no reason to stop.
    ensure!(told.contains("its timer goes on trying"), "{told}");
    ensure!(view(&company, "web-1")?["pull"]["reach"] == "push too");
    machine.power_off()?;
    company.ca_ok(&["employee", "add", "carol@corp.example", "--pool", "web"])?;
    let key = format!("SHA256:{}", "A".repeat(43));
    let revoked = company.ca(&["krl", "revoke", "--key", &key])?;
    ensure!(revoked.status.code() == Some(3), "{}", said(&revoked));
    let wanted = view(&company, "web-1")?;
    let folder = tree.to_string_lossy().into_owned();
    let written = |company: &Company| -> Result<BTreeMap<String, usize>> {
        let told = company.ca_json(&["publish", &folder])?;
        let machines = told["machines"].as_array().context("a list of machines")?;
        let count = |one: &Value| one["written"].as_array().map_or(0, Vec::len);
        Ok(machines
            .iter()
            .map(|one| {
                (
                    one["machine"].as_str().unwrap_or_default().to_owned(),
                    count(one),
                )
            })
            .collect())
    };
    ensure!(written(&company)? == BTreeMap::from([("web-1".to_owned(), 5)]));
    ensure!(
        written(&company)? == BTreeMap::from([("web-1".to_owned(), 0)]),
        "nothing is written twice"
    );
    serve(&web, &tree)?;
    ensure!(
        !web.says("corp.example"),
        "a reader of the place sees a name"
    );
    company.kill()?;
    machine.power_on()?;
    crate::bench::done(pull(&machine)?)?;
    let krl = machine.run(&["ssh-keygen", "-Q", "-l", "-f", "/etc/ssh/ca/revoked.krl"])?;
    ensure!(
        krl.stdout
            .contains(&format!("# KRL version {}\n", wanted["krl_wanted"])),
        "{}",
        krl.stdout
    );
    ensure!(
        machine.exec(&["id", "-u", "carol"])?.status.success(),
        "the account came without the CA"
    );
    // When it is back, both ways agree.
    company.start()?;
    poll("the CA to see it as wanted", || {
        Ok(is_current(&view(&company, "web-1")?))
    })?;
    // The machine may go, though nobody reaches it: the order lies in the tree, and arrives while the CA is down.
    machine.power_off()?;
    let waits = company.ca(&["machine", "remove", "web-1", "--yes"])?;
    ensure!(waits.status.code() == Some(3), "{}", said(&waits));
    ensure!(view(&company, "web-1")?["pull"]["order"]["verb"] == "remove");
    ensure!(written(&company)?["web-1"] > 0, "the order is published");
    serve(&web, &tree)?;
    company.kill()?;
    machine.power_on()?;
    // Or its own timer was quicker.
    drop(pull(&machine));
    poll("the CA to be off the machine", || {
        Ok(machine
            .exec(&["test", "-e", "/var/lib/ssh-ca/removing/off"])?
            .status
            .success())
    })?;
    // A power cut before anybody heard of it; then its own timer says so, over the nonce of a CA that is back.
    machine.power_off()?;
    machine.power_on()?;
    company.start()?;
    poll("the CA to hear of it", || {
        Ok(!company.ca(&["machine", "show", "web-1"])?.status.success())
    })?;
    poll("the last of it to go", || {
        let left = machine.exec(&[
            "sh",
            "-c",
            "ls -d /var/lib/ssh-ca/removing /etc/cron.d/ssh-ca-*",
        ])?;
        Ok(left.stdout.is_empty())
    })?;
    ensure!(written(&company)?.is_empty());
    ensure!(
        fs::read_dir(tree.join("v1"))?.next().is_none(),
        "its folder is removed"
    );
    Ok(())
}
