//! What a fleet holds in the kernel and on the disk, and how it is taken down.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use crate::CA_ADDRESS;

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
    pub(super) fn start() -> Result<Self> {
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
            .args(["sh", "-c", include_str!("rack.sh"), "rack"])
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
            .args(["sh", "-c", include_str!("keeper.sh"), "keeper"])
            .args([&folder, &network])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the fleet's keeper")?;
        let stdin = keeper.stdin.take().expect("piped above");
        // Not before it is inside the network: a fleet that ends at once would close the door before it.
        let mut ready = String::new();
        BufReader::new(keeper.stdout.take().expect("piped above")).read_line(&mut ready)?;
        rack.keeper = Some((keeper, stdin));
        ensure!(ready == "ready\n", "the fleet's keeper did not start");
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

    /// The names of all machines so far, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = self
            .names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        names.sort();
        names
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
            .args(["sh", "-c", include_str!("base.sh"), "base"])
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
        if let Some((mut keeper, stdin)) = self.keeper.take() {
            drop(stdin);
            let _ = keeper.wait();
        }
        // The keeper's work; but a fleet that failed halfway has none yet.
        let _ = fs::remove_dir_all(&self.folder);
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
