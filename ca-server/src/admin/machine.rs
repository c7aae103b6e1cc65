//! Machines: prepared for bootstrap, proven, moved, enforced, removed.

mod anew;
pub mod remove;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ca_api::{
    ApiError, ErrorCode, Secret,
    admin::{
        AdminReply, MachinePrepare, MachinePrepared, MachinePull, ProbeCertificates, SignedText,
    },
};
use ca_machine::Namespace;
use policies::{AccountName, Machine, MachineName, Policy, PoolName};
use ssh_key::{HashAlg, PublicKey};

use self::anew::{krl_for, outdo};
use super::{
    change::{ChangeError, Editing, policy_change, store_error},
    look, parse, parse_all,
    pool::known,
    unknown,
};
use crate::{
    ca::{Ca, unix_ms},
    fleet::{
        deliver,
        pull::{self, Source},
        succession,
        wanted::{self, Sources},
    },
    issue::probe::{
        NOWHERE_POOL, Own, OwnError, PROBE_ACCOUNT, PROBE_POOL, REVOKED_KEY_ID, issue_own,
    },
    ledger::{Actor, Event},
    records::{
        Compiled, FleetRecord, MachineStatus, NameRecord, Reach, SeenRecord, fleet, name_key,
    },
    session::directory::host_names,
    store::{Read, ReadError, Revision, Table},
};

/// How long a host certificate lives, in seconds; the keeper renews it at half of that.
pub const HOST_CERTIFICATE_SECS: u64 = 90 * 24 * 3600;

fn unavailable(error: impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a machine could not be prepared");
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

/// A machine's record.
///
/// # Errors
/// If the store cannot be read.
pub fn record(ca: &Ca, machine: &MachineName) -> Result<Option<FleetRecord>, ApiError> {
    ca.db
        .read(|view| view.get_json(Table::Fleet, machine.as_str().as_bytes()))
        .map_err(|error: ReadError| store_error(&error.into()))
}

/// What was asked for, parsed.
struct Wanted {
    name: MachineName,
    pools: BTreeSet<PoolName>,
    host_key: PublicKey,
    adopt: BTreeSet<AccountName>,
    fetch: Option<Source>,
    request: MachinePrepare,
}

fn parse_prepare(request: MachinePrepare) -> Result<Wanted, ApiError> {
    let host_key = PublicKey::from_openssh(&request.host_key)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "the host key cannot be read"))?;
    let _: AccountName = parse(&request.admin_account)?;
    if wanted::version(&request.sshd_version).is_none() {
        let what = format!("{:?} is not a version of OpenSSH", request.sshd_version);
        return Err(ApiError::new(ErrorCode::Invalid, what));
    }
    Ok(Wanted {
        name: parse(&request.machine)?,
        pools: parse_all(&request.pools)?,
        adopt: parse_all(&request.adopt)?,
        fetch: request.pull.as_ref().map(fetch).transpose()?,
        host_key,
        request,
    })
}

/// Where a machine shall fetch from.
fn fetch(pull: &MachinePull) -> Result<Source, ApiError> {
    match &pull.tree {
        None => Ok(Source::Ca),
        Some(text) => {
            text.parse()
                .map(Source::Tree)
                .map_err(|error: ca_machine::pull::PullUrlError| {
                    ApiError::new(ErrorCode::Invalid, error.to_string())
                })
        }
    }
}

/// `MachinePrepare`.
///
/// # Errors
/// When the machine may not be prepared like this.
pub async fn prepare(
    ca: &Arc<Ca>,
    actor: Actor,
    request: MachinePrepare,
) -> Result<AdminReply, ApiError> {
    let wanted = parse_prepare(request)?;
    let old = record(ca, &wanted.name)?;
    if let Some(old) = &old {
        check_host_key(old, &wanted)?;
    }
    check_names(ca, &wanted.name, &wanted.request.address)?;
    let krl = krl_for(ca, &wanted.name, &wanted.request).await?;
    let (certificate, until) = if wanted.request.dry_run {
        old.as_ref().map_or_else(Default::default, |old| {
            (
                old.host_certificate.clone(),
                old.host_certificate_until_unix,
            )
        })
    } else {
        host_certificate(ca, &actor, old.as_ref(), &wanted).await?
    };
    let (name, dry) = (wanted.name.clone(), wanted.request.dry_run);
    let (record, compiled) = if wanted.request.dry_run {
        let mut record = fresh_record(old.clone(), &wanted, certificate, until);
        record.pull = pull::wanted(ca, &name, old.as_ref(), &record, wanted.fetch.as_ref());
        outdo(&mut record, wanted.request.seen.as_ref());
        dry_run(ca, &wanted, record)?
    } else {
        let shared = Arc::clone(ca);
        policy_change(ca, actor, move |policy, editing| {
            place(policy, &wanted)?;
            // As it is now: the keeper may have made a generation, or an admin have confirmed it, since the first look (R2).
            let old: Option<FleetRecord> = editing
                .txn
                .get_json(Table::Fleet, wanted.name.as_str().as_bytes())?;
            if let Some(old) = &old {
                check_host_key(old, &wanted)?;
                retire_host_key(editing, old, &wanted.host_key);
            }
            let mut record = fresh_record(old.clone(), &wanted, certificate.clone(), until);
            record.pull = pull::wanted(
                &shared,
                &wanted.name,
                old.as_ref(),
                &record,
                wanted.fetch.as_ref(),
            );
            outdo(&mut record, wanted.request.seen.as_ref());
            let compiled = compile(policy);
            refresh(&shared, &wanted.name, &mut record, &compiled, editing)?;
            editing.record(&Event::MachinePrepared {
                machine: wanted.name.clone(),
                address: format!("{}:{}", wanted.request.address, wanted.request.port),
                pools: policy.machines[&wanted.name].pools.clone(),
                host_key: wanted.host_key.fingerprint(HashAlg::Sha256).to_string(),
            });
            Ok((record, compiled))
        })
        .await?
    };
    let pull_secret = match &record.pull {
        // What is only shown gives no secret away.
        Some(pull) if !dry => Some(Secret::new(
            pull::secret(ca, &name, pull)
                .map_err(unavailable)?
                .to_text()
                .to_string(),
        )),
        _ => None,
    };
    let accounts = policies::accounts_on(&compiled.index, &name, ca.clock.now());
    // Taken once: what is signed, and what leads to the key that signs, belong together.
    let keys = ca.keys();
    let chain = succession::chain(ca, &keys).map_err(unavailable)?;
    let bundle = wanted::signed_bundle(&keys, &record).map_err(unavailable)?;
    let parcel =
        wanted::signed(&keys, Namespace::Krl, &krl.parcel, &krl.signature).map_err(unavailable)?;
    Ok(AdminReply::MachinePrepared(MachinePrepared {
        generation: record.generation,
        bundle: record.bundle,
        bundle_signature: bundle.signature().to_owned(),
        krl: krl.parcel,
        krl_signature: parcel.signature().to_owned(),
        krl_version: krl.version,
        successions: chain
            .onward(&[])
            .iter()
            .map(|signed| SignedText {
                object: String::from_utf8_lossy(signed.object()).into_owned(),
                signature: signed.signature().to_owned(),
            })
            .collect(),
        // Above every number of before, also those that a restored CA does not remember (R2): they follow the clock. The next one is above
        // this, unless the key is changed within the second.
        succession: u64::try_from(ca.clock.now().unix_timestamp() - 1)
            .unwrap_or(0)
            .max(chain.highest()),
        pull_secret,
        fleet_keys: keys.fleet.trusted_texts(),
        host_cas: keys.host_ca.trusted_texts(),
        who: look::users(&compiled, &name, ca.clock.now()),
        sample_account: accounts
            .iter()
            .find(|(_, account)| !account.system_account)
            .map(|(name, _)| name.to_string()),
    }))
}

fn text(key: &PublicKey) -> String {
    key.to_openssh().expect("a key in memory has a text form")
}

/// A known machine with another host key is either rebuilt, and an admin says so, or somebody else (H7).
fn check_host_key(old: &FleetRecord, wanted: &Wanted) -> Result<(), ApiError> {
    let same = PublicKey::from_openssh(&old.host_key)
        .is_ok_and(|key| key.key_data() == wanted.host_key.key_data());
    if same || wanted.request.rebuilt {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::Conflict,
        format!(
            "{} is known with another host key: was it rebuilt, or is this another machine?",
            wanted.name
        ),
    )
    .hint("if it was rebuilt, say so with --resync; nothing was changed"))
}

/// A machine's name in another machine's host certificate would let that one stand in for it.
fn check_names(ca: &Ca, name: &MachineName, address: &str) -> Result<(), ApiError> {
    let all = ca
        .db
        .read(fleet)
        .map_err(|error: ReadError| store_error(&error.into()))?;
    let clash = all
        .iter()
        .find(|(other, record)| {
            other != name && (other.as_str() == address || record.address == name.as_str())
        })
        .map(|(other, _)| other);
    match clash {
        None => Ok(()),
        Some(other) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "{name} at {address} and {other} would each have a host certificate with the same name, so that one could stand in for the other"
            ),
        )
        .hint("reach one of them by its IP address or by another host name; nothing was changed")),
    }
}

/// A host key that is no longer a machine's is named in employees' known_hosts as revoked: its certificate is valid for a
/// while yet, and an old disk must not stand in for the new machine.
fn retire_host_key(editing: &mut Editing<'_, '_>, old: &FleetRecord, new: &PublicKey) {
    if let Ok(key) = PublicKey::from_openssh(&old.host_key)
        && key.key_data() != new.key_data()
    {
        put_removed_host(editing, &key, &old.host_key);
    }
}

fn put_removed_host(editing: &mut Editing<'_, '_>, key: &PublicKey, text: &str) {
    let removed = NameRecord {
        holder: text.to_owned(),
        uid: None,
        purge: false,
    };
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    editing.txn.put_json(
        Table::Accounts,
        name_key("removed-host", &fingerprint),
        &removed,
    );
}

/// The certificate it has, while that is good for a long time yet, or a new one.
async fn host_certificate(
    ca: &Arc<Ca>,
    actor: &Actor,
    old: Option<&FleetRecord>,
    wanted: &Wanted,
) -> Result<(String, i64), ApiError> {
    let now = ca.clock.now().unix_timestamp();
    let half = i64::try_from(HOST_CERTIFICATE_SECS / 2).unwrap_or(i64::MAX);
    if let Some(old) = old {
        let same_key = PublicKey::from_openssh(&old.host_key)
            .is_ok_and(|key| key.key_data() == wanted.host_key.key_data());
        let same_names = old.address == wanted.request.address;
        let same_ca = deliver::host_ca(old) == ca.keys().host_ca.current_held().fingerprint();
        if same_key && same_names && same_ca && old.host_certificate_until_unix > now + half {
            return Ok((
                old.host_certificate.clone(),
                old.host_certificate_until_unix,
            ));
        }
    }
    new_host_certificate(
        ca,
        actor.clone(),
        &wanted.name,
        &wanted.request.address,
        &wanted.host_key,
    )
    .await
}

/// A new host certificate, and when it ends.
///
/// # Errors
/// When it cannot be issued.
pub async fn new_host_certificate(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &MachineName,
    address: &str,
    host_key: &PublicKey,
) -> Result<(String, i64), ApiError> {
    let own = Own::Host {
        subject: host_key,
        machine,
        names: host_names(machine, address),
        lifetime_secs: HOST_CERTIFICATE_SECS,
    };
    let until = ca.clock.now().unix_timestamp() + i64::try_from(HOST_CERTIFICATE_SECS).unwrap_or(0);
    let certificate = issue_own(ca, own, actor).await.map_err(unavailable)?;
    Ok((certificate, until))
}

fn fresh_record(
    old: Option<FleetRecord>,
    wanted: &Wanted,
    certificate: String,
    until: i64,
) -> FleetRecord {
    let request = &wanted.request;
    let base = old.unwrap_or_else(|| FleetRecord {
        address: String::new(),
        port: 0,
        host_key: String::new(),
        host_certificate: String::new(),
        host_certificate_until_unix: 0,
        status: MachineStatus::Preparing,
        admin_account: String::new(),
        admin_key: None,
        adopt: BTreeSet::new(),
        observed: true,
        sshd_version: String::new(),
        facts: String::new(),
        generation: 0,
        content_sha256: String::new(),
        bundle: String::new(),
        bundle_signature: String::new(),
        issued_unix: 0,
        made: BTreeSet::new(),
        trusts: Vec::new(),
        removal_ordered: None,
        pull: None,
    });
    FleetRecord {
        // One that was leaving comes back, and has to be proven anew.
        status: match base.status {
            MachineStatus::Leaving => MachineStatus::Preparing,
            status => status,
        },
        removal_ordered: None,
        // A generation above the one that it was to leave with: an order to leave that somebody kept back means nothing to it then.
        content_sha256: match base.status {
            MachineStatus::Leaving => String::new(),
            _ => base.content_sha256,
        },
        address: request.address.clone(),
        port: request.port,
        host_key: text(&wanted.host_key),
        host_certificate: certificate,
        host_certificate_until_unix: until,
        admin_account: request.admin_account.clone(),
        admin_key: request.admin_key.clone().or(base.admin_key),
        adopt: base.adopt.union(&wanted.adopt).cloned().collect(),
        sshd_version: request.sshd_version.clone(),
        facts: request.facts.clone(),
        ..base
    }
}

/// Puts the machine into its pools.
fn place(policy: &mut Policy, wanted: &Wanted) -> Result<(), ApiError> {
    for pool in &wanted.pools {
        known(policy, pool)?;
    }
    let entry = policy.machines.entry(wanted.name.clone()).or_default();
    if !wanted.pools.is_empty() {
        entry.pools.clone_from(&wanted.pools);
    }
    if entry.pools.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            format!("{} would be in no pool", wanted.name),
        )
        .hint("name at least one with --pool; `ca-server pool list` shows them"));
    }
    Ok(())
}

fn compile(policy: &Policy) -> Compiled {
    Compiled {
        policy: policy.clone(),
        index: policies::Index::new(policy),
        // Not stored yet: no revision is its.
        revision: Revision::default(),
    }
}

/// Renders what is wanted under this policy and stores it.
fn refresh(
    ca: &Ca,
    machine: &MachineName,
    record: &mut FleetRecord,
    compiled: &Compiled,
    editing: &mut Editing<'_, '_>,
) -> Result<(), ChangeError> {
    let changed = {
        let txn = &*editing.txn;
        let account = |name: &AccountName| wanted::account_name(txn, name).ok().flatten();
        let keys = ca.key_room.at(txn).map_err(unavailable)?;
        let sources = Sources {
            compiled,
            account: &account,
            keys: &keys,
            now: editing.now,
        };
        wanted::refresh(ca, machine, record, &sources).map_err(unavailable)?
    };
    editing
        .txn
        .put_json(Table::Fleet, machine.as_str().as_bytes(), record);
    if changed {
        editing.record(&Event::BundleBuilt {
            machine: machine.clone(),
            generation: record.generation,
            sha256: record.content_sha256.clone(),
        });
    }
    Ok(())
}

fn dry_run(
    ca: &Ca,
    wanted: &Wanted,
    mut record: FleetRecord,
) -> Result<(FleetRecord, Compiled), ApiError> {
    let view = ca
        .db
        .snapshot()
        .map_err(|error| store_error(&error.into()))?;
    let mut policy = crate::records::policy(&view).map_err(|error| store_error(&error.into()))?;
    place(&mut policy, wanted)?;
    let compiled = compile(&policy);
    let account = |name: &AccountName| wanted::account_name(&view, name).ok().flatten();
    let keys = ca.key_room.at(&view).map_err(unavailable)?;
    let sources = Sources {
        compiled: &compiled,
        account: &account,
        keys: &keys,
        now: ca.clock.now(),
    };
    wanted::refresh(ca, &wanted.name, &mut record, &sources).map_err(unavailable)?;
    Ok((record, compiled))
}

/// `MachineProbe`.
///
/// # Errors
/// When the machine is not known, or the key not certifiable.
pub async fn probe(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    public_key: &str,
) -> Result<AdminReply, ApiError> {
    let machine: MachineName = parse(machine)?;
    record(ca, &machine)?.ok_or_else(|| unknown("machine", &machine, "machine"))?;
    let subject = PublicKey::from_openssh(public_key)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "the probe's public key cannot be read"))?;
    let label = format!("probe/{machine}");
    let mut issued = Vec::with_capacity(3);
    for (pool, key_id) in [
        (PROBE_POOL, label.as_str()),
        (NOWHERE_POOL, label.as_str()),
        (PROBE_POOL, REVOKED_KEY_ID),
    ] {
        let own = Own::Probe {
            subject: &subject,
            pool,
            key_id,
        };
        let certificate = issue_own(ca, own, actor.clone())
            .await
            .map_err(|error| match error {
                OwnError::Issue(error) => unavailable(error),
                error => ApiError::new(ErrorCode::Invalid, error.to_string()),
            })?;
        issued.push(certificate);
    }
    let mut issued = issued.into_iter();
    let mut next = || issued.next().expect("three were issued");
    Ok(AdminReply::ProbeCertificates(ProbeCertificates {
        account: PROBE_ACCOUNT.to_owned(),
        good: next(),
        other_pool: next(),
        revoked: next(),
    }))
}

/// Changes a machine's record in one transaction.
///
/// # Errors
/// When the machine is not known, or `change` refuses.
pub async fn edit<F>(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    change: F,
) -> Result<AdminReply, ApiError>
where
    F: Fn(&mut Policy, &mut FleetRecord) -> Result<Event, ApiError> + Send + 'static,
{
    let machine: MachineName = parse(machine)?;
    let (shared, name) = (Arc::clone(ca), machine.clone());
    policy_change(ca, actor, move |policy, editing| {
        let key = name.as_str().as_bytes();
        let mut record: FleetRecord = editing
            .txn
            .get_json(Table::Fleet, key)?
            .ok_or_else(|| unknown("machine", &name, "machine"))?;
        if record.status == MachineStatus::Leaving {
            return Err(leaving(&name).into());
        }
        let event = change(policy, &mut record)?;
        let compiled = compile(policy);
        refresh(&shared, &name, &mut record, &compiled, editing)?;
        editing.record(&event);
        Ok(())
    })
    .await?;
    look::machine(ca, machine.as_str())
}

fn leaving(name: &MachineName) -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        format!("{name} is being removed; nothing was changed"),
    )
    .hint(format!(
        "to keep it after all: bootstrap add-machine {name} --pool POOL"
    ))
}

/// `machine move`.
///
/// # Errors
/// When a pool or the machine is not known.
pub async fn put(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    pools: &[String],
) -> Result<AdminReply, ApiError> {
    let name: MachineName = parse(machine)?;
    let pools: BTreeSet<PoolName> = parse_all(pools)?;
    if pools.is_empty() {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            "a machine is in at least one pool",
        ));
    }
    edit(ca, actor, machine, move |policy, _| {
        for pool in &pools {
            known(policy, pool)?;
        }
        let entry = Machine {
            pools: pools.clone(),
        };
        policy.machines.insert(name.clone(), entry);
        Ok(Event::MachineMoved {
            machine: name.clone(),
            pools: pools.clone(),
        })
    })
    .await
}

/// `machine set`.
///
/// # Errors
/// When the address is none, or the machine is not known.
pub async fn set(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    address: Option<String>,
) -> Result<AdminReply, ApiError> {
    let name: MachineName = parse(machine)?;
    let place = address.as_deref().map(parse_address).transpose()?;
    let old = record(ca, &name)?.ok_or_else(|| unknown("machine", &name, "machine"))?;
    let renewed = match &place {
        Some((address, _)) if *address != old.address => {
            check_names(ca, &name, address)?;
            let key = PublicKey::from_openssh(&old.host_key).map_err(unavailable)?;
            Some(new_host_certificate(ca, actor.clone(), &name, address, &key).await?)
        }
        _ => None,
    };
    edit(ca, actor, machine, move |_, record| {
        let mut changes = BTreeMap::new();
        if let Some((address, port)) = &place {
            record.address.clone_from(address);
            record.port = *port;
            changes.insert("address".to_owned(), format!("{address}:{port}"));
        }
        if let Some((certificate, until)) = &renewed {
            record.host_certificate.clone_from(certificate);
            record.host_certificate_until_unix = *until;
        }
        Ok(Event::MachineChanged {
            machine: name.clone(),
            changes,
        })
    })
    .await
}

/// Makes a machine's host certificate anew; sync brings it.
///
/// # Errors
/// When it cannot be issued or stored.
pub async fn renew_host_certificate(ca: &Arc<Ca>, machine: &MachineName) -> Result<(), ApiError> {
    let old = record(ca, machine)?.ok_or_else(|| unknown("machine", machine, "machine"))?;
    let key = PublicKey::from_openssh(&old.host_key).map_err(unavailable)?;
    let (certificate, until) =
        new_host_certificate(ca, Actor::Server, machine, &old.address, &key).await?;
    let name = machine.clone();
    edit(ca, Actor::Server, machine.as_str(), move |_, record| {
        record.host_certificate.clone_from(&certificate);
        record.host_certificate_until_unix = until;
        Ok(Event::MachineChanged {
            machine: name.clone(),
            changes: BTreeMap::from([("host_certificate".to_owned(), "renewed".to_owned())]),
        })
    })
    .await?;
    Ok(())
}

/// `HOST`, `HOST:PORT`, `[IPv6]:PORT` or a bare IPv6 address.
fn parse_address(text: &str) -> Result<(String, u16), ApiError> {
    let wrong = || {
        ApiError::new(
            ErrorCode::Invalid,
            format!("{text:?} is not an address: expected HOST or HOST:PORT"),
        )
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
        (host, port.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let known = host.parse::<std::net::IpAddr>().is_ok() || host.parse::<MachineName>().is_ok();
    let port = port.map_or(Ok(22), str::parse).map_err(|_| wrong())?;
    (known && port > 0)
        .then(|| (host.to_owned(), port))
        .ok_or_else(wrong)
}

/// `machine enforce`, `machine observe`.
///
/// # Errors
/// When the machine is not known.
pub async fn enforce(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &str,
    enforce: bool,
) -> Result<AdminReply, ApiError> {
    let name: MachineName = parse(machine)?;
    edit(ca, actor, machine, move |_, record| {
        record.observed = !enforce;
        Ok(Event::MachineChanged {
            machine: name.clone(),
            changes: BTreeMap::from([("enforced".to_owned(), enforce.to_string())]),
        })
    })
    .await
}

/// Stores that a machine was proven.
///
/// # Errors
/// When the store fails.
pub async fn managed(
    ca: &Arc<Ca>,
    actor: Actor,
    machine: &MachineName,
    seen: SeenRecord,
    reach: Reach,
) -> Result<(), ApiError> {
    let (name, at) = (machine.clone(), unix_ms(ca.clock.now()));
    ca.db
        .write_async(move |txn| {
            let key = name.as_str().as_bytes();
            let mut record: FleetRecord = txn
                .get_json(Table::Fleet, key)?
                .ok_or_else(|| unknown("machine", &name, "machine"))?;
            record.status = MachineStatus::Managed;
            if let Some(pull) = &mut record.pull {
                pull.reach = reach;
            }
            txn.put_json(Table::Fleet, key, &record);
            txn.unrecorded().put_json(Table::Seen, key, &seen);
            txn.record(
                at,
                &actor,
                &Event::MachineConfirmed {
                    machine: name.clone(),
                    generation: record.generation,
                },
            );
            Ok::<_, ChangeError>(())
        })
        .await
        .map_err(super::change::api_error)
}

/// From now on the CA tries to log in to a machine that fetches for itself: bootstrap has just been there.
///
/// # Errors
/// When the store fails.
pub async fn try_push(ca: &Arc<Ca>, machine: &MachineName) -> Result<(), ApiError> {
    let (name, at) = (machine.clone(), unix_ms(ca.clock.now()));
    ca.db
        .write_async(move |txn| {
            let key = name.as_str().as_bytes();
            let record: Option<FleetRecord> = txn.get_json(Table::Fleet, key)?;
            if let Some(mut record) = record
                && !record.is_pushed_to()
            {
                if let Some(pull) = &mut record.pull {
                    pull.reach = Reach::PushToo;
                }
                txn.put_json(Table::Fleet, key, &record);
                let event = Event::MachineChanged {
                    machine: name.clone(),
                    changes: BTreeMap::from([("push".to_owned(), "tried again".to_owned())]),
                };
                txn.record(at, &Actor::Server, &event);
            }
            Ok::<_, ChangeError>(())
        })
        .await
        .map_err(super::change::api_error)
}
