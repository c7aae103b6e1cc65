//! Proofs of possession: whoever sends a public key shows that its private half obeys them, and a security key shows that
//! a person touched it, and which person.

use policies::{KeyKind, Subject};
use ssh_key::{Algorithm, PublicKey, Signature, SshSig, public::KeyData};

use super::{SessionError, plan::acceptable};
use crate::ca::Ca;

/// What the application of an SSH security key begins with: keys made for web sites (`webauthn`) sign for those.
const APPLICATION: &str = "ssh:";

/// Somebody touched the security key (UP, PROTOCOL.u2f "signature flags").
const USER_PRESENT: u8 = 0x01;

/// The security key checked its owner's PIN or finger (UV).
const USER_VERIFIED: u8 = 0x04;

/// A key whose possession was proven, and that may be certified.
pub struct ProvenKey {
    /// The key.
    pub key: PublicKey,
    /// What its proof says of it, not what its name says.
    pub kind: KeyKind,
    /// The same key, as one that may be certified (I8).
    pub subject: Subject,
}

/// Checks a proof and whether its key may be certified.
///
/// # Errors
/// When the proof is not one, or the key is of no use.
pub fn prove(
    ca: &Ca,
    key: PublicKey,
    proof: &str,
    namespace: &str,
    message: &[u8],
) -> Result<ProvenKey, SessionError> {
    let kind = check(proof, &key, namespace, message)?;
    let subject = acceptable(ca, &key)?;
    Ok(ProvenKey { key, kind, subject })
}

/// Checks a proof of possession: an SSHSIG by exactly this key, in exactly this namespace, over exactly this message.
///
/// A security key counts as one only if the proof says that it verified its owner. Without that it counts as plain: the
/// certificates that demand a security key carry `verify-required`, and a key that does not ask for its PIN would be given
/// certificates that every sshd refuses; and whoever finds such a key in a lost bag could touch it as well as its owner.
///
/// # Errors
/// When it is not one, or nobody touched the security key.
pub fn check(
    proof: &str,
    key: &PublicKey,
    namespace: &str,
    message: &[u8],
) -> Result<KeyKind, SessionError> {
    let wrong = |what: &str| SessionError::Invalid(format!("the proof of possession {what}"));
    let signed = SshSig::from_pem(proof).map_err(|_| wrong("is not an SSH signature"))?;
    if signed.version() != SshSig::VERSION {
        return Err(wrong("is of another version of SSH signatures"));
    }
    if signed.public_key() != key.key_data() {
        return Err(wrong("is by another key"));
    }
    // ssh-key verifies the bytes of a security key's signature under whatever name it has.
    if !fits(signed.signature(), key.key_data()) {
        return Err(wrong("is a signature of another kind than its key"));
    }
    key.verify(namespace, message, &signed)
        .map_err(|_| wrong("does not verify"))?;
    let Some(application) = application(key.key_data()) else {
        return Ok(KeyKind::Plain);
    };
    if !application.starts_with(APPLICATION) {
        return Err(SessionError::Invalid(format!(
            "this security key was not made for SSH (its application does not begin with {APPLICATION}); make one with: ssh-keygen -t ed25519-sk -O verify-required"
        )));
    }
    let flags = flags(signed.signature()).ok_or_else(|| wrong("is cut short"))?;
    if flags & USER_PRESENT == 0 {
        return Err(wrong("was made without a touch of the security key"));
    }
    Ok(if flags & USER_VERIFIED == 0 {
        KeyKind::Plain
    } else {
        KeyKind::SecurityKey
    })
}

fn fits(signature: &Signature, key: &KeyData) -> bool {
    match (key.algorithm(), signature.algorithm()) {
        // Never SHA-1.
        (Algorithm::Rsa { .. }, Algorithm::Rsa { hash }) => hash.is_some(),
        (key, signature) => key == signature,
    }
}

fn application(key: &KeyData) -> Option<&str> {
    match key {
        KeyData::SkEd25519(key) => Some(key.application()),
        KeyData::SkEcdsaSha2NistP256(key) => Some(key.application()),
        _ => None,
    }
}

/// PROTOCOL.u2f: behind the signature itself come one byte of flags and a counter of four bytes; both are signed. The
/// counter is not looked at: a nonce that works once already says that the signature is new, and security keys count in
/// their own ways (some not at all).
fn flags(signature: &Signature) -> Option<u8> {
    let bytes = signature.as_bytes();
    bytes.len().checked_sub(5).map(|at| bytes[at])
}
