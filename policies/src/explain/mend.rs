//! The command that mends what is missing, ready to be typed.

use super::{Question, Reason};
use crate::{Grant, GrantAccount, Grantee, MachineName, Policy, PoolName, Status};

/// The command for something that a grant misses.
pub(super) fn for_grant(
    policy: &Policy,
    question: &Question,
    grant: &Grant,
    reason: &Reason,
) -> Option<String> {
    let email = &question.email;
    match reason {
        Reason::NotInTeam { team, .. } => Some(format!("ca-server team join {team} {email}")),
        Reason::MachineNotInPool { pool, .. } => {
            Some(move_machine(policy, &question.machine, pool))
        }
        Reason::NotNamed { .. } => Some(grant_like(question, grant, Until::AsItIs)),
        Reason::OtherAccount { asked, .. } => {
            let own = policy
                .employees
                .get(email)
                .is_some_and(|employee| employee.account == *asked);
            // Somebody else's own account is never shared.
            let others = policy
                .employees
                .values()
                .any(|other| other.email != *email && other.account == *asked);
            let account = if own {
                GrantAccount::Own
            } else {
                GrantAccount::Shared(asked.clone())
            };
            (!others).then(|| {
                let grant = Grant {
                    account,
                    ..grant.clone()
                };
                grant_like(question, &grant, Until::AsItIs)
            })
        }
        Reason::Ended { .. } => Some(grant_like(question, grant, Until::EightHours)),
        Reason::TeamCircle { .. } | Reason::PoolCircle { .. } | Reason::Unsound { .. } => {
            Some("ca-server policy export".to_owned())
        }
        Reason::OutsideHours { .. }
        | Reason::SecurityKeyNeeded
        | Reason::OwnAccountUnsound { .. }
        | Reason::NoTimeLeft => None,
        Reason::ClockOutOfRange
        | Reason::UnknownEmployee
        | Reason::NotActive { .. }
        | Reason::UnknownMachine
        | Reason::MachineInNoPool => for_anybody(policy, question, reason),
    }
}

/// The command for something that stands in the way whatever the rules say.
pub(super) fn for_anybody(policy: &Policy, question: &Question, reason: &Reason) -> Option<String> {
    let (email, machine) = (&question.email, &question.machine);
    match reason {
        Reason::UnknownEmployee => Some(format!("ca-server employee add {email}")),
        Reason::NotActive { status } => match status {
            Status::Active => None,
            // A new enrolment code, where the first was lost or has expired.
            Status::Invited => Some(format!("ca-server employee reset {email}")),
            Status::Suspended => Some(format!("ca-server employee resume {email}")),
            Status::Removed => Some(format!("ca-server employee add {email}")),
        },
        Reason::UnknownMachine => Some(match policy.pools.keys().next() {
            Some(pool) => format!("bootstrap add-machine {machine} --pool {pool}"),
            None => format!("bootstrap add-machine {machine} --pool POOL"),
        }),
        Reason::MachineInNoPool => policy
            .pools
            .keys()
            .next()
            .map(|pool| move_machine(policy, machine, pool)),
        _ => None,
    }
}

/// The command for access where no rule comes near.
pub(super) fn new_grant(question: &Question, pool: &PoolName, own: Own) -> String {
    let account = match (&question.account, own) {
        (Some(account), Own::Other) => format!(" --account {account}"),
        (Some(_) | None, _) => String::new(),
    };
    format!(
        "ca-server grant add --employee {} --pool {pool}{account}",
        question.email
    )
}

/// Whether the account that was asked about is the person's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// It is, or none was asked about.
    Own,
    /// It is another.
    Other,
}

#[derive(Clone, Copy)]
enum Until {
    AsItIs,
    EightHours,
}

/// `machine move` sets all pools: the machine's own are repeated, so that it stays in them.
fn move_machine(policy: &Policy, machine: &MachineName, pool: &PoolName) -> String {
    let mut pools = policy
        .machines
        .get(machine)
        .map(|machine| machine.pools.clone())
        .unwrap_or_default();
    pools.insert(pool.clone());
    let pools: Vec<String> = pools.iter().map(|pool| format!(" --pool {pool}")).collect();
    format!("ca-server machine move {machine}{}", pools.concat())
}

/// A grant on the same pool and account for this person, or for the team that is named already.
fn grant_like(question: &Question, grant: &Grant, until: Until) -> String {
    let who = match (&grant.who, until) {
        (Grantee::Team(team), Until::EightHours) => format!("--team {team}"),
        (Grantee::Team(_) | Grantee::Employee(_), _) => format!("--employee {}", question.email),
    };
    let account = match &grant.account {
        GrantAccount::Own => String::new(),
        GrantAccount::Shared(account) => format!(" --account {account}"),
    };
    let until = match until {
        Until::AsItIs => "",
        Until::EightHours => " --until 8h",
    };
    format!(
        "ca-server grant add {who} --pool {}{account}{until}",
        grant.pool
    )
}
