//! Live sessions across the fleet: who is behind each, and the end of one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{said, success};
use serde_json::Value;

use crate::scene::{Scene, poll};

fn of<'a>(list: &'a Value, account: &str) -> Vec<&'a Value> {
    let all = list["sessions"].as_array().into_iter().flatten();
    all.filter(|session| session["account"] == account)
        .collect()
}

#[test]
fn r8_sessions_are_listed_with_their_certificate_and_end_one_by_one() -> Result<()> {
    let name = "r8_sessions_are_listed_with_their_certificate_and_end_one_by_one";
    let Some(mut scene) = Scene::new(name)? else {
        return Ok(());
    };
    scene.alice.home.agent()?;
    scene.alice.login()?;
    let mut first = scene.alice_stays(&scene.web)?;
    let mut second = scene.alice_stays(&scene.web)?;
    let mut ops = scene
        .ops
        .command("ssh")
        .args([
            "-F",
            "none",
            "-n",
            "-T",
            "-i",
            "/root/.ssh/id_ed25519",
            "-o",
            "StrictHostKeyChecking=no",
        ])
        .args(["-o", "UserKnownHostsFile=/dev/null", "-l", "ubuntu"])
        .args([&scene.web.addr().to_string(), "sleep 1000"])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let list = || scene.company.ca_json(&["session", "list"]);
    poll("the three sessions", || {
        let list = list()?;
        Ok(of(&list, "alice").len() == 2 && of(&list, "ubuntu").len() == 1)
    })?;
    let listed = list()?;
    let serials = scene
        .company
        .ca_json(&["cert", "list", "--employee", "alice@corp.example"])?;
    for session in of(&listed, "alice") {
        ensure!(
            session["employee"] == "alice@corp.example"
                && session["key_id"] == "alice@corp.example/1"
                && session["state"] == "live"
                && session["from"]
                    .as_str()
                    .is_some_and(|from| from.starts_with("10.77."))
                && session["since_unix"].is_i64(),
            "{session:#}"
        );
        let known = serials.as_array().into_iter().flatten();
        ensure!(
            known
                .into_iter()
                .any(|certificate| certificate["serial"] == session["serial"]),
            "{session:#} is none of {serials:#}"
        );
    }
    let static_one = of(&listed, "ubuntu")[0];
    ensure!(
        static_one["key_id"] == "" && static_one["state"] == "live",
        "{static_one:#}"
    );
    // The CA's own connection, over which it asks, is not among them.
    ensure!(of(&listed, "ssh-ca-sync").is_empty(), "{listed:#}");
    let hers = scene
        .company
        .ca_json(&["session", "list", "--employee", "alice@corp.example"])?;
    ensure!(
        of(&hers, "alice").len() == 2 && of(&hers, "ubuntu").is_empty(),
        "{hers:#}"
    );

    // One of two connections of the same certificate ends; the other goes on.
    let mut ids: Vec<String> = of(&listed, "alice")
        .iter()
        .map(|session| session["id"].as_str().unwrap_or_default().to_owned())
        .collect();
    let refused = scene.company.ca(&["session", "end", &ids[0]])?;
    ensure!(
        refused.status.code() == Some(1),
        "it asks first: {}",
        said(&refused)
    );
    let ended = scene.company.ca(&["session", "end", "--yes", &ids[0]])?;
    success("session end", &ended)?;
    poll("the end of one", || {
        Ok(first.try_wait()?.is_some() || second.try_wait()?.is_some())
    })?;
    std::thread::sleep(Duration::from_millis(300));
    let left = [&mut first, &mut second]
        .into_iter()
        .filter_map(|child| child.try_wait().ok()?.is_none().then_some(()))
        .count();
    ensure!(left == 1, "the other one ended too");
    let again = scene
        .company
        .ca_json(&["session", "end", "--yes", &ids[0]])?;
    ensure!(again["gone"][0] == ids[0].as_str(), "{again:#}");
    let ledger = scene
        .company
        .ca_ok(&["audit", "list", "--about", "web-1"])?;
    ensure!(ledger.contains("session_end_ordered"), "{ledger}");

    // Without its record nobody can say whose a session is: told so, and ended on an admin's word alone.
    scene.sh("rm /run/ssh-ca/sessions/*")?;
    let listed = list()?;
    let unknown = of(&listed, "alice");
    ensure!(
        unknown.len() == 1 && unknown[0]["state"] == "unknown",
        "{listed:#}"
    );
    ensure!(
        unknown[0]["key_id"] == "" && unknown[0]["employee"].is_null(),
        "{listed:#}"
    );
    ids = vec![unknown[0]["id"].as_str().context("an id")?.to_owned()];
    success(
        "session end",
        &scene.company.ca(&["session", "end", "--yes", &ids[0]])?,
    )?;
    poll("the end of the other", || {
        Ok(first.try_wait()?.is_some() && second.try_wait()?.is_some())
    })?;
    ensure!(ops.try_wait()?.is_none(), "somebody else's session ended");
    ops.kill()?;
    ops.wait()?;

    // A machine that is off is no empty list.
    scene.web.power_off()?;
    let off = scene.company.ca(&["session", "list"])?;
    ensure!(off.status.code() == Some(3), "{}", said(&off));
    ensure!(said(&off).contains("NOT REACHED"), "{}", said(&off));
    Ok(())
}
