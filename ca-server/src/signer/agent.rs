//! A key that an ssh-agent holds: in its memory, in a YubiKey, in a TPM.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
};
use ssh_key::{HashAlg, PublicKey, Signature, public::KeyData};

use super::{
    SignerError,
    remote::{Line, RemoteSigner},
    spec::{AgentSpec, KeyKind},
    wire::{self, Message, WireError},
};

/// Opens the key of `spec`, which must be `expected` if that is known already. Of several that could be meant, the one with
/// `comment` is.
///
/// # Errors
/// When the agent does not answer, or does not hold exactly the key that is meant.
pub fn open(
    spec: &AgentSpec,
    expected: Option<&KeyData>,
    comment: &str,
) -> Result<RemoteSigner, SignerError> {
    let mut line = AgentLine {
        spec: spec.clone(),
        blob: Vec::new(),
        kept: None,
    };
    let (expected, comment) = (expected.cloned(), comment.to_owned());
    RemoteSigner::start(spec.to_string(), spec.wait, move |deadline| {
        let key = line.choose(expected.as_ref(), &comment, deadline)?;
        line.blob = blob(&key);
        Ok((key, line))
    })
}

/// The key that is known, at an agent that does not answer yet.
///
/// # Errors
/// When no thread can be started.
pub fn wait_for(spec: &AgentSpec, key: &KeyData) -> Result<RemoteSigner, SignerError> {
    let line = AgentLine {
        spec: spec.clone(),
        blob: blob(key),
        kept: None,
    };
    RemoteSigner::wait_for(spec.to_string(), spec.wait, key.clone(), line)
}

/// A connection to the agent, made anew when the agent was.
struct AgentLine {
    spec: AgentSpec,
    blob: Vec<u8>,
    kept: Option<UnixStream>,
}

impl Line for AgentLine {
    fn sign(&mut self, data: &[u8], deadline: Instant) -> Result<Signature, SignerError> {
        let request = Message::sign_request(&self.blob, data);
        let answer = match self.ask(&request, wire::SIGN_RESPONSE, deadline) {
            // It says no more than that: what it lists tells which "no" it was.
            Err(SignerError::Refused { .. }) => return Err(self.refusal(deadline)),
            answer => answer?,
        };
        wire::take_string(&mut &answer[..])
            .ok()
            .and_then(|signature| Signature::try_from(signature).ok())
            .ok_or_else(|| self.nonsense("something that is no signature"))
    }

    fn look(&mut self, deadline: Instant) -> Result<(), SignerError> {
        let listed = self.list(deadline)?;
        if listed.iter().any(|(blob, _)| *blob == self.blob) {
            Ok(())
        } else {
            Err(self.no_key(&listed))
        }
    }
}

impl AgentLine {
    /// Asks over the kept connection; one that broke may be of an agent that was started anew, so a new one is tried once.
    fn ask(
        &mut self,
        message: &Message,
        wanted: u8,
        deadline: Instant,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, SignerError> {
        if let Some(kept) = self.kept.take() {
            match wire::ask(&kept, message, wanted, deadline) {
                Ok(answer) => {
                    self.kept = Some(kept);
                    return Ok(answer);
                }
                Err(WireError::Io(_)) => {}
                Err(error) => return Err(self.error(error, kept)),
            }
        }
        let fresh = reach(&self.spec.socket, deadline).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => self.late(),
            _ => self.absent(&error),
        })?;
        match wire::ask(&fresh, message, wanted, deadline) {
            Ok(answer) => {
                self.kept = Some(fresh);
                Ok(answer)
            }
            Err(error) => Err(self.error(error, fresh)),
        }
    }

    fn list(&mut self, deadline: Instant) -> Result<Vec<(Vec<u8>, String)>, SignerError> {
        let answer = self.ask(
            &Message::new(wire::REQUEST_IDENTITIES, 0),
            wire::IDENTITIES_ANSWER,
            deadline,
        )?;
        wire::identities(&answer).map_err(|_| self.nonsense("a list that is cut off"))
    }

    /// The one key that is meant.
    fn choose(
        &mut self,
        expected: Option<&KeyData>,
        comment: &str,
        deadline: Instant,
    ) -> Result<KeyData, SignerError> {
        let listed = self.list(deadline)?;
        let mut usable: Vec<(KeyData, &str)> = listed
            .iter()
            .filter_map(|(blob, named)| Some((usable(blob)?, named.as_str())))
            .collect();
        let several = usable.len() > 1;
        if let Some(expected) = expected {
            usable.retain(|(key, _)| key == expected);
        } else if let Some(wanted) = self.spec.key {
            usable.retain(|(key, _)| key.fingerprint(HashAlg::Sha256) == wanted);
        } else if several {
            usable.retain(|(_, named)| *named == comment);
        }
        let guessed = expected.is_none() && self.spec.key.is_none();
        match usable.len() {
            1 => Ok(usable.remove(0).0),
            _ if several && guessed => Err(SignerError::NoKey {
                signer: self.spec.to_string(),
                why: format!(
                    "it has several that could be meant, and not one that is called {comment:?}; say which with \
                     ?key=SHA256:… ({})",
                    names(&listed)
                ),
            }),
            _ => Err(self.no_key(&listed)),
        }
    }

    fn refusal(&mut self, deadline: Instant) -> SignerError {
        match self.list(deadline) {
            Ok(listed) if listed.iter().any(|(blob, _)| *blob == self.blob) => {
                SignerError::Refused {
                    signer: self.spec.to_string(),
                    why: "it has the key and does not sign with it: a touch or confirmation did not come, or the key's \
                          hardware is not plugged in"
                        .to_owned(),
                }
            }
            // A locked agent lists nothing.
            Ok(listed) => self.no_key(&listed),
            Err(error) => error,
        }
    }

    fn error(&mut self, error: WireError, stream: UnixStream) -> SignerError {
        match error {
            WireError::Io(error) => self.absent(&error),
            WireError::TimedOut => self.late(),
            WireError::Foreign(what) => self.nonsense(what),
            WireError::Refused(_) => {
                // A "no" is a whole answer: the connection is in step.
                self.kept = Some(stream);
                SignerError::Refused {
                    signer: self.spec.to_string(),
                    why: "it gave no reason".to_owned(),
                }
            }
        }
    }

    fn absent(&self, error: &io::Error) -> SignerError {
        SignerError::Absent {
            signer: self.spec.to_string(),
            why: format!(
                "{error}; start the agent at this socket and add the key to it (`SSH_AUTH_SOCK={} ssh-add …`)",
                self.spec.socket.display()
            ),
        }
    }

    fn late(&self) -> SignerError {
        SignerError::TimedOut {
            signer: self.spec.to_string(),
            waited_secs: self.spec.wait.as_secs(),
        }
    }

    fn nonsense(&self, what: &str) -> SignerError {
        SignerError::Nonsense {
            signer: self.spec.to_string(),
            why: what.to_owned(),
        }
    }

    fn no_key(&self, listed: &[(Vec<u8>, String)]) -> SignerError {
        let has = match listed.len() {
            0 => "it has no keys at all: it is locked (`ssh-add -X` unlocks it), or the key must be added again with `ssh-add`"
                .to_owned(),
            _ => format!(
                "it has only {}; add the key with `ssh-add` (a CA key is Ed25519 or ECDSA P-256)",
                names(listed)
            ),
        };
        SignerError::NoKey {
            signer: self.spec.to_string(),
            why: has,
        }
    }
}

/// Fingerprints of what an agent has, for people; it may have thousands.
fn names(listed: &[(Vec<u8>, String)]) -> String {
    let mut names: Vec<String> = listed
        .iter()
        .take(8)
        .map(|(blob, comment)| {
            let comment = comment.escape_debug().take(40).collect::<String>();
            match PublicKey::from_bytes(blob) {
                Ok(key) => format!("{} {comment}", key.fingerprint(HashAlg::Sha256)),
                Err(_) => format!("a key of another kind {comment}"),
            }
        })
        .collect();
    if listed.len() > names.len() {
        names.push(format!("and {} more", listed.len() - names.len()));
    }
    names.join(", ")
}

fn usable(blob: &[u8]) -> Option<KeyData> {
    let key = PublicKey::from_bytes(blob).ok()?;
    KeyKind::of(&key.algorithm()).map(|_| key.key_data().clone())
}

/// The wire form of a public key.
pub(super) fn blob(key: &KeyData) -> Vec<u8> {
    PublicKey::from(key.clone())
        .to_bytes()
        .expect("a parsed key can be encoded")
}

/// Connects within the deadline: where the agent hangs and others queue before it, a plain `connect` would wait for ever.
fn reach(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let fd: OwnedFd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    loop {
        match connect(fd.as_raw_fd(), &address) {
            Ok(()) => break,
            Err(Errno::EAGAIN) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(UnixStream::from(fd))
}
