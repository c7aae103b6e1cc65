//! The bytes that a CA signs, written a second time and independently of ssh-key (PROTOCOL.certkeys).
//!
//! `lint` compares them with the signed certificate: a slip in the one writer would have to be made in the other too.

use ssh_key::{Algorithm, EcdsaCurve, PublicKey, certificate::CertType, public::KeyData};

use super::Blueprint;

/// Everything from the type's name up to and including the CA key; `None` for a key that nothing here certifies.
pub(super) fn signed_bytes(blueprint: &Blueprint, nonce: &[u8], ca: &KeyData) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(1024);
    string(
        &mut out,
        certificate_type(&blueprint.subject().algorithm())?.as_bytes(),
    );
    string(&mut out, nonce);
    // A plain key's blob is its type's name and then the fields that the certificate repeats.
    let blob = blob(blueprint.subject())?;
    let name_length = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?);
    out.extend_from_slice(blob.get(4 + name_length as usize..)?);
    out.extend_from_slice(&blueprint.serial().number().to_be_bytes());
    let cert_type: u32 = match blueprint.cert_type() {
        CertType::User => 1,
        CertType::Host => 2,
    };
    out.extend_from_slice(&cert_type.to_be_bytes());
    string(&mut out, blueprint.key_id().to_string().as_bytes());
    nested(&mut out, |list| {
        for principal in blueprint.principals() {
            string(list, principal.as_bytes());
        }
    });
    out.extend_from_slice(&blueprint.valid_after_unix_secs().to_be_bytes());
    out.extend_from_slice(&blueprint.valid_before_unix_secs().to_be_bytes());
    nested(&mut out, |list| {
        for (name, value) in blueprint.critical_options() {
            string(list, name.as_bytes());
            // A flag has no value at all, not an empty one.
            nested(list, |data| match value.as_str() {
                "" => {}
                value => string(data, value.as_bytes()),
            });
        }
    });
    nested(&mut out, |list| {
        for name in blueprint.extensions().keys() {
            string(list, name.as_bytes());
            string(list, b"");
        }
    });
    string(&mut out, b"");
    string(&mut out, &self::blob(ca)?);
    Some(out)
}

fn certificate_type(algorithm: &Algorithm) -> Option<&'static str> {
    Some(match algorithm {
        Algorithm::Ed25519 => "ssh-ed25519-cert-v01@openssh.com",
        Algorithm::SkEd25519 => "sk-ssh-ed25519-cert-v01@openssh.com",
        Algorithm::SkEcdsaSha2NistP256 => "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        Algorithm::Rsa { .. } => "ssh-rsa-cert-v01@openssh.com",
        Algorithm::Ecdsa { curve } => match curve {
            EcdsaCurve::NistP256 => "ecdsa-sha2-nistp256-cert-v01@openssh.com",
            EcdsaCurve::NistP384 => "ecdsa-sha2-nistp384-cert-v01@openssh.com",
            EcdsaCurve::NistP521 => "ecdsa-sha2-nistp521-cert-v01@openssh.com",
        },
        _ => return None,
    })
}

fn blob(key: &KeyData) -> Option<Vec<u8>> {
    PublicKey::new(key.clone(), "").to_bytes().ok()
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a field of a certificate is far below 4 GiB");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn nested(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    string(out, &inner);
}
