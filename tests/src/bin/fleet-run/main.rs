//! `fleet-run`: how fast a revocation reaches a fleet of real machines, some of them off or hanging, and what that costs the CA host;
//! beside it, in the same run, a plain parallel `ssh` push and Ansible, which bring the same file and prove nothing.
//!
//! ```text
//! cargo build --release --workspace --bins && target/release/fleet-run [--machines 200] [--rounds 3] [--keep 256]
//! ```
//! As root; a few minutes, and about 5 GB of memory for 200 machines. Ansible is left out where `ansible` is not installed.

mod cost;
mod peers;

use std::{
    fs,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::{Company, Fleet, Home, Machine, said, success};
use serde_json::Value;

use cost::Meter;

/// What to do.
#[derive(Debug, Clone, Copy)]
struct Options {
    machines: usize,
    rounds: usize,
    keep: usize,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!(
                "fleet-run: {error:#}\nusage: fleet-run [--machines N] [--rounds N] [--keep N]"
            );
            return ExitCode::from(2);
        }
    };
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleet-run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        machines: 200,
        rounds: 3,
        keep: 256,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<usize> {
            let text = words
                .next()
                .with_context(|| format!("{word} needs a number"))?;
            text.parse().with_context(|| format!("{word} {text}"))
        };
        match word.as_str() {
            "--machines" => options.machines = number()?,
            "--rounds" => options.rounds = number()?,
            "--keep" => options.keep = number()?,
            _ => anyhow::bail!("{word} is not known"),
        }
    }
    ensure!(options.machines >= 1, "at least one machine");
    Ok(options)
}

/// The company, its machines, and which of them do not answer.
pub struct Scene {
    company: Company,
    machines: Vec<Machine>,
    admin: Home,
    fleet: Fleet,
    /// Off, then hanging: each twentieth.
    dead: usize,
}

impl Scene {
    /// Machines that answer.
    pub fn well(&self) -> &[Machine] {
        &self.machines[2 * self.dead..]
    }
}

fn run(options: Options) -> Result<()> {
    let fleet = Fleet::new()?;
    let mut scene = set_up(&fleet, options.machines)?;
    let dead = scene.dead;
    println!(
        "{} machines: {} answer, {dead} are off, {dead} accept the connection and hang",
        options.machines,
        scene.well().len()
    );
    for machine in &scene.machines[..dead] {
        machine.power_off()?;
    }
    for machine in &scene.machines[dead..2 * dead] {
        machine.freeze()?;
    }

    println!("\nrevocations, proven machine by machine; each with a login of its own (keep = 0):");
    restart(&mut scene, 0)?;
    for round in 1..=options.rounds {
        let what = match round {
            1 => "cold, nobody knows who is dead",
            _ => "cold, the dead are known",
        };
        revoke(&scene, what)?;
    }
    println!(
        "\nthe same over kept connections (keep = {}):",
        options.keep
    );
    restart(&mut scene, options.keep)?;
    kept(&scene, options.keep)?;
    for _ in 0..options.rounds {
        revoke(&scene, "kept")?;
    }
    let meter = Meter::of(&scene.company)?;
    let (connections, kib) = meter.connections()?;
    if connections > 0 {
        println!(
            "  {connections} connections are kept: {} KiB each (proportional set size)",
            kib / connections as u64
        );
    }
    println!("  the server itself: {} MiB", meter.server_kib()? / 1024);
    let sample = scene.well().first().context("a machine that answers")?;
    println!(
        "  on {}, a kept connection costs {} KiB",
        sample.name(),
        cost::sshd_kib(sample)?
    );

    println!(
        "\nwithout the CA, to the {} machines that answer, and nothing is proven:",
        scene.well().len()
    );
    peers::run(&scene)
}

/// Machines, all of them put under the CA with the real `bootstrap`.
fn set_up(fleet: &Fleet, count: usize) -> Result<Scene> {
    let company = Company::new(fleet)?;
    company.ca_ok(&["pool", "add", "web"])?;
    let admin = fleet.home("admin")?;
    let key = admin.public_key()?;
    let began = Instant::now();
    let specs = (1..=count).map(|n| fleet.machine(&format!("web-{n}")).admin_key(&key));
    let machines = Fleet::start_all(specs.collect())?;
    println!(
        "{count} machines were started in {:.1} s",
        began.elapsed().as_secs_f32()
    );
    let hosts: Vec<String> = machines
        .iter()
        .map(|machine| {
            let key = ssh_key::PublicKey::from_openssh(&machine.host_key()?)?;
            Ok(format!(
                "{} {} web host-key={}",
                machine.name(),
                machine.addr(),
                key.fingerprint(ssh_key::HashAlg::Sha256)
            ))
        })
        .collect::<Result<_>>()?;
    let file = fleet.folder().join("hosts");
    fs::write(&file, hosts.join("\n"))?;
    let began = Instant::now();
    let output = company
        .bootstrap_command(&admin)
        .args(["add-machine", "--yes", "--at-once", "12", "--file"])
        .arg(&file)
        .output()?;
    success("bootstrap", &output)?;
    println!("and bootstrapped in {:.0} s", began.elapsed().as_secs_f32());
    Ok(Scene {
        company,
        machines,
        admin,
        fleet: fleet.clone(),
        dead: count / 20,
    })
}

fn restart(scene: &mut Scene, keep: usize) -> Result<()> {
    let config = scene.company.data().join("config.toml");
    let text = fs::read_to_string(&config)?;
    let lines: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("keep = ") {
            true => format!("keep = {keep}"),
            false => line.to_owned(),
        })
        .collect();
    ensure!(
        lines.iter().any(|line| *line == format!("keep = {keep}")),
        "no `keep` in\n{text}"
    );
    scene.company.kill()?;
    fs::write(&config, lines.join("\n"))?;
    scene.company.start()
}

/// Waits until the connections are there.
fn kept(scene: &Scene, keep: usize) -> Result<()> {
    let wanted = scene.well().len().min(keep);
    let began = Instant::now();
    let meter = Meter::of(&scene.company)?;
    while meter.connections()?.0 < wanted {
        ensure!(
            began.elapsed() < Duration::from_secs(300),
            "only {} connections are kept: {}",
            meter.connections()?.0,
            scene.company.log()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    // What is still under way for the dead is no part of what is measured.
    std::thread::sleep(Duration::from_secs(15));
    Ok(())
}

/// One revocation: of a key that nobody has.
fn revoke(scene: &Scene, what: &str) -> Result<()> {
    let meter = Meter::of(&scene.company)?;
    let before = meter.cpu_millis();
    let theirs = cost::machines_cpu_millis(scene.well());
    let began = Instant::now();
    let output = scene
        .company
        .ca(&["krl", "revoke", "--key", &fingerprint(), "--json"])?;
    let whole = began.elapsed();
    let cpu = meter.cpu_millis().saturating_sub(before);
    let theirs = cost::machines_cpu_millis(scene.well()).saturating_sub(theirs);
    let mut millis: Vec<u64> = said(&output)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["state"]["outcome"]["state"] == "proven")
        .filter_map(|event| event["state"]["millis"].as_u64())
        .collect();
    millis.sort_unstable();
    ensure!(
        millis.len() == scene.well().len(),
        "{} of {} machines proved it: {}",
        millis.len(),
        scene.well().len(),
        said(&output)
    );
    let rank = |percent: usize| millis[(millis.len() * percent).div_ceil(100) - 1];
    println!(
        "  {what}: {} proven; half within {} ms, 99 % within {} ms, all within {} ms; the dead were told after {} ms; \
         CPU of the server and its ssh {:.1} ms a machine, of the machine {:.0} ms",
        millis.len(),
        rank(50),
        rank(99),
        rank(100),
        whole.as_millis(),
        cpu as f64 / millis.len() as f64,
        theirs as f64 / millis.len() as f64
    );
    Ok(())
}

fn fingerprint() -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
    use rand_core::RngCore as _;
    let mut bytes = [0; 32];
    rand_core::OsRng.fill_bytes(&mut bytes);
    format!("SHA256:{}", STANDARD_NO_PAD.encode(bytes))
}
