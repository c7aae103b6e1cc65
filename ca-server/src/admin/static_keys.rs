//! Migration from static keys: what still opens machines beside certificates, whose it is, when it was last used; and the switch, pool by pool.

use std::{collections::BTreeMap, sync::Arc};

use ca_api::{
    ApiError,
    admin::{AdminReply, LogView, MachineKeyView, MachineKeys},
};
use ca_machine::{
    Report, Request, exchange,
    facts::{AccountFact, Fact, KeyFact},
    spec::{PROBE_ACCOUNT, SYNC_ACCOUNT},
};
use policies::{MachineName, PoolName, profile::KeyId};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Admin, change::store_error, look, machine, parse};
use crate::{
    ca::Ca,
    fleet::deliver::{limits, target},
    ledger::Actor,
    records::{CertificateRecord, FleetRecord},
    store::{KeyRange, Read, ReadError, Table},
};

impl Admin {
    /// `check --keys`.
    pub(super) async fn static_keys(
        &self,
        machines: &[String],
        pool: Option<&str>,
    ) -> Result<AdminReply, ApiError> {
        let chosen = self.chosen(machines, pool)?;
        let owners = Arc::new(owners(&self.ca).map_err(|error| store_error(&error.into()))?);
        let turns = Arc::new(Semaphore::new(self.ca.config.sync.parallel));
        let mut running = JoinSet::new();
        for (name, record) in chosen {
            let (ca, agent, turns) = (self.ca.clone(), self.agent.clone(), turns.clone());
            let owners = owners.clone();
            running.spawn(async move {
                let _turn = turns.acquire().await;
                let answer = match target(&ca, &agent, &record) {
                    Ok(target) => exchange(&target, &Request::Keys, &limits(&ca))
                        .await
                        .map_err(|error| error.to_string()),
                    Err(error) => Err(error.to_string()),
                };
                let today = ca.clock.now().unix_timestamp().div_euclid(24 * 3600);
                keys_of(&name, &record, answer, &owners, today)
            });
        }
        let mut all = running.join_all().await;
        all.sort_by(|a, b| a.machine.cmp(&b.machine));
        Ok(AdminReply::Keys(all))
    }

    /// `machine enforce --pool`, `machine observe --pool`.
    pub(super) async fn enforce_pool(
        &self,
        actor: Actor,
        pool: &str,
        enforce: bool,
    ) -> Result<AdminReply, ApiError> {
        let _: PoolName = parse(pool)?;
        let mut views = Vec::new();
        for (name, record) in self.chosen(&[], Some(pool))? {
            let reply = if record.observed == enforce {
                machine::enforce(&self.ca, actor.clone(), name.as_str(), enforce).await?
            } else {
                look::machine(&self.ca, name.as_str())?
            };
            if let AdminReply::Machine(view) = reply {
                views.push(view);
            }
        }
        self.ca.fleet_changed.notify_one();
        Ok(AdminReply::Machines(views))
    }
}

/// Keys that the CA has certified for employees: `SHA256:…` to email.
fn owners(ca: &Ca) -> Result<BTreeMap<String, String>, ReadError> {
    ca.db.read(|view| {
        let all =
            view.scan_json::<CertificateRecord>(Table::Certificates, &KeyRange::all(), usize::MAX)?;
        Ok(all
            .into_iter()
            .filter_map(|(_, record)| {
                let KeyId::Employee { email, .. } = record.key_id.parse().ok()? else {
                    return None;
                };
                Some((record.subject, email.to_string()))
            })
            .collect())
    })
}

fn keys_of(
    name: &MachineName,
    record: &FleetRecord,
    answer: Result<Report, String>,
    owners: &BTreeMap<String, String>,
    today: i64,
) -> MachineKeys {
    let mut found = MachineKeys {
        machine: name.to_string(),
        trouble: String::new(),
        observed: record.observed,
        logs: Vec::new(),
        keys: Vec::new(),
        commands: Vec::new(),
    };
    let report = match answer {
        Ok(report) => report,
        Err(reason) => {
            found.trouble = reason;
            return found;
        }
    };
    if let Some((code, detail)) = report.refusal() {
        found.trouble = format!(
            "it refused ({code}): {detail}; `ca-server sync {name}` brings its applier up to date"
        );
        return found;
    }
    let mut accounts: BTreeMap<&str, &AccountFact> = BTreeMap::new();
    let mut logins: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for fact in report.facts() {
        match fact {
            Fact::Account(account) => {
                accounts.insert(&account.name, account);
            }
            Fact::Login {
                account,
                fingerprint,
                at_unix: Some(at),
            } => {
                logins.insert((account, fingerprint), *at);
            }
            Fact::Log { source, since_unix } => found.logs.push(LogView {
                source: source.clone(),
                since_unix: *since_unix,
            }),
            Fact::Sshd { word, value, .. }
                if word == "authorizedkeyscommand"
                    && value != "none"
                    && !found.commands.contains(value) =>
            {
                found.commands.push(value.clone());
            }
            _ => {}
        }
    }
    for fact in report.facts() {
        let Fact::Key(key) = fact else { continue };
        let Some(fingerprint) = key.fingerprint() else {
            continue;
        };
        let account = accounts.get(key.account.as_str());
        let expired = account
            .and_then(|account| account.expiry_day)
            .is_some_and(|day| day <= today);
        let state = match (key.heeded, expired) {
            (false, _) => "not heeded",
            (true, true) => "account expired",
            (true, false) => "opens",
        };
        let last_used_unix = logins
            .get(&(key.account.as_str(), fingerprint.as_str()))
            .copied();
        found.keys.push(MachineKeyView {
            account: key.account.clone(),
            file: key.file.clone(),
            line: key.line,
            algorithm: key.algorithm.clone(),
            employee: owners.get(&fingerprint).cloned(),
            fingerprint,
            comment: key.comment.clone(),
            options: key.options.clone(),
            state: state.to_owned(),
            door: door(key, record).to_owned(),
            last_used_unix,
        });
    }
    found
}

/// Whose door a key opens.
fn door(key: &KeyFact, record: &FleetRecord) -> &'static str {
    match key.account.as_str() {
        SYNC_ACCOUNT | PROBE_ACCOUNT => "ca",
        name if name == "ssh-admin" || name == record.admin_account => "admin",
        _ => "other",
    }
}
