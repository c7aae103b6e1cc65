//! What sentences mean, and what is said where one is not true.

use policies::{
    Policy, Status,
    expect::{Expectation, judge},
};
use time::{OffsetDateTime, macros::datetime};

use crate::world::{NOW, email, good, machines};

const COMPANY: &str = r#"
[employee."ann@corp.example"]
[employee."bob@corp.example"]
[employee."cyd@agency.example"]
[employee."dan@corp.example"]
suspended = true
[team.ops]
employees = ["ann@corp.example", "dan@corp.example"]
[team.night]
teams = ["ops"]
[team.contractors]
employees = ["cyd@agency.example"]
[team.auditors]
[pool.web]
machines = ["web-1", "web-2"]
[pool.db]
machines = ["db-1"]
employees = ["cyd@agency.example"]
[pool.all]
include = ["web", "db"]
[pool.new]
[[grant]]
team = "ops"
pool = "web"
account = "deploy"
hours = "Mon-Fri 08:00-18:00 Europe/Berlin"
sources = ["192.0.2.0/24"]
sudo = ["/usr/bin/systemctl restart nginx"]
[[grant]]
team = "night"
pool = "all"
account = "root"
system_account = true
security_key = true
sudo = "all"
[[grant]]
employee = "bob@corp.example"
pool = "new"
[[grant]]
employee = "bob@corp.example"
pool = "web"
until = 2026-11-25T00:00:00Z
[[grant]]
team = "auditors"
pool = "db"
"#;

fn company() -> Policy {
    good(&machines(&["web-1", "web-2", "db-1", "spare"]), COMPANY).policy
}

fn at(now: OffsetDateTime, sentence: &str) -> Result<(), String> {
    let policy = company();
    let sentence =
        Expectation::parse(sentence, &policy).map_err(|error| format!("{}: {error}", error.at))?;
    match judge(&policy, [&sentence], now).as_slice() {
        [] => Ok(()),
        [broken] => Err(broken.why.clone()),
        more => panic!("{more:?}"),
    }
}

#[track_caller]
fn holds(sentence: &str) {
    assert_eq!(at(NOW, sentence), Ok(()), "{sentence}");
}

#[track_caller]
fn fails(sentence: &str, why: &str) {
    assert_eq!(at(NOW, sentence), Err(why.to_owned()), "{sentence}");
}

#[test]
fn the_sentences_that_were_asked_for() {
    holds("a member of ops reaches web-1 as deploy on Monday at 10:00");
    fails(
        "a contractor never reaches db-1",
        "cyd@agency.example reaches db-1 as cyd, by grant 6 (cyd@agency.example: the own account on pool db)",
    );
    holds("a contractor never reaches web-1");
}

#[test]
fn a_member_is_somebody_who_has_nothing_but_the_team() {
    fails(
        "a contractor reaches db-1",
        "no grant gives somebody who is only in team contractors anything on db-1 (in pools all, db)",
    );
    holds("every member of contractors reaches db-1");
    // An empty team has rights already, and nobody who uses them.
    holds("a member of auditors reaches db-1");
    fails(
        "every member of auditors reaches db-1",
        "nobody who can log in is in team auditors",
    );
    fails(
        "a member of auditors never reaches db-1",
        "somebody who is only in team auditors reaches db-1 as their own account, by grant 5 (team auditors: the own account on pool db)",
    );
    // Through a team in a team, and not the other way round.
    holds("a member of ops reaches db-1 as root");
    holds("a member of night reaches db-1 as root");
    fails(
        "a member of night reaches web-1 as deploy",
        "somebody who is only in team night reaches web-1 as root (grant 2 (team night: root on pool all)), and no grant gives deploy there",
    );
    // Nobody who is suspended counts as a member who must get in.
    holds("every member of ops reaches web-1 as deploy");
}

#[test]
fn people() {
    holds("bob@corp.example reaches web-1");
    holds("dan@corp.example never reaches web-1");
    fails(
        "dan@corp.example reaches web-1",
        "dan@corp.example is suspended",
    );
    holds("somebody reaches db-1 as root");
    holds("nobody reaches db-1 as deploy");
    fails(
        "nobody reaches db-1 as root",
        "ann@corp.example reaches db-1 as root, by grant 2 (team night: root on pool all)",
    );
    fails(
        "somebody reaches db-1 as deploy",
        "nobody does; the nearest: ann@corp.example reaches db-1 as root (grant 2 (team night: root on pool all)), and no grant gives deploy there",
    );
    fails("somebody reaches spare", "nobody reaches spare");
    holds("nobody reaches spare");
    fails(
        "bob@corp.example reaches spare",
        "spare is in no pool, so that nobody reaches it",
    );
}

#[test]
fn pools() {
    holds("a member of ops reaches pool web as deploy");
    fails(
        "bob@corp.example reaches pool all",
        "no grant gives bob@corp.example anything on db-1 (in pools all, db)",
    );
    holds("a contractor never reaches pool web");
    fails(
        "cyd@agency.example never reaches pool all",
        "cyd@agency.example reaches db-1 as cyd, by grant 6 (cyd@agency.example: the own account on pool db)",
    );
    // A pool without machines is judged for one that is put into it.
    holds("bob@corp.example reaches pool new");
    fails(
        "bob@corp.example never reaches pool new",
        "bob@corp.example reaches a machine put into pool new as bob, by grant 3 (bob@corp.example: the own account on pool new)",
    );
    holds("a member of ops never reaches pool new");
}

#[test]
fn of_several_ways_the_one_that_comes_nearest_is_told() {
    let text = r#"
[employee."ann@corp.example"]
[pool.web]
machines = ["web-1"]
[[grant]]
employee = "ann@corp.example"
pool = "web"
[[grant]]
employee = "ann@corp.example"
pool = "web"
account = "root"
system_account = true
hours = "Mon-Fri 08:00-18:00 Europe/Berlin"
sudo = "all"
"#;
    let policy = good(&machines(&["web-1"]), text).policy;
    let sentence = "ann@corp.example reaches web-1 on Sunday at 12:00 with sudo";
    let sentence = Expectation::parse(sentence, &policy).unwrap();
    let broken = judge(&policy, [&sentence], NOW);
    assert_eq!(
        broken[0].why,
        "ann@corp.example does not reach web-1 on Sunday at 12:00 UTC: grant 2 is for Mon-Fri 08:00-18:00 Europe/Berlin"
    );
}

#[test]
fn accounts_and_sudo() {
    holds("bob@corp.example reaches web-1 as self");
    holds("bob@corp.example reaches web-1 as bob");
    holds("a member of ops never reaches web-1 as self");
    holds("a member of ops reaches web-1 as deploy with sudo");
    holds("bob@corp.example never reaches web-1 with sudo");
    fails(
        "bob@corp.example reaches web-1 with sudo",
        "bob has no sudo right on web-1 (grant 4 (bob@corp.example: the own account on pool web))",
    );
}

#[test]
fn addresses() {
    holds("a member of ops reaches web-1 as deploy from 192.0.2.200");
    holds("a member of ops never reaches web-1 as deploy from 192.0.3.1");
    holds("a member of ops never reaches web-1 as deploy from ::1");
    holds("a member of ops reaches web-1 as deploy from ::ffff:192.0.2.1");
    holds("bob@corp.example reaches web-1 from ::1");
    fails(
        "ann@corp.example reaches web-1 as deploy from 10.0.0.1",
        "ann@corp.example reaches web-1 from 192.0.2.0/24 only, not from 10.0.0.1 (grant 1 (team ops: deploy on pool web))",
    );
}

#[test]
fn keys() {
    holds("a member of ops reaches web-1 as root with a security key");
    holds("a member of ops reaches web-1 as root");
    holds("a member of ops never reaches web-1 as root with a plain key");
    holds("a member of ops reaches web-1 as deploy with a plain key");
    fails(
        "ann@corp.example reaches db-1 with a plain key",
        "ann@corp.example reaches db-1 with a security key only (grant 2 (team night: root on pool all))",
    );
}

#[test]
fn moments() {
    holds("a member of ops reaches web-1 as deploy on monday at 08:00 Europe/Berlin");
    holds("a member of ops never reaches web-1 as deploy on Mon at 07:59 Europe/Berlin");
    holds("a member of ops never reaches web-1 as deploy on Friday at 18:00 Europe/Berlin");
    holds("a member of ops reaches web-1 as deploy on Friday at 16:59");
    holds("a member of ops never reaches web-1 as deploy on Sunday at 10:00");
    holds("a member of ops never reaches web-1 as deploy on Sunday at 23:59");
    // Without a moment, what holds at some hour holds.
    holds("a member of ops reaches web-1 as deploy");
    fails(
        "a member of ops never reaches web-1 as deploy",
        "somebody who is only in team ops reaches web-1 as deploy, by grant 1 (team ops: deploy on pool web)",
    );
    fails(
        "ann@corp.example reaches web-1 as deploy on Sunday at 10:00",
        "ann@corp.example does not reach web-1 on Sunday at 10:00 UTC: grant 1 is for Mon-Fri 08:00-18:00 Europe/Berlin",
    );
}

#[test]
fn a_moment_is_the_next_one_from_now_on_and_ends_count_then() {
    // Until Wednesday 00:00; now is Sunday.
    holds("bob@corp.example reaches web-1 on Tuesday at 23:59");
    fails(
        "bob@corp.example reaches web-1 on Wednesday at 00:00",
        "bob@corp.example does not reach web-1 on Wednesday at 00:00 UTC: grant 4 ends 2026-11-25T00:00:00Z",
    );
    let sentence = "bob@corp.example reaches web-1 on Sunday at 12:00";
    assert_eq!(at(NOW, sentence), Ok(()), "the minute that it is now");
    assert_eq!(at(NOW + time::Duration::seconds(59), sentence), Ok(()));
    assert!(
        at(NOW + time::Duration::seconds(60), sentence).is_err(),
        "a week later it has ended"
    );
    let after = datetime!(2026-11-25 00:00 UTC);
    assert_eq!(
        at(after, "bob@corp.example reaches web-1"),
        Err(
            "bob@corp.example does not reach web-1 any longer: grant 4 ended 2026-11-25T00:00:00Z"
                .to_owned()
        )
    );
    assert_eq!(at(after, "bob@corp.example never reaches web-1"), Ok(()));
}

#[test]
fn sentences_that_are_none() {
    let such_as = "such as \"a member of ops reaches web-1 as deploy on Monday at 10:00\"";
    for (sentence, expected) in [
        ("", format!("0: the sentence ends where somebody (an email, `a member of TEAM`, `every member of TEAM`, `a NAME`, `nobody` or `somebody`) should come; {such_as}")),
        ("ops reaches web-1", format!("0: \"ops\" stands where somebody (an email, `a member of TEAM`, `every member of TEAM`, `a NAME`, `nobody` or `somebody`) should; {such_as}")),
        ("nobody never reaches web-1", "7: a sentence about nobody that never reaches is not clear; say `nobody reaches …` or `somebody reaches …`".to_owned()),
        ("somebody never reaches web-1", "9: a sentence about somebody that never reaches is not clear; say `nobody reaches …` or `somebody reaches …`".to_owned()),
        ("nobody  reaches", format!("15: the sentence ends where a machine's name, or `pool POOL` should come; {such_as}")),
        ("nobody reach web-1", format!("7: \"reach\" stands where `reaches` or `never reaches` should; {such_as}")),
        ("a contracter never reaches web-1", "2: there is no team contracter (did you mean contractors?); correct the name".to_owned()),
        ("zed@corp.example reaches web-1", "0: there is no employee zed@corp.example (did you mean ann@corp.example?); correct the name".to_owned()),
        ("nobody reaches web-1 as deploy as root", "31: \"as\" is there twice; say it once".to_owned()),
        ("nobody reaches web-1 from 10.0.0.0/8", format!("26: \"10.0.0.0/8\" stands where one IPv4 or IPv6 address, such as 192.0.2.7 should; {such_as}")),
        ("nobody reaches web-1 on Monday at 24:00", "34: \"24:00\" stands where a time from 00:00 to 23:59 should; such as \"on Monday at 10:00 Europe/Berlin\"".to_owned()),
        ("nobody reaches web-1 on Mo at 10:00", "24: \"Mo\" stands where a day of the week should; such as \"on Monday at 10:00 Europe/Berlin\"".to_owned()),
        ("nobody reaches web-1 on Monday at 10:00 Berlin", "40: the time zone \"Berlin\" is not known; write its IANA name, such as Europe/Berlin".to_owned()),
        ("nobody reaches web-1 with a key", format!("28: \"key\" stands where `security key` or `plain key` should; {such_as}")),
    ] {
        assert_eq!(at(NOW, sentence), Err(expected), "{sentence}");
    }
}

#[test]
fn two_teams_that_a_name_could_mean_are_told_apart() {
    let mut policy = company();
    policy
        .teams
        .insert("contractor".parse().unwrap(), Default::default());
    let error = Expectation::parse("a contractor never reaches web-1", &policy).unwrap_err();
    assert_eq!(
        (error.at, error.to_string().as_str()),
        (
            2,
            "contractor is both a team and, with an s, another one; say `a member of contractor` or `a member of contractors`"
        )
    );
}

#[test]
fn invited_people_are_judged_as_if_they_had_enrolled() {
    let policy = company();
    assert_eq!(
        policy.employees[&email("bob@corp.example")].status,
        Status::Invited
    );
    holds("bob@corp.example reaches web-1");
}

#[test]
fn a_name_that_is_gone_breaks_the_sentence() {
    let policy = company();
    let sentence = Expectation::parse("nobody reaches spare", &policy).unwrap();
    let mut later = policy.clone();
    later.machines.remove(&"spare".parse().unwrap());
    let broken = judge(&later, [&sentence], NOW);
    assert_eq!(
        broken[0].to_string(),
        "expected \"nobody reaches spare\", but there is no machine spare any longer"
    );
}
