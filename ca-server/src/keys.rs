//! The CA's own keys: each in a file of its own, encrypted with the passphrase, for one purpose (K2, K6).
//!
//! Those that others trust come in generations ([`Ring`]): what became of each is in the store, its private half in a file
//! whose name follows from purpose and number. [`KeyRoom`] holds what is open; [`Keys`] is how they stand at one moment.

pub mod elsewhere;
mod files;
pub mod moving;
pub mod record;
pub mod ring;
mod seal;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use ca_api::Secret;
use ssh_key::{PrivateKey, PublicKey, public::KeyData};

pub use elsewhere::Place;
pub use files::{Half, half};
pub use moving::MoveError;
pub use record::{KeyRecord, Life, Purpose};
pub use ring::{Held, Ring};
pub use seal::Seal;

use crate::{
    folder::{Folder, FolderError},
    ledger::{Actor, Event},
    signer::{Signer, SignerError, SignerSpec},
    store::{Db, Read, ReadError, Revision, StoreError, TableGroup, WriteError},
};

/// The keys that are not replaced one generation after another.
const FIXED: [&str; 3] = ["sync", "ledger", "seal"];

/// The keys cannot be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The passphrase does not fit.
    #[error("the passphrase does not open {0}: nothing was changed")]
    WrongPassphrase(String),
    /// A key file that is not one.
    #[error("{name} is not a usable key file: {source}")]
    Broken {
        /// The key's name.
        name: String,
        /// What the parser says.
        source: ssh_key::Error,
    },
    /// A key file without encryption (K2).
    #[error("{0} is not encrypted: encrypt it with `ssh-keygen -p -f` and the CA's passphrase")]
    NotEncrypted(String),
    /// A key that cannot sign.
    #[error("the key {name} does not work: {source}")]
    Signer {
        /// The key's name.
        name: String,
        /// Why.
        source: SignerError,
    },
    /// A key file of another key.
    #[error(
        "keys/{name} holds another key than the one that the store knows: put the right file back from a backup"
    )]
    OtherKey {
        /// The key's name.
        name: String,
    },
    /// A file that says where a key is, and is not one.
    #[error("{file} does not say where the key is: {why}")]
    Signpost {
        /// Which.
        file: String,
        /// Why not.
        why: String,
    },
    /// A file that cannot be put aside.
    #[error("cannot move {path}: {source}")]
    Move {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No key of a purpose signs.
    #[error("the store names no {0} key that signs: restore it from a backup")]
    NoneSigns(Purpose),
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for KeysError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// All keys as they stand at one moment. A key that is replaced makes another value of this; nobody waits for anybody.
pub struct Keys {
    /// They sign employees' certificates.
    pub user_ca: Ring,
    /// They sign machines' certificates.
    pub host_ca: Ring,
    /// They sign bundles, KRL parcels and orders, and nothing else.
    pub fleet: Ring,
    /// Logs in as `ssh-ca-sync`, and nothing else.
    pub sync: Arc<PrivateKey>,
    /// Signs ledger heads.
    pub ledger: Arc<PrivateKey>,
    /// Seals TOTP secrets and the TLS CA's key at rest.
    pub seal: Arc<Seal>,
    ca_id: String,
    revision: Revision,
    own: Vec<KeyData>,
}

impl Keys {
    /// Names this CA in proofs of possession, for ever: the fingerprint of its first user CA key.
    #[must_use]
    pub fn ca_id(&self) -> String {
        self.ca_id.clone()
    }

    /// The keys of a purpose.
    #[must_use]
    pub fn ring(&self, purpose: Purpose) -> &Ring {
        match purpose {
            Purpose::UserCa => &self.user_ca,
            Purpose::HostCa => &self.host_ca,
            Purpose::Fleet => &self.fleet,
        }
    }

    /// Which content of the store this is: a transaction that finds another one was decided under keys that changed since.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Every key of the CA itself, also those that are retired: none of them may ever be certified or revoked like a
    /// person's (I8).
    pub fn own(&self) -> impl Iterator<Item = &KeyData> {
        self.own.iter()
    }
}

/// The keys that are not replaced one generation after another.
#[derive(Clone)]
pub struct Fixed {
    /// Logs in as `ssh-ca-sync`.
    pub sync: Arc<PrivateKey>,
    /// Signs ledger heads.
    pub ledger: Arc<PrivateKey>,
    /// Seals small secrets.
    pub seal: Arc<Seal>,
}

impl Fixed {
    /// Decrypts them.
    ///
    /// # Errors
    /// When the passphrase is wrong, or a file is missing, broken, or not encrypted.
    pub fn open(folder: &Folder, passphrase: &Secret) -> Result<Self, KeysError> {
        let names = FIXED.map(str::to_owned);
        let mut keys = at_once(&names, |name| files::open(folder, name, passphrase)).into_iter();
        let mut next = || keys.next().expect("one result for each name");
        Ok(Self {
            sync: Arc::new(next()?),
            ledger: Arc::new(next()?),
            seal: Arc::new(Seal::new(&next()?)),
        })
    }
}

/// Keys that are decrypted, so that this need not be done again.
#[derive(Clone)]
pub struct Opened {
    fixed: Fixed,
    signers: BTreeMap<String, Arc<dyn Signer>>,
}

impl From<Fixed> for Opened {
    fn from(fixed: Fixed) -> Self {
        Self {
            fixed,
            signers: BTreeMap::new(),
        }
    }
}

/// What `init` made.
pub struct Created {
    /// Seals small secrets.
    pub seal: Arc<Seal>,
    /// The first key of each purpose.
    pub first: Vec<(Purpose, PublicKey)>,
}

/// Makes every key and writes it encrypted, with its public half beside it.
///
/// # Errors
/// When a file cannot be written.
pub fn create(folder: &Folder, passphrase: &Secret) -> Result<Created, KeysError> {
    let none = BTreeMap::new();
    create_in(folder, passphrase, &none).map_err(|error| match error {
        MoveError::Keys(error) => error,
        other => unreachable!("nothing else can happen to key files: {other}"),
    })
}

/// The same, with some keys elsewhere: found there, or made there.
///
/// # Errors
/// When a file cannot be written, or a key cannot be reached or made where it is meant to be.
pub fn create_in(
    folder: &Folder,
    passphrase: &Secret,
    places: &BTreeMap<Purpose, Place>,
) -> Result<Created, MoveError> {
    // Writing is done one after another: files of a folder share the name of the temporary one.
    let mut fixed = BTreeMap::new();
    for name in FIXED {
        fixed.insert(name, files::make(folder, name, passphrase)?);
    }
    let seal = Arc::new(Seal::new(&fixed["seal"]));
    let mut first: Vec<(Purpose, PublicKey)> = Vec::new();
    for purpose in Purpose::ALL {
        let name = purpose.name();
        let key = match places.get(&purpose) {
            Some(place) if place.spec != SignerSpec::File => {
                let taken = |key: &KeyData| first.iter().any(|(_, made)| made.key_data() == key);
                files::make_elsewhere(folder, name, place.clone(), &seal, taken)?.1
            }
            _ => files::make(folder, name, passphrase)?.public_key().clone(),
        };
        first.push((purpose, key));
    }
    Ok(Created { seal, first })
}

/// Where the keys are: the files, the passphrase that opens them, and what is open.
///
/// The passphrase stays in memory (wiped when this is dropped): a key that is made while the server runs is encrypted like
/// the others, and a change that goes on by itself has nobody to ask. Whoever can read this memory has the open keys anyway.
pub struct KeyRoom {
    folder: Folder,
    passphrase: Secret,
    opened: Mutex<Opened>,
    now: RwLock<Arc<Keys>>,
    /// Whoever changes the life of a key holds this: one step at a time.
    pub changing: tokio::sync::Mutex<()>,
}

impl KeyRoom {
    /// Decrypts every key that is in use and proves that each signs for its own public half.
    ///
    /// # Errors
    /// When the passphrase is wrong, or a file is missing, broken, not encrypted, or another key's.
    pub fn open(
        folder: &Folder,
        passphrase: &Secret,
        db: &Db,
        now_unix: i64,
    ) -> Result<Self, KeysError> {
        let opened = Fixed::open(folder, passphrase)?.into();
        Self::with(folder, passphrase, db, now_unix, opened)
    }

    /// The same, with keys that are open already.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with(
        folder: &Folder,
        passphrase: &Secret,
        db: &Db,
        now_unix: i64,
        mut opened: Opened,
    ) -> Result<Self, KeysError> {
        let mut records = record::all(&db.snapshot()?)?;
        let adopted = records.is_empty();
        if adopted {
            // A store from before keys had lives: the only ones that there are sign.
            for purpose in Purpose::ALL {
                let key = files::public(folder, purpose.name())?;
                records.push(KeyRecord::first(purpose, &key, now_unix));
            }
        }
        for record in &records {
            if matches!(record.life, Life::Retired | Life::Compromised)
                && let Err(error) = files::destroy(folder, &record.name())
            {
                tracing::error!(%error, key = record.name(), "the file of a key that is retired stays");
            }
        }
        open_missing(folder, passphrase, &records, &mut opened)?;
        if adopted {
            adopt(db, &records, now_unix)?;
        }
        let view = db.snapshot()?;
        let now = build(&opened, &view)?;
        Ok(Self {
            folder: folder.clone(),
            passphrase: passphrase.clone(),
            opened: Mutex::new(opened),
            now: RwLock::new(Arc::new(now)),
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// Where the files are.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// How the keys stand.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How the keys stood when `source` was taken: what is decided from `source` is signed by the key of then, or not at all.
    ///
    /// # Errors
    /// If the store cannot be read, or no key signs.
    pub fn at<R: Read>(&self, source: &R) -> Result<Arc<Keys>, KeysError> {
        let now = self.keys();
        if source.revision(TableGroup::Keys)? == now.revision {
            return Ok(now);
        }
        let opened = self.opened().clone();
        Ok(Arc::new(build(&opened, source)?))
    }

    /// Takes over what the store says now; called after every change of a key's life.
    ///
    /// # Errors
    /// If the store cannot be read, or no key signs. The keys stay as they were then.
    pub fn refresh(&self, db: &Db) -> Result<Arc<Keys>, KeysError> {
        // The store is read inside the lock: the newest state wins, whoever asks last.
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let keys = Arc::new(build(&self.opened(), &db.snapshot()?)?);
        *now = Arc::clone(&keys);
        Ok(keys)
    }

    /// Everything that is open.
    #[must_use]
    pub fn share(&self) -> Opened {
        self.opened().clone()
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the key of this generation and writes it, encrypted. It is on the disk when this returns, and counts as
    /// nothing until the store names it: after a crash in between, the same generation is made anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make(&self, purpose: Purpose, number: u32) -> Result<PublicKey, KeysError> {
        let name = record::name(purpose, number);
        // One that was begun elsewhere and never named by the store must not be looked for.
        elsewhere::forget(&self.folder, &name)?;
        let key = files::make(&self.folder, &name, &self.passphrase)?;
        let public = key.public_key().clone();
        let signer = files::signer_of(&name, key)?;
        self.opened()
            .signers
            .insert(record::fingerprint(&public), signer);
        Ok(public)
    }

    /// Deletes the private half of a key that the store calls retired or compromised. What was not done because the server
    /// died in between is done at the next start.
    ///
    /// # Errors
    /// When the file stays.
    pub fn forget(&self, record: &KeyRecord) -> Result<(), KeysError> {
        self.opened().signers.remove(&record.fingerprint());
        files::destroy(&self.folder, &record.name())
    }
}

/// Opens what is in use and not open yet.
fn open_missing(
    folder: &Folder,
    passphrase: &Secret,
    records: &[KeyRecord],
    opened: &mut Opened,
) -> Result<(), KeysError> {
    let mut missing = Vec::new();
    let seal = &*Arc::clone(&opened.fixed.seal);
    for record in records {
        let name = record.name();
        let key =
            PublicKey::from_openssh(&record.public_key).map_err(|source| KeysError::Broken {
                name: name.clone(),
                source,
            })?;
        let in_use = !matches!(record.life, Life::Retired | Life::Compromised);
        if in_use && !opened.signers.contains_key(&record::fingerprint(&key)) {
            missing.push((name, key, record.life));
        }
    }
    let signers = at_once(&missing, |(name, key, _)| {
        files::signer(folder, name, key.key_data(), passphrase, seal)
    });
    for ((name, key, life), signer) in missing.into_iter().zip(signers) {
        let checked = signer.and_then(|signer| {
            if signer.public_key() == key.key_data() {
                Ok(signer)
            } else {
                Err(KeysError::OtherKey { name: name.clone() })
            }
        });
        match (checked, life) {
            (Ok(signer), _) => {
                opened.signers.insert(record::fingerprint(&key), signer);
            }
            // Only what signs must be there: a next or an old key that is gone keeps nobody from logging in.
            (Err(error), Life::Next | Life::Retiring) => {
                tracing::error!(%error, key = name, life = life.word(), "this key cannot be opened");
            }
            (Err(error), _) => return Err(error),
        }
    }
    Ok(())
}

/// Each costs a slow key derivation: all at once, so that a start takes one of them on several cores.
fn at_once<T: Sync, U: Send>(items: &[T], work: impl Fn(&T) -> U + Sync) -> Vec<U> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(move || work(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("opening a key does not panic"))
            .collect()
    })
}

/// Writes down the keys of a store that did not know them.
fn adopt(db: &Db, records: &[KeyRecord], now_unix: i64) -> Result<(), KeysError> {
    let records = records.to_vec();
    db.write(move |txn| {
        for one in &records {
            record::put(txn, one);
            txn.record(
                now_unix * 1000,
                &Actor::Server,
                &Event::CaKeyChanged {
                    key: one.name(),
                    fingerprint: one.fingerprint(),
                    change: "its life is kept in the store from now on".to_owned(),
                },
            );
        }
        Ok::<_, ReadError>(())
    })
    .map_err(|error| match error {
        WriteError::Refused(error) => error.into(),
        WriteError::Store(error) => KeysError::Store(error),
    })
}

/// The keys as `source` has them.
fn build<R: Read>(opened: &Opened, source: &R) -> Result<Keys, KeysError> {
    let records = record::all(source)?;
    let mut rings = BTreeMap::new();
    let mut ca_id = None;
    for record in records {
        let (purpose, name) = (record.purpose, record.name());
        let held = Held::new(record)
            .map_err(|source| KeysError::Broken { name, source })?
            .opened_by(&opened.signers);
        if purpose == Purpose::UserCa && ca_id.is_none() {
            ca_id = Some(held.fingerprint().to_owned());
        }
        rings.entry(purpose).or_insert_with(Vec::new).push(held);
    }
    let mut ring = |purpose| {
        rings
            .remove(&purpose)
            .and_then(Ring::of)
            .ok_or(KeysError::NoneSigns(purpose))
    };
    let (user_ca, host_ca) = (ring(Purpose::UserCa)?, ring(Purpose::HostCa)?);
    let fleet = ring(Purpose::Fleet)?;
    let fixed = opened.fixed.clone();
    let own = [&user_ca, &host_ca, &fleet]
        .into_iter()
        .flat_map(Ring::key_data)
        .chain([&fixed.sync, &fixed.ledger].map(|key| key.public_key().key_data()))
        .cloned()
        .collect();
    Ok(Keys {
        user_ca,
        host_ca,
        fleet,
        sync: fixed.sync,
        ledger: fixed.ledger,
        seal: fixed.seal,
        ca_id: ca_id.ok_or(KeysError::NoneSigns(Purpose::UserCa))?,
        revision: source.revision(TableGroup::Keys)?,
        own,
    })
}

#[cfg(test)]
mod tests;
