//! Reads an archive strictly: foreign bytes until its manifest holds and its signature verifies.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use sha2::{Digest, Sha256};
use ssh_key::{PublicKey, SshSig};

use super::{
    About, BackupError, FORMAT, FileSum, MAX_FILE_BYTES, MAX_PART_BYTES, Manifest, NAMESPACE,
    TableSum,
};
use crate::{
    keys::{Half, half},
    store::Table,
};

/// Takes what an archive holds, piece by piece. Nothing of it may count before [`read`] returned.
pub trait Taker {
    /// The first that comes.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn about(&mut self, about: &About) -> Result<(), BackupError>;

    /// A file: its name is one of the fixed ones, or one that this program gives to something in `keys/` or `tls/`.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError>;

    /// A row. Tables come one after another, keys of one in their order.
    ///
    /// # Errors
    /// When it cannot be taken.
    fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), BackupError>;
}

/// An archive that was read to its end and holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What is in it.
    pub manifest: Manifest,
    /// The manifest's bytes, as they were signed.
    pub manifest_json: Vec<u8>,
    /// Its SSHSIG, PEM.
    pub signature: String,
    /// The ledger key that is in the archive, and signed it.
    pub ledger_key: PublicKey,
}

impl Contents {
    /// `SHA256:…` of the key that signed it.
    #[must_use]
    pub fn signer(&self) -> String {
        self.ledger_key
            .fingerprint(ssh_key::HashAlg::Sha256)
            .to_string()
    }
}

/// Reads `input` to its end.
///
/// # Errors
/// The first thing that is not as it must be.
pub fn read<R: Read>(input: R, taker: &mut dyn Taker) -> Result<Contents, BackupError> {
    let mut archive = tar::Archive::new(input);
    let mut reading = Reading::default();
    // Raw: extensions of tar would be read into memory whatever their length, and no archive of ours has any.
    let entries = archive.entries().map_err(damaged)?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        if reading.signature.is_some() {
            return Err(wrong("something follows its end"));
        }
        let name = entry.path().map_err(damaged)?.to_str().map(str::to_owned);
        let name = name.ok_or_else(|| wrong("a name in it is no text"))?;
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(wrong(&format!("{name:?} is not a plain file")));
        }
        let limit = if name.starts_with("store/") {
            MAX_PART_BYTES
        } else {
            MAX_FILE_BYTES
        };
        let size = entry.size();
        if size > limit {
            return Err(wrong(&format!("{name:?} is larger than {limit} bytes")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 != size {
            return Err(wrong("it is cut off"));
        }
        reading.entry(&name, bytes, taker)?;
    }
    // To the end of the lock too: only there is it known that nothing was cut off.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    reading.finish()
}

#[derive(Default)]
struct Reading {
    about: Option<About>,
    files: BTreeMap<String, FileSum>,
    tables: BTreeMap<String, Running>,
    table: Option<(Table, u64)>,
    last_key: Option<Vec<u8>>,
    ledger_key: Option<PublicKey>,
    manifest: Option<Vec<u8>>,
    signature: Option<String>,
}

#[derive(Default)]
struct Running {
    rows: u64,
    bytes: u64,
    sha256: Sha256,
}

impl Reading {
    fn entry(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        taker: &mut dyn Taker,
    ) -> Result<(), BackupError> {
        if self.about.is_none() {
            if name != "about.json" {
                return Err(BackupError::NotOne("it does not begin as one".to_owned()));
            }
            let about = read_about(&bytes)?;
            taker.about(&about)?;
            self.about = Some(about);
            self.sum(name, &bytes);
            return Ok(());
        }
        if self.manifest.is_some() && name != "manifest.json.sig" {
            return Err(wrong("something follows its manifest"));
        }
        match name {
            "manifest.json" => self.manifest = Some(bytes),
            "manifest.json.sig" if self.manifest.is_some() => {
                self.signature =
                    Some(String::from_utf8(bytes).map_err(|_| wrong("its signature is no text"))?);
            }
            _ => match name.strip_prefix("store/") {
                Some(part) => self.part(part, &bytes, taker)?,
                None => self.file(name, &bytes, taker)?,
            },
        }
        Ok(())
    }

    fn file(&mut self, name: &str, bytes: &[u8], taker: &mut dyn Taker) -> Result<(), BackupError> {
        let expected = self
            .about
            .as_ref()
            .is_some_and(|about| is_expected(name, about));
        if !expected || self.files.contains_key(name) || self.table.is_some() {
            return Err(wrong(&format!("the file {name:?} does not belong there")));
        }
        if name == "keys/ledger.pub" {
            let text = std::str::from_utf8(bytes).ok();
            self.ledger_key = text.and_then(|text| PublicKey::from_openssh(text).ok());
        }
        self.sum(name, bytes);
        taker.file(name, bytes)
    }

    fn sum(&mut self, name: &str, bytes: &[u8]) {
        let sum = FileSum {
            bytes: bytes.len() as u64,
            sha256: crate::ca::sha256_hex(bytes),
        };
        self.files.insert(name.to_owned(), sum);
    }

    fn part(&mut self, name: &str, bytes: &[u8], taker: &mut dyn Taker) -> Result<(), BackupError> {
        let strange = || wrong(&format!("the part {name:?} does not belong there"));
        let (table, number) = name.rsplit_once('.').ok_or_else(strange)?;
        let number: u64 = number.parse().map_err(|_| strange())?;
        let table = Table::ALL
            .iter()
            .find(|known| known.name() == table)
            .ok_or_else(|| wrong(&format!("the table {table:?} is not known to this version")))?;
        let expected = match self.table {
            Some((current, last)) if current == *table => last + 1,
            _ if self.tables.contains_key(table.name()) => return Err(strange()),
            _ => {
                self.last_key = None;
                0
            }
        };
        if number != expected {
            return Err(strange());
        }
        self.table = Some((*table, number));
        let running = self.tables.entry(table.name().to_owned()).or_default();
        running.bytes += bytes.len() as u64;
        running.sha256.update(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (key, value, after) = row(rest).ok_or_else(|| wrong("a row is cut off"))?;
            if self.last_key.as_deref().is_some_and(|last| last >= key) {
                return Err(wrong("the rows of a table are not in order"));
            }
            self.last_key = Some(key.to_vec());
            running.rows += 1;
            taker.row(*table, key, value)?;
            rest = after;
        }
        Ok(())
    }

    fn finish(self) -> Result<Contents, BackupError> {
        let (Some(about), Some(manifest_json), Some(signature)) =
            (self.about, self.manifest, self.signature)
        else {
            return Err(wrong("it is cut off"));
        };
        let ledger_key = self
            .ledger_key
            .ok_or_else(|| wrong("the ledger's public key is missing"))?;
        let sig =
            SshSig::from_pem(&signature).map_err(|_| wrong("its signature cannot be read"))?;
        ledger_key
            .verify(NAMESPACE, &manifest_json, &sig)
            .map_err(|_| {
                wrong("its manifest was not signed by the ledger's key, or was changed since")
            })?;
        let manifest: Manifest = serde_json::from_slice(&manifest_json)
            .map_err(|error| wrong(&format!("its manifest: {error}")))?;
        let tables: BTreeMap<String, TableSum> = Table::ALL
            .iter()
            .map(|table| table.name())
            .filter(|name| manifest.tables.contains_key(*name) || self.tables.contains_key(*name))
            .map(|name| (name.to_owned(), sum_of(self.tables.get(name))))
            .collect();
        if manifest.about != about || manifest.files != self.files || manifest.tables != tables {
            return Err(wrong("what is in it is not what its manifest says"));
        }
        Ok(Contents {
            manifest,
            manifest_json,
            signature,
            ledger_key,
        })
    }
}

fn sum_of(running: Option<&Running>) -> TableSum {
    let (rows, bytes, sha256) = running.map_or((0, 0, Sha256::new()), |running| {
        (running.rows, running.bytes, running.sha256.clone())
    });
    TableSum {
        rows,
        bytes,
        sha256: data_encoding::HEXLOWER.encode(&sha256.finalize()),
    }
}

fn read_about(bytes: &[u8]) -> Result<About, BackupError> {
    /// What every format says.
    #[derive(serde::Deserialize)]
    struct Any {
        format: u32,
        #[serde(default)]
        program: String,
    }
    let not_one = |error: serde_json::Error| BackupError::NotOne(error.to_string());
    let any: Any = serde_json::from_slice(bytes).map_err(not_one)?;
    if any.format != FORMAT {
        return Err(BackupError::OtherFormat {
            found: any.format,
            program: crate::ledger::printable(&any.program)
                .chars()
                .take(60)
                .collect(),
        });
    }
    serde_json::from_slice(bytes).map_err(not_one)
}

/// The files that such an archive may have: nothing in a name leads elsewhere, and one without keys has nothing that a key could be
/// looked for in. Of `keys/` only names that this program gives: no module for it to load, no way to another key.
fn is_expected(name: &str, about: &About) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.len() <= 64
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    match name.split_once('/') {
        None => name == "config.toml",
        Some(("tls", name)) => plain(name) && (name.ends_with(".pem") || !about.keys.is_empty()),
        Some(("keys", name)) => match half(name) {
            Some(Half::Public) => true,
            Some(Half::Private) => about.keys.iter().any(|named| named == name),
            None => false,
        },
        Some(_) => false,
    }
}

/// The first row of a part: key, value, what follows.
fn row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_first_chunk::<4>()?;
    let length = |bytes: &[u8; 4]| usize::try_from(u32::from_be_bytes(*bytes)).ok();
    let (key, rest) = rest.split_at_checked(length(key)?)?;
    let (value, rest) = rest.split_at_checked(length(value)?)?;
    Some((key, value, rest))
}

fn wrong(what: &str) -> BackupError {
    BackupError::Damaged(what.to_owned())
}

fn damaged(error: io::Error) -> BackupError {
    BackupError::Damaged(error.to_string())
}
