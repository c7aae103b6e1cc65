//! The check-up: from what a machine tells and what the CA wants there, to findings. Pure: the clock and all else are arguments.

mod door;
mod effective;
mod standing;
mod ways_in;

use policies::AccountName;
pub use standing::OPENSSH_CHANGED;

use crate::{
    Bundle, Mode, Report, applier,
    bundle::{AccountState, Place},
    facts::{AccountFact, Fact},
    report::Event,
    spec::{OpenSshVersion, SYNC_ACCOUNT},
};

/// What the CA wants on a machine, as far as a check-up compares it.
#[derive(Debug, Clone)]
pub struct Expected<'a> {
    /// The bundle of the wanted generation.
    pub bundle: &'a Bundle,
    /// Hash of that bundle's bytes.
    pub bundle_sha256: &'a str,
    /// The KRL in force: its version.
    pub krl_version: u64,
    /// Hash of its bytes.
    pub krl_sha256: &'a str,
    /// `SHA256:…` of the pinned host key.
    pub host_key: &'a str,
    /// The admins' own account.
    pub admin: &'a AccountName,
    /// Whether accounts that the CA did not make keep their own ways in.
    pub mode: Mode,
    /// The version of OpenSSH for which the bundle was made.
    pub openssh: OpenSshVersion,
    /// The CA's clock when it asked, Unix seconds.
    pub asked_unix: i64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong by the CA's own rules.
    Notice,
    /// Not as wanted.
    Warning,
    /// Somebody gets in or becomes more who should not, a revocation does not hold, or a way in that is needed is shut.
    Danger,
}

/// What mends a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// Applying once more what the CA wants (`--repair`).
    Reapply,
    /// Somebody on the machine, or a decision of the admin's.
    Person,
}

/// Something that is not as wanted, or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A word for programs.
    pub code: &'static str,
    /// What is the case.
    pub what: String,
    /// What that means.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: String,
    /// What mends it.
    pub mend: Mend,
}

/// Less room than this on a disk, in KiB, and the next change may not fit.
const LEAST_FREE_KIB: u64 = 8192;

const REPAIR: &str = "`ca-server check --repair` applies again what the CA wants";

/// Everything that is known of the machine, side by side.
struct Scene<'a> {
    report: &'a Report,
    expected: &'a Expected<'a>,
    accounts: Vec<&'a AccountFact>,
    findings: Vec<Finding>,
}

/// Compares. The worst findings come first.
#[must_use]
pub fn judge(report: &Report, expected: &Expected<'_>) -> Vec<Finding> {
    let accounts = report.facts().filter_map(|fact| match fact {
        Fact::Account(account) => Some(account),
        _ => None,
    });
    let mut scene = Scene {
        report,
        expected,
        accounts: accounts.collect(),
        findings: Vec::new(),
    };
    scene.refusal();
    scene.drift();
    if let Some(state) = report.state() {
        scene.versions(state);
        scene.machine(state);
    }
    if scene.accounts.is_empty() {
        if report.refusal().is_none() {
            scene.find(
                Severity::Warning,
                "old-applier",
                "the applier on the machine tells no facts".to_owned(),
                "it is older than this server, so most of the check-up could not be made",
                REPAIR.to_owned(),
                Mend::Reapply,
            );
        }
    } else {
        scene.places();
        scene.effective();
        scene.doors();
        scene.ways_in();
    }
    let mut findings = scene.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

impl Scene<'_> {
    /// Does the CA want it to fetch for itself?
    fn fetches(&self) -> bool {
        self.expected.bundle.files.contains_key(&Place::Puller)
    }

    fn find(
        &mut self,
        severity: Severity,
        code: &'static str,
        what: String,
        meaning: &'static str,
        remedy: impl Into<String>,
        mend: Mend,
    ) {
        self.findings.push(Finding {
            severity,
            code,
            what,
            meaning,
            remedy: remedy.into(),
            mend,
        });
    }

    /// One that applying again mends.
    fn find_drift(
        &mut self,
        severity: Severity,
        code: &'static str,
        what: String,
        meaning: &'static str,
    ) {
        self.find(severity, code, what, meaning, REPAIR, Mend::Reapply);
    }

    fn drifted(&self, path: &str) -> bool {
        self.report
            .events
            .iter()
            .any(|event| matches!(event, Event::Drift { path: held, .. } if held == path))
    }

    /// Does it go by another configuration than the one that is wanted now?
    fn is_behind(&self) -> bool {
        let wanted = self.expected.bundle.generation;
        self.report
            .state()
            .is_some_and(|state| state.applied_generation != wanted)
    }

    /// The accounts that the bundle wants to be usable, without the CA's own.
    fn is_of_the_ca(&self, name: &str) -> bool {
        self.expected
            .bundle
            .accounts
            .iter()
            .any(|(held, account)| held.as_str() == name && account.state == AccountState::Active)
    }

    fn is_admin(&self, name: &str) -> bool {
        name == "ssh-admin" || name == self.expected.admin.as_str()
    }

    fn is_expired(&self, account: &AccountFact) -> bool {
        let today = self.expected.asked_unix.div_euclid(24 * 3600);
        account.expiry_day.is_some_and(|day| day <= today)
    }

    fn refusal(&mut self) {
        if let Some((code, detail)) = self.report.refusal() {
            self.find(
                Severity::Danger,
                "refused",
                format!("the applier refused to look ({code}): {detail}"),
                "nobody can say how this machine stands",
                "look at what it says, or run `bootstrap check` from an admin's login",
                Mend::Person,
            );
        }
    }

    /// What differs from the manifest that the machine itself applied last, and its warnings.
    fn drift(&mut self) {
        let report = self.report;
        for event in &report.events {
            match event {
                Event::Drift { path, what } => {
                    let (severity, meaning) = weight(path, what);
                    let how = match what.as_str() {
                        "owner" => "has another owner or mode",
                        "mode" => "has another mode",
                        "missing" => "is missing",
                        "unexpected" => "is not the CA's",
                        _ => "is changed",
                    };
                    self.find_drift(severity, "drift", format!("{path} {how}"), meaning);
                }
                Event::Warning { code, detail } if code == "no-session-record" => self.find(
                    Severity::Danger,
                    "no-session-record",
                    detail.clone(),
                    "sessions of a revoked certificate go on there",
                    "remove the word that it names, then `ca-server sync`",
                    Mend::Person,
                ),
                Event::Warning { code, detail } => self.find(
                    Severity::Warning,
                    "machine-warns",
                    format!("{code}: {detail}"),
                    "the machine itself says so",
                    "do what it says",
                    Mend::Person,
                ),
                _ => {}
            }
        }
    }

    fn places(&mut self) {
        let mut known = self.report.facts().filter_map(|fact| match fact {
            Fact::HostKey { fingerprint, .. } => Some(fingerprint.as_str()),
            _ => None,
        });
        if !known.any(|fingerprint| fingerprint == self.expected.host_key) {
            self.find(
                Severity::Danger,
                "host-key",
                format!(
                    "the host key {} is in none of the files that its sshd reads",
                    self.expected.host_key
                ),
                "from its next restart on, sshd shows another host key, and neither the CA nor an employee believes it",
                "put the old key back, or, if the new one is meant, run `bootstrap add-machine --resync`",
                Mend::Person,
            );
        }
        let report = self.report;
        for fact in report.facts() {
            match fact {
                Fact::Disk { place, free_kib } => {
                    let Some(free) = free_kib.filter(|free| *free < LEAST_FREE_KIB) else {
                        continue;
                    };
                    self.find(
                        Severity::Warning,
                        "disk",
                        format!("only {free} KiB are free on the disk of {place}"),
                        "the next change of its configuration may not fit (room for a KRL is kept aside)",
                        "free some space there",
                        Mend::Person,
                    );
                }
                // Whoever has something to hide may have made them that many.
                Fact::Cut { what, left_out } => self.find(
                    Severity::Warning,
                    "cut",
                    format!(
                        "{} more {what} are there than were told",
                        left_out.unwrap_or(0)
                    ),
                    "the check-up saw a part only",
                    "look at them on the machine",
                    Mend::Person,
                ),
                _ => {}
            }
        }
    }
}

/// How much it matters that something of the CA's differs.
fn weight(path: &str, what: &str) -> (Severity, &'static str) {
    let is = |place: Place| place.path() == path;
    if path == applier::KRL_PATH {
        return (
            Severity::Danger,
            "sshd judges revocations by this file: a wrong one lets revoked certificates in, a missing one shuts everybody out",
        );
    }
    if let Some(account) = path.strip_prefix("account ") {
        return if account == SYNC_ACCOUNT {
            (
                Severity::Danger,
                "the CA reaches the machine by this account alone",
            )
        } else {
            (
                Severity::Warning,
                "the account is not as the CA made it: its owner may be shut out, or have more than was granted",
            )
        };
    }
    if is(Place::UserCa)
        || is(Place::Fleet)
        || is(Place::SyncKeys)
        || is(Place::AdminUserCa)
        || is(Place::BreakGlassCa)
    {
        return (
            Severity::Danger,
            "this file decides whose certificates, bundles and logins are believed",
        );
    }
    if path.starts_with("/etc/ssh/ca/principals/") {
        return match what {
            "unexpected" | "changed" => (
                Severity::Danger,
                "this file decides whose certificates open the account",
            ),
            _ => (
                Severity::Warning,
                "sshd refuses the account's certificates while this file is not right",
            ),
        };
    }
    if is(Place::SshdDropIn) || path == "/etc/ssh/sshd_config" || path.starts_with("/etc/pam.d/") {
        return (
            Severity::Danger,
            "by this file sshd obeys the CA and the record of sessions is made",
        );
    }
    if is(Place::Sudoers) {
        return (Severity::Danger, "this file decides who becomes root there");
    }
    (Severity::Warning, "somebody or something changed it")
}

#[cfg(test)]
mod tests;
