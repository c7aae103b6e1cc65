//! Two condition sets are two certificates, and ssh takes the right one by itself.

use anyhow::{Context, Result, ensure};
use e2e::{said, success};

use crate::scene::{assert_denied, assert_runs, client, json, poll, scene, ssh};

#[test]
fn p8_each_condition_set_has_a_certificate_of_its_own_and_ssh_takes_the_right_one() -> Result<()> {
    let fleet =
        fleet!("p8_each_condition_set_has_a_certificate_of_its_own_and_ssh_takes_the_right_one");
    let machines = [("web-1", "web-server"), ("db-1", "database")];
    let (scene, mut people) = scene(&fleet, &machines, |company| {
        let sam = company.hire("sam@corp.example", &["--pool", "web-server"])?;
        let grant = ["grant", "add", "--employee", "sam@corp.example", "--pool"];
        company.ca_ok(&[&grant[..], &["database", "--source", "10.77.0.0/24"]].concat())?;
        company.ca_ok(
            &[
                &grant[..],
                &[
                    "web-server",
                    "--account",
                    "deploy",
                    "--command",
                    "echo deployed",
                ],
            ]
            .concat(),
        )?;
        Ok(vec![sam])
    })?;
    let company = &scene.company;
    let sam = &mut people[0];
    sam.home.agent()?;
    sam.login()?;
    let facts = json(&client(&sam.home, &["status", "--json"])?)?;
    let certificates = facts["certificates"]
        .as_array()
        .context(facts.to_string())?;
    ensure!(
        certificates.len() == 3,
        "expected three condition sets: {facts}"
    );

    // By host and by user; the forced command is on one of them only.
    assert_runs(sam, &["web-1", "id -un"], "sam")?;
    assert_runs(sam, &["db-1", "id -un; hostname"], "sam\ndb-1")?;
    assert_runs(sam, &["deploy@web-1", "id -un"], "deployed")?;
    assert_denied(&ssh(sam, &["-o", "BatchMode=yes", "deploy@db-1", "true"])?)?;

    // A source that she is not at: that machine only.
    company.ca_ok(&["grant", "list"])?;
    let grants = company.ca_json(&["grant", "list"])?;
    let id = grants
        .as_array()
        .and_then(|list| {
            list.iter()
                .find(|grant| grant.to_string().contains("database"))
        })
        .and_then(|grant| grant["id"].as_u64())
        .with_context(|| grants.to_string())?;
    company.ca_ok(&["grant", "remove", &id.to_string()])?;
    company.ca_ok(&[
        "grant",
        "add",
        "--employee",
        "sam@corp.example",
        "--pool",
        "database",
        "--source",
        "192.0.2.0/24",
    ])?;
    success("renew", &client(&sam.home, &["renew"])?)?;
    poll("the refusal from elsewhere", || {
        Ok(
            said(&ssh(sam, &["-o", "BatchMode=yes", "db-1", "true"])?)
                .contains("Permission denied"),
        )
    })?;
    assert_runs(sam, &["web-1", "id -un"], "sam")?;
    Ok(())
}
