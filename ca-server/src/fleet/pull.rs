//! Machines that fetch for themselves: what they are served, who may ask for it, and what their reports are worth.

use ca_api::admin::{DeliveryOutcome, MachineDelivery, PullView};
use ca_machine::{
    Namespace,
    pull::{Files, Form, PullSecret, PullSpec, PullUrl},
};
use policies::MachineName;
use ssh_key::PublicKey;
use subtle::ConstantTimeEq as _;

use super::{courier::Attempt, schedule::Lanes, succession, wanted};
use crate::{
    ca::{Ca, sha256_hex},
    records::{FleetRecord, KrlRecord, PullRecord, Reach, SeenRecord, WaitingOrder, WaitingTask},
};

pub mod report;
pub mod trust;
pub mod waiting;

/// Where a machine is to fetch from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From the CA's own door.
    Ca,
    /// From a published tree.
    Tree(PullUrl),
}

/// What is stored of a machine's secret cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "the secret that {0} fetches with does not open with this CA's keys; run `bootstrap add-machine {0} --pull` again"
)]
pub struct SecretError(MachineName);

fn purpose(machine: &MachineName) -> String {
    format!("pull {machine}")
}

/// The secret that a machine shares with the CA.
///
/// # Errors
/// When it was sealed with other keys.
pub fn secret(
    ca: &Ca,
    machine: &MachineName,
    record: &PullRecord,
) -> Result<PullSecret, SecretError> {
    let opened = ca.keys().seal.open(&purpose(machine), &record.secret);
    opened
        .and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok())
        .ok_or_else(|| SecretError(machine.clone()))
}

/// How `machine` fetches from now on: as `source` says, or as it did. A machine that was made anew gets another secret: the old disk must not
/// read on.
#[must_use]
pub fn wanted(
    ca: &Ca,
    machine: &MachineName,
    old: Option<&FleetRecord>,
    new: &FleetRecord,
    source: Option<&Source>,
) -> Option<PullRecord> {
    let before = old.and_then(|old| old.pull.as_ref());
    let tree = match source {
        Some(Source::Ca) => None,
        Some(Source::Tree(url)) => Some(url.to_string()),
        None => before?.tree.clone(),
    };
    let same_key = old.is_some_and(|old| old.host_key == new.host_key);
    let usable = |record: &&PullRecord| secret(ca, machine, record).is_ok();
    if let Some(before) = before.filter(|_| same_key).filter(usable) {
        // One that was to leave comes back.
        let stays = |order: &WaitingOrder| order.task != WaitingTask::Remove;
        return Some(PullRecord {
            tree,
            order: before.order.clone().filter(stays),
            ..before.clone()
        });
    }
    let secret = PullSecret::random();
    Some(PullRecord {
        tree,
        secret: ca
            .keys()
            .seal
            .seal(&purpose(machine), secret.to_text().as_bytes()),
        token_sha256: sha256_hex(secret.token().as_bytes()),
        place: secret.place(),
        reach: Reach::PushToo,
        order: None,
    })
}

/// What its bundle says of it.
///
/// # Errors
/// When what is stored cannot be read.
pub fn spec(ca: &Ca, record: &FleetRecord) -> Result<Option<PullSpec>, String> {
    let Some(pull) = &record.pull else {
        return Ok(None);
    };
    let url = |text: &str| text.parse::<PullUrl>().map_err(|error| error.to_string());
    let source = match &pull.tree {
        None => ca_machine::pull::Source::Ca,
        Some(tree) => ca_machine::pull::Source::Place {
            tree: url(tree)?,
            place: pull.place.clone(),
        },
    };
    Ok(Some(PullSpec {
        source,
        ca: url(&ca.config.url())?,
        trusted: ca.tls.pem(),
        every_minutes: ca.config.pull.every_minutes,
        timeout_secs: ca.config.pull.timeout_secs,
        host_key: PublicKey::from_openssh(&record.host_key).map_err(|error| error.to_string())?,
    }))
}

/// Whether this token is that machine's.
#[must_use]
pub fn opens(record: &FleetRecord, token: &str) -> bool {
    let hash = sha256_hex(token.as_bytes());
    record
        .pull
        .as_ref()
        .is_some_and(|pull| bool::from(pull.token_sha256.as_bytes().ct_eq(hash.as_bytes())))
}

/// No files can be made for a machine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FilesError {
    /// It does not fetch for itself, or has no bundle yet.
    #[error("{0} does not fetch for itself; `bootstrap add-machine {0} --pull` makes it")]
    NotPulling(MachineName),
    /// Its secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// What is signed.
    #[error(transparent)]
    Wanted(#[from] wanted::WantedError),
}

/// The files that bring a machine what is wanted there now.
///
/// # Errors
/// When it does not fetch for itself, or what is stored cannot be used.
pub fn files(
    ca: &Ca,
    machine: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
    form: Form,
) -> Result<Files, FilesError> {
    let pull = record
        .pull
        .as_ref()
        .filter(|_| record.generation > 0)
        .ok_or_else(|| FilesError::NotPulling(machine.clone()))?;
    // Taken once: what is signed, and what leads to the key that signs, belong together.
    let keys = ca.keys();
    let chain = succession::chain(ca, &keys)
        .map_err(|error| FilesError::Wanted(error.into()))?
        .onward(&[]);
    let parcel = wanted::signed(&keys, Namespace::Krl, &krl.parcel, &krl.signature)?;
    let bundle = wanted::signed_bundle(&keys, record)?;
    let secret = secret(ca, machine, pull)?;
    let files = Files::new(&parcel, &bundle, &chain, form, &secret);
    let now = ca.clock.now().unix_timestamp();
    match &pull.order {
        Some(order) if order.until_unix > now => {
            match wanted::signed(&keys, Namespace::Order, &order.order, &order.signature) {
                Ok(order) => Ok(files.with_order(&order, form, &secret)),
                // It keeps no KRL from its machine (R10).
                Err(error) => {
                    tracing::error!(%machine, %error, "the order that waits for it is left out");
                    Ok(files)
                }
            }
        }
        _ => Ok(files),
    }
}

/// As the commands show it.
#[must_use]
pub fn view(record: &PullRecord, seen: &SeenRecord) -> PullView {
    PullView {
        tree: record.tree.clone(),
        place: record.place.clone(),
        reach: match record.reach {
            Reach::PushToo => "push too",
            Reach::PullOnly => "pull only",
        }
        .to_owned(),
        reported_unix: seen.reported_unix,
        order: record.order.as_ref().map(waiting::view),
    }
}

/// What is told of a machine that only fetches, where the KRL in force is not proven by its own report.
pub const NOT_REPORTED: &str =
    "it fetches for itself, and has not reported this yet: until it has, count it as not protected";

/// What a delivery to a machine that only fetches comes to: nothing is sent, and only what it reported counts.
#[must_use]
pub fn stands(
    machine: &MachineName,
    record: &FleetRecord,
    krl: &KrlRecord,
    lanes: Lanes,
    seen: SeenRecord,
) -> Attempt {
    let current = seen.trouble.is_empty()
        && seen.krl_version == krl.version
        && (lanes == Lanes::Krl || seen.generation == record.generation);
    let outcome = if current {
        DeliveryOutcome::Proven {
            krl_version: seen.krl_version,
            generation: seen.generation,
            sessions_ended: Vec::new(),
            sessions_open: Vec::new(),
        }
    } else {
        let reason = if seen.trouble.is_empty() {
            NOT_REPORTED.to_owned()
        } else {
            format!("it fetches for itself; the last it said: {}", seen.trouble)
        };
        DeliveryOutcome::NotReached {
            reason,
            krl_version: seen.krl_version,
            exposed_until_unix: None,
        }
    };
    Attempt {
        delivery: MachineDelivery {
            machine: machine.to_string(),
            outcome,
            millis: 0,
            changes: Vec::new(),
        },
        seen,
        answered: true,
    }
}
