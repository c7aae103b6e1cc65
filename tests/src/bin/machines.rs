//! `pool-machines`: named machines and workstations for scripts; stays in the foreground, and everything ends with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use e2e::{CA_ADDRESS, Fleet, Home, Machine, Sudo};
use nix::sys::signal::{SigSet, Signal, kill};
use serde_json::json;

const USAGE: &str = "usage: pool-machines --dir DIR [--admin NAME]... [--home NAME]... [--admin-key FILE]... [--sudo-password-file FILE] MACHINE...

Starts machines with Debian's sshd, each reached as ssh-admin by the admins' keys, on a network of their own (10.77.0.0/16).
  --admin NAME      a workstation whose key (~/.ssh/id_ed25519) the machines accept for ssh-admin
  --home NAME       a workstation without access to anything
  --admin-key FILE  a public key that the machines accept for ssh-admin, too
  --sudo-password-file FILE   ssh-admin's sudo asks for this password (without it: sudo asks for none)
Prints one JSON line for each machine, workstation and the operator's side, then {\"kind\":\"ready\"}. DIR gets a script for each place to run
commands at: DIR/operator, DIR/at-NAME for workstations, DIR/on-MACHINE (as root). It ends, and everything with it, on SIGTERM, SIGINT,
SIGHUP, or at the end of standard input (unless that is /dev/null).";

#[derive(Debug, Default)]
struct Options {
    dir: Option<PathBuf>,
    admins: Vec<String>,
    homes: Vec<String>,
    keys: Vec<PathBuf>,
    sudo_password: Option<PathBuf>,
    machines: Vec<String>,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("pool-machines: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pool-machines: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--dir" => options.dir = Some(value()?.into()),
            "--admin" => options.admins.push(value()?),
            "--home" => options.homes.push(value()?),
            "--admin-key" => options.keys.push(value()?.into()),
            "--sudo-password-file" => options.sudo_password = Some(value()?.into()),
            flag if flag.starts_with('-') => bail!("{flag} is not known"),
            _ => options.machines.push(word),
        }
    }
    ensure!(options.dir.is_some(), "--dir is needed");
    ensure!(!options.machines.is_empty(), "name at least one machine");
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    let dir = options.dir.as_deref().expect("options() checked it");
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let mut scripts = Vec::new();
    let fleet = Fleet::new()?;

    let home = |name: &String| -> Result<Home> {
        let home = fleet.home(name)?;
        home.agent()?;
        Ok(home)
    };
    let admins = options
        .admins
        .iter()
        .map(home)
        .collect::<Result<Vec<_>>>()?;
    let homes = options.homes.iter().map(home).collect::<Result<Vec<_>>>()?;
    let mut keys = admins
        .iter()
        .map(Home::public_key)
        .collect::<Result<Vec<_>>>()?;
    for file in &options.keys {
        keys.push(fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?);
    }
    let sudo = match &options.sudo_password {
        None => Sudo::NoPassword,
        Some(file) => {
            let text =
                fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            Sudo::Password(text.trim_end_matches('\n').to_owned())
        }
    };
    let specs = options.machines.iter().map(|name| {
        keys.iter()
            .fold(fleet.machine(name).sudo(sudo.clone()), |spec, key| {
                spec.admin_key(key)
            })
    });
    let machines = Fleet::start_all(specs.collect())?;

    let prefix = fleet.command_prefix();
    scripts.push(script(dir, "operator", &prefix)?);
    say(&json!({"kind": "operator", "address": CA_ADDRESS, "command": prefix}))?;
    for home in admins.iter().chain(&homes) {
        let prefix = home.command_prefix();
        scripts.push(script(dir, &format!("at-{}", home.name()), &prefix)?);
        say(&json!({"kind": "home", "name": home.name(), "path": home.path(), "command": prefix}))?;
    }
    for machine in &machines {
        let (pid, fingerprint) = described(machine)?;
        let words = [
            "nsenter",
            "--target",
            &pid.to_string(),
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--",
        ];
        let prefix = words.map(str::to_owned).to_vec();
        scripts.push(script(dir, &format!("on-{}", machine.name()), &prefix)?);
        say(&json!({
            "kind": "machine", "name": machine.name(), "address": machine.addr(), "pid": pid, "host_key": fingerprint, "command": prefix,
        }))?;
    }
    say(&json!({"kind": "ready"}))?;

    await_end()?;
    // The scripts lead nowhere from here on.
    for script in scripts {
        let _ = fs::remove_file(script);
    }
    Ok(())
}

fn described(machine: &Machine) -> Result<(u32, String)> {
    let pid = machine
        .pid()
        .with_context(|| format!("{} is off", machine.name()))?;
    let key = ssh_key::PublicKey::from_openssh(&machine.host_key()?)?;
    Ok((pid, key.fingerprint(ssh_key::HashAlg::Sha256).to_string()))
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn script(dir: &Path, name: &str, prefix: &[String]) -> Result<PathBuf> {
    let path = dir.join(name);
    // The words are ours (numbers, options, a temporary path): none needs quoting.
    fs::write(
        &path,
        format!("#!/bin/sh\nexec {} \"$@\"\n", prefix.join(" ")),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Waits for a signal or for the end of standard input. Before this, a signal ends the process as usual and the fleet's keeper clears
/// up: signals are blocked only now, because programs started with blocked signals would never hear them.
fn await_end() -> Result<()> {
    let ends = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    ends.thread_block()?;
    if !is_dev_null() {
        std::thread::spawn(|| {
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            let _ = kill(nix::unistd::getpid(), Signal::SIGTERM);
        });
    }
    ends.wait()?;
    Ok(())
}

/// A shell gives its background jobs /dev/null as standard input; its end says nothing.
fn is_dev_null() -> bool {
    let (Ok(input), Ok(null)) = (fs::metadata("/proc/self/fd/0"), fs::metadata("/dev/null")) else {
        return false;
    };
    input.file_type().is_char_device() && input.rdev() == null.rdev()
}
