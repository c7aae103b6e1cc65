//! What an admin changes of a machine that is known: pools, address, whether it is enforced.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ca_api::{ApiError, ErrorCode, admin::AdminReply};
use policies::{Machine, MachineName, Policy, PoolName};
use ssh_key::PublicKey;

use super::{
    check_names, compile, new_host_certificate, record, refresh, unavailable, with_record,
};
use crate::{
    admin::{look, parse, parse_all, pool::known, unknown},
    ca::Ca,
    ledger::{Actor, Event},
    records::{FleetRecord, MachineStatus},
};

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
    with_record(ca, actor, &machine, move |policy, mut record, editing| {
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

fn leaving(name: &MachineName) -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        format!("{name} is being removed; nothing was changed"),
    )
    .hint(format!(
        "to keep it after all: bootstrap add-machine {name} --pool POOL"
    ))
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
