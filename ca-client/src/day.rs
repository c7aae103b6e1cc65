//! Login and renewal: what the API, the key, the check and the files make together.

use std::{fs::File, io};

use ca_api::{Issued, LoginRequest, Narrow, RenewRequest, Secret, proof};
use policies::{Email, NameError};
use ssh_key::PublicKey;

use crate::{
    agent::{Agent, AgentError},
    api::{CallError, Client},
    atomic,
    check::{CheckError, Checked, Expected, check},
    config::{Config, ConfigError},
    directory::{Reach, public_keys},
    due::{self, Due, now_unix},
    install::{self, InstallError},
    key::{self, KeyPlace, LoginKey, ProofError},
    places::Places,
    session::{Session, SessionError},
};

/// The comment that the agent shows beside the key.
const AGENT_COMMENT: &str = "ssh-ca";

/// What opens a day.
#[derive(Debug)]
pub struct Credentials {
    /// Who.
    pub email: Email,
    /// Their password.
    pub password: Secret,
    /// One TOTP code.
    pub totp: Secret,
}

/// A day that is open.
#[derive(Debug)]
pub struct Day {
    /// The session.
    pub session: Session,
    /// Who, and which machines.
    pub reach: Reach,
    /// Why the key is in a file and not in an agent.
    pub no_agent: Option<AgentError>,
    /// Was the Include put into `~/.ssh/config` now?
    pub include: install::Change,
}

/// Why there is no new day.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The CA was not reached, or said no.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The key could not be proven.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// What came back is not installed.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The files could not be written.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The session could not be stored.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The configuration could not be stored.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key could not be stored.
    #[error("the key cannot be written to ~/.ssh/ca/{file}: {0}", file = key::PRIVATE_FILE)]
    KeyFile(io::Error),
    /// When to renew could not be stored.
    #[error("~/.ssh/ca/{file} cannot be written: {0}", file = due::FILE)]
    Due(io::Error),
}

/// Why there is no renewal.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The session cannot be read or stored.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The key could not be proven: the agent lost it, or is out of reach.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The CA was not reached, or said no.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What came back is not installed.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// The files could not be written.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// The configuration could not be stored.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// When to renew could not be stored.
    #[error("~/.ssh/ca/{file} cannot be written: {0}", file = due::FILE)]
    Due(io::Error),
}

/// What is wrong with the CA's answer.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// A certificate did not pass (C4); none was installed.
    #[error("the CA sent a certificate that is not installed: {0}")]
    Certificate(#[from] CheckError),
    /// It does not say who the employee is.
    #[error("the CA's directory does not say who you are: {0}")]
    Directory(#[from] NameError),
    /// Somebody else's.
    #[error("the CA answered for {0}, not for you")]
    SomebodyElse(Email),
    /// A login without a session, or a renewal without a directory.
    #[error("the CA's answer lacks its {0}")]
    Incomplete(&'static str),
}

/// Held while the files are changed, by one process at a time.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "dropping the file is what unlocks it")] File);

impl Lock {
    /// Takes the lock, or `None` while another process has it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn attempt(places: &Places) -> Result<Option<Self>, InstallError> {
        let file = Self::open(places)?;
        Ok(file.try_lock().is_ok().then_some(Self(file)))
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Errors
    /// When the lock's file cannot be opened or locked.
    pub fn wait(places: &Places) -> Result<Self, InstallError> {
        let file = Self::open(places)?;
        file.lock().map_err(|source| InstallError::File {
            path: places.state("lock"),
            source,
        })?;
        Ok(Self(file))
    }

    fn open(places: &Places) -> Result<File, InstallError> {
        install::folders(places)?;
        let path = places.state("lock");
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, atomic::OWNER_ONLY);
        options
            .open(&path)
            .map_err(|source| InstallError::File { path, source })
    }
}

/// Opens a day session: proves the key, checks what comes back, and installs it.
///
/// # Errors
/// When any of that fails; what was installed before is then still there.
pub async fn login(
    places: &Places,
    config: &mut Config,
    client: &Client,
    key: &LoginKey,
    who: Credentials,
    narrow: Narrow,
) -> Result<Day, LoginError> {
    let old = Session::load(places).ok();
    let blob = key::blob_text(key.public());
    let nonce = client.nonce().await?.nonce;
    let message = proof::login_message(&config.settings.ca_id, &nonce, who.email.as_str(), &blob);
    let request = LoginRequest {
        email: who.email.to_string(),
        password: who.password,
        totp: who.totp,
        public_key: key::bare(key.public()),
        nonce,
        proof: key.prove(proof::LOGIN_NAMESPACE, &message)?,
        narrow: narrow.clone(),
        device: atomic::read(&places.device())
            .ok()
            .flatten()
            .map(|text| Secret::new(text.trim().to_owned())),
    };
    let mut issued = client.login(&request).await?;
    drop(request);
    let grant = issued
        .session
        .take()
        .ok_or(ReplyError::Incomplete("session"))?;
    let checked = check_all(
        &issued,
        key.public(),
        &config.settings.user_cas,
        grant.ends_unix,
    )?;
    let directory = issued
        .directory
        .as_ref()
        .ok_or(ReplyError::Incomplete("directory"))?;
    let reach = Reach::parse(directory, checked.len()).map_err(ReplyError::from)?;
    if reach.email != who.email {
        return Err(ReplyError::SomebodyElse(reach.email).into());
    }

    let _lock = Lock::wait(places)?;
    let lifetime = u32::try_from((grant.ends_unix - issued.now_unix).max(1)).unwrap_or(u32::MAX);
    let (key_place, no_agent) = match key {
        LoginKey::Security(key) => {
            let handle = key.handle.clone();
            (KeyPlace::SecurityKey { handle }, None)
        }
        LoginKey::Fresh(fresh) => {
            let in_agent = Agent::of_user()
                .and_then(|mut agent| fresh.into_agent(&mut agent, AGENT_COMMENT, lifetime));
            match in_agent {
                Ok(()) => (KeyPlace::Agent, None),
                Err(error) => {
                    fresh.into_file(places).map_err(LoginError::KeyFile)?;
                    (KeyPlace::File, Some(error))
                }
            }
        }
    };
    let session = Session {
        email: reach.email.to_string(),
        id: grant.id.clone(),
        secret: grant.secret.clone(),
        ends_unix: grant.ends_unix,
        public_key: key.public().clone(),
        key_place,
        directory_tag: issued.directory_tag.clone(),
        narrow,
        server_ahead_secs: issued.now_unix - now_unix(),
        certificates: checked
            .iter()
            .map(|certificate| certificate.facts.clone())
            .collect(),
        needs_security_key: issued.needs_security_key,
    };
    install::certificates(places, &checked)?;
    install::ssh_files(
        places,
        &reach,
        checked.len(),
        key.public(),
        &session.key_place,
    )?;
    install::store_directory(places, directory)?;
    session.save(places)?;
    Due::of(&session, now_unix())
        .save(places)
        .map_err(LoginError::Due)?;
    let _ = atomic::remove(&places.state(due::BACK_OFF_FILE));
    due::note_answer(places, now_unix());
    let include = install::include(places)?;
    let _ = atomic::replace(
        &places.device(),
        grant.device.expose().as_bytes(),
        atomic::OWNER_ONLY,
    );
    config.settings.email = Some(session.email.clone());
    config.settings.security_key = match key {
        LoginKey::Security(key) => Some(key.clone()),
        LoginKey::Fresh(_) => None,
    };
    learn_user_cas(config, &reach, &checked);
    config.settings.save(places)?;
    learn_tls_ca(places, config, client, &issued)?;
    // Yesterday's key opens nothing any more; it would only crowd the agent.
    if let Some(old) =
        old.filter(|old| old.key_place == KeyPlace::Agent && old.public_key != session.public_key)
    {
        let _ = Agent::of_user().and_then(|mut agent| agent.remove(&old.public_key));
    }
    Ok(Day {
        session,
        reach,
        no_agent,
        include,
    })
}

/// Renews the certificates within the session. The caller holds the [`Lock`].
///
/// # Errors
/// When any step fails; the certificates that were installed are then still there.
pub async fn renew(
    places: &Places,
    config: &mut Config,
    client: &Client,
) -> Result<Day, RenewError> {
    let mut session = Session::load(places)?;
    let key = session.public_key.clone();
    let nonce = client.nonce().await?.nonce;
    let issued = ask(places, config, client, &session, nonce).await?;
    let checked = check_all(&issued, &key, &config.settings.user_cas, session.ends_unix)?;
    let stored = install::stored_directory(places);
    let directory = issued
        .directory
        .as_ref()
        .or(stored.as_ref())
        .ok_or(ReplyError::Incomplete("directory"))?;
    let reach = Reach::parse(directory, checked.len()).map_err(ReplyError::from)?;
    if reach.email.as_str() != session.email {
        return Err(ReplyError::SomebodyElse(reach.email).into());
    }
    session.directory_tag = issued.directory_tag.clone();
    session.server_ahead_secs = issued.now_unix - now_unix();
    session.certificates = checked
        .iter()
        .map(|certificate| certificate.facts.clone())
        .collect();
    session.needs_security_key = issued.needs_security_key;
    install::certificates(places, &checked)?;
    install::ssh_files(places, &reach, checked.len(), &key, &session.key_place)?;
    if let Some(directory) = &issued.directory {
        install::store_directory(places, directory)?;
    }
    session.save(places)?;
    Due::of(&session, now_unix())
        .save(places)
        .map_err(RenewError::Due)?;
    let _ = atomic::remove(&places.state(due::BACK_OFF_FILE));
    due::note_answer(places, now_unix());
    if learn_user_cas(config, &reach, &checked) {
        config.settings.save(places)?;
    }
    learn_tls_ca(places, config, client, &issued)?;
    Ok(Day {
        session,
        reach,
        no_agent: None,
        include: install::Change::Kept,
    })
}

async fn ask(
    places: &Places,
    config: &Config,
    client: &Client,
    session: &Session,
    nonce: String,
) -> Result<Issued, RenewError> {
    let blob = key::blob_text(&session.public_key);
    let message = proof::renew_message(&config.settings.ca_id, &nonce, &session.id, &blob);
    let proof = key::prove(
        places,
        &session.key_place,
        &session.public_key,
        proof::RENEW_NAMESPACE,
        &message,
    )?;
    // A directory that is no longer stored is asked for anew.
    let directory_tag = install::stored_directory(places).map(|_| session.directory_tag.clone());
    let request = RenewRequest {
        session_id: session.id.clone(),
        session_secret: session.secret.clone(),
        nonce,
        proof,
        narrow: session.narrow.clone(),
        directory_tag,
    };
    Ok(client.renew(&request).await?)
}

fn check_all(
    issued: &Issued,
    key: &PublicKey,
    user_cas: &[String],
    session_ends_unix: i64,
) -> Result<Vec<Checked>, ReplyError> {
    let mut user_cas = public_keys(user_cas);
    // A key that signs since today is named in the same answer, over the pinned TLS: whoever was away while it was
    // announced, or renews after the old one was compromised, cannot know it in any other way.
    if let Some(directory) = &issued.directory {
        user_cas.extend(public_keys(&directory.user_cas));
    }
    let expected = Expected {
        key: key.key_data(),
        user_cas: &user_cas,
        now_unix: issued.now_unix,
        session_ends_unix,
    };
    Ok(issued
        .certificates
        .iter()
        .map(|text| check(text, &expected))
        .collect::<Result<_, _>>()?)
}

/// Takes over the server's next TLS CA, so that its rotation needs no new setup.
fn learn_tls_ca(
    places: &Places,
    config: &mut Config,
    client: &Client,
    issued: &Issued,
) -> Result<(), ConfigError> {
    let successor = issued.tls_ca.as_deref();
    match successor.and_then(|pem| client.successor(pem)) {
        Some(successor) => config.pin(places, successor),
        None => Ok(()),
    }
}

/// Takes over the user CA keys that the CA announces (over pinned TLS), so that a rotation needs no new setup; those that it
/// no longer names are forgotten. Says whether they changed.
fn learn_user_cas(config: &mut Config, reach: &Reach, checked: &[Checked]) -> bool {
    let certified = !checked.is_empty();
    let keys: Vec<_> = reach.user_cas.iter().map(key::bare).collect();
    let changed = certified && !keys.is_empty() && keys != config.settings.user_cas;
    if changed {
        config.settings.user_cas = keys;
    }
    changed
}
