//! Each rule of a document, broken once: the fault stands at its line and column, and says what to do.

use policies::{
    Policy, Severity, Status,
    document::{Base, Holder, Orphans, Spent, read},
};

use crate::world::{bad, email, good, machines, numbers, person, read_against};

const PEOPLE: &str = "[employee.\"ann@corp.example\"]\n[employee.\"bob@corp.example\"]\n";

/// The document has just these faults.
#[track_caller]
fn faults(text: &str, expected: &[&str]) {
    let store = machines(&["web-1", "db-1"]);
    assert_eq!(bad(&store, text), expected, "{text}");
}

/// After [`PEOPLE`], so that line 3 is the first.
#[track_caller]
fn grant(text: &str, expected: &[&str]) {
    faults(&format!("{PEOPLE}[pool.web]\n[[grant]]\n{text}"), expected);
}

#[test]
fn what_is_no_toml() {
    faults(
        "[pool.web]\nmachines = [\"web-1\"\n",
        &[
            "policy.toml:2:20: this is not TOML: unclosed array, expected `]`; correct it here or on the line above",
        ],
    );
    let broken = bad(&Policy::default(), "a = \nb = = 1\n[x\n");
    assert!(broken.len() > 1, "all at once: {broken:?}");
}

#[test]
fn what_is_there_twice() {
    faults(
        "[pool.web]\n[pool.web]\n[limits]\nsession = \"1h\"\nsession = \"2h\"\n",
        &[
            "policy.toml:2:7: web is there twice; remove one of the two",
            "policy.toml:5:1: session is there twice; remove one of the two",
        ],
    );
    faults(
        "[employee.\"ann@corp.example\"]\n[employee.\"Ann@Corp.Example\"]\n",
        &[
            "policy.toml:2:11: employee ann@corp.example is there twice, the first time in line 1; join the two",
        ],
    );
    faults(
        "[employee.\"ann@corp.example\"]\nroles = [\"admin\", \"admin\"]\n[pool.web]\nmachines = [\"web-1\", \"db-1\", \"web-1\"]\nemployees = [\"ann@corp.example\", \"ann@corp.example\"]\n",
        &[
            "policy.toml:2:19: admin is in this list twice; remove one",
            "policy.toml:4:30: web-1 is in this list twice; remove one",
            "policy.toml:5:34: ann@corp.example is in this list twice; remove one",
        ],
    );
}

#[test]
fn grants_that_say_the_same() {
    grant(
        "employee = \"ann@corp.example\"\npool = \"web\"\n\n[[grant]]\nemployee = \"ann@corp.example\"\npool = \"web\"\naccount = \"self\"\nsudo = \"none\"\nallow = [\"pty\"]\n",
        &["policy.toml:8:1: this grant says the same as the one in line 4; remove one of the two"],
    );
    faults(
        &format!(
            "{PEOPLE}[pool.web]\nemployees = [\"ann@corp.example\"]\n[[grant]]\nemployee = \"ann@corp.example\"\npool = \"web\"\n"
        ),
        &["policy.toml:5:1: this grant says the same as the one in line 4; remove one of the two"],
    );
}

#[test]
fn names_that_are_not_known() {
    faults(
        "[employee.\"ann@corp.example\"]\n[team.ops]\nemployees = [\"anne@corp.example\"]\nteams = [\"opps\"]\n[pool.web-server]\ninclude = [\"web-sever\"]\nmachines = [\"web-2\", \"mail\"]\nemployees = [\"bob@other.example\"]\n",
        &[
            "policy.toml:3:14: there is no employee anne@corp.example (did you mean ann@corp.example?); correct the email, or write [employee.\"…\"] for them",
            "policy.toml:4:10: there is no team opps (did you mean ops?); correct the name, or write [team.…] for it",
            "policy.toml:6:12: there is no pool web-sever (did you mean web-server?); correct the name, or write [pool.…] for it",
            "policy.toml:7:13: there is no machine web-2 (did you mean web-1?); correct the name, or put the machine in with `bootstrap add-machine` first: a document makes none",
            "policy.toml:7:22: there is no machine mail; correct the name, or put the machine in with `bootstrap add-machine` first: a document makes none",
            "policy.toml:8:14: there is no employee bob@other.example; correct the email, or write [employee.\"…\"] for them",
        ],
    );
    grant(
        "team = \"ops\"\npool = \"wed\"\n",
        &[
            "policy.toml:5:8: there is no team ops; correct the name, or write [team.…] for it",
            "policy.toml:6:8: there is no pool wed (did you mean web?); correct the name, or write [pool.…] for it",
        ],
    );
}

#[test]
fn fields_that_are_not_known() {
    faults(
        "[limit]\n[limits]\nlifetimes = \"8h\"\n[employee.\"ann@corp.example\"]\nadmin = true\n[team.ops]\nmembers = []\n[pool.web]\nmachine = [\"web-1\"]\n",
        &[
            "policy.toml:1:2: \"limit\" is no field of a policy (did you mean limits?); its fields are limits, employee, team, pool, grant, expect",
            "policy.toml:3:1: \"lifetimes\" is no field of [limits] (did you mean lifetime?); its fields are session, lifetime, admin_lifetime, ceiling",
            "policy.toml:5:1: \"admin\" is no field of an employee; its fields are name, account, uid, roles, suspended",
            "policy.toml:7:1: \"members\" is no field of a team; its fields are employees, teams",
            "policy.toml:9:1: \"machine\" is no field of a pool (did you mean machines?); its fields are title, include, machines, employees",
        ],
    );
}

#[test]
fn values_of_another_type() {
    faults(
        "expect = \"nobody reaches web-1\"\nteam = 1\n[limits]\nsession = 8\nlifetime = \"8 hours\"\n[employee.\"ann@corp.example\"]\nuid = \"66001\"\nsuspended = \"yes\"\nroles = [\"admim\"]\nname = 1.5\n[pool.web]\nmachines = \"web-1\"\ninclude = [1]\n",
        &[
            "policy.toml:1:10: expect must be a list of sentences, such as [\"nobody reaches db-1\"], and this is a text",
            "policy.toml:2:8: team must be a table, such as [employee.\"a@b.example\"], [team.ops] or [pool.web], and this is a number",
            "policy.toml:4:11: session must be a duration in quotation marks, such as \"8h\" or \"15m\", and this is a number",
            "policy.toml:5:12: lifetime: \"8 hours\" is no duration; write whole days, hours, minutes and seconds, such as 8h, 15m, 1h30m or 90s",
            "policy.toml:7:7: uid must be a whole number, and this is a text",
            "policy.toml:8:13: suspended must be true or false, and this is a text",
            "policy.toml:9:10: a role cannot be \"admim\" (did you mean admin?); it is one of admin",
            "policy.toml:10:8: name must be a text in quotation marks, and this is a number with a fraction",
            "policy.toml:12:12: machines must be a list of texts, such as [\"a\", \"b\"], and this is a text",
            "policy.toml:13:12: include must be a list of texts, and this is a number",
        ],
    );
    faults(
        "[grant]\npool = \"web\"\n",
        &[
            "policy.toml:1:1: grant must be a list of tables: write [[grant]], with two brackets, and this is a table",
        ],
    );
}

#[test]
fn names_that_are_none() {
    faults(
        "[employee.\"ann\"]\n[employee.\"9@corp.example\"]\n[team.\"Ops\"]\n[pool.\"a b\"]\n[employee.\"root@corp.example\"]\nname = \"a\\nb\"\n",
        &[
            "policy.toml:1:11: \"ann\" is not an email address: expected name@domain with the letters a-z, digits and . _ + - before the @, and a-z, digits, . and - after it",
            "policy.toml:2:11: 9@corp.example cannot have the account \"9\", their email's first part; give one with account = \"…\"",
            "policy.toml:3:7: \"Ops\" is not a team name: expected 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _",
            "policy.toml:4:7: \"a b\" is not a pool name: expected 1 to 32 of a-z, 0-9, _, - and ., beginning with a letter or _",
            "policy.toml:5:11: root@corp.example has the account root, which is a system account; choose another",
            "policy.toml:6:8: name has at most 100 characters and no control characters; shorten it",
        ],
    );
}

#[test]
fn grants_with_a_hole() {
    grant(
        "sudo = \"al\"\nallow = [\"ptty\", \"pty\", \"pty\"]\n",
        &[
            "policy.toml:4:1: a grant needs somebody whom it is for; add team = \"…\" or employee = \"…\"",
            "policy.toml:4:1: a grant needs a pool; add pool = \"…\"",
            "policy.toml:5:8: sudo cannot be \"al\" (did you mean all?); it is one of none, all",
            "policy.toml:6:10: allow cannot be \"ptty\" (did you mean pty?); it is one of pty, port-forwarding, agent-forwarding, x11-forwarding, user-rc",
            "policy.toml:6:25: pty is in this list twice; remove one",
        ],
    );
    grant(
        "team = \"a\"\nemployee = \"b@c.example\"\npool = \"web\"\n",
        &[
            "policy.toml:6:12: a grant is for a team or for an employee, and this one names both; make it two grants",
        ],
    );
    grant(
        "employee = \"ann@corp.example\"\npool = \"web\"\nuntil = 2026-12-31T18:00:00\nhours = \"Mo-Fr 8-18\"\n[[grant]]\nemployee = \"bob@corp.example\"\npool = \"web\"\nuntil = \"tomorrow\"\n",
        &[
            "policy.toml:7:9: \"2026-12-31T18:00:00\" is no time; write date, time and offset, such as 2026-12-31T18:00:00Z or 2026-12-31T18:00:00+01:00",
            "policy.toml:8:9: \"8-18\" are no times; write begin and end in 24 hours, such as \"08:00-18:00\"",
            "policy.toml:12:9: \"tomorrow\" is no time; write date, time and offset, such as 2026-12-31T18:00:00Z or 2026-12-31T18:00:00+01:00",
        ],
    );
}

#[test]
fn p6_what_check_has_against_a_grant_stands_at_the_grant() {
    grant(
        "employee = \"ann@corp.example\"\npool = \"web\"\naccount = \"root\"\n[[grant]]\nemployee = \"ann@corp.example\"\npool = \"web\"\nsources = [\"10.0.0.1/8\"]\n[[grant]]\nemployee = \"bob@corp.example\"\npool = \"web\"\nrecord = true\n",
        &[
            "policy.toml:4:1: grant 1 gives root, which is a system account; mark the grant as meant for a system account, or name another",
            "policy.toml:8:1: grant 2 has the source \"10.0.0.1/8\": the address has bits set behind the prefix; write the network's first address",
            "policy.toml:12:1: grant 3 wants sessions recorded, and this CA has no recorder yet; drop the demand, or wait with the grant",
        ],
    );
    faults(
        "[limits]\nadmin_lifetime = \"9h\"\n[pool.a]\ninclude = [\"b\"]\n[pool.b]\ninclude = [\"a\"]\n[team.x]\nteams = [\"x\"]\n",
        &[
            "policy.toml:1:1: limit admin_lifetime_secs must be at least 1 and at most lifetime_secs",
            "policy.toml:5:7: pools include each other in a circle: a > b > a; remove one of these inclusions",
            "policy.toml:7:7: teams contain each other in a circle: x > x; remove one of these memberships",
        ],
    );
}

#[test]
fn p9_names_and_uids_are_never_changed_or_handed_on() {
    let mut store = machines(&[]);
    person(&mut store, "ann@corp.example", 66_000, Status::Active);
    person(&mut store, "old@corp.example", 66_001, Status::Removed);
    assert_eq!(
        bad(
            &store,
            "[employee.\"ann@corp.example\"]\naccount = \"anna\"\nuid = 66009\n[employee.\"new@corp.example\"]\nuid = 66001\naccount = \"old\"\n[employee.\"x@corp.example\"]\nuid = 4294967296\n"
        ),
        [
            "policy.toml:2:11: ann@corp.example has the account ann for ever, and this says anna; write ann, or leave it out",
            "policy.toml:3:7: ann@corp.example has the uid 66000 for ever, and this says 66009; write 66000, or leave it out",
            "policy.toml:4:11: the account old would belong to new@corp.example and old@corp.example; give each their own",
            "policy.toml:4:11: the uid 66001 would belong to new@corp.example and old@corp.example; give each their own",
            "policy.toml:5:7: the uid 66001 may have been somebody's before, and is never given again; leave it out: the next free one is taken",
            "policy.toml:8:7: 4294967296 is no uid; write a number from 1000 on, or leave it out: the next free one is taken",
        ]
    );
    let spent = Spent {
        pools: [policies::PoolName::try_from("legacy".to_owned()).unwrap()].into(),
        accounts: [
            ("deploy".parse().unwrap(), Holder::Shared),
            (
                "zed".parse().unwrap(),
                Holder::Employee(email("zed@corp.example")),
            ),
        ]
        .into(),
    };
    let empty = Policy::default();
    let base = Base {
        file: "p.toml",
        store: &empty,
        numbers: numbers(),
        enrolled: &Default::default(),
        spent: &spent,
        orphans: Orphans::Refuse,
    };
    let text = "[employee.\"deploy@corp.example\"]\n[employee.\"zed@other.example\"]\n[employee.\"zed@corp.example\"]\naccount = \"zed\"\n[pool.legacy]\n";
    let faults = read(text, &base).unwrap_err();
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "p.toml:1:11: the account deploy is or was a shared one, and a name is never given to somebody else; choose another",
            "p.toml:2:11: the account zed is or was zed@corp.example's, and a name is never given to somebody else; choose another",
            "p.toml:3:11: the account zed would belong to zed@corp.example and zed@other.example; give each their own",
            "p.toml:5:7: there was a pool legacy before, and its name is never given again; choose another",
        ]
    );
}

#[test]
fn a_machine_must_stay_in_a_pool_unless_it_may_be_left_alone() {
    let mut store = machines(&["web-1", "spare"]);
    let web = store.machines.get_mut(&"web-1".parse().unwrap()).unwrap();
    web.pools.insert("web".parse().unwrap());
    assert_eq!(
        bad(&store, "[pool.db]\n[pool.web]\n"),
        [
            "policy.toml:2:7: machine web-1 would be in no pool, so that nobody reaches it; put it into a pool, take it out of the fleet with `ca-server machine remove web-1`, or allow it with --force"
        ]
    );
    let base = Base {
        file: "policy.toml",
        store: &store,
        numbers: numbers(),
        enrolled: &Default::default(),
        spent: &Spent::default(),
        orphans: Orphans::Allow,
    };
    let reading = read("[pool.db]\n[pool.web]\n", &base).unwrap();
    let cautions: Vec<String> = reading.cautions.iter().map(ToString::to_string).collect();
    assert_eq!(
        cautions,
        [
            "policy.toml:1:1: machine spare is in no pool: nobody reaches it",
            "policy.toml:2:7: machine web-1 is in no pool: nobody reaches it",
        ]
    );
}

#[test]
fn sentences_are_faulty_at_their_words() {
    faults(
        "expect = [\n  \"nobody reaches web-1 in the morning\",\n  \"ann@corp.example reaches web-9\",\n  'a member of opps never reaches web-1',\n  \"ann@corp.example r\\u0065aches x\",\n]\n[employee.\"ann@corp.example\"]\n[team.ops]\n",
        &[
            "policy.toml:2:25: \"in\" stands where `as ACCOUNT`, `with sudo`, `with a security key`, `with a plain key`, `from ADDRESS`, `on DAY at HH:MM ZONE` or nothing should; such as \"a member of ops reaches web-1 as deploy on Monday at 10:00\"",
            "policy.toml:3:29: there is no machine web-9 (did you mean web-1?); correct the name",
            "policy.toml:4:16: there is no team opps (did you mean ops?); correct the name",
            "policy.toml:5:3: there is no machine x; correct the name",
        ],
    );
}

#[test]
fn what_works_and_an_admin_should_know() {
    let store = machines(&[]);
    let reading = good(
        &store,
        "[pool.web]\n[team.ops]\nteams = [\"night\"]\n[team.night]\n[[grant]]\nteam = \"ops\"\npool = \"web\"\nlifetime = \"30h\"\n",
    );
    let cautions: Vec<String> = reading.cautions.iter().map(ToString::to_string).collect();
    assert_eq!(
        cautions,
        [
            "policy.toml:5:1: nobody is in team ops, so that this grant gives nothing yet",
            "policy.toml:5:1: grant 1 asks for 108000 s, and gets the company's ceiling of 86400 s",
        ]
    );
    let json = serde_json::to_value(&reading.cautions[0]).unwrap();
    assert_eq!(json["line"], 5);
    assert_eq!(json["column"], 1);
    assert_eq!(json["file"], "policy.toml");
}

#[test]
fn an_error_that_the_store_has_already_is_no_reason_to_refuse() {
    let mut store = machines(&[]);
    person(&mut store, "ann@corp.example", 66_000, Status::Active);
    person(&mut store, "old@corp.example", 66_000, Status::Removed);
    let reading = read_against(&store, "[employee.\"ann@corp.example\"]\n").unwrap();
    assert_eq!(reading.cautions.len(), 1);
    let problems = policies::check(&reading.policy);
    assert!(
        problems
            .iter()
            .all(|problem| problem.severity() == Severity::Error)
    );
}
