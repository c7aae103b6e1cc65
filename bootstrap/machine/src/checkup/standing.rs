//! Where a machine stands, by its own numbers: generation, KRL, clock, version of OpenSSH.

use sha2::{Digest, Sha256};

use super::{Mend, Scene, Severity};
use crate::{
    applier,
    bundle::{Place, manifest::hex},
    facts::Fact,
    report::State,
    spec::OpenSshVersion,
};

/// The finding that a new version of OpenSSH was installed.
pub const OPENSSH_CHANGED: &str = "openssh-changed";

/// Seconds that a machine's clock may be off before it is told.
const CLOCK_WARNING_SECS: u64 = 60;
/// Seconds from which a clock that is off changes who gets in.
const CLOCK_DANGER_SECS: u64 = 600;

impl Scene<'_> {
    pub(super) fn versions(&mut self, state: &State) {
        let wanted = self.expected.bundle.generation;
        if state.applied_generation != wanted {
            self.find_drift(
                Severity::Warning,
                "generation",
                format!(
                    "its configuration is of generation {}, wanted is {wanted}",
                    state.applied_generation
                ),
                "what was decided since is not in force there",
            );
        } else if state.bundle_sha256 != self.expected.bundle_sha256 {
            self.find(
                Severity::Danger,
                "other-bundle",
                format!("generation {wanted} on the machine has another content than the CA's"),
                "somebody else made it, or the machine's own record was changed",
                "look into /var/lib/ssh-ca there, then run `bootstrap add-machine --resync`",
                Mend::Person,
            );
        } else {
            self.manifest();
            let ours = hex(&Sha256::digest(applier::APPLIER.as_bytes()));
            let place = Place::Applier.path();
            if state.applier_sha256 != ours && !self.drifted(&place) {
                self.find_drift(
                    Severity::Warning,
                    "applier",
                    "its applier is another one than this server's".to_owned(),
                    "it may not understand what this server asks",
                );
            }
        }
        self.fleet_key(state);
        if !state.awaiting.is_empty() {
            let left = state.restore_in_secs.unwrap_or(0);
            self.find(
                Severity::Warning,
                "pending",
                format!(
                    "a change waits for its confirmation; the machine puts it back in {left} s"
                ),
                "the last change was not proven by a new login",
                "if nobody is at it just now: wait until it is put back, then `ca-server sync`",
                Mend::Person,
            );
        }
        if state.stale {
            self.find_drift(
                Severity::Warning,
                "stale",
                "its configuration is older than it may be".to_owned(),
                "the machine keeps it, but takes this generation no more: it was not reached for weeks",
            );
        }
        let krl = self.expected.krl_version;
        if state.krl_version > krl {
            self.find(
                Severity::Warning,
                "krl-ahead",
                format!("it has KRL {}, the CA has {krl}", state.krl_version),
                "the CA was put back to an older state, and revocations made since may be missing here",
                "`ca-server krl push` brings one that is newer than both",
                Mend::Person,
            );
        } else if state.krl_version != krl || state.krl_sha256 != self.expected.krl_sha256 {
            self.find_drift(
                Severity::Danger,
                "krl",
                format!("it has KRL {}, in force is {krl}", state.krl_version),
                "what was revoked since, or is missing in the file, still opens this machine",
            );
        } else if state.krl_canaries != "ok" {
            self.find_drift(
                Severity::Danger,
                "krl-canaries",
                format!(
                    "its own OpenSSH does not judge the canaries as it must ({})",
                    state.krl_canaries
                ),
                "the KRL cannot be read there: revoked certificates may work, or everybody may be refused",
            );
        }
    }

    /// Whom the machine believes: what it goes by, held against what the CA's bundle names.
    fn fleet_key(&mut self, state: &State) {
        let wanted = self.expected.bundle.files.get(&Place::Fleet);
        let wanted = wanted.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let (Some(wanted), false) = (wanted, state.fleet_keys.is_empty()) else {
            return;
        };
        let named = |key: &String| wanted.split_whitespace().any(|word| word == key);
        if state.fleet_keys.iter().any(named) {
            if !state.fleet_keys.iter().all(named) {
                self.find(
                    Severity::Danger,
                    "fleet-key-foreign",
                    "it goes by a fleet key more than the CA has".to_owned(),
                    "whoever has that key commands the machine",
                    "run `bootstrap add-machine --resync`: it goes by the CA's own alone then",
                    Mend::Person,
                );
            }
            return;
        }
        self.find_drift(
            Severity::Warning,
            "fleet-key",
            "it goes by another fleet key than the one that signs".to_owned(),
            "it takes nothing from the CA before it is led on; if the next sync does not do that, an admin's `bootstrap add-machine --resync` does",
        );
    }

    /// The machine compares itself with its own copy of the manifest: is it the CA's?
    fn manifest(&mut self) {
        let bytes = self.expected.bundle.encode();
        let end = bytes
            .windows(5)
            .position(|window| window == b"\nend\n")
            .map_or(bytes.len(), |at| at + 5);
        let ours = hex(&Sha256::digest(&bytes[..end]));
        let same = self
            .report
            .facts()
            .any(|fact| matches!(fact, Fact::Manifest { sha256 } if *sha256 == ours));
        let told = self
            .report
            .facts()
            .any(|fact| matches!(fact, Fact::Manifest { .. }));
        if told && !same {
            self.find_drift(
                Severity::Danger,
                "manifest",
                "the list of what was applied, /var/lib/ssh-ca/manifest, is not the CA's"
                    .to_owned(),
                "what the machine compares itself with was changed, so other changes may be hidden",
            );
        }
    }

    pub(super) fn machine(&mut self, state: &State) {
        let skew = state.clock_unix.abs_diff(self.expected.asked_unix);
        if skew > CLOCK_WARNING_SECS {
            let severity = if skew > CLOCK_DANGER_SECS {
                Severity::Danger
            } else {
                Severity::Warning
            };
            let ahead = state.clock_unix > self.expected.asked_unix;
            let side = if ahead { "ahead" } else { "behind" };
            self.find(
                severity,
                "clock",
                format!("its clock is {skew} s {side} of the CA's"),
                "sshd judges the lifetime of certificates by it: behind, ended ones still open it; ahead, good ones are refused",
                "set its clock (systemd-timesyncd or chrony); if all machines are off alike, set the CA's",
                Mend::Person,
            );
        }
        let Some(version) = version(&state.openssh) else {
            return;
        };
        if version < OpenSshVersion::OLDEST {
            self.find(
                Severity::Danger,
                "old-openssh",
                format!("OpenSSH {version} is older than {}", OpenSshVersion::OLDEST),
                "it cannot verify what the CA sends",
                "upgrade openssh there",
                Mend::Person,
            );
        } else if version != self.expected.openssh {
            let (made_for, code) = (self.expected.openssh, OPENSSH_CHANGED);
            let what =
                format!("it has OpenSSH {version}, its configuration was made for {made_for}");
            let meaning = "directives that only the new version knows are missing, or the old one's are there";
            self.find_drift(Severity::Warning, code, what, meaning);
        }
    }
}

/// `9.2p1` as a version.
fn version(text: &str) -> Option<OpenSshVersion> {
    let (major, rest) = text.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(OpenSshVersion(major.parse().ok()?, minor.parse().ok()?))
}
