//! Nothing is left behind, however a test ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::Fleet;

use crate::{ssh, text};

/// Process id and start time: together they name one process for ever.
type Process = (u32, String);

/// Nothing for an orphan that has ended and waits for this host's init, which may take its time.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.starts_with(&["Z", "1"]) {
        return None;
    }
    fields.get(19).map(|start| (*start).to_owned())
}

/// The processes in the network namespaces of these ones.
fn neighbours(pids: &[u32]) -> BTreeSet<Process> {
    let network = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let networks: BTreeSet<_> = pids.iter().filter_map(|pid| network(*pid)).collect();
    let everybody = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    everybody
        .filter(|pid| network(*pid).is_some_and(|network| networks.contains(&network)))
        .filter_map(|pid| Some((pid, start_time(pid)?)))
        .collect()
}

fn still_there(processes: &BTreeSet<Process>) -> Vec<u32> {
    processes
        .iter()
        .filter(|(pid, start)| start_time(*pid).as_ref() == Some(start))
        .map(|(pid, _)| *pid)
        .collect()
}

fn assert_nothing_is_left(folder: &Path, processes: &BTreeSet<Process>) {
    assert_eq!(
        still_there(processes),
        Vec::<u32>::new(),
        "processes are left"
    );
    assert!(!folder.exists(), "{} is left", folder.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(folder.to_str().unwrap()),
        "mounts are left"
    );
    let links = Command::new("ip")
        .args(["-o", "link"])
        .output()
        .unwrap()
        .stdout;
    assert!(
        !text(&links).contains("br0") && !text(&links).contains("veth"),
        "{}",
        text(&links)
    );
}

#[test]
fn twenty_machines_start_together_and_leave_nothing() {
    let Some(fleet) = Fleet::for_test("twenty_machines_start_together_and_leave_nothing") else {
        return;
    };
    let admin = fleet.home("admin").unwrap();
    let agent = admin.agent().unwrap();
    let count = std::env::var("HARNESS_MACHINES")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(20);
    let names: Vec<String> = (1..=count).map(|number| format!("web-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let started = Instant::now();
    let machines = fleet
        .machines(&names, &[&admin.public_key().unwrap()])
        .unwrap();
    eprintln!("{count} machines answer after {:?}", started.elapsed());
    for (machine, name) in machines.iter().zip(&names).step_by(7) {
        assert_eq!(
            text(&ssh(&admin, "ssh-admin", machine, "hostname").stdout),
            *name,
            "{}",
            machine.sshd_log()
        );
    }
    let mut pids: Vec<u32> = machines
        .iter()
        .map(|machine| machine.pid().unwrap())
        .collect();
    pids.push(agent.pid());
    let processes = neighbours(&pids);
    assert!(
        processes.len() > 3 * machines.len(),
        "init, sshd and cron at least: {}",
        processes.len()
    );
    let folder = fleet.folder().to_owned();
    assert!(folder.exists());
    let ending = Instant::now();
    drop((machines, agent, admin, fleet));
    eprintln!("and are gone after {:?}", ending.elapsed());
    assert_nothing_is_left(&folder, &processes);
}

#[test]
fn a_killed_test_process_leaves_nothing() {
    // Only the check: the fleet is the other process's.
    if Fleet::for_test("a_killed_test_process_leaves_nothing").is_none() {
        return;
    }
    for signal in ["KILL", "TERM", "end of standard input"] {
        let dir = tempfile::tempdir().unwrap();
        let mut pool = Command::new(env!("CARGO_BIN_EXE_pool-machines"))
            .arg("--dir")
            .arg(dir.path())
            .args(["--admin", "admin", "web-1", "db-1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(pool.stdout.take().unwrap()));
        let mut said: Vec<serde_json::Value> = Vec::new();
        for line in lines {
            said.push(serde_json::from_str(&line.unwrap()).unwrap());
            if said.last().unwrap()["kind"] == "ready" {
                break;
            }
        }
        let machines: Vec<_> = said
            .iter()
            .filter(|line| line["kind"] == "machine")
            .collect();
        assert_eq!(machines.len(), 2, "{said:?}");
        let login = format!("ssh-admin@{}", machines[0]["address"].as_str().unwrap());
        let at_admin = Command::new(dir.path().join("at-admin"))
            .args([
                "ssh",
                "-o",
                "StrictHostKeyChecking=accept-new",
                "-o",
                "VisualHostKey=no",
                &login,
                "hostname",
            ])
            .output()
            .unwrap();
        assert_eq!(
            text(&at_admin.stdout),
            "web-1",
            "{}",
            text(&at_admin.stderr)
        );
        // Something that the operator's side left running ends, too.
        let mut stray = Command::new(dir.path().join("operator"))
            .args(["sleep", "600"])
            .spawn()
            .unwrap();

        let here = fs::read_link("/proc/self/ns/net").unwrap();
        while fs::read_link(format!("/proc/{}/ns/net", stray.id())).unwrap() == here {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut pids: Vec<u32> = machines
            .iter()
            .map(|machine| machine["pid"].as_u64().unwrap() as u32)
            .collect();
        pids.push(stray.id());
        let processes = neighbours(&pids);
        let home = said.iter().find(|line| line["kind"] == "home").unwrap()["path"]
            .as_str()
            .unwrap();
        let folder = Path::new(home).ancestors().nth(2).unwrap().to_owned();
        assert!(folder.exists());

        if signal.starts_with("end") {
            drop(pool.stdin.take());
        } else {
            assert!(
                Command::new("kill")
                    .args([&format!("-{signal}"), &pool.id().to_string()])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        let status = pool.wait().unwrap();
        assert_eq!(status.success(), signal != "KILL", "{signal}: {status}");
        // After a SIGKILL the keeper clears up on its own.
        let deadline = Instant::now() + Duration::from_secs(120);
        let reaped = |stray: &mut Child| stray.try_wait().unwrap().is_some();
        while (folder.exists() || !reaped(&mut stray) || !still_there(&processes).is_empty())
            && Instant::now() < deadline
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Reaped (it is this test's child) and, should it live on, ended before the verdict.
        let ended = stray.try_wait().unwrap();
        stray.kill().unwrap();
        stray.wait().unwrap();
        assert!(
            ended.is_some(),
            "{signal}: a command of the operator's side lives on"
        );
        assert_nothing_is_left(&folder, &processes);
    }
}

#[test]
fn a_fleet_that_ends_at_once_leaves_nothing() {
    let Some(fleet) = Fleet::for_test("a_fleet_that_ends_at_once_leaves_nothing") else {
        return;
    };
    let folder = fleet.folder().to_owned();
    drop(fleet);
    assert!(!folder.exists(), "{} is left", folder.display());
}
