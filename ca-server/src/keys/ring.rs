//! All keys of one purpose: the one that signs, the next one, and those that signed before it.

use std::{collections::BTreeMap, sync::Arc};

use ssh_key::{PublicKey, public::KeyData};

use super::record::{KeyRecord, Life, Purpose, fingerprint};
use crate::signer::Signer;

/// A key and its life.
#[derive(Clone)]
pub struct Held {
    record: KeyRecord,
    key: PublicKey,
    fingerprint: String,
    signer: Option<Arc<dyn Signer>>,
}

impl Held {
    /// # Errors
    /// When the record's public key cannot be read.
    pub(super) fn new(record: KeyRecord) -> Result<Self, ssh_key::Error> {
        let mut key = PublicKey::from_openssh(&record.public_key)?;
        key.set_comment(format!("ssh-ca {}", record.purpose));
        Ok(Self {
            fingerprint: fingerprint(&key),
            record,
            key,
            signer: None,
        })
    }

    /// With its signer, where that is among those that are open. One that is over signs nothing, also before it is forgotten.
    pub(super) fn opened_by(mut self, signers: &BTreeMap<String, Arc<dyn Signer>>) -> Self {
        let over = matches!(self.record.life, Life::Retired | Life::Compromised);
        self.signer = signers.get(&self.fingerprint).filter(|_| !over).cloned();
        self
    }

    /// Its life.
    #[must_use]
    pub fn record(&self) -> &KeyRecord {
        &self.record
    }

    /// Its public half.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// `SHA256:…`.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What signs with it; absent where that is gone, or cannot be opened.
    #[must_use]
    pub fn signer(&self) -> Option<&Arc<dyn Signer>> {
        self.signer.as_ref()
    }
}

/// The keys of one purpose.
pub struct Ring {
    current: Held,
    signer: Arc<dyn Signer>,
    next: Option<Held>,
    retiring: Vec<Held>,
    ended: Vec<Held>,
}

impl Ring {
    /// `None` if none of them signs.
    pub(super) fn of(held: Vec<Held>) -> Option<Self> {
        let (mut current, mut next, mut retiring, mut ended) = (None, None, Vec::new(), Vec::new());
        for one in held {
            match one.record.life {
                Life::Current => current = Some(one),
                Life::Next => next = Some(one),
                Life::Retiring => retiring.push(one),
                Life::Retired | Life::Compromised => ended.push(one),
            }
        }
        let current = current?;
        Some(Self {
            signer: Arc::clone(current.signer()?),
            current,
            next,
            retiring,
            ended,
        })
    }

    /// What these keys sign.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.current.record.purpose
    }

    /// The key that signs.
    #[must_use]
    pub fn current(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// The same, with its life.
    #[must_use]
    pub fn current_held(&self) -> &Held {
        &self.current
    }

    /// The key that signs next, while there is one.
    #[must_use]
    pub fn next(&self) -> Option<&Held> {
        self.next.as_ref()
    }

    /// Those that sign no more and may still be trusted somewhere, the oldest first.
    #[must_use]
    pub fn retiring(&self) -> &[Held] {
        &self.retiring
    }

    /// Those that are retired or compromised, the oldest first.
    #[must_use]
    pub fn ended(&self) -> &[Held] {
        &self.ended
    }

    /// The number of the newest key that others are told of.
    #[must_use]
    pub fn newest(&self) -> u32 {
        let newest = self.next.as_ref().unwrap_or(&self.current);
        newest.record.number
    }

    /// Every key that there ever was, the one that signs first.
    pub fn all(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.current)
            .chain(&self.next)
            .chain(&self.retiring)
            .chain(&self.ended)
    }

    /// Every key whose signature of then is worth what it was: being replaced takes nothing from it, being in somebody else's hands does.
    pub fn believed(&self) -> impl Iterator<Item = &Held> {
        self.all()
            .filter(|held| held.record.life != Life::Compromised)
    }

    /// The keys whose signatures may still be accepted somewhere: each has its section in the KRL (R4).
    pub fn covered(&self) -> impl Iterator<Item = &Held> {
        std::iter::once(&self.current)
            .chain(&self.next)
            .chain(&self.retiring)
    }

    /// The keys that others are told to trust, the one that signs first.
    #[must_use]
    pub fn trusted(&self) -> Vec<PublicKey> {
        self.covered()
            .filter(|held| held.record.is_trusted())
            .map(|held| held.key.clone())
            .collect()
    }

    /// The same, as OpenSSH text.
    #[must_use]
    pub fn trusted_texts(&self) -> Vec<String> {
        self.trusted()
            .iter()
            .map(|key| key.to_openssh().expect("a key in memory has a text form"))
            .collect()
    }

    /// The key with this fingerprint (`SHA256:…`).
    #[must_use]
    pub fn find(&self, fingerprint: &str) -> Option<&Held> {
        self.all().find(|held| held.fingerprint == fingerprint)
    }

    pub(super) fn key_data(&self) -> impl Iterator<Item = &KeyData> {
        self.all().map(|held| held.key.key_data())
    }
}
