//! Somebody else has the user CA's key: what it signed opens nothing any more, and people go on with the next one.

use anyhow::{Result, ensure};
use e2e::{Identity, said, success};

use crate::scene::{assert_denied, assert_runs, client, scene};

#[test]
fn a_compromised_user_ca_key_opens_no_machine_and_a_renewal_opens_them_again() -> Result<()> {
    let fleet = fleet!("a_compromised_user_ca_key_opens_no_machine_and_a_renewal_opens_them_again");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web")], |company| {
        Ok(vec![company.hire("nia@corp.example", &["--pool", "web"])?])
    })?;
    let company = &scene.company;
    let mut nia = people.remove(0);
    nia.home.agent()?;
    nia.login()?;
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;

    let asked = company.ca(&["ca", "compromise", "user"])?;
    ensure!(
        asked.status.code() == Some(1),
        "it asks first: {}",
        said(&asked)
    );
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;
    let copy = nia.home.ssh_path("old-cert.pub");
    std::fs::copy(nia.home.ssh_path("ca/cert-0-cert.pub"), copy)?;
    let done = company.ca(&["ca", "compromise", "user", "--yes", "--reason", "copied"])?;
    ensure!(done.status.success(), "{}", said(&done));
    // Her own ssh may have noticed and renewed by itself: what the old key signed is shown as it is.
    assert_denied(&nia.home.ssh_by_hand(
        Identity::with("/root/.ssh/ca/id.pub", "/root/.ssh/old-cert.pub"),
        "nia",
        &scene.machines[0],
        &["true"],
    )?)?;
    success("renew", &client(&nia.home, &["renew"])?)?;
    assert_runs(&nia, &["web-1", "id -un"], "nia")?;

    // A machine that is off accepts the old key until it is back: it is named, and the exit code says so.
    scene.machines[0].power_off()?;
    let missed = company.ca(&["ca", "compromise", "user", "--yes"])?;
    ensure!(missed.status.code() == Some(3), "{}", said(&missed));
    ensure!(
        said(&missed).contains("web-1 NOT REACHED"),
        "{}",
        said(&missed)
    );
    Ok(())
}
