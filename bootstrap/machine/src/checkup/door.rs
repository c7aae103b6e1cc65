//! `AllowUsers` and its kin: would sshd turn away an account that the CA needs?

use super::{Mend, Scene, Severity};
use crate::{
    facts::{AccountFact, Fact},
    spec::{PROBE_ACCOUNT, SYNC_ACCOUNT},
};

impl Scene<'_> {
    pub(super) fn doors(&mut self) {
        let accounts = self.accounts.clone();
        for account in accounts {
            let own = account.name == SYNC_ACCOUNT || account.name == PROBE_ACCOUNT;
            let needed = own || self.is_admin(&account.name);
            if !needed && !self.is_of_the_ca(&account.name) {
                continue;
            }
            let Some(word) = self.shut_by(account) else {
                continue;
            };
            let at = self.located(&[word]);
            self.find(
                if needed {
                    Severity::Danger
                } else {
                    Severity::Warning
                },
                "shut-out",
                format!("{} turns {} away{at}", proper(word), account.name),
                if needed {
                    "a way in that the CA or its admins need is shut"
                } else {
                    "the certificate is good, and sshd refuses the account all the same"
                },
                format!("let {} in there, or remove the line", account.name),
                Mend::Person,
            );
        }
    }

    /// The keyword that turns the account away.
    fn shut_by(&self, account: &AccountFact) -> Option<&'static str> {
        let words = |word: &str| -> Vec<&str> {
            let values = self.report.facts().filter_map(|fact| match fact {
                Fact::Sshd {
                    answer,
                    word: held,
                    value,
                } if *answer == account.answer && held == word => Some(value.as_str()),
                _ => None,
            });
            values.flat_map(str::split_whitespace).collect()
        };
        let groups: Vec<&str> = account.groups.split(',').collect();
        let user = |patterns: &[&str]| {
            patterns
                .iter()
                .any(|pattern| matches_user(pattern, &account.name))
        };
        let group = |patterns: &[&str]| {
            groups
                .iter()
                .any(|group| patterns.iter().any(|pattern| is_like(pattern, group)))
        };
        // In sshd's own order.
        let (deny, allow) = (words("denyusers"), words("allowusers"));
        if user(&deny) {
            return Some("denyusers");
        }
        if !allow.is_empty() && !user(&allow) {
            return Some("allowusers");
        }
        let (deny, allow) = (words("denygroups"), words("allowgroups"));
        if group(&deny) {
            return Some("denygroups");
        }
        (!allow.is_empty() && !group(&allow)).then_some("allowgroups")
    }
}

fn proper(word: &str) -> &'static str {
    match word {
        "denyusers" => "DenyUsers",
        "allowusers" => "AllowUsers",
        "denygroups" => "DenyGroups",
        _ => "AllowGroups",
    }
}

/// `NAME` or `NAME@HOST`; from where the CA or an employee comes is not known here, so the host counts as matched.
fn matches_user(pattern: &str, name: &str) -> bool {
    let user = pattern.rsplit_once('@').map_or(pattern, |(user, _)| user);
    is_like(user, name)
}

/// sshd's patterns: `*` is any text, `?` any one character.
fn is_like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on after the last `*` if what follows it does not fit.
    let mut again: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                again = Some((p + 1, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match again {
                Some((after, from)) => {
                    p = after;
                    t = from + 1;
                    again = Some((after, from + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_sshds() {
        for (pattern, name, fits) in [
            ("alice", "alice", true),
            ("alice", "alic", false),
            ("a*e", "alice", true),
            ("a*c", "alice", false),
            ("*", "", true),
            ("ssh-ca-????", "ssh-ca-sync", true),
            ("ssh-ca-????", "ssh-ca-probe", false),
            ("**b", "aab", true),
        ] {
            assert_eq!(is_like(pattern, name), fits, "{pattern} {name}");
        }
        assert!(matches_user("alice@10.0.0.0/8", "alice"));
    }

    proptest! {
        #[test]
        fn w3_no_pattern_panics_or_hangs(pattern in "[a*?]{0,30}", text in "[ab]{0,30}") {
            let _ = is_like(&pattern, &text);
        }
    }
}
