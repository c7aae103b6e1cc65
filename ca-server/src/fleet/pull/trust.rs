//! Which machines that fetch know the TLS CA that this server shows: whoever knows only one that is retired fetches nothing more.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_machine::{Bundle, bundle::Place};
use policies::MachineName;

use crate::{
    records::{FleetRecord, MachineStatus, SeenRecord, fleet},
    rotate::Waiting,
    store::{Read, ReadError, Table},
};

/// The machines that fetch for themselves and have not proven that they know this TLS CA (PEM), without those in `left`.
///
/// # Errors
/// If the store cannot be read.
pub fn unaware<R: Read>(
    source: &R,
    pem: &str,
    left: &BTreeSet<MachineName>,
) -> Result<Vec<Waiting>, ReadError> {
    let mut waits = Vec::new();
    for (name, record) in fleet(source)? {
        let fetches = record.pull.is_some() && record.status == MachineStatus::Managed;
        if !fetches || left.contains(&name) {
            continue;
        }
        let seen: Option<SeenRecord> = source.get_json(Table::Seen, name.as_str().as_bytes())?;
        let seen = seen.unwrap_or_default();
        if !brings(&record, pem) || seen.generation != record.generation {
            let why = "it fetches for itself, and has not proven that it knows the new TLS CA";
            waits.push(Waiting {
                who: name.to_string(),
                why: match seen.trouble.as_str() {
                    "" => why.to_owned(),
                    trouble => format!("{why} ({trouble})"),
                },
            });
        }
    }
    Ok(waits)
}

/// Does what is wanted on the machine bring it this certificate?
fn brings(record: &FleetRecord, pem: &str) -> bool {
    let bytes = STANDARD.decode(&record.bundle).unwrap_or_default();
    let bundle = Bundle::decode(&bytes).ok();
    let text = bundle.and_then(|mut bundle| bundle.files.remove(&Place::PullTrust));
    text.and_then(|text| String::from_utf8(text).ok())
        .is_some_and(|text| text.contains(pem))
}
