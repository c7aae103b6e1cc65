//! A KRL is looked at before it is published: by our own decoder, and by OpenSSH's in both directions (R5).

use std::{collections::HashSet, fs, os::unix::process::CommandExt, path::Path, process::Command};

use ssh_krl::{CaScope, Krl};

use super::{KrlError, Scopes, canaries::Canaries};
use crate::{
    issue::probe::REVOKED_KEY_ID,
    records::{RevocationRecord, Revoked},
};

/// Judges the bytes twice: our own decoder must find every entry, and OpenSSH's must refuse the revoked canary and let
/// the good one through. The word decides, not the exit code alone: an unreadable KRL gives a non-zero one too (R5).
pub(super) fn check(
    bytes: &[u8],
    entries: &[RevocationRecord],
    scopes: &Scopes,
    canaries: &Canaries,
) -> Result<(), KrlError> {
    let wrong = |what: String| KrlError::Check(what);
    let krl = Krl::decode(bytes).map_err(|error| wrong(error.to_string()))?;
    let section = |scope: &CaScope| {
        krl.certificates()
            .find(|(held, _)| *held == scope)
            .map(|(_, section)| section)
            .ok_or_else(|| wrong("the section of a CA key is missing".to_owned()))
    };
    let users = scopes
        .users()
        .map(|scope| Ok(section(scope)?.key_ids().collect::<HashSet<_>>()))
        .collect::<Result<Vec<_>, KrlError>>()?;
    let in_each = |key_id: &str| users.iter().all(|ids| ids.contains(key_id.as_bytes()));
    if !in_each(REVOKED_KEY_ID) {
        return Err(wrong("a section lacks its canary".to_owned()));
    }
    for entry in entries {
        let there = match &entry.what {
            Revoked::KeyId(key_id) => in_each(key_id),
            Revoked::Serial { ca, serial } => {
                let mut everywhere = true;
                for scope in scopes.of_key(ca) {
                    everywhere &= section(scope)?
                        .serials()
                        .iter()
                        .any(|run| (run.first()..=run.last()).contains(serial));
                }
                everywhere
            }
            Revoked::Earlier { ca, last } => {
                let mut everywhere = true;
                for scope in scopes.of_key(ca) {
                    let runs = section(scope)?.serials();
                    everywhere &= runs
                        .iter()
                        .any(|run| run.first() == 1 && run.last() >= *last);
                }
                everywhere
            }
            Revoked::Key(fingerprint) => krl
                .keys_sha256()
                .iter()
                .any(|hash| ssh_key::Fingerprint::Sha256(*hash).to_string() == *fingerprint),
        };
        if !there {
            return Err(wrong(format!("{} is missing", entry.what.describe())));
        }
    }
    let dir =
        tempfile::tempdir().map_err(|error| wrong(format!("no temporary folder: {error}")))?;
    let path = dir.path().join("krl");
    fs::write(&path, bytes)
        .map_err(|error| wrong(format!("it cannot be written for the check: {error}")))?;
    let all = canaries.good.iter().map(|one| (one, "good", false));
    let all = all.chain(canaries.revoked.iter().map(|one| (one, "revoked", true)));
    for (number, (certificate, name, revoked)) in all.enumerate() {
        let file = dir.path().join(format!("{name}-{number}-cert.pub"));
        let text = certificate
            .to_openssh()
            .map_err(|error| wrong(error.to_string()))?;
        fs::write(&file, text)
            .map_err(|error| wrong(format!("a canary cannot be written: {error}")))?;
        let says = openssh_says(&path, &file)
            .map_err(|error| wrong(format!("ssh-keygen cannot be run: {error}")))?;
        if says != Some(revoked) {
            let ca = certificate.signature_key();
            return Err(wrong(format!(
                "OpenSSH does not judge the {name} canary of {} as it must",
                ca.fingerprint(ssh_key::HashAlg::Sha256)
            )));
        }
    }
    Ok(())
}

/// What `ssh-keygen -Q` says of a certificate: revoked, good, or nothing that can be understood.
///
/// # Errors
/// When it cannot be run.
pub fn openssh_says(krl: &Path, certificate: &Path) -> std::io::Result<Option<bool>> {
    let output = Command::new("ssh-keygen")
        .arg("-Q")
        .arg("-f")
        .arg(krl)
        .arg(certificate)
        .env("LC_ALL", "C")
        // Ctrl-C at a terminal asks the server to finish what it does: it must not end this check half way.
        .process_group(0)
        .output()?;
    let words = String::from_utf8_lossy(&output.stdout);
    let revoked = words.trim_end().ends_with(": REVOKED");
    Ok(match (output.status.code(), revoked) {
        (Some(1), true) => Some(true),
        (Some(0), false) => Some(false),
        _ => None,
    })
}
