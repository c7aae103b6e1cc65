//! The policy as one document: planned, applied, exported, imported.

mod against;
mod apply;
mod import;
mod wire;

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, PolicyDocument, PolicyPlanned},
};
use policies::{
    Policy,
    document::{self, Orphans, Reading},
    expect,
    plan::{self, Detail},
};
use time::OffsetDateTime;

use self::against::Against;
pub use self::import::{File, import};
use super::change::store_error;
use crate::{
    ca::{Ca, sha256_hex},
    store::ReadError,
};

/// A document as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its name, for messages and the ledger.
    pub name: String,
    /// Its text.
    pub text: String,
    /// What to do about machines that would be in no pool any longer.
    pub orphans: Orphans,
}

impl Asked {
    /// As it came over the wire.
    ///
    /// # Errors
    /// The name cannot be shown.
    pub fn new(name: String, text: String, force: bool) -> Result<Self, ApiError> {
        if name.is_empty() || name.chars().count() > 200 || name.chars().any(char::is_control) {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "a document's name has 1 to 200 characters and no control characters",
            ));
        }
        Ok(Self {
            name,
            text,
            orphans: if force {
                Orphans::Allow
            } else {
                Orphans::Refuse
            },
        })
    }
}

/// The digest of everything that a document says: the policy, as far as a plan depends on it, and what it is expected to keep.
#[must_use]
pub fn digest(policy: &Policy, expectations: &[String]) -> String {
    let mut bytes = document::canonical(policy);
    for sentence in expectations {
        // No sentence holds a line end, and no line of the policy begins like this.
        bytes.extend_from_slice(b"\n# expect ");
        bytes.extend_from_slice(sentence.as_bytes());
    }
    sha256_hex(&bytes)
}

/// A document held against the policy as it stands.
pub(super) struct Held {
    /// For the admin.
    pub planned: PolicyPlanned,
    /// What it says, unless it is wrong.
    pub reading: Option<Reading>,
}

/// Reads the document against what is stored, plans it, judges its expectations. Nothing is changed.
pub(super) fn hold(asked: &Asked, against: &Against, now: OffsetDateTime) -> Held {
    let mut planned = unread(asked, against);
    let reading = match document::read(&asked.text, &against.base(&asked.name, asked.orphans)) {
        Ok(reading) => reading,
        Err(faults) => {
            planned.faults = faults.iter().map(wire::at).collect();
            return Held {
                planned,
                reading: None,
            };
        }
    };
    let plan = plan::plan(&against.policy, &reading.policy, now, Detail::SUMMARY);
    planned.plan = Some(wire::plan(plan));
    planned.cautions = reading.cautions.iter().map(wire::at).collect();
    planned.expectations = reading.expectations.len();
    let promised = reading.expectations.iter().map(|at| &at.what);
    planned.broken = expect::judge(&reading.policy, promised, now)
        .into_iter()
        .map(|broken| {
            let position = &reading.expectations[broken.at].position;
            wire::line(position, broken.to_string())
        })
        .collect();
    planned.after = Some(digest(&reading.policy, &sentences(&reading)));
    Held {
        planned,
        reading: Some(reading),
    }
}

/// A plan of which nothing is known yet.
pub(super) fn unread(asked: &Asked, against: &Against) -> PolicyPlanned {
    PolicyPlanned {
        document: asked.name.clone(),
        document_sha256: sha256_hex(asked.text.as_bytes()),
        base: against.digest(),
        after: None,
        faults: Vec::new(),
        cautions: Vec::new(),
        plan: None,
        expectations: 0,
        broken: Vec::new(),
        import: None,
    }
}

/// What a document expects, as it is kept.
pub(super) fn sentences(reading: &Reading) -> Vec<String> {
    reading
        .expectations
        .iter()
        .map(|at| at.what.to_string())
        .collect()
}

/// Runs what may take a second for a large company beside the server's other work.
pub(super) async fn aside<T, F>(work: F) -> Result<T, ApiError>
where
    F: FnOnce() -> Result<T, ApiError> + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            tracing::error!(%error, "a plan ended without a result");
            Err(ApiError::new(ErrorCode::Unavailable, "the server failed"))
        })
}

pub(super) fn failed(error: ReadError) -> ApiError {
    store_error(&error.into())
}

/// `policy plan`.
///
/// # Errors
/// If the store cannot be read.
pub async fn planned(ca: &Arc<Ca>, asked: Asked) -> Result<AdminReply, ApiError> {
    let shared = Arc::clone(ca);
    aside(move || {
        let against = stored(&shared)?;
        let held = hold(&asked, &against, shared.clock.now());
        Ok(AdminReply::PolicyPlanned(Box::new(held.planned)))
    })
    .await
}

/// What is stored now.
pub(super) fn stored(ca: &Ca) -> Result<Against, ApiError> {
    ca.db
        .read(|view| Against::read(view, ca.config.sync.uids))
        .map_err(failed)
}

/// `policy export`.
///
/// # Errors
/// If the store cannot be read.
pub async fn export(ca: &Arc<Ca>) -> Result<AdminReply, ApiError> {
    let shared = Arc::clone(ca);
    aside(move || {
        let against = stored(&shared)?;
        Ok(AdminReply::PolicyDocument(PolicyDocument {
            text: document::export(&against.policy, &against.expectations),
            digest: against.digest(),
        }))
    })
    .await
}

/// Is `base` this digest, or the beginning of it that was typed?
pub(super) fn is_base(digest: &str, base: &str) -> bool {
    base.len() >= 8 && digest.starts_with(base)
}
