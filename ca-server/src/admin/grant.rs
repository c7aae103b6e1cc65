//! Grants: added and removed.

use std::{collections::BTreeSet, sync::Arc};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, GrantSpec},
};
use policies::{
    AccountName, Conditions, Extension, Grant, GrantAccount, Grantee, Hours, KeyDemand, Recording,
    Status, Sudo,
};

use super::{
    change::{ChangeError, Editing, policy_change},
    employee::{next_grant, next_uid},
    look, parse,
    pool::known,
    unknown,
};
use crate::{
    ca::Ca,
    ledger::{Actor, Event},
    records::{NameRecord, name_key},
    store::{Read, Table},
};

fn rule(spec: &GrantSpec) -> Result<Grant, ApiError> {
    let who = match (&spec.team, &spec.employee) {
        (Some(team), None) => Grantee::Team(parse(team)?),
        (None, Some(email)) => Grantee::Employee(parse(email)?),
        _ => {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "a grant is for exactly one team or one employee",
            ));
        }
    };
    let account = match spec.account.as_str() {
        "self" => GrantAccount::Own,
        name => GrantAccount::Shared(parse(name)?),
    };
    let sudo = match spec.sudo.as_deref() {
        None | Some("none") => Sudo::None,
        Some("all") => Sudo::All,
        Some(commands) => Sudo::Commands(
            commands
                .split(',')
                .map(|command| command.trim().to_owned())
                .collect(),
        ),
    };
    let extensions = extensions(spec)?;
    let hours = spec
        .hours
        .as_deref()
        .map(|hours| hours.parse::<Hours>())
        .transpose()
        .map_err(|error| ApiError::new(ErrorCode::Invalid, error.to_string()))?;
    Ok(Grant {
        who,
        account,
        pool: parse(&spec.pool)?,
        conditions: Conditions {
            max_lifetime_secs: spec.lifetime_secs,
            sources: spec.sources.iter().cloned().collect(),
            forced_command: spec.command.clone(),
            extensions,
            key: if spec.security_key {
                KeyDemand::SecurityKey
            } else {
                KeyDemand::Any
            },
        },
        sudo,
        until_unix_secs: spec.until_unix,
        hours,
        recording: if spec.record {
            Recording::Required
        } else {
            Recording::None
        },
        system_account: spec.system_account,
    })
}

/// Exactly what is listed, or a terminal and what single flags say.
fn extensions(spec: &GrantSpec) -> Result<BTreeSet<Extension>, ApiError> {
    if let Some(listed) = &spec.allow {
        if spec.port_forwarding || spec.agent_forwarding || spec.no_pty {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "a list of what is allowed is the whole of it",
            )
            .hint("leave the single flags out"));
        }
        return listed.iter().map(|word| extension(word)).collect();
    }
    let mut extensions = BTreeSet::new();
    if !spec.no_pty {
        extensions.insert(Extension::Pty);
    }
    if spec.port_forwarding {
        extensions.insert(Extension::PortForwarding);
    }
    if spec.agent_forwarding {
        extensions.insert(Extension::AgentForwarding);
    }
    Ok(extensions)
}

/// `port-forwarding` and the like, as the model spells them.
fn extension(word: &str) -> Result<Extension, ApiError> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).map_err(|_| {
        ApiError::new(
            ErrorCode::Invalid,
            format!("{word:?} is nothing that a certificate can allow"),
        )
        .hint("expected pty, port-forwarding, agent-forwarding, x11-forwarding or user-rc")
    })
}

pub async fn add(ca: &Arc<Ca>, actor: Actor, spec: GrantSpec) -> Result<AdminReply, ApiError> {
    let rule = rule(&spec)?;
    if rule
        .until_unix_secs
        .is_some_and(|until| until <= ca.clock.now().unix_timestamp())
    {
        return Err(ApiError::new(ErrorCode::Invalid, "--until is in the past"));
    }
    let uids = ca.config.sync.uids;
    let id = policy_change(ca, actor, move |policy, editing| {
        known(policy, &rule.pool)?;
        match &rule.who {
            Grantee::Employee(email) => {
                let here = policy
                    .employees
                    .get(email)
                    .filter(|person| person.status != Status::Removed);
                here.ok_or_else(|| unknown("employee", email, "employee"))?;
            }
            Grantee::Team(team) => {
                policy
                    .teams
                    .get(team)
                    .ok_or_else(|| unknown("team", team, "team"))?;
            }
        }
        // Also where the grant is marked for a system account: the mark alone does not make the account one.
        if let GrantAccount::Shared(account) = &rule.account {
            shared(editing, account, uids)?;
        }
        let id = next_grant(editing)?;
        policy.grants.insert(id, rule.clone());
        editing.record(&Event::GrantAdded {
            grant: id,
            rule: rule.clone(),
        });
        Ok(id)
    })
    .await?;
    look::grant(ca, id)
}

/// Who holds the name of a shared account.
pub(super) const SHARED: &str = "(shared)";

/// A shared account has one uid on every machine, and its name is nobody's own (P9).
pub(super) fn shared(
    editing: &mut Editing<'_, '_>,
    account: &AccountName,
    uids: [u32; 2],
) -> Result<(), ChangeError> {
    let key = name_key("account", account.as_str());
    match editing.txn.get_json::<NameRecord>(Table::Accounts, &key)? {
        Some(record) if record.holder == SHARED => Ok(()),
        Some(record) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the account {account} is {}'s own and cannot be shared",
                record.holder
            ),
        )
        .into()),
        None => {
            let record = NameRecord {
                holder: SHARED.to_owned(),
                uid: Some(next_uid(editing, uids)?),
                purge: false,
            };
            editing.txn.put_json(Table::Accounts, key, &record);
            Ok(())
        }
    }
}

pub async fn remove(ca: &Arc<Ca>, actor: Actor, id: u64) -> Result<AdminReply, ApiError> {
    policy_change(ca, actor, move |policy, editing| {
        let rule = policy
            .grants
            .remove(&id)
            .ok_or_else(|| unknown("grant", id, "grant"))?;
        editing.record(&Event::GrantRemoved { grant: id, rule });
        Ok(())
    })
    .await?;
    Ok(AdminReply::Text(format!(
        "grant {id} is removed; certificates that carry it are being refused on the machines"
    )))
}
