//! The server's part of a backup: one snapshot of the store and the files beside it, as a tar archive into any writer.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::ControlFlow,
};

use sha2::{Digest, Sha256};
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use super::{About, FORMAT, FileSum, Manifest, NAMESPACE, PART_BYTES, TableSum};
use crate::{
    folder::{Folder, FolderError},
    keys::{Half, half},
    records::{CA, CaRecord},
    store::{Direction, KeyRange, Read as _, ReadError, Snapshot, Table},
};

/// Are the private keys to be in it?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// No: whoever restores needs the folders `keys` and `tls` from elsewhere.
    PublicOnly,
    /// The encrypted key files too.
    Keys,
}

/// Where an archive comes from.
pub struct Source<'a> {
    /// One committed state.
    pub snapshot: &'a Snapshot,
    /// The files.
    pub folder: &'a Folder,
    /// Signs the manifest.
    pub ledger_key: &'a PrivateKey,
    /// The clock.
    pub now_unix: i64,
    /// What to put in.
    pub include: Include,
}

/// An archive cannot be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Whoever takes it does not take more.
    #[error("the archive could not be written: {0}")]
    Write(#[from] io::Error),
    /// The ledger's key.
    #[error("the manifest could not be signed: {0}")]
    Sign(#[from] ssh_key::Error),
    /// Not the store of a CA.
    #[error("the store has no CA in it")]
    Empty,
}

/// What the archive will say of itself.
///
/// # Errors
/// If store or folder cannot be read.
pub fn about(source: &Source<'_>) -> Result<About, DumpError> {
    let snapshot = source.snapshot;
    let record: CaRecord = snapshot
        .get_json(Table::Meta, CA)?
        .ok_or(DumpError::Empty)?;
    let id = snapshot.ca_id()?.ok_or(DumpError::Empty)?;
    let keys = source.folder.list("keys")?;
    // Whatever else lies there is nothing that a restore would take.
    let private = |name: &String| half(name) == Some(Half::Private);
    let keys = keys.into_iter().filter(private);
    Ok(About {
        format: FORMAT,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        made_unix: source.now_unix,
        ca: id.to_string(),
        instance_epoch: record.instance_epoch,
        head: snapshot.head(),
        commits: snapshot.mark().map_or(0, |mark| mark.commits),
        keys: match source.include {
            Include::PublicOnly => Vec::new(),
            Include::Keys => keys.collect(),
        },
    })
}

/// Writes the whole archive. Holds one part of a table in memory, and keeps no writer of the store waiting.
///
/// # Errors
/// See [`DumpError`]: what was written until then is no backup.
pub fn dump<W: Write>(source: &Source<'_>, about: About, out: W) -> Result<W, DumpError> {
    let mut archive = Archive {
        tar: tar::Builder::new(out),
        mtime: u64::try_from(source.now_unix).unwrap_or(0),
        files: BTreeMap::new(),
    };
    archive.file(
        "about.json",
        &serde_json::to_vec(&about).expect("texts and numbers are JSON"),
    )?;
    for name in files(source, &about)? {
        archive.file(&name, &source.folder.read(&name)?)?;
    }
    let mut tables = BTreeMap::new();
    for table in Table::ALL {
        let sum = archive.table(source.snapshot, *table)?;
        tables.insert(table.name().to_owned(), sum);
    }
    let manifest = Manifest {
        about,
        files: std::mem::take(&mut archive.files),
        tables,
    };
    let manifest = serde_json::to_vec(&manifest).expect("texts and numbers are JSON");
    let signature = source
        .ledger_key
        .sign(NAMESPACE, HashAlg::Sha512, &manifest)?
        .to_pem(LineEnding::LF)?;
    archive.file("manifest.json", &manifest)?;
    archive.file("manifest.json.sig", signature.as_bytes())?;
    Ok(archive.tar.into_inner()?)
}

/// The files that belong into it.
fn files(source: &Source<'_>, about: &About) -> Result<Vec<String>, DumpError> {
    let mut names = vec!["config.toml".to_owned()];
    for sub in ["keys", "tls"] {
        for name in source.folder.list(sub)? {
            let public = match sub {
                "tls" => name.ends_with(".pem"),
                _ => half(&name) == Some(Half::Public),
            };
            let named = sub == "tls" || about.keys.contains(&name);
            // A key that was made after `about` looked is in the next backup: the store of this one does not know it.
            if public || (source.include == Include::Keys && named) {
                names.push(format!("{sub}/{name}"));
            }
        }
    }
    Ok(names)
}

struct Archive<W: Write> {
    tar: tar::Builder<W>,
    mtime: u64,
    files: BTreeMap<String, FileSum>,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.mtime);
        self.tar.append_data(&mut header, name, bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.entry(name, bytes)?;
        let sum = FileSum {
            bytes: bytes.len() as u64,
            sha256: crate::ca::sha256_hex(bytes),
        };
        self.files.insert(name.to_owned(), sum);
        Ok(())
    }

    fn table(&mut self, snapshot: &Snapshot, table: Table) -> Result<TableSum, DumpError> {
        let (mut part, mut number) = (Vec::new(), 0);
        let (mut rows, mut bytes, mut sha256) = (0, 0, Sha256::new());
        let mut failed = None;
        let mut flush = |part: &mut Vec<u8>| -> io::Result<()> {
            if part.is_empty() {
                return Ok(());
            }
            sha256.update(&part);
            bytes += part.len() as u64;
            let name = format!("store/{}.{number}", table.name());
            number += 1;
            self.entry(&name, part)?;
            part.clear();
            Ok(())
        };
        snapshot.visit(
            table,
            &KeyRange::all(),
            Direction::Forward,
            &mut |key, value| {
                for length in [key.len(), value.len()] {
                    let length =
                        u32::try_from(length).expect("redb's values are smaller than 4 GiB");
                    part.extend_from_slice(&length.to_be_bytes());
                }
                part.extend_from_slice(key);
                part.extend_from_slice(value);
                rows += 1;
                if part.len() >= PART_BYTES
                    && let Err(error) = flush(&mut part)
                {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            },
        )?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        flush(&mut part)?;
        Ok(TableSum {
            rows,
            bytes,
            sha256: data_encoding::HEXLOWER.encode(&sha256.finalize()),
        })
    }
}
