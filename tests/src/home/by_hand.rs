//! `ssh` by hand: exactly this key and this certificate, whatever a configuration or an agent would add.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Home;
use crate::{Machine, said};

/// What somebody shows to a machine.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The key's file, or that of its public half where an agent holds it; in this home or anywhere on the host.
    pub key: &'a Path,
    /// Its certificate; absent, the one that lies beside the key, if any.
    pub certificate: Option<&'a Path>,
}

impl<'a> Identity<'a> {
    /// A key, with the certificate beside it.
    #[must_use]
    pub fn of(key: &'a str) -> Self {
        Self {
            key: Path::new(key),
            certificate: None,
        }
    }

    /// A key with another certificate.
    #[must_use]
    pub fn with(key: &'a str, certificate: &'a str) -> Self {
        Self {
            certificate: Some(Path::new(certificate)),
            ..Self::of(key)
        }
    }
}

impl Home {
    /// Runs `words` on a machine as `account`, with this identity and nothing else: no configuration, no other key, no question. A
    /// listener that is shut for a moment, since sshd is reloaded, is tried again.
    ///
    /// # Errors
    /// When ssh cannot be started.
    pub fn ssh_by_hand(
        &self,
        identity: Identity<'_>,
        account: &str,
        machine: &Machine,
        words: &[&str],
    ) -> Result<Output> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut ssh = self.command("ssh");
            ssh.args(["-F", "none", "-n", "-T"]);
            for option in [
                "IdentitiesOnly=yes",
                "BatchMode=yes",
                "StrictHostKeyChecking=no",
                "UserKnownHostsFile=/dev/null",
                "LogLevel=ERROR",
                "ConnectTimeout=60",
            ] {
                ssh.args(["-o", option]);
            }
            if let Some(certificate) = identity.certificate {
                ssh.arg("-o")
                    .arg(format!("CertificateFile={}", certificate.display()));
            }
            let output = ssh
                .arg("-i")
                .arg(identity.key)
                .args(["-l", account, &machine.addr().to_string()])
                .args(words)
                .stdin(Stdio::null())
                .output()?;
            if !said(&output).contains("Connection refused") || Instant::now() > deadline {
                return Ok(output);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
