//! One network of machines and of the people who reach them, gone without a trace when the test ends.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

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
        let mut names: Vec<String> = self
            .rack
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        names.sort();
        names
            .iter()
            .map(|name| format!("== {name}: sshd ==\n{}\n", self.rack.sshd_log(name)))
            .collect()
    }
}

/// What a fleet holds in the kernel and on the disk.
#[derive(Debug)]
pub(crate) struct Rack {
    pub(crate) folder: PathBuf,
    holder: Option<Child>,
    holder_pid: u32,
    keeper: Option<(Child, ChildStdin)>,
    names: Mutex<Vec<String>>,
    next_number: AtomicU32,
    bases: Mutex<HashMap<PathBuf, PathBuf>>,
}

impl Rack {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pool-")
            .tempdir()
            .context("making the fleet's folder")?
            .keep();
        let text = folder
            .to_str()
            .context("the temporary folder's name is not UTF-8")?;
        ensure!(
            !text.contains([',', ':', '\\', ' ']),
            "overlayfs cannot work in {text}: set TMPDIR to a plain path"
        );
        // Until the keeper runs, this value's Drop removes the folder.
        let mut rack = Self {
            folder: folder.clone(),
            holder: None,
            holder_pid: 0,
            keeper: None,
            names: Mutex::default(),
            next_number: AtomicU32::new(0),
            bases: Mutex::default(),
        };
        for part in ["homes", "seeds", "consoles"] {
            fs::create_dir(folder.join(part))?;
        }
        fs::write(
            folder.join("hosts"),
            format!("127.0.0.1 localhost\n::1 localhost\n{CA_ADDRESS} ca.corp.example\n"),
        )?;
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--ipc",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
                "--",
            ])
            .args(["sh", "-c", include_str!("fleet/rack.sh"), "rack"])
            .arg(folder.join("rack"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("starting the fleet's namespaces")?;
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().expect("piped above")).read_line(&mut ready)?;
        if ready != "ready\n" {
            let mut why = String::new();
            holder
                .stderr
                .take()
                .expect("piped above")
                .read_to_string(&mut why)?;
            holder.wait()?;
            bail!("the fleet's network could not be made: {}", why.trim());
        }
        rack.holder_pid = only_child(holder.id()).context("the fleet's first process is gone")?;
        rack.holder = Some(holder);

        let network = fs::read_link(rack.network_path())?;
        let mut keeper = rack
            .in_network()
            .args(["sh", "-c", include_str!("fleet/keeper.sh"), "keeper"])
            .args([&folder, &network])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the fleet's keeper")?;
        let stdin = keeper.stdin.take().expect("piped above");
        rack.keeper = Some((keeper, stdin));
        Ok(rack)
    }

    pub(crate) fn network_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder_pid))
    }

    /// `nsenter` into the fleet's network only: no fork, so the pid and status are the program's.
    pub(crate) fn in_network(&self) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.network_path().display()))
            .arg("--");
        command
    }

    /// `nsenter` into the fleet's network, mounts and processes, where machines start.
    pub(crate) fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--target",
            &self.holder_pid.to_string(),
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--",
        ]);
        command
    }

    /// The place of a machine's disk and logs, as seen inside the fleet.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.folder.join("rack").join(name)
    }

    /// The same place as this host reaches it.
    pub(crate) fn place_from_host(&self, name: &str) -> PathBuf {
        let inside = self.place(name);
        let relative = inside
            .strip_prefix("/")
            .expect("temporary folders are absolute paths");
        PathBuf::from(format!("/proc/{}/root", self.holder_pid)).join(relative)
    }

    pub(crate) fn sshd_log(&self, name: &str) -> String {
        fs::read(self.place_from_host(name).join("log/sshd.log"))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Reserves a name and gives the machine its number, from 1.
    pub(crate) fn enlist(&self, name: &str) -> Result<u32> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        ensure!(
            !names.iter().any(|taken| taken == name),
            "a machine {name} is in this fleet already"
        );
        names.push(name.to_owned());
        Ok(self.next_number.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The layer between a distribution's root and the machines' disks, made at its first use.
    pub(crate) fn base(&self, root: &Path) -> Result<PathBuf> {
        let mut bases = self.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = bases.get(root) {
            return Ok(base.clone());
        }
        let base = self
            .folder
            .join("rack")
            .join(format!(".base-{}", bases.len()));
        let output = self
            .inside()
            .args(["sh", "-c", include_str!("fleet/base.sh"), "base"])
            .args([&base, root])
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "the machines' root could not be made: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        bases.insert(root.to_owned(), base.clone());
        Ok(base)
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            drop(holder.stdin.take());
            let _ = holder.wait();
        }
        match self.keeper.take() {
            Some((mut keeper, stdin)) => {
                drop(stdin);
                let _ = keeper.wait();
            }
            None => {
                let _ = fs::remove_dir_all(&self.folder);
            }
        }
    }
}

/// The only child of a process, as soon as there is one.
pub(crate) fn only_child(pid: u32) -> Option<u32> {
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
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
