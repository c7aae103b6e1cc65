//! A kept connection: one login, several requests (`openssh` over a ControlMaster that is ours).

use std::{path::Path, process::Stdio, sync::Mutex, time::Duration};

use openssh::{Session, Stdio as RemoteStdio};
use tokio::{io::AsyncReadExt, process::Child, time::timeout};

use super::{
    Limits, OpenError, Privilege, RunError, Secret, Target,
    client::{self, Client},
    exchange::{no_answer, out_of_time, parse, talk},
    patience::Patience,
};
use crate::{
    applier::{Script, loaded},
    preflight::{Preflight, PreflightRequest},
    report::Report,
    request::Request,
};

/// A login that is kept: one TCP connection, closed when dropped. Every [`Connection::open`] is a new one.
pub struct Connection {
    target: Target,
    limits: Limits,
    /// How long a request may wait for the machine's first sign of life.
    first_sign: Duration,
    session: Session,
    // Dropped in this order: the client is killed, then its private folder removed.
    master: Mutex<Child>,
    _client: Client,
}

/// What becomes of the client's process when this program is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// It lives on until it notices that nobody speaks to it: for connections of a few seconds.
    Loose,
    /// The kernel kills it.
    Fast,
}

impl Connection {
    /// Logs in over a new TCP connection.
    ///
    /// # Errors
    /// [`OpenError::UnknownHostKey`] on first contact (before any login), else what went wrong.
    pub async fn open(target: &Target, limits: Limits) -> Result<Self, OpenError> {
        let mut patience = Patience::new();
        loop {
            match Self::tied(target, limits, Tie::Loose).await {
                Err(error) if error.is_momentary() && patience.another_try().await => {}
                opened => return opened,
            }
        }
    }

    /// Logs in over a new TCP connection that is meant to last: it ends with this program, also if that is killed (`kill -9`).
    ///
    /// # Errors
    /// As [`Connection::open`]; it is tried once. Without `setpriv` (util-linux) it cannot be bound to this program and does not open.
    pub async fn keep(target: &Target, limits: Limits) -> Result<Self, OpenError> {
        Self::tied(target, limits, Tie::Fast).await
    }

    /// Did the client end: was the connection closed by the machine, or did it stop answering?
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut master = self.master.lock().expect("nobody panics while looking");
        !matches!(master.try_wait(), Ok(None))
    }

    async fn tied(target: &Target, limits: Limits, tie: Tie) -> Result<Self, OpenError> {
        let client = Client::new(target, &limits).await?;
        let socket = client.folder.path().join("c");
        let control = format!("ControlPath={}", socket.display());
        let options = ["-N", "-M", "-o", "ControlPersist=no", "-o", &control];
        let mut command = match tie {
            Tie::Loose => client.command(&options, None).await?,
            Tie::Fast => client.tied_command(&options).await?,
        };
        let mut master = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(OpenError::Client)?;
        let opened = tokio::select! {
            opened = timeout(limits.connect * 3, ready(&mut master, &socket)) => opened,
            () = client.answer() => unreachable!("it never ends"),
        };
        match opened {
            Err(_) => return Err(client::timed_out(target, &limits)),
            Ok(Err(words)) => return Err(client::failure(target, &words)),
            Ok(Ok(())) => {}
        }
        Ok(Self {
            target: target.clone(),
            first_sign: match tie {
                Tie::Loose => limits.request,
                // It may have been cut off long ago, and a new connection is tried then.
                Tie::Fast => limits.connect.min(Duration::from_secs(4)),
            },
            limits,
            session: Session::resume_mux(socket.into_boxed_path(), None),
            master: Mutex::new(master),
            _client: client,
        })
    }

    /// How this login becomes root: it is root, `sudo -n`, `doas -n`, or `sudo` with `password`.
    ///
    /// # Errors
    /// [`RunError::NotRoot`] if none works.
    pub async fn privilege(&self, password: Option<&Secret>) -> Result<Privilege, RunError> {
        let (id, _) = self.talk("id -u", Vec::new()).await?;
        if id.trim_ascii() == b"0" {
            return Ok(Privilege::Root);
        }
        let (no_password, words) = self.talk("sudo -n id -u", Vec::new()).await?;
        if no_password.trim_ascii() == b"0" {
            return Ok(Privilege::Sudo);
        }
        let (doas, _) = self.talk("doas -n id -u", Vec::new()).await?;
        if doas.trim_ascii() == b"0" {
            return Ok(Privilege::Doas);
        }
        let mut detail = client::short(&words);
        if let Some(password) = password {
            let privilege = Privilege::SudoPassword(password.clone());
            let (with_password, words) =
                self.talk("sudo -k -S -p '' id -u", line(password)).await?;
            if with_password.trim_ascii() == b"0" {
                return Ok(privilege);
            }
            detail = client::short(&words);
        }
        Err(RunError::NotRoot {
            address: self.target.address.clone(),
            user: self.target.user.clone(),
            detail,
        })
    }

    /// Looks at the machine before anything is changed; changes nothing itself.
    ///
    /// # Errors
    /// [`RunError`] if there is no answer.
    pub async fn preflight(
        &self,
        request: &PreflightRequest,
        privilege: &Privilege,
    ) -> Result<Preflight, RunError> {
        let (answer, words) = self
            .as_root(Script::Preflight, &request.encode(), privilege)
            .await?;
        Preflight::parse(&answer).map_err(|source| no_answer(&self.target, source, &words))
    }

    /// Brings the applier along and runs `request` with it as root: the first apply, and every other request through an admin's login.
    ///
    /// # Errors
    /// [`RunError`] if there is no answer. A refusal by the applier is a [`Report`].
    pub async fn first_contact(
        &self,
        request: &Request,
        privilege: &Privilege,
    ) -> Result<Report, RunError> {
        let (answer, words) = self
            .as_root(Script::Applier, &request.encode(), privilege)
            .await?;
        parse(&self.target, &answer, &words)
    }

    /// Sends `request` to the applier that is the forced command of this login (`ssh-ca-sync`).
    ///
    /// # Errors
    /// [`RunError`] if there is no answer. A refusal by the applier is a [`Report`].
    pub async fn request(&self, request: &Request) -> Result<Report, RunError> {
        let (answer, words) = self.talk("ssh-ca", request.encode()).await?;
        parse(&self.target, &answer, &words)
    }

    /// What the forced command of this login prints (`ssh-ca-probe` for the probe account), at most 1 MiB.
    ///
    /// # Errors
    /// [`RunError`] if the connection breaks.
    pub async fn forced_output(&self) -> Result<String, RunError> {
        let (answer, _) = self.talk("true", Vec::new()).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn as_root(
        &self,
        script: Script,
        request: &[u8],
        privilege: &Privilege,
    ) -> Result<(Vec<u8>, Vec<u8>), RunError> {
        let (command, mut stdin) = loaded(script, request);
        let (become_root, password) = match privilege {
            Privilege::Root => ("", None),
            Privilege::Sudo => ("sudo -n ", None),
            Privilege::Doas => ("doas -n ", None),
            Privilege::SudoPassword(password) => ("sudo -k -S -p '' ", Some(password)),
        };
        if let Some(password) = password {
            let mut with_password = line(password);
            with_password.append(&mut stdin);
            stdin = with_password;
        }
        // The loader's text holds no quote of this kind, so the login shell hands it over as it is.
        debug_assert!(!command.contains('\''));
        self.talk(&format!("{become_root}sh -c '{command}'"), stdin)
            .await
    }

    async fn talk(&self, command: &str, stdin: Vec<u8>) -> Result<(Vec<u8>, Vec<u8>), RunError> {
        let broken = |error: openssh::Error| RunError::Broken {
            address: self.target.address.clone(),
            detail: error.to_string(),
        };
        let work = async {
            let mut remote = self.session.raw_command(command);
            let opening = remote
                .stdin(RemoteStdio::piped())
                .stdout(RemoteStdio::piped())
                .stderr(RemoteStdio::piped())
                .spawn();
            // It is open when the machine says so: one that is gone or hangs is told from one that works for long.
            let mut child = timeout(self.first_sign, opening)
                .await
                .map_err(|_| RunError::Silent {
                    address: self.target.address.clone(),
                    secs: self.first_sign.as_secs(),
                })?
                .map_err(broken)?;
            match (
                child.stdin().take(),
                child.stdout().take(),
                child.stderr().take(),
            ) {
                (Some(input), Some(output), Some(error)) => {
                    Ok(talk(stdin, input, output, error).await)
                }
                _ => Err(broken(openssh::Error::Disconnected)),
            }
        };
        let worked = timeout(self.limits.request, work).await;
        worked.map_err(|_| out_of_time(&self.target, &self.limits))?
    }
}

/// A secret as the one line that `sudo -S` reads.
fn line(secret: &Secret) -> Vec<u8> {
    format!("{}\n", secret.expose()).into_bytes()
}

/// Waits for the control socket, which `ssh` makes once it is logged in; `Err` with its words if it ends before.
async fn ready(master: &mut Child, socket: &Path) -> Result<(), Vec<u8>> {
    loop {
        if socket.exists() {
            return Ok(());
        }
        if let Ok(Some(_)) = master.try_wait() {
            let mut words = Vec::new();
            if let Some(stderr) = master.stderr.take() {
                let _ = stderr.take(64 * 1024).read_to_end(&mut words).await;
            }
            return Err(words);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
