//! A key is made in a token, or brought into it.

use cryptoki::{
    context::Pkcs11,
    error::Error,
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::Session,
    slot::Slot,
};
use rand_core::{OsRng, RngCore};
use ssh_key::{
    PrivateKey,
    private::{EcdsaKeypair, KeypairData},
    public::KeyData,
};
use zeroize::Zeroizing;

use super::{
    super::{
        super::{spec::KeyKind, wire::Refusal},
        FAILED, Open,
    },
    failed,
    objects::{ED25519_NAME, ED25519_OID, P256, public_at},
    say,
};

fn identity(open: &Open) -> (Vec<u8>, Vec<u8>) {
    let label = open
        .object
        .clone()
        .unwrap_or_else(|| "ssh-ca".to_owned())
        .into_bytes();
    let id = open.id.clone().unwrap_or_else(|| {
        let mut id = vec![0; 8];
        OsRng.fill_bytes(&mut id);
        id
    });
    (label, id)
}

/// Makes a key in the token that can never leave it.
pub(super) fn make(
    module: &Pkcs11,
    slot: Slot,
    session: &Session,
    open: &Open,
) -> Result<(ObjectHandle, KeyData), Refusal> {
    let can = module
        .get_mechanism_list(slot)
        .map_err(failed("list what it can do"))?;
    let ed25519 = can.contains(&MechanismType::ECC_EDWARDS_KEY_PAIR_GEN)
        && can.contains(&MechanismType::EDDSA);
    let p256 =
        can.contains(&MechanismType::ECC_KEY_PAIR_GEN) && can.contains(&MechanismType::ECDSA);
    let kind = match open.kind.as_deref() {
        Some("ecdsa-p256") => KeyKind::EcdsaP256,
        Some(_) => KeyKind::Ed25519,
        None if ed25519 || !p256 => KeyKind::Ed25519,
        None => KeyKind::EcdsaP256,
    };
    let able = match kind {
        KeyKind::Ed25519 => ed25519,
        KeyKind::EcdsaP256 => p256,
    };
    if !able {
        return Err(say(
            FAILED,
            format!("the token cannot make keys of type {}", kind.as_str()),
        ));
    }
    let (label, id) = identity(open);
    let names = [Attribute::Label(label), Attribute::Id(id)];
    let private: Vec<Attribute> = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]
    .into_iter()
    .chain(names.clone())
    .collect();
    let (mechanism, curves): (_, &[&[u8]]) = match kind {
        KeyKind::Ed25519 => (
            Mechanism::EccEdwardsKeyPairGen,
            &[ED25519_NAME, ED25519_OID],
        ),
        KeyKind::EcdsaP256 => (Mechanism::EccKeyPairGen, &[P256]),
    };
    let mut last = say(FAILED, "the token made no key");
    for curve in curves {
        let public: Vec<Attribute> = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(curve.to_vec()),
        ]
        .into_iter()
        .chain(names.clone())
        .collect();
        match session.generate_key_pair(&mechanism, &public, &private) {
            Ok((public, private)) => {
                let public = public_at(session, public).ok_or_else(|| {
                    say(
                        FAILED,
                        "the token made a key and does not tell its public half",
                    )
                })?;
                return Ok((private, public));
            }
            Err(error) => last = failed("make a key")(error),
        }
    }
    Err(last)
}

/// Brings a key in from a file; from then on the token does not give it out again.
pub(super) fn import(session: &Session, open: &Open) -> Result<(ObjectHandle, KeyData), Refusal> {
    let unusable = |error: ssh_key::Error| say(FAILED, error.to_string());
    let text = open.private.as_deref().unwrap_or_default();
    let key = PrivateKey::from_openssh(text).map_err(unusable)?;
    let (kind, curve, value, point) = match key.key_data() {
        KeypairData::Ed25519(pair) => (
            KeyType::EC_EDWARDS,
            ED25519_NAME,
            Zeroizing::new(pair.private.to_bytes().to_vec()),
            pair.public.0.to_vec(),
        ),
        KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private }) => (
            KeyType::EC,
            P256,
            Zeroizing::new(private.as_slice().to_vec()),
            public.as_bytes().to_vec(),
        ),
        _ => return Err(say(FAILED, "the key is neither Ed25519 nor ECDSA P-256")),
    };
    let (label, id) = identity(open);
    let common = [
        Attribute::Token(true),
        Attribute::KeyType(kind),
        Attribute::EcParams(curve.to_vec()),
        Attribute::Label(label),
        Attribute::Id(id),
    ];
    let length = u8::try_from(point.len()).expect("a point has 32 or 65 bytes");
    let public: Vec<Attribute> = [
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::Private(false),
        Attribute::Verify(true),
        Attribute::EcPoint([&[0x04, length], point.as_slice()].concat()),
    ]
    .into_iter()
    .chain(common.clone())
    .collect();
    let private: Vec<Attribute> = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Value(value.to_vec()),
    ]
    .into_iter()
    .chain(common)
    .collect();
    let no_entry = |error: Error| {
        say(
            FAILED,
            format!(
                "the token takes no key from outside ({error}); make a new one in it instead: `ca-server ca rotate … --signer …`"
            ),
        )
    };
    let half = session.create_object(&public).map_err(no_entry)?;
    match session.create_object(&private) {
        Ok(handle) => Ok((handle, key.public_key().key_data().clone())),
        Err(error) => {
            // A public half alone would be in the way of the next attempt.
            drop(session.destroy_object(half));
            Err(no_entry(error))
        }
    }
}
