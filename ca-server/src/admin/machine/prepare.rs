//! `MachinePrepare`: what a machine gets when bootstrap asks for it.

use std::{collections::BTreeSet, sync::Arc};

use ca_api::{
    ApiError, ErrorCode, Secret,
    admin::{AdminReply, MachinePrepare, MachinePrepared, MachinePull, SignedText},
};
use ca_machine::{
    Namespace,
    spec::{BREAK_GLASS_ACCOUNT, PROBE_ACCOUNT, SYNC_ACCOUNT},
};
use policies::{AccountName, MachineName, Policy, PoolName};
use ssh_key::{HashAlg, PublicKey};

use super::{
    HOST_CERTIFICATE_SECS,
    anew::{krl_for, outdo},
    check_names, compile, new_host_certificate, put_removed_host, record, refresh, unavailable,
};
use crate::{
    admin::{
        change::{Editing, policy_change, store_error},
        look, parse, parse_all,
        pool::known,
    },
    ca::Ca,
    fleet::{
        deliver,
        pull::{self, Source},
        succession,
        wanted::{self, Sources},
    },
    ledger::{Actor, Event},
    records::{Compiled, FleetRecord, MachineStatus},
    store::{Read, Table},
};

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
    let admin: AccountName = parse(&request.admin_account)?;
    if [SYNC_ACCOUNT, PROBE_ACCOUNT, BREAK_GLASS_ACCOUNT].contains(&admin.as_str()) {
        let what =
            format!("{admin} is an account of the CA's own: it is no admin's way into a machine");
        return Err(ApiError::new(ErrorCode::Invalid, what).hint(
            "Log in with an account of the machine's: `bootstrap add-machine --as ACCOUNT` (without it: ssh-admin).",
        ));
    }
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

/// A host key that is no longer a machine's is named in employees' known_hosts as revoked: its certificate is valid for a
/// while yet, and an old disk must not stand in for the new machine.
fn retire_host_key(editing: &mut Editing<'_, '_>, old: &FleetRecord, new: &PublicKey) {
    if let Ok(key) = PublicKey::from_openssh(&old.host_key)
        && key.key_data() != new.key_data()
    {
        put_removed_host(editing, &key, &old.host_key);
    }
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
