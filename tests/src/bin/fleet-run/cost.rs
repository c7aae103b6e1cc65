//! What processes cost: CPU time and memory, from `/proc`.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};
use e2e::{Company, Machine};

/// Looks at the server and every `ssh` below it.
pub struct Meter {
    server: u32,
}

impl Meter {
    /// Of a running company's server.
    pub fn of(company: &Company) -> Result<Self> {
        let server = company.server_pid().context("the server runs")?;
        Ok(Self { server })
    }

    /// CPU time that the server, what it has waited for, and what runs below it have used so far.
    pub fn cpu_millis(&self) -> u64 {
        cpu_millis(self.server)
    }

    /// Kept connections, and their memory together.
    pub fn connections(&self) -> Result<(usize, u64)> {
        let mut number = 0;
        let mut kib = 0;
        for pid in family(self.server) {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&words).contains("ControlPath=") {
                number += 1;
                kib += pss_kib(pid).unwrap_or(0);
            }
        }
        Ok((number, kib))
    }

    /// Memory of the server's own process.
    pub fn server_kib(&self) -> Result<u64> {
        pss_kib(self.server).context("the server's memory")
    }
}

/// CPU time that every process of these machines has used so far.
pub fn machines_cpu_millis(machines: &[Machine]) -> u64 {
    machines
        .iter()
        .filter_map(Machine::pid)
        .map(cpu_millis)
        .sum()
}

/// CPU time of a process, of what it has waited for, and of what runs below it.
fn cpu_millis(root: u32) -> u64 {
    let ticks: u64 = family(root)
        .into_iter()
        .filter_map(stat)
        // User and system time, each of its own and of children that it has waited for.
        .map(|fields| fields[11..15].iter().sum::<u64>())
        .sum();
    // USER_HZ is 100 on every Linux architecture.
    ticks * 10
}

/// Memory of the processes of `ssh-ca-sync`'s connections on a machine.
pub fn sshd_kib(machine: &Machine) -> Result<u64> {
    let listed = machine.run(&[
        "sh",
        "-c",
        "ps -eo pid=,args= | grep '[s]shd: ssh-ca-sync' | awk '{print $1}'",
    ])?;
    let mut kib = 0;
    for pid in listed.stdout.split_whitespace() {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = machine.run(&["cat", &path])?.stdout;
        kib += pss_of(&text).unwrap_or(0);
    }
    Ok(kib)
}

fn pss_kib(pid: u32) -> Option<u64> {
    pss_of(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?)
}

fn pss_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields after the name, which may hold anything.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(
        rest.split_whitespace()
            .map(|word| word.parse().unwrap_or(0))
            .collect(),
    )
}

/// A process and all below it.
fn family(root: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([root]);
    let mut queue = vec![root];
    while let Some(pid) = queue.pop() {
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in text.split_whitespace().filter_map(|word| word.parse().ok()) {
                if found.insert(child) {
                    queue.push(child);
                }
            }
        }
    }
    found
}
