//! What the CA wants on a machine, as a signed bundle with a generation that only ever rises (R2).

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_machine::{
    AccountSpec, Bundle, MachineSpec, Mode, Namespace, Signed, SudoRule,
    bundle::{AccountState, Gecos, Origin},
    render,
    spec::{OpenSshVersion, RenderError, SudoCommand},
};
use policies::{AccountName, MachineAccount, MachineName, Sudo};
use ssh_key::{Certificate, PublicKey};
use time::OffsetDateTime;

use super::pull;
use crate::{
    break_glass,
    ca::{Ca, sha256_hex, unix_ms},
    keys::{Keys, record::fingerprint},
    ledger::{Actor, Event},
    records::{Compiled, FleetRecord, MachineStatus, NameRecord, fleet, name_key},
    recovery,
    signer::SigningKey,
    store::{Read, ReadError, StoreError, Table, WriteError},
};

/// How long a machine may apply a bundle, in seconds: 30 days. A bundle that is half as old is made anew.
const FRESH_SECS: i64 = 30 * 24 * 3600;

/// What is wanted cannot be put into a bundle.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WantedError {
    /// The machine is not known.
    #[error("{0} is not a machine of this CA")]
    Unknown(MachineName),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored key or certificate cannot be read.
    #[error("what is stored of {machine} cannot be used: {why}")]
    Record {
        /// Which machine.
        machine: MachineName,
        /// What is wrong.
        why: String,
    },
    /// No bundle may be made of it.
    #[error("no bundle can be made for {machine}: {why}")]
    Render {
        /// Which machine.
        machine: MachineName,
        /// What the renderer says.
        why: RenderError,
    },
    /// The CA's own keys.
    #[error("the CA's own keys cannot be used: {0}")]
    Keys(String),
    /// The fleet key.
    #[error("the fleet key does not sign: {0}")]
    Sign(String),
}

impl From<ReadError> for WantedError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// Everything about a machine's bundle that the store knows.
pub struct Sources<'a> {
    /// The policy.
    pub compiled: &'a Compiled,
    /// What is known of an account name: the uid of a shared one, and whether it is to be purged.
    pub account: &'a dyn Fn(&AccountName) -> Option<NameRecord>,
    /// The CA's own keys.
    pub keys: &'a Keys,
    /// The clock: grants end.
    pub now: OffsetDateTime,
}

/// What the CA wants on `machine`.
///
/// # Errors
/// When what is stored of it cannot be read.
pub fn spec(
    ca: &Ca,
    machine: &MachineName,
    record: &FleetRecord,
    sources: &Sources<'_>,
) -> Result<MachineSpec, WantedError> {
    let wrong = |why: String| WantedError::Record {
        machine: machine.clone(),
        why,
    };
    // Absent only in a dry run for a machine that is new.
    let host_certificate = (!record.host_certificate.is_empty())
        .then(|| Certificate::from_openssh(&record.host_certificate))
        .transpose()
        .map_err(|error| wrong(error.to_string()))?;
    let sync_from = ca
        .config
        .sync
        .from
        .iter()
        .map(|from| from.parse())
        .collect::<Result<_, ca_machine::spec::SourceAddressError>>()
        .map_err(|error| wrong(error.to_string()))?;
    let wanted = policies::accounts_on(&sources.compiled.index, machine, sources.now);
    let mut accounts: Vec<AccountSpec> = Vec::new();
    for (name, account) in &wanted {
        accounts.push(active(name, account, record, sources).map_err(wrong)?);
    }
    for name in record.made.iter().filter(|name| !wanted.contains_key(name)) {
        accounts.push(expired(name, sources));
    }
    Ok(MachineSpec {
        machine: machine.clone(),
        user_ca_keys: sources.keys.user_ca.trusted(),
        fleet_keys: sources.keys.fleet.trusted(),
        sync_keys: vec![sources.keys.sync.public_key().clone()],
        sync_from,
        admin: record
            .admin_account
            .parse()
            .map_err(|error: policies::NameError| wrong(error.to_string()))?,
        accounts,
        break_glass: ca
            .db
            .read(break_glass::record)?
            .on_machines(machine)
            .map_err(wrong)?,
        host_certificate,
        mode: if record.observed {
            Mode::Observe
        } else {
            Mode::Enforce
        },
        openssh: version(&record.sshd_version)
            .ok_or_else(|| wrong(format!("sshd version {:?}", record.sshd_version)))?,
        pull: pull::spec(ca, record).map_err(wrong)?,
    })
}

fn active(
    name: &AccountName,
    account: &MachineAccount,
    record: &FleetRecord,
    sources: &Sources<'_>,
) -> Result<AccountSpec, String> {
    let origin = if account.system_account {
        Origin::System
    } else if record.adopt.contains(name) {
        Origin::Adopted
    } else {
        Origin::Made
    };
    let uid = match origin {
        Origin::Made => account.uid.or_else(|| (sources.account)(name)?.uid),
        Origin::Adopted | Origin::System => None,
    };
    if origin == Origin::Made && uid.is_none() {
        return Err(format!("account {name} has no uid"));
    }
    let person = account
        .owner
        .as_ref()
        .and_then(|email| sources.compiled.policy.employees.get(email));
    let sudo = match &account.sudo {
        Sudo::None => SudoRule::None,
        Sudo::All => SudoRule::All,
        Sudo::Commands(commands) => SudoRule::Commands(
            commands
                .iter()
                .map(|command| command.parse::<SudoCommand>())
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?,
        ),
    };
    Ok(AccountSpec {
        name: name.clone(),
        uid,
        origin,
        state: AccountState::Active,
        shell: SHELL.parse().expect("a constant that is a path"),
        groups: Vec::new(),
        gecos: Gecos::nearest(
            person.map_or("shared account of the CA", |person| person.name.as_str()),
        ),
        principals: account.principals.clone(),
        sudo,
    })
}

const SHELL: &str = "/bin/bash";

/// An account that the CA made once and nobody is granted any longer: expired, its processes ended, its home kept.
fn expired(name: &AccountName, sources: &Sources<'_>) -> AccountSpec {
    let person = sources
        .compiled
        .policy
        .employees
        .values()
        .find(|employee| employee.account == *name);
    let known = (sources.account)(name);
    AccountSpec {
        name: name.clone(),
        uid: person
            .map(|person| person.uid)
            .or_else(|| known.as_ref()?.uid),
        origin: Origin::Made,
        state: if known.is_some_and(|known| known.purge) {
            AccountState::Purged
        } else {
            AccountState::Expired
        },
        shell: SHELL.parse().expect("a constant that is a path"),
        groups: Vec::new(),
        gecos: Gecos::nearest(person.map_or("", |person| person.name.as_str())),
        principals: BTreeSet::new(),
        sudo: SudoRule::None,
    }
}

/// `OpenSSH_9.2p1 …` or `9.2p1` as a version.
#[must_use]
pub fn version(text: &str) -> Option<OpenSshVersion> {
    let text = text.strip_prefix("OpenSSH_").unwrap_or(text);
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(OpenSshVersion(major.parse().ok()?, minor.parse().ok()?))
}

/// What is known of an account name.
///
/// # Errors
/// If the store cannot be read.
pub fn account_name<R: Read>(
    source: &R,
    account: &AccountName,
) -> Result<Option<NameRecord>, ReadError> {
    source.get_json(Table::Accounts, &name_key("account", account.as_str()))
}

/// What a bundle says, without its number and times: equal hashes mean that nothing changed.
fn content_sha256(spec: &MachineSpec) -> Result<String, RenderError> {
    Ok(sha256_hex(&render(spec, 1, 1, 2)?.encode()))
}

/// Brings `record` to what is wanted now: if that differs from its bundle, or the bundle grows old, the next generation
/// is rendered and signed. Returns whether it changed.
///
/// # Errors
/// When no bundle can be made.
pub fn refresh(
    ca: &Ca,
    machine: &MachineName,
    record: &mut FleetRecord,
    sources: &Sources<'_>,
) -> Result<bool, WantedError> {
    let spec = spec(ca, machine, record, sources)?;
    let render_error = |why| WantedError::Render {
        machine: machine.clone(),
        why,
    };
    let content = content_sha256(&spec).map_err(render_error)?;
    let now = sources.now.unix_timestamp();
    let young = now.saturating_sub(record.issued_unix) < FRESH_SECS / 2;
    // After a restore a machine may have seen more than this store remembers.
    let floor = ca
        .db
        .read(|view| recovery::generation_floor(view, machine))?;
    if record.generation > floor && content == record.content_sha256 && young {
        return Ok(false);
    }
    let issued = u64::try_from(now).unwrap_or(0);
    // Like a KRL's version, it follows the clock and never falls.
    let generation = issued.max(record.generation + 1).max(floor + 1);
    let bundle: Bundle = render(
        &spec,
        generation,
        issued,
        issued + FRESH_SECS.unsigned_abs(),
    )
    .map_err(render_error)?;
    let signed = bundle
        .sign(&SigningKey(sources.keys.fleet.current().as_ref()))
        .map_err(|error| WantedError::Sign(error.to_string()))?;
    record.generation = generation;
    record.trusts = spec.user_ca_keys.iter().map(fingerprint).collect();
    record.content_sha256 = content;
    record.issued_unix = now;
    record.bundle = STANDARD.encode(signed.object());
    record.bundle_signature = signed.signature().to_owned();
    record.made.extend(
        spec.accounts
            .iter()
            .filter(|account| {
                account.origin == Origin::Made && account.state == AccountState::Active
            })
            .map(|account| account.name.clone()),
    );
    Ok(true)
}

/// How often bundles are made again because something changed while they were signed.
const REFRESH_TRIES: usize = 3;

/// A bundle that was signed for a machine as it stood then.
struct Ready {
    machine: MachineName,
    before: FleetRecord,
    after: FleetRecord,
}

/// Brings every machine's bundle to what is wanted now; returns those that changed.
///
/// They are signed before the writer is asked for: a fleet key in hardware takes its time, and nobody else is to wait for it. The
/// transaction that stores them takes only what is still wanted there.
///
/// # Errors
/// When the store fails. A machine whose bundle cannot be made is logged and left as it is.
pub async fn refresh_all(ca: &std::sync::Arc<Ca>) -> Result<Vec<MachineName>, WantedError> {
    let mut all = Vec::new();
    for _ in 0..REFRESH_TRIES {
        let shared = std::sync::Arc::clone(ca);
        let ready = tokio::task::spawn_blocking(move || changed(&shared, &shared.db.snapshot()?));
        let ready = match ready.await {
            Ok(ready) => ready?,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        // Most of the time nothing changed.
        if ready.is_empty() {
            break;
        }
        let wanted = ready.len();
        let stored = store_ready(ca, ready).await?;
        let whole = stored.len() == wanted;
        all.extend(stored);
        if whole {
            break;
        }
    }
    Ok(all)
}

async fn store_ready(
    ca: &std::sync::Arc<Ca>,
    ready: Vec<Ready>,
) -> Result<Vec<MachineName>, WantedError> {
    let shared = std::sync::Arc::clone(ca);
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            let mut names = Vec::new();
            for one in &ready {
                if !is_wanted(&shared, txn, one)? {
                    continue;
                }
                let (name, record) = (&one.machine, &one.after);
                txn.put_json(Table::Fleet, name.as_str().as_bytes(), record);
                txn.record(
                    at,
                    &Actor::Server,
                    &Event::BundleBuilt {
                        machine: name.clone(),
                        generation: record.generation,
                        sha256: record.content_sha256.clone(),
                    },
                );
                names.push(name.clone());
            }
            Ok::<_, WantedError>(names)
        })
        .await
        .map_err(|error| match error {
            WriteError::Refused(error) => error,
            WriteError::Store(error) => error.into(),
        })
}

/// Does the machine stand as it did, and would the same be signed for it now, by the same key?
fn is_wanted<R: Read>(ca: &Ca, source: &R, ready: &Ready) -> Result<bool, WantedError> {
    let stands: Option<FleetRecord> =
        source.get_json(Table::Fleet, ready.machine.as_str().as_bytes())?;
    if stands.as_ref() != Some(&ready.before) {
        return Ok(false);
    }
    with_sources(ca, source, |sources| {
        let same = spec(ca, &ready.machine, &ready.before, sources)
            .ok()
            .and_then(|spec| content_sha256(&spec).ok())
            .is_some_and(|content| content == ready.after.content_sha256);
        let key = [sources.keys.fleet.current_held().key().clone()];
        let signed = Signed::from_parts(
            Namespace::Bundle,
            STANDARD.decode(&ready.after.bundle).unwrap_or_default(),
            ready.after.bundle_signature.clone(),
            &key,
        );
        Ok(same && signed.is_ok())
    })
}

fn with_sources<R: Read, T>(
    ca: &Ca,
    source: &R,
    work: impl FnOnce(&Sources<'_>) -> Result<T, WantedError>,
) -> Result<T, WantedError> {
    let compiled = ca.policy.load(source)?;
    let account = |name: &AccountName| account_name(source, name).ok().flatten();
    let keys = ca
        .key_room
        .at(source)
        .map_err(|error| WantedError::Keys(error.to_string()))?;
    work(&Sources {
        compiled: &compiled,
        account: &account,
        keys: &keys,
        now: ca.clock.now(),
    })
}

fn changed<R: Read>(ca: &Ca, source: &R) -> Result<Vec<Ready>, WantedError> {
    with_sources(ca, source, |sources| {
        let mut changed = Vec::new();
        for (machine, before) in fleet(source)? {
            if before.status == MachineStatus::Leaving {
                continue;
            }
            let mut after = before.clone();
            match refresh(ca, &machine, &mut after, sources) {
                Ok(true) => changed.push(Ready {
                    machine,
                    before,
                    after,
                }),
                Ok(false) => {}
                Err(error) => tracing::error!(%machine, %error, "its bundle stays as it is"),
            }
        }
        Ok(changed)
    })
}

/// The stored bundle of a machine, as it travels.
///
/// # Errors
/// When what is stored is not signed by a fleet key of this CA.
pub fn signed_bundle(keys: &Keys, record: &FleetRecord) -> Result<Signed, WantedError> {
    signed(
        keys,
        Namespace::Bundle,
        &record.bundle,
        &record.bundle_signature,
    )
}

/// A stored object and its signature, put together again: by the fleet key that signs now, also where another one signed it before.
///
/// # Errors
/// When it is not signed by a fleet key of this CA, or the one that signs now does not.
pub fn signed(
    keys: &Keys,
    namespace: Namespace,
    object: &str,
    signature: &str,
) -> Result<Signed, WantedError> {
    let bytes = STANDARD
        .decode(object)
        .map_err(|error| WantedError::Sign(error.to_string()))?;
    let wrong = |error: ca_machine::sign::SignError| WantedError::Sign(error.to_string());
    let now = keys.fleet.current_held();
    let by = |keys: &[PublicKey], bytes| {
        Signed::from_parts(namespace, bytes, signature.to_owned(), keys)
    };
    if let Ok(signed) = by(&[now.key().clone()], bytes.clone()) {
        return Ok(signed);
    }
    let all: Vec<PublicKey> = keys.fleet.all().map(|held| held.key().clone()).collect();
    let before = by(&all, bytes).map_err(wrong)?;
    let signer = SigningKey(keys.fleet.current().as_ref());
    Signed::sign(&signer, namespace, before.object().to_vec()).map_err(wrong)
}
