//! A policy written as a document, in one stable order, so that two exports differ only where the policies do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Display, Write},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{duration::duration_text, resolve::own_account_on};
use crate::{
    Conditions, Email, Employee, Extension, Grant, GrantAccount, GrantId, Grantee, KeyDemand,
    MachineName, Policy, PoolName, Recording, Role, Status, Sudo,
};

/// Writes `policy` as a document with these sentences to expect; [`super::read`] against the same policy reads it back as it was.
///
/// Grants of the own account under default conditions are written in their pool (`employees`) and come back by what they say; others
/// carry their number. Removed people are not written, nor is a machine that is in no pool, but in a comment.
#[must_use]
pub fn export(policy: &Policy, expect: &[String]) -> String {
    let shorthand = shorthand(policy);
    let mut text = String::from("# Policy of this CA, the whole of it. See policies/README.md.\n");
    if !expect.is_empty() {
        text.push_str("\nexpect = [\n");
        for sentence in expect {
            line(&mut text, format_args!("    {},", quoted(sentence)));
        }
        text.push_str("]\n");
    }
    limits(&mut text, policy);
    employees(&mut text, policy);
    teams(&mut text, policy);
    pools(&mut text, policy, &shorthand);
    let mut heading = "\n# Grants\n";
    for (id, grant) in &policy.grants {
        if !shorthand.ids.contains(id) {
            text.push_str(heading);
            heading = "";
            grant_table(&mut text, *id, grant);
        }
    }
    text
}

/// Bytes that differ whenever two policies differ in anything that a plan depends on: to be hashed where an apply is refused
/// since the store changed after its plan.
///
/// Everything is in it but two things that change by themselves and change no plan: epochs, and whether somebody who is invited has
/// enrolled. Unlike [`export`] it has each grant's number, removed people, and machines in no pool.
#[must_use]
pub fn canonical(policy: &Policy) -> Vec<u8> {
    let mut text = String::new();
    limits(&mut text, policy);
    employees(&mut text, policy);
    for (email, person) in &policy.employees {
        if person.status == Status::Removed {
            let (account, uid) = (&person.account, person.uid);
            line(
                &mut text,
                format_args!("# removed {email} {account} {uid} {:?}", person.name),
            );
        }
    }
    teams(&mut text, policy);
    pools(&mut text, policy, &Shorthand::default());
    for (id, grant) in &policy.grants {
        grant_table(&mut text, *id, grant);
    }
    text.into_bytes()
}

/// Grants that are written in their pools.
#[derive(Default)]
struct Shorthand<'p> {
    ids: BTreeSet<GrantId>,
    by_pool: BTreeMap<&'p PoolName, BTreeSet<&'p Email>>,
}

/// Of two grants that say the same, neither could be told from the other without its number.
fn shorthand(policy: &Policy) -> Shorthand<'_> {
    let mut all: BTreeMap<(&PoolName, &Email), Vec<GrantId>> = BTreeMap::new();
    for (id, grant) in &policy.grants {
        if let Grantee::Employee(email) = &grant.who
            && policy.pools.contains_key(&grant.pool)
            && *grant == own_account_on(email, &grant.pool)
        {
            all.entry((&grant.pool, email)).or_default().push(*id);
        }
    }
    let mut shorthand = Shorthand::default();
    for ((pool, email), ids) in all {
        if let [id] = *ids.as_slice() {
            shorthand.ids.insert(id);
            shorthand.by_pool.entry(pool).or_default().insert(email);
        }
    }
    shorthand
}

fn limits(text: &mut String, policy: &Policy) {
    let limits = &policy.limits;
    text.push_str("\n[limits]\n");
    for (name, secs) in [
        ("session", limits.session_secs),
        ("lifetime", limits.lifetime_secs),
        ("admin_lifetime", limits.admin_lifetime_secs),
        ("ceiling", limits.ceiling_secs),
    ] {
        line(text, format_args!("{name} = \"{}\"", duration_text(secs)));
    }
}

fn employees(text: &mut String, policy: &Policy) {
    let here = |person: &&Employee| person.status != Status::Removed;
    let mut heading = "\n# People\n";
    for person in policy.employees.values().filter(here) {
        text.push_str(heading);
        heading = "";
        line(
            text,
            format_args!("\n[employee.{}]", quoted(person.email.as_str())),
        );
        if !person.name.is_empty() {
            line(text, format_args!("name = {}", quoted(&person.name)));
        }
        line(text, format_args!("account = \"{}\"", person.account));
        line(text, format_args!("uid = {}", person.uid));
        if !person.roles.is_empty() {
            let roles = person.roles.iter().map(|role| match role {
                Role::Admin => "admin",
            });
            list(text, "roles", roles);
        }
        if person.status == Status::Suspended {
            text.push_str("suspended = true\n");
        }
    }
}

fn teams(text: &mut String, policy: &Policy) {
    let mut heading = "\n# Teams\n";
    for (name, team) in &policy.teams {
        text.push_str(heading);
        heading = "";
        line(text, format_args!("\n[team.{}]", key(name.as_str())));
        list(text, "employees", &team.employees);
        list(text, "teams", &team.teams);
    }
}

fn pools(text: &mut String, policy: &Policy, shorthand: &Shorthand<'_>) {
    let mut machines: BTreeMap<&PoolName, Vec<&MachineName>> = BTreeMap::new();
    for (name, machine) in &policy.machines {
        for pool in &machine.pools {
            machines.entry(pool).or_default().push(name);
        }
    }
    let mut heading = "\n# Pools\n";
    for (name, pool) in &policy.pools {
        text.push_str(heading);
        heading = "";
        line(text, format_args!("\n[pool.{}]", key(name.as_str())));
        if !pool.title.is_empty() {
            line(text, format_args!("title = {}", quoted(&pool.title)));
        }
        list(text, "include", &pool.include);
        list(text, "machines", machines.remove(name).unwrap_or_default());
        let employees = shorthand.by_pool.get(name).into_iter().flatten();
        list(text, "employees", employees);
    }
    let nowhere = policy.machines.iter();
    let nowhere = nowhere.filter(|(_, machine)| machine.pools.is_empty());
    let nowhere: Vec<String> = nowhere.map(|(name, _)| name.to_string()).collect();
    if !nowhere.is_empty() {
        line(
            text,
            format_args!(
                "\n# In no pool, so that nobody reaches them: {}",
                nowhere.join(", ")
            ),
        );
    }
}

fn grant_table(text: &mut String, id: GrantId, grant: &Grant) {
    line(text, format_args!("\n[[grant]]\nid = {id}"));
    match &grant.who {
        Grantee::Employee(email) => line(text, format_args!("employee = \"{email}\"")),
        Grantee::Team(team) => line(text, format_args!("team = \"{team}\"")),
    }
    line(text, format_args!("pool = \"{}\"", grant.pool));
    match &grant.account {
        GrantAccount::Own => text.push_str("account = \"self\"\n"),
        GrantAccount::Shared(account) => line(text, format_args!("account = \"{account}\"")),
    }
    match &grant.sudo {
        Sudo::None => {}
        Sudo::All => text.push_str("sudo = \"all\"\n"),
        Sudo::Commands(commands) if commands.is_empty() => text.push_str("sudo = []\n"),
        Sudo::Commands(commands) => list(text, "sudo", commands),
    }
    if let Some(secs) = grant.conditions.max_lifetime_secs {
        line(text, format_args!("lifetime = \"{}\"", duration_text(secs)));
    }
    if let Some(hours) = &grant.hours {
        line(text, format_args!("hours = {}", quoted(hours.to_string())));
    }
    if let Some(until) = grant.until_unix_secs {
        line(text, format_args!("until = {}", time_text(until)));
    }
    list(text, "sources", &grant.conditions.sources);
    if grant.conditions.extensions != Conditions::default().extensions {
        let names = grant
            .conditions
            .extensions
            .iter()
            .map(|one| extension(*one));
        let names: Vec<String> = names.map(quoted).collect();
        line(text, format_args!("allow = [{}]", names.join(", ")));
    }
    if let Some(command) = &grant.conditions.forced_command {
        line(text, format_args!("command = {}", quoted(command)));
    }
    if grant.conditions.key == KeyDemand::SecurityKey {
        text.push_str("security_key = true\n");
    }
    if grant.recording == Recording::Required {
        text.push_str("record = true\n");
    }
    if grant.system_account {
        text.push_str("system_account = true\n");
    }
}

/// An extension's name in `allow`.
pub(crate) fn extension(extension: Extension) -> &'static str {
    match extension {
        Extension::Pty => "pty",
        Extension::PortForwarding => "port-forwarding",
        Extension::AgentForwarding => "agent-forwarding",
        Extension::X11Forwarding => "x11-forwarding",
        Extension::UserRc => "user-rc",
    }
}

/// RFC 3339 where the calendar has such a year, and otherwise whole seconds since 1970.
pub(crate) fn time_text(unix_secs: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_secs)
        .ok()
        .filter(|time| (1..=9999).contains(&time.year()))
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_secs.to_string())
}

fn list<T: Display>(text: &mut String, field: &str, items: impl IntoIterator<Item = T>) {
    let items: Vec<String> = items
        .into_iter()
        .map(|item| quoted(item.to_string()))
        .collect();
    match items.as_slice() {
        [] => {}
        // One line for a few, a line each for many: what is added to a long list is one line of a diff.
        [_] | [_, _] | [_, _, _] | [_, _, _, _] => {
            line(text, format_args!("{field} = [{}]", items.join(", ")));
        }
        many => {
            line(text, format_args!("{field} = ["));
            for item in many {
                line(text, format_args!("    {item},"));
            }
            text.push_str("]\n");
        }
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a String takes all that is written to it");
}

/// A basic string of TOML.
fn quoted(text: impl AsRef<str>) -> String {
    let mut quoted = String::from("\"");
    for c in text.as_ref().chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A key of TOML, in quotation marks where it has a dot.
fn key(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { quoted(name) }
}
