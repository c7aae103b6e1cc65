//! An employee of a company: their workstation, their password, and the codes of their authenticator.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use totp_rs::{Algorithm, Builder, Secret};

use super::{program, said, success};
use crate::Home;

/// How long a code must still be good when it is handed out.
const LEAST_CODE_SECS: u64 = 20;

/// Somebody who is enrolled, and the only one who knows their secrets.
pub struct Person {
    /// Their workstation.
    pub home: Home,
    /// Their email.
    pub email: String,
    /// Their password.
    pub password: String,
    pub(super) secret: Vec<u8>,
    pub(super) last_step: u64,
}

impl Person {
    /// A `ca-client` command at their workstation.
    #[must_use]
    pub fn client(&self) -> Command {
        self.home.command(&program("ca-client").to_string_lossy())
    }

    /// A TOTP code that was not used yet: waits for the next step where the last one of the slack was used.
    pub fn code(&mut self) -> String {
        loop {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("it is after 1970")
                .as_secs();
            // The server takes the step before and the one after, too: three logins need not wait. The step before only where it lasts long
            // enough for a slow machine to come to ask.
            let before = if now % 30 < 30 - LEAST_CODE_SECS {
                1
            } else {
                0
            };
            let first = (self.last_step + 1).max(now / 30 - before);
            if first <= now / 30 + 1 {
                self.last_step = first;
                return self.code_of(first);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn code_of(&self, step: u64) -> String {
        let secret = Secret::new(self.secret.clone().into_boxed_slice());
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(6)
            .with_skew(1)
            .with_step_duration(30)
            .with_secret(secret)
            .with_account_name(self.email.as_str())
            .build()
            .expect("the CA's secrets are long enough");
        totp.generate(step * 30).to_string()
    }

    /// Runs `ca-client login` with these further words.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_login(&mut self, words: &[&str]) -> Result<Output> {
        let code = self.code();
        let mut process = self
            .client()
            .args(["login", "--email", &self.email, "--secrets-stdin"])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut answers = process.stdin.take().context("piped above")?;
        write!(answers, "{}\n{code}\n", self.password)?;
        drop(answers);
        Ok(process.wait_with_output()?)
    }

    /// Logs in; what it said.
    ///
    /// # Errors
    /// When it fails.
    pub fn login(&mut self) -> Result<String> {
        let output = self.try_login(&[])?;
        success("ca-client login", &output)?;
        Ok(said(&output))
    }

    /// Runs `ssh` with these words, as they would type it.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn ssh(&self, words: &[&str]) -> Result<Output> {
        Ok(self
            .home
            .command("ssh")
            .args(words)
            .stdin(Stdio::null())
            .output()?)
    }
}
