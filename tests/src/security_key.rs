//! A security key in software, true to the byte: what OpenSSH, sshd and the CA see of it is what hardware shows them, and a
//! test decides whether its owner touches it and types the PIN.
//!
//! Two ways lead to it, as to hardware: an ssh-agent that holds it ([`SecurityKey::agent`]), and OpenSSH's own programs
//! through a middleware ([`SecurityKey::middleware`]), which ask for the PIN and the touch themselves.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use rand_core::OsRng;
use signature::Signer;
use ssh_key::public::{EcdsaPublicKey, KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::sha2::{Digest, Sha256};
use ssh_key::{Algorithm, EcdsaCurve, PrivateKey, PublicKey};

mod agent;
mod middleware;

pub use middleware::{Middleware, PIN};

/// What its owner does when the key blinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Touches it and is verified by PIN or finger: flags UP and UV.
    Verified,
    /// Touches it: flag UP.
    Touches,
    /// Leaves it alone, and the key signs all the same: no flag. No honest key does this.
    Absent,
    /// Leaves it alone until the key gives up.
    Declines,
}

/// A security key.
#[derive(Debug)]
pub struct SecurityKey {
    inside: PrivateKey,
    public: PublicKey,
    owner: Mutex<Owner>,
    counter: AtomicU32,
}

/// One signature as the key returns it.
pub(crate) struct Signed {
    pub(crate) flags: u8,
    pub(crate) counter: u32,
    /// In SSH's form: 64 bytes of Ed25519, or the two numbers of ECDSA.
    pub(crate) bytes: Vec<u8>,
}

impl SecurityKey {
    /// A key of type `sk-ssh-ed25519@openssh.com`.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn ed25519() -> Result<Arc<Self>> {
        let inside = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
        let KeyData::Ed25519(public) = *inside.public_key().key_data() else {
            bail!("an Ed25519 key was asked for");
        };
        let public = KeyData::SkEd25519(SkEd25519::new(public, "ssh:"));
        Ok(Self::new(inside, public))
    }

    /// A key of type `sk-ecdsa-sha2-nistp256@openssh.com`, as older hardware makes them.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn ecdsa() -> Result<Arc<Self>> {
        let curve = EcdsaCurve::NistP256;
        let inside = PrivateKey::random(&mut OsRng, Algorithm::Ecdsa { curve })?;
        let KeyData::Ecdsa(EcdsaPublicKey::NistP256(public)) = *inside.public_key().key_data()
        else {
            bail!("a P-256 key was asked for");
        };
        let public = KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(public, "ssh:"));
        Ok(Self::new(inside, public))
    }

    fn new(inside: PrivateKey, public: KeyData) -> Arc<Self> {
        Arc::new(Self {
            inside,
            public: public.into(),
            owner: Mutex::new(Owner::Verified),
            counter: AtomicU32::new(0),
        })
    }

    /// Its public half, OpenSSH text.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn public_key(&self) -> Result<String> {
        Ok(self.public.to_openssh()?)
    }

    /// From now on its owner does this.
    pub fn owner(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = owner;
    }

    /// How often it has signed.
    #[must_use]
    pub fn signatures(&self) -> u32 {
        self.counter.load(Ordering::SeqCst)
    }

    /// An agent that holds these keys and nothing else, on a socket at this path.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn agent(keys: &[Arc<Self>], socket: &Path) -> Result<SecurityKeyAgent> {
        let keys = keys.to_vec();
        SecurityKeyAgent::start(socket, move |message| agent::answer(&keys, message))
    }

    /// What OpenSSH's programs load instead of their own to talk to this key, made in this folder (with `gcc`).
    ///
    /// # Errors
    /// When it cannot be compiled.
    pub fn middleware(self: &Arc<Self>, folder: &Path) -> Result<Middleware> {
        Middleware::make(Arc::clone(self), folder)
    }

    fn owner_now(&self) -> Owner {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PROTOCOL.u2f, "SSH U2F Signatures": SHA-256 of the application, flags, counter, SHA-256 of the message. `None` if its
    /// owner declines.
    pub(crate) fn sign(&self, application: &str, message: &[u8], flags: u8) -> Option<Signed> {
        let counter = self.counter.fetch_add(1, Ordering::SeqCst) + 1;
        let mut signed = Sha256::digest(application).to_vec();
        signed.push(flags);
        signed.extend(counter.to_be_bytes());
        signed.extend(Sha256::digest(message));
        let signature = self.inside.try_sign(&signed).ok()?;
        Some(Signed {
            flags,
            counter,
            bytes: signature.as_bytes().to_vec(),
        })
    }
}

/// Somebody who answers on a socket, message by message; ends when dropped.
#[derive(Debug)]
pub struct SecurityKeyAgent {
    socket: PathBuf,
    over: Arc<AtomicBool>,
    lane: Option<JoinHandle<()>>,
}

impl SecurityKeyAgent {
    pub(crate) fn start(
        socket: &Path,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("a socket at {}", socket.display()))?;
        let (over, answer) = (Arc::new(AtomicBool::new(false)), Arc::new(answer));
        let ended = Arc::clone(&over);
        let lane = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), answer) = (stream, Arc::clone(&answer)) else {
                    continue;
                };
                std::thread::spawn(move || converse(stream, &*answer));
            }
        });
        Ok(Self {
            socket: socket.to_owned(),
            over,
            lane: Some(lane),
        })
    }

    /// Where it answers, the same path here and at a workstation.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for SecurityKeyAgent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // The listener waits for somebody to come.
        let _ = UnixStream::connect(&self.socket);
        if let Some(lane) = self.lane.take() {
            let _ = lane.join();
        }
        let _ = fs::remove_file(&self.socket);
    }
}

/// Messages of the agent protocol's shape: a length of four bytes, and so many bytes.
fn converse(mut stream: UnixStream, answer: &dyn Fn(&[u8]) -> Vec<u8>) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let Ok(length @ ..=262_144) = usize::try_from(u32::from_be_bytes(length)) else {
            return;
        };
        let mut message = vec![0; length];
        if stream.read_exact(&mut message).is_err() {
            return;
        }
        let mut reply = Vec::new();
        put(&mut reply, &answer(&message));
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}

/// Appends a string of SSH's: its length, then it.
pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("messages here are small");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// Takes a string of SSH's from the front.
pub(crate) fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, tail) = rest.split_first_chunk()?;
    let (head, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = tail;
    Some(head)
}
