//! A succession: one fleet key names the next, as signed text that is public and kept for ever.
//!
//! ```text
//! ssh-ca-succession v1
//! number N                            higher than of every succession before
//! old TYPE BASE64                     the key that signed this
//! new TYPE BASE64                     the key that is trusted from now on, in its place
//! end
//! ```
//!
//! It names no machine and no time: signed once, it leads every machine on that trusts the old key, also one that comes back after years
//! and has missed several. The old key's private half is needed only to sign it. A machine follows each number once, upwards: a copy of an
//! old one never brings an old key back.

use ssh_key::{HashAlg, PublicKey, SigningKey};

use crate::{
    bundle::{Bundle, manifest::number},
    sign::{Namespace, SignError, Signed},
};

/// The most successions that a machine takes in one request.
pub const MAX_CHAIN: usize = 100;

/// One fleet key takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// Higher than that of any before: 1 to [`Bundle::MAX_NUMBER`].
    pub number: u64,
    /// The key that is succeeded, and that signs.
    pub old: PublicKey,
    /// Its successor.
    pub new: PublicKey,
}

/// Bytes that are no succession.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a succession of the fleet key in its one canonical form")]
pub struct DecodeSuccessionError;

/// A succession could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// Another key than the one that is succeeded was to sign.
    #[error("a succession is signed by the key that it takes leave of, {0}, and by no other")]
    OtherKey(String),
    /// A number that a machine cannot read, or a key that follows itself.
    #[error("no succession can be made of this number and these keys")]
    Unsound,
    /// The key does not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Succession {
    /// The bytes to sign and send.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let text = format!(
            "ssh-ca-succession v1\nnumber {}\nold {}\nnew {}\nend\n",
            self.number,
            line(&self.old),
            line(&self.new)
        );
        text.into_bytes()
    }

    /// Reads one back, strictly: exactly what [`Succession::encode`] writes, nothing else.
    ///
    /// # Errors
    /// [`DecodeSuccessionError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeSuccessionError> {
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeSuccessionError)?;
        let mut lines = text.lines();
        let mut value = |word: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(word))
                .ok_or(DecodeSuccessionError)
        };
        value("ssh-ca-succession v1")?;
        let number = number(value("number ")?).ok_or(DecodeSuccessionError)?;
        let mut key =
            |word| PublicKey::from_openssh(value(word)?).map_err(|_| DecodeSuccessionError);
        let succession = Self {
            number,
            old: key("old ")?,
            new: key("new ")?,
        };
        (succession.encode() == bytes)
            .then_some(succession)
            .ok_or(DecodeSuccessionError)
    }

    /// Signs it with the key that is succeeded.
    ///
    /// # Errors
    /// [`SuccessionError`]: `old_key` is another key, does not sign, or the succession is unsound.
    pub fn sign<S: SigningKey>(&self, old_key: &S) -> Result<Signed, SuccessionError> {
        let signer = PublicKey::from(old_key.public_key());
        if signer.key_data() != self.old.key_data() {
            return Err(SuccessionError::OtherKey(fingerprint(&self.old)));
        }
        let sound = (1..=Bundle::MAX_NUMBER).contains(&self.number)
            && self.old.key_data() != self.new.key_data();
        if !sound {
            return Err(SuccessionError::Unsound);
        }
        Ok(Signed::sign(old_key, Namespace::Succession, self.encode())?)
    }
}

/// Of `chain`, which goes from the first fleet key to the newest, what leads on from a key that is trusted: all of it where it is not known
/// which are, nothing where the newest is.
#[must_use]
pub fn onward(
    chain: &[(Succession, Signed)],
    is_trusted: impl Fn(&PublicKey) -> bool,
) -> Vec<Signed> {
    if chain.last().is_some_and(|(last, _)| is_trusted(&last.new)) {
        return Vec::new();
    }
    let from = chain.iter().rposition(|(link, _)| is_trusted(&link.old));
    let onward = chain.iter().skip(from.unwrap_or(0)).take(MAX_CHAIN);
    onward.map(|(_, signed)| signed.clone()).collect()
}

/// Signed successions as they travel: each with its signature behind it.
#[must_use]
pub fn encode_chain(chain: &[Signed]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for signed in chain.iter().take(MAX_CHAIN) {
        bytes.extend_from_slice(signed.object());
        bytes.extend_from_slice(signed.signature().trim_end().as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// Type and base64, without a comment.
fn line(key: &PublicKey) -> String {
    let bare = PublicKey::from(key.key_data().clone());
    let line = bare.to_openssh().expect("a public key in memory encodes");
    line.trim_end().to_owned()
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey};

    fn key() -> PrivateKey {
        PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap()
    }

    fn link(number: u64, old: &PrivateKey, new: &PrivateKey) -> (Succession, Signed) {
        let succession = Succession {
            number,
            old: old.public_key().clone(),
            new: new.public_key().clone(),
        };
        let signed = succession.sign(old).unwrap();
        (succession, signed)
    }

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else() {
        let (succession, signed) = link(7, &key(), &key());
        assert_eq!(
            Succession::decode(signed.object()).unwrap().number,
            succession.number
        );
        let whole = succession.encode();
        for cut in 0..whole.len() {
            assert!(Succession::decode(&whole[..cut]).is_err(), "{cut}");
        }
        let longer = [whole.clone(), b"\n".to_vec()].concat();
        assert!(Succession::decode(&longer).is_err());
        let text = String::from_utf8(whole).unwrap();
        for other in [
            text.replace("number 7", "number 07"),
            text.replace("number 7", "number 7 "),
            text.replace("\nnew ", " comment\nnew "),
            text.replace('\n', "\r\n"),
        ] {
            assert!(Succession::decode(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn r9_only_the_key_that_is_succeeded_signs() {
        let (old, new) = (key(), key());
        let succession = |number, new: &PrivateKey| Succession {
            number,
            old: old.public_key().clone(),
            new: new.public_key().clone(),
        };
        assert!(succession(1, &new).sign(&old).is_ok());
        let by = |key: &PrivateKey| succession(1, &new).sign(key);
        assert!(matches!(by(&new), Err(SuccessionError::OtherKey(_))));
        assert!(matches!(by(&key()), Err(SuccessionError::OtherKey(_))));
        for unsound in [
            succession(0, &new),
            succession(Bundle::MAX_NUMBER + 1, &new),
            succession(1, &old),
        ] {
            assert!(matches!(unsound.sign(&old), Err(SuccessionError::Unsound)));
        }
    }

    #[test]
    fn a_machine_gets_the_part_that_it_misses() {
        let keys: Vec<PrivateKey> = (0..4).map(|_| key()).collect();
        let chain: Vec<_> = (0..3)
            .map(|at| link(at as u64 + 1, &keys[at], &keys[at + 1]))
            .collect();
        let numbers = |trusted: &[&PrivateKey]| -> Vec<u64> {
            let is_trusted = |key: &PublicKey| {
                let mut trusted = trusted.iter();
                trusted.any(|trusted| trusted.public_key().key_data() == key.key_data())
            };
            onward(&chain, is_trusted)
                .iter()
                .map(|signed| Succession::decode(signed.object()).unwrap().number)
                .collect()
        };
        assert_eq!(numbers(&[&keys[0]]), [1, 2, 3]);
        assert_eq!(numbers(&[&keys[1]]), [2, 3]);
        assert_eq!(numbers(&[&keys[3]]), [] as [u64; 0]);
        assert_eq!(numbers(&[]), [1, 2, 3], "it did not say");
        assert_eq!(numbers(&[&key()]), [1, 2, 3], "a key of somebody else's");
        assert!(onward(&[], |_| false).is_empty());
    }

    proptest! {
        #[test]
        fn w3_no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Succession::decode(&bytes).is_err());
        }
    }
}
