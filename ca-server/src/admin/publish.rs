//! `publish`: what a tree holds from which machines fetch. Where it is written is the command's own matter, never the server's (K5).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, PublishedFile, PublishedFiles, PublishedMachine},
};
use ca_machine::pull::{FILES, Files, Form};
use policies::MachineName;

use super::{Admin, change::store_error, machine, parse, unknown};
use crate::{
    ca::sha256_hex,
    fleet::{
        pull::{self, FilesError},
        wanted,
    },
    records::{FleetRecord, PullRecord, fleet},
    revoke::krl,
    store::ReadError,
};

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

/// The form that a command asks for.
pub(super) fn form(plain: bool) -> Form {
    if plain { Form::Plain } else { Form::Sealed }
}

impl Admin {
    /// Every machine that fetches from a published tree, with the hashes of its files.
    pub(super) async fn publish_index(&self, form: Form) -> Result<AdminReply, ApiError> {
        let krl = krl::current(&self.ca).await.map_err(unavailable)?;
        wanted::refresh_all(&self.ca).await.map_err(unavailable)?;
        let all = self
            .ca
            .db
            .read(fleet)
            .map_err(|error: ReadError| store_error(&error.into()))?;
        let mut index = Vec::new();
        for (name, record) in all {
            let Some(place) = place(&record) else {
                continue;
            };
            match pull::files(&self.ca, &name, &record, &krl, form) {
                Ok(files) => index.push(PublishedMachine {
                    machine: name.to_string(),
                    place: place.to_owned(),
                    files: named(&files)
                        .map(|(name, bytes)| PublishedFile {
                            name: name.to_owned(),
                            sha256: sha256_hex(bytes),
                        })
                        .collect(),
                }),
                // No bundle yet: bootstrap has not been there.
                Err(FilesError::NotPulling(_)) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Ok(AdminReply::PublishIndex(index))
    }

    /// The files of one machine.
    pub(super) async fn publish_files(
        &self,
        name: &str,
        form: Form,
    ) -> Result<AdminReply, ApiError> {
        let name: MachineName = parse(name)?;
        let record = machine::record(&self.ca, &name)?
            .ok_or_else(|| unknown("machine", &name, "machine"))?;
        let krl = krl::current(&self.ca).await.map_err(unavailable)?;
        let files = pull::files(&self.ca, &name, &record, &krl, form)
            .map_err(|error| ApiError::new(ErrorCode::Conflict, error.to_string()))?;
        let place = record.pull.as_ref().map(|pull| pull.place.clone());
        Ok(AdminReply::PublishedFiles(PublishedFiles {
            machine: name.to_string(),
            place: place.unwrap_or_default(),
            files: named(&files)
                .map(|(name, bytes)| (name.to_owned(), STANDARD.encode(bytes)))
                .collect(),
        }))
    }
}

/// The folder of a machine that fetches from a tree.
fn place(record: &FleetRecord) -> Option<&str> {
    match &record.pull {
        Some(PullRecord {
            tree: Some(_),
            place,
            ..
        }) => Some(place),
        _ => None,
    }
}

/// Names and bytes, the hint last: what it names stands before it does.
fn named(files: &Files) -> impl Iterator<Item = (&'static str, &[u8])> {
    FILES
        .into_iter()
        .filter_map(|name| Some((name, files.named(name)?)))
}
