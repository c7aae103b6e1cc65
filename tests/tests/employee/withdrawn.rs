//! A certificate that the CA withdrew before it ended: ssh notices by itself, and never waits for a CA that is silent.

use anyhow::{Context, Result, ensure};
use e2e::{Company, Identity, Person, said, success};

use crate::scene::{assert_fails, assert_runs, now_unix, poll, scene, ssh};

fn serial(person: &Person) -> Result<u64> {
    let text = std::fs::read_to_string(person.home.ssh_path("ca/session.json"))?;
    let session: serde_json::Value = serde_json::from_str(&text)?;
    session["certificates"][0]["serial"]
        .as_u64()
        .context(session.to_string())
}

/// Until when the CA is not asked, and how long the last wait for it was.
fn asked(person: &Person) -> Result<(i64, i64)> {
    let text = std::fs::read_to_string(person.home.ssh_path("ca/asked"))?;
    let (until, wait) = text.trim().split_once(' ').context(text.clone())?;
    Ok((until.parse()?, wait.parse()?))
}

/// An answer holds for some seconds: what comes after them is asked anew.
fn await_next_question(person: &Person) -> Result<()> {
    poll("the next question", || Ok(now_unix() > asked(person)?.0))
}

fn grant_of(company: &Company, email: &str, pool: &str) -> Result<String> {
    let all = company.ca_json(&["grant", "list"])?;
    all.as_array()
        .and_then(|all| {
            all.iter()
                .find(|one| one.to_string().contains(email) && one["pool"] == pool)
        })
        .and_then(|one| one["id"].as_u64())
        .map(|id| id.to_string())
        .context(all.to_string())
}

#[test]
fn p7_after_a_narrowing_the_very_next_ssh_works_where_access_is_left() -> Result<()> {
    let fleet = fleet!("p7_after_a_narrowing_the_very_next_ssh_works_where_access_is_left");
    let machines = [("web-1", "web-server"), ("db-1", "db")];
    let (mut scene, mut people) = scene(&fleet, &machines, |company| {
        Ok(vec![company.hire(
            "uma@corp.example",
            &["--pool", "web-server", "--pool", "db"],
        )?])
    })?;
    let mut uma = people.remove(0);
    uma.home.agent()?;
    uma.login()?;
    assert_runs(&uma, &["web-1", "id -un"], "uma")?;
    assert_runs(&uma, &["db-1", "id -un"], "uma")?;
    let before = serial(&uma)?;

    let company = &scene.company;
    let grant = grant_of(company, &uma.email, "db")?;
    company.ca_ok(&["grant", "remove", &grant])?;
    // The machine that she keeps refuses the old certificate by now: without a renewal she is out.
    success("krl push", &company.ca(&["krl", "push"])?)?;
    let old = uma.home.ssh_path("ca/cert-0-cert.pub");
    let copy = uma.home.ssh_path("old-cert.pub");
    std::fs::copy(old, &copy)?;
    // The question has its time limit, which a busy host may miss: then ssh goes on as before, and asks again later. Here at once.
    let mut tries = 0;
    loop {
        await_next_question(&uma)?;
        let output = ssh(&uma, &["web-1", "id -un"])?;
        if output.status.success() {
            ensure!(
                output.stdout == b"uma\n" && output.stderr.is_empty(),
                "it is not silent: {}",
                said(&output)
            );
            break;
        }
        tries += 1;
        let (_, wait) = asked(&uma)?;
        ensure!(
            wait > 0 && tries < 20,
            "the CA was asked, and the very next ssh failed: {}",
            said(&output)
        );
        std::fs::remove_file(uma.home.ssh_path("ca/asked"))?;
    }
    ensure!(serial(&uma)? != before, "nothing was renewed");
    let refused = uma.home.ssh_by_hand(
        Identity::with("/root/.ssh/ca/id.pub", "/root/.ssh/old-cert.pub"),
        "uma",
        &scene.machines[0],
        &["true"],
    )?;
    assert_fails(&refused, 255, &["Permission denied"])?;
    let gone = ssh(&uma, &["-o", "BatchMode=yes", "db-1", "true"])?;
    ensure!(!gone.status.success(), "{}", said(&gone));

    // With the CA down ssh is as ever; it is asked once, and then not for a while. One that hangs costs a moment, once.
    await_next_question(&uma)?;
    scene.company.kill()?;
    assert_runs(&uma, &["web-1", "id -un"], "uma")?;
    let (until, wait) = asked(&uma)?;
    ensure!(wait >= 60, "{until} {wait}");
    assert_runs(&uma, &["web-1", "id -un"], "uma")?;
    ensure!(asked(&uma)? == (until, wait), "it was asked again");
    scene.company.start()?;
    std::fs::remove_file(uma.home.ssh_path("ca/asked"))?;
    let pid = scene.company.server_pid().context("a server")?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP)?;
    let frozen = assert_runs(&uma, &["web-1", "id -un"], "uma");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT)?;
    frozen?;
    ensure!(asked(&uma)?.1 >= 60, "a silent CA is asked again at once");
    Ok(())
}
