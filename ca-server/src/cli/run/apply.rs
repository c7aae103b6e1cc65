//! What follows on a plan: shown, agreed to, and sent to be applied against the very policy that it was made for.

use std::io::Write as _;

use ca_api::admin::{AdminReply, AdminRequest, PolicyPlanned};

use super::agree;
use crate::cli::{
    args::GlobalArgs,
    order::{Apply, Base, Consent},
    output::Failure,
    render::policy,
    time::Clock,
};

/// What to do with the answer to a plan.
pub(super) enum Next {
    /// It is the result: wrong, or without any change.
    Show,
    /// Send this.
    Apply(Box<AdminRequest>),
}

/// Shows the plan and asks, unless there is nothing to ask about.
pub(super) fn next(
    apply: &Apply,
    asked: &AdminRequest,
    answer: &AdminReply,
    global: &GlobalArgs,
    clock: Clock,
) -> Result<Next, Failure> {
    let AdminReply::PolicyPlanned(planned) = answer else {
        return Err(Failure::new("bad_answer", "the answer is not a plan"));
    };
    if let Base::Pinned(base) = &apply.base
        && !planned.base.starts_with(base.as_str())
    {
        return Err(moved_on(planned, base));
    }
    if !planned.sound() || !planned.changes() {
        return Ok(Next::Show);
    }
    let Some(request) = request(apply, asked, planned) else {
        return Ok(Next::Show);
    };
    let asking = apply.consent == Consent::Ask;
    if asking || !(global.quiet || global.json) {
        // Beside the question: standard output is for what came of it.
        let text = policy::planned(planned, policy::Then::Apply, clock);
        let _ = anstream::stderr().write_all(text.as_bytes());
    }
    if asking {
        agree("Apply this?")?;
    }
    Ok(Next::Apply(Box::new(request)))
}

fn request(apply: &Apply, asked: &AdminRequest, planned: &PolicyPlanned) -> Option<AdminRequest> {
    let base = match &apply.base {
        Base::AsPlanned => planned.base.clone(),
        Base::Pinned(base) => base.clone(),
    };
    match (asked, &planned.import) {
        (AdminRequest::PolicyPlan { name, text, force }, _) => Some(AdminRequest::PolicyApply {
            name: name.clone(),
            text: text.clone(),
            base,
            force: *force,
        }),
        (AdminRequest::PolicyImport { name, .. }, Some(import)) => {
            Some(AdminRequest::PolicyApply {
                name: format!("import of {name}"),
                text: import.text.clone(),
                base,
                force: false,
            })
        }
        _ => None,
    }
}

fn moved_on(planned: &PolicyPlanned, base: &str) -> Failure {
    let mut failure = Failure::new(
        "conflict",
        format!(
            "somebody changed the policy since: it is {} now, not {base}; nothing was applied",
            &planned.base[..planned.base.len().min(12)]
        ),
    );
    failure.hint = "Run plan again, and look at what it says.".to_owned();
    failure
}
