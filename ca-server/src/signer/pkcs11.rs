//! A key in a PKCS#11 token or HSM. The vendor's module never runs in the server: a helper process loads it.
//!
//! A module is foreign C code that may hang, crash, or keep threads; in a process of its own it can be killed and started
//! anew, and it sees none of the CA's other keys. The helper is this same program (`ca-server pkcs11-helper`), with one end of a
//! socket pair as its standard input, and speaks the agent protocol over it, as OpenSSH's `ssh-pkcs11-helper` does.

pub mod helper;
pub mod pin;
mod token;

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use ca_api::Secret;
use serde::{Deserialize, Serialize};
use ssh_key::{LineEnding, PrivateKey, PublicKey, Signature, public::KeyData};
use zeroize::Zeroizing;

use super::{
    SignerError,
    agent::blob,
    remote::{Line, RemoteSigner},
    spec::{KeyKind, Pkcs11Spec},
    wire::{self, Message, Refusal, WireError},
};

/// The first argument that makes this program the helper.
pub const HELPER: &str = "pkcs11-helper";

/// What the helper is told first.
const OPEN: &[u8] = b"open@ssh-ca";

/// The helper's words for refusals that are not to be tried again.
const WRONG_PIN: &str = "pin";
const NO_KEY: &str = "key";
const ABSENT: &str = "absent";
const FAILED: &str = "failed";

/// How often a token is looked for that is not there: when a key is opened, and when it is to sign.
const OPEN_TRIES: u32 = 5;
const SIGN_TRIES: u32 = 2;
/// The pause between two of them.
const ABSENT_PAUSE: Duration = Duration::from_millis(200);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that has the helper in it. Without this it is the running program itself, which is right for
/// `ca-server` and wrong for a program that only uses its library.
pub fn set_program(path: &Path) {
    drop(PROGRAM.set(path.to_owned()));
}

fn program() -> &'static Path {
    // Also right after the file was replaced by an upgrade.
    PROGRAM
        .get()
        .map_or(Path::new("/proc/self/exe"), PathBuf::as_path)
}

/// Which key is opened.
#[derive(Clone)]
pub enum Which {
    /// This one, which must be there.
    Known(KeyData),
    /// The one that the specification names; where there is none, it is made in the token and never leaves it.
    FoundOrMade,
    /// This one: where it is not there yet, it is brought in from a file.
    Import(Box<PrivateKey>),
}

/// What the helper is asked to open.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    module: PathBuf,
    token: Option<String>,
    serial: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    kind: Option<String>,
    pin: Option<String>,
    /// The key that must be there: OpenSSH text.
    public: Option<String>,
    /// Whether one is made where there is none.
    make: bool,
    /// The key that is brought in: OpenSSH text, not encrypted.
    private: Option<String>,
}

impl Drop for Open {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.pin.zeroize();
        self.private.zeroize();
    }
}

/// Opens the key of `spec`.
///
/// # Errors
/// When the token is not there, refuses the PIN, or has not the key.
pub fn open(
    spec: &Pkcs11Spec,
    pin: Option<Secret>,
    which: Which,
) -> Result<RemoteSigner, SignerError> {
    let mut line = TokenLine::new(spec, pin, which);
    RemoteSigner::start(line.name.clone(), spec.wait, move |deadline| {
        let key = line.start_patiently(deadline, OPEN_TRIES)?;
        line.blob = blob(&key);
        // From now on it is this one, however many more are made beside it.
        line.which = Which::Known(key.clone());
        Ok((key, line))
    })
}

/// The key that is known, in a token that is not there yet.
///
/// # Errors
/// When no thread can be started.
pub fn wait_for(
    spec: &Pkcs11Spec,
    pin: Option<Secret>,
    key: &KeyData,
) -> Result<RemoteSigner, SignerError> {
    let mut line = TokenLine::new(spec, pin, Which::Known(key.clone()));
    line.blob = blob(key);
    RemoteSigner::wait_for(line.name.clone(), spec.wait, key.clone(), line)
}

/// The signer's name in messages: without where its PIN comes from and what its module reads.
fn name(spec: &Pkcs11Spec) -> String {
    let shown = Pkcs11Spec {
        pin_file: None,
        env: std::collections::BTreeMap::new(),
        kind: None,
        ..spec.clone()
    };
    shown.to_string()
}

/// A helper process and the key that it has open.
struct TokenLine {
    name: String,
    spec: Pkcs11Spec,
    pin: Option<Secret>,
    which: Which,
    blob: Vec<u8>,
    helper: Option<Helper>,
    /// Tokens lock themselves after a few wrong PINs: one that was refused is not tried again.
    pin_refused: Option<String>,
}

struct Helper {
    child: Option<Child>,
    stream: UnixStream,
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        drop(child.kill());
        // Killed, it may still be inside a driver that does not let go: somebody else waits for it.
        drop(thread::Builder::new().spawn(move || child.wait()));
    }
}

impl Line for TokenLine {
    fn sign(&mut self, data: &[u8], deadline: Instant) -> Result<Signature, SignerError> {
        let request = Message::sign_request(&self.blob, data);
        let kept = self.helper.is_some();
        let answer = match self.ask(&request, wire::SIGN_RESPONSE, deadline) {
            // The helper died, or its token was taken out and put back: a new one opens everything anew, once.
            Err(SignerError::Absent { .. } | SignerError::Refused { .. }) if kept => {
                self.helper = None;
                self.ask(&request, wire::SIGN_RESPONSE, deadline)?
            }
            answer => answer?,
        };
        wire::take_string(&mut &answer[..])
            .ok()
            .and_then(|signature| Signature::try_from(signature).ok())
            .ok_or_else(|| self.nonsense("something that is no signature"))
    }

    fn look(&mut self, deadline: Instant) -> Result<(), SignerError> {
        self.helper = None;
        self.start(deadline).map(drop)
    }
}

impl TokenLine {
    fn new(spec: &Pkcs11Spec, pin: Option<Secret>, which: Which) -> Self {
        Self {
            name: name(spec),
            spec: spec.clone(),
            pin,
            which,
            blob: Vec::new(),
            helper: None,
            pin_refused: None,
        }
    }

    fn ask(
        &mut self,
        message: &Message,
        wanted: u8,
        deadline: Instant,
    ) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        if self.helper.is_none() {
            self.start_patiently(deadline, SIGN_TRIES)?;
        }
        let helper = self
            .helper
            .take()
            .expect("`start` leaves a helper or an error");
        match wire::ask(&helper.stream, message, wanted, deadline) {
            Ok(answer) => {
                self.helper = Some(helper);
                Ok(answer)
            }
            // Dropped with the helper: whatever it was doing ends here.
            Err(error) => Err(self.error(error)),
        }
    }

    /// The same, tried again where the token is not there: while another process logs in, SoftHSM shows no token for a moment.
    fn start_patiently(&mut self, deadline: Instant, tries: u32) -> Result<KeyData, SignerError> {
        for _ in 1..tries {
            match self.start(deadline) {
                Err(SignerError::Absent { .. }) if Instant::now() + ABSENT_PAUSE < deadline => {
                    thread::sleep(ABSENT_PAUSE);
                }
                started => return started,
            }
        }
        self.start(deadline)
    }

    /// Starts a helper and lets it open the key.
    fn start(&mut self, deadline: Instant) -> Result<KeyData, SignerError> {
        if let Some(why) = &self.pin_refused {
            return Err(SignerError::Refused {
                signer: self.name.clone(),
                why: why.clone(),
            });
        }
        let helper = self.spawn().map_err(|error| SignerError::Absent {
            signer: self.name.clone(),
            why: format!("its helper process cannot be started: {error}"),
        })?;
        let told = self.told()?;
        let mut message = Message::new(wire::EXTENSION, told.len() + OPEN.len());
        message.string(OPEN);
        message.string(&told);
        let answer = wire::ask(&helper.stream, &message, wire::IDENTITIES_ANSWER, deadline)
            .map_err(|error| self.error(error))?;
        let key = wire::identities(&answer)
            .ok()
            .and_then(|listed| PublicKey::from_bytes(&listed.first()?.0).ok())
            .filter(|key| KeyKind::of(&key.algorithm()).is_some())
            .ok_or_else(|| self.nonsense("no key"))?;
        self.helper = Some(helper);
        Ok(key.key_data().clone())
    }

    fn told(&self) -> Result<Zeroizing<Vec<u8>>, SignerError> {
        let unusable = |error: ssh_key::Error| self.nonsense(&error.to_string());
        let text = |key: &KeyData| PublicKey::from(key.clone()).to_openssh();
        let public = match &self.which {
            Which::Known(key) => Some(text(key).map_err(unusable)?),
            Which::Import(key) => Some(text(key.public_key().key_data()).map_err(unusable)?),
            Which::FoundOrMade => None,
        };
        let private = match &self.which {
            Which::Import(key) => Some(
                key.to_openssh(LineEnding::LF)
                    .map_err(unusable)?
                    .to_string(),
            ),
            Which::Known(_) | Which::FoundOrMade => None,
        };
        let open = Open {
            module: self.spec.module.clone(),
            token: self.spec.token.clone(),
            serial: self.spec.serial.clone(),
            object: self.spec.object.clone(),
            id: self.spec.id.clone(),
            kind: self.spec.kind.map(|kind| kind.as_str().to_owned()),
            pin: self.pin.as_ref().map(|pin| pin.expose().to_owned()),
            public,
            make: matches!(self.which, Which::FoundOrMade),
            private,
        };
        serde_json::to_vec(&open)
            .map(Zeroizing::new)
            .map_err(|error| self.nonsense(&error.to_string()))
    }

    fn spawn(&self) -> io::Result<Helper> {
        let (near, far) = UnixStream::pair()?;
        let child = Command::new(program())
            .arg(HELPER)
            .envs(&self.spec.env)
            .stdin(Stdio::from(OwnedFd::from(far)))
            // A module that prints must not print among the server's answers.
            .stdout(Stdio::null())
            // Ctrl-C at a terminal is for the server, which ends its helpers itself.
            .process_group(0)
            .spawn()?;
        Ok(Helper {
            child: Some(child),
            stream: near,
        })
    }

    fn error(&mut self, error: WireError) -> SignerError {
        let signer = self.name.clone();
        match error {
            WireError::Io(error) => SignerError::Absent {
                signer,
                why: format!("its helper process ended ({error}); the module may have crashed"),
            },
            WireError::TimedOut => SignerError::TimedOut {
                signer,
                waited_secs: self.spec.wait.as_secs(),
            },
            WireError::Foreign(what) => self.nonsense(what),
            WireError::Refused(Refusal { word, why }) => match word.as_str() {
                WRONG_PIN => {
                    self.pin_refused = Some(format!(
                        "{why}; it is not tried again until the server starts anew"
                    ));
                    SignerError::Refused { signer, why }
                }
                NO_KEY => SignerError::NoKey { signer, why },
                ABSENT => SignerError::Absent { signer, why },
                _ => SignerError::Refused { signer, why },
            },
        }
    }

    fn nonsense(&self, why: &str) -> SignerError {
        SignerError::Nonsense {
            signer: self.name.clone(),
            why: why.to_owned(),
        }
    }
}
