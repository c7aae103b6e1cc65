//! P5: `explain`, `matrix` and `who` say what `decide` does, over random policies.

use std::collections::BTreeSet;

use policies::{
    AccountName, Decision, Email, GrantId, Grantee, Index, KeyDemand, KeyKind, MachineName, Narrow,
    Order, Policy, Principal, Recording, Request, Status, Verdict, accounts_on, decide,
    explain::{Question, Reason, explain},
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use crate::{
    build, cases,
    random::{Dice, MACHINES, PEOPLE, bytes},
};

const ACCOUNTS: [&str; 7] = [
    "ann",
    "bob",
    "cyd",
    "deploy",
    "backup-run",
    "root",
    "nobody-s",
];

fn one<'t>(dice: &mut Dice<'_>, of: &[&'t str]) -> &'t str {
    of[dice.below(of.len())]
}

/// A random policy, some of whose grants have hours, want a security key, or want a recording; in every second case what is asked
/// about is near to being granted.
pub fn policy(dice: &mut Dice<'_>, question: &Question) -> Policy {
    const HOURS: [&str; 5] = [
        "Sun 00:00-02:00",
        "Sat 22:00-06:00",
        "Mon-Fri 08:00-18:00 Europe/Berlin",
        "Mon-Sun 00:00-01:00",
        "Sun 00:59-01:01; Sun 03:00-04:00",
    ];
    let near = dice.below(2) == 1;
    let mut policy = dice.policy();
    if near {
        bring_near(dice, &mut policy, question);
    }
    for grant in policy.grants.values_mut() {
        if dice.below(4) == 1 {
            grant.hours = Some(one(dice, &HOURS).parse().unwrap());
        }
        if dice.below(4) == 1 {
            grant.conditions.key = KeyDemand::SecurityKey;
        }
        if dice.below(12) == 1 {
            grant.recording = Recording::Required;
        }
    }
    policy
}

/// An active person in teams, a machine in pools, and sound grants for one on the other, most of them.
fn bring_near(dice: &mut Dice<'_>, policy: &mut Policy, question: &Question) {
    let name = question.email.as_str().split('@').next().unwrap();
    if let Some(employee) = policy.employees.get_mut(&question.email) {
        employee.status = Status::Active;
        employee.account = name.parse().unwrap();
        employee.uid = 30_000;
    }
    if let Some(machine) = policy.machines.get_mut(&question.machine) {
        machine
            .pools
            .insert(format!("p{}", dice.below(3)).parse().unwrap());
    }
    for id in 50..51 + dice.below(3) as GrantId {
        let pool = format!("p{}", dice.below(3));
        let account = ["self", "self", "deploy"][dice.below(3)];
        let team = format!("t{}", dice.below(3));
        let who = if dice.below(2) == 0 {
            name.to_owned()
        } else {
            format!("%{team}")
        };
        if dice.below(3) > 0 {
            let team = policy.teams.get_mut(&team.parse().unwrap()).unwrap();
            team.employees.insert(question.email.clone());
        }
        policy.grants.insert(id, build::grant(&who, account, &pool));
    }
}

pub fn question(dice: &mut Dice<'_>) -> Question {
    let people = [PEOPLE.as_slice(), &["nobody"]].concat();
    let machines = [MACHINES.as_slice(), &["m9"]].concat();
    Question {
        email: build::email(one(dice, &people)),
        machine: one(dice, &machines).parse().unwrap(),
        account: (dice.below(3) == 0).then(|| one(dice, &ACCOUNTS).parse().unwrap()),
        key: [KeyKind::Plain, KeyKind::SecurityKey][dice.below(2)],
    }
}

/// The certificates of a login now.
pub fn orders(
    policy: &Policy,
    index: &Index,
    email: &Email,
    key: KeyKind,
    now: OffsetDateTime,
) -> Vec<Order> {
    let secs = i64::try_from(policy.limits.session_secs).unwrap();
    let request = Request {
        email: email.clone(),
        session_ends: now + Duration::seconds(secs),
        key,
        narrow: Narrow::default(),
    };
    match decide(index, &request, now) {
        Decision::Grant(orders) => orders,
        Decision::Deny(_) => Vec::new(),
    }
}

/// What these certificates open on a machine, by the lines of its principals files: account, principal, end.
pub fn opened(
    index: &Index,
    orders: &[Order],
    machine: &MachineName,
    now: OffsetDateTime,
) -> BTreeSet<(AccountName, Principal, u64)> {
    let files = accounts_on(index, machine, now);
    let mut opened = BTreeSet::new();
    for order in orders {
        for principal in order.principals().iter() {
            for (account, file) in &files {
                if file.principals.contains(principal) {
                    let end = order.valid_before_unix_secs();
                    opened.insert((account.clone(), principal.clone(), end));
                }
            }
        }
    }
    opened
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn p5_explain_says_what_decide_and_the_principals_files_do(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let (now, question) = (dice.now(), question(&mut dice));
        let policy = policy(&mut dice, &question);
        let index = Index::new(&policy);
        let orders = orders(&policy, &index, &question.email, question.key, now);
        let opened: BTreeSet<(AccountName, Principal, u64)> = opened(&index, &orders, &question.machine, now)
            .into_iter()
            .filter(|(account, ..)| question.account.as_ref().is_none_or(|asked| asked == account))
            .collect();
        let answer = explain(&policy, &question, now);
        prop_assert_eq!(answer.verdict == Verdict::Granted, !opened.is_empty(), "{:#?}", answer);

        // Not only that it opens, but what, through which principal and until when.
        let given: BTreeSet<(AccountName, Principal, u64)> = answer
            .rules
            .iter()
            .filter_map(|rule| rule.gives.as_ref())
            .map(|gives| (gives.account.clone(), gives.principal.clone(), gives.ends_unix_secs))
            .collect();
        prop_assert_eq!(&given, &opened);
        for rule in answer.rules.iter() {
            let Some(gives) = &rule.gives else { continue };
            let grant = &policy.grants[&rule.grant];
            prop_assert!(rule.missing.is_empty());
            prop_assert_eq!(&gives.conditions, &grant.conditions);
            let end = gives.ends_unix_secs;
            prop_assert!(orders.iter().any(|order| order.conditions() == &grant.conditions
                && order.valid_before_unix_secs() == end
                && order.principals().contains(&gives.principal)));
            prop_assert_eq!(&gives.sudo_on_machine, &accounts_on(&index, &question.machine, now)[&gives.account].sudo);
            prop_assert_eq!(Some(&grant.pool), rule.pool_path.last());
        }
        // Considered is every grant about the person, and every grant on a pool of the machine.
        for (id, grant) in &policy.grants {
            let about = match &grant.who {
                Grantee::Employee(email) => *email == question.email,
                Grantee::Team(team) => policy.employees.contains_key(&question.email)
                    && policy.teams.get(team).is_some_and(|team| team.employees.contains(&question.email)),
            };
            let there = index.pools_of(&question.machine).any(|pool| *pool == grant.pool);
            let considered = answer.rules.iter().filter(|rule| rule.grant == *id).count();
            prop_assert!(considered <= 1);
            prop_assert!(considered == 1 || !(about || there), "grant {id} was not considered");
        }
        // A denial always says what is missing, in words, and the nearest comes first.
        for rule in &answer.rules {
            prop_assert_eq!(rule.gives.is_none(), !rule.missing.is_empty() || !answer.obstacles.is_empty());
            prop_assert!(rule.missing.iter().all(|missing| missing.sentence.len() > 5));
        }
        prop_assert!(answer.rules.windows(2).all(|pair| pair[0].missing.len() <= pair[1].missing.len()));
        prop_assert!(answer.sentence.contains(question.email.as_str()));
        let json = serde_json::to_string(&answer).unwrap();
        prop_assert_eq!(&serde_json::from_str::<policies::Explanation>(&json).unwrap(), &answer);
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn p5_what_explain_says_is_missing_is_what_is_missing(bytes in bytes()) {
        // Whatever one reason names is put right, and the reason is gone.
        let mut dice = Dice::new(&bytes);
        let (now, question) = (dice.now(), question(&mut dice));
        let policy = policy(&mut dice, &question);
        let answer = explain(&policy, &question, now);
        for (rule, missing) in answer.rules.iter().flat_map(|rule| rule.missing.iter().map(move |missing| (rule, missing))) {
            let mut mended = policy.clone();
            let mut asked = question.clone();
            let grant = mended.grants.get_mut(&rule.grant).unwrap();
            match &missing.reason {
                Reason::NotNamed { .. } => grant.who = policies::Grantee::Employee(question.email.clone()),
                Reason::NotInTeam { team, .. } => {
                    let Some(team) = mended.teams.get_mut(team) else { continue };
                    team.employees.insert(question.email.clone());
                    // Somebody who does not exist is in no team.
                    if !policy.employees.contains_key(&question.email) { continue }
                }
                Reason::MachineNotInPool { pool, .. } => {
                    let Some(machine) = mended.machines.get_mut(&question.machine) else { continue };
                    if !policy.pools.contains_key(pool) || pool.as_str().starts_with('_') { continue }
                    machine.pools.insert(pool.clone());
                }
                Reason::OtherAccount { .. } => asked.account = None,
                Reason::Ended { .. } => grant.until_unix_secs = None,
                Reason::OutsideHours { .. } => grant.hours = None,
                Reason::SecurityKeyNeeded => asked.key = KeyKind::SecurityKey,
                _ => continue,
            }
            let after = explain(&mended, &asked, now);
            let again = after.rules.iter().find(|other| other.grant == rule.grant);
            let again = again.map_or(&[][..], |rule| rule.missing.as_slice());
            prop_assert!(!again.iter().any(|other| std::mem::discriminant(&other.reason) == std::mem::discriminant(&missing.reason)),
                "{:?} is still there: {:?}", missing, again);
        }
    }
}

#[test]
fn the_random_questions_are_granted_and_denied_for_every_reason() {
    // A property over policies that never grant, or never deny for some reason, would prove nothing.
    let mut granted = 0;
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut bytes = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..3000 {
        let tree = crate::random::bytes().new_tree(&mut bytes).unwrap();
        let bytes = proptest::strategy::ValueTree::current(&tree);
        let mut dice = Dice::new(&bytes);
        let (now, question) = (dice.now(), question(&mut dice));
        let policy = policy(&mut dice, &question);
        let answer = explain(&policy, &question, now);
        granted += u32::from(answer.verdict == Verdict::Granted);
        let missing = answer
            .rules
            .iter()
            .flat_map(|rule| &rule.missing)
            .chain(&answer.obstacles);
        for missing in missing {
            let json = serde_json::to_value(&missing.reason).unwrap();
            seen.insert(json["kind"].as_str().unwrap().to_owned());
        }
        if policy
            .employees
            .get(&question.email)
            .is_some_and(|employee| employee.status == Status::Invited)
        {
            assert_eq!(answer.verdict, Verdict::Denied);
        }
    }
    assert!(granted > 300, "{granted}");
    for reason in [
        "unknown-employee",
        "not-active",
        "unknown-machine",
        "machine-in-no-pool",
        "not-named",
        "not-in-team",
        "team-circle",
        "machine-not-in-pool",
        "pool-circle",
        "other-account",
        "ended",
        "own-account-unsound",
        "unsound",
        "outside-hours",
        "security-key-needed",
    ] {
        assert!(seen.contains(reason), "{reason} never came: {seen:?}");
    }
}
