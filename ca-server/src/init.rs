//! `ca-server init`: makes a data folder with every key, the store, and the first entry of the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use ca_api::Secret;
use rand_core::{OsRng, RngCore};
use time::OffsetDateTime;

use crate::{
    ca::unix_ms,
    cli::args::{InitArgs, SignerChoice},
    cli::passphrase,
    config::Config,
    folder::{Folder, FolderError},
    keys::{self, KeyRecord, KeysError, Place, Purpose, record},
    ledger::{Actor, CaId, Event},
    records::{CA, CaRecord, LIMITS},
    store::{Db, OpenError, ReadError, RedbBackend, Table, WriteError},
    tls::{Tls, TlsError},
};

/// A data folder cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A key that is to be elsewhere.
    #[error(transparent)]
    Elsewhere(#[from] keys::MoveError),
    /// A signer that was named twice for one key.
    #[error("--signer was given twice for the {0} key: give one each, or one for all")]
    TwoSigners(Purpose),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store's file.
    #[error(transparent)]
    File(#[from] crate::store::FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The first transaction.
    #[error(transparent)]
    Write(#[from] WriteError<ReadError>),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] passphrase::PassphraseError),
    /// The configuration cannot be written down.
    #[error("the configuration cannot be written: {0}")]
    Config(#[from] toml::ser::Error),
    /// This machine's name is unknown.
    #[error("no name is known by which employees reach this server: give one with --name")]
    NoName,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// The data folder.
    pub data: PathBuf,
    /// The URL that stands in invitations.
    pub url: String,
    /// What employees pin.
    pub tls_fingerprint: String,
    /// `SHA256:…` of the user CA key.
    pub user_ca: String,
    /// `SHA256:…` of the host CA key.
    pub host_ca: String,
}

/// Runs `init`: reads the passphrase, then makes the folder.
///
/// # Errors
/// See [`InitError`]. What was begun is taken away again.
pub fn run(args: &InitArgs) -> Result<InitReport, InitError> {
    crate::serve::harden();
    // Looked at before anybody types a passphrase for nothing.
    if args.data.join("version").exists() {
        return Err(FolderError::Exists(args.data.clone()).into());
    }
    let names = if args.names.is_empty() {
        vec![own_name().ok_or(InitError::NoName)?]
    } else {
        args.names.clone()
    };
    let places = places(&args.signers)?;
    let passphrase = passphrase::read(&args.passphrase, passphrase::Purpose::Create)?;
    let now = OffsetDateTime::now_utc();
    create_in(&args.data, names, &passphrase, &places, now)
}

/// Where each key is to be, with the PINs that no file holds.
fn places(signers: &[SignerChoice]) -> Result<BTreeMap<Purpose, Place>, InitError> {
    let mut places = BTreeMap::new();
    // One for a single key wins over one for all.
    let (all, single): (Vec<_>, Vec<_>) = signers.iter().partition(|choice| choice.key.is_none());
    for choice in single.into_iter().chain(all) {
        let pin = passphrase::token_pin(&choice.spec)?;
        let meant: Vec<Purpose> = match choice.key {
            Some(key) => vec![Purpose::from(key)],
            None => Purpose::ALL
                .into_iter()
                .filter(|purpose| !places.contains_key(purpose))
                .collect(),
        };
        if meant.is_empty() {
            return Err(InitError::TwoSigners(Purpose::UserCa));
        }
        for purpose in meant {
            let place = Place {
                spec: choice.spec.clone(),
                pin: pin.clone(),
            };
            if places.insert(purpose, place).is_some() {
                return Err(InitError::TwoSigners(purpose));
            }
        }
    }
    Ok(places)
}

/// Makes a data folder. Until its version file is written it counts as nothing, and a failure takes away what was begun.
///
/// # Errors
/// See [`InitError`].
pub fn create(
    data: &std::path::Path,
    names: Vec<String>,
    passphrase: &Secret,
    now: OffsetDateTime,
) -> Result<InitReport, InitError> {
    create_in(data, names, passphrase, &BTreeMap::new(), now)
}

/// The same, with some keys elsewhere than in files. A key that was made in a token stays there if something fails later, and
/// is found again the next time.
///
/// # Errors
/// See [`InitError`].
pub fn create_in(
    data: &std::path::Path,
    names: Vec<String>,
    passphrase: &Secret,
    places: &BTreeMap<Purpose, Place>,
    now: OffsetDateTime,
) -> Result<InitReport, InitError> {
    let existed = data.exists();
    let folder = Folder::create(data)?;
    fill(&folder, names, passphrase, places, now).inspect_err(|_| {
        if let Err(error) = take_away(data, existed) {
            tracing::warn!(%error, data = %data.display(), "what `init` began could not be taken away");
        }
    })
}

fn take_away(data: &std::path::Path, existed: bool) -> std::io::Result<()> {
    if !existed {
        return std::fs::remove_dir_all(data);
    }
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn fill(
    folder: &Folder,
    names: Vec<String>,
    passphrase: &Secret,
    places: &BTreeMap<Purpose, Place>,
    now: OffsetDateTime,
) -> Result<InitReport, InitError> {
    let config = Config::new(names.clone());
    folder.write("config.toml", toml::to_string(&config)?.as_bytes())?;
    let created = keys::create_in(folder, passphrase, places)?;
    let tls = Tls::create(folder, &created.seal, now)?;
    // A name that TLS cannot carry is found now, not at the first start.
    tls.leaf(&names, now)?;
    let mut id = [0; 16];
    OsRng.fill_bytes(&mut id);
    let db = Db::create(Arc::new(RedbBackend::create(&folder.store())?), CaId(id))?;
    let fingerprint = |purpose: Purpose| {
        let made = created.first.iter().find(|(made, _)| *made == purpose);
        let (_, key) = made.expect("`create` makes a key of each purpose");
        record::fingerprint(key)
    };
    let report = InitReport {
        data: folder.root().to_owned(),
        url: config.url(),
        tls_fingerprint: tls.fingerprint(),
        user_ca: fingerprint(Purpose::UserCa),
        host_ca: fingerprint(Purpose::HostCa),
    };
    let first = Event::CaInitialised {
        names,
        user_ca: report.user_ca.clone(),
        host_ca: report.host_ca.clone(),
        fleet: fingerprint(Purpose::Fleet),
        instance_epoch: instance_epoch(now),
    };
    let record = CaRecord {
        instance_epoch: instance_epoch(now),
        next_uid: config.sync.uids[0],
        next_grant: 1,
        next_revocation: 1,
    };
    let at = unix_ms(now);
    let lives: Vec<KeyRecord> = created
        .first
        .iter()
        .map(|(purpose, key)| KeyRecord::first(*purpose, key, now.unix_timestamp()))
        .collect();
    db.write(move |txn| {
        for life in &lives {
            record::put(txn, life);
        }
        txn.put_json(Table::Meta, CA, &record);
        txn.put_json(Table::Limits, LIMITS, &policies::Limits::default());
        txn.record(at, &Actor::Server, &first);
        Ok::<_, ReadError>(())
    })?;
    drop(db);
    folder.seal()?;
    Ok(report)
}

/// `max(stored + 1, Unix time)`: at `init` nothing is stored. 31 bits hold Unix time until 2038, and the number keeps
/// rising by one after that.
pub(crate) fn instance_epoch(now: OffsetDateTime) -> u32 {
    const MAX: i64 = 0x7fff_ffff;
    u32::try_from(now.unix_timestamp().clamp(1, MAX)).expect("clamped to 31 bits")
}

fn own_name() -> Option<String> {
    let name = nix::unistd::gethostname().ok()?.into_string().ok()?;
    let known: BTreeSet<&str> = BTreeSet::from(["", "localhost", "(none)"]);
    (!known.contains(name.as_str())).then_some(name)
}
