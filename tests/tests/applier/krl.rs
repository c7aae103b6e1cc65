//! The KRL lane: it arrives when everything else is broken, and what would lock out or let in is not put in place.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::bench::{done, key, now_unix, refusal};

const ALICE: &str = "alice@corp.example/1";

fn every(length: usize, sample: usize) -> impl Iterator<Item = usize> {
    let step = if std::env::var_os("E2E_FULL").is_some() {
        1
    } else {
        (length / sample).max(1)
    };
    (0..length).step_by(step)
}

#[test]
fn r5_r6_a_krl_cut_at_any_byte_never_takes_the_place_of_a_whole_one() -> Result<()> {
    let bench = bench!("r5_r6_a_krl_cut_at_any_byte_never_takes_the_place_of_a_whole_one");
    let ca = &bench.ca;
    bench.settle(&ca.spec("web-1")?, 1, 1)?;
    let whole = ca.krl(2, &[ALICE, "bob@corp.example/3"])?;
    let before = bench.state()?.krl_sha256;
    // Genuinely signed, so only the canaries stand between it and sshd. 44 bytes is a section boundary: sshd would let the revoked in.
    let cuts: Vec<usize> = every(whole.krl.len(), 16).chain([0, 43, 44, 45]).collect();
    let mut refused = 0;
    for cut in &cuts {
        let mut parcel = whole.clone();
        parcel.krl.truncate(*cut);
        let report = bench.send(&bench.sync_apply(Some(parcel.sign(&ca.fleet_key)?), None))?;
        ensure!(
            matches!(refusal(&report), "canary" | "bad-krl"),
            "cut at {cut}: {report:?}"
        );
        refused += 1;
    }
    let mut strange = vec![
        b"<html>not found</html>".to_vec(),
        vec![0; 300],
        b"# comment\n".to_vec(),
    ];
    let mut flipped = whole.krl.clone();
    flipped[60] ^= 1;
    strange.push(flipped);
    for krl in strange {
        let mut parcel = whole.clone();
        parcel.krl = krl;
        let report = bench.send(&bench.sync_apply(Some(parcel.sign(&ca.fleet_key)?), None))?;
        ensure!(refusal(&report) == "canary", "{report:?}");
        refused += 1;
    }
    let state = bench.state()?;
    ensure!(
        state.krl_sha256 == before && state.krl_version == 1,
        "{state:?}"
    );
    ensure!(
        bench.enters("alice", "alice@web", ALICE)?,
        "the old KRL still lets her in"
    );
    done(bench.send(&bench.sync_apply(Some(whole.sign(&ca.fleet_key)?), None))?)?;
    ensure!(
        !bench.enters("alice", "alice@web", ALICE)?,
        "the whole one does not"
    );
    ensure!(bench.enters("deploy", "deploy@web", "carol@corp.example/1")?);
    eprintln!(
        "{refused} broken KRLs refused, {} of {} cuts",
        cuts.len(),
        whole.krl.len()
    );
    Ok(())
}

#[test]
fn r6_a_transfer_cut_at_any_byte_changes_nothing() -> Result<()> {
    let bench = bench!("r6_a_transfer_cut_at_any_byte_changes_nothing");
    let ca = &bench.ca;
    bench.settle(&ca.spec("web-1")?, 1, 1)?;
    let request = bench
        .sync_apply(Some(ca.signed_krl(2, &[ALICE])?), None)
        .encode();
    for cut in every(request.len(), 12) {
        let report = bench.send_bytes(&request[..cut])?;
        ensure!(
            refusal(&report) == "bad-request",
            "cut at {cut}: {report:?}"
        );
    }
    ensure!(bench.state()?.krl_version == 1);
    done(bench.send_bytes(&request)?)?;
    ensure!(bench.state()?.krl_version == 2 && !bench.enters("alice", "alice@web", ALICE)?);
    Ok(())
}

#[test]
fn r6_a_krl_arrives_on_a_full_disk() -> Result<()> {
    let bench = bench!("r6_a_krl_arrives_on_a_full_disk");
    let ca = &bench.ca;
    let mut spec = ca.spec("web-1")?;
    bench.settle(&spec, 1, 1)?;
    bench.machine.fill_disk()?;
    let report = done(bench.sync(&bench.sync_apply(Some(ca.signed_krl(2, &[ALICE])?), None))?)?;
    ensure!(
        report
            .state()
            .is_some_and(|state| state.krl_version == 2 && state.krl_canaries == "ok"),
        "{report:?}"
    );
    ensure!(!bench.enters("alice", "alice@web", ALICE)?);
    ensure!(bench.enters("deploy", "deploy@web", "carol@corp.example/1")?);
    // The configuration has no such reserve: it says so, and nothing is half done.
    spec.accounts.pop();
    bench.machine.fill_disk()?;
    let report = bench.sync(&bench.sync_apply(None, Some(ca.signed(&spec, 2)?)))?;
    ensure!(refusal(&report) == "disk", "{report:?}");
    ensure!(bench.enters("deploy", "deploy@web", "carol@corp.example/1")? && bench.probe_enters()?);
    bench.machine.free_disk()?;
    let apply = bench.sync_apply(
        Some(ca.signed_krl(3, &[ALICE])?),
        Some(ca.signed(&spec, 2)?),
    );
    done(bench.sync(&apply)?)?;
    bench.confirm(&apply)?;
    ensure!(!bench.enters("deploy", "deploy@web", "carol@corp.example/1")?);
    let reserve = bench
        .machine
        .run(&["stat", "-c", "%s", "/var/lib/ssh-ca/reserve"])?;
    ensure!(
        reserve.stdout.trim().parse::<u64>()? >= 524_288,
        "{reserve:?}"
    );
    Ok(())
}

#[test]
fn r10_a_krl_arrives_while_the_configuration_lane_hangs() -> Result<()> {
    let bench = bench!("r10_a_krl_arrives_while_the_configuration_lane_hangs");
    let ca = &bench.ca;
    bench.settle(&ca.spec("web-1")?, 1, 1)?;
    let mut holder = bench
        .machine
        .command("flock")
        .args(["/run/ssh-ca/config.lock", "sh", "-c", "echo held; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut held = [0; 5];
    std::io::Read::read_exact(&mut holder.stdout.take().context("stdout")?, &mut held)?;
    // With the state of the configuration lane in ruins, too.
    bench.machine.run(&[
        "sh",
        "-c",
        "mkdir /var/lib/ssh-ca/pending; echo x >/var/lib/ssh-ca/applied; rm /etc/sudoers.d/ssh-ca",
    ])?;
    let report =
        done(bench.send_installed(&bench.sync_apply(Some(ca.signed_krl(2, &[ALICE])?), None))?)?;
    ensure!(
        report.state().is_some_and(|state| state.krl_version == 2),
        "{report:?}"
    );
    ensure!(!bench.enters("alice", "alice@web", ALICE)?);
    drop(holder.stdin.take());
    holder.wait()?;
    Ok(())
}

#[test]
fn r11_no_krl_shuts_out_admin_and_sync_and_the_server_repairs_it() -> Result<()> {
    let bench = bench!("r11_no_krl_shuts_out_admin_and_sync_and_the_server_repairs_it");
    let ca = &bench.ca;
    bench.settle(&ca.spec("web-1")?, 1, 1)?;
    let krl = ca.signed_krl(2, &[ALICE])?;
    done(bench.sync(&bench.sync_apply(Some(krl.clone()), None))?)?;
    for ruin in [
        "echo garbage >",
        "rm -f",
        "rm -f /etc/ssh/ca/revoked.krl; mkdir",
    ] {
        bench
            .machine
            .run(&["sh", "-c", &format!("{ruin} /etc/ssh/ca/revoked.krl")])?;
        ensure!(
            !bench.enters("deploy", "deploy@web", "carol@corp.example/1")?,
            "{ruin}: sshd refuses everybody"
        );
        ensure!(bench.admin_enters()?, "{ruin}");
        let state = done(bench.sync(&ca_machine::Request::Report)?)?
            .state()
            .cloned()
            .context("a state")?;
        ensure!(state.krl_canaries == "failed", "{ruin}: {state:?}");
        let report = done(bench.sync(&bench.sync_apply(Some(krl.clone()), None))?)?;
        ensure!(
            report
                .state()
                .is_some_and(|state| state.krl_canaries == "ok"),
            "{ruin}: {report:?}"
        );
        ensure!(bench.enters("deploy", "deploy@web", "carol@corp.example/1")?);
        ensure!(!bench.enters("alice", "alice@web", ALICE)?);
    }
    // A KRL that names everything that is the CA's own: the keys of ssh-admin and ssh-ca-sync.
    let mut parcel = ca.krl(3, &[ALICE])?;
    let folder = ca.folder.path();
    std::fs::write(
        folder.join("sync.pub"),
        ca.sync_key.public_key().to_openssh()?,
    )?;
    std::fs::write(folder.join("admin.pub"), bench.admin.public_key()?)?;
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-k", "-u", "-f", "krl", "sync.pub", "admin.pub"])
        .current_dir(folder)
        .output()?;
    ensure!(made.status.success(), "{made:?}");
    parcel.krl = std::fs::read(folder.join("krl"))?;
    done(bench.sync(&bench.sync_apply(Some(parcel.sign(&ca.fleet_key)?), None))?)?;
    ensure!(bench.admin_enters()?);
    done(bench.sync(&ca_machine::Request::Report)?)?;
    Ok(())
}

#[test]
fn r1_a_krl_of_a_thousand_people_is_in_place_within_seconds() -> Result<()> {
    let bench = bench!("r1_a_krl_of_a_thousand_people_is_in_place_within_seconds");
    let ca = &bench.ca;
    bench.settle(&ca.spec("web-1")?, 1, 1)?;
    let ids: Vec<String> = (0..1000)
        .map(|n| format!("person-{n}@corp.example/{n}"))
        .collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let request = bench.sync_apply(Some(ca.signed_krl(2, &ids)?), None);
    let start = std::time::Instant::now();
    done(bench.sync(&request)?)?;
    let took = start.elapsed();
    eprintln!(
        "KRL of {} ids in place and read back after {took:?} (at {})",
        ids.len(),
        now_unix()
    );
    ensure!(took < Duration::from_secs(60), "{took:?}");
    let key = key();
    let certificate = ca.certificate(&key, ids[500], 9, "alice@web");
    ensure!(!bench.enters_with("alice", &key, Some(&certificate))?);
    Ok(())
}
