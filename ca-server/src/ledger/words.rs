//! Grants in people's words, for the ledger and for the commands.

use policies::{Conditions, Grant, GrantAccount, Grantee, KeyDemand, Recording, Sudo};

/// `alice@corp.example as self on web-server, sudo none; lifetime 3600 s`.
#[must_use]
pub fn grant_in_words(rule: &Grant) -> String {
    let mut words = format!(
        "{} as {} on {}, sudo {}",
        grantee(&rule.who),
        account(&rule.account),
        rule.pool,
        sudo(&rule.sudo)
    );
    for condition in conditions(rule) {
        words.push_str("; ");
        words.push_str(&condition);
    }
    if let Some(until) = rule.until_unix_secs {
        words.push_str(&format!("; until {until} (Unix time)"));
    }
    words
}

/// `team ops` or `alice@corp.example`.
#[must_use]
pub fn grantee(who: &Grantee) -> String {
    match who {
        Grantee::Employee(email) => email.to_string(),
        Grantee::Team(team) => format!("team {team}"),
    }
}

/// `self`, or the shared account.
#[must_use]
pub fn account(account: &GrantAccount) -> String {
    match account {
        GrantAccount::Own => "self".to_owned(),
        GrantAccount::Shared(account) => account.to_string(),
    }
}

/// `none`, `all`, or the commands parted by commas.
#[must_use]
pub fn sudo(sudo: &Sudo) -> String {
    match sudo {
        Sudo::None => "none".to_owned(),
        Sudo::All => "all".to_owned(),
        Sudo::Commands(commands) => commands.iter().cloned().collect::<Vec<_>>().join(","),
    }
}

/// What a grant demands or allows beyond the plain one, without its end.
#[must_use]
pub fn conditions(grant: &Grant) -> Vec<String> {
    let conditions = &grant.conditions;
    let mut words = Vec::new();
    if let Some(hours) = &grant.hours {
        words.push(hours.to_string());
    }
    if let Some(secs) = conditions.max_lifetime_secs {
        words.push(format!("lifetime {secs} s"));
    }
    if !conditions.sources.is_empty() {
        let from: Vec<&str> = conditions.sources.iter().map(String::as_str).collect();
        words.push(format!("from {}", from.join(", ")));
    }
    if let Some(command) = &conditions.forced_command {
        words.push(format!("only {command:?}"));
    }
    match conditions.key {
        KeyDemand::Any => {}
        KeyDemand::SecurityKey => words.push("security key".to_owned()),
    }
    if conditions.extensions != Conditions::default().extensions {
        let allowed: Vec<&str> = conditions
            .extensions
            .iter()
            .map(|extension| extension.openssh_name())
            .collect();
        words.push(if allowed.is_empty() {
            "no terminal".to_owned()
        } else {
            allowed.join(", ")
        });
    }
    match grant.recording {
        Recording::None => {}
        Recording::Required => words.push("recorded".to_owned()),
    }
    if grant.system_account {
        words.push("system account".to_owned());
    }
    words
}
