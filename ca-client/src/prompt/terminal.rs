//! Questions on `/dev/tty`, with the echo off where the answer is a secret, and the terminal as it was afterwards.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
    unistd::{getpgrp, tcgetpgrp},
};
use zeroize::{Zeroize, Zeroizing};

use super::{MAX_ANSWER_BYTES, PromptError};

/// The controlling terminal.
#[derive(Debug)]
pub struct Terminal {
    tty: File,
}

/// Puts the terminal back, also when a question is left early.
struct Raw<'a> {
    tty: &'a File,
    before: Termios,
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.tty, SetArg::TCSADRAIN, &self.before);
    }
}

impl Terminal {
    /// The controlling terminal, if this process may talk on it: a background job that reads would be stopped.
    #[must_use]
    pub fn open() -> Option<Self> {
        let tty = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        let in_front = tcgetpgrp(&tty).is_ok_and(|group| group == getpgrp());
        in_front.then_some(Self { tty })
    }

    /// Shows a line.
    pub fn say(&mut self, line: &str) {
        let _ = writeln!(self.tty, "{line}");
    }

    /// Asks, echoing what is typed.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn shown(&mut self, prompt: &str, what: &str) -> Result<String, PromptError> {
        self.ask(prompt, what, Echo::On)
    }

    /// Asks without an echo.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn hidden(&mut self, prompt: &str, what: &str) -> Result<String, PromptError> {
        self.ask(prompt, what, Echo::Off)
    }

    /// Asks a yes/no question, yes by default; silence for `patience` is a no, so that nothing waits for a person who
    /// has left.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn offer(&mut self, question: &str, patience: Duration) -> Result<bool, PromptError> {
        let io = |source| PromptError::Io {
            what: "answer".to_owned(),
            source,
        };
        write!(self.tty, "{question} [Y/n] ")
            .and_then(|()| self.tty.flush())
            .map_err(io)?;
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.tty.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, timeout).map_err(|errno| io(errno.into()))? == 0 {
            self.say("");
            return Ok(false);
        }
        let answer = self.ask("", "answer", Echo::On)?;
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "" | "y" | "yes"
        ))
    }

    fn ask(&mut self, prompt: &str, what: &str, echo: Echo) -> Result<String, PromptError> {
        let io = |source: io::Error| PromptError::Io {
            what: what.to_owned(),
            source,
        };
        let before = tcgetattr(&self.tty).map_err(|errno| io(errno.into()))?;
        let mut raw = before.clone();
        // Signals off too: Ctrl-C arrives as a byte, so that the echo is on again before this process ends.
        raw.local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG | LocalFlags::IEXTEN);
        tcsetattr(&self.tty, SetArg::TCSADRAIN, &raw).map_err(|errno| io(errno.into()))?;
        let _raw = Raw {
            tty: &self.tty,
            before,
        };
        // The echo is off before the question shows: whoever types at once is not echoed either.
        let mut out = &self.tty;
        out.write_all(prompt.as_bytes()).map_err(io)?;
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
        let mut tty = &self.tty;
        let mut byte = Zeroizing::new([0]);
        loop {
            match tty.read(&mut *byte) {
                Ok(0) => return Err(PromptError::Cancelled),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(io(error)),
            }
            match byte[0] {
                b'\n' | b'\r' => break,
                3 | 4 | 28 => {
                    let _ = out.write_all(b"\r\n");
                    return Err(PromptError::Cancelled);
                }
                8 | 127 => {
                    // A character of UTF-8 is up to four bytes; continuation bytes begin with 10.
                    while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
                    if echo == Echo::On {
                        let _ = write!(out, "\r\x1b[K{prompt}{}", String::from_utf8_lossy(&line));
                    }
                }
                21 => {
                    line.zeroize();
                    line.clear();
                    if echo == Echo::On {
                        let _ = write!(out, "\r\x1b[K{prompt}");
                    }
                }
                control if control < 32 => {}
                _ if line.len() == MAX_ANSWER_BYTES => {
                    return Err(PromptError::TooLong(what.to_owned()));
                }
                other => {
                    line.push(other);
                    if echo == Echo::On {
                        let _ = out.write_all(&[other]);
                    }
                }
            }
        }
        let _ = out.write_all(b"\r\n");
        std::str::from_utf8(&line)
            .map(str::to_owned)
            .map_err(|_| PromptError::NotText(what.to_owned()))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Echo {
    On,
    Off,
}
