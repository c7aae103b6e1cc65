//! What the tests of policy share: bootstrapped machines, people who are logged in, and every way that a person could try a door.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Company, Fleet, Home, Machine, Person, said};
use serde_json::Value;

/// One door: a machine's name and an account on it.
pub type Door = (String, String);

/// A CA, its machines, its people.
pub struct Scene {
    pub fleet: Fleet,
    pub company: Company,
    pub admin: Home,
    pub machines: Vec<Machine>,
}

impl Scene {
    /// Machines in pools, bootstrapped side by side. The pools are there already.
    pub fn bootstrap(fleet: &Fleet, company: Company, machines: &[(&str, &str)]) -> Result<Self> {
        let admin = fleet.home("admin")?;
        let names: Vec<&str> = machines.iter().map(|(name, _)| *name).collect();
        let started = fleet.machines(&names, &[&admin.public_key()?])?;
        company.bootstrap_all(&admin, &started, machines)?;
        Ok(Self {
            fleet: fleet.clone(),
            company,
            admin,
            machines: started,
        })
    }

    pub fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines
            .iter()
            .find(|machine| machine.name() == name)
            .with_context(|| format!("no machine {name} here"))
    }

    /// Writes a document beside the CA's data and says its path.
    pub fn document(&self, name: &str, text: &str) -> Result<String> {
        let path = self.fleet.folder().join(name);
        fs::write(&path, text)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The generation of each machine as the CA wants it, by name.
    pub fn generations(&self) -> Result<std::collections::BTreeMap<String, u64>> {
        let shown = self.company.ca_json(&["machine", "list"])?;
        shown
            .as_array()
            .with_context(|| shown.to_string())?
            .iter()
            .map(|machine| {
                let name = machine["name"].as_str().context("a machine has a name")?;
                let generation = machine["generation_wanted"]
                    .as_u64()
                    .with_context(|| machine.to_string())?;
                Ok((name.to_owned(), generation))
            })
            .collect()
    }

    /// Waits until every machine has what the CA wants of it.
    pub fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(180);
        loop {
            let output = self.company.ca(&["sync"])?;
            if output.status.success() {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "the machines do not settle:\n{}\n{}",
                said(&output),
                self.company.log()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Whether a person gets through a door with everything they hold: the day's key, and all of their certificates at once, which
/// is more than the client's own configuration offers.
pub fn gets_in(person: &Person, machine: &Machine, account: &str) -> Result<bool> {
    let state = person.home.ssh_path("ca");
    let mut options: Vec<String> = certificates(&state)?
        .into_iter()
        .map(|name| format!("CertificateFile=/root/.ssh/ca/{name}"))
        .collect();
    let identity = if state.join("id.pub").exists() {
        "/root/.ssh/ca/id.pub"
    } else {
        "/root/.ssh/ca/id"
    };
    options.extend([
        format!("IdentityFile={identity}"),
        "IdentitiesOnly=yes".to_owned(),
        "BatchMode=yes".to_owned(),
        "StrictHostKeyChecking=no".to_owned(),
        "UserKnownHostsFile=/dev/null".to_owned(),
        "LogLevel=ERROR".to_owned(),
    ]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let output = person
            .home
            .command("ssh")
            .args(["-F", "none"])
            .args(options.iter().flat_map(|option| ["-o", option.as_str()]))
            .args(["-l", account, &machine.addr().to_string(), "true"])
            .stdin(Stdio::null())
            .output()?;
        if let Some(answer) = verdict(&output) {
            return Ok(answer);
        }
        ensure!(
            Instant::now() < deadline,
            "{} at {account}@{}: neither in nor refused:\n{}",
            person.email,
            machine.name(),
            said(&output)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// In, refused by name, or neither: a listener that is closed for the moment of a reload says nothing about the door.
fn verdict(output: &Output) -> Option<bool> {
    if output.status.success() {
        return Some(true);
    }
    said(output)
        .contains("Permission denied (publickey")
        .then_some(false)
}

fn certificates(state: &Path) -> Result<BTreeSet<String>> {
    let Ok(entries) = fs::read_dir(state) else {
        return Ok(BTreeSet::new());
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .filter(|name| {
            name.as_ref()
                .is_ok_and(|name: &String| name.ends_with("-cert.pub"))
                || name.is_err()
        })
        .collect()
}

/// Plain `ssh account@machine`, as a person types it.
pub fn plain_ssh(person: &Person, machine: &str, account: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let to = format!("{account}@{machine}");
        let output = person.ssh(&["-o", "BatchMode=yes", &to, "true"])?;
        if output.status.success() {
            return Ok(());
        }
        if !said(&output).contains("Connection refused") || Instant::now() > deadline {
            bail!(
                "{}: plain ssh {to} ended with {}:\n{}",
                person.email,
                output.status,
                said(&output)
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The doors that the CA's matrix says are open to somebody.
pub fn doors(matrix: &Value, email: &str) -> Result<BTreeSet<Door>> {
    let rows = matrix["rows"]
        .as_array()
        .with_context(|| matrix.to_string())?;
    let row = rows
        .iter()
        .find(|row| row["email"] == email)
        .with_context(|| format!("{email} is not in {matrix}"))?;
    row["cells"]
        .as_array()
        .with_context(|| row.to_string())?
        .iter()
        .map(|cell| {
            let word = |field: &str| {
                cell[field]
                    .as_str()
                    .map(str::to_owned)
                    .with_context(|| cell.to_string())
            };
            Ok((word("machine")?, word("account")?))
        })
        .collect()
}
