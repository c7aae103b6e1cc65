//! A signature by a security key: through the agent that holds it, or by OpenSSH's own `ssh-keygen`, which asks for the PIN
//! and the touch on the terminal.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::{
    agent::{Agent, AgentError},
    prompt::Terminal,
    text,
};

/// How long a person has for the PIN and the touch: the CA's nonce lives as long.
const PATIENCE: Duration = Duration::from_secs(55);

/// How often `ssh-keygen` is looked after.
const LOOK: Duration = Duration::from_millis(20);

/// Why a security key did not sign.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The agent did not sign, and there is no handle to do without it.
    #[error("the security key did not sign: {0}")]
    Agent(#[from] AgentError),
    /// `ssh-keygen` cannot be run.
    #[error("ssh-keygen cannot be run: {0}")]
    Run(io::Error),
    /// `ssh-keygen` failed; on a terminal it has said why.
    #[error("the security key did not sign{}", because(.0))]
    Keygen(String),
    /// Nobody touched the key.
    #[error("the security key was not touched within {} s", PATIENCE.as_secs())]
    Untouched,
    /// The agent's signature is of no known shape.
    #[error(transparent)]
    Key(#[from] ssh_key::Error),
}

fn because(words: &str) -> String {
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    }
}

/// An SSHSIG (PEM) over `message`, asked from the agent if it has the key, and else by way of the handle. Waits for the
/// person, and no longer than the CA's nonce lives.
///
/// # Errors
/// When it did not sign.
pub fn prove(
    key: &PublicKey,
    handle: Option<&Path>,
    namespace: &str,
    message: &[u8],
) -> Result<String, SignError> {
    match (by_agent(key, namespace, message), handle) {
        (Ok(proof), _) => Ok(proof),
        // It may not have the key, or no way to ask for its PIN.
        (Err(SignError::Agent(_)), Some(handle)) => by_keygen(handle, namespace, message),
        (Err(error), _) => Err(error),
    }
}

fn by_agent(key: &PublicKey, namespace: &str, message: &[u8]) -> Result<String, SignError> {
    let mut agent = Agent::of_user()?;
    if !agent.holds(key)? {
        return Err(AgentError::Refused("sign with a key that it does not have").into());
    }
    let mut agent = agent.with_patience(PATIENCE)?;
    if let Some(mut terminal) = Terminal::open() {
        terminal.say("Touch your security key.");
    }
    let data = SshSig::signed_data(namespace, HashAlg::Sha512, message)?;
    let signature = agent.sign_blob(key, &data)?;
    Ok(armoured(&key.to_bytes()?, namespace, &signature))
}

/// PROTOCOL.sshsig, "Blob format" and "Armored format". The agent's signature goes in as it came: ssh-key 0.6 cannot write
/// an ECDSA security key's.
fn armoured(key: &[u8], namespace: &str, signature: &[u8]) -> String {
    let mut blob = b"SSHSIG".to_vec();
    blob.extend(1_u32.to_be_bytes());
    for part in [key, namespace.as_bytes(), b"", b"sha512", signature] {
        let length = u32::try_from(part.len()).expect("a signature is a few hundred bytes");
        blob.extend(length.to_be_bytes());
        blob.extend(part);
    }
    let text = STANDARD.encode(blob);
    let mut pem = String::from("-----BEGIN SSH SIGNATURE-----\n");
    for line in text.as_bytes().chunks(70) {
        pem.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        pem.push('\n');
    }
    pem.push_str("-----END SSH SIGNATURE-----\n");
    pem
}

fn by_keygen(handle: &Path, namespace: &str, message: &[u8]) -> Result<String, SignError> {
    // What it says belongs on the terminal, wherever our own standard error goes.
    let tty = Terminal::open().and_then(|_| File::options().write(true).open("/dev/tty").ok());
    let on_terminal = tty.is_some();
    let mut keygen = Command::new("ssh-keygen")
        .args(["-Y", "sign", "-n", namespace, "-f"])
        .arg(handle)
        // The agent was asked before.
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(tty.map_or_else(Stdio::piped, Stdio::from))
        .spawn()
        .map_err(SignError::Run)?;
    let told = keygen.stdin.take().map(|mut pipe| pipe.write_all(message));
    let ended = await_end(&mut keygen);
    let read = |pipe: Option<&mut dyn Read>| {
        let mut text = String::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(16 * 1024).read_to_string(&mut text);
        }
        text
    };
    match ended? {
        // Both are far smaller than a pipe holds, so that nothing had to be read while it ran.
        End::Good if told.is_some_and(|told| told.is_ok()) => {
            Ok(read(keygen.stdout.as_mut().map(|pipe| pipe as _)))
        }
        End::Good | End::Bad => {
            let words = read(keygen.stderr.as_mut().map(|pipe| pipe as _));
            let last = words.lines().rfind(|line| !line.trim().is_empty());
            let words = last.map(text::line).unwrap_or_default();
            Err(SignError::Keygen(if on_terminal {
                String::new()
            } else {
                words
            }))
        }
        End::TooLate => Err(SignError::Untouched),
    }
}

enum End {
    Good,
    Bad,
    TooLate,
}

fn await_end(keygen: &mut Child) -> Result<End, SignError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match keygen.try_wait().map_err(SignError::Run)? {
            Some(status) if status.success() => return Ok(End::Good),
            Some(_) => return Ok(End::Bad),
            None if Instant::now() < deadline => thread::sleep(LOOK),
            None => {
                // Its helper, which talks to the key, ends with it: their pipe closes.
                let _ = keygen.kill();
                let _ = keygen.wait();
                return Ok(End::TooLate);
            }
        }
    }
}
