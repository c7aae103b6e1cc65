//! What sshd itself says holds for each kind of account, against what must hold (H3).

use super::{Mend, Scene, Severity};
use crate::{
    Mode,
    applier::KRL_PATH,
    bundle::{LOOPBACK_KEYS, Place},
    facts::Fact,
    spec::{BREAK_GLASS_ACCOUNT, PROBE_ACCOUNT, SYNC_ACCOUNT},
};

/// The answer for a name that nobody has: it holds for every account that no `Match` names.
const EVERYBODY: u32 = 1;

/// Nothing but a certificate opens the account.
const CERTIFICATES_ONLY: [(&str, &str); 6] = [
    ("authorizedkeysfile", "none"),
    ("authorizedkeyscommand", "none"),
    ("authenticationmethods", "publickey"),
    ("passwordauthentication", "no"),
    ("kbdinteractiveauthentication", "no"),
    ("hostbasedauthentication", "no"),
];

impl Scene<'_> {
    pub(super) fn effective(&mut self) {
        let principals = "/etc/ssh/ca/principals/%u";
        let (user_ca, admin_ca) = (Place::UserCa.path(), Place::AdminUserCa.path());
        let (admin_krl, mut sync_keys) = (Place::AdminRevoked.path(), Place::SyncKeys.path());
        if self.fetches() {
            sync_keys = format!("{sync_keys} {LOOPBACK_KEYS}");
        }
        self.must_hold(
            EVERYBODY,
            "every account",
            &[
                ("trustedusercakeys", &user_ca),
                ("revokedkeys", KRL_PATH),
                ("authorizedprincipalsfile", principals),
                ("authorizedprincipalscommand", "none"),
                ("pubkeyauthentication", "yes"),
                ("usepam", "yes"),
            ],
            "the CA, its revocations, its principals or the record of sessions is not in force there",
        );
        let accounts = self.accounts.clone();
        let mut not_yet = Vec::new();
        for account in accounts {
            let name = account.name.as_str();
            if name == SYNC_ACCOUNT {
                self.must_hold(
                    account.answer,
                    name,
                    &[
                        ("authorizedkeysfile", &sync_keys),
                        ("authenticationmethods", "publickey"),
                        ("revokedkeys", &admin_krl),
                        ("trustedusercakeys", &admin_ca),
                        ("passwordauthentication", "no"),
                    ],
                    "the CA's own door is another than it should be",
                );
            } else if self.is_admin(name) {
                self.must_hold(
                    account.answer,
                    name,
                    &[
                        ("revokedkeys", &admin_krl),
                        ("trustedusercakeys", &admin_ca),
                        ("pubkeyauthentication", "yes"),
                    ],
                    "a certificate may open the admins' own way in, or a KRL shut it",
                );
            } else if name == PROBE_ACCOUNT || self.is_of_the_ca(name) {
                self.must_hold(
                    account.answer,
                    name,
                    &[&CERTIFICATES_ONLY[..], &[("revokedkeys", KRL_PATH)]].concat(),
                    "something else than a certificate opens the account, or a revoked one does",
                );
            } else if self.expected.mode == Mode::Enforce && !self.is_expired(account) {
                if self.is_behind() {
                    if !self.wrong(account.answer, &CERTIFICATES_ONLY).is_empty() {
                        not_yet.push(name);
                    }
                    continue;
                }
                self.must_hold(
                    account.answer,
                    name,
                    &CERTIFICATES_ONLY,
                    "this machine is enforced, and the account still has a way in that is not the CA's",
                );
            }
        }
        if let Some(account) = self
            .accounts
            .iter()
            .find(|account| account.name == BREAK_GLASS_ACCOUNT && self.is_of_the_ca(&account.name))
        {
            let break_glass_ca = Place::BreakGlassCa.path();
            self.must_hold(
                account.answer,
                BREAK_GLASS_ACCOUNT,
                &[("trustedusercakeys", &break_glass_ca)],
                "the break-glass account is opened by another CA than its own, or by none",
            );
        }
        self.not_enforced_yet(&not_yet);
        self.other_matches();
    }

    /// What is brought there next may end these ways in: no line of the machine's own is to blame before that has come.
    fn not_enforced_yet(&mut self, accounts: &[&str]) {
        const SHOWN: usize = 5;
        if accounts.is_empty() {
            return;
        }
        let mut names = accounts[..accounts.len().min(SHOWN)].join(", ");
        if accounts.len() > SHOWN {
            names.push_str(&format!(" and {} more", accounts.len() - SHOWN));
        }
        self.find(
            Severity::Warning,
            "not-enforced-yet",
            format!("ways in that are not the CA's are still open for {names}"),
            "the machine is to be enforced, and has not got the configuration that is wanted now",
            super::REPAIR,
            Mend::Reapply,
        );
    }

    /// The words of `wanted` that are not as they must be: word, what sshd says, what it must say.
    fn wrong<'w>(
        &self,
        answer: u32,
        wanted: &[(&'w str, &'w str)],
    ) -> Vec<(&'w str, String, &'w str)> {
        let says = |word: &str| {
            self.report.facts().find_map(|fact| match fact {
                Fact::Sshd {
                    answer: held,
                    word: named,
                    value,
                } if *held == answer && named == word => Some(value.as_str()),
                _ => None,
            })
        };
        // A word that this sshd does not print has no value of its own: `none`, or a method that it does not know.
        let off = |word: &str| {
            matches!(
                word,
                "authorizedprincipalscommand" | "authorizedkeyscommand" | "hostbasedauthentication"
            )
        };
        wanted
            .iter()
            .filter_map(|(word, value)| match says(word) {
                Some(said) if said.eq_ignore_ascii_case(value) => None,
                None if off(word) => None,
                said => Some((*word, said.unwrap_or("nothing").to_owned(), *value)),
            })
            .collect()
    }

    /// One finding for the first word that is not as it must be.
    fn must_hold(
        &mut self,
        answer: u32,
        whom: &str,
        wanted: &[(&str, &str)],
        meaning: &'static str,
    ) {
        let wrong = self.wrong(answer, wanted);
        let Some((word, said, value)) = wrong.first() else {
            return;
        };
        let drop_in = Place::SshdDropIn.path();
        // Where the CA's own lines were taken out, they are put back; where another's stand before them, those must go.
        let ours_is_gone = self.drifted(&drop_in) || self.drifted("/etc/ssh/sshd_config");
        let words: Vec<&str> = wrong.iter().map(|(word, ..)| *word).collect();
        let at = self.located(&words);
        let (remedy, mend) = if ours_is_gone {
            (super::REPAIR.to_owned(), Mend::Reapply)
        } else {
            let remedy = format!("remove that line, so that {drop_in} holds, and reload sshd");
            (remedy, Mend::Person)
        };
        self.find(
            Severity::Danger,
            "overruled",
            format!("for {whom} sshd goes by `{word} {said}` instead of `{word} {value}`{at}"),
            meaning,
            remedy,
            mend,
        );
    }

    /// ` (FILE, line N)` of the first line of the site's own with one of these words; empty where there is none.
    pub(super) fn located(&self, words: &[&str]) -> String {
        let line = self.report.facts().find_map(|fact| match fact {
            Fact::ConfigLine {
                file, line, word, ..
            } if words.contains(&word.as_str()) => Some(format!(" ({file}, line {line})")),
            _ => None,
        });
        line.unwrap_or_default()
    }

    /// The look is made as from 127.0.0.1: what holds from elsewhere only is not in it.
    fn other_matches(&mut self) {
        let elsewhere = |value: &str| {
            let value = value.to_ascii_lowercase();
            ["address", "host", "localport", "rdomain"]
                .iter()
                .any(|word| value.contains(word))
        };
        let report = self.report;
        for fact in report.facts() {
            let Fact::ConfigLine {
                file,
                line,
                word,
                value,
            } = fact
            else {
                continue;
            };
            if word == "match" && elsewhere(value) {
                self.find(
                    Severity::Notice,
                    "match-elsewhere",
                    format!("`Match {value}` ({file}, line {line}) holds for logins from elsewhere"),
                    "the check-up asks sshd as from 127.0.0.1, so it did not see what stands below that line",
                    "look at it yourself",
                    Mend::Person,
                );
            }
        }
    }
}
