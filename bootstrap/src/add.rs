//! `add-machine`: from a login to a managed machine, each step told in one line, and nothing left half-done.
//!
//! All machines are looked at first, with every question that there is; then they are changed, and nothing is asked any more:
//! a machine that waits for its confirmation must not wait for a person who reads another machine's question.

mod apply;
mod back;
mod changes;
mod prepare;
mod prove;

use std::{sync::Arc, time::Duration};

use apply::ApplyError;
use back::Back;
use ca_api::{
    ErrorCode,
    admin::{AdminReply, AdminRequest, MachineView},
};
use ca_client::api::{AdminError, CallError};
use ca_machine::{Preflight, RunError, preflight::Facts};
use changes::Changes;
use policies::MachineName;
use prepare::{PrepareError, Prepared, Writes};
use prove::ProveError;

use crate::{
    contact::{Contact, ContactError, Contacts, Rebuilt},
    door::Door,
    narrate::{Narration, Narrator, Stage},
    outcome::{Outcome, Result as Added},
    pace::Pace,
    terminal::let_an_interrupt_come,
    wanted::Wanted,
};

/// What all machines of a run share.
#[derive(Debug)]
pub struct Run {
    /// The CA.
    pub door: Door,
    /// Questions and passwords.
    pub contacts: Contacts,
    /// Narration.
    pub narrator: Narrator,
    /// How many machines at a time.
    pub pace: Pace,
    /// How long a changed machine waits for its confirmation.
    pub confirm_within: Duration,
    /// Whether other host keys than the pinned ones are expected.
    pub rebuilt: Rebuilt,
    /// Whether anything is changed.
    pub order: Order,
}

/// What the person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `--dry-run`.
    Show,
    /// Change, and ask before it where the preflight warns.
    Change,
    /// Change, also after warnings (`--yes`).
    ChangeWithoutAsking,
}

/// Why a machine was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// Before anything was changed.
    #[error(transparent)]
    Contact(#[from] ContactError),
    /// The CA did not say what to apply.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// It was not applied, or not confirmed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A proof failed.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A new machine without a pool.
    #[error("{0} is new to the CA and is in no pool yet; nothing was changed")]
    NoPool(MachineName),
    /// The machine has no answer any more.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl AddError {
    /// What to do next; may be empty.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Contact(error) => error.hint(),
            Self::Prepare(error) => error.hint(),
            Self::Apply(error) => error.hint(),
            Self::Prove(error) => error.hint(),
            Self::NoPool(_) => {
                "Say which with --pool POOL; `ca-server pool list` names them.".to_owned()
            }
            Self::Run(error) => crate::contact::run_hint(error).to_owned(),
        }
    }
}

/// A machine that was looked at, and may be changed.
struct Looked {
    wanted: Wanted,
    contact: Contact,
    found: Preflight,
    known: Option<MachineView>,
}

/// Adds machines; the outcomes have the order of `wanted`.
pub async fn machines(run: Arc<Run>, wanted: Vec<Wanted>) -> Vec<Outcome> {
    let looks = wanted.into_iter().map(|wanted| {
        let run = Arc::clone(&run);
        async move {
            let _turn = run.pace.turn().await;
            let mut told = run.narrator.of(wanted.name.as_str());
            let name = wanted.name.clone();
            let looked = look(&run, wanted, &mut told).await;
            match looked {
                Ok(looked) => Ok(looked),
                Err(error) => Err(failed(&told, &name, &error).await),
            }
        }
    });
    let mut looked = all(looks).await;
    if run.order != Order::Show && !agreed(&run, &looked).await {
        for machine in &mut looked {
            if let Ok(Looked { wanted, .. }) = machine {
                let told = run.narrator.of(wanted.name.as_str());
                *machine =
                    Err(failed(&told, &wanted.name.clone(), &ContactError::Declined.into()).await);
            }
        }
    }
    let changes = looked.into_iter().map(|looked| {
        let run = Arc::clone(&run);
        async move {
            let looked = match looked {
                Ok(looked) => looked,
                Err(outcome) => return outcome,
            };
            let _turn = run.pace.turn().await;
            let mut told = run.narrator.of(looked.wanted.name.as_str());
            let name = looked.wanted.name.clone();
            let done = match run.order {
                Order::Show => show(&run, looked, &mut told).await,
                Order::Change | Order::ChangeWithoutAsking => change(&run, looked, &mut told).await,
            };
            match done {
                Ok(outcome) => outcome,
                Err(error) => failed(&told, &name, &error).await,
            }
        }
    });
    all(changes).await
}

/// Runs them at the same time; the results have their order.
async fn all<T: Send + 'static>(
    work: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = work.map(tokio::spawn).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(
            task.await
                .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())),
        );
    }
    done
}

async fn failed(told: &Narration, name: &MachineName, error: &AddError) -> Outcome {
    let_an_interrupt_come().await;
    told.failed(&error.to_string());
    let hint = error.hint();
    if !hint.is_empty() {
        told.more(&hint);
    }
    told.gave_up();
    Outcome::failed(name, error.to_string(), hint)
}

/// Everything that can be found out, and asked, without changing anything.
async fn look(run: &Run, wanted: Wanted, told: &mut Narration) -> Result<Looked, AddError> {
    told.doing("asking the CA");
    let known = known(&run.door, &wanted.name).await?;
    if known.is_none() && wanted.pools.is_empty() {
        return Err(AddError::NoPool(wanted.name));
    }
    let contact = Contact::make(
        &run.contacts,
        &wanted.name,
        &wanted.way,
        known.as_ref(),
        run.rebuilt,
        told,
    )
    .await?;
    told.doing("looking for obstacles");
    let first = contact.preflight(&wanted, &[]).await?;
    // What would be applied names the accounts, and the machine must have room for them. Obstacles come before what the CA may say.
    let accounts =
        match prepare::prepare(run, &wanted, &contact, &first.facts, Writes::Nothing).await {
            Ok(prepared) => prepared.accounts(),
            Err(_) if !first.obstacles.is_empty() => Vec::new(),
            Err(error) => return Err(error.into()),
        };
    let found = if accounts.is_empty() {
        first
    } else {
        contact.preflight(&wanted, &accounts).await?
    };
    if !found.obstacles.is_empty() {
        return Err(ContactError::Obstacles(found.obstacles).into());
    }
    for warning in &found.warnings {
        told.warn(&warned(&warning.what, &warning.remedy));
    }
    told.did(&format!("no obstacles on {}", described(&found.facts)));
    told.rest();
    Ok(Looked {
        wanted,
        contact,
        found,
        known,
    })
}

fn described(facts: &Facts) -> String {
    let os = if facts.os.is_empty() {
        "an unknown system"
    } else {
        &facts.os
    };
    format!("{os}, OpenSSH {}", facts.openssh)
}

fn warned(what: &str, remedy: &str) -> String {
    if remedy.is_empty() {
        what.to_owned()
    } else {
        format!("{what} ({remedy})")
    }
}

/// What the CA knows of a machine.
async fn known(door: &Door, name: &MachineName) -> Result<Option<MachineView>, PrepareError> {
    let request = AdminRequest::MachineShow {
        machine: name.to_string(),
    };
    match door.ask(&request, |_| {}).await {
        Ok(AdminReply::Machine(machine)) => Ok(Some(machine)),
        Ok(_) => Err(PrepareError::Answer),
        Err(AdminError::Failed(error) | AdminError::Call(CallError::Refused(error)))
            if error.code == ErrorCode::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks whether to go on where the preflight warns; without a terminal the command itself is the order.
async fn agreed(run: &Run, looked: &[Result<Looked, Outcome>]) -> bool {
    let warned = looked
        .iter()
        .flatten()
        .filter(|looked| !looked.found.warnings.is_empty())
        .count();
    let person = run.contacts.person;
    if warned == 0
        || run.order == Order::ChangeWithoutAsking
        || person == crate::terminal::Person::Nobody
    {
        return true;
    }
    let question = if warned == 1 {
        "There are warnings for one machine. Go on?"
    } else {
        "There are warnings for several machines. Go on?"
    };
    let narrator = run.narrator.clone();
    let answer =
        tokio::task::spawn_blocking(move || narrator.quiet(|| person.agrees(question))).await;
    answer.expect("asking does not panic").unwrap_or(false)
}

/// `--dry-run`: what the applier would change.
async fn show(run: &Run, looked: Looked, told: &mut Narration) -> Result<Outcome, AddError> {
    let Looked {
        wanted,
        contact,
        found,
        ..
    } = looked;
    told.doing("asking what would change");
    let prepared = prepare::prepare(run, &wanted, &contact, &found.facts, Writes::Nothing).await?;
    let changes = apply::dry_run(&contact, &prepared, &wanted).await?;
    if changes.is_empty() {
        told.did("nothing would change");
    } else {
        told.did(&format!(
            "would change {}; nothing was changed",
            changes.summary()
        ));
        for change in changes.lines() {
            told.more(&change);
        }
    }
    told.stage(Stage::Done);
    Ok(outcome(
        &wanted,
        &prepared,
        if changes.is_empty() {
            Added::NothingToChange
        } else {
            Added::WouldChange
        },
        &changes,
    ))
}

/// Reserve, apply, confirm, prove, and hand over to the CA.
async fn change(run: &Run, looked: Looked, told: &mut Narration) -> Result<Outcome, AddError> {
    let Looked {
        wanted,
        contact,
        found,
        known,
    } = looked;
    told.doing("asking the CA what to apply");
    let prepared = prepare::prepare(run, &wanted, &contact, &found.facts, Writes::Reserve).await?;
    told.stage(Stage::Reserved);
    told.did(&format!(
        "the CA wants generation {} there, and KRL version {}",
        prepared.reply.generation, prepared.reply.krl_version
    ));

    told.doing("applying, with a snapshot and a timer that puts it back");
    let applied = apply::apply(&contact, &prepared, &wanted, run.confirm_within, told).await?;
    let managed = known.as_ref().is_some_and(|known| {
        known.status == "managed" && known.generation == prepared.reply.generation
    });
    if applied.changes.is_empty() && managed {
        told.did(&format!(
            "nothing to change: generation {} is there already, and the CA keeps it",
            prepared.reply.generation
        ));
        told.stage(Stage::Done);
        return Ok(outcome(
            &wanted,
            &prepared,
            Added::Unchanged,
            &applied.changes,
        ));
    }
    told.doing("proving a way in");
    let entered = apply::enter(&contact, applied, run.confirm_within, told).await?;
    // The proofs come before the confirmation: where one fails, the snapshot is still there to go back to, and where this program
    // is killed, the timer does it. The refused logins among them go over loopback, so that sshd does not punish this address.
    told.doing("proving who gets in and who does not");
    if let Err(error) = prove::prove(run, &wanted, &contact, &prepared, &entered, told).await {
        let back = back::roll_back_or_wait(
            &contact,
            &entered.connection,
            entered.armed(),
            run.confirm_within,
        )
        .await;
        return Err(ProveError::put_back(error, back).into());
    }
    let confirmed = apply::confirm(&contact, entered, run.confirm_within, told).await?;
    told.stage(Stage::Confirmed);
    told.doing("handing it over to the CA");
    if let Err(error) = prove::hand_over(run, &wanted, &prepared, &confirmed, told).await {
        // The CA may have taken it: what it manages must not be taken from under it.
        if matches!(error, ProveError::HandOverUnknown(_)) {
            return Err(error.into());
        }
        // A machine that trusts the CA but hears of no revocation must not stay: what was never managed goes back to what it was.
        let back = match &known {
            Some(known) if known.status == "managed" => Back::Stays,
            _ => back::take_off(&contact, &confirmed.connection).await,
        };
        return Err(ProveError::put_back(error, back).into());
    }
    if prepared.fetches() {
        told.doing("fetching once");
        prove::fetches(&contact, &confirmed, told).await;
    }
    told.stage(Stage::Done);
    let result = if confirmed.changes.is_empty() {
        Added::Unchanged
    } else {
        Added::Added
    };
    Ok(outcome(&wanted, &prepared, result, &confirmed.changes))
}

fn outcome(wanted: &Wanted, prepared: &Prepared, result: Added, changes: &Changes) -> Outcome {
    Outcome {
        name: wanted.name.to_string(),
        result,
        generation: prepared.reply.generation,
        krl_version: prepared.reply.krl_version,
        changes: changes.lines(),
        who: prepared.reply.who.clone(),
        error: String::new(),
        hint: String::new(),
    }
}
