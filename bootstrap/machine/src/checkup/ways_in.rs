//! Who gets in beside the CA's certificates, who becomes root, and whether the ways in that are needed are open.

use std::collections::BTreeMap;

use super::{Mend, Scene, Severity};
use crate::{
    Mode,
    bundle::{LOOPBACK_KEYS, Place},
    facts::{AccountFact, Fact, KeyFact},
    spec::{PROBE_ACCOUNT, SYNC_ACCOUNT},
};

/// What a key means where the machine is not enforced, or not yet.
const NOT_REVOKED: &str = "the machine does not go by an enforced configuration, so the key works as before; no revocation ends it";
const WHOSE_KEY: &str = "`ca-server check --keys` tells whose it is and when it was last used; `ca-server machine enforce` ends them all";

/// Uids from here on are people's, as distributions have it.
const FIRST_PERSON: u32 = 1000;
/// `nobody` and what lies above it.
const NOBODY: u32 = 65_534;

impl Scene<'_> {
    pub(super) fn ways_in(&mut self) {
        self.own_doors();
        self.foreign_accounts();
        self.static_keys();
        self.sudo();
    }

    fn account(&self, name: &str) -> Option<&AccountFact> {
        self.accounts
            .iter()
            .copied()
            .find(|account| account.name == name)
    }

    fn keys(&self) -> impl Iterator<Item = &KeyFact> {
        self.report.facts().filter_map(|fact| match fact {
            Fact::Key(key) => Some(key),
            _ => None,
        })
    }

    /// `ssh-admin` and `ssh-ca-sync`: there, not expired, with a shell and a key.
    fn own_doors(&mut self) {
        let admin = self.expected.admin.to_string();
        for (name, mend) in [
            (admin.as_str(), Mend::Person),
            (SYNC_ACCOUNT, Mend::Reapply),
        ] {
            let has_key = self.keys().any(|key| key.account == name && key.heeded);
            let wrong = match self.account(name) {
                None => Some("does not exist".to_owned()),
                Some(account) if self.is_expired(account) => Some("is expired".to_owned()),
                Some(account) if !has_shell(account) => {
                    Some(format!("has the shell {}", account.shell))
                }
                Some(account) if !has_key && account.password != "set" => {
                    Some("has no key that sshd heeds, and no password".to_owned())
                }
                Some(_) => None,
            };
            let Some(wrong) = wrong else { continue };
            let (meaning, remedy) = match mend {
                Mend::Person => (
                    "the admins' own way in is shut: with the CA down, nobody could repair this machine",
                    format!("put {name}, its shell and its authorized_keys right from a console"),
                ),
                Mend::Reapply => (
                    "the CA cannot bring this machine its next revocation",
                    format!(
                        "{}, as long as it still gets in; else `bootstrap add-machine --resync`",
                        super::REPAIR
                    ),
                ),
            };
            self.find(
                Severity::Danger,
                "own-door",
                format!("{name} {wrong}"),
                meaning,
                remedy,
                mend,
            );
        }
    }

    fn is_known(&self, account: &AccountFact) -> bool {
        let name = account.name.as_str();
        name == SYNC_ACCOUNT
            || name == PROBE_ACCOUNT
            || self.is_admin(name)
            || self.is_of_the_ca(name)
    }

    fn foreign_accounts(&mut self) {
        let roots = self
            .accounts
            .iter()
            .filter(|account| account.uid == Some(0) && account.name != "root");
        let roots: Vec<&str> = roots.map(|account| account.name.as_str()).collect();
        if !roots.is_empty() {
            let what = format!("has uid 0 beside root: {}", roots.join(", "));
            self.find(
                Severity::Danger,
                "second-root",
                what,
                "whoever logs in to it is root",
                "give it another uid, or delete it",
                Mend::Person,
            );
        }
        let foreign = self.accounts.iter().filter(|account| {
            account
                .uid
                .is_some_and(|uid| (FIRST_PERSON..NOBODY).contains(&uid))
                && account.origin.is_empty()
                && has_shell(account)
                && !self.is_expired(account)
                && !self.is_known(account)
        });
        let names: Vec<&str> = foreign.map(|account| account.name.as_str()).collect();
        if !names.is_empty() {
            let what = format!("accounts that the CA did not make: {}", names.join(", "));
            self.find(
                Severity::Notice,
                "foreign-account",
                what,
                "the CA neither opens nor closes them",
                "grant what is needed with an account of the CA's, or take one over with `bootstrap add-machine --adopt`",
                Mend::Person,
            );
        }
    }

    /// Keys that sshd would take, by account.
    fn static_keys(&mut self) {
        let sync_keys = Place::SyncKeys.path();
        let mut by_account: BTreeMap<&str, Vec<&KeyFact>> = BTreeMap::new();
        let report = self.report;
        let keys = report.facts().filter_map(|fact| match fact {
            Fact::Key(key) => Some(key),
            _ => None,
        });
        for key in keys.filter(|key| key.heeded) {
            let own = key.account == SYNC_ACCOUNT && key.file == sync_keys;
            // Made by the machine itself, for a login that ends in the applier: the first line, with its forced command, and no other.
            let loopback = self.fetches()
                && key.account == SYNC_ACCOUNT
                && key.file == LOOPBACK_KEYS
                && key.line == 1
                && key.options.starts_with("restrict,command=");
            if own || loopback || self.is_admin(&key.account) {
                continue;
            }
            by_account.entry(&key.account).or_default().push(key);
        }
        for (name, keys) in by_account {
            let Some(account) = self.account(name) else {
                continue;
            };
            if self.is_expired(account) {
                continue;
            }
            let of_the_ca = self.is_known(account) || !account.origin.is_empty();
            let to_be_enforced = self.expected.mode == Mode::Enforce;
            let enforced = to_be_enforced && !self.is_behind();
            let (remedy, mend) = if to_be_enforced {
                (super::REPAIR, Mend::Reapply)
            } else {
                (WHOSE_KEY, Mend::Person)
            };
            let places: Vec<String> = keys
                .iter()
                .take(3)
                .map(|key| format!("{} line {}", key.file, key.line))
                .collect();
            let more = keys.len().saturating_sub(places.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let count = if keys.len() == 1 {
                "a static key opens".to_owned()
            } else {
                format!("{} static keys open", keys.len())
            };
            let what = format!("{count} {name}: {}{more}", places.join(", "));
            let authority = keys.iter().any(|key| key.is_authority());
            if of_the_ca {
                self.find(
                    Severity::Danger,
                    "planted-key",
                    what,
                    "it opens an account of the CA's without a certificate, and no revocation ends it",
                    "delete the key; sshd should not read that file, so see what else is found",
                    Mend::Person,
                );
            } else if enforced {
                self.find(
                    Severity::Danger,
                    "static-key",
                    what,
                    "this machine is enforced, and the key still opens it: no revocation ends it",
                    "delete the key; sshd should not read that file, so see what else is found",
                    Mend::Person,
                );
            } else {
                self.find(
                    if authority || to_be_enforced {
                        Severity::Warning
                    } else {
                        Severity::Notice
                    },
                    if authority {
                        "foreign-authority"
                    } else {
                        "static-key"
                    },
                    what,
                    if authority {
                        "a line with cert-authority lets in everybody whom another CA signs for"
                    } else {
                        NOT_REVOKED
                    },
                    remedy,
                    mend,
                );
            }
        }
    }

    fn sudo(&mut self) {
        let report = self.report;
        for fact in report.facts() {
            let Fact::Sudo {
                file,
                line,
                owner,
                rule,
            } = fact
            else {
                continue;
            };
            let (uid, mode) = owner.split_once(' ').unwrap_or(("", ""));
            let writable = mode
                .bytes()
                .rev()
                .take(2)
                .any(|digit| matches!(digit, b'2' | b'3' | b'6' | b'7'));
            if uid != "0" || writable {
                self.find(
                    Severity::Danger,
                    "sudo-file",
                    format!("{file} is owned by uid {uid} with mode {mode}"),
                    "somebody else than root decides who becomes root",
                    "`chown root:root` and `chmod 440` it, and see who wrote what stands in it",
                    Mend::Person,
                );
                return;
            }
            let subjects = subjects(file, rule);
            if let Some(name) = subjects
                .iter()
                .find(|name| **name == "ALL" || self.is_of_the_ca(name))
            {
                self.find(
                    Severity::Danger,
                    "sudo-beyond-grant",
                    format!("{file}, line {line}, gives {name}: {rule}"),
                    "an account of the CA's may do more as root than was granted",
                    "remove the line, or grant it with `ca-server grant add … --sudo`",
                    Mend::Person,
                );
            } else if !subjects.iter().all(|name| self.is_usual(name)) {
                self.find(
                    Severity::Notice,
                    "sudo-rule",
                    format!("{file}, line {line}: {rule}"),
                    "it is not the CA's, and goes on as before",
                    "see whether it is still needed",
                    Mend::Person,
                );
            }
        }
    }

    /// Root, the admins, and the groups that a distribution's own file names.
    fn is_usual(&self, subject: &str) -> bool {
        matches!(
            subject,
            "root" | "%sudo" | "%wheel" | "%admin" | "%root" | "#0"
        ) || self.is_admin(subject)
    }
}

fn has_shell(account: &AccountFact) -> bool {
    !account.shell.ends_with("/nologin") && !account.shell.ends_with("/false")
}

/// Whom a rule is for: the first word of sudo's; of doas's, what is neither a keyword nor an option.
fn subjects<'a>(file: &str, rule: &'a str) -> Vec<&'a str> {
    if file.starts_with("/etc/doas") {
        let mut words = rule.split(' ').skip(1);
        let mut held = words.by_ref().skip_while(|word| {
            matches!(*word, "nopass" | "persist" | "keepenv" | "nolog")
                || word.starts_with("setenv")
                || word.starts_with('{')
                || word.ends_with('}')
        });
        return held
            .next()
            .map(|word| word.strip_prefix(':').unwrap_or(word))
            .into_iter()
            .collect();
    }
    rule.split(' ')
        .next()
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_subjects_are_found() {
        assert_eq!(
            subjects("/etc/sudoers.d/x", "alice,bob ALL=(ALL) ALL"),
            ["alice", "bob"]
        );
        assert_eq!(
            subjects("/etc/doas.conf", "permit nopass keepenv :wheel as root"),
            ["wheel"]
        );
        assert_eq!(subjects("/etc/doas.conf", "permit alice"), ["alice"]);
        assert_eq!(subjects("/etc/sudoers", ""), [""; 0]);
    }
}
