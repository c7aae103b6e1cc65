//! Under which terms a grant gives an account, and how terms differ, in words.

use std::collections::BTreeSet;

use crate::{
    Conditions, Extension, Grant, KeyDemand, Recording, Sudo,
    document::{duration_text, extension, time_text},
};

/// Everything about a grant but who, where and as whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Terms {
    conditions: Conditions,
    hours: Option<String>,
    until_unix_secs: Option<i64>,
    sudo: Sudo,
    recording: Recording,
}

impl Terms {
    pub(super) fn of(grant: &Grant) -> Self {
        Self {
            conditions: grant.conditions.clone(),
            hours: grant.hours.as_ref().map(ToString::to_string),
            until_unix_secs: grant.until_unix_secs,
            sudo: grant.sudo.clone(),
            recording: grant.recording,
        }
    }

    /// Each of the terms by its name; two `Terms` differ where these texts differ.
    fn named(&self) -> [(&'static str, String); 9] {
        let conditions = &self.conditions;
        [
            ("sudo", sudo_text(&self.sudo)),
            (
                "lifetime",
                conditions
                    .max_lifetime_secs
                    .map_or_else(|| "the default".to_owned(), duration_text),
            ),
            (
                "hours",
                self.hours.clone().unwrap_or_else(|| "any".to_owned()),
            ),
            (
                "until",
                self.until_unix_secs
                    .map_or_else(|| "no end".to_owned(), time_text),
            ),
            ("from", or(&conditions.sources, "anywhere")),
            ("allows", extensions_text(&conditions.extensions)),
            (
                "command",
                match &conditions.forced_command {
                    None => "any".to_owned(),
                    Some(command) => format!("only {command:?}"),
                },
            ),
            (
                "key",
                match conditions.key {
                    KeyDemand::Any => "any",
                    KeyDemand::SecurityKey => "security key only",
                }
                .to_owned(),
            ),
            (
                "recorded",
                match self.recording {
                    Recording::None => "no",
                    Recording::Required => "yes",
                }
                .to_owned(),
            ),
        ]
    }

    /// What is not as a plain grant has it.
    pub(super) fn words(&self) -> Vec<String> {
        let plain = Self {
            conditions: Conditions::default(),
            hours: None,
            until_unix_secs: None,
            sudo: Sudo::None,
            recording: Recording::None,
        };
        let pairs = self.named().into_iter().zip(plain.named());
        pairs
            .filter(|(mine, plain)| mine != plain)
            .map(|((name, text), _)| format!("{name}: {text}"))
            .collect()
    }

    fn sentence(&self) -> String {
        let words = self.words();
        if words.is_empty() {
            "plain terms".to_owned()
        } else {
            words.join(", ")
        }
    }
}

/// Under which terms something is given; several where several grants give it.
pub(super) fn words(terms: &[&Terms]) -> Vec<String> {
    match terms {
        [one] => one.words(),
        many => many.iter().map(|terms| terms.sentence()).collect(),
    }
}

/// How the terms of something change.
pub(super) fn changes(before: &[&Terms], after: &[&Terms]) -> Vec<String> {
    if let ([before], [after]) = (before, after) {
        let pairs = before.named().into_iter().zip(after.named());
        return pairs
            .filter(|(before, after)| before != after)
            .map(|((name, before), (_, after))| format!("{name}: {after}, before {before}"))
            .collect();
    }
    let gone = before.iter().filter(|terms| !after.contains(terms));
    let new = after.iter().filter(|terms| !before.contains(terms));
    gone.map(|terms| format!("no longer: {}", terms.sentence()))
        .chain(new.map(|terms| format!("also: {}", terms.sentence())))
        .collect()
}

pub(super) fn sudo_text(sudo: &Sudo) -> String {
    match sudo {
        Sudo::None => "none".to_owned(),
        Sudo::All => "all commands".to_owned(),
        Sudo::Commands(commands) => or(commands, "none"),
    }
}

fn extensions_text(extensions: &BTreeSet<Extension>) -> String {
    let names: BTreeSet<&str> = extensions.iter().map(|one| extension(*one)).collect();
    or(&names, "nothing")
}

fn or<T: AsRef<str>>(items: &BTreeSet<T>, none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    items.join(", ")
}
