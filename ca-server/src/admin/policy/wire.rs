//! Values of `policies` as they travel: the wire types know nobody, so that names are texts there.

use ca_api::admin::{
    AccessView, AccountOf, ChangedView, DocumentLine, EmployeeChangeView, LimitChangeView,
    MachineChangeView, NamesView, PlanCounts, PlanView,
};
use policies::{
    GrantAccount, GrantId,
    document::{At, Position},
    plan::{Access, Changed, Counts, EmployeeStep, How, MachineChange, Names, Plan, Step},
};

pub(super) fn at<T: std::fmt::Display>(at: &At<T>) -> DocumentLine {
    line(&at.position, at.what.to_string())
}

pub(super) fn line(position: &Position, message: String) -> DocumentLine {
    DocumentLine {
        file: position.file.clone(),
        line: position.line,
        column: position.column,
        message,
    }
}

/// A plan. Taken apart field by field: one that is added there is missed here when this is compiled.
pub(super) fn plan(plan: Plan) -> PlanView {
    let Plan {
        counts: all,
        limits,
        employees,
        teams,
        pools,
        grants,
        access: ways,
        machines,
        warnings,
        errors,
    } = plan;
    PlanView {
        counts: counts(all),
        limits: limits
            .into_iter()
            .map(|one| LimitChangeView {
                name: one.name,
                before_secs: one.before_secs,
                after_secs: one.after_secs,
            })
            .collect(),
        employees: employees
            .into_iter()
            .map(|one| EmployeeChangeView {
                email: one.email.to_string(),
                step: employee_step(one.step).to_owned(),
            })
            .collect(),
        teams: teams.into_iter().map(named).collect(),
        pools: pools.into_iter().map(named).collect(),
        grants: grants.into_iter().map(numbered).collect(),
        access: ways.into_iter().map(access).collect(),
        machines: machines.into_iter().map(machine).collect(),
        warnings,
        errors,
    }
}

fn counts(counts: Counts) -> PlanCounts {
    let Counts {
        people_gaining,
        people_losing,
        people_changed,
        cells_gained,
        cells_lost,
        cells_changed,
        machines,
        accounts_appearing,
        accounts_disappearing,
    } = counts;
    PlanCounts {
        people_gaining,
        people_losing,
        people_changed,
        cells_gained,
        cells_lost,
        cells_changed,
        machines,
        accounts_appearing,
        accounts_disappearing,
    }
}

fn employee_step(step: EmployeeStep) -> &'static str {
    match step {
        EmployeeStep::Removed => "removed",
        EmployeeStep::Suspended => "suspended",
        EmployeeStep::Resumed => "resumed",
        EmployeeStep::Returned => "returned",
        EmployeeStep::Invited => "invited",
        EmployeeStep::AdminGained => "admin_gained",
        EmployeeStep::AdminLost => "admin_lost",
        EmployeeStep::Renamed => "renamed",
        EmployeeStep::AccountChanged => "account_changed",
    }
}

fn how(how: How) -> String {
    match how {
        How::Removed => "removed",
        How::Changed => "changed",
        How::Added => "added",
    }
    .to_owned()
}

fn named<N: ToString>(one: Changed<N>) -> ChangedView<String> {
    ChangedView {
        name: one.name.to_string(),
        how: how(one.how),
        words: one.words,
    }
}

fn numbered(one: Changed<GrantId>) -> ChangedView<u64> {
    ChangedView {
        name: one.name,
        how: how(one.how),
        words: one.words,
    }
}

fn names<N: ToString>(names: Names<N>) -> NamesView {
    NamesView {
        count: names.count,
        names: names.names.iter().map(ToString::to_string).collect(),
    }
}

fn access(one: Access) -> AccessView {
    let Access {
        step,
        people,
        account,
        machines,
        grants,
        words,
    } = one;
    AccessView {
        step: match step {
            Step::Lost => "lost",
            Step::Changed => "changed",
            Step::Gained => "gained",
        }
        .to_owned(),
        people: names(people),
        account: match account {
            GrantAccount::Own => AccountOf::Own,
            GrantAccount::Shared(account) => AccountOf::Shared(account.to_string()),
        },
        machines: names(machines),
        grants,
        words,
    }
}

fn machine(one: MachineChange) -> MachineChangeView {
    let MachineChange {
        machines,
        joins,
        leaves,
        appear,
        disappear,
        sudo,
        principals,
    } = one;
    let texts = |pools: Vec<policies::PoolName>| pools.iter().map(ToString::to_string).collect();
    MachineChangeView {
        machines: names(machines),
        joins: texts(joins),
        leaves: texts(leaves),
        appear: names(appear),
        disappear: names(disappear),
        sudo: names(sudo),
        principals,
    }
}
