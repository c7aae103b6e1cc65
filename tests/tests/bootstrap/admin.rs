//! The admin's own login at the CA: over HTTPS, once for many machines, from a terminal or a script.

use std::{
    fs,
    io::Write,
    process::{Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use e2e::{Person, program};

use crate::scene::{Scene, ended, has};

const WORDS: [&str; 5] = [
    "add-machine",
    "--file",
    "/root/hosts",
    "--pool",
    "web-server",
];

fn bootstrap() -> String {
    program("bootstrap").to_string_lossy().into_owned()
}

/// `--login-stdin` with these three lines.
fn login(person: &Person, lines: &str) -> Result<Output> {
    let mut command = person.home.command(&bootstrap());
    command.arg("--login-stdin").args(WORDS);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn()?;
    let mut input = process.stdin.take().context("piped above")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    Ok(process.wait_with_output()?)
}

/// Email, password and a fresh code.
fn lines(person: &mut Person) -> String {
    let code = person.code();
    format!("{}\n{}\n{code}\n", person.email, person.password)
}

#[test]
fn a1_one_login_over_https_serves_many_machines() -> Result<()> {
    let Some(mut scene) = Scene::new("a1_one_login_over_https_serves_many_machines")? else {
        return Ok(());
    };
    let mut ops = scene
        .company
        .hire("ops@corp.example", &["--role", "admin"])?;
    let key = ops.home.public_key()?;
    let machines = scene.fleet.machines(&["web-1", "web-2"], &[&key])?;
    let mut hosts = String::new();
    for machine in &machines {
        let key = scene.fingerprint(machine)?;
        hosts.push_str(&format!(
            "{} {} - host-key={key}\n",
            machine.name(),
            machine.addr()
        ));
    }
    for home in [&ops.home, &scene.alice.home] {
        fs::write(home.path().join("hosts"), &hosts)?;
    }

    // Without a terminal and without a login given, nothing is asked.
    let output = ops
        .home
        .command(&bootstrap())
        .args(WORDS)
        .stdin(Stdio::null())
        .output()?;
    let said = ended(&output, 1)?;
    has(
        &said,
        &["there is no terminal to ask for", "--login-file FILE"],
    )?;

    // Without the role nobody is let in, whatever they know.
    let alices = lines(&mut scene.alice);
    let said = ended(&login(&scene.alice, &alices)?, 1)?;
    has(&said, &["did not open an admin session"])?;

    // At the terminal: email (remembered), password, code; a mistyped one is asked for again.
    let mut terminal = ops.home.terminal(&bootstrap(), &WORDS)?;
    terminal.converse("Admin's email: ", "ops@corp.example")?;
    terminal.converse("Password: ", "wrong")?;
    terminal.converse("TOTP code: ", "000000")?;
    terminal.expect("Admin's email [ops@corp.example]: ")?;
    // A wrong password closes the login for a second, and alice's refused one counts for the same network: people type more slowly.
    std::thread::sleep(std::time::Duration::from_secs(4));
    terminal.answer("")?;
    terminal.converse("Password: ", &ops.password)?;
    terminal.expect("TOTP code: ")?;
    terminal.answer(&ops.code())?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.success(), "{screen}");
    ensure!(!screen.contains(&ops.password), "the password was shown");
    has(&screen, &["alice@corp.example: ssh web-2"])?;

    let own = lines(&mut ops);
    let said = ended(&login(&ops, &own)?, 0)?;
    has(&said, &["nothing to change"])
}
