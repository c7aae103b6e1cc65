//! Each rule weighed against the question, and the answer that comes out of all of them.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{
    Explanation, Gives, Missing, Question, Reason, Rule, Verdict,
    mend::{self, Own},
    paths::{Way, Ways},
    person::{about, obstacles, own_account_fault},
    say,
};
use crate::{
    AccountName, Employee, Grant, GrantAccount, GrantId, Grantee, Index, Policy, PoolName,
    Principal, Severity, Sudo, TeamName, accounts_on,
    decide::{lifetime_secs, unix_secs_floor},
    rules::{self, Facts},
};

pub(super) fn explain(policy: &Policy, question: &Question, now: OffsetDateTime) -> Explanation {
    let scene = Scene::of(policy, question, now);
    let obstacles = obstacles(policy, question, &scene.pools_of_machine, now);
    let mut rules: Vec<Rule> = policy
        .grants
        .iter()
        .filter_map(|(&id, grant)| scene.weigh(id, grant))
        .collect();
    if obstacles.is_empty() {
        let index = Index::new(policy);
        let accounts = accounts_on(&index, &question.machine, now);
        for rule in rules.iter_mut().filter(|rule| rule.missing.is_empty()) {
            rule.gives = scene.gives(&policy.grants[&rule.grant], |account| {
                accounts
                    .get(account)
                    .map_or(Sudo::None, |there| there.sudo.clone())
            });
        }
    }
    rules.sort_by_key(|rule| {
        let distance: u32 = rule
            .missing
            .iter()
            .map(|missing| missing.reason.distance())
            .sum();
        (!rule.grants(), rule.missing.len(), distance, rule.grant)
    });
    let verdict = if rules.iter().any(Rule::grants) {
        Verdict::Granted
    } else {
        Verdict::Denied
    };
    Explanation {
        question: question.clone(),
        now_unix_secs: now.unix_timestamp(),
        verdict,
        sentence: say::answer(question, verdict, &obstacles, &rules),
        next: match verdict {
            Verdict::Granted => None,
            Verdict::Denied => scene.next(&obstacles, &rules),
        },
        obstacles,
        rules,
    }
}

/// What all rules are weighed against.
struct Scene<'p> {
    policy: &'p Policy,
    facts: Facts<'p>,
    question: &'p Question,
    employee: Option<&'p Employee>,
    now: OffsetDateTime,
    now_unix_secs: u64,
    teams: Ways<TeamName>,
    pools: Ways<PoolName>,
    /// The teams that they are in themselves.
    own_teams: Vec<&'p TeamName>,
    /// The pools that the machine is in itself.
    own_pools: Vec<&'p PoolName>,
    /// The same and all that include these.
    pools_of_machine: BTreeSet<PoolName>,
}

impl<'p> Scene<'p> {
    fn of(policy: &'p Policy, question: &'p Question, now: OffsetDateTime) -> Self {
        let teams = Ways::of(policy.teams.iter().map(|(name, team)| (name, &team.teams)));
        let pools = Ways::of(
            policy
                .pools
                .iter()
                .filter(|(name, _)| !rules::is_reserved_pool(name))
                .map(|(name, pool)| (name, &pool.include)),
        );
        let employee = policy.employees.get(&question.email);
        let own_teams = policy
            .teams
            .iter()
            .filter(|(_, team)| employee.is_some() && team.employees.contains(&question.email))
            .map(|(name, _)| name)
            .collect();
        let own_pools: Vec<&PoolName> = policy
            .machines
            .get(&question.machine)
            .into_iter()
            .flat_map(|machine| &machine.pools)
            .collect();
        Self {
            policy,
            facts: Facts::of(policy),
            question,
            employee,
            now,
            now_unix_secs: unix_secs_floor(now).unwrap_or(0),
            pools_of_machine: pools.all_above(own_pools.iter().copied()),
            teams,
            pools,
            own_teams,
            own_pools,
        }
    }

    /// What `grant` lacks; `None` if it is about neither the person nor the machine.
    fn weigh(&self, id: GrantId, grant: &Grant) -> Option<Rule> {
        let mut reasons = Vec::new();
        let mut team_path = Vec::new();
        let named = match &grant.who {
            Grantee::Employee(email) if *email == self.question.email => Touches::Yes,
            Grantee::Employee(email) => {
                let employee = email.clone();
                reasons.push(Reason::NotNamed { employee });
                Touches::No
            }
            Grantee::Team(team) => self.team(team, &mut team_path, &mut reasons),
        };
        let mut pool_path = Vec::new();
        let there = self.pool(&grant.pool, &mut pool_path, &mut reasons);
        if (named, there) == (Touches::No, Touches::No) {
            return None;
        }
        self.account(grant, &mut reasons);
        self.time(grant, &mut reasons);
        if !grant.conditions.key.allows(self.question.key) {
            reasons.push(Reason::SecurityKeyNeeded);
        }
        let problems = rules::grant_problems(id, grant, &self.facts);
        let errors: Vec<String> = problems
            .iter()
            .filter(|problem| problem.severity() >= Severity::Error)
            .map(ToString::to_string)
            .collect();
        if !errors.is_empty() {
            let why = errors.join("; ");
            reasons.push(Reason::Unsound { why });
        }
        let missing = reasons
            .into_iter()
            .map(|reason| Missing {
                sentence: reason.sentence(about(self.question)),
                mend: mend::for_grant(self.policy, self.question, grant, &reason),
                reason,
            })
            .collect();
        Some(Rule {
            grant: id,
            who: grant.who.clone(),
            account: grant.account.clone(),
            pool: grant.pool.clone(),
            sentence: say::rule(id, grant),
            team_path,
            pool_path,
            gives: None,
            missing,
        })
    }

    fn team(
        &self,
        team: &TeamName,
        path: &mut Vec<TeamName>,
        reasons: &mut Vec<Reason>,
    ) -> Touches {
        match self.teams.way(self.own_teams.iter().copied(), team) {
            Way::Counts(way) => {
                *path = way;
                Touches::Yes
            }
            Way::Circle(circle) => {
                let team = team.clone();
                reasons.push(Reason::TeamCircle { team, circle });
                Touches::Yes
            }
            Way::None => {
                reasons.push(Reason::NotInTeam {
                    team: team.clone(),
                    theirs: self.own_teams.iter().copied().cloned().collect(),
                });
                Touches::No
            }
        }
    }

    fn pool(
        &self,
        pool: &PoolName,
        path: &mut Vec<PoolName>,
        reasons: &mut Vec<Reason>,
    ) -> Touches {
        match self.pools.way(self.own_pools.iter().copied(), pool) {
            Way::Counts(way) => {
                *path = way;
                Touches::Yes
            }
            Way::Circle(circle) => {
                let pool = pool.clone();
                reasons.push(Reason::PoolCircle { pool, circle });
                Touches::Yes
            }
            Way::None => {
                reasons.push(Reason::MachineNotInPool {
                    pool: pool.clone(),
                    its: self.own_pools.iter().copied().cloned().collect(),
                });
                Touches::No
            }
        }
    }

    fn account(&self, grant: &Grant, reasons: &mut Vec<Reason>) {
        let gives = match &grant.account {
            GrantAccount::Shared(account) => Some(account),
            GrantAccount::Own => self.employee.map(|employee| &employee.account),
        };
        if let (Some(gives), Some(asked)) = (gives, &self.question.account)
            && gives != asked
        {
            reasons.push(Reason::OtherAccount {
                gives: gives.clone(),
                asked: asked.clone(),
            });
        }
        if grant.account == GrantAccount::Own
            && let Some(employee) = self.employee
            && let Some(why) = own_account_fault(&self.question.email, self.policy, &self.facts)
        {
            let account = employee.account.clone();
            reasons.push(Reason::OwnAccountUnsound { account, why });
        }
    }

    fn time(&self, grant: &Grant, reasons: &mut Vec<Reason>) {
        let until = until(grant);
        if until <= self.now_unix_secs {
            reasons.push(Reason::Ended {
                at_unix_secs: grant.until_unix_secs.unwrap_or(0),
            });
        }
        let closes = match &grant.hours {
            None => Some(u64::MAX),
            Some(hours) => hours
                .open_until(self.now)
                .and_then(unix_secs_floor)
                .filter(|closes| *closes > self.now_unix_secs),
        };
        match (closes, &grant.hours) {
            (None, Some(hours)) => reasons.push(Reason::OutsideHours {
                hours: hours.clone(),
                opens_unix_secs: hours.opens_at(self.now).map(OffsetDateTime::unix_timestamp),
            }),
            _ if self.lifetime(grant) == 0 || self.policy.limits.session_secs == 0 => {
                reasons.push(Reason::NoTimeLeft);
            }
            _ => {}
        }
    }

    fn lifetime(&self, grant: &Grant) -> u64 {
        let nobodys = BTreeSet::new();
        let roles = self.employee.map_or(&nobodys, |employee| &employee.roles);
        lifetime_secs(&grant.conditions, roles, &self.policy.limits)
    }

    /// What a grant that lacks nothing gives, by the same arithmetic as `decide` for a day session that begins now.
    fn gives(&self, grant: &Grant, sudo: impl FnOnce(&AccountName) -> Sudo) -> Option<Gives> {
        let account = match &grant.account {
            GrantAccount::Shared(account) => account.clone(),
            GrantAccount::Own => self.employee?.account.clone(),
        };
        let closes = match &grant.hours {
            None => u64::MAX,
            Some(hours) => hours.open_until(self.now).and_then(unix_secs_floor)?,
        };
        let now = self.now_unix_secs;
        let ends = now
            .saturating_add(self.lifetime(grant))
            .min(now.saturating_add(self.policy.limits.session_secs))
            .min(until(grant))
            .min(closes);
        Some(Gives {
            principal: Principal::new(account.clone(), grant.pool.clone()),
            lifetime_secs: ends.saturating_sub(now),
            ends_unix_secs: ends,
            sudo: grant.sudo.clone(),
            sudo_on_machine: sudo(&account),
            conditions: grant.conditions.clone(),
            until_unix_secs: grant.until_unix_secs,
            hours: grant.hours.clone(),
            recording: grant.recording,
            account,
        })
    }

    fn next(&self, obstacles: &[Missing], rules: &[Rule]) -> Option<String> {
        let first = |missing: &[Missing]| missing.iter().find_map(|missing| missing.mend.clone());
        if !obstacles.is_empty() {
            return first(obstacles);
        }
        match rules.first() {
            Some(nearest) => first(&nearest.missing),
            None => {
                let own = match (&self.question.account, self.employee) {
                    (Some(asked), Some(employee)) if *asked != employee.account => Own::Other,
                    _ => Own::Own,
                };
                let pool = self.own_pools.first()?;
                Some(mend::new_grant(self.question, pool, own))
            }
        }
    }
}

/// Whether a grant is about somebody or something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Touches {
    Yes,
    No,
}

/// The first second in which `grant` is in force no more, as `decide` reads it.
fn until(grant: &Grant) -> u64 {
    match grant.until_unix_secs {
        None => u64::MAX,
        Some(secs) => u64::try_from(secs).unwrap_or(0),
    }
}
