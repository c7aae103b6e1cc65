//! One key in one token, through the vendor's module: found, made, brought in, and signed with.

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism, MechanismType,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use rand_core::{OsRng, RngCore};
use sha2::{Digest, Sha256};
use ssh_key::{
    Algorithm, EcdsaCurve, Mpint, PrivateKey, PublicKey, Signature,
    private::{EcdsaKeypair, KeypairData},
    public::{EcdsaPublicKey, Ed25519PublicKey, KeyData},
};
use zeroize::Zeroizing;

use super::{
    super::{spec::KeyKind, wire::Refusal},
    ABSENT, FAILED, NO_KEY, Open, WRONG_PIN,
};

/// `prime256v1`, DER of its object identifier.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `edwards25519` as PKCS#11 3.0 names it (a printable string); older modules know only this form.
const ED25519_NAME: &[u8] = b"\x13\x0cedwards25519";
/// `id-Ed25519`, DER of its object identifier (RFC 8410).
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// An open key.
pub(super) struct Token {
    session: Session,
    key: ObjectHandle,
    kind: KeyKind,
    public: KeyData,
    // The module stays loaded as long as its session lives.
    _module: Pkcs11,
}

/// A key as a token lists it.
struct Found {
    handle: ObjectHandle,
    label: String,
    public: Option<KeyData>,
}

impl Token {
    /// Loads the module, logs in, and finds or makes the key.
    ///
    /// # Errors
    /// A word for the server, a sentence for people.
    pub(super) fn open(open: &Open) -> Result<Self, Refusal> {
        let module = Pkcs11::new(&open.module).map_err(|error| {
            say(
                ABSENT,
                format!(
                    "the module {} cannot be loaded ({error}); install it, or correct module-path",
                    open.module.display()
                ),
            )
        })?;
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(|error| {
                say(
                    ABSENT,
                    format!(
                        "the module {} does not start ({error}); look at its own configuration",
                        open.module.display()
                    ),
                )
            })?;
        let slot = slot(&module, open)?;
        let writes = open.make || open.private.is_some();
        let session = if writes {
            module.open_rw_session(slot)
        } else {
            module.open_ro_session(slot)
        }
        .map_err(failed("open a session"))?;
        log_in(&module, slot, &session, open)?;
        let wanted = match &open.public {
            Some(text) => Some(
                PublicKey::from_openssh(text)
                    .map_err(|error| say(FAILED, error.to_string()))?
                    .key_data()
                    .clone(),
            ),
            None => None,
        };
        let found = find(&session, open)?;
        let there = choose(&found, wanted.as_ref())?;
        let (key, public) = match there {
            Some(there) => there,
            None if open.private.is_some() => import(&session, open)?,
            None if open.make => make(&module, slot, &session, open)?,
            None => return Err(missing(open, &found)),
        };
        let kind = KeyKind::of(&public.algorithm())
            .ok_or_else(|| say(NO_KEY, "its key is neither Ed25519 nor ECDSA P-256"))?;
        Ok(Self {
            session,
            key,
            kind,
            public,
            _module: module,
        })
    }

    pub(super) fn public(&self) -> &KeyData {
        &self.public
    }

    /// Signs; the answer is a signature in SSH's wire form.
    ///
    /// # Errors
    /// What the module said.
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let nonsense = |_| say(FAILED, "the module returned something that is no signature");
        let signature = match self.kind {
            KeyKind::Ed25519 => {
                let scheme = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
                let raw = self.session.sign(&scheme, self.key, data);
                let raw = raw.map_err(failed("sign"))?;
                Signature::new(Algorithm::Ed25519, raw).map_err(nonsense)?
            }
            KeyKind::EcdsaP256 => {
                // Hashed here: plain CKM_ECDSA is what every token has.
                let raw = self
                    .session
                    .sign(&Mechanism::Ecdsa, self.key, &Sha256::digest(data))
                    .map_err(failed("sign"))?;
                ecdsa_signature(&raw).ok_or_else(|| nonsense(ssh_key::Error::Crypto))?
            }
        };
        Vec::try_from(signature).map_err(nonsense)
    }
}

/// `r` and `s` side by side, as PKCS#11 has them, become two mpints (RFC 5656 §3.1.2).
fn ecdsa_signature(raw: &[u8]) -> Option<Signature> {
    if raw.is_empty() || !raw.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = raw.split_at(raw.len() / 2);
    let mut data = Vec::with_capacity(raw.len() + 10);
    for number in [r, s] {
        // Leading zeros go, and one comes back where the first bit would mean a negative number.
        let first = number.iter().position(|byte| *byte != 0)?;
        let mpint = Mpint::from_positive_bytes(&number[first..]).ok()?;
        data.extend(u32::try_from(mpint.as_bytes().len()).ok()?.to_be_bytes());
        data.extend(mpint.as_bytes());
    }
    let curve = EcdsaCurve::NistP256;
    Signature::new(Algorithm::Ecdsa { curve }, data).ok()
}

fn slot(module: &Pkcs11, open: &Open) -> Result<Slot, Refusal> {
    let slots = module
        .get_slots_with_token()
        .map_err(failed("list its tokens"))?;
    let mut others = Vec::new();
    let mut fitting = Vec::new();
    for slot in slots {
        let Ok(info) = module.get_token_info(slot) else {
            continue;
        };
        let label = info.label().trim_end();
        let fits =
            |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        if fits(&open.token, label) && fits(&open.serial, info.serial_number().trim_end()) {
            fitting.push(slot);
        } else if info.token_initialized() {
            others.push(format!("{label:?}"));
        }
    }
    let name = open
        .token
        .as_ref()
        .or(open.serial.as_ref())
        .map_or_else(String::new, |name| format!("{name:?}"));
    match fitting[..] {
        [slot] => Ok(slot),
        [] => Err(say(
            ABSENT,
            format!(
                "there is no token {name} (there is: {}); plug it in, or correct token=",
                if others.is_empty() {
                    "none".to_owned()
                } else {
                    others.join(", ")
                }
            ),
        )),
        [_, _, ..] => Err(say(
            FAILED,
            format!("there are several tokens {name}; say which with serial="),
        )),
    }
}

fn log_in(module: &Pkcs11, slot: Slot, session: &Session, open: &Open) -> Result<(), Refusal> {
    let info = module
        .get_token_info(slot)
        .map_err(failed("look at the token"))?;
    if info.user_pin_locked() {
        return Err(say(
            WRONG_PIN,
            "the token is locked after too many wrong PINs; unblock it with its SO PIN or PUK, by its vendor's tool",
        ));
    }
    if info.user_pin_final_try() {
        return Err(say(
            WRONG_PIN,
            "the token has one try left before it locks itself; log in with its vendor's tool first",
        ));
    }
    let pin = match &open.pin {
        Some(pin) => Some(AuthPin::from(pin.clone())),
        None if info.protected_authentication_path() => None,
        None if !info.login_required() => return Ok(()),
        None => {
            return Err(say(
                WRONG_PIN,
                "the token wants a PIN, and none is known; name a file that holds it with pin-source=file:/path",
            ));
        }
    };
    match session.login(UserType::User, pin.as_ref()) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _,
        )) => Err(say(WRONG_PIN, "the PIN is wrong")),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(say(
            WRONG_PIN,
            "the token is locked after too many wrong PINs; unblock it with its SO PIN or PUK, by its vendor's tool",
        )),
        Err(Error::Pkcs11(RvError::PinExpired, _)) => Err(say(
            WRONG_PIN,
            "the PIN is over and must be changed, by the vendor's tool",
        )),
        Err(error) => Err(failed("log in")(error)),
    }
}

/// Every private key that fits the label and ID of the specification.
fn find(session: &Session, open: &Open) -> Result<Vec<Found>, Refusal> {
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    if let Some(label) = &open.object {
        template.push(Attribute::Label(label.clone().into_bytes()));
    }
    if let Some(id) = &open.id {
        template.push(Attribute::Id(id.clone()));
    }
    let handles = session
        .find_objects(&template)
        .map_err(failed("list its keys"))?;
    Ok(handles
        .into_iter()
        .map(|handle| {
            let names = names(session, handle);
            Found {
                handle,
                label: String::from_utf8_lossy(&names.label).into_owned(),
                public: public_of(session, handle, &names),
            }
        })
        .collect())
}

struct Names {
    label: Vec<u8>,
    id: Vec<u8>,
}

fn names(session: &Session, handle: ObjectHandle) -> Names {
    let mut names = Names {
        label: Vec::new(),
        id: Vec::new(),
    };
    let wanted = [AttributeType::Label, AttributeType::Id];
    for attribute in session.get_attributes(handle, &wanted).unwrap_or_default() {
        match attribute {
            Attribute::Label(label) => names.label = label,
            Attribute::Id(id) => names.id = id,
            _ => {}
        }
    }
    names
}

/// The public half: from the public key object with the same ID (or label), or from the private one where a token has it there.
fn public_of(session: &Session, private: ObjectHandle, names: &Names) -> Option<KeyData> {
    let twin = if names.id.is_empty() {
        Attribute::Label(names.label.clone())
    } else {
        Attribute::Id(names.id.clone())
    };
    let mut template = vec![Attribute::Class(ObjectClass::PUBLIC_KEY), twin];
    // A label alone may be shared by key pairs of other kinds.
    if !names.id.is_empty() && !names.label.is_empty() {
        template.push(Attribute::Label(names.label.clone()));
    }
    let twins = session.find_objects(&template).unwrap_or_default();
    let mut known = twins
        .into_iter()
        .chain([private])
        .filter_map(|handle| public_at(session, handle));
    known.next()
}

fn public_at(session: &Session, handle: ObjectHandle) -> Option<KeyData> {
    let (mut kind, mut params, mut point) = (None, Vec::new(), Vec::new());
    let wanted = [
        AttributeType::KeyType,
        AttributeType::EcParams,
        AttributeType::EcPoint,
    ];
    for attribute in session.get_attributes(handle, &wanted).ok()? {
        match attribute {
            Attribute::KeyType(found) => kind = Some(found),
            Attribute::EcParams(found) => params = found,
            Attribute::EcPoint(found) => point = found,
            _ => {}
        }
    }
    if kind == Some(KeyType::EC) && params == P256 {
        // An OCTET STRING around the point, as the standard says, or the point alone, as some tokens do.
        let point = match point.as_slice() {
            [0x04, 65, rest @ ..] if rest.len() == 65 => rest,
            bare => bare,
        };
        return EcdsaPublicKey::from_sec1_bytes(point)
            .ok()
            .map(KeyData::Ecdsa);
    }
    if kind == Some(KeyType::EC_EDWARDS) && (params == ED25519_NAME || params == ED25519_OID) {
        let point = match point.as_slice() {
            [0x04, 32, rest @ ..] | [0x03, 33, 0, rest @ ..] if rest.len() == 32 => rest,
            bare => bare,
        };
        return Some(KeyData::Ed25519(Ed25519PublicKey(point.try_into().ok()?)));
    }
    None
}

/// The one that is meant, if it is there.
fn choose(
    found: &[Found],
    wanted: Option<&KeyData>,
) -> Result<Option<(ObjectHandle, KeyData)>, Refusal> {
    let usable: Vec<(ObjectHandle, KeyData)> = found
        .iter()
        .filter_map(|found| Some((found.handle, found.public.clone()?)))
        .filter(|(_, public)| wanted.is_none_or(|wanted| wanted == public))
        .collect();
    match &usable[..] {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        // The same key twice signs alike.
        [one, ..] if wanted.is_some() => Ok(Some(one.clone())),
        [..] => Err(say(
            NO_KEY,
            "the token has several keys that could be meant; say which with object= or id=",
        )),
    }
}

fn missing(open: &Open, found: &[Found]) -> Refusal {
    let name = open
        .object
        .as_ref()
        .map_or_else(String::new, |label| format!(" {label:?}"));
    let others: Vec<&str> = found.iter().map(|found| found.label.as_str()).collect();
    say(
        NO_KEY,
        if others.is_empty() {
            format!("the token has no private key{name}; correct object= or id=")
        } else {
            format!(
                "the token's key{name} is another one than the CA's, or its public half is not in the token ({})",
                others.join(", ")
            )
        },
    )
}

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
fn make(
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
fn import(session: &Session, open: &Open) -> Result<(ObjectHandle, KeyData), Refusal> {
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

fn say(word: &str, why: impl Into<String>) -> Refusal {
    Refusal {
        word: word.to_owned(),
        why: why.into(),
    }
}

fn failed(what: &'static str) -> impl Fn(Error) -> Refusal {
    move |error| {
        let word = match &error {
            Error::Pkcs11(
                RvError::TokenNotPresent | RvError::DeviceRemoved | RvError::DeviceError,
                _,
            ) => ABSENT,
            _ => FAILED,
        };
        say(
            word,
            format!(
                "it does not {what} ({error}); see that the token is plugged in and its service runs"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_leading_zeros_and_high_bits_become_mpints() {
        let mut raw = [0u8; 64];
        raw[1] = 0x7f;
        raw[32] = 0x80;
        let signature = ecdsa_signature(&raw).unwrap();
        let bytes = signature.as_bytes();
        // 31 bytes without the leading zero; 32 with one that keeps the number positive.
        assert_eq!(bytes[..5], [0, 0, 0, 31, 0x7f]);
        assert_eq!(bytes[4 + 31..4 + 31 + 6], [0, 0, 0, 33, 0, 0x80]);
        for wrong in [&[][..], &[1; 63], &[0; 64], &[0xff; 128]] {
            assert!(ecdsa_signature(wrong).is_none(), "{wrong:?}");
        }
    }
}
