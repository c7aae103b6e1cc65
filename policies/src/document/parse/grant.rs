//! `[[grant]]`: who, where, as whom, and under which terms.

use std::collections::BTreeSet;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
    value::Datetime,
};

use super::super::{
    draft::{DraftGrant, Spot},
    fault::{Collector, Wrong},
    table::{Fields, cut, parsed, text_of, wrong_type},
};
use super::wrong_word;
use crate::{
    Conditions, Extension, GrantAccount, GrantId, Grantee, Hours, KeyDemand, Recording, Sudo,
};

const FIELDS: &[&str] = &[
    "id",
    "team",
    "employee",
    "account",
    "pool",
    "lifetime",
    "hours",
    "sources",
    "allow",
    "command",
    "security_key",
    "sudo",
    "record",
    "until",
    "system_account",
];

const ALLOW: &[&str] = &[
    "pty",
    "port-forwarding",
    "agent-forwarding",
    "x11-forwarding",
    "user-rc",
];

const SUDO: &[&str] = &["none", "all"];

pub(super) fn grants(value: &Spanned<DeValue<'_>>, faults: &mut Collector<'_>) -> Vec<DraftGrant> {
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(
            "grant",
            value,
            "a list of tables: write [[grant]], with two brackets",
            faults,
        );
        return Vec::new();
    };
    let mut grants = Vec::with_capacity(list.len());
    for value in list.iter() {
        match value.get_ref().as_table() {
            Some(table) => grants.extend(grant(value.span().start, table, faults)),
            None => wrong_type("grant", value, "a list of tables: write [[grant]]", faults),
        }
    }
    grants
}

fn grant(byte: usize, table: &DeTable<'_>, faults: &mut Collector<'_>) -> Option<DraftGrant> {
    let fields = Fields::of("a grant", table, FIELDS, faults);
    // Each is read before anything is given up, so that every fault is told at once.
    let id = id(&fields, faults);
    let who = who(byte, &fields, faults);
    let account = match fields.text("account", faults) {
        None => Some(Spot {
            byte,
            value: GrantAccount::Own,
        }),
        Some(text) if text.value == "self" => Some(Spot {
            byte: text.byte,
            value: GrantAccount::Own,
        }),
        Some(text) => parsed(text, faults).map(|name| Spot {
            byte: name.byte,
            value: GrantAccount::Shared(name.value),
        }),
    };
    let pool = fields.name("pool", faults);
    if fields.value("pool").is_none() {
        faults.add(
            byte,
            Wrong::Missing {
                what: "a pool",
                example: "pool = \"…\"",
            },
        );
    }
    let conditions = Conditions {
        max_lifetime_secs: fields.duration("lifetime", faults),
        sources: set("sources", &fields, faults).unwrap_or_default(),
        forced_command: fields.text("command", faults).map(|text| text.value),
        extensions: extensions(&fields, faults),
        key: if fields.flag("security_key", faults) {
            KeyDemand::SecurityKey
        } else {
            KeyDemand::Any
        },
    };
    let hours = fields.text("hours", faults).and_then(|text| {
        let hours: Result<Hours, _> = text.value.parse();
        hours.map_err(|error| faults.add(text.byte, error)).ok()
    });
    let recording = if fields.flag("record", faults) {
        Recording::Required
    } else {
        Recording::None
    };
    let sudo = sudo(&fields, faults);
    let until_unix_secs = fields.value("until").and_then(|value| until(value, faults));
    let system_account = fields.flag("system_account", faults);
    Some(DraftGrant {
        byte,
        id,
        who: who?,
        account: account?,
        pool: pool?,
        conditions,
        sudo,
        until_unix_secs,
        hours,
        recording,
        system_account,
    })
}

fn id(fields: &Fields<'_, '_>, faults: &mut Collector<'_>) -> Option<Spot<GrantId>> {
    let number = fields.number("id", faults)?;
    match number.value {
        Ok(value) => Some(Spot {
            byte: number.byte,
            value,
        }),
        Err(text) => {
            faults.add(number.byte, Wrong::BadId { text });
            None
        }
    }
}

fn who(byte: usize, fields: &Fields<'_, '_>, faults: &mut Collector<'_>) -> Option<Spot<Grantee>> {
    match (fields.value("team"), fields.value("employee")) {
        (None, None) => {
            faults.add(
                byte,
                Wrong::Missing {
                    what: "somebody whom it is for",
                    example: "team = \"…\" or employee = \"…\"",
                },
            );
            None
        }
        (Some(_), None) => fields.name("team", faults).map(|name| Spot {
            byte: name.byte,
            value: Grantee::Team(name.value),
        }),
        (None, Some(_)) => fields.name("employee", faults).map(|name| Spot {
            byte: name.byte,
            value: Grantee::Employee(name.value),
        }),
        (Some(team), Some(employee)) => {
            let second = team.span().start.max(employee.span().start);
            faults.add(second, Wrong::TwoGrantees);
            None
        }
    }
}

/// A list of texts in which none comes twice; `None` where there is none.
fn set(
    field: &'static str,
    fields: &Fields<'_, '_>,
    faults: &mut Collector<'_>,
) -> Option<BTreeSet<String>> {
    let mut set = BTreeSet::new();
    for text in fields.texts(field, faults)? {
        if !set.insert(text.value.clone()) {
            let what = cut(&text.value);
            faults.add(text.byte, Wrong::ListedTwice { what });
        }
    }
    Some(set)
}

fn extensions(fields: &Fields<'_, '_>, faults: &mut Collector<'_>) -> BTreeSet<Extension> {
    let Some(texts) = fields.texts("allow", faults) else {
        return Conditions::default().extensions;
    };
    let mut set = BTreeSet::new();
    for text in texts {
        let extension = match text.value.as_str() {
            "pty" => Extension::Pty,
            "port-forwarding" => Extension::PortForwarding,
            "agent-forwarding" => Extension::AgentForwarding,
            "x11-forwarding" => Extension::X11Forwarding,
            "user-rc" => Extension::UserRc,
            other => {
                faults.add(text.byte, wrong_word("allow", other, ALLOW));
                continue;
            }
        };
        if !set.insert(extension) {
            let what = text.value;
            faults.add(text.byte, Wrong::ListedTwice { what });
        }
    }
    set
}

fn sudo(fields: &Fields<'_, '_>, faults: &mut Collector<'_>) -> Sudo {
    let Some(value) = fields.value("sudo") else {
        return Sudo::None;
    };
    if value.get_ref().is_array() {
        return Sudo::Commands(set("sudo", fields, faults).unwrap_or_default());
    }
    let expected =
        "\"none\", \"all\", or a list of commands such as [\"/usr/bin/systemctl restart nginx\"]";
    let Some(text) = text_of("sudo", value, expected, faults) else {
        return Sudo::None;
    };
    match text.value.as_str() {
        "none" => Sudo::None,
        "all" => Sudo::All,
        other => {
            faults.add(text.byte, wrong_word("sudo", other, SUDO));
            Sudo::None
        }
    }
}

/// A time with its offset, as TOML has it or in quotation marks; or whole seconds since 1970.
fn until(value: &Spanned<DeValue<'_>>, faults: &mut Collector<'_>) -> Option<i64> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(datetime) => rfc3339(datetime),
        DeValue::Integer(number) => {
            let secs = i64::from_str_radix(number.as_str(), number.radix());
            if secs.is_err() {
                let text = cut(&number.to_string());
                faults.add(value.span().start, Wrong::Time { text });
            }
            return secs.ok();
        }
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => {
            wrong_type(
                "until",
                value,
                "a time such as 2026-12-31T18:00:00Z",
                faults,
            );
            return None;
        }
    };
    // Rounded down: an end is never later than it was written.
    let time = OffsetDateTime::parse(&text, &Rfc3339);
    if time.is_err() {
        let text = cut(&text);
        faults.add(value.span().start, Wrong::Time { text });
    }
    time.ok().map(OffsetDateTime::unix_timestamp)
}

/// TOML allows a time without seconds, and RFC 3339 does not.
fn rfc3339(datetime: &Datetime) -> String {
    let mut datetime = *datetime;
    if let Some(time) = &mut datetime.time {
        time.second = time.second.or(Some(0));
    }
    datetime.to_string()
}
