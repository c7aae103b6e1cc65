//! `check`: what the CA finds on machines, and what a look from here finds, where a login needs no question.

use std::collections::BTreeMap;

use ca_api::admin::{AdminReply, AdminRequest, Gravity, MachineCheck, MachineView};
use ca_client::api::AdminError;
use ca_machine::{Report, Request, report::Event};
use policies::MachineName;
use serde::Serialize;

use crate::{
    contact::{Contact, Contacts, Passwords, Rebuilt},
    door::Door,
    narrate::Narrator,
    terminal::{Person, let_an_interrupt_come},
    wanted::Way,
};

/// What was found on one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Its name.
    pub name: String,
    /// Did the CA reach it?
    pub reached_by_ca: bool,
    /// Did the look from here succeed?
    pub reached_from_here: bool,
    /// What is not as wanted, one line each; empty means all is well.
    pub findings: Vec<String>,
}

/// Why there is no check-up.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The CA.
    #[error("the CA: {0}")]
    Ask(#[from] AdminError),
    /// An answer to another question.
    #[error(
        "the CA answered another question than it was asked; are bootstrap and ca-server of the same version?"
    )]
    Answer,
}

/// Checks machines; the result has the order of `names`.
///
/// # Errors
/// When the CA has no answer.
pub async fn machines(
    door: &Door,
    names: &[MachineName],
    way: &Way,
    password: Option<String>,
    narrator: &Narrator,
) -> Result<Vec<Checked>, CheckError> {
    let request = AdminRequest::Check {
        machines: names.iter().map(ToString::to_string).collect(),
        pool: None,
        repair: false,
    };
    let AdminReply::Checked(checks) = door.ask(&request, |note| narrator.say(note)).await? else {
        return Err(CheckError::Answer);
    };
    let AdminReply::Machines(views) = door.ask(&AdminRequest::MachineList {}, |_| {}).await? else {
        return Err(CheckError::Answer);
    };
    let checks: BTreeMap<&str, &MachineCheck> = checks
        .iter()
        .map(|check| (check.machine.as_str(), check))
        .collect();
    let views: BTreeMap<&str, &MachineView> = views
        .iter()
        .map(|view| (view.name.as_str(), view))
        .collect();
    // A check-up asks nothing: it runs from cron as well.
    let contacts = Contacts {
        person: Person::Nobody,
        passwords: Passwords::new(password, names.len()),
    };
    let mut checked = Vec::with_capacity(names.len());
    for name in names {
        let mut told = narrator.of(name.as_str());
        let by_ca = checks.get(name.as_str());
        let of_ca = by_ca
            .map(|check| check.findings.as_slice())
            .unwrap_or_default();
        let mut findings = Vec::new();
        for finding in of_ca {
            let text = format!("{}: {}; {}", finding.what, finding.meaning, finding.remedy);
            if finding.gravity == Gravity::Notice {
                told.more(&text);
            } else {
                findings.push(text);
            }
        }
        if by_ca.is_none() {
            findings.push("the CA did not check it".to_owned());
        }
        told.doing("looking from here");
        let view = views.get(name.as_str()).copied();
        let looked = match Contact::make(&contacts, name, way, view, Rebuilt::No, &mut told).await {
            Ok(contact) => contact
                .connection
                .first_contact(&Request::Check, &contact.privilege)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let reached_from_here = match looked {
            Ok(report) => {
                for (subject, finding) in drift(&report) {
                    // What the CA saw too it has told already, with what it means.
                    if !findings.iter().any(|told| told.contains(&subject)) {
                        findings.push(finding);
                    }
                }
                true
            }
            Err(why) => {
                let_an_interrupt_come().await;
                told.warn(&format!("no look from here: {why}"));
                false
            }
        };
        if findings.is_empty() {
            told.did("as the CA wants it");
        }
        for finding in &findings {
            told.failed(finding);
        }
        checked.push(Checked {
            name: name.to_string(),
            reached_by_ca: by_ca.is_some_and(|check| check.reached),
            reached_from_here,
            findings,
        });
    }
    Ok(checked)
}

/// What the applier's own check-up says: what it is about, and the line.
fn drift(report: &Report) -> Vec<(String, String)> {
    let events = report.events.iter().filter_map(|event| match event {
        Event::Drift { path, what } => Some((path.clone(), format!("{path}: {what}"))),
        Event::Warning { code, detail } if detail.is_empty() => Some((code.clone(), code.clone())),
        Event::Warning { detail, .. } => Some((detail.clone(), detail.clone())),
        Event::Refused { code, detail } => Some((detail.clone(), format!("{detail} ({code})"))),
        _ => None,
    });
    events.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_told_by_path() {
        let lines = "{\"step\":\"drift\",\"path\":\"/etc/sudoers.d/ssh-ca\",\"what\":\"changed\"}\n{\"step\":\"done\"}\n";
        let told = drift(&Report::parse(lines.as_bytes()).unwrap());
        assert_eq!(told[0].1, "/etc/sudoers.d/ssh-ca: changed");
    }
}
