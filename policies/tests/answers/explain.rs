//! `explain` in the situations that an admin asks about, sentence by sentence.

use policies::{
    Explanation, GrantAccount, KeyDemand, KeyKind, Status, Sudo, Verdict,
    explain::{Question, Reason, explain},
};
use time::Duration;

use crate::build::{Draft, NOW_SECS, changed, email, grant, now};

fn ask(draft: &Draft, who: &str, machine: &str, account: Option<&str>) -> Explanation {
    let question = Question {
        email: email(who),
        machine: machine.parse().unwrap(),
        account: account.map(|account| account.parse().unwrap()),
        key: KeyKind::Plain,
    };
    explain(&draft.0, &question, now())
}

/// ops ⊃ oncall ∋ alice; production ⊃ web ∋ web-1; grant 1: ops as deploy on production.
fn company() -> Draft {
    Draft::default()
        .employee("alice")
        .employee("bob")
        .team("oncall", &["alice"], &[])
        .team("ops", &[], &["oncall"])
        .pool("production", &["web"])
        .pool("web", &[])
        .pool("db", &[])
        .machine("web-1", &["web"])
        .machine("db-1", &["db"])
        .grant(changed(grant("%ops", "deploy", "production"), |grant| {
            grant.sudo = Sudo::All;
            grant.conditions.max_lifetime_secs = Some(600);
        }))
}

#[test]
fn a_grant_through_nested_teams_and_pools_shows_both_paths_and_what_it_gives() {
    let answer = ask(&company(), "alice", "web-1", None);
    assert_eq!(answer.verdict, Verdict::Granted);
    assert_eq!(answer.next, None);
    let [rule] = answer.rules.as_slice() else {
        panic!("{answer:#?}");
    };
    let names =
        |names: &[policies::TeamName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(names(&rule.team_path), ["oncall", "ops"]);
    let names: Vec<String> = rule.pool_path.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["web", "production"]);
    let gives = rule.gives.as_ref().unwrap();
    assert_eq!(gives.principal.to_string(), "deploy@production");
    assert_eq!(gives.ends_unix_secs, NOW_SECS + 600);
    assert_eq!(gives.lifetime_secs, 600);
    assert_eq!(
        (&gives.sudo, &gives.sudo_on_machine),
        (&Sudo::All, &Sudo::All)
    );
    assert_eq!(
        rule.sentence,
        "grant 1 lets the team ops use the account deploy on the pool production"
    );
    assert_eq!(
        answer.sentence,
        "alice@corp.example reaches web-1 as deploy, with a certificate until 2026-11-22 01:10:00 UTC"
    );
}

#[test]
fn who_is_in_no_team_is_told_which_one_is_missing_and_the_command() {
    let answer = ask(&company(), "bob", "web-1", None);
    assert_eq!(answer.verdict, Verdict::Denied);
    assert_eq!(answer.rules[0].missing.len(), 1);
    assert_eq!(
        answer.sentence,
        "bob@corp.example does not reach web-1: the nearest is that grant 1 lets the team ops use the account deploy on the pool \
         production, but bob@corp.example is not in the team ops, and in no other team either"
    );
    assert_eq!(
        answer.next.as_deref(),
        Some("ca-server team join ops bob@corp.example")
    );
}

#[test]
fn a_team_that_is_not_nested_is_named() {
    let draft = company().team("dev", &["bob"], &[]);
    let answer = ask(&draft, "bob", "web-1", None);
    assert_eq!(
        answer.rules[0].missing[0].sentence,
        "bob@corp.example is not in the team ops, and their team dev is not nested in it"
    );
}

#[test]
fn a_machine_outside_of_the_pool_is_told_with_a_move_that_keeps_its_pools() {
    let answer = ask(&company(), "alice", "db-1", None);
    assert_eq!(answer.verdict, Verdict::Denied);
    assert_eq!(
        answer.rules[0].missing[0].sentence,
        "db-1 is not in the pool production, and its pool db is not included in it"
    );
    assert_eq!(
        answer.next.as_deref(),
        Some("ca-server machine move db-1 --pool db --pool production")
    );
}

#[test]
fn an_end_hours_and_a_plain_key_are_each_told_with_their_time() {
    let ended = company().with(|policy| {
        policy.grants.get_mut(&1).unwrap().until_unix_secs = Some(NOW_SECS as i64);
    });
    let answer = ask(&ended, "alice", "web-1", None);
    assert_eq!(
        answer.rules[0].missing[0].sentence,
        "it ended at 2026-11-22 01:00:00 UTC"
    );
    assert_eq!(
        answer.next.as_deref(),
        Some("ca-server grant add --team ops --pool production --account deploy --until 8h")
    );

    let closed = company().with(|policy| {
        policy.grants.get_mut(&1).unwrap().hours =
            Some("Mon-Fri 08:00-18:00 Europe/Berlin".parse().unwrap());
    });
    let answer = ask(&closed, "alice", "web-1", None);
    assert_eq!(
        answer.rules[0].missing[0].sentence,
        "it holds in its hours only (Mon-Fri 08:00-18:00 Europe/Berlin); they open again at 2026-11-23 07:00:00 UTC"
    );

    let open = company().with(|policy| {
        policy.grants.get_mut(&1).unwrap().hours = Some("Sun 00:00-01:05".parse().unwrap());
    });
    let answer = ask(&open, "alice", "web-1", None);
    let gives = answer.rules[0].gives.as_ref().unwrap();
    assert_eq!(
        gives.lifetime_secs, 300,
        "the certificate ends with the hours"
    );

    let key = company().with(|policy| {
        policy.grants.get_mut(&1).unwrap().conditions.key = KeyDemand::SecurityKey;
    });
    let answer = ask(&key, "alice", "web-1", None);
    assert_eq!(answer.rules[0].missing[0].reason, Reason::SecurityKeyNeeded);
    let question = Question {
        key: KeyKind::SecurityKey,
        ..answer.question
    };
    assert_eq!(explain(&key.0, &question, now()).verdict, Verdict::Granted);
}

#[test]
fn p3_whoever_is_not_active_is_told_so_before_any_rule() {
    for (status, sentence, next) in [
        (
            Status::Suspended,
            "alice@corp.example is suspended",
            "ca-server employee resume alice@corp.example",
        ),
        (
            Status::Invited,
            "alice@corp.example is invited and has not enrolled yet",
            "ca-server employee reset alice@corp.example",
        ),
        (
            Status::Removed,
            "alice@corp.example was removed",
            "ca-server employee add alice@corp.example",
        ),
    ] {
        let mut draft = company();
        draft.person("alice").status = status;
        let answer = ask(&draft, "alice", "web-1", None);
        assert_eq!(answer.verdict, Verdict::Denied);
        assert_eq!(answer.obstacles[0].sentence, sentence);
        assert_eq!(answer.next.as_deref(), Some(next));
        // The rule itself lacks nothing, and gives nothing all the same.
        assert!(answer.rules[0].missing.is_empty());
        assert!(!answer.rules[0].grants());
    }
    let answer = ask(&company(), "nobody", "no-machine", None);
    let told: Vec<&str> = answer
        .obstacles
        .iter()
        .map(|missing| missing.sentence.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "nobody with the email nobody@corp.example is known",
            "the CA knows no machine no-machine"
        ]
    );
}

#[test]
fn the_account_that_is_asked_about_decides() {
    let draft = company().grant(grant("alice", "self", "web"));
    let as_deploy = ask(&draft, "alice", "web-1", Some("deploy"));
    let granting: Vec<u64> = as_deploy
        .rules
        .iter()
        .filter(|rule| rule.grants())
        .map(|rule| rule.grant)
        .collect();
    assert_eq!(granting, [1]);
    let other = &as_deploy.rules[1];
    assert_eq!(other.account, GrantAccount::Own);
    assert_eq!(
        other.missing[0].sentence,
        "it gives the account alice, not deploy"
    );

    let as_bob = ask(&draft, "alice", "web-1", Some("bob"));
    assert_eq!(as_bob.verdict, Verdict::Denied);
    // Nobody is told how to share somebody's own account.
    assert_eq!(as_bob.next, None);

    let as_backup = ask(&draft, "alice", "web-1", Some("backup-run"));
    assert_eq!(
        as_backup.next.as_deref(),
        Some(
            "ca-server grant add --employee alice@corp.example --pool production --account backup-run"
        )
    );
}

#[test]
fn grants_with_a_fault_and_circles_are_told_with_the_fault() {
    let draft = company()
        .grant(grant("alice", "root", "web"))
        .team("a", &["alice"], &["b"])
        .team("b", &[], &["a"])
        .grant(grant("%b", "self", "web"));
    let answer = ask(&draft, "alice", "web-1", None);
    let of = |id: u64| answer.rules.iter().find(|rule| rule.grant == id).unwrap();
    assert!(
        of(2).missing[0]
            .sentence
            .contains("root, which is a system account"),
        "{:?}",
        of(2).missing
    );
    assert!(
        of(3).missing[0]
            .sentence
            .contains("circle, which does not count: a > b > a"),
        "{:?}",
        of(3).missing
    );

    let mut twins = company().grant(grant("alice", "self", "web"));
    twins.person("bob").uid = 20_000;
    let answer = ask(&twins, "alice", "web-1", Some("alice"));
    let rule = answer.rules.iter().find(|rule| rule.grant == 2).unwrap();
    assert!(
        rule.missing[0]
            .sentence
            .contains("the uid 20000 would belong to alice@corp.example and bob@corp.example"),
        "{:?}",
        rule.missing
    );
}

#[test]
fn the_nearest_miss_comes_first() {
    let draft = company()
        .pool("other", &[])
        // Two things missing: the machine and the hour.
        .grant(changed(grant("bob", "self", "other"), |grant| {
            grant.hours = Some("Mon 08:00-09:00".parse().unwrap());
        }))
        // One, and it needs no change of a rule.
        .grant(changed(grant("bob", "self", "web"), |grant| {
            grant.hours = Some("Mon 08:00-09:00".parse().unwrap());
        }));
    let answer = ask(&draft, "bob", "web-1", None);
    let order: Vec<u64> = answer.rules.iter().map(|rule| rule.grant).collect();
    assert_eq!(order, [3, 1, 2]);
}

#[test]
fn grants_about_somebody_else_somewhere_else_are_not_considered_and_the_next_step_is_a_new_one() {
    let draft = Draft::default()
        .employee("alice")
        .employee("bob")
        .pool("web", &[])
        .pool("db", &[])
        .machine("web-1", &["web"])
        .machine("db-1", &["db"])
        .grant(grant("bob", "self", "db"));
    let answer = ask(&draft, "alice", "web-1", Some("deploy"));
    assert!(answer.rules.is_empty());
    assert_eq!(
        answer.next.as_deref(),
        Some("ca-server grant add --employee alice@corp.example --pool web --account deploy")
    );
    let own = ask(&draft, "alice", "web-1", Some("alice"));
    assert_eq!(
        own.next.as_deref(),
        Some("ca-server grant add --employee alice@corp.example --pool web")
    );
}

#[test]
fn a_clock_before_1970_is_told() {
    let question = ask(&company(), "alice", "web-1", None).question;
    let before = now() - Duration::weeks(52 * 60);
    let answer = explain(&company().0, &question, before);
    assert_eq!(answer.verdict, Verdict::Denied);
    assert_eq!(answer.obstacles[0].reason, Reason::ClockOutOfRange);
}
