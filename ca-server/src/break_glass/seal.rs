//! The sealed file and the shares that open it.
//!
//! A random key of 256 bits seals the CA key (ChaCha20-Poly1305); that key is shared by Shamir's scheme over GF(256) (`blahaj`, the fork that
//! draws coefficients uniformly: RUSTSEC-2024-0398 was that its ancestor did not). Shamir's scheme itself notices no wrong share: the
//! checksum of each share finds a slip of the pen, and the seal a forged one.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use blahaj::{Share as Point, Sharks};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use rand_core::{OsRng, RngCore};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ssh_key::{Algorithm, PrivateKey, PublicKey, private::Ed25519Keypair, private::KeypairData};
use zeroize::Zeroizing;

/// The file's format.
const FORMAT: u32 = 1;

/// Version, id, how many are needed, number and value of the share, checksum.
const SHARE_BYTES: usize = 1 + 4 + 1 + 33 + 4;

/// Credentials cannot be made or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// Numbers that make no sense.
    #[error(
        "{needed} of {shares} shares: at least 2 must be needed, and there must be as many, 20 at most"
    )]
    Numbers {
        /// How many are needed.
        needed: u8,
        /// How many there are.
        shares: u8,
    },
    /// Not a sealed file.
    #[error("this is not a file of break-glass credentials: {0}")]
    NotOne(String),
    /// A share that is mistyped.
    #[error("share {0} is mistyped or incomplete: compare it with the paper")]
    Mistyped(usize),
    /// A share of other credentials.
    #[error("share {0} belongs to other credentials: look which file it was made with")]
    Foreign(usize),
    /// One that came before.
    #[error("share {0} came already: give another one")]
    Twice(usize),
    /// Not enough different ones.
    #[error(
        "{needed} different shares are needed, and {found} came; nothing can be learned from fewer"
    )]
    TooFew {
        /// How many came.
        found: usize,
        /// How many are needed.
        needed: u8,
    },
    /// The seal does not open.
    #[error("the shares do not open the seal: one of them is forged, or the file was changed")]
    DoesNotOpen,
    /// The key.
    #[error("the key cannot be made: {0}")]
    Key(String),
}

/// The sealed CA key: worth nothing without shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    format: u32,
    /// The public half, OpenSSH text.
    pub public_key: String,
    /// How many shares open it.
    pub needed: u8,
    /// Of how many.
    pub shares: u8,
    /// When it was made.
    pub made_unix: i64,
    sealed: String,
}

/// Makes a CA key, seals it and forgets it: the sealed file, and the text of each share.
///
/// # Errors
/// [`SealError::Numbers`].
pub fn make(
    needed: u8,
    shares: u8,
    made_unix: i64,
) -> Result<(Sealed, Vec<Zeroizing<String>>), SealError> {
    if !(2..=20).contains(&needed) || !(needed..=20).contains(&shares) {
        return Err(SealError::Numbers { needed, shares });
    }
    let failed = |error: ssh_key::Error| SealError::Key(error.to_string());
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
    let KeypairData::Ed25519(pair) = key.key_data() else {
        return Err(SealError::Key("it is not Ed25519".to_owned()));
    };
    let seed = Zeroizing::new(pair.private.to_bytes());
    let mut secret = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(secret.as_mut_slice());
    let mut sealed = Sealed {
        format: FORMAT,
        public_key: PublicKey::new(key.public_key().key_data().clone(), "ssh-ca break-glass")
            .to_openssh()
            .map_err(failed)?,
        needed,
        shares,
        made_unix,
        sealed: String::new(),
    };
    let payload = Payload {
        msg: seed.as_slice(),
        aad: &sealed.bound(),
    };
    // The key is used once, so that the nonce may be fixed.
    let closed = ChaCha20Poly1305::new(secret.as_slice().into())
        .encrypt(&[0; 12].into(), payload)
        .map_err(|_| SealError::Key("it cannot be sealed".to_owned()))?;
    sealed.sealed = STANDARD.encode(closed);
    let texts = Sharks(needed)
        .dealer_rng(secret.as_slice(), &mut OsRng)
        .take(usize::from(shares))
        .map(|point| sealed.share_text(&point))
        .collect();
    Ok((sealed, texts))
}

impl Sealed {
    /// Reads the file.
    ///
    /// # Errors
    /// [`SealError::NotOne`].
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let sealed: Self =
            serde_json::from_str(text).map_err(|error| SealError::NotOne(error.to_string()))?;
        if sealed.format != FORMAT {
            return Err(SealError::NotOne(format!(
                "it has format {}",
                sealed.format
            )));
        }
        Ok(sealed)
    }

    /// The file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts and numbers are JSON");
        text.push('\n');
        text
    }

    /// Everything in the clear is bound to what is sealed.
    fn bound(&self) -> Vec<u8> {
        format!(
            "ssh-ca break-glass {}\n{}\n{} of {}\n{}\n",
            self.format, self.public_key, self.needed, self.shares, self.made_unix
        )
        .into_bytes()
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::digest(self.bound());
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// A share as people write it down: groups of five letters and digits, with a checksum.
    fn share_text(&self, point: &Point) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SHARE_BYTES));
        bytes.push(1);
        bytes.extend(self.id());
        bytes.push(self.needed);
        bytes.extend(Zeroizing::new(Vec::from(point)).iter());
        let check = Sha256::digest(bytes.as_slice());
        bytes.extend(&check[..4]);
        let letters = Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&bytes));
        let groups: Vec<&str> = letters
            .as_bytes()
            .chunks(5)
            .map(|group| std::str::from_utf8(group).expect("base32 is ASCII"))
            .collect();
        Zeroizing::new(groups.join("-"))
    }

    fn read_share(&self, number: usize, text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let letters: Zeroizing<String> = Zeroizing::new(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .flat_map(str::chars)
                .filter(char::is_ascii_alphanumeric)
                .map(|letter| letter.to_ascii_uppercase())
                .collect(),
        );
        let bytes = data_encoding::BASE32_NOPAD
            .decode(letters.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| SealError::Mistyped(number))?;
        let (body, check) = bytes
            .split_at_checked(SHARE_BYTES - 4)
            .ok_or(SealError::Mistyped(number))?;
        if Sha256::digest(body)[..4] != *check || body[0] != 1 {
            return Err(SealError::Mistyped(number));
        }
        if body[1..5] != self.id() || body[5] != self.needed {
            return Err(SealError::Foreign(number));
        }
        Ok(Zeroizing::new(body[6..].to_vec()))
    }

    fn points(&self, shares: &[Zeroizing<String>]) -> Result<BTreeMap<u8, Point>, SealError> {
        let mut points = BTreeMap::new();
        for (number, text) in shares.iter().enumerate() {
            let bytes = self.read_share(number + 1, text)?;
            let point =
                Point::try_from(bytes.as_slice()).map_err(|_| SealError::Mistyped(number + 1))?;
            points.insert(bytes[0], point);
        }
        Ok(points)
    }

    /// Looks whether these are different shares of these credentials, as far as their checksums tell; there may be too few yet.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn check(&self, shares: &[Zeroizing<String>]) -> Result<(), SealError> {
        if self.points(shares)?.len() < shares.len() {
            return Err(SealError::Twice(shares.len()));
        }
        Ok(())
    }

    /// Which credentials these are, as `break-glass show` lists them.
    ///
    /// # Errors
    /// [`SealError::NotOne`].
    pub fn fingerprint(&self) -> Result<String, SealError> {
        PublicKey::from_openssh(&self.public_key)
            .map(|key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
            .map_err(|error| SealError::NotOne(error.to_string()))
    }

    /// Opens the seal with these shares, in any order; a share that comes twice counts once.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(&self, shares: &[Zeroizing<String>]) -> Result<PrivateKey, SealError> {
        let points = self.points(shares)?;
        let found = points.len();
        let too_few = SealError::TooFew {
            found,
            needed: self.needed,
        };
        if found < usize::from(self.needed) {
            return Err(too_few);
        }
        let secret = Sharks(self.needed)
            .recover(points.values())
            .map(Zeroizing::new)
            .map_err(|_| too_few)?;
        let closed = STANDARD
            .decode(&self.sealed)
            .map_err(|error| SealError::NotOne(error.to_string()))?;
        let payload = Payload {
            msg: closed.as_slice(),
            aad: &self.bound(),
        };
        if secret.len() != 32 {
            return Err(SealError::DoesNotOpen);
        }
        let seed = ChaCha20Poly1305::new(secret.as_slice().into())
            .decrypt(&[0; 12].into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| SealError::DoesNotOpen)?;
        let seed: &[u8; 32] = seed
            .as_slice()
            .try_into()
            .map_err(|_| SealError::DoesNotOpen)?;
        let key = PrivateKey::from(Ed25519Keypair::from_seed(seed));
        let named = PublicKey::from_openssh(&self.public_key)
            .map_err(|error| SealError::NotOne(error.to_string()))?;
        if named.key_data() != key.public_key().key_data() {
            return Err(SealError::DoesNotOpen);
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_three_of_five_open_and_two_do_not() {
        let (sealed, shares) = make(3, 5, 1_795_000_000).unwrap();
        let sealed = Sealed::parse(&sealed.text()).unwrap();
        for a in 0..5 {
            for b in 0..5 {
                for c in 0..5 {
                    let chosen = [shares[a].clone(), shares[b].clone(), shares[c].clone()];
                    let distinct = std::collections::BTreeSet::from([a, b, c]).len();
                    let opened = sealed.open(&chosen);
                    if distinct == 3 {
                        let text = opened.unwrap().public_key().key_data().clone();
                        let named = PublicKey::from_openssh(&sealed.public_key).unwrap();
                        assert_eq!(&text, named.key_data());
                    } else {
                        let too_few = SealError::TooFew {
                            found: distinct,
                            needed: 3,
                        };
                        assert_eq!(opened.unwrap_err(), too_few);
                    }
                }
            }
        }
        assert!(sealed.open(&shares).is_ok(), "more than enough are fine");
    }

    #[test]
    fn fewer_shares_leave_every_secret_possible() {
        // Given one share of two, each value of a byte of the secret is as likely as any other: over many sealings of the same secret, the share's byte
        // takes every value. The flaw of RUSTSEC-2024-0398 left one of them out.
        let mut seen = [[false; 256]; 2];
        for _ in 0..8_000 {
            for (number, point) in Sharks(2).dealer_rng(&[7], &mut OsRng).take(2).enumerate() {
                seen[number][usize::from(Vec::from(&point)[1])] = true;
            }
        }
        assert!(seen.iter().flatten().all(|seen| *seen));
    }

    #[test]
    fn a_slip_a_foreign_share_and_a_forged_one_are_told_apart() {
        let (sealed, shares) = make(2, 3, 1).unwrap();
        let (_, others) = make(2, 3, 1).unwrap();
        let mut slip = shares[0].to_string();
        let last = slip.pop().unwrap();
        slip.push(if last == 'A' { 'B' } else { 'A' });
        let with = |first: String| sealed.open(&[Zeroizing::new(first), shares[1].clone()]);
        assert_eq!(with(slip).unwrap_err(), SealError::Mistyped(1));
        assert_eq!(with(String::new()).unwrap_err(), SealError::Mistyped(1));
        // The same, one by one as they are typed.
        assert_eq!(sealed.check(&shares[..1]), Ok(()));
        assert_eq!(sealed.check(&shares[..2]), Ok(()));
        let twice = [shares[1].clone(), shares[1].clone()];
        assert_eq!(sealed.check(&twice), Err(SealError::Twice(2)));
        assert_eq!(sealed.check(&others[..1]), Err(SealError::Foreign(1)));
        assert_eq!(
            with(others[0].to_string()).unwrap_err(),
            SealError::Foreign(1)
        );
        let forged = sealed.share_text(&Point::try_from(&[9; 33][..]).unwrap());
        assert_eq!(
            with(forged.to_string()).unwrap_err(),
            SealError::DoesNotOpen
        );
        // As people type: small letters, spaces, a note above.
        let typed = format!(
            "# from the safe\n {} ",
            shares[0].to_lowercase().replace('-', " ")
        );
        assert!(with(typed).is_ok());
        // What stands in the clear is bound to the seal.
        let changed = Sealed {
            made_unix: 2,
            ..sealed.clone()
        };
        assert!(changed.open(&shares).is_err());
        for (needed, shares) in [(1, 3), (0, 0), (4, 3), (2, 21)] {
            assert!(matches!(
                make(needed, shares, 1),
                Err(SealError::Numbers { .. })
            ));
        }
    }
}
