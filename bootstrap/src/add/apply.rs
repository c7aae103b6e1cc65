//! Applying, and the fresh login that confirms it (H1, H2).

use std::time::{Duration, Instant};

use ca_machine::{
    Connection, Nonce, OpenError, Report, Request, RunError,
    report::{Event, State},
};

use super::{
    back::{self, Armed, Back},
    changes::Changes,
    prepare::Prepared,
};
use crate::{
    contact::{Contact, run_hint},
    narrate::{Narration, Stage},
    terminal::let_an_interrupt_come,
    wanted::Wanted,
};

/// Between two attempts to log in again.
const PAUSE: Duration = Duration::from_secs(1);

/// A login that is refused is tried so often: sshd may be reading its new configuration.
const REFUSALS: u32 = 3;

/// Why it was not applied, or did not stay.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The applier says no.
    #[error("the machine refused ({code}): {detail}")]
    Refused {
        /// The applier's word for it.
        code: String,
        /// Its sentence, with what became of what was begun.
        detail: String,
    },
    /// The connection broke while it was at work.
    #[error("it is not known how far the machine came: {source}; {back}")]
    Interrupted {
        /// What broke.
        source: RunError,
        /// Where the machine is now.
        back: Back,
    },
    /// Applied, but no new login came through, or it could not confirm.
    #[error("the change was not confirmed: {why}; {back}")]
    NotConfirmed {
        /// Why.
        why: String,
        /// Where the machine is now.
        back: Back,
    },
    /// A dry run without an answer.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl ApplyError {
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Refused { .. } => "Put this right and run the command again.".to_owned(),
            Self::Interrupted { source, .. } => run_hint(source).to_owned(),
            Self::NotConfirmed { .. } => {
                "Look into sshd's log on the machine for the refused login (journalctl -u ssh), then run the command again.".to_owned()
            }
            Self::Run(error) => run_hint(error).to_owned(),
        }
    }
}

/// Applied, and waiting for its confirmation if files changed.
pub(super) struct Applied {
    pub(super) changes: Changes,
    awaiting: Option<Nonce>,
    state: State,
    at: Instant,
}

/// Applied, and a new login came through; the timer still runs.
pub(super) struct Entered {
    /// The new login.
    pub(super) connection: Connection,
    applied: Applied,
}

/// Applied, proven, and the timer disarmed.
pub(super) struct Confirmed {
    /// The new login.
    pub(super) connection: Connection,
    pub(super) changes: Changes,
    pub(super) state: State,
}

impl Entered {
    pub(super) fn armed(&self) -> Armed {
        self.applied.armed()
    }
}

impl Applied {
    fn armed(&self) -> Armed {
        match (self.awaiting, self.changes.is_empty()) {
            (Some(_), _) => Armed::Yes,
            (None, true) => Armed::NothingChanged,
            (None, false) => Armed::No,
        }
    }
}

pub(super) async fn dry_run(
    contact: &Contact,
    prepared: &Prepared,
    wanted: &Wanted,
) -> Result<Changes, ApplyError> {
    let request = Request::DryRun(prepared.delivery(wanted));
    let report = contact
        .connection
        .first_contact(&request, &contact.privilege)
        .await?;
    match report.refusal() {
        Some((code, detail)) => Err(ApplyError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        }),
        None => Ok(Changes::of(&report)),
    }
}

pub(super) async fn apply(
    contact: &Contact,
    prepared: &Prepared,
    wanted: &Wanted,
    confirm_within: Duration,
    told: &mut Narration,
) -> Result<Applied, ApplyError> {
    let nonce = Nonce::random();
    let request = Request::Apply {
        delivery: prepared.delivery(wanted),
        nonce,
        confirm_within,
    };
    told.stage(Stage::Applying {
        within_secs: confirm_within.as_secs(),
    });
    let report = match contact
        .connection
        .first_contact(&request, &contact.privilege)
        .await
    {
        Ok(report) => report,
        Err(source) => {
            let_an_interrupt_come().await;
            told.warn(&format!(
                "the connection broke while the applier was at work: {source}"
            ));
            told.doing("looking where the machine stands");
            let back = back::after_a_break(contact, confirm_within).await;
            return Err(ApplyError::Interrupted { source, back });
        }
    };
    narrate(&report, told);
    if let Some((code, detail)) = report.refusal() {
        return Err(ApplyError::Refused {
            code: code.to_owned(),
            detail: detail.to_owned(),
        });
    }
    let changes = Changes::of(&report);
    let awaiting = report.awaiting();
    if !changes.is_empty() {
        told.did(&format!("changed {}", changes.summary()));
    }
    if awaiting.is_some() {
        told.did(&format!(
            "snapshot kept: the machine puts it back in {} s unless a new login confirms",
            confirm_within.as_secs()
        ));
    }
    let state = report.state().cloned().unwrap_or_default();
    Ok(Applied {
        changes,
        awaiting,
        state,
        at: Instant::now(),
    })
}

/// What a person should know of the applier's steps.
fn narrate(report: &Report, told: &Narration) {
    for event in &report.events {
        match event {
            Event::Warning { code, detail } => {
                told.warn(if detail.is_empty() { code } else { detail })
            }
            Event::Did { name, .. } if name == "earlier-put-back" => {
                told.did("an earlier change that nobody had confirmed was put back first");
            }
            Event::Did { name, detail } if name == "admin-unchanged" => told.warn(detail),
            _ => {}
        }
    }
}

/// A new TCP connection and a new login. Where none comes through, the machine goes back to what it was.
pub(super) async fn enter(
    contact: &Contact,
    applied: Applied,
    confirm_within: Duration,
    told: &mut Narration,
) -> Result<Entered, ApplyError> {
    // The timer's last seconds are left alone: a confirmation that crosses it would be worth nothing.
    let deadline = applied.at + confirm_within.saturating_sub(Duration::from_secs(5));
    let mut refusals = 0;
    let why = loop {
        match contact.anew().await {
            Ok(connection) => {
                told.did("a new login comes through");
                return Ok(Entered {
                    connection,
                    applied,
                });
            }
            Err(error) => {
                if matches!(
                    error,
                    OpenError::Refused { .. } | OpenError::HostKeyChanged { .. }
                ) {
                    refusals += 1;
                }
                if refusals >= REFUSALS || Instant::now() + PAUSE > deadline {
                    break error.to_string();
                }
                told.doing("trying to log in again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let secs = (deadline + Duration::from_secs(5))
        .saturating_duration_since(Instant::now())
        .as_secs();
    told.warn(&format!("a new login does not come through: {why}"));
    told.warn(&format!("the machine puts itself back in {secs} s by itself; asking it over the old login to do so now"));
    told.doing("waiting until the machine is as before");
    let back = back::roll_back_or_wait(
        contact,
        &contact.connection,
        applied.armed(),
        confirm_within,
    )
    .await;
    Err(ApplyError::NotConfirmed { why, back })
}

/// The nonce over the new connection: that disarms the timer.
pub(super) async fn confirm(
    contact: &Contact,
    entered: Entered,
    confirm_within: Duration,
    told: &mut Narration,
) -> Result<Confirmed, ApplyError> {
    let Entered {
        connection,
        applied,
    } = entered;
    let Some(nonce) = applied.awaiting else {
        return Ok(Confirmed {
            connection,
            changes: applied.changes,
            state: applied.state,
        });
    };
    let report = connection
        .first_contact(&Request::Confirm(nonce), &contact.privilege)
        .await;
    let why = match report {
        Ok(report) => match report.refusal() {
            None => {
                told.did("confirmed: the change stays");
                return Ok(Confirmed {
                    connection,
                    changes: applied.changes,
                    state: applied.state,
                });
            }
            Some((code, detail)) => format!("the confirmation was refused ({code}): {detail}"),
        },
        Err(error) => error.to_string(),
    };
    let_an_interrupt_come().await;
    told.warn(&why);
    told.doing("waiting until the machine is as before");
    let back = back::roll_back_or_wait(
        contact,
        &contact.connection,
        applied.armed(),
        confirm_within,
    )
    .await;
    Err(ApplyError::NotConfirmed { why, back })
}
