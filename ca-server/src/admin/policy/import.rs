//! What another tool's file adds to the policy, shown as a plan: the document that it comes to is applied like any other.

use std::{fmt::Display, sync::Arc};

use ca_api::{
    ApiError, ErrorCode,
    admin::{
        AdminReply, DocumentLine, ImportNote, ImportTitle, ImportView, MatrixMachine, StaticKeyView,
    },
};
use policies::{
    Policy,
    document::{self, Orphans},
    import::{
        Added, Domain, ImportError, Imported, Note, StaticKey, Weight, Whose, authorized_keys,
        keymgr, ssh_handler,
    },
};

use super::{Asked, Held, against::Against, aside, hold, stored};
use crate::ca::Ca;

/// A file as it came.
pub struct File {
    /// Its name, and its text.
    pub asked: Asked,
    /// `keymgr`, `ssh-handler` or `authorized-keys`.
    pub format: String,
    /// What is put behind the @ where the file has only names of people.
    pub domain: Option<String>,
}

/// `policy import`.
///
/// # Errors
/// The format or the domain is none, or the store cannot be read. What is wrong with the file is an answer.
pub async fn import(ca: &Arc<Ca>, file: File) -> Result<AdminReply, ApiError> {
    let shared = Arc::clone(ca);
    aside(move || {
        let against = stored(&shared)?;
        let read = read(&file)?;
        let added = read.and_then(|imported| {
            let next = against.next();
            match imported.added_to(&against.policy, next) {
                Ok(added) => Ok((imported, added)),
                Err(errors) => Err(errors.iter().map(nowhere).collect()),
            }
        });
        let (imported, added) = match added {
            Ok(added) => added,
            Err(faults) => return Ok(wrong(&file, &against, faults)),
        };
        // What it would be, as a document: read again, so that what is planned is what an apply of it does.
        let asked = Asked {
            name: file.asked.name.clone(),
            text: document::export(&added.policy, &against.expectations),
            // An import takes no machine out of a pool: those that are in none already are no reason to refuse it.
            orphans: Orphans::Allow,
        };
        let Held {
            mut planned,
            reading,
        } = hold(&asked, &against, shared.clock.now());
        let mut import = view(asked.text, &imported, &added, &against.policy);
        import.titles = reading
            .iter()
            .flat_map(|reading| titles(&added, &reading.policy))
            .collect();
        planned.import = Some(import);
        Ok(AdminReply::PolicyPlanned(Box::new(planned)))
    })
    .await
}

/// The file by its format; its faults, if it has any.
fn read(file: &File) -> Result<Result<Imported, Vec<DocumentLine>>, ApiError> {
    let Asked { name, text, .. } = &file.asked;
    match file.format.as_str() {
        "keymgr" => {
            let domain = file.domain.as_deref().ok_or_else(|| {
                ApiError::new(
                    ErrorCode::Invalid,
                    "keymgr's files name people without a domain, and the CA knows them by email",
                )
                .hint("give the domain with --domain corp.example")
            })?;
            let domain = Domain::new(domain)
                .map_err(|error| ApiError::new(ErrorCode::Invalid, error.to_string()))?;
            Ok(keymgr(name, text, &domain).map_err(faults))
        }
        "ssh-handler" => Ok(ssh_handler(name, text).map_err(faults)),
        "authorized-keys" => Ok(Ok(authorized_keys(name, None, text.as_bytes()))),
        other => Err(ApiError::new(
            ErrorCode::Invalid,
            format!("{other:?} is no format that can be imported"),
        )
        .hint("expected keymgr, ssh-handler or authorized-keys")),
    }
}

fn faults<F: Display>(errors: Vec<ImportError<F>>) -> Vec<DocumentLine> {
    errors
        .into_iter()
        .map(|error| DocumentLine {
            file: error.at.file,
            line: usize::try_from(error.at.line).unwrap_or(usize::MAX),
            column: usize::try_from(error.at.column).unwrap_or(usize::MAX),
            message: error.fault.to_string(),
        })
        .collect()
}

/// A fault of no one place.
fn nowhere<E: Display>(error: &E) -> DocumentLine {
    DocumentLine {
        file: String::new(),
        line: 0,
        column: 0,
        message: error.to_string(),
    }
}

fn wrong(file: &File, against: &Against, faults: Vec<DocumentLine>) -> AdminReply {
    let mut planned = super::unread(&file.asked, against);
    planned.faults = faults;
    AdminReply::PolicyPlanned(Box::new(planned))
}

fn view(text: String, imported: &Imported, added: &Added, policy: &Policy) -> ImportView {
    ImportView {
        text,
        notes: imported
            .notes
            .iter()
            .chain(&added.notes)
            .map(note)
            .collect(),
        static_keys: imported
            .static_keys
            .iter()
            .map(|key| static_key(key, policy))
            .collect(),
        machines_to_bootstrap: added
            .machines_to_bootstrap
            .iter()
            .map(|(name, pools)| MatrixMachine {
                name: name.to_string(),
                pools: pools.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        titles: Vec::new(),
    }
}

/// What the file calls each grant, by the number that it has in the document that was read back.
fn titles<'a>(added: &'a Added, read: &'a Policy) -> impl Iterator<Item = ImportTitle> + 'a {
    added.titles.iter().filter_map(|(id, title)| {
        let grant = added.policy.grants.get(id)?;
        let (id, _) = read.grants.iter().find(|(_, other)| *other == grant)?;
        Some(ImportTitle {
            grant: *id,
            title: title.clone(),
        })
    })
}

fn note(note: &Note) -> ImportNote {
    ImportNote {
        weight: match note.weight {
            Weight::Info => "info",
            Weight::Warning => "warning",
            Weight::Alarm => "alarm",
        }
        .to_owned(),
        at: note
            .at
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        sentence: note.sentence.clone(),
    }
}

fn static_key(key: &StaticKey, policy: &Policy) -> StaticKeyView {
    let owner = key.whose(policy).map(|whose| match whose {
        Whose::File { email } => email.to_string(),
        Whose::Comment { email } => format!("{email} (by the comment)"),
        Whose::Account { email } => format!("{email} (by the account)"),
    });
    StaticKeyView {
        at: key.at.to_string(),
        algorithm: format!("{} {}", key.key_type.as_str(), key.bits),
        fingerprint: key.fingerprint.clone(),
        comment: key.comment.clone(),
        owner,
        options: key
            .options
            .iter()
            .map(|option| option.name.clone())
            .collect(),
        fault: key.fault.as_ref().map(ToString::to_string),
    }
}
