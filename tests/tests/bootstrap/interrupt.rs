//! H1: Ctrl-C at the terminal says where the machine stands, whatever else hears it there.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use e2e::Terminal;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::scene::{Scene, ended, has};

#[test]
fn h1_ctrl_c_says_where_the_machine_stands() -> Result<()> {
    let Some(scene) = Scene::new("h1_ctrl_c_says_where_the_machine_stands")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let mut words = Scene::words(&web);
    words.extend(["--host-key".to_owned(), web.host_key()?]);
    words.extend(["--confirm-within", "600"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut terminal = scene.at_terminal(&words)?;
    terminal.expect("logged in")?;
    terminal.interrupt()?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.code() == Some(1), "{status}: {screen}");
    has(&screen, &["Interrupted.", "web-1: nothing was changed"])?;

    let mut terminal = scene.at_terminal(&words)?;
    terminal.expect("snapshot kept")?;
    terminal.interrupt()?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.code() == Some(1), "{status}: {screen}");
    has(
        &screen,
        &[
            "Interrupted.",
            "puts everything back by itself within 600 s",
        ],
    )?;
    let words = ended(&scene.add(&web)?.output()?, 0)?;
    has(
        &words,
        &[
            "an earlier change that nobody had confirmed was put back first",
            "keeps it now",
        ],
    )
}

#[test]
fn h1_ctrl_c_breaks_no_connection_before_it_is_judged() -> Result<()> {
    let Some(scene) = Scene::new("h1_ctrl_c_breaks_no_connection_before_it_is_judged")? else {
        return Ok(());
    };
    let web = scene.machine("web-1")?;
    let mut words = Scene::words(&web);
    words.extend(["--host-key".to_owned(), web.host_key()?]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let terminal = scene.at_terminal(&words)?;
    interrupted_with_a_slow_bootstrap(terminal, "logged in")?;
    ended(&scene.add(&web)?.output()?, 0)?;

    // Both hang in their login: the machine accepts the connection and says nothing.
    web.freeze()?;
    let terminal = scene.at_terminal(&["remove-machine", "web-1", "--yes"])?;
    interrupted_with_a_slow_bootstrap(terminal, "looking at its host key")?;
    let terminal = scene.at_terminal(&["check", "web-1"])?;
    interrupted_with_a_slow_bootstrap(terminal, "looking from here")?;
    web.thaw()?;
    has(&scene.status("web-1")?, &["managed"])
}

/// Presses Ctrl-C while an `ssh` of bootstrap runs and bootstrap itself gets no time to notice: the `ssh` lives on until it does, and then
/// ends with it.
fn interrupted_with_a_slow_bootstrap(mut terminal: Terminal, at: &str) -> Result<()> {
    terminal.expect(at)?;
    let (bootstrap, ssh) = until("bootstrap and its ssh", || {
        // It runs in place of what was started on the terminal, or below it.
        let mut processes = below(terminal.pid());
        processes.push(Pid::from_raw(terminal.pid().cast_signed()));
        let bootstrap = processes.iter().find(|pid| comm(**pid) == "bootstrap");
        // One that goes to the machine: others only ask the client what it knows.
        let ssh = processes.iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.starts_with("ssh\0") && words.contains("ConnectTimeout="))
        });
        Ok(bootstrap.copied().zip(ssh.copied()))
    })
    .with_context(|| terminal.screen())?;
    kill(bootstrap, Signal::SIGSTOP)?;
    // Each of its threads: one that still runs would take the interrupt.
    until("bootstrap to stand still", || {
        Ok(is_stopped(bootstrap)?.then_some(()))
    })?;
    terminal.interrupt()?;
    until("the interrupt", || Ok(is_pending(bootstrap)?.then_some(())))?;
    ensure!(
        runs(ssh),
        "at {at:?}: Ctrl-C ended the connection before bootstrap could say where the machine stands"
    );
    kill(bootstrap, Signal::SIGCONT)?;
    let (status, screen) = terminal.finish()?;
    ensure!(status.code() == Some(1), "{status}: {screen}");
    has(&screen, &["Interrupted.", "web-1: "])?;
    ensure!(!screen.contains("broke"), "{screen}");
    until("the end of ssh", || Ok((!runs(ssh)).then_some(())))
}

fn until<T>(what: &str, mut so: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        if let Some(found) = so()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{what}: not within 180 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every process below this one.
fn below(pid: u32) -> Vec<Pid> {
    // Listed with the thread that started them.
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let children = tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .collect::<Vec<_>>()
        .join(" ");
    let mut found = Vec::new();
    for child in children.split_whitespace() {
        if let Ok(child) = child.parse::<i32>() {
            found.push(Pid::from_raw(child));
            found.extend(below(child.unsigned_abs()));
        }
    }
    found
}

fn comm(pid: Pid) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

/// Whether the process runs, and is no zombie that only waits to be noticed.
fn runs(pid: Pid) -> bool {
    comm(pid) == "ssh"
        && fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Whether every thread of the process stands still.
fn is_stopped(pid: Pid) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        if !stat.is_empty() && !stat.contains(") T ") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the interrupt has come to the process, which is stopped.
fn is_pending(pid: Pid) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let shared = status
        .lines()
        .find_map(|line| line.strip_prefix("ShdPnd:"))
        .context("pending signals")?;
    let bits = u64::from_str_radix(shared.trim(), 16)?;
    Ok(bits & (1 << (Signal::SIGINT as u64 - 1)) != 0)
}
