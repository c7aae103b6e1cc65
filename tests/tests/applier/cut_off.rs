//! The applier killed at any line, and the power cut: the right people get in, the wrong ones do not, and a rerun converges (H8).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ca_machine::{Delivery, MachineSpec, Nonce, Report, Request, applier};

use crate::bench::{Bench, account, done, drift};

/// A command of the applier, by its number in one run, and its line in the applier's text.
pub type Point = (usize, usize);

/// What stands before the applier's first line in the copy that is killed.
const HEAD: usize = 3;

/// Runs a copy of the applier that bash kills right before its command number `command`, counted from 1; 0 lets it live. Returns
/// the numbers at which a line of the applier ran for the first time, with that line (for a run that lived), and the report. The product has no such
/// hook: a DEBUG trap is set before its text.
pub fn run_killed_at(
    bench: &Bench,
    request: &Request,
    command: usize,
) -> Result<(Vec<Point>, Option<Report>)> {
    let script = format!(
        // A KRL alone ends in the middle of the text.
        "count=0 lines=; exit() {{ trap - DEBUG; echo \"lines:$lines\"; builtin exit \"$@\"; }}\nset -o functrace\n\
         trap 'count=$((count + 1)); [ \"$count\" != {command} ] || kill -9 $$; [ {command} -gt 0 ] || lines=\"$lines $LINENO\"' DEBUG\n{}\n\
         trap - DEBUG\necho \"lines:$lines\"\n",
        applier::APPLIER
    );
    bench.machine.write_file("/run/killed", script.as_bytes())?;
    let output = bench
        .machine
        .exec_with_stdin(&["bash", "/run/killed", "first-contact"], &request.encode())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (answer, lines) = text.split_once("lines:").unwrap_or((&text, ""));
    let mut seen = std::collections::BTreeSet::new();
    let points = lines
        .split_whitespace()
        .enumerate()
        .filter(|(_, line)| seen.insert(*line))
        .filter_map(|(index, line)| {
            Some((index + 1, line.parse::<usize>().ok()?.saturating_sub(HEAD)))
        })
        .collect();
    Ok((points, Report::parse(answer.as_bytes()).ok()))
}

/// Every `full`-th point where all are asked for, else about `sample` of them: a fixed choice, so that a failure is easy to see again.
pub fn chosen(points: &[Point], full: usize, sample: usize) -> Vec<usize> {
    let step = match std::env::var_os("E2E_FULL") {
        Some(_) => full,
        None => (points.len() / sample).max(1),
    };
    points
        .iter()
        .map(|(command, _)| *command)
        .skip(step / 2)
        .step_by(step)
        .collect()
}

fn request(
    bench: &Bench,
    spec: &MachineSpec,
    generation: u64,
    krl_version: u64,
) -> Result<Request> {
    Ok(Request::Apply {
        delivery: Delivery {
            successions: Vec::new(),
            krl: Some(
                bench
                    .ca
                    .signed_krl(krl_version, &["mallory@corp.example/1"])?,
            ),
            bundle: Some(bench.ca.signed(spec, generation)?),
            first: bench.ca.first(),
        },
        nonce: Nonce::random(),
        confirm_within: Duration::from_secs(600),
    })
}

/// Two wishes that differ in everything that an apply touches, but leave alice where she is.
fn wishes(bench: &Bench) -> Result<[MachineSpec; 2]> {
    let one = bench.ca.spec("web-1")?;
    let mut two = one.clone();
    two.accounts.pop();
    two.accounts.push(account("bob", 61003)?);
    two.accounts[0].sudo = ca_machine::SudoRule::All;
    two.sync_from.push("192.0.2.1".parse()?);
    Ok([one, two])
}

fn right_in_wrong_out(bench: &Bench, when: &str) -> Result<()> {
    let check = || -> Result<()> {
        ensure!(
            bench.enters("alice", "alice@web", "alice@corp.example/1")?,
            "alice does not get in"
        );
        ensure!(
            !bench.enters("alice", "alice@web", "mallory@corp.example/1")?,
            "a revoked certificate gets in"
        );
        ensure!(
            !bench.enters("alice", "alice@db", "alice@corp.example/1")?,
            "another pool's certificate gets in"
        );
        ensure!(bench.admin_enters()?, "the admin does not get in");
        Ok(())
    };
    check().with_context(|| format!("{when}\n{}", bench.fleet.logs()))
}

#[test]
fn h8_killed_at_any_line_of_an_apply() -> Result<()> {
    let bench = bench!("h8_killed_at_any_line_of_an_apply", |spec| spec
        .disk_mib(256));
    let wishes = wishes(&bench)?;
    let (mut generation, mut krl_version) = (1, 1);
    bench.settle(&wishes[0], generation, krl_version)?;
    done(bench.send(&bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["mallory@corp.example/1"])?),
        None,
    ))?)?;
    krl_version += 2;
    generation += 1;
    // Which lines run when nobody kills it; the look at sessions and the state line count as well.
    let whole = request(&bench, &wishes[1], generation, krl_version)?;
    let (all, report) = run_killed_at(&bench, &whole, 0)?;
    done(report.context("a report")?)?;
    bench.confirm(&whole)?;
    ensure!(all.len() > 200, "{} lines were counted", all.len());
    let points = chosen(&all, 1, 13);
    let mut killed = 0;
    for (turn, point) in points.iter().enumerate() {
        let spec = &wishes[turn % 2];
        generation += 1;
        krl_version += 1;
        let apply = request(&bench, spec, generation, krl_version)?;
        let (_, report) = run_killed_at(&bench, &apply, *point)?;
        killed += usize::from(report.is_none());
        right_in_wrong_out(&bench, &format!("killed at command {point}"))?;
        let again =
            done(bench.send(&apply)?).with_context(|| format!("the rerun after {point}"))?;
        if again.awaiting().is_some() {
            bench.confirm(&apply)?;
        }
        let state = bench.state()?;
        ensure!(
            (state.applied_generation, state.krl_version) == (generation, krl_version),
            "after {point}: {state:?}"
        );
        let check = done(bench.send(&Request::Check)?)?;
        ensure!(
            drift(&check).is_empty(),
            "after {point}: {:?}",
            drift(&check)
        );
        let second = done(bench.send(&apply)?)?;
        ensure!(
            !second.changed() && second.awaiting().is_none(),
            "a second run changes something: {second:?}"
        );
    }
    right_in_wrong_out(&bench, "at the end")?;
    let left = bench.machine.run(&["sh", "-c", "find /etc /var/lib/ssh-ca -name '*ssh-ca*new*' -o -name '*.ssh-ca.*' | grep -v 00-ssh-ca.conf; true"])?;
    ensure!(left.stdout.is_empty(), "left behind: {left:?}");
    eprintln!(
        "killed {killed} times: {} of {} lines",
        points.len(),
        all.len()
    );
    Ok(())
}

#[test]
fn h8_killed_at_any_line_of_the_first_apply() -> Result<()> {
    let bench = bench!("h8_killed_at_any_line_of_the_first_apply", |spec| spec
        .disk_mib(256));
    let spec = bench.ca.spec("web-1")?;
    let whole = request(&bench, &spec, 1, 1)?;
    let (all, report) = run_killed_at(&bench, &whole, 0)?;
    done(report.context("a report")?)?;
    done(bench.send(&Request::Remove)?)?;
    // Each takes a machine without a trace of the CA, so a sample also where all are asked for.
    let points = chosen(&all, 4, 7);
    for point in &points {
        let apply = request(&bench, &spec, 1, 1)?;
        run_killed_at(&bench, &apply, *point)?;
        ensure!(bench.admin_enters()?, "killed at {point}");
        ensure!(
            !bench.enters("alice", "alice@db", "alice@corp.example/1")?,
            "killed at {point}"
        );
        let again =
            done(bench.send(&apply)?).with_context(|| format!("the rerun after {point}"))?;
        ensure!(again.awaiting().is_some(), "{again:?}");
        bench.confirm(&apply)?;
        right_in_wrong_out(&bench, &format!("after {point}"))?;
        done(bench.send(&Request::Remove)?)?;
        bench.machine.run(&[
            "sh",
            "-c",
            "userdel -r alice; userdel -r deploy; rm -rf /var/lib/ssh-ca",
        ])?;
    }
    eprintln!("killed: {} of {} lines", points.len(), all.len());
    Ok(())
}

#[test]
fn r6_h8_the_power_goes_in_the_middle() -> Result<()> {
    let bench = bench!("r6_h8_the_power_goes_in_the_middle");
    let wishes = wishes(&bench)?;
    bench.settle(&wishes[0], 1, 1)?;
    done(bench.send(&bench.sync_apply(
        Some(bench.ca.signed_krl(2, &["mallory@corp.example/1"])?),
        None,
    ))?)?;
    let mut krl_version = 2;
    for (turn, pause) in [30_u64, 200, 350, 500].into_iter().enumerate() {
        let generation = turn as u64 + 2;
        krl_version += 1;
        let apply = request(&bench, &wishes[(turn + 1) % 2], generation, krl_version)?;
        bench
            .machine
            .write_file("/root/applier", applier::APPLIER.as_bytes())?;
        let mut child = bench
            .machine
            .command("sh")
            .args(["/root/applier", "first-contact"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()?;
        std::io::Write::write_all(&mut child.stdin.take().context("stdin")?, &apply.encode())?;
        // Not a wait for something: the moment at which the plug is pulled.
        std::thread::sleep(Duration::from_millis(pause));
        bench.machine.power_off()?;
        let _ = child.kill();
        child.wait()?;
        bench.machine.power_on()?;
        right_in_wrong_out(&bench, &format!("power off after {pause} ms"))?;
        done(bench.send(&apply)?)?;
        if bench.state()?.awaiting.is_empty() {
            continue;
        }
        bench.confirm(&apply)?;
        let state = bench.state()?;
        ensure!(
            (state.applied_generation, state.krl_version) == (generation, krl_version),
            "{state:?}"
        );
    }
    right_in_wrong_out(&bench, "at the end")
}
