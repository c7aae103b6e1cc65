//! One key in one token, through the vendor's module: found, made, brought in, and signed with.

mod making;
mod objects;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::ObjectHandle,
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use sha2::{Digest, Sha256};
use ssh_key::{Algorithm, EcdsaCurve, Mpint, PublicKey, Signature, public::KeyData};

use self::{
    making::{import, make},
    objects::{choose, find, missing},
};
use super::{
    super::{spec::KeyKind, wire::Refusal},
    ABSENT, FAILED, NO_KEY, Open, WRONG_PIN,
};

/// An open key.
pub(super) struct Token {
    session: Session,
    key: ObjectHandle,
    kind: KeyKind,
    public: KeyData,
    // The module stays loaded as long as its session lives.
    _module: Pkcs11,
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
