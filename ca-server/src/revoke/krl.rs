//! The KRL: built from the store, judged by OpenSSH's own parser in both directions, then published (R5).

use std::{fs, os::unix::process::CommandExt, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_machine::KrlParcel;
use ssh_key::Certificate;
use ssh_krl::{CaScope, Krl, KrlBuilder, PlainKey};

use crate::{
    ca::{Ca, sha256_hex, unix_ms},
    issue::{
        self,
        probe::{Own, OwnError, REVOKED_KEY_ID, issue_own},
    },
    ledger::{Actor, Event},
    records::{
        CA, CANARY_GOOD, CANARY_REVOKED, CaRecord, CanaryRecord, KRL_CURRENT, KrlRecord,
        RevocationRecord, Revoked, number,
    },
    store::{KeyRange, Read, ReadError, StoreError, Table},
};

/// A KRL cannot be published. The last one stays in force.
#[derive(Debug, thiserror::Error)]
pub enum KrlError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A canary cannot be issued.
    #[error("a canary for the KRL cannot be issued: {0}")]
    Canary(#[from] OwnError),
    /// An entry cannot stand in a KRL.
    #[error("the revocation of {what} cannot stand in a KRL: {why}")]
    Entry {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// It cannot be encoded or signed.
    #[error("the KRL cannot be made: {0}")]
    Make(String),
    /// OpenSSH's parser does not see in it what was meant.
    #[error("the new KRL is not right and was not published: {0}; the last one stays in force")]
    Check(String),
}

impl From<ReadError> for KrlError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// The KRL in force, rebuilt if a revocation came or an entry may leave. One build at a time.
///
/// # Errors
/// See [`KrlError`].
pub async fn current(ca: &Ca) -> Result<KrlRecord, KrlError> {
    let _one_at_a_time = ca.publishing.lock().await;
    let now = ca.clock.now().unix_timestamp();
    let (old, entries, next) = ca.db.read(|view| {
        let old: Option<KrlRecord> = view.get_json(Table::Krl, KRL_CURRENT)?;
        let meta: CaRecord = view
            .get_json(Table::Meta, CA)?
            .expect("`init` wrote the CA's record in the first transaction");
        let mut entries = Vec::new();
        for (key, record) in
            view.scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?
        {
            entries.push((number(Table::Revocations, &key)?, record));
        }
        Ok::<_, KrlError>((old, entries, meta.next_revocation))
    })?;
    let left = |record: &RevocationRecord| record.until_unix.is_some_and(|until| until <= now);
    if let Some(old) = &old
        && old.covers == next
        && !entries.iter().any(|(_, record)| left(record))
    {
        return Ok(old.clone());
    }
    let (gone, kept): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, record)| left(record));
    let kept: Vec<RevocationRecord> = kept.into_iter().map(|(_, record)| record).collect();
    let canaries = canaries(ca).await?;
    let last_version = old.as_ref().map_or(0, |old| old.version);
    let record = build(ca, &kept, &canaries, last_version, next, now)?;
    let (at, stored) = (unix_ms(ca.clock.now()), record.clone());
    let gone: Vec<u64> = gone.into_iter().map(|(key, _)| key).collect();
    let entries = kept.len() as u64;
    ca.db
        .write_async(move |txn| {
            txn.put_json(Table::Krl, KRL_CURRENT, &stored);
            for key in &gone {
                txn.delete(Table::Revocations, key.to_be_bytes());
            }
            txn.record(
                at,
                &Actor::Server,
                &Event::KrlBuilt {
                    version: stored.version,
                    sha256: stored.krl_sha256.clone(),
                    entries,
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| match issue::store_error(error) {
            issue::IssueError::Store(error) => KrlError::Store(error),
            other => KrlError::Make(other.to_string()),
        })?;
    Ok(record)
}

struct Canaries {
    good: Certificate,
    revoked: Certificate,
}

/// The canaries of this CA key, made at the first KRL.
async fn canaries(ca: &Ca) -> Result<Canaries, KrlError> {
    Ok(Canaries {
        good: canary(ca, CANARY_GOOD, Own::GoodCanary).await?,
        revoked: canary(ca, CANARY_REVOKED, Own::RevokedCanary).await?,
    })
}

async fn canary(ca: &Ca, key: &'static [u8], own: Own<'_>) -> Result<Certificate, KrlError> {
    let parse = |text: &str| {
        Certificate::from_openssh(text)
            .map_err(|error| KrlError::Make(format!("a canary cannot be read: {error}")))
    };
    let held: Option<CanaryRecord> = ca
        .db
        .read(|view| view.get_json::<CanaryRecord>(Table::Krl, key))?;
    if let Some(held) = held {
        return parse(&held.certificate);
    }
    let certificate = issue_own(ca, own, Actor::Server).await?;
    let (at, record) = (
        unix_ms(ca.clock.now()),
        CanaryRecord {
            certificate: certificate.clone(),
        },
    );
    ca.db
        .write_async(move |txn| {
            txn.put_json(Table::Krl, key, &record);
            txn.record(
                at,
                &Actor::Server,
                &Event::CaKeyChanged {
                    key: "user_ca".to_owned(),
                    fingerprint: sha256_hex(record.certificate.as_bytes()),
                    change: "a canary was made for its KRL section".to_owned(),
                },
            );
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| KrlError::Make(error.to_string()))?;
    parse(&certificate)
}

fn build(
    ca: &Ca,
    entries: &[RevocationRecord],
    canaries: &Canaries,
    last_version: u64,
    covers: u64,
    now: i64,
) -> Result<KrlRecord, KrlError> {
    let now = u64::try_from(now).unwrap_or(0);
    // The version follows the clock and never falls: after a restore it is still above what any machine has (R2, S7).
    let version = now.max(last_version + 1);
    let make = |error: &dyn std::fmt::Display| KrlError::Make(error.to_string());
    let scopes = Scopes::of(ca)?;
    let scope = &scopes.user;
    let mut builder = KrlBuilder::new(version, now);
    builder
        .revoke_key_id(scope, REVOKED_KEY_ID)
        .map_err(|error| make(&error))?;
    for entry in entries {
        let wrong = |why: String| KrlError::Entry {
            what: entry.what.describe(),
            why,
        };
        match &entry.what {
            Revoked::KeyId(key_id) => {
                builder
                    .revoke_key_id(scope, key_id)
                    .map_err(|error| wrong(error.to_string()))?;
            }
            Revoked::Serial { ca, serial } => {
                builder
                    .revoke_serial(scopes.of_key(ca), *serial)
                    .map_err(|error| wrong(error.to_string()))?;
            }
            Revoked::Key(fingerprint) => {
                let hash = fingerprint
                    .parse::<ssh_key::Fingerprint>()
                    .ok()
                    .and_then(ssh_key::Fingerprint::sha256)
                    .ok_or_else(|| wrong("its fingerprint is no SHA-256".to_owned()))?;
                builder.revoke_key_sha256(hash);
            }
        }
    }
    let bytes = builder.build().encode().map_err(|error| make(&error))?;
    check(&bytes, entries, &scopes, canaries)?;
    let parcel = KrlParcel {
        version,
        issued_unix: now,
        revoked_canaries: vec![canaries.revoked.clone()],
        good_canaries: vec![canaries.good.clone()],
        krl: bytes.clone(),
    };
    let signed = parcel
        .sign(ca.keys.fleet.as_ref())
        .map_err(|error| make(&error))?;
    Ok(KrlRecord {
        version,
        built_unix: i64::try_from(now).unwrap_or(0),
        covers,
        krl: STANDARD.encode(&bytes),
        krl_sha256: sha256_hex(&bytes),
        parcel: STANDARD.encode(signed.object()),
        signature: signed.signature().to_owned(),
    })
}

/// The CA keys under which entries are filed (R4).
struct Scopes {
    user: CaScope,
    host: CaScope,
    /// `SHA256:…` of the host CA key.
    host_key: String,
}

impl Scopes {
    fn of(ca: &Ca) -> Result<Self, KrlError> {
        let scope =
            |key| CaScope::key(blob(key)?).map_err(|error| KrlError::Make(error.to_string()));
        let host = ca.keys.host_ca.public_key();
        Ok(Self {
            user: scope(ca.keys.user_ca.public_key())?,
            host: scope(host)?,
            host_key: host.fingerprint(ssh_key::HashAlg::Sha256).to_string(),
        })
    }

    /// The section of the key that signed.
    fn of_key(&self, fingerprint: &str) -> &CaScope {
        if fingerprint == self.host_key {
            &self.host
        } else {
            &self.user
        }
    }
}

fn blob(key: &ssh_key::public::KeyData) -> Result<Vec<u8>, KrlError> {
    ssh_key::PublicKey::from(key.clone())
        .to_bytes()
        .map_err(|error| KrlError::Make(error.to_string()))
}

/// Judges the bytes twice: our own decoder must find every entry, and OpenSSH's must refuse the revoked canary and let
/// the good one through. The word decides, not the exit code alone: an unreadable KRL gives a non-zero one too (R5).
fn check(
    bytes: &[u8],
    entries: &[RevocationRecord],
    scopes: &Scopes,
    canaries: &Canaries,
) -> Result<(), KrlError> {
    let wrong = |what: String| KrlError::Check(what);
    let krl = Krl::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    let section = |scope: &CaScope| {
        krl.certificates()
            .find(|(held, _)| *held == scope)
            .map(|(_, section)| section)
            .ok_or_else(|| wrong("the section of a CA key is missing".to_owned()))
    };
    let users = section(&scopes.user)?;
    for entry in entries {
        let there = match &entry.what {
            Revoked::KeyId(key_id) => users.key_ids().any(|held| held == key_id.as_bytes()),
            Revoked::Serial { ca, serial } => section(scopes.of_key(ca))?
                .serials()
                .iter()
                .any(|run| (run.first()..=run.last()).contains(serial)),
            Revoked::Key(fingerprint) => krl
                .keys_sha256()
                .iter()
                .any(|hash| ssh_key::Fingerprint::Sha256(*hash).to_string() == *fingerprint),
        };
        if !there {
            return Err(wrong(format!("{} is missing", entry.what.describe())));
        }
    }
    let dir =
        tempfile::tempdir().map_err(|error| wrong(format!("no temporary folder: {error}")))?;
    let path = dir.path().join("krl");
    fs::write(&path, bytes)
        .map_err(|error| wrong(format!("it cannot be written for the check: {error}")))?;
    for (name, certificate, revoked) in [
        ("good-cert.pub", &canaries.good, false),
        ("revoked-cert.pub", &canaries.revoked, true),
    ] {
        let file = dir.path().join(name);
        let text = certificate
            .to_openssh()
            .map_err(|error| wrong(error.to_string()))?;
        fs::write(&file, text)
            .map_err(|error| wrong(format!("a canary cannot be written: {error}")))?;
        let says = openssh_says(&path, &file)
            .map_err(|error| wrong(format!("ssh-keygen cannot be run: {error}")))?;
        if says != Some(revoked) {
            return Err(wrong(format!(
                "OpenSSH does not judge the canary {name} as it must"
            )));
        }
    }
    PlainKey::new(&blob(canaries.good.signature_key())?)
        .map_err(|error| wrong(error.to_string()))?;
    Ok(())
}

/// What `ssh-keygen -Q` says of a certificate: revoked, good, or nothing that can be understood.
///
/// # Errors
/// When it cannot be run.
pub fn openssh_says(krl: &Path, certificate: &Path) -> std::io::Result<Option<bool>> {
    let output = Command::new("ssh-keygen")
        .arg("-Q")
        .arg("-f")
        .arg(krl)
        .arg(certificate)
        .env("LC_ALL", "C")
        // Ctrl-C at a terminal asks the server to finish what it does: it must not end this check half way.
        .process_group(0)
        .output()?;
    let words = String::from_utf8_lossy(&output.stdout);
    let revoked = words.trim_end().ends_with(": REVOKED");
    Ok(match (output.status.code(), revoked) {
        (Some(1), true) => Some(true),
        (Some(0), false) => Some(false),
        _ => None,
    })
}
