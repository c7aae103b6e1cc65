//! The CA's admin door: over HTTPS with one login that serves many machines, or over its Unix socket.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use ca_api::{
    AdminLogin, ErrorCode, Secret,
    admin::{AdminEvent, AdminReply, AdminRequest},
};
use ca_client::{
    api::{AdminError, CallError, Client},
    config::{Config, ConfigError},
    places::{Places, PlacesError},
};

use crate::{
    cli::DoorArgs,
    terminal::{AskError, Person},
};

/// How often a person may mistype password or code.
const TRIES: u32 = 3;

/// The open door.
#[derive(Debug)]
pub struct Door {
    client: Client,
    token: Option<Secret>,
}

/// Why the door did not open.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// No home folder.
    #[error(transparent)]
    Places(#[from] PlacesError),
    /// `ca-client setup` was not run, or its files are damaged.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Email, password or code could not be asked for.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The login file or standard input.
    #[error("the admin's login could not be read from {from}: {source}")]
    Read {
        /// Which.
        from: String,
        /// Why.
        source: io::Error,
    },
    /// The login file can be read by others.
    #[error("{0} holds a password and can be read by others; make it 0600")]
    TooWide(String),
    /// Not three lines.
    #[error("{0} does not hold three lines: email, password, TOTP code")]
    NotThreeLines(String),
    /// The CA could not be asked, or said no.
    #[error("the CA did not open an admin session: {0}")]
    Call(#[from] CallError),
}

impl DoorError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Config(ConfigError::NotSetUp) => {
                "Run `ca-client setup https://CA:8443 --fingerprint SHA256:…` here, or work on the CA's own host with --socket PATH."
            }
            Self::Ask(AskError::NoTerminal(_)) => {
                "Give the login with --login-file FILE or --login-stdin."
            }
            Self::Call(CallError::Refused(_)) => {
                "Check email, password and code; the admin role is needed."
            }
            Self::Call(_) => {
                "Check that the CA runs and is reached from here; nothing was changed."
            }
            Self::Places(_)
            | Self::Config(_)
            | Self::Ask(_)
            | Self::Read { .. }
            | Self::TooWide(_)
            | Self::NotThreeLines(_) => "",
        }
    }
}

impl Door {
    /// Opens it: `person` is asked for email (remembered), password and TOTP code, unless the arguments say otherwise.
    ///
    /// # Errors
    /// [`DoorError`]; nothing was changed.
    pub async fn open(args: &DoorArgs, person: Person) -> Result<Self, DoorError> {
        if let Some(path) = &args.socket {
            return Ok(Self {
                client: Client::unix(path.clone()),
                token: None,
            });
        }
        let places = Places::of_user()?;
        let mut config = Config::load(&places)?;
        let client = config.client();
        let given = given(args)?;
        let mut remembered = config.settings.email.clone();
        let mut tries = 0;
        let token = loop {
            let login = match &given {
                Some(login) => login.clone(),
                None => {
                    let email = remembered.clone();
                    let asked =
                        tokio::task::spawn_blocking(move || asked(person, email.as_deref()));
                    let login = asked.await.expect("asking does not panic")?;
                    remembered = Some(login.email.clone());
                    login
                }
            };
            tries += 1;
            match client.admin_login(&login).await {
                Ok(session) => {
                    if config.settings.email.is_none() {
                        config.settings.email = Some(login.email);
                        // A convenience: that it cannot be kept must not stop anything.
                        let _ = config.settings.save(&places);
                    }
                    break session.token;
                }
                Err(CallError::Refused(error))
                    if error.code == ErrorCode::Refused && given.is_none() && tries < TRIES =>
                {
                    anstream::eprintln!("{error}");
                }
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Self {
            client,
            token: Some(token),
        })
    }

    /// One admin command; its notes go to `note`.
    ///
    /// # Errors
    /// As the API says.
    pub async fn ask(
        &self,
        request: &AdminRequest,
        mut note: impl FnMut(&str) + Send,
    ) -> Result<AdminReply, AdminError> {
        let on_event = |event| match event {
            AdminEvent::Note { text } => note(&text),
            AdminEvent::Machine { .. } | AdminEvent::Done { .. } | AdminEvent::Failed { .. } => {}
        };
        self.client
            .admin(self.token.as_ref(), request, on_event)
            .await
    }
}

fn asked(person: Person, remembered: Option<&str>) -> Result<AdminLogin, AskError> {
    Ok(AdminLogin {
        email: person.line("Admin's email", remembered)?,
        password: person.secret("Password")?,
        totp: person.secret("TOTP code")?,
    })
}

/// The login that a script gives.
fn given(args: &DoorArgs) -> Result<Option<AdminLogin>, DoorError> {
    let (text, from) = if let Some(path) = &args.login_file {
        (private_text(path)?, path.display().to_string())
    } else if args.login_stdin {
        let mut text = String::new();
        let read = io::stdin().lock().take(64 * 1024).read_to_string(&mut text);
        read.map_err(|source| DoorError::Read {
            from: "standard input".to_owned(),
            source,
        })?;
        (Secret::new(text), "standard input".to_owned())
    } else {
        return Ok(None);
    };
    let lines: Vec<&str> = text.expose().lines().collect();
    let [email, password, totp] = lines.as_slice() else {
        return Err(DoorError::NotThreeLines(from));
    };
    let secret = |text: &str| Secret::new(text.to_owned());
    Ok(Some(AdminLogin {
        email: (*email).to_owned(),
        password: secret(password),
        totp: secret(totp),
    }))
}

/// The text of a file that holds a secret.
///
/// # Errors
/// When it cannot be read, or others can read it.
pub fn private_text(path: &Path) -> Result<Secret, DoorError> {
    let from = path.display().to_string();
    let error = |source| DoorError::Read {
        from: from.clone(),
        source,
    };
    let mut file = fs::File::open(path).map_err(error)?;
    let about = file.metadata().map_err(error)?;
    if about.is_file() && about.permissions().mode() & 0o077 != 0 {
        return Err(DoorError::TooWide(from));
    }
    let mut text = String::new();
    file.by_ref()
        .take(64 * 1024)
        .read_to_string(&mut text)
        .map_err(error)?;
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_file(text: &str, mode: u32) -> Result<Option<AdminLogin>, DoorError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("login");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        given(&DoorArgs {
            socket: None,
            login_file: Some(path),
            login_stdin: false,
        })
    }

    #[test]
    fn c3_the_login_comes_from_a_file_that_nobody_else_reads() {
        let login = from_file("ops@corp.example\npass word \n123456\n", 0o600)
            .unwrap()
            .unwrap();
        assert_eq!(
            (
                login.email.as_str(),
                login.password.expose(),
                login.totp.expose()
            ),
            ("ops@corp.example", "pass word ", "123456")
        );
        assert!(matches!(
            from_file("a\nb\nc\n", 0o640),
            Err(DoorError::TooWide(_))
        ));
        for text in ["", "a\nb\n", "a\nb\nc\nd\n"] {
            assert!(
                matches!(from_file(text, 0o600), Err(DoorError::NotThreeLines(_))),
                "{text:?}"
            );
        }
        assert!(!format!("{:?}", from_file("a\nsecret\n1\n", 0o600).unwrap()).contains("secret"));
    }
}
