//! The server's TLS CA is replaced while it serves, then given up: employees and a machine that fetches go on, and who was away is told what to do.

use std::{fs, process::Output};

use anyhow::{Context, Result, ensure};
use ca_machine::Report;
use e2e::{Company, Home, Machine, Person, said, success};

use crate::scene::{assert_runs, client, poll, scene};

/// Runs the puller now; what it says.
fn fetches(machine: &Machine) -> Result<Report> {
    let output = machine.exec(&["/var/lib/ssh-ca/puller", "now"])?;
    Report::parse(&output.stdout).with_context(|| format!("{output:?}"))
}

/// Runs it until it has nothing to complain of: its own timer may be at work, and the admin's login may stand open for a while.
fn fetches_well(machine: &Machine, what: &str) -> Result<()> {
    let mut last = String::new();
    poll(what, || {
        let report = fetches(machine)?;
        last = format!("{:?}", report.refusal());
        Ok(report.refusal().is_none())
    })
    .with_context(|| last)
}

fn bootstrap(company: &Company, admin: &Home, machine: &Machine) -> Result<()> {
    let (key, jump) = (machine.host_key()?, format!("ssh-admin@{}", machine.addr()));
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
        // The CA jumps nowhere: it does not reach it.
        .args(["--address", "127.0.0.1", "--jump", &jump, "--pull"])
        .output()?;
    success("bootstrap add-machine --pull", &output)
}

fn pinned(person: &Person) -> Result<String> {
    Ok(fs::read_to_string(
        person.home.path().join(".config/ssh-ca/ca.pem"),
    )?)
}

/// The TLS CA of this generation, as the server keeps it.
fn tls_ca(company: &Company, file: &str) -> Result<String> {
    Ok(fs::read_to_string(company.data().join("tls").join(file))?.replace('\r', ""))
}

fn ends(output: &Output, code: i32, says: &str) -> Result<()> {
    ensure!(
        output.status.code() == Some(code) && said(output).contains(says),
        "{says:?}, {code}: {}",
        said(output)
    );
    Ok(())
}

/// Does what the admin's command said everybody has to do.
fn sets_up(person: &Person, told: &Output) -> Result<()> {
    let text = said(told);
    let at = text
        .find("ca-client setup ")
        .with_context(|| text.clone())?;
    let words: Vec<&str> = text[at..].split_whitespace().take(5).collect();
    success("ca-client setup", &client(&person.home, &words[1..])?)
}

#[test]
fn c2_the_tls_ca_is_replaced_and_given_up_under_employees_and_a_machine_that_fetches() -> Result<()>
{
    let fleet =
        fleet!("c2_the_tls_ca_is_replaced_and_given_up_under_employees_and_a_machine_that_fetches");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web")], |company| {
        ["nia@corp.example", "bob@corp.example"]
            .into_iter()
            .map(|email| company.hire(email, &["--pool", "web"]))
            .collect()
    })?;
    let company = &scene.company;
    let (mut bob, mut nia) = (people.remove(1), people.remove(0));
    let admin = fleet.home("puller-admin")?;
    let far = fleet
        .machine("web-9")
        .admin_key(&admin.public_key()?)
        .start()?;
    let known = format!("{} {}\n", far.addr(), far.host_key()?);
    fs::write(admin.ssh_path("known_hosts"), known)?;
    bootstrap(company, &admin, &far)?;
    nia.home.agent()?;
    nia.login()?;
    bob.home.agent()?;
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;

    // The server shows the next one from now on. It has to be known to the machine that only fetches before the old one may go.
    ends(&company.ca(&["ca", "rotate", "tls"])?, 3, "web-9")?;
    ensure!(pinned(&nia)?.trim() == tls_ca(company, "ca.pem")?.trim());
    success("renew", &client(&nia.home, &["renew"])?)?;
    ensure!(
        pinned(&nia)?.trim() == tls_ca(company, "ca.2.pem")?.trim(),
        "she learned it"
    );
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;
    let early = company.ca(&["ca", "retire", "tls"])?;
    if early.status.code() != Some(0) {
        // Unless its own timer was faster.
        ends(&early, 3, "nothing was retired yet: web-9")?;
        fetches_well(
            &far,
            "web-9 to fetch over a server that shows the next TLS CA",
        )?;
        poll("the old TLS CA to be retired", || {
            Ok(company.ca(&["ca", "retire", "tls"])?.status.success())
        })?;
    }
    ensure!(
        !company.data().join("tls/ca.key").exists(),
        "its key is deleted"
    );
    // With the other tool.
    far.run(&["rm", "/usr/bin/curl"])?;
    fetches_well(&far, "web-9 to fetch after the old TLS CA was retired")?;
    success("renew", &client(&nia.home, &["renew"])?)?;
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;
    // He was away all the time.
    let away = bob.try_login(&[])?;
    ensure!(
        !away.status.success() && said(&away).contains("ca-client setup"),
        "{}",
        said(&away)
    );

    // Somebody else has the key: nobody believes the next one by its word.
    let told = company.ca(&["ca", "compromise", "tls", "--yes"])?;
    ends(&told, 0, "bootstrap add-machine")?;
    let refused = client(&nia.home, &["renew"])?;
    ensure!(
        !refused.status.success() && said(&refused).contains("ca-client setup"),
        "{}",
        said(&refused)
    );
    let refused = fetches(&far)?;
    ensure!(
        refused
            .refusal()
            .is_some_and(|(code, _)| code == "not-fetched"),
        "{refused:?}"
    );
    for person in [&mut nia, &mut bob] {
        sets_up(person, &told)?;
        person.login()?;
        let name = person
            .email
            .split('@')
            .next()
            .unwrap_or_default()
            .to_owned();
        assert_runs(person, &["web-1", "id -un"], &name)?;
    }
    bootstrap(company, &admin, &far)?;
    fetches_well(&far, "web-9 to fetch again")?;
    company.ca_ok(&["audit", "verify"])?;
    Ok(())
}
