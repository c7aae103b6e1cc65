//! Pools: added, titled, nested, removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ca_api::{ApiError, ErrorCode, admin::AdminReply};
use policies::{Email, Policy, Pool, PoolName};

use super::{
    change::{ChangeError, Editing, policy_change},
    employee::grant_own,
    look, parse, parse_all, unknown,
};
use crate::{
    ca::Ca,
    ledger::{Actor, Event},
    records::{NameRecord, is_reserved, name_key},
    store::{Read, Table},
};

/// What to do with a pool that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    Safe,
    Forced,
}

pub async fn add(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    title: String,
    include: &[String],
    employees: &[String],
) -> Result<AdminReply, ApiError> {
    let name: PoolName = parse(pool)?;
    let include: BTreeSet<PoolName> = parse_all(include)?;
    let employees: Vec<Email> = parse_all(employees)?;
    if is_reserved(&name) {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            "names that begin with _ are the CA's own",
        )
        .hint("choose another"));
    }
    check_title(&title)?;
    let pool = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        new_name(editing, policy, &pool)?;
        for inner in &include {
            known(policy, inner)?;
        }
        let entry = Pool {
            title: title.clone(),
            include: include.clone(),
        };
        policy.pools.insert(pool.clone(), entry);
        editing.record(&Event::PoolAdded {
            pool: pool.clone(),
            include: include.clone(),
        });
        for email in &employees {
            grant_own(policy, editing, email, &pool)?;
        }
        Ok(())
    })
    .await?;
    look::pool(ca, name.as_str())
}

fn check_title(title: &str) -> Result<(), ApiError> {
    if title.chars().count() > 200 || title.chars().any(char::is_control) {
        return Err(ApiError::new(
            ErrorCode::Invalid,
            "a title has at most 200 characters and no control characters",
        ));
    }
    Ok(())
}

/// A name that was a pool's once is never another's: certificates and files out there may still carry it (P9).
pub fn new_name(
    editing: &mut Editing<'_, '_>,
    policy: &Policy,
    pool: &PoolName,
) -> Result<(), ChangeError> {
    let conflict = |what: String| {
        Err(ApiError::new(ErrorCode::Conflict, what)
            .hint("choose another name")
            .into())
    };
    if policy.pools.contains_key(pool) {
        return conflict(format!("there is a pool {pool} already"));
    }
    let key = name_key("pool", pool.as_str());
    if editing.txn.contains(Table::Accounts, &key)? {
        return conflict(format!(
            "there was a pool {pool} before, and its name is never given again"
        ));
    }
    let record = NameRecord {
        holder: pool.to_string(),
        uid: None,
        purge: false,
    };
    editing.txn.put_json(Table::Accounts, key, &record);
    Ok(())
}

/// Is there such a pool?
pub fn known(policy: &Policy, pool: &PoolName) -> Result<(), ApiError> {
    policy
        .pools
        .contains_key(pool)
        .then_some(())
        .ok_or_else(|| unknown("pool", pool, "pool"))
}

pub async fn set(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    title: Option<String>,
) -> Result<AdminReply, ApiError> {
    let name: PoolName = parse(pool)?;
    check_title(title.as_deref().unwrap_or_default())?;
    let pool = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        let entry = policy
            .pools
            .get_mut(&pool)
            .ok_or_else(|| unknown("pool", &pool, "pool"))?;
        let mut changes = BTreeMap::new();
        if let Some(title) = &title {
            entry.title.clone_from(title);
            changes.insert("title".to_owned(), title.clone());
        }
        editing.record(&Event::PoolChanged {
            pool: pool.clone(),
            changes,
        });
        Ok(())
    })
    .await?;
    look::pool(ca, name.as_str())
}

pub async fn include(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    inner: &str,
) -> Result<AdminReply, ApiError> {
    nest(
        ca,
        actor,
        pool,
        inner,
        |entry, inner| entry.include.insert(inner.clone()),
        |pool, included| Event::PoolIncluded { pool, included },
    )
    .await
}

pub async fn exclude(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    inner: &str,
) -> Result<AdminReply, ApiError> {
    nest(
        ca,
        actor,
        pool,
        inner,
        |entry, inner| entry.include.remove(inner),
        |pool, excluded| Event::PoolExcluded { pool, excluded },
    )
    .await
}

async fn nest(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    inner: &str,
    edit: fn(&mut Pool, &PoolName) -> bool,
    event: fn(PoolName, PoolName) -> Event,
) -> Result<AdminReply, ApiError> {
    let name: PoolName = parse(pool)?;
    let inner: PoolName = parse(inner)?;
    let pool = name.clone();
    policy_change(ca, actor, move |policy, editing| {
        known(policy, &inner)?;
        let entry = policy
            .pools
            .get_mut(&pool)
            .ok_or_else(|| unknown("pool", &pool, "pool"))?;
        if edit(entry, &inner) {
            editing.record(&event(pool.clone(), inner.clone()));
        } else {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!("{inner} in {pool}: that is so already"),
            )
            .into());
        }
        Ok(())
    })
    .await?;
    look::pool(ca, name.as_str())
}

pub async fn remove(
    ca: &Arc<Ca>,
    actor: Actor,
    pool: &str,
    how: Removal,
) -> Result<AdminReply, ApiError> {
    let name: PoolName = parse(pool)?;
    let pool = name.clone();
    let text = policy_change(ca, actor, move |policy, editing| {
        known(policy, &pool)?;
        let orphans: Vec<String> = policy
            .machines
            .iter()
            .filter(|(_, machine)| machine.pools.iter().eq([&pool]))
            .map(|(name, _)| name.to_string())
            .collect();
        let grants: Vec<u64> = policy
            .grants
            .iter()
            .filter(|(_, grant)| grant.pool == pool)
            .map(|(id, _)| *id)
            .collect();
        if how == Removal::Safe && !(orphans.is_empty() && grants.is_empty()) {
            return Err(in_use(&pool, &orphans, &grants).into());
        }
        policy.pools.remove(&pool);
        for outer in policy.pools.values_mut() {
            outer.include.remove(&pool);
        }
        for machine in policy.machines.values_mut() {
            machine.pools.remove(&pool);
        }
        for id in &grants {
            if let Some(rule) = policy.grants.remove(id) {
                editing.record(&Event::GrantRemoved { grant: *id, rule });
            }
        }
        editing.record(&Event::PoolRemoved { pool: pool.clone() });
        let mut text = format!("pool {pool} is removed");
        if !grants.is_empty() {
            text.push_str(&format!("; {} of its grants ended", grants.len()));
        }
        if !orphans.is_empty() {
            text.push_str(&format!("; in no pool any longer: {}", orphans.join(", ")));
        }
        Ok(text)
    })
    .await?;
    Ok(AdminReply::Text(text))
}

fn in_use(pool: &PoolName, orphans: &[String], grants: &[u64]) -> ApiError {
    let mut why = Vec::new();
    if !orphans.is_empty() {
        why.push(format!(
            "{} would be in no pool any longer",
            orphans.join(", ")
        ));
    }
    if !grants.is_empty() {
        let ids: Vec<String> = grants.iter().map(ToString::to_string).collect();
        why.push(format!("grants {} name it and would end", ids.join(", ")));
    }
    ApiError::new(
        ErrorCode::Conflict,
        format!("pool {pool} is in use: {}", why.join("; ")),
    )
    .hint(
        "move the machines (`ca-server machine move`) and remove the grants first, or use --force",
    )
}
