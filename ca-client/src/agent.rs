//! The user's ssh-agent, spoken to over its socket with deadlines.
//!
//! Only five messages of the agent protocol (draft-ietf-sshm-ssh-agent) are needed. They are written here rather than
//! taken from a library because a listing must not *parse* foreign identities: a "forever" certificate or a key type
//! of tomorrow in somebody's agent makes a parser fail, and with it the login. Key blobs are only compared.

use std::{
    env, fs, io,
    io::{Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};

use ssh_key::{PublicKey, Signature, private::Ed25519Keypair};
use zeroize::Zeroizing;

/// A local agent answers at once; a forwarded one takes a round trip; one that asks its owner takes seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// The largest answer that is read: thousands of identities.
const MAX_ANSWER_BYTES: u32 = 4 * 1024 * 1024;

const FAILURE: u8 = 5;
const SUCCESS: u8 = 6;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const REMOVE_IDENTITY: u8 = 18;
const ADD_ID_CONSTRAINED: u8 = 25;
const CONSTRAIN_LIFETIME: u8 = 1;

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// `SSH_AUTH_SOCK` is unset.
    #[error("there is no ssh-agent (SSH_AUTH_SOCK is not set)")]
    Absent,
    /// Nobody answers at the socket.
    #[error("the ssh-agent at {socket} does not answer: {source}")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It answered "no": it is locked, its owner declined, or it does not know the key.
    #[error("the ssh-agent refused to {0}")]
    Refused(&'static str),
    /// It answered something else.
    #[error("the ssh-agent answered with something that is not its protocol")]
    Foreign,
}

/// A connection to an agent.
#[derive(Debug)]
pub struct Agent {
    stream: UnixStream,
    socket: PathBuf,
}

/// Which agent it was: a restarted agent has another socket, so another stamp.
#[must_use]
pub fn stamp(socket: &Path) -> Option<String> {
    let data = fs::metadata(socket).ok()?;
    Some(format!(
        "{}:{}:{}:{}",
        data.dev(),
        data.ino(),
        data.ctime(),
        data.ctime_nsec()
    ))
}

/// The socket that `SSH_AUTH_SOCK` names.
#[must_use]
pub fn socket() -> Option<PathBuf> {
    env::var_os("SSH_AUTH_SOCK")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

impl Agent {
    /// Connects to the agent that `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub fn of_user() -> Result<Self, AgentError> {
        Self::at(socket().ok_or(AgentError::Absent)?)
    }

    /// Connects to the agent at a socket.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn at(socket: PathBuf) -> Result<Self, AgentError> {
        let connect = || {
            let stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => Ok(Self { stream, socket }),
            Err(source) => Err(AgentError::Unreachable { socket, source }),
        }
    }

    /// The same connection with less patience.
    ///
    /// # Errors
    /// When the socket refuses.
    pub fn with_patience(self, patience: Duration) -> Result<Self, AgentError> {
        match self.stream.set_read_timeout(Some(patience)) {
            Ok(()) => Ok(self),
            Err(source) => Err(AgentError::Unreachable {
                socket: self.socket,
                source,
            }),
        }
    }

    /// Adds the plain key, to be forgotten after `lifetime_secs`. Nothing is listed.
    ///
    /// # Errors
    /// When the agent refuses.
    pub fn add(
        &mut self,
        key: &Ed25519Keypair,
        comment: &str,
        lifetime_secs: u32,
    ) -> Result<(), AgentError> {
        let mut message = Message::new(ADD_ID_CONSTRAINED);
        message.string(b"ssh-ed25519");
        message.string(&key.public.0);
        message.string(&*Zeroizing::new(key.to_bytes()));
        message.string(comment.as_bytes());
        message.0.push(CONSTRAIN_LIFETIME);
        message.0.extend(lifetime_secs.to_be_bytes());
        self.done(&message, "keep the key")
    }

    /// Forgets a key.
    ///
    /// # Errors
    /// When the agent refuses, or does not have it.
    pub fn remove(&mut self, key: &PublicKey) -> Result<(), AgentError> {
        let mut message = Message::new(REMOVE_IDENTITY);
        message.string(&blob(key));
        self.done(&message, "forget the key")
    }

    /// Does the agent hold this plain key?
    ///
    /// # Errors
    /// When the agent refuses to say.
    pub fn holds(&mut self, key: &PublicKey) -> Result<bool, AgentError> {
        let wanted = blob(key);
        Ok(self.blobs()?.contains(&wanted))
    }

    /// The plain security keys that the agent holds.
    ///
    /// # Errors
    /// When the agent refuses to say.
    pub fn security_keys(&mut self) -> Result<Vec<PublicKey>, AgentError> {
        let keys = self.blobs()?.into_iter().filter_map(|blob| {
            let kind = take_string(&mut &blob[..]).ok()?;
            // Nothing else is parsed: what is not ours to understand must not stand in the way.
            let ours = [
                &b"sk-ssh-ed25519@openssh.com"[..],
                b"sk-ecdsa-sha2-nistp256@openssh.com",
            ];
            ours.contains(&kind)
                .then(|| PublicKey::from_bytes(&blob).ok())?
        });
        Ok(keys.collect())
    }

    fn blobs(&mut self) -> Result<Vec<Vec<u8>>, AgentError> {
        let answer = self.ask(&Message::new(REQUEST_IDENTITIES))?;
        let mut rest = expect(&answer, IDENTITIES_ANSWER, "list its keys")?;
        let mut blobs = Vec::new();
        for _ in 0..take_u32(&mut rest)? {
            blobs.push(take_string(&mut rest)?.to_owned());
            take_string(&mut rest)?;
        }
        Ok(blobs)
    }

    /// Signs with a key that the agent holds.
    ///
    /// # Errors
    /// When the agent refuses, or no longer has the key.
    pub fn sign(&mut self, key: &PublicKey, data: &[u8]) -> Result<Signature, AgentError> {
        let signature = self.sign_blob(key, data)?;
        Signature::try_from(&signature[..]).map_err(|_| AgentError::Foreign)
    }

    /// The same, as the agent wrote it.
    ///
    /// # Errors
    /// When the agent refuses, or no longer has the key.
    pub fn sign_blob(&mut self, key: &PublicKey, data: &[u8]) -> Result<Vec<u8>, AgentError> {
        let mut message = Message::new(SIGN_REQUEST);
        message.string(&blob(key));
        message.string(data);
        message.0.extend(0_u32.to_be_bytes());
        let answer = self.ask(&message)?;
        let mut rest = expect(&answer, SIGN_RESPONSE, "sign with the key")?;
        Ok(take_string(&mut rest)?.to_owned())
    }

    fn done(&mut self, message: &Message, what: &'static str) -> Result<(), AgentError> {
        let answer = self.ask(message)?;
        expect(&answer, SUCCESS, what).map(|_| ())
    }

    fn ask(&mut self, message: &Message) -> Result<Vec<u8>, AgentError> {
        let stream = &mut self.stream;
        let mut exchange = || {
            let length = u32::try_from(message.0.len()).expect("messages are a few hundred bytes");
            stream.write_all(&length.to_be_bytes())?;
            stream.write_all(&message.0)?;
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length);
            if length == 0 || length > MAX_ANSWER_BYTES {
                return Ok(Vec::new());
            }
            let mut answer = vec![0; length as usize];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        exchange().map_err(|source| AgentError::Unreachable {
            socket: self.socket.clone(),
            source,
        })
    }
}

/// A message in the making; it may carry a private key.
struct Message(Zeroizing<Vec<u8>>);

impl Message {
    fn new(kind: u8) -> Self {
        // Room for the largest message, so that growing leaves no copy of a key behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        bytes.push(kind);
        Self(bytes)
    }

    fn string(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).expect("strings are a few hundred bytes");
        self.0.extend(length.to_be_bytes());
        self.0.extend(bytes);
    }
}

/// The wire form of a public key.
fn blob(key: &PublicKey) -> Vec<u8> {
    key.to_bytes().expect("a parsed key can be encoded")
}

fn expect<'a>(answer: &'a [u8], kind: u8, what: &'static str) -> Result<&'a [u8], AgentError> {
    match answer.split_first() {
        Some((first, rest)) if *first == kind => Ok(rest),
        Some((&FAILURE, _)) => Err(AgentError::Refused(what)),
        _ => Err(AgentError::Foreign),
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, AgentError> {
    let (head, tail) = rest.split_first_chunk().ok_or(AgentError::Foreign)?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], AgentError> {
    let length = take_u32(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or(AgentError::Foreign)?;
    *rest = tail;
    Ok(head)
}
