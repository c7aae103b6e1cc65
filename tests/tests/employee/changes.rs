//! The company changes its mind about somebody: revoked and back, suspended, reset, removed; grants that come and go.

use anyhow::{Context, Result, ensure};
use e2e::{Company, Person, said, success};

use crate::scene::{
    assert_denied, assert_fails, assert_runs, client, handed_over, poll, scene, ssh,
};

fn epoch(company: &Company, email: &str) -> Result<u64> {
    let shown = company.ca_json(&["employee", "show", email])?;
    shown["epoch"].as_u64().context(shown.to_string())
}

#[test]
fn p3_revoked_with_her_login_kept_and_suspended_and_resumed() -> Result<()> {
    let fleet = fleet!("p3_revoked_with_her_login_kept_and_suspended_and_resumed");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("olga@corp.example", &["--pool", "web-server"])?,
            company.hire("pete@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let company = &scene.company;
    let mut pete = people.remove(1);
    let mut olga = people.remove(0);
    for person in [&mut olga, &mut pete] {
        person.home.agent()?;
        person.login()?;
        assert_runs(person, &["web-1", "true"], "")?;
    }

    // A lost laptop whose password and TOTP are safe.
    let before = epoch(company, &olga.email)?;
    company.ca_ok(&[
        "krl",
        "revoke",
        &olga.email,
        "--keep-login",
        "--reason",
        "laptop lost",
    ])?;
    assert_denied(&ssh(&olga, &["web-1", "true"])?)?;
    assert_fails(&client(&olga.home, &["renew"])?, 1, &["ca-client login"])?;
    ensure!(
        epoch(company, &olga.email)? > before,
        "the epoch did not rise"
    );
    olga.login()?;
    assert_runs(&olga, &["web-1", "id -un"], "olga")?;

    // Suspended: nothing works, and nothing says why to a stranger (A4).
    company.ca_ok(&["employee", "suspend", &pete.email])?;
    poll("the refusal of a suspended employee", || {
        Ok(said(&ssh(&pete, &["web-1", "true"])?).contains("Permission denied"))
    })?;
    assert_fails(&client(&pete.home, &["renew"])?, 1, &["ca-client login"])?;
    let suspended = pete.try_login(&[])?;
    assert_fails(&suspended, 1, &[])?;
    pete.password.push('x');
    let mistyped = pete.try_login(&[])?;
    pete.password.pop();
    ensure!(
        said(&suspended) == said(&mistyped),
        "suspension shows from outside:\n{}{}",
        said(&suspended),
        said(&mistyped)
    );
    company.ca_ok(&["employee", "resume", &pete.email])?;
    assert_denied(&ssh(&pete, &["web-1", "true"])?)?;
    pete.login()?;
    poll("the login of a resumed employee", || {
        Ok(ssh(&pete, &["web-1", "true"])?.status.success())
    })?;
    // Nobody else felt it.
    assert_runs(&olga, &["web-1", "id -un"], "olga")?;
    Ok(())
}

#[test]
fn a11_p9_a_reset_ends_what_was_and_nobody_gets_the_names_of_somebody_removed() -> Result<()> {
    let fleet =
        fleet!("a11_p9_a_reset_ends_what_was_and_nobody_gets_the_names_of_somebody_removed");
    let (scene, mut people) = scene(&fleet, &[("web-1", "web-server")], |company| {
        Ok(vec![
            company.hire("quin@corp.example", &["--pool", "web-server"])?,
        ])
    })?;
    let company = &scene.company;
    let mut quin = people.remove(0);
    let email = quin.email.clone();
    quin.home.agent()?;
    quin.login()?;
    assert_runs(&quin, &["web-1", "true"], "")?;

    let before = epoch(company, &email)?;
    let line = company.ca_ok(&["employee", "reset", &email])?;
    poll("the refusal after the reset", || {
        Ok(said(&ssh(&quin, &["web-1", "true"])?).contains("Permission denied"))
    })?;
    assert_fails(&client(&quin.home, &["renew"])?, 1, &["ca-client login"])?;
    assert_fails(&quin.try_login(&[])?, 1, &[])?;
    handed_over(&line, "enrol", 1)?;
    let mut quin = company.enrol_again(quin, &line)?;
    let after = epoch(company, &email)?;
    ensure!(after > before, "the epoch did not rise: {before}, {after}");
    quin.login()?;
    poll("ssh after the new enrolment", || {
        Ok(ssh(&quin, &["web-1", "true"])?.status.success())
    })?;

    // Removed: gone at once, and the names are never handed on.
    company.ca_ok(&["employee", "remove", &email, "--yes"])?;
    poll("the refusal of a removed employee", || {
        Ok(said(&ssh(&quin, &["web-1", "true"])?).contains("Permission denied"))
    })?;
    assert_fails(&client(&quin.home, &["renew"])?, 1, &[])?;
    let other = company.ca(&[
        "employee",
        "add",
        "quincy@corp.example",
        "--account",
        "quin",
    ])?;
    assert_fails(&other, 1, &["quin"])?;
    let again = company.ca(&["employee", "add", &email, "--pool", "web-server"])?;
    if again.status.success() {
        // The same person comes back: with an epoch that no old certificate has.
        let line = String::from_utf8_lossy(&again.stdout).into_owned();
        let mut quin = company.enrol_again(quin, &line)?;
        ensure!(epoch(company, &email)? > after, "the epoch started again");
        quin.login()?;
        poll("ssh of somebody who came back", || {
            Ok(ssh(&quin, &["web-1", "true"])?.status.success())
        })?;
    } else {
        assert_fails(&again, 1, &[&email])?;
    }
    Ok(())
}

#[test]
fn p7_a_grant_reaches_a_machine_and_so_does_its_end() -> Result<()> {
    let fleet = fleet!("p7_a_grant_reaches_a_machine_and_so_does_its_end");
    let (scene, _) = scene(&fleet, &[("web-1", "web-server")], |_| Ok(Vec::new()))?;
    let company = &scene.company;
    // Hired when the machine is long managed. Without any grant there is nothing to certify, and it says so.
    let mut rosa: Person = company.hire("rosa@corp.example", &[])?;
    rosa.home.agent()?;
    assert_fails(&rosa.try_login(&[])?, 1, &["no grant", "admin"])?;
    company.ca_ok(&["pool", "add", "empty"])?;
    company.ca_ok(&["grant", "add", "--employee", &rosa.email, "--pool", "empty"])?;
    let words = rosa.login()?;
    ensure!(
        words.contains("reach no machine"),
        "she reaches a machine without a grant of it: {words}"
    );
    let listed = client(&rosa.home, &["machines"])?;
    success("machines", &listed)?;

    company.ca_ok(&[
        "grant",
        "add",
        "--employee",
        &rosa.email,
        "--pool",
        "web-server",
    ])?;
    poll("the way to a machine that was granted", || {
        success("renew", &client(&rosa.home, &["renew"])?)?;
        Ok(ssh(&rosa, &["web-1", "id -un"])?.stdout == b"rosa\n")
    })?;

    company.ca_ok(&["grant", "remove", "2"])?;
    // The certificate that she still has is refused on the machine, whatever her client knows; once it knows, it has no such machine.
    poll("the end of the grant", || {
        let words = said(&ssh(&rosa, &["web-1", "true"])?);
        Ok(words.contains("Permission denied") || words.contains("Could not resolve hostname"))
    })?;
    // The day session stays; it renews into what is left: nothing.
    let renewed = client(&rosa.home, &["renew"])?;
    success("renew after the narrowing", &renewed)?;
    ensure!(!said(&renewed).contains("ssh web-1"), "{}", said(&renewed));
    Ok(())
}
