//! A document becomes the policy: in one transaction, with everything that it means for people at the CA, or not at all.

mod delivery;
mod steps;

use std::{collections::BTreeMap, sync::Arc};

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, PolicyApplied, PolicyPlanned},
};
use policies::{Email, Status};

use super::{Asked, Held, against::Against, aside, hold, is_base, stored};
use crate::{
    admin::{
        Admin, Events,
        change::policy_change,
        employee::{self, Code},
    },
    ca::Ca,
    ledger::Actor,
};

impl Admin {
    /// `policy apply`.
    pub(in crate::admin) async fn apply(
        &self,
        actor: Actor,
        asked: Asked,
        base: String,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let ca = &self.ca;
        let (shared, document, pinned) = (Arc::clone(ca), asked.clone(), base);
        let (first, against) = aside(move || {
            let against = stored(&shared)?;
            let held = hold(&document, &against, shared.clock.now());
            fit(&held.planned, &pinned)?;
            Ok((held, against))
        })
        .await?;
        let planned = first.planned.clone();
        if !planned.changes() {
            return Ok(applied(planned));
        }
        let codes = codes(ca, &first, &against);
        let keys: steps::Keys = codes
            .iter()
            .map(|(email, code)| (email.clone(), (code.key.clone(), code.expires_unix)))
            .collect();
        let before = delivery::Before::look(ca)?;
        let (uids, now, pinned) = (ca.config.sync.uids, ca.clock.now(), planned.base.clone());
        policy_change(ca, actor, move |policy, editing| {
            let stands = Against::read(editing.txn, uids)?;
            // The same store gives the same reading; another one is read again, while the writer waits.
            let again;
            let held = if stands == against {
                &first
            } else {
                again = hold(&asked, &stands, now);
                fit(&again.planned, &pinned)?;
                &again
            };
            steps::make_so(policy, editing, held, &keys, uids)
        })
        .await?;
        let mut reply = PolicyApplied {
            invitations: codes
                .into_iter()
                .map(|(email, code)| employee::invitation(ca, &email, code))
                .collect::<Result<_, _>>()?,
            ..empty(planned)
        };
        self.bring(before, &mut reply, events).await;
        Ok(AdminReply::PolicyApplied(Box::new(reply)))
    }
}

fn empty(planned: PolicyPlanned) -> PolicyApplied {
    PolicyApplied {
        planned,
        invitations: Vec::new(),
        revoked_certificates: 0,
        krl_version: 0,
        machines: Vec::new(),
    }
}

fn applied(planned: PolicyPlanned) -> AdminReply {
    AdminReply::PolicyApplied(Box::new(empty(planned)))
}

/// May this be applied to the policy that `base` names?
fn fit(planned: &PolicyPlanned, base: &str) -> Result<(), ApiError> {
    if !is_base(&planned.base, base) {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "somebody changed the policy since; nothing was applied",
        )
        .hint("run plan again, and look at what it says"));
    }
    if planned.sound() {
        return Ok(());
    }
    let errors = planned.plan.iter().flat_map(|plan| &plan.errors).cloned();
    let wrong: Vec<String> = planned
        .faults
        .iter()
        .chain(&planned.broken)
        .map(|at| format!("{}:{}:{}: {}", at.file, at.line, at.column, at.message))
        .chain(errors)
        .take(5)
        .collect();
    Err(ApiError::new(
        ErrorCode::Invalid,
        format!("the document cannot be applied: {}", wrong.join("; ")),
    )
    .hint("nothing was applied; `ca-server policy plan` shows all that is wrong"))
}

/// A code for everybody who will be invited: made before the transaction, which may run more than once.
fn codes(ca: &Ca, held: &Held, against: &Against) -> BTreeMap<Email, Code> {
    let gone = |email: &Email| {
        let stored = against.policy.employees.get(email);
        stored.is_none_or(|person| person.status == Status::Removed)
    };
    held.reading
        .iter()
        .flat_map(|reading| &reading.policy.employees)
        .filter(|(email, person)| steps::is_let_in(person.status) && gone(email))
        .map(|(email, _)| (email.clone(), Code::new(ca)))
        .collect()
}
