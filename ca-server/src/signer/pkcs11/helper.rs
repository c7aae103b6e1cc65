//! The helper process: loads one module, opens one key, and signs until its standard input closes.

use std::{
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
};

use nix::sys::{prctl, signal::Signal};
use ssh_key::PublicKey;

use super::{
    super::wire::{self, Message, WireError},
    FAILED, OPEN, Open,
    token::Token,
};

/// Serves one server, over standard input. What it has to say to people goes to standard error, the server's log.
#[must_use]
pub fn run() -> ExitCode {
    crate::serve::harden();
    // The server that started it is the only one it works for, also if that is killed while a module hangs.
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        eprintln!("ca-server: the PKCS#11 helper does not end with the server: {error}");
    }
    let stream = match io::stdin().as_fd().try_clone_to_owned() {
        Ok(fd) => UnixStream::from(fd),
        Err(error) => {
            eprintln!("ca-server: the PKCS#11 helper has no standard input: {error}");
            return ExitCode::FAILURE;
        }
    };
    match serve(&stream) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "ca-server: the PKCS#11 helper ends: {error:?}; it is started by the server only"
            );
            ExitCode::FAILURE
        }
    }
}

fn serve(mut stream: &UnixStream) -> Result<(), WireError> {
    let mut token = None;
    while let Some(message) = wire::receive(&mut stream)? {
        let answer = match message.split_first() {
            Some((&wire::EXTENSION, body)) => {
                let open = parse(body)?;
                match Token::open(&open) {
                    Ok(opened) => identity(token.insert(opened)),
                    Err(refusal) => Message::refusal(&refusal.word, &refusal.why),
                }
            }
            Some((&wire::SIGN_REQUEST, body)) => sign(token.as_ref(), body)?,
            _ => Message::refusal(FAILED, "the helper does not understand this"),
        };
        answer.send(&mut stream)?;
    }
    Ok(())
}

fn parse(mut body: &[u8]) -> Result<Open, WireError> {
    if wire::take_string(&mut body)? != OPEN {
        return Err(WireError::Foreign("an extension of another kind"));
    }
    let told = wire::take_string(&mut body)?;
    serde_json::from_slice(told).map_err(|_| WireError::Foreign("not what a server sends"))
}

fn identity(token: &Token) -> Message {
    let blob = super::blob(token.public());
    let mut message = Message::new(wire::IDENTITIES_ANSWER, blob.len());
    message.u32(1);
    message.string(&blob);
    message.string(b"");
    message
}

fn sign(token: Option<&Token>, mut body: &[u8]) -> Result<Message, WireError> {
    let Some(token) = token else {
        return Ok(Message::refusal(FAILED, "no key is open"));
    };
    let wanted = wire::take_string(&mut body)?;
    let data = wire::take_string(&mut body)?;
    if PublicKey::from_bytes(wanted)
        .ok()
        .as_ref()
        .map(PublicKey::key_data)
        != Some(token.public())
    {
        return Ok(Message::refusal(FAILED, "another key is open"));
    }
    Ok(match token.sign(data) {
        Ok(signature) => {
            let mut message = Message::new(wire::SIGN_RESPONSE, signature.len());
            message.string(&signature);
            message
        }
        Err(refusal) => Message::refusal(&refusal.word, &refusal.why),
    })
}
