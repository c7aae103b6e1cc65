//! The command line of `ssh` for a target, and what its words mean when it fails.

use std::{
    ffi::OsString,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use ssh_key::{Algorithm, HashAlg, PublicKey};
use tokio::{process::Command, sync::OnceCell};

use super::{HostKey, Limits, Login, OpenError, Secret, Target, askpass};

/// The name under which the private known_hosts lists the pinned key.
const ALIAS: &str = "ssh-ca-machine";

/// `ssh` made ready for one target: its options, and a private folder that lives as long as the connection.
pub(super) struct Client {
    pub(super) folder: tempfile::TempDir,
    options: Vec<OsString>,
    envs: Vec<(&'static str, OsString)>,
    secret: Option<Secret>,
    destination: String,
    terminal: Terminal,
}

/// Whether `ssh` may have to ask a person at the terminal itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terminal {
    /// Never: it is in a process group of its own. Ctrl-C at the terminal is for this program to judge, and would otherwise break each
    /// connection before this program can say where the machine stands.
    Unneeded,
    /// The jump host's own login is the person's affair, and may ask.
    JumpMayAsk,
}

impl Client {
    /// Prepares `ssh` for `target` with the host key pinned.
    pub(super) async fn new(target: &Target, limits: &Limits) -> Result<Self, OpenError> {
        check(target)?;
        let HostKey::Pinned(host_key) = &target.host_key else {
            let key = fetch_host_key(target, limits).await?;
            return Err(OpenError::UnknownHostKey {
                address: target.address.clone(),
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                key: Box::new(key),
            });
        };
        let mut client = Self::bare(target, limits).await?;
        let key = PublicKey::from(host_key.key_data().clone());
        let line = key.to_openssh().expect("a public key in memory encodes");
        let known_hosts = client.write("known_hosts", &format!("{ALIAS} {}\n", line.trim_end()))?;
        client.file_option("UserKnownHostsFile", &known_hosts);
        client.option("StrictHostKeyChecking=yes");
        // The plain key is what is pinned: never the certificate, nor another key of the machine.
        let algorithms = match host_key.algorithm() {
            Algorithm::Rsa { .. } => "rsa-sha2-512,rsa-sha2-256".to_owned(),
            other => other.as_str().to_owned(),
        };
        client.option(&format!("HostKeyAlgorithms={algorithms}"));
        client.login(&target.login)?;
        Ok(client)
    }

    async fn bare(target: &Target, limits: &Limits) -> Result<Self, OpenError> {
        let mut client = Self {
            folder: tempfile::Builder::new()
                .prefix("ssh-ca-")
                .tempdir()
                .map_err(OpenError::Client)?,
            options: Vec::new(),
            envs: Vec::new(),
            secret: None,
            destination: target.address.clone(),
            terminal: match target.jump {
                Some(_) => Terminal::JumpMayAsk,
                None => Terminal::Unneeded,
            },
        };
        if let Some(jump) = &target.jump {
            client.options.extend(["-J".into(), jump.into()]);
        } else {
            client.options.extend(["-F".into(), "none".into()]);
        }
        client.options.extend(["-l".into(), (&target.user).into()]);
        client
            .options
            .extend(["-p".into(), target.port.to_string().into()]);
        for option in [
            "GlobalKnownHostsFile=/dev/null",
            "CheckHostIP=no",
            "UpdateHostKeys=no",
            "HashKnownHosts=no",
            "VerifyHostKeyDNS=no",
            "LogLevel=ERROR",
            "ForwardAgent=no",
            "ForwardX11=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "RequestTTY=no",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=3",
            "GSSAPIAuthentication=no",
        ] {
            client.option(option);
        }
        client.option(&format!("HostKeyAlias={ALIAS}"));
        client.option(&format!(
            "ConnectTimeout={}",
            limits.connect.as_secs().max(1)
        ));
        client.option(&format!("KexAlgorithms={}", key_exchange().await));
        Ok(client)
    }

    fn login(&mut self, login: &Login) -> Result<(), OpenError> {
        match login {
            Login::Agent { socket, key } => {
                self.option("BatchMode=yes");
                if let Some(socket) = socket {
                    self.envs.push(("SSH_AUTH_SOCK", socket.into()));
                }
                if let Some(key) = key {
                    let line = key
                        .to_openssh()
                        .map_err(|_| OpenError::Client(io::ErrorKind::InvalidData.into()))?;
                    let path = self.write("identity.pub", &format!("{line}\n"))?;
                    self.identity(&path);
                }
            }
            Login::IdentityFile { path, passphrase } => {
                self.identity(path);
                self.option("IdentityAgent=none");
                self.secret = passphrase.clone();
                if passphrase.is_none() {
                    self.option("BatchMode=yes");
                }
            }
            Login::Certificate { key, certificate } => {
                self.identity(key);
                self.option("IdentityAgent=none");
                self.option("BatchMode=yes");
                self.file_option("CertificateFile", certificate);
            }
            Login::Password(password) => {
                self.secret = Some(password.clone());
                self.option("PubkeyAuthentication=no");
                self.option("PreferredAuthentications=password,keyboard-interactive");
                self.option("NumberOfPasswordPrompts=1");
            }
        }
        Ok(())
    }

    fn identity(&mut self, path: &Path) {
        self.options.extend(["-i".into(), path.into()]);
        self.option("IdentitiesOnly=yes");
    }

    fn option(&mut self, option: &str) {
        self.options.extend(["-o".into(), option.into()]);
    }

    fn file_option(&mut self, name: &str, path: &Path) {
        // Quotes, since a folder's name may hold blanks; `%` is ssh's own.
        let path = path.to_string_lossy().replace('%', "%%");
        self.option(&format!("{name}=\"{path}\""));
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, OpenError> {
        let path = self.folder.path().join(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&path).map_err(OpenError::Client)?;
        file.write_all(text.as_bytes()).map_err(OpenError::Client)?;
        Ok(path)
    }

    /// `ssh` with its options, `more`, and the destination; `remote` is fixed text.
    pub(super) async fn command(
        &self,
        more: &[&str],
        remote: Option<&str>,
    ) -> Result<Command, OpenError> {
        self.prepared(Command::new("ssh"), more, remote).await
    }

    /// `ssh` that the kernel kills when this program ends, however it ends.
    pub(super) async fn tied_command(&self, more: &[&str]) -> Result<Command, OpenError> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "ssh"]);
        self.prepared(command, more, None).await
    }

    async fn prepared(
        &self,
        mut command: Command,
        more: &[&str],
        remote: Option<&str>,
    ) -> Result<Command, OpenError> {
        command
            .args(&self.options)
            .args(more)
            .arg("--")
            .arg(&self.destination);
        command.args(remote);
        for (name, value) in &self.envs {
            command.env(name, value);
        }
        if self.secret.is_some() {
            askpass::prepare(self.folder.path(), &mut command)
                .await
                .map_err(OpenError::Client)?;
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.terminal == Terminal::Unneeded {
            command.process_group(0);
        }
        Ok(command)
    }

    /// Answers the client's questions for a password, if it may ask any; never ends.
    pub(super) async fn answer(&self) {
        if let Some(secret) = &self.secret {
            // An answer that cannot be given ends as a refused login, which says so.
            let _ = askpass::answer(self.folder.path(), secret).await;
        }
        std::future::pending::<()>().await;
    }
}

/// The host key that the machine shows to somebody who does not log in.
async fn fetch_host_key(target: &Target, limits: &Limits) -> Result<PublicKey, OpenError> {
    let mut client = Client::bare(target, limits).await?;
    let known_hosts = client.folder.path().join("known_hosts");
    client.file_option("UserKnownHostsFile", &known_hosts);
    for option in [
        "StrictHostKeyChecking=accept-new",
        "PreferredAuthentications=none",
        "BatchMode=yes",
        "HostKeyAlgorithms=ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512",
    ] {
        client.option(option);
    }
    let mut command = client.command(&[], Some("true")).await?;
    let output = tokio::time::timeout(limits.connect * 2, command.output()).await;
    let output = output
        .map_err(|_| timed_out(target, limits))?
        .map_err(OpenError::Client)?;
    let text = std::fs::read_to_string(&known_hosts).unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.split_once(' '))
        .map(|(_, key)| key);
    line.and_then(|key| PublicKey::from_openssh(key).ok())
        .ok_or_else(|| failure(target, &output.stderr))
}

pub(super) fn timed_out(target: &Target, limits: &Limits) -> OpenError {
    OpenError::TimedOut {
        address: target.address.clone(),
        secs: limits.connect.as_secs(),
    }
}

/// What the client's last words mean.
pub(super) fn failure(target: &Target, stderr: &[u8]) -> OpenError {
    let text = String::from_utf8_lossy(stderr);
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let address = target.address.clone();
    let detail = short(stderr);
    if has(&["Host key verification failed", "no matching host key type"]) {
        OpenError::HostKeyChanged { address }
    } else if has(&[
        "Permission denied",
        "Too many authentication failures",
        "Authentication failed",
    ]) {
        let user = target.user.clone();
        OpenError::Refused {
            address,
            user,
            detail,
        }
    } else {
        OpenError::Unreachable { address, detail }
    }
}

/// Foreign text as one short line without control characters.
pub(super) fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let clean: String = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let cut: Vec<char> = clean.chars().rev().take(400).collect();
    cut.into_iter().rev().collect()
}

fn check(target: &Target) -> Result<(), OpenError> {
    let words = [
        ("the address", Some(&target.address)),
        ("the user", Some(&target.user)),
        ("the jump host", target.jump.as_ref()),
    ];
    for (what, text) in words {
        let Some(text) = text else { continue };
        if text.is_empty()
            || text.starts_with('-')
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            let text = text.chars().take(80).collect();
            return Err(OpenError::BadTarget { what, text });
        }
    }
    Ok(())
}

/// Cheap key exchanges first: sntrup761, the default of OpenSSH 9, costs the client 90 ms a machine. Where the client has the newer
/// post-quantum exchange (19 ms), that one.
async fn key_exchange() -> &'static str {
    static KNOWN: OnceCell<&'static str> = OnceCell::const_new();
    KNOWN
        .get_or_init(|| async {
            let known = Command::new("ssh")
                .args(["-Q", "kex"])
                .stdin(Stdio::null())
                .output()
                .await;
            let known = known.map(|output| output.stdout).unwrap_or_default();
            if String::from_utf8_lossy(&known)
                .lines()
                .any(|name| name == "mlkem768x25519-sha256")
            {
                "mlkem768x25519-sha256,curve25519-sha256,ecdh-sha2-nistp256"
            } else {
                "curve25519-sha256,ecdh-sha2-nistp256"
            }
        })
        .await
}
