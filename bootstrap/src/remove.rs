//! `remove-machine`: takes the CA off a machine, then lets the CA forget it; `ssh-admin` keeps working.
//!
//! The machine goes first: were the CA to forget it first, a failure in between would leave a machine that trusts a CA which no
//! longer brings it any revocation.

use ca_api::{
    ErrorCode,
    admin::{AdminReply, AdminRequest},
};
use ca_client::api::{AdminError, CallError};
use ca_machine::{Request, RunError, report::Event};
use policies::MachineName;

use crate::{
    contact::{Contact, ContactError, Contacts, Rebuilt},
    door::Door,
    narrate::{Narrator, Stage},
    wanted::Way,
};

/// Why a machine was not removed, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The CA.
    #[error("the CA: {0}; {1}")]
    Ask(#[source] AdminError, &'static str),
    /// An answer to another question.
    #[error(
        "the CA answered another question than it was asked; are bootstrap and ca-server of the same version?"
    )]
    Answer,
    /// The CA does not know it.
    #[error("the CA knows no machine {0}; nothing was changed")]
    Unknown(MachineName),
    /// Not reached.
    #[error(transparent)]
    Contact(#[from] ContactError),
    /// No answer.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The applier says no.
    #[error("the machine refused ({code}): {detail}; the CA still keeps it")]
    Refused {
        /// The applier's word for it.
        code: String,
        /// Its sentence.
        detail: String,
    },
    /// No new login comes through afterwards.
    #[error("the CA was taken off the machine, but a new login does not come through: {0}")]
    NoWayIn(#[source] ca_machine::OpenError),
}

impl RemoveError {
    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Contact(error) => {
                format!(
                    "{} If the machine is gone for good, `ca-server machine remove NAME --leave-files` makes the CA forget it.",
                    error.hint()
                )
            }
            Self::Run(error) => crate::contact::run_hint(error).to_owned(),
            Self::Ask(..) => "Run the command again: it finishes what is missing.".to_owned(),
            Self::NoWayIn(_) => {
                "Keep this login's other connections open and look into sshd's log there."
                    .to_owned()
            }
            Self::Unknown(_) => "`ca-server machine list` names those it knows.".to_owned(),
            Self::Answer | Self::Refused { .. } => String::new(),
        }
    }
}

/// Removes a machine.
///
/// # Errors
/// [`RemoveError`], with what was done so far.
pub async fn machine(
    door: &Door,
    contacts: &Contacts,
    name: &MachineName,
    way: &Way,
    narrator: &Narrator,
) -> Result<(), RemoveError> {
    let mut told = narrator.of(name.as_str());
    told.doing("asking the CA");
    let known = match door
        .ask(
            &AdminRequest::MachineShow {
                machine: name.to_string(),
            },
            |_| {},
        )
        .await
    {
        Ok(AdminReply::Machine(machine)) => machine,
        Ok(_) => return Err(RemoveError::Answer),
        Err(error) if not_found(&error) => return Err(RemoveError::Unknown(name.clone())),
        Err(error) => return Err(RemoveError::Ask(error, "nothing was changed")),
    };
    let contact = Contact::make(contacts, name, way, Some(&known), Rebuilt::No, &mut told).await?;
    told.doing("taking the CA off the machine");
    told.stage(Stage::Applying { within_secs: 0 });
    let report = contact
        .connection
        .first_contact(&Request::Remove, &contact.privilege)
        .await?;
    if let Some((code, detail)) = report.refusal() {
        return Err(RemoveError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
    }
    let files = report
        .events
        .iter()
        .filter(|event| matches!(event, Event::File { .. }))
        .count();
    let accounts: Vec<&str> = report
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Account { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    told.did(&match accounts.as_slice() {
        [] => format!("{files} files of the CA taken off"),
        names => format!(
            "{files} files of the CA taken off, accounts closed (their homes stay): {}",
            names.join(", ")
        ),
    });
    told.doing("logging in anew");
    contact.anew().await.map_err(RemoveError::NoWayIn)?;
    told.did(&format!("a new login as {} comes through", way.user));
    told.doing("letting the CA forget it");
    match door
        .ask(
            // They are off already, and with them the CA's own way in.
            &AdminRequest::MachineRemove {
                machine: name.to_string(),
                leave_files: true,
            },
            |note| told.more(note),
        )
        .await
    {
        Ok(_) => {}
        Err(error) if not_found(&error) => {}
        Err(error) => {
            return Err(RemoveError::Ask(
                error,
                "the CA was taken off the machine, but still lists it",
            ));
        }
    }
    told.did("the CA has forgotten it");
    told.stage(Stage::Done);
    Ok(())
}

fn not_found(error: &AdminError) -> bool {
    matches!(error, AdminError::Failed(error) | AdminError::Call(CallError::Refused(error)) if error.code == ErrorCode::NotFound)
}
