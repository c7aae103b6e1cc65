//! What an entry says to people: its kind, what it is about, and the rest.

use std::collections::BTreeMap;

use super::{
    super::{text::printable, words::grant_in_words},
    Event,
};

/// The fields that an entry is about, the first one present wins.
const SUBJECTS: [&str; 9] = [
    "email", "machine", "serial", "pool", "team", "grant", "what", "version", "document",
];

impl Event {
    /// The event's kind as one word: `employee_added`.
    ///
    /// # Panics
    /// Never: every event serialises to an object with a type.
    #[must_use]
    pub fn word(&self) -> String {
        match self.fields().remove("type") {
            Some(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }

    /// What the event is about, for a column; empty where it is about the CA. Fit for a terminal (S5).
    #[must_use]
    pub fn about(&self) -> String {
        if let Self::Revoked { what, .. } = self {
            return printable(&what.describe());
        }
        let fields = self.fields();
        let subject = SUBJECTS.iter().find_map(|name| fields.get(*name));
        subject.map(show).unwrap_or_default()
    }

    /// The rest as `name=value`, parted by spaces. Fit for a terminal (S5).
    #[must_use]
    pub fn detail(&self) -> String {
        if let Self::GrantAdded { rule, .. } | Self::GrantRemoved { rule, .. } = self {
            return printable(&grant_in_words(rule));
        }
        if let Self::PolicyApplied {
            document_sha256,
            before,
            after,
            counts,
            ..
        } = self
        {
            return applied_in_words(document_sha256, before, after, counts);
        }
        let fields = self.fields();
        let subject = SUBJECTS.iter().find(|name| fields.contains_key(**name));
        let rest = fields
            .iter()
            .filter(|(name, _)| *name != "type" && Some(&name.as_str()) != subject)
            .map(|(name, value)| format!("{name}={}", show(value)));
        rest.collect::<Vec<_>>().join(" ")
    }

    /// The employee whom the event concerns, for `audit list --employee`.
    #[must_use]
    pub fn employee(&self) -> Option<String> {
        let fields = self.fields();
        let email = fields
            .get("email")
            .or_else(|| fields.get("what")?.get("email"));
        email.and_then(|email| email.as_str()).map(str::to_owned)
    }

    fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    }
}

/// `employees invited: 1, grants added: 2; document 0f3c9a1b77e0, policy 9a1b77e00f3c became 77e00f3c9a1b`: beginnings of digests, as
/// `policy apply --base` takes them; the entry has them whole.
fn applied_in_words(
    sha256: &str,
    before: &str,
    after: &str,
    counts: &BTreeMap<String, u64>,
) -> String {
    let changed: Vec<String> = counts
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(what, number)| format!("{what}: {number}"))
        .collect();
    let changed = if changed.is_empty() {
        "nothing changed".to_owned()
    } else {
        changed.join(", ")
    };
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    printable(&format!(
        "{changed}; document {}, policy {} became {}",
        short(sha256),
        short(before),
        short(after)
    ))
}

/// A value on one line: text with spaces in quotes, lists with commas.
fn show(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::String(text) if text.is_empty() || text.contains([' ', '"', ',', '=']) => {
            format!("\"{}\"", printable(text).replace('"', "\\\""))
        }
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(show).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{}:{}", printable(name), show(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
