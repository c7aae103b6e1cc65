//! A company with a few machines of one pool, and what these tests ask of it.

use std::process::Output;

use anyhow::{Context, Result, ensure};
pub use e2e::poll;
use e2e::{Company, Fleet, Home, Identity, Machine, said};
use serde_json::Value;

/// A company and its machines.
pub struct Scene {
    pub company: Company,
    pub machines: Vec<Machine>,
    pub fleet: Fleet,
    pub admin: Home,
}

impl Scene {
    /// `count` machines of the pool `web`, under the CA.
    pub fn new(fleet: &Fleet, count: usize) -> Result<Self> {
        let company = Company::new(fleet)?;
        company.ca_ok(&["pool", "add", "web"])?;
        let admin = fleet.home("admin")?;
        let names: Vec<String> = (1..=count).map(|n| format!("web-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let machines = fleet.machines(&names, &[&admin.public_key()?])?;
        for machine in &machines {
            company.bootstrap(&admin, machine, "web")?;
        }
        Ok(Self {
            company,
            machines,
            fleet: fleet.clone(),
            admin,
        })
    }

    /// Whether the admin's own key opens `ssh-admin`.
    pub fn admin_enters(&self, machine: &Machine) -> Result<bool> {
        let key = Identity::of("/root/.ssh/id_ed25519");
        let output = self
            .admin
            .ssh_by_hand(key, "ssh-admin", machine, &["sudo -n true"])?;
        Ok(output.status.success())
    }

    /// Revokes a key that nobody has: a new KRL for every machine, and nobody is locked out. Told with `--json`.
    pub fn revoke(&self, number: u8) -> Result<Output> {
        self.company
            .ca(&["krl", "revoke", "--key", &fingerprint(number), "--json"])
    }

    /// Invites somebody into the pool: a new generation for every machine.
    pub fn hire(&self, name: &str) -> Result<()> {
        let email = format!("{name}@corp.example");
        self.company
            .ca_ok(&["employee", "add", &email, "--pool", "web"])
            .map(drop)
    }

    pub fn view(&self, machine: &str) -> Result<Value> {
        let all = self.company.ca_json(&["machine", "list"])?;
        let all = all.as_array().context("a list of machines")?;
        all.iter()
            .find(|one| one["name"] == machine)
            .cloned()
            .with_context(|| format!("{machine} is not listed"))
    }

    /// Waits until every machine has proven what the CA wants, and until the machines themselves say so.
    pub fn converges(&self) -> Result<()> {
        poll("every machine to be as wanted", || {
            let all = self.company.ca_json(&["machine", "list"])?;
            let all = all.as_array().context("a list of machines")?;
            Ok(all.iter().all(is_current))
        })
        .with_context(|| self.company.log())?;
        for machine in &self.machines {
            let view = self.view(machine.name())?;
            ensure!(
                krl_on(machine)? == view["krl_wanted"].as_u64().unwrap_or_default(),
                "{} has another KRL than was proven",
                machine.name()
            );
        }
        Ok(())
    }
}

/// Is a machine, as the CA lists it, at what is wanted?
pub fn is_current(view: &Value) -> bool {
    view["krl_version"] == view["krl_wanted"]
        && view["generation"] == view["generation_wanted"]
        && view["trouble"] == ""
}

/// The KRL version inside the file that sshd reads.
pub fn krl_on(machine: &Machine) -> Result<u64> {
    let listed = machine.run(&["ssh-keygen", "-Q", "-l", "-f", "/etc/ssh/ca/revoked.krl"])?;
    let version = listed.stdout.lines().find_map(|line| {
        let number = line.strip_prefix("# KRL version ")?;
        number.trim().parse().ok()
    });
    version.with_context(|| format!("no version in {listed:?}"))
}

/// A key's fingerprint that no key has.
pub fn fingerprint(number: u8) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    format!("SHA256:{}", STANDARD_NO_PAD.encode([number; 32]))
}

/// The machines of the progress lines (`--json`), in the order in which they were done, with their outcome.
pub fn progress(output: &Output) -> Vec<(String, String)> {
    said(output)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "machine")
        .map(|event| {
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let state = &event["state"];
            (word(&state["machine"]), word(&state["outcome"]["state"]))
        })
        .collect()
}
