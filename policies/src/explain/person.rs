//! What stands in the way of a person or at a machine, whatever the rules say.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{Missing, Question, Reason, mend, reason::About};
use crate::{
    Email, Employee, Policy, PoolName, Problem, Status,
    decide::unix_secs_floor,
    rules::{self, Facts},
};

/// Everything that stands in the way; empty where the rules decide.
pub(super) fn obstacles(
    policy: &Policy,
    question: &Question,
    pools_of_machine: &BTreeSet<PoolName>,
    now: OffsetDateTime,
) -> Vec<Missing> {
    let mut reasons = Vec::new();
    if unix_secs_floor(now).is_none() {
        reasons.push(Reason::ClockOutOfRange);
    }
    match policy.employees.get(&question.email) {
        None => reasons.push(Reason::UnknownEmployee),
        Some(employee) if employee.status != Status::Active => reasons.push(Reason::NotActive {
            status: employee.status,
        }),
        Some(_) => {}
    }
    match policy.machines.get(&question.machine) {
        None => reasons.push(Reason::UnknownMachine),
        Some(_) if pools_of_machine.is_empty() => reasons.push(Reason::MachineInNoPool),
        Some(_) => {}
    }
    reasons
        .into_iter()
        .map(|reason| Missing {
            sentence: reason.sentence(about(question)),
            mend: mend::for_anybody(policy, question, &reason),
            reason,
        })
        .collect()
}

pub(super) fn about(question: &Question) -> About<'_> {
    About {
        email: &question.email,
        machine: &question.machine,
    }
}

/// Why grants of the own account do not count for somebody; `None` if they do.
pub(super) fn own_account_fault(
    email: &Email,
    policy: &Policy,
    facts: &Facts<'_>,
) -> Option<String> {
    if facts.own_account_is_sound(email) {
        return None;
    }
    let employee = policy.employees.get(email)?;
    let sharing = |same: &dyn Fn(&Employee) -> bool| -> Vec<Email> {
        let others = policy.employees.iter().filter(|(_, other)| same(other));
        others.map(|(email, _)| email.clone()).collect()
    };
    let account = &employee.account;
    let with_account = sharing(&|other| other.account == *account);
    let with_uid = sharing(&|other| other.uid == employee.uid);
    let problem = if employee.email != *email {
        Problem::EmployeeUnderOtherEmail {
            key: email.clone(),
            email: employee.email.clone(),
        }
    } else if rules::is_system_account(account) {
        Problem::OwnAccountIsSystem {
            email: email.clone(),
            account: account.clone(),
        }
    } else if !rules::is_person_uid(employee.uid) {
        Problem::SystemUid {
            email: email.clone(),
            uid: employee.uid,
        }
    } else if with_account.len() > 1 {
        Problem::AccountTwice {
            account: account.clone(),
            employees: with_account,
        }
    } else {
        Problem::UidTwice {
            uid: employee.uid,
            employees: with_uid,
        }
    };
    Some(problem.to_string())
}
