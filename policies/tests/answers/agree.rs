//! P5: `explain`, `matrix` and `who` say what `decide` does, over random policies.

use std::collections::{BTreeMap, BTreeSet};

use policies::{
    AccountName, Decision, Email, Filter, GrantId, Index, KeyDemand, KeyKind, MachineName, Narrow,
    Order, Policy, Principal, Recording, Request, Status, Verdict, View, accounts_on, decide,
    explain::{Question, Reason, explain},
    matrix::{Cell, Given, machines_in_matrix, matrix, who},
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
fn policy(dice: &mut Dice<'_>, question: &Question) -> Policy {
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

fn question(dice: &mut Dice<'_>) -> Question {
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
fn orders(
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
fn opened(
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

/// A table as triples that can be compared from both sides.
type Triples = BTreeMap<(Email, MachineName, AccountName), BTreeSet<GrantId>>;

fn ids(grants: &[Given]) -> BTreeSet<GrantId> {
    let ids: BTreeSet<GrantId> = grants.iter().map(|given| given.grant).collect();
    assert_eq!(ids.len(), grants.len(), "a grant twice in one cell");
    assert!(!ids.is_empty(), "a cell without a grant");
    ids
}

fn by_rows(index: &Index, filter: &Filter, now: OffsetDateTime) -> Triples {
    let mut all = Triples::new();
    for row in matrix(index, filter, now) {
        for Cell {
            machine,
            account,
            grants,
        } in row.cells
        {
            let cell = (row.email.clone(), machine, account);
            assert!(all.insert(cell, ids(&grants)).is_none(), "a cell twice");
        }
    }
    all
}

fn by_columns(index: &Index, policy: &Policy, view: View, now: OffsetDateTime) -> Triples {
    let mut all = Triples::new();
    for machine in policy.machines.keys() {
        for one in who(index, machine, view, now) {
            let cell = (one.email, machine.clone(), one.account);
            assert!(all.insert(cell, ids(&one.grants)).is_none(), "a cell twice");
        }
    }
    all
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn p5_the_matrix_is_what_decide_gives_and_who_is_its_transpose(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let now = dice.now();
        let policy = { let about = question(&mut dice); policy(&mut dice, &about) };
        let index = Index::new(&policy);
        for view in [View::Now(KeyKind::Plain), View::Now(KeyKind::SecurityKey), View::Standing] {
            let rows = by_rows(&index, &Filter::all(view), now);
            prop_assert_eq!(&rows, &by_columns(&index, &policy, view, now));
            let View::Now(key) = view else { continue };
            let mut decided = BTreeSet::new();
            for email in policy.employees.keys() {
                let orders = orders(&policy, &index, email, key, now);
                for machine in policy.machines.keys() {
                    for (account, ..) in opened(&index, &orders, machine, now) {
                        decided.insert((email.clone(), machine.clone(), account));
                    }
                }
            }
            prop_assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), decided);
            // The cell's grants are those that explain lets through.
            let cells = rows.iter().take(3);
            for ((email, machine, account), grants) in cells {
                let question = Question { email: email.clone(), machine: machine.clone(), account: Some(account.clone()), key };
                let answer = explain(&policy, &question, now);
                let granting: BTreeSet<GrantId> = answer.rules.iter().filter(|rule| rule.grants()).map(|rule| rule.grant).collect();
                prop_assert_eq!(grants, &granting);
            }
        }
        // Nothing that is there now is missing from what stands.
        let standing = by_rows(&index, &Filter::all(View::Standing), now);
        for (cell, grants) in by_rows(&index, &Filter::all(View::Now(KeyKind::SecurityKey)), now) {
            prop_assert!(grants.is_subset(&standing[&cell]));
        }
    }

    #[test]
    fn a_filter_shows_exactly_its_part_of_the_whole(bytes in bytes()) {
        let mut dice = Dice::new(&bytes);
        let now = dice.now();
        let policy = { let about = question(&mut dice); policy(&mut dice, &about) };
        let index = Index::new(&policy);
        let all = by_rows(&index, &Filter::all(View::Standing), now);
        let filter = Filter {
            view: View::Standing,
            employees: (dice.below(2) == 0).then(|| PEOPLE[..dice.below(4)].iter().map(|name| build::email(name)).collect()),
            machines: (dice.below(2) == 0).then(|| MACHINES[..dice.below(4)].iter().map(|name| name.parse().unwrap()).collect()),
            pools: (dice.below(2) == 0).then(|| policy.pools.keys().take(dice.below(4)).cloned().collect()),
        };
        let wanted: Triples = all
            .into_iter()
            .filter(|((email, machine, _), _)| {
                filter.employees.as_ref().is_none_or(|wanted| wanted.contains(email))
                    && filter.machines.as_ref().is_none_or(|wanted| wanted.contains(machine))
                    && filter.pools.as_ref().is_none_or(|wanted| index.pools_of(machine).any(|pool| wanted.contains(pool)))
            })
            .collect();
        let shown = by_rows(&index, &filter, now);
        let columns: BTreeSet<&MachineName> = machines_in_matrix(&index, &filter).into_iter().collect();
        prop_assert!(shown.keys().all(|(_, machine, _)| columns.contains(machine)));
        prop_assert_eq!(shown, wanted);
        // Everybody has a line, also who reaches nothing.
        let people = matrix(&index, &filter, now).count();
        let wanted = policy.employees.keys().filter(|email| filter.employees.as_ref().is_none_or(|all| all.contains(email)));
        prop_assert_eq!(people, wanted.count());
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
