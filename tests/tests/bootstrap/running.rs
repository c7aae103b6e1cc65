//! A `bootstrap` that runs, and can be stopped, let go on or killed after any line of its narration.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use e2e::Machine;

use crate::scene::Scene;

/// A running `add-machine`, and what it said so far.
pub struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStderr>>,
    seen: String,
}

impl Running {
    /// Starts it with a timer that strikes after whatever the test is about.
    pub fn start(scene: &Scene, machine: &Machine) -> Result<Self> {
        Self::start_within(scene, machine, 600)
    }

    /// Starts it with a timer of so many seconds.
    pub fn start_within(scene: &Scene, machine: &Machine, secs: u32) -> Result<Self> {
        let mut command = scene.add(machine)?;
        command
            .args(["--confirm-within", &secs.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let lines = BufReader::new(process.stderr.take().context("piped above")?).lines();
        Ok(Self {
            process,
            lines,
            seen: String::new(),
        })
    }

    /// Waits for a line of the narration with these words.
    pub fn until(&mut self, words: &str) -> Result<()> {
        for line in &mut self.lines {
            let line = line?;
            self.seen.push_str(&format!("{line}\n"));
            if line.contains(words) {
                return Ok(());
            }
        }
        bail!("{words:?} was never said:\n{}", self.seen)
    }

    /// Waits for such a line, and stops bootstrap there; `signal("-CONT")` lets it go on.
    pub fn stop_at(&mut self, words: &str) -> Result<()> {
        self.until(words)?;
        self.signal("-STOP")
    }

    /// Sends bootstrap itself a signal: it runs in place of what was spawned, or below its `setsid`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let outer = self.process.id().to_string();
        let below = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"))?;
        let named = |pid: &&str| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.trim() == "bootstrap")
        };
        let pid = [outer.as_str()]
            .into_iter()
            .chain(below.split_whitespace())
            .find(named)
            .with_context(|| format!("bootstrap does not run any more:\n{}", self.seen))?;
        let status = Command::new("kill").args([signal, pid]).status()?;
        ensure!(status.success(), "kill {signal} {pid}: {status}");
        Ok(())
    }

    /// Kills it where it stands.
    pub fn kill(mut self) -> Result<()> {
        self.signal("-KILL")?;
        let status = self.process.wait()?;
        ensure!(
            !status.success(),
            "it had ended before it was killed:\n{}",
            self.seen
        );
        Ok(())
    }

    /// Lets it end by itself; its status and everything it said.
    pub fn end(mut self) -> Result<(Option<i32>, String)> {
        for line in &mut self.lines {
            self.seen.push_str(&format!("{}\n", line?));
        }
        Ok((self.process.wait()?.code(), self.seen))
    }
}
