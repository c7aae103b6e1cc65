//! Logging in with a key, an agent or a password, and becoming root. A password is asked for once for all machines of a run.

use std::{collections::BTreeMap, env, fs, path::Path, sync::Arc};

use ca_machine::{Connection, Login, OpenError, Privilege, RunError, Target, transport::Secret};
use ssh_key::{PrivateKey, PublicKey};
use tokio::sync::Mutex;

use super::{Contacts, limits};
use crate::{
    narrate::Narration,
    terminal::{AskError, Person},
    wanted::Way,
};

/// How often a password may be mistyped.
const TRIES: u32 = 3;

/// The passwords of a run, by account: asked for once, and again only where one was wrong.
#[derive(Debug)]
pub struct Passwords {
    from_file: Option<Secret>,
    typed: Arc<Mutex<BTreeMap<String, Secret>>>,
    machines: usize,
}

/// Why nobody could log in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The machine says no, or cannot be reached.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file of `--identity`.
    #[error("{path} cannot be read: {source}")]
    Identity {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The passphrase does not open it.
    #[error("the passphrase does not open {path}")]
    Passphrase {
        /// Which.
        path: String,
    },
    /// A password or passphrase could not be asked for.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Logged in, but not root.
    #[error(transparent)]
    Root(#[from] RunError),
}

impl LoginError {
    /// What to do next.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Open(OpenError::Refused { detail, .. }) if detail.contains("Too many authentication failures") => {
                "The agent has many keys: name the right one with --identity FILE.".to_owned()
            }
            Self::Open(OpenError::Refused { .. }) => {
                "Give the right account and key: --as USER, --identity FILE; for a password run it at a terminal, or give --password-file FILE.".to_owned()
            }
            Self::Open(OpenError::HostKeyChanged { .. }) => {
                "Compare its host key on its console before anything else; then correct known_hosts, or give --host-key SHA256:….".to_owned()
            }
            Self::Open(_) => "Check address, port and network: --address HOST:PORT, --jump HOST.".to_owned(),
            Self::Ask(AskError::NoTerminal(_)) => "Run it at a terminal, or give --password-file FILE.".to_owned(),
            Self::Root(error) => super::run_hint(error).to_owned(),
            Self::Identity { .. } | Self::Passphrase { .. } | Self::Ask(_) => String::new(),
        }
    }
}

/// A login that worked.
pub(super) struct LoggedIn {
    pub(super) target: Target,
    /// The password that opened it, where it was one: most likely sudo's too.
    password: Option<Secret>,
}

impl Passwords {
    /// None yet, but for the one of `--password-file`; `machines` tells how the question is put.
    #[must_use]
    pub fn new(from_file: Option<String>, machines: usize) -> Self {
        let from_file =
            from_file.map(|text| Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()));
        Self {
            from_file,
            typed: Arc::default(),
            machines,
        }
    }

    /// Whether there is one, or somebody to ask.
    fn possible(&self, person: Person) -> bool {
        self.from_file.is_some() || person == Person::AtTheTerminal
    }

    /// The password for an account: from the file, as typed before, or asked for now. `wrong` is one that this machine refused.
    async fn for_account(
        &self,
        person: Person,
        way: &Way,
        address: &str,
        wrong: Option<&Secret>,
        told: &mut Narration,
    ) -> Result<Secret, AskError> {
        if let (Some(password), None) = (&self.from_file, wrong) {
            return Ok(password.clone());
        }
        // Held while asking: two machines never ask at the same time, and the second one gets the first one's answer.
        let mut typed = self.typed.lock().await;
        if let Some(password) = typed
            .get(way.user.as_str())
            .filter(|password| Some(*password) != wrong)
        {
            return Ok(password.clone());
        }
        let others = if self.machines > 1 && wrong.is_none() {
            " (tried on the other machines too)"
        } else {
            ""
        };
        let what = format!("Password of {}@{address}{others}", way.user);
        let password = ask(person, what, told).await?;
        typed.insert(way.user.to_string(), password.clone());
        Ok(password)
    }
}

async fn ask(person: Person, what: String, told: &mut Narration) -> Result<Secret, AskError> {
    told.rest();
    let narrator = told.narrator().clone();
    let answer = tokio::task::spawn_blocking(move || narrator.quiet(|| person.secret(&what))).await;
    Ok(Secret::new(
        answer.expect("asking does not panic")?.expose().to_owned(),
    ))
}

/// Logs in by the ways that the person has, keys before passwords.
pub(super) async fn log_in(
    contacts: &Contacts,
    way: &Way,
    mut target: Target,
    told: &mut Narration,
) -> Result<(Connection, LoggedIn), LoginError> {
    let mut refused = None;
    for login in key_logins(contacts.person, way, told).await? {
        let how = described(&login, way);
        target.login = login;
        match Connection::open(&target, limits()).await {
            Ok(connection) => {
                told.did(&format!("logged in as {} with {how}", way.user));
                return Ok((
                    connection,
                    LoggedIn {
                        target,
                        password: None,
                    },
                ));
            }
            Err(error @ OpenError::Refused { .. }) => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let refused = refused.expect("at least one key login was tried");
    let offers_password = matches!(&refused, OpenError::Refused { detail, .. } if detail.contains("password") || detail.contains("keyboard-interactive"));
    // Whoever names a key means that key; a password is then a different order.
    let meant = way.identity.is_none() || contacts.passwords.from_file.is_some();
    if !offers_password || !meant || !contacts.passwords.possible(contacts.person) {
        return Err(refused.into());
    }
    let mut wrong = None;
    for attempt in 1..=TRIES {
        let password = contacts
            .passwords
            .for_account(contacts.person, way, &target.address, wrong.as_ref(), told)
            .await?;
        target.login = Login::Password(password.clone());
        match Connection::open(&target, limits()).await {
            Ok(connection) => {
                told.did(&format!("logged in as {} with a password", way.user));
                return Ok((
                    connection,
                    LoggedIn {
                        target,
                        password: Some(password),
                    },
                ));
            }
            Err(OpenError::Refused { .. })
                if attempt < TRIES && contacts.person == Person::AtTheTerminal =>
            {
                told.warn("the password was refused");
                wrong = Some(password);
            }
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}

fn described(login: &Login, way: &Way) -> String {
    let file = way
        .identity
        .as_deref()
        .map(|path| path.display().to_string());
    match (login, file) {
        (Login::Agent { .. }, Some(file)) => format!("the agent's key of {file}"),
        (_, Some(file)) => format!("the key {file}"),
        (_, None) => "a key".to_owned(),
    }
}

/// The logins without a password, in the order in which they are tried.
async fn key_logins(
    person: Person,
    way: &Way,
    told: &mut Narration,
) -> Result<Vec<Login>, LoginError> {
    // Without a named key, ssh itself tries the agent's keys and then the usual files.
    let Some(path) = &way.identity else {
        return Ok(vec![Login::Agent {
            socket: None,
            key: None,
        }]);
    };
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| LoginError::Identity {
        path: shown.clone(),
        source,
    })?;
    let agent = |key: PublicKey| Login::Agent {
        socket: None,
        key: Some(Box::new(key)),
    };
    if let Ok(key) = PublicKey::from_openssh(text.trim()) {
        return Ok(vec![agent(key)]);
    }
    let file = |passphrase| Login::IdentityFile {
        path: path.clone(),
        passphrase,
    };
    match PrivateKey::from_openssh(&text) {
        Ok(key) if key.is_encrypted() => {
            let key_of_agent = in_agent(key.public_key()).await;
            if key_of_agent {
                return Ok(vec![agent(key.public_key().clone())]);
            }
            Ok(vec![file(Some(passphrase(person, path, key, told).await?))])
        }
        // Not encrypted, or of a format that only ssh reads.
        _ => Ok(vec![file(None)]),
    }
}

/// Whether the agent of the environment has this key.
async fn in_agent(key: &PublicKey) -> bool {
    if env::var_os("SSH_AUTH_SOCK").is_none() {
        return false;
    }
    let listed = tokio::process::Command::new("ssh-add")
        .arg("-L")
        .stdin(std::process::Stdio::null())
        .output()
        .await;
    let listed = listed.map(|output| output.stdout).unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    listed
        .lines()
        .filter_map(|line| PublicKey::from_openssh(line).ok())
        .any(|listed| listed.key_data() == key.key_data())
}

async fn passphrase(
    person: Person,
    path: &Path,
    key: PrivateKey,
    told: &mut Narration,
) -> Result<Secret, LoginError> {
    let shown = path.display().to_string();
    for _ in 0..TRIES {
        told.rest();
        let (narrator, key, what) = (
            told.narrator().clone(),
            key.clone(),
            format!("Passphrase of {shown}"),
        );
        let tried = tokio::task::spawn_blocking(move || {
            let text = narrator.quiet(|| person.secret(&what))?;
            // Tried here: a wrong one would cost a failed login on the machine.
            let opens = key.decrypt(text.expose()).is_ok();
            Ok::<_, AskError>(opens.then(|| Secret::new(text.expose().to_owned())))
        });
        if let Some(passphrase) = tried.await.expect("asking does not panic")? {
            return Ok(passphrase);
        }
        told.warn("that is not its passphrase");
    }
    Err(LoginError::Passphrase { path: shown })
}

/// Finds out how the login becomes root: without a password first, then with the login's own, then with one asked for.
pub(super) async fn become_root(
    contacts: &Contacts,
    way: &Way,
    connection: &Connection,
    login: &LoggedIn,
    told: &mut Narration,
) -> Result<Privilege, LoginError> {
    let mut password = login.password.clone();
    for attempt in 0..=TRIES {
        match connection.privilege(password.as_ref()).await {
            Ok(privilege) => {
                match &privilege {
                    Privilege::Root => {}
                    Privilege::Sudo => told.did("becomes root with sudo"),
                    Privilege::SudoPassword(_) => {
                        told.did("becomes root with sudo and its password")
                    }
                    Privilege::Doas => told.did("becomes root with doas"),
                }
                return Ok(privilege);
            }
            // A file has one password: where that was refused, and nobody can be asked, it is over.
            Err(RunError::NotRoot { .. })
                if attempt < TRIES
                    && contacts.passwords.possible(contacts.person)
                    && (password.is_none() || contacts.person == Person::AtTheTerminal) =>
            {
                if password.is_some() {
                    told.warn("sudo refused the password");
                }
                let wrong = password.take();
                let asked = contacts
                    .passwords
                    .for_account(
                        contacts.person,
                        way,
                        &login.target.address,
                        wrong.as_ref(),
                        told,
                    )
                    .await;
                password = Some(asked?);
            }
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last attempt returns")
}
