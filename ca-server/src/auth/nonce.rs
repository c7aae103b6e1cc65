//! Single-use nonces for proofs of possession (A1): issued without memory, remembered from their use to their end.

use std::{
    collections::{HashSet, VecDeque},
    sync::Mutex,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use rand_core::{OsRng, RngCore};
use sha2::Sha256;

/// How long a nonce may be used, in seconds.
pub const LIFETIME_SECS: i64 = 60;

/// How many used nonces are remembered; beyond, further ones are refused (fail closed).
const CAPACITY: usize = 2_000_000;

/// A nonce is its time of issue (8 bytes), random (16 bytes), and a MAC over both (16 bytes) under a key that lives
/// as long as the process: a restart makes every earlier nonce foreign.
pub struct Nonces {
    key: [u8; 32],
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    set: HashSet<[u8; 16]>,
    by_time: VecDeque<(i64, [u8; 16])>,
}

/// Why a nonce is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Not one of ours.
    #[error("the nonce is not of this server")]
    Foreign,
    /// Issued too long ago, or in the future.
    #[error("the nonce is too old")]
    Expired,
    /// Used before.
    #[error("the nonce was used before")]
    Used,
    /// Too many are remembered.
    #[error("too many requests")]
    Full,
}

impl Default for Nonces {
    fn default() -> Self {
        Self::new()
    }
}

impl Nonces {
    /// Nonces under a fresh key.
    #[must_use]
    pub fn new() -> Self {
        let mut key = [0; 32];
        OsRng.fill_bytes(&mut key);
        Self {
            key,
            used: Mutex::default(),
        }
    }

    /// A fresh nonce.
    #[must_use]
    pub fn issue(&self, now_unix: i64) -> String {
        let mut bytes = [0u8; 40];
        bytes[..8].copy_from_slice(&now_unix.to_be_bytes());
        OsRng.fill_bytes(&mut bytes[8..24]);
        let tag = self.mac(&bytes[..24]).finalize().into_bytes();
        bytes[24..].copy_from_slice(&tag[..16]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Takes a nonce; each is taken once.
    ///
    /// # Errors
    /// When it is foreign, old, or used.
    pub fn redeem(&self, nonce: &str, now_unix: i64) -> Result<(), NonceError> {
        let bytes: [u8; 40] = URL_SAFE_NO_PAD
            .decode(nonce)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(NonceError::Foreign)?;
        self.mac(&bytes[..24])
            .verify_truncated_left(&bytes[24..])
            .map_err(|_| NonceError::Foreign)?;
        let issued = i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes of forty"));
        if issued > now_unix.saturating_add(1) || now_unix.saturating_sub(issued) > LIFETIME_SECS {
            return Err(NonceError::Expired);
        }
        let id: [u8; 16] = bytes[8..24].try_into().expect("sixteen bytes of forty");
        let mut used = self
            .used
            .lock()
            .expect("nobody panics while holding the nonces");
        while let Some((at, old)) = used.by_time.front().copied() {
            if now_unix.saturating_sub(at) <= LIFETIME_SECS {
                break;
            }
            used.by_time.pop_front();
            used.set.remove(&old);
        }
        if used.set.len() >= CAPACITY {
            return Err(NonceError::Full);
        }
        if !used.set.insert(id) {
            return Err(NonceError::Used);
        }
        // Ordered by time of use: it leaves one lifetime after its use, when its issue is too old as well.
        used.by_time.push_back((now_unix, id));
        Ok(())
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(bytes);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a1_a_nonce_is_fresh_ours_and_used_once() {
        let nonces = Nonces::new();
        let nonce = nonces.issue(NOW);
        assert_eq!(nonces.redeem(&nonce, NOW + 60), Ok(()));
        assert_eq!(nonces.redeem(&nonce, NOW + 60), Err(NonceError::Used));
        assert_eq!(
            nonces.redeem(&nonces.issue(NOW), NOW + 61),
            Err(NonceError::Expired)
        );
        assert_eq!(
            nonces.redeem(&nonces.issue(NOW + 5), NOW),
            Err(NonceError::Expired)
        );
        assert_eq!(
            Nonces::new().redeem(&nonces.issue(NOW), NOW),
            Err(NonceError::Foreign)
        );
        let mut cut = nonces.issue(NOW);
        cut.pop();
        assert_eq!(nonces.redeem(&cut, NOW), Err(NonceError::Foreign));
        assert_eq!(nonces.redeem("", NOW), Err(NonceError::Foreign));
    }

    #[test]
    fn a1_no_byte_of_a_nonce_can_be_changed() {
        let nonces = Nonces::new();
        let bytes = URL_SAFE_NO_PAD.decode(nonces.issue(NOW)).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(
                nonces.redeem(&URL_SAFE_NO_PAD.encode(&changed), NOW),
                Err(NonceError::Foreign)
            );
        }
    }

    #[test]
    fn used_nonces_are_forgotten_only_when_too_old_to_be_used() {
        let nonces = Nonces::new();
        let first = nonces.issue(NOW);
        nonces.redeem(&first, NOW).unwrap();
        nonces.redeem(&nonces.issue(NOW + 61), NOW + 61).unwrap();
        assert_eq!(nonces.used.lock().unwrap().set.len(), 1);
        assert_eq!(nonces.redeem(&first, NOW + 61), Err(NonceError::Expired));
    }
}
