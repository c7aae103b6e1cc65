//! A real terminal (PTY) with a program on it, and a person who reads and types.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::pty::{Winsize, openpty};

/// How long a person waits for words on the screen.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long nothing more must come from a terminal whose program has ended and which somebody else still holds.
const QUIET: Duration = Duration::from_secs(2);

/// A program on a terminal of its own; killed, if it still runs, when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    process: Child,
    keyboard: File,
    screen: Arc<Screen>,
    /// How much of the screen has been matched by [`Terminal::expect`].
    read: usize,
}

#[derive(Debug, Default)]
struct Screen {
    seen: Mutex<(Vec<u8>, Line)>,
    changed: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Open,
    Closed,
}

impl Terminal {
    /// Starts a command made by [`crate::Home::command_tty`], on 40 lines of 120 columns.
    ///
    /// # Errors
    /// When there is no terminal left, or the command cannot be started.
    pub fn open(mut command: Command) -> Result<Self> {
        let size = Winsize {
            ws_row: 40,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).context("opening a terminal")?;
        let process = command
            .env("TERM", "xterm-256color")
            .stdin(Stdio::from(pair.slave.try_clone()?))
            .stdout(Stdio::from(pair.slave.try_clone()?))
            .stderr(Stdio::from(pair.slave))
            .spawn()?;
        // The command holds the far end too: only when it is gone does the program's end close the line.
        drop(command);
        let keyboard = File::from(pair.master);
        let screen = Arc::new(Screen::default());
        let (mut lines, watched) = (keyboard.try_clone()?, Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            // The kernel tells the end of a terminal as an error (EIO).
            while let Ok(count @ 1..) = lines.read(&mut part) {
                watched.lock().0.extend_from_slice(&part[..count]);
                watched.changed.notify_all();
            }
            watched.lock().1 = Line::Closed;
            watched.changed.notify_all();
        });
        Ok(Self {
            process,
            keyboard,
            screen,
            read: 0,
        })
    }

    /// Waits for words on the screen, after those of the last call, and returns what stood before and with them.
    ///
    /// # Errors
    /// When they do not come in time or the program ends before; the error holds the whole screen.
    pub fn expect(&mut self, words: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.screen.lock();
        loop {
            let fresh = &seen.0[self.read..];
            if let Some(at) = fresh
                .windows(words.len())
                .position(|window| window == words.as_bytes())
            {
                let end = at + words.len();
                let text = String::from_utf8_lossy(&fresh[..end]).into_owned();
                self.read += end;
                return Ok(text);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if seen.1 == Line::Closed || left.is_zero() {
                let why = if left.is_zero() {
                    "did not come"
                } else {
                    "did not come before the program ended"
                };
                bail!(
                    "{words:?} {why}; the screen:\n{}",
                    String::from_utf8_lossy(&seen.0)
                );
            }
            seen = self
                .screen
                .changed
                .wait_timeout(seen, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Types a line and the Enter key.
    ///
    /// # Errors
    /// When the program has closed its terminal.
    pub fn answer(&mut self, line: &str) -> Result<()> {
        self.keyboard.write_all(line.as_bytes())?;
        Ok(self.keyboard.write_all(b"\r")?)
    }

    /// Waits for words, then types a line.
    ///
    /// # Errors
    /// As [`Terminal::expect`] and [`Terminal::answer`].
    pub fn converse(&mut self, words: &str, line: &str) -> Result<()> {
        self.expect(words)?;
        self.answer(line)
    }

    /// Presses Ctrl-C.
    ///
    /// # Errors
    /// When the program has closed its terminal.
    pub fn interrupt(&mut self) -> Result<()> {
        Ok(self.keyboard.write_all(b"\x03")?)
    }

    /// The process that was started on it: the program, or what waits for it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything that was on the screen so far.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().0).into_owned()
    }

    /// Waits for the program's end; its status and everything that was on the screen.
    ///
    /// # Errors
    /// When it does not end in time; the error holds the screen.
    pub fn finish(mut self) -> Result<(ExitStatus, String)> {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.screen.lock();
        while seen.1 == Line::Open && Instant::now() < deadline {
            // Polled as well: a program that left a child behind on the terminal has ended all the same. What it said last may not
            // have been read yet.
            if let Some(status) = self.process.try_wait()? {
                while seen.1 == Line::Open {
                    let (later, waited) = self
                        .screen
                        .changed
                        .wait_timeout(seen, QUIET)
                        .unwrap_or_else(PoisonError::into_inner);
                    seen = later;
                    if waited.timed_out() {
                        break;
                    }
                }
                return Ok((status, String::from_utf8_lossy(&seen.0).into_owned()));
            }
            let patience = Duration::from_millis(50);
            seen = self
                .screen
                .changed
                .wait_timeout(seen, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let text = String::from_utf8_lossy(&seen.0).into_owned();
        drop(seen);
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok((status, text));
            }
            if Instant::now() > deadline {
                bail!("the program did not end; the screen:\n{text}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Screen {
    fn lock(&self) -> MutexGuard<'_, (Vec<u8>, Line)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
