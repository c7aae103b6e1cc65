//! The certificates by which every KRL is judged: for each user CA key one that it must revoke, and one that it must pass.

use ssh_key::Certificate;

use super::KrlError;
use crate::{
    ca::{Ca, sha256_hex, unix_ms},
    issue::probe::{Own, issue_own},
    keys::{Held, Keys, Life, Ring},
    ledger::{Actor, Event},
    records::{CANARY_GOOD, CANARY_REVOKED, CanaryRecord},
    store::{Read, ReadError, Table},
};

/// The certificates by which a KRL is judged, and what it covers then.
pub(super) struct Canaries {
    /// It must revoke them.
    pub(super) revoked: Vec<Certificate>,
    /// It must pass them.
    pub(super) good: Vec<Certificate>,
    /// What the KRL says of each CA key (R4), as [`crate::records::KrlRecord::ca_keys`] says it.
    pub(super) ca_keys: Vec<String>,
}

/// A pair for each key of the user CA that has a section; of one that is revoked itself, even the good canary must be
/// refused. They are made once for each key.
pub(super) async fn canaries(ca: &Ca, keys: &Keys) -> Result<Canaries, KrlError> {
    let mut all = Canaries {
        revoked: Vec::new(),
        good: Vec::new(),
        ca_keys: Vec::new(),
    };
    for held in keys.user_ca.covered() {
        match pair(ca, held).await {
            Ok([revoked, good]) => {
                all.revoked.push(revoked);
                all.good.push(good);
                all.ca_keys.push(held.fingerprint().to_owned());
            }
            // A key that does not sign yet, or no more, must not keep a revocation from anybody: it has its section, and
            // counts as covered when its canaries can be made.
            Err(error) if held.record().life != Life::Current => {
                tracing::error!(%error, key = held.record().name(), "its part of the KRL cannot be proven");
                all.ca_keys.push(format!("{} unproven", held.fingerprint()));
            }
            Err(error) => return Err(error),
        }
    }
    let hosts = keys.host_ca.covered();
    all.ca_keys
        .extend(hosts.map(|held| held.fingerprint().to_owned()));
    for held in compromised(&keys.user_ca) {
        for name in [CANARY_REVOKED, CANARY_GOOD] {
            all.revoked.extend(stored(ca, &row(name, held))?);
        }
        all.ca_keys.push(whole(held.fingerprint()));
    }
    Ok(all)
}

/// How [`crate::records::KrlRecord::ca_keys`] says that a CA key is revoked itself.
#[must_use]
pub fn whole(fingerprint: &str) -> String {
    format!("{fingerprint} revoked")
}

/// Keys that are compromised, until every machine has confirmed that it knows.
fn compromised(ring: &Ring) -> impl Iterator<Item = &Held> {
    ring.ended().iter().filter(|held| {
        held.record().life == Life::Compromised && held.record().ended_unix.is_none()
    })
}

async fn pair(ca: &Ca, held: &Held) -> Result<[Certificate; 2], KrlError> {
    Ok([
        canary(ca, CANARY_REVOKED, held, Own::RevokedCanary(held)).await?,
        canary(ca, CANARY_GOOD, held, Own::GoodCanary(held)).await?,
    ])
}

/// The first key's canaries had their names before there were others.
fn row(name: &[u8], held: &Held) -> Vec<u8> {
    match held.record().number {
        1 => name.to_vec(),
        number => [name, format!("/{number}").as_bytes()].concat(),
    }
}

fn stored(ca: &Ca, key: &[u8]) -> Result<Option<Certificate>, KrlError> {
    let held: Option<CanaryRecord> = ca
        .db
        .read(|view| view.get_json::<CanaryRecord>(Table::Krl, key))?;
    held.map(|held| parse(&held.certificate)).transpose()
}

fn parse(text: &str) -> Result<Certificate, KrlError> {
    Certificate::from_openssh(text)
        .map_err(|error| KrlError::Make(format!("a canary cannot be read: {error}")))
}

async fn canary(ca: &Ca, name: &[u8], held: &Held, own: Own<'_>) -> Result<Certificate, KrlError> {
    let key = row(name, held);
    if let Some(stored) = stored(ca, &key)? {
        return Ok(stored);
    }
    let certificate = issue_own(ca, own, Actor::Server).await?;
    let (at, record, of) = (
        unix_ms(ca.clock.now()),
        CanaryRecord {
            certificate: certificate.clone(),
        },
        held.record().name(),
    );
    ca.db
        .write_async(move |txn| {
            txn.put_json(Table::Krl, key.clone(), &record);
            txn.record(
                at,
                &Actor::Server,
                &Event::CaKeyChanged {
                    key: of.clone(),
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
