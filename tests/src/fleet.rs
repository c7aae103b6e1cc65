//! One network of machines and of the people who reach them, gone without a trace when the test ends.

pub(crate) mod rack;

use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::fleet::rack::Rack;
use crate::{Home, Machine, MachineSpec};

/// The address of the operator's side of the network, where the tests' CA listens; machines know it as `ca.corp.example`.
pub const CA_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Starts this many machines at a time: more only wait for the kernel's network lock.
const STARTS_AT_ONCE: usize = 8;

const NEEDED: [&str; 9] = [
    "unshare",
    "nsenter",
    "setpriv",
    "ip",
    "mount",
    "sshd",
    "sudo",
    "cron",
    "ssh-agent",
];

/// A network of machines in namespaces of its own. Clones are handles of the same fleet; it ends with the last handle, machine or home.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(crate) rack: Arc<Rack>,
}

impl Fleet {
    /// Whether this host can run machines at all: root, the kernel's namespaces and overlayfs, Debian's sshd, sudo and cron.
    ///
    /// # Errors
    /// The reason in one sentence, fit to be printed beside the name of what was left out.
    pub fn available() -> Result<(), String> {
        if !nix::unistd::geteuid().is_root() {
            return Err(
                "real machines need root (namespaces, overlayfs): run the tests as root".to_owned(),
            );
        }
        let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !installed(name)).collect();
        if !missing.is_empty() {
            return Err(format!(
                "not installed: {}; run tests/setup",
                missing.join(", ")
            ));
        }
        let overlay =
            fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay\n"));
        if !overlay && !Path::new("/sys/module/overlay").exists() {
            return Err("this kernel has no overlayfs; load it (modprobe overlay)".to_owned());
        }
        let tried = Command::new("unshare")
            .args([
                "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true",
            ])
            .output();
        match tried {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(format!(
                "the kernel refuses new namespaces ({}); run the tests outside a container, or in a privileged one",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Err(format!("unshare cannot be run: {error}; run tests/setup")),
        }
    }

    /// Makes the network, without a machine on it yet.
    ///
    /// # Errors
    /// Whatever [`Fleet::available`] says, or the failing step.
    pub fn new() -> Result<Self> {
        Self::available().map_err(anyhow::Error::msg)?;
        Ok(Self {
            rack: Arc::new(Rack::start()?),
        })
    }

    /// A fleet for the named test, or none where machines cannot run: then it says so by the test's name, for the runner to count
    /// ("LEFT OUT name: why"). With `REAL_MACHINES=required` in the environment that is a failure.
    ///
    /// # Panics
    /// When machines are required and cannot run, and when a fleet does not start where it is available.
    #[must_use]
    pub fn for_test(test: &str) -> Option<Self> {
        match Self::available() {
            Ok(()) => Some(Self::new().expect("a fleet starts where it is available")),
            Err(why) => {
                let required =
                    std::env::var_os("REAL_MACHINES").is_some_and(|value| value == "required");
                assert!(!required, "{test}: {why}");
                // Straight to the process's standard error: the test runner would swallow it with a passing test's output.
                let _ = writeln!(std::io::stderr(), "LEFT OUT {test}: {why}");
                None
            }
        }
    }

    /// Describes a machine; [`MachineSpec::start`] powers it on. Names are host names, each used once in a fleet.
    pub fn machine(&self, name: &str) -> MachineSpec {
        MachineSpec::new(self.clone(), name)
    }

    /// Starts machines that differ in their names only, several at a time; the result has the order of the names.
    ///
    /// # Errors
    /// The first machine that did not come up.
    pub fn machines(&self, names: &[&str], admin_keys: &[&str]) -> Result<Vec<Machine>> {
        let specs = names.iter().map(|name| {
            admin_keys
                .iter()
                .fold(self.machine(name), |spec, key| spec.admin_key(key))
        });
        Self::start_all(specs.collect())
    }

    /// Starts described machines, several at a time; the result has the order of the descriptions.
    ///
    /// # Errors
    /// The first machine that did not come up.
    pub fn start_all(specs: Vec<MachineSpec>) -> Result<Vec<Machine>> {
        let next = Mutex::new(specs.into_iter().enumerate());
        let mut started: Vec<(usize, Result<Machine>)> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..STARTS_AT_ONCE)
                .map(|_| {
                    scope.spawn(|| {
                        let mut mine = Vec::new();
                        loop {
                            let taken = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                            let Some((index, spec)) = taken else {
                                return mine;
                            };
                            mine.push((index, spec.start()));
                        }
                    })
                })
                .collect();
            starters
                .into_iter()
                .flat_map(|starter| starter.join().expect("starting a machine does not panic"))
                .collect()
        });
        started.sort_by_key(|(index, _)| *index);
        started.into_iter().map(|(_, machine)| machine).collect()
    }

    /// A person's workstation on this network.
    ///
    /// # Errors
    /// When its mount namespace cannot be made.
    pub fn home(&self, name: &str) -> Result<Home> {
        Home::new(self.clone(), name)
    }

    /// A command inside the fleet's own network, in this host's file system. Its exit status, pid, standard input and output are the
    /// program's own; it has no controlling terminal. It is killed, at the latest, when the fleet ends.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = self.rack.in_network();
        command.args(["setsid", "--wait", "--", program]);
        command
    }

    /// Runs a closure in the fleet's own network, on a thread made for it: sockets made there, and threads started there, belong to it.
    ///
    /// # Panics
    /// When the closure panics, or when the thread cannot enter the network.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let network = File::open(self.rack.network_path())
                    .expect("the fleet's network lives as long as the fleet");
                nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET)
                    .expect("root may enter a network namespace");
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The words before a program and its arguments that run it in the fleet's network, for scripts.
    #[must_use]
    pub fn command_prefix(&self) -> Vec<String> {
        vec![
            "nsenter".to_owned(),
            format!("--net={}", self.rack.network_path().display()),
            "--".to_owned(),
        ]
    }

    /// A folder of this host that lives as long as the fleet.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.rack.folder
    }

    /// The sshd logs of all machines, each under its name, for printing when a test fails.
    #[must_use]
    pub fn logs(&self) -> String {
        let names = self.rack.names();
        names
            .iter()
            .map(|name| format!("== {name}: sshd ==\n{}\n", self.rack.sshd_log(name)))
            .collect()
    }
}

fn installed(name: &str) -> bool {
    [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ]
    .iter()
    .any(|folder| Path::new(folder).join(name).exists())
}
