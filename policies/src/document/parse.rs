//! From TOML to a draft: sections, fields, types, names; every fault with its place.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    draft::{Draft, DraftEmployee, DraftPool, DraftSentence, DraftTeam, Presence, Spot},
    fault::{Collector, Wrong},
    suggest::nearest,
    table::{Fields, cut, parsed, text_of, wrong_type},
};
use crate::{Email, Limits, Role};

mod grant;

/// The longest full name, as the commands have it.
const NAME_MAX_CHARS: usize = 100;
/// The longest title of a pool, as the commands have it.
const TITLE_MAX_CHARS: usize = 200;

const ROLES: &[&str] = &["admin"];

/// Reads what is written; `None` if it is so far from TOML that nothing else could be said about it.
pub(super) fn draft(text: &str, faults: &mut Collector<'_>) -> Option<Draft> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut readable = true;
    for error in errors {
        let byte = error.span().map_or(0, |span| span.start);
        if error.message() == "duplicate key" {
            let key = error.span().and_then(|span| text.get(span));
            faults.add(
                byte,
                Wrong::DuplicateKey {
                    key: cut(key.unwrap_or("this key")),
                },
            );
        } else {
            readable = false;
            faults.add(
                byte,
                Wrong::Syntax {
                    message: cut(error.message()),
                },
            );
        }
    }
    // What the parser made of broken text would only bring more faults that are none.
    readable.then(|| document(root.get_ref(), text, faults))
}

fn document(root: &DeTable<'_>, text: &str, faults: &mut Collector<'_>) -> Draft {
    let allowed = &["limits", "employee", "team", "pool", "grant", "expect"];
    let sections = Fields::of("a policy", root, allowed, faults);
    let mut draft = Draft::default();
    if let Some(value) = sections.value("limits") {
        draft.limits_byte = value.span().start;
        if let Some(table) = table_of("limits", value, faults) {
            draft.limits = limits(table, faults);
        }
    }
    for (key, table) in entries(&sections, "employee", faults) {
        draft.employees.extend(employee(key, table, faults));
    }
    for (key, table) in entries(&sections, "team", faults) {
        let fields = Fields::of("a team", table, &["employees", "teams"], faults);
        let (employees, teams) = (
            fields.names("employees", faults),
            fields.names("teams", faults),
        );
        draft
            .teams
            .extend(parsed(key, faults).map(|name| DraftTeam {
                name,
                employees,
                teams,
            }));
    }
    for (key, table) in entries(&sections, "pool", faults) {
        let allowed = &["title", "include", "machines", "employees"];
        let fields = Fields::of("a pool", table, allowed, faults);
        let title = fields.caption("title", TITLE_MAX_CHARS, faults);
        let (include, machines) = (
            fields.names("include", faults),
            fields.names("machines", faults),
        );
        let employees = fields.names("employees", faults);
        draft
            .pools
            .extend(parsed(key, faults).map(|name| DraftPool {
                name,
                title,
                include,
                machines,
                employees,
            }));
    }
    if let Some(value) = sections.value("grant") {
        draft.grants = grant::grants(value, faults);
    }
    if let Some(value) = sections.value("expect") {
        draft.expect = sentences(value, text, faults);
    }
    draft
}

/// The named tables below a section, each with its name.
fn entries<'t, 'i>(
    sections: &Fields<'t, 'i>,
    section: &'static str,
    faults: &mut Collector<'_>,
) -> Vec<(Spot<String>, &'t DeTable<'i>)> {
    let outer = sections
        .value(section)
        .and_then(|value| table_of(section, value, faults));
    let mut entries = Vec::new();
    for (key, value) in outer.into_iter().flat_map(DeTable::iter) {
        if let Some(table) = table_of(key.get_ref(), value, faults) {
            let name = Spot {
                byte: key.span().start,
                value: key.get_ref().to_string(),
            };
            entries.push((name, table));
        }
    }
    entries
}

fn table_of<'t, 'i>(
    field: &str,
    value: &'t Spanned<DeValue<'i>>,
    faults: &mut Collector<'_>,
) -> Option<&'t DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        wrong_type(
            field,
            value,
            "a table, such as [employee.\"a@b.example\"], [team.ops] or [pool.web]",
            faults,
        );
    }
    table
}

fn limits(table: &DeTable<'_>, faults: &mut Collector<'_>) -> Limits {
    let allowed = &["session", "lifetime", "admin_lifetime", "ceiling"];
    let fields = Fields::of("[limits]", table, allowed, faults);
    let standard = Limits::default();
    let mut or = |field, standard| fields.duration(field, faults).unwrap_or(standard);
    Limits {
        session_secs: or("session", standard.session_secs),
        lifetime_secs: or("lifetime", standard.lifetime_secs),
        admin_lifetime_secs: or("admin_lifetime", standard.admin_lifetime_secs),
        ceiling_secs: or("ceiling", standard.ceiling_secs),
    }
}

fn employee(
    key: Spot<String>,
    table: &DeTable<'_>,
    faults: &mut Collector<'_>,
) -> Option<DraftEmployee> {
    let allowed = &["name", "account", "uid", "roles", "suspended"];
    let fields = Fields::of("an employee", table, allowed, faults);
    let name = fields.caption("name", NAME_MAX_CHARS, faults);
    let account = fields.name("account", faults);
    let uid = fields.number("uid", faults).and_then(|uid| {
        let number = uid
            .value
            .and_then(|number| u32::try_from(number).map_err(|_| number.to_string()));
        match number {
            Ok(value) => Some(Spot {
                byte: uid.byte,
                value,
            }),
            Err(text) => {
                faults.add(uid.byte, Wrong::BadUid { text });
                None
            }
        }
    });
    let mut roles = std::collections::BTreeSet::new();
    for role in fields.texts("roles", faults).unwrap_or_default() {
        let added = match role.value.as_str() {
            "admin" => roles.insert(Role::Admin),
            text => {
                let wrong = wrong_word("a role", text, ROLES);
                faults.add(role.byte, wrong);
                continue;
            }
        };
        if !added {
            let what = role.value;
            faults.add(role.byte, Wrong::ListedTwice { what });
        }
    }
    let presence = if fields.flag("suspended", faults) {
        Presence::Suspended
    } else {
        Presence::Here
    };
    let email: Spot<Email> = parsed(key, faults)?;
    Some(DraftEmployee {
        email,
        name,
        account,
        uid,
        roles,
        presence,
    })
}

fn sentences(
    value: &Spanned<DeValue<'_>>,
    text: &str,
    faults: &mut Collector<'_>,
) -> Vec<DraftSentence> {
    let Some(list) = value.get_ref().as_array() else {
        let expected = "a list of sentences, such as [\"nobody reaches db-1\"]";
        wrong_type("expect", value, expected, faults);
        return Vec::new();
    };
    let mut sentences = Vec::with_capacity(list.len());
    for value in list.iter() {
        let Some(sentence) = text_of("expect", value, "a list of sentences", faults) else {
            continue;
        };
        let written = text.get(value.span()).unwrap_or_default();
        let verbatim = (written.len() == sentence.value.len() + 2
            && written.get(1..written.len() - 1) == Some(&sentence.value))
        .then_some(1);
        sentences.push(DraftSentence {
            byte: sentence.byte,
            text: sentence.value,
            verbatim,
        });
    }
    sentences
}

fn wrong_word(field: &str, text: &str, allowed: &'static [&'static str]) -> Wrong {
    Wrong::WrongWord {
        field: field.to_owned(),
        text: cut(text),
        suggestion: nearest(text, allowed.iter().copied()),
        allowed,
    }
}
