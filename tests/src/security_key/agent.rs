//! The agent protocol (draft-ietf-sshm-ssh-agent), as far as keys that cannot be added or taken out need it.

use std::sync::Arc;

use super::{Owner, SecurityKey, put, take};

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;

pub(super) fn answer(keys: &[Arc<SecurityKey>], message: &[u8]) -> Vec<u8> {
    let answered = match message.split_first() {
        Some((&REQUEST_IDENTITIES, _)) => list(keys),
        Some((&SIGN_REQUEST, rest)) => sign(keys, rest),
        _ => None,
    };
    answered.unwrap_or_else(|| vec![FAILURE])
}

fn list(keys: &[Arc<SecurityKey>]) -> Option<Vec<u8>> {
    let mut reply = vec![IDENTITIES_ANSWER];
    reply.extend(u32::try_from(keys.len()).ok()?.to_be_bytes());
    for key in keys {
        put(&mut reply, &key.public.to_bytes().ok()?);
        put(&mut reply, b"a security key in software");
    }
    Some(reply)
}

fn sign(keys: &[Arc<SecurityKey>], mut rest: &[u8]) -> Option<Vec<u8>> {
    let (blob, message) = (take(&mut rest)?, take(&mut rest)?);
    let key = keys
        .iter()
        .find(|key| key.public.to_bytes().is_ok_and(|held| held == blob))?;
    let flags = match key.owner_now() {
        Owner::Verified => USER_PRESENT | USER_VERIFIED,
        Owner::Touches => USER_PRESENT,
        Owner::Absent => 0,
        Owner::Declines => return None,
    };
    let signed = key.sign("ssh:", message, flags)?;
    let mut signature = Vec::new();
    put(&mut signature, key.public.algorithm().as_str().as_bytes());
    put(&mut signature, &signed.bytes);
    signature.push(signed.flags);
    signature.extend(signed.counter.to_be_bytes());
    let mut reply = vec![SIGN_RESPONSE];
    put(&mut reply, &signature);
    Some(reply)
}
