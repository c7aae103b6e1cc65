//! Machines as the commands show them.

use ca_api::admin::{AdminReply, MachineView};
use policies::{MachineName, Status, matrix::View};
use ssh_key::{HashAlg, PublicKey};
use time::OffsetDateTime;

use super::{Reply, failed, policy::status_word, view};
use crate::{
    admin::{parse, unknown},
    ca::Ca,
    fleet::{pull, standing::Standing},
    records::{Compiled, FleetRecord, SeenRecord, fleet},
    store::{Read, ReadError, Snapshot, Table},
};

pub fn machines(ca: &Ca) -> Reply {
    let (view, compiled) = view(ca)?;
    let standing = Standing::read(&view, ca.clock.now().unix_timestamp()).map_err(failed)?;
    let all = fleet(&view)
        .map_err(failed)?
        .into_iter()
        .map(|(name, record)| {
            one_machine(&view, &compiled, &standing, &name, record, ca.clock.now())
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    Ok(AdminReply::Machines(all))
}

pub fn machine(ca: &Ca, machine: &str) -> Reply {
    let name: MachineName = parse(machine)?;
    let (view, compiled) = view(ca)?;
    let record: Option<FleetRecord> = view
        .get_json(Table::Fleet, name.as_str().as_bytes())
        .map_err(failed)?;
    let record = record.ok_or_else(|| unknown("machine", &name, "machine"))?;
    let standing = Standing::read(&view, ca.clock.now().unix_timestamp()).map_err(failed)?;
    one_machine(&view, &compiled, &standing, &name, record, ca.clock.now())
        .map(AdminReply::Machine)
        .map_err(failed)
}

fn one_machine(
    view: &Snapshot,
    compiled: &Compiled,
    standing: &Standing,
    name: &MachineName,
    record: FleetRecord,
    now: OffsetDateTime,
) -> Result<MachineView, ReadError> {
    let seen: SeenRecord = view
        .get_json(Table::Seen, name.as_str().as_bytes())?
        .unwrap_or_default();
    let krl: Option<crate::records::KrlRecord> =
        view.get_json(Table::Krl, crate::records::KRL_CURRENT)?;
    let pools = compiled
        .policy
        .machines
        .get(name)
        .map(|machine| &machine.pools);
    Ok(MachineView {
        name: name.to_string(),
        address: record.address,
        port: record.port,
        pools: pools
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect(),
        status: record.status.word().to_owned(),
        observed: record.observed,
        generation_wanted: record.generation,
        generation: seen.generation,
        krl_wanted: krl.map_or(0, |krl| krl.version),
        krl_version: seen.krl_version,
        last_seen_unix: seen.last_seen_unix,
        pull: record.pull.as_ref().map(|pull| pull::view(pull, &seen)),
        trouble: seen.trouble,
        exposed_until_unix: standing
            .machines
            .iter()
            .find(|stand| stand.machine == *name)
            .and_then(|stand| stand.exposed_until_unix),
        host_key: PublicKey::from_openssh(&record.host_key)
            .map(|key| key.fingerprint(HashAlg::Sha256).to_string())
            .unwrap_or_default(),
        host_certificate_until_unix: record.host_certificate_until_unix,
        who: who(compiled, name, now),
        check: crate::admin::checkup::last(view, name)?,
    })
}

/// Who reaches a machine, as whom, by the grants that have not ended: `alice@corp.example as alice`. Who cannot log in yet is marked.
fn who(compiled: &Compiled, machine: &MachineName, now: OffsetDateTime) -> Vec<String> {
    policies::matrix::who(&compiled.index, machine, View::Standing, now)
        .into_iter()
        .map(|one| {
            let status = match one.status {
                Status::Active => String::new(),
                status => format!(" ({})", status_word(status)),
            };
            format!("{} as {}{status}", one.email, one.account)
        })
        .collect()
}

/// The same for `bootstrap`, which tells each how to log in: only who can.
pub fn users(compiled: &Compiled, machine: &MachineName, now: OffsetDateTime) -> Vec<String> {
    policies::matrix::who(&compiled.index, machine, View::Standing, now)
        .into_iter()
        .filter(|one| one.status == Status::Active)
        .map(|one| format!("{} as {}", one.email, one.account))
        .collect()
}
