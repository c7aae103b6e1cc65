//! The CA as its parts see it: store, keys, policy, clock.

use std::net::IpAddr;
use std::sync::Arc;

use policies::Serial;
use rand_core::{OsRng, RngCore};
use time::OffsetDateTime;

pub use crate::clock::Clock;
use crate::{
    auth::{
        flood::{Entry, Floods},
        nonce::Nonces,
        password::{Breached, Hasher},
    },
    config::Config,
    fleet::leaving::UnderWay,
    issue::Rehearsal,
    keys::{KeyRoom, Keys},
    records::{PolicyCache, RevokedKeys, RevokedSerials},
    session::decoy::Decoy,
    store::Db,
    tls::room::TlsRoom,
};

/// Everything that the server's parts share.
pub struct Ca {
    /// State and ledger.
    pub db: Db,
    /// The CA's own keys.
    pub key_room: KeyRoom,
    /// The configuration.
    pub config: Config,
    /// Passwords.
    pub hasher: Hasher,
    /// Whom an unknown email is taken for until it is refused.
    pub decoy: Decoy,
    /// Breached passwords, where the operator has the list.
    pub breached: Option<Breached>,
    /// Machines that are being taken off right now.
    pub leaving: UnderWay,
    /// Nonces for proofs of possession.
    pub nonces: Nonces,
    /// How many refusals strangers caused, by network.
    pub floods: Floods,
    /// The compiled policy.
    pub policy: PolicyCache,
    /// Keys that may never be certified again.
    pub revoked_keys: RevokedKeys,
    /// Serials that are revoked.
    pub revoked_serials: RevokedSerials,
    /// The dress rehearsal of signing.
    pub rehearsal: Rehearsal,
    /// The clock.
    pub clock: Clock,
    /// What the server shows, and what employees pin.
    pub tls: TlsRoom,
    /// Wakes the fleet's keeper after a change.
    pub fleet_changed: Arc<tokio::sync::Notify>,
    /// One KRL at a time is built and published.
    pub publishing: tokio::sync::Mutex<()>,
}

impl Ca {
    /// How the CA's own keys stand now. Take it once for what belongs together: a key may be replaced in between.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        self.key_room.keys()
    }

    /// May a refusal for somebody at `from` have a ledger entry of its own?
    pub fn refusal_entry(&self, from: IpAddr) -> Entry {
        self.floods.spend(from, unix_ms(self.clock.now()))
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn unix_ms(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A serial of this instance epoch: 31 bits of epoch, 32 random bits (I5).
#[must_use]
pub fn random_serial(instance_epoch: u32) -> Option<Serial> {
    Serial::from_parts(instance_epoch, OsRng.next_u32()).ok()
}

/// Text of `bytes` random bytes, as lower-case base32 without padding.
#[must_use]
pub fn random_text(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    OsRng.fill_bytes(&mut random);
    data_encoding::BASE32_NOPAD
        .encode(&random)
        .to_ascii_lowercase()
}

/// SHA-256, hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(bytes))
}
