//! OpenSSH's security-key middleware (sk-api.h) in front of a key in software: a few lines of C pass each call over a socket.
//!
//! `ssh`, `ssh-keygen` and `ssh-agent` load it where they are told by `SecurityKeyProvider` or `SSH_SK_PROVIDER`; everything
//! that a person sees (the questions for PIN and touch) is OpenSSH's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ssh_key::public::KeyData;

use super::{Owner, SecurityKey, SecurityKeyAgent, put, take};

/// The PIN of every key in software.
pub const PIN: &str = "271828";

// sk-api.h
const USER_PRESENCE_REQD: u8 = 0x01;
const USER_VERIFICATION_REQD: u8 = 0x04;
const ERR_GENERAL: i32 = -1;
const ERR_UNSUPPORTED: i32 = -2;
const ERR_PIN_REQUIRED: i32 = -3;
const ECDSA: u8 = 0;
const ED25519: u8 = 1;

/// What the key keeps for itself of what it made: the handle that OpenSSH stores.
const HANDLE: &[u8] = b"handle of a key in software";

/// The middleware, and the key behind it.
#[derive(Debug)]
pub struct Middleware {
    library: PathBuf,
    behind: SecurityKeyAgent,
}

impl Middleware {
    pub(super) fn make(key: Arc<SecurityKey>, folder: &Path) -> Result<Self> {
        let (source, library) = (folder.join("sk.c"), folder.join("sk.so"));
        std::fs::write(&source, include_str!("middleware.c"))?;
        let made = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .output()
            .context("gcc cannot be run: run tests/setup")?;
        ensure!(
            made.status.success(),
            "the middleware does not compile: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let behind = SecurityKeyAgent::start(&folder.join("sk.sock"), move |message| {
            answer(&key, message)
        })?;
        Ok(Self { library, behind })
    }

    /// The line of `~/.ssh/config` without which ssh talks to hardware only.
    #[must_use]
    pub fn ssh_config(&self) -> String {
        format!("SecurityKeyProvider {}", self.library.display())
    }

    /// What to put into the environment of OpenSSH's programs.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("SSH_SK_PROVIDER", self.library.clone()),
            ("SOFT_KEY_SOCKET", self.behind.socket().to_owned()),
        ]
    }
}

/// `S` or `E`, algorithm, flags, then application, PIN (empty if none was given), handle, data. The reply: a status of four
/// bytes, and where that is zero what was asked for.
fn answer(key: &SecurityKey, message: &[u8]) -> Vec<u8> {
    match call(key, message) {
        Ok(reply) => [&0_i32.to_be_bytes()[..], &reply].concat(),
        Err(status) => status.to_be_bytes().to_vec(),
    }
}

fn call(key: &SecurityKey, message: &[u8]) -> Result<Vec<u8>, i32> {
    let (&[what, algorithm, flags], mut rest) = message.split_first_chunk().ok_or(ERR_GENERAL)?;
    let mut part = || take(&mut rest).ok_or(ERR_GENERAL);
    let (application, pin, handle, data) = (part()?, part()?, part()?, part()?);
    let application = std::str::from_utf8(application).map_err(|_| ERR_GENERAL)?;
    let held = match key.public.key_data() {
        KeyData::SkEd25519(_) => ED25519,
        _ => ECDSA,
    };
    if algorithm != held {
        return Err(ERR_UNSUPPORTED);
    }
    let wants_pin = flags & USER_VERIFICATION_REQD != 0;
    if wants_pin && pin.is_empty() {
        return Err(ERR_PIN_REQUIRED);
    }
    if wants_pin && pin != PIN.as_bytes() {
        return Err(ERR_PIN_REQUIRED);
    }
    let touched = match key.owner_now() {
        Owner::Verified | Owner::Touches => USER_PRESENCE_REQD,
        Owner::Absent => 0,
        Owner::Declines => return Err(ERR_GENERAL),
    };
    match what {
        b'E' => {
            let public = match key.public.key_data() {
                KeyData::SkEd25519(key) => key.public_key().0.to_vec(),
                KeyData::SkEcdsaSha2NistP256(key) => key.ec_point().as_bytes().to_vec(),
                _ => return Err(ERR_UNSUPPORTED),
            };
            let mut reply = Vec::new();
            put(&mut reply, &public);
            put(&mut reply, HANDLE);
            Ok(reply)
        }
        b'S' if handle == HANDLE => {
            // UV is in what is signed exactly if the PIN was asked for and right.
            let flags = touched | (flags & USER_VERIFICATION_REQD);
            let signed = key.sign(application, data, flags).ok_or(ERR_GENERAL)?;
            let mut reply = vec![signed.flags];
            reply.extend(signed.counter.to_be_bytes());
            if held == ED25519 {
                put(&mut reply, &signed.bytes);
                put(&mut reply, b"");
            } else {
                let mut numbers = &signed.bytes[..];
                for _ in 0..2 {
                    put(&mut reply, take(&mut numbers).ok_or(ERR_GENERAL)?);
                }
            }
            Ok(reply)
        }
        _ => Err(ERR_GENERAL),
    }
}
