//! A CA with one employee, an admin's workstation, and machines that nobody has touched yet.

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

use anyhow::{Result, ensure};
use e2e::{Company, Fleet, Home, Machine, Person, Terminal, program, said};

/// A CA with a pool `web-server`, alice in it, and an admin with a key.
pub struct Scene {
    pub fleet: Fleet,
    pub company: Company,
    pub admin: Home,
    pub key: String,
    pub alice: Person,
}

impl Scene {
    pub fn new(test: &str) -> Result<Option<Self>> {
        let Some(fleet) = Fleet::for_test(test) else {
            return Ok(None);
        };
        let company = Company::new(&fleet)?;
        company.ca_ok(&["pool", "add", "web-server"])?;
        company.ca_ok(&["pool", "add", "database"])?;
        let alice = company.hire("alice@corp.example", &["--pool", "web-server"])?;
        let admin = fleet.home("admin")?;
        let key = admin.public_key()?;
        Ok(Some(Self {
            fleet,
            company,
            admin,
            key,
            alice,
        }))
    }

    /// A machine with the admin's key for ssh-admin.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        self.fleet.machine(name).admin_key(&self.key).start()
    }

    /// `bootstrap` at the admin's workstation.
    pub fn bootstrap(&self) -> Command {
        let mut command = self.company.bootstrap_command(&self.admin);
        // What a killed one leaves goes with the fleet.
        command.env("TMPDIR", self.fleet.folder());
        command
    }

    /// `bootstrap` on a terminal of its own.
    pub fn at_terminal(&self, words: &[&str]) -> Result<Terminal> {
        let mut command = self
            .admin
            .command_tty(&program("bootstrap").to_string_lossy());
        command.env("TMPDIR", self.fleet.folder());
        command
            .arg("--socket")
            .arg(self.company.data().join("admin.sock"))
            .args(words);
        Terminal::open(command)
    }

    /// The words of `add-machine` for this machine, but for its host key.
    pub fn words(machine: &Machine) -> Vec<String> {
        let address = machine.addr().to_string();
        [
            "add-machine",
            machine.name(),
            "--pool",
            "web-server",
            "--address",
            &address,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// A machine's host key as `SHA256:…`.
    pub fn fingerprint(&self, machine: &Machine) -> Result<String> {
        let printed = machine
            .run(&["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"])?
            .stdout;
        Ok(printed
            .split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned())
    }

    /// What the CA says of a machine: `preparing`, `managed`, or nothing.
    pub fn status(&self, machine: &str) -> Result<String> {
        let shown = self.company.ca_json(&["machine", "show", machine])?;
        Ok(shown.to_string())
    }

    /// alice's certificate opens this machine, and her account is hers.
    pub fn alice_gets_in(&mut self, machine: &Machine) -> Result<()> {
        self.alice.login()?;
        let output = self.alice.ssh(&[machine.name(), "id -un"])?;
        ensure!(
            output.status.success() && output.stdout == b"alice\n",
            "alice: {}\n{}",
            said(&output),
            machine.sshd_log()
        );
        Ok(())
    }

    /// `bootstrap add-machine` for this machine into `web-server`, with its host key told.
    pub fn add(&self, machine: &Machine) -> Result<Command> {
        let mut command = self.bootstrap();
        command.args(["add-machine", machine.name(), "--pool", "web-server"]);
        command.args([
            "--address",
            &machine.addr().to_string(),
            "--host-key",
            &machine.host_key()?,
        ]);
        Ok(command)
    }
}

/// The program ended with this status; what it said.
pub fn ended(output: &Output, code: i32) -> Result<String> {
    let words = said(output);
    ensure!(
        output.status.code() == Some(code),
        "expected status {code}, got {}:\n{words}",
        output.status
    );
    Ok(words)
}

/// Every one of these stands in the text.
pub fn has(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} does not stand in:\n{text}");
    }
    Ok(())
}

/// What a configuration change could touch: path, mode, owner and hash of each file, and each account.
pub fn state(machine: &Machine) -> Result<BTreeMap<String, String>> {
    let script = "cd /; { find etc root home var/spool var/lib/ssh-ca -xdev -type f ! -name '*.lock' ! -name '.pwd.lock' ! -path '*/ssh-ca/work.*' 2>/dev/null | sort | \
                  while read -r f; do echo \"$f $(stat -c '%a %u %g' \"$f\") $(sha256sum <\"$f\" | cut -c1-16)\"; done; }";
    let text = machine.run(&["sh", "-c", script])?.stdout;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(path, rest)| (path.to_owned(), rest.to_owned()))
        .collect())
}

/// The paths that differ.
pub fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let paths = before
        .keys()
        .chain(after.keys().filter(|path| !before.contains_key(*path)));
    paths
        .filter(|path| before.get(*path) != after.get(*path))
        .cloned()
        .collect()
}
