//! A CA with alice, and one machine where somebody had a key of their own before the CA came.

use std::process::{Child, Output, Stdio};

use anyhow::{Context, Result, ensure};
pub use e2e::poll;
use e2e::{Company, Fleet, Home, Identity, Machine, Person, said};
use serde_json::Value;

pub struct Scene {
    pub company: Company,
    pub admin: Home,
    pub web: Machine,
    pub alice: Person,
    /// Whose static key opens `ubuntu` on the machine.
    pub ops: Home,
}

impl Scene {
    pub fn new(test: &str) -> Result<Option<Self>> {
        let Some(fleet) = Fleet::for_test(test) else {
            return Ok(None);
        };
        let company = Company::new(&fleet)?;
        company.ca_ok(&["pool", "add", "web-server"])?;
        let alice = company.hire("alice@corp.example", &["--pool", "web-server"])?;
        let (admin, ops) = (fleet.home("admin")?, fleet.home("ops")?);
        let web = fleet
            .machine("web-1")
            .admin_key(&admin.public_key()?)
            .start()?;
        let scene = Self {
            company,
            admin,
            web,
            alice,
            ops,
        };
        scene.add_ubuntu(&scene.web)?;
        scene
            .company
            .bootstrap(&scene.admin, &scene.web, "web-server")?;
        Ok(Some(scene))
    }

    /// An account of the site's own with a static key.
    pub fn add_ubuntu(&self, machine: &Machine) -> Result<()> {
        machine.run(&["useradd", "-m", "-s", "/bin/sh", "ubuntu"])?;
        machine.run(&[
            "install",
            "-d",
            "-m",
            "700",
            "-o",
            "ubuntu",
            "/home/ubuntu/.ssh",
        ])?;
        let key = format!("{} ops laptop\n", self.ops_key()?);
        machine.write_file("/home/ubuntu/.ssh/authorized_keys", key.as_bytes())?;
        machine.run(&["chown", "ubuntu:", "/home/ubuntu/.ssh/authorized_keys"])?;
        machine.run(&["chmod", "600", "/home/ubuntu/.ssh/authorized_keys"])?;
        Ok(())
    }

    /// Type and base64 of the key.
    fn ops_key(&self) -> Result<String> {
        let key = self.ops.public_key()?;
        Ok(key.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// Whether the static key opens an account; an error where sshd does not answer.
    pub fn ops_enters(&self, machine: &Machine, account: &str) -> Result<bool> {
        let output = ssh_key(&self.ops, machine, account, "true")?;
        entered(&output, machine)
    }

    pub fn admin_enters(&self, machine: &Machine) -> Result<bool> {
        let output = ssh_key(&self.admin, machine, "ssh-admin", "sudo -n true")?;
        entered(&output, machine)
    }

    /// A shell command on web-1 as root.
    pub fn sh(&self, script: &str) -> Result<()> {
        self.web.run(&["sh", "-c", script]).map(drop)
    }

    /// `ca-server check` of all machines: its exit code, and what it found on web-1.
    pub fn check(&self, words: &[&str]) -> Result<(i32, Value)> {
        let output = self.company.ca(&[&["check", "--json"], words].concat())?;
        let value: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("check: {}", said(&output)))?;
        let one = value
            .as_array()
            .and_then(|all| all.iter().find(|one| one["machine"] == "web-1"))
            .with_context(|| format!("web-1 is not in {value}"))?;
        Ok((output.status.code().unwrap_or(-1), one.clone()))
    }

    /// The key that alice's certificate is on, after a login.
    pub fn alice_key(&mut self) -> Result<String> {
        self.alice.home.agent()?;
        self.alice.login()?;
        let key = std::fs::read_to_string(self.alice.home.ssh_path("ca/id.pub"))?;
        Ok(key.trim_end().to_owned())
    }

    /// alice's session that says `ready` and then stays.
    pub fn alice_stays(&self, machine: &Machine) -> Result<Child> {
        use std::io::{BufRead, BufReader};
        let mut child = self
            .alice
            .home
            .command("ssh")
            .args([machine.name(), "echo ready; exec sleep 1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("piped above")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "her session did not begin: {line:?}");
        Ok(child)
    }
}

/// ssh with the home's own key and nothing else.
pub fn ssh_key(home: &Home, machine: &Machine, account: &str, command: &str) -> Result<Output> {
    let key = Identity::of("/root/.ssh/id_ed25519");
    home.ssh_by_hand(key, account, machine, &[command])
}

fn entered(output: &Output, machine: &Machine) -> Result<bool> {
    match output.status.code() {
        Some(0) => Ok(true),
        Some(255) if said(output).contains("Permission denied") => Ok(false),
        _ => anyhow::bail!("ssh: {}\n{}", said(output), machine.sshd_log()),
    }
}

/// The codes of its findings from this gravity on.
pub fn codes(check: &Value, gravities: &[&str]) -> Vec<String> {
    let findings = check["findings"].as_array().cloned().unwrap_or_default();
    let wanted = findings.iter().filter(|finding| {
        gravities
            .iter()
            .any(|gravity| finding["gravity"] == *gravity)
    });
    wanted
        .map(|finding| finding["code"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The finding whose text has these words.
pub fn finding<'a>(check: &'a Value, code: &str, words: &str) -> Result<&'a Value> {
    let found = check["findings"].as_array().and_then(|findings| {
        findings.iter().find(|finding| {
            finding["code"] == code
                && finding["what"]
                    .as_str()
                    .is_some_and(|what| what.contains(words))
        })
    });
    found.with_context(|| format!("no finding {code:?} about {words:?} in {check:#}"))
}
