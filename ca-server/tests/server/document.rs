//! The policy as a document: planned, applied as a whole, exported, and held against what the commands say.

use std::collections::{BTreeMap, BTreeSet};

use ca_api::{
    ApiError,
    admin::{
        AccountOf, AdminReply, AdminRequest, DeliveryOutcome, ImportTitle, PolicyApplied,
        PolicyDocument, PolicyPlanned,
    },
};
use serde_json::{Value, json};

use crate::{
    day::{company, generations, machine, risen},
    world::{World, certificate},
};

pub async fn plan(world: &World, text: &str) -> PolicyPlanned {
    let request = json!({"verb": "policy_plan", "name": "p.toml", "text": text});
    match world.verb(request).await {
        Ok(AdminReply::PolicyPlanned(planned)) => *planned,
        other => panic!("{other:?}"),
    }
}

pub async fn try_apply(world: &World, text: &str, base: &str) -> Result<PolicyApplied, ApiError> {
    let request = json!({"verb": "policy_apply", "name": "p.toml", "text": text, "base": base});
    match world.verb(request).await? {
        AdminReply::PolicyApplied(applied) => Ok(*applied),
        other => panic!("{other:?}"),
    }
}

/// Plans and applies.
pub async fn apply(world: &World, text: &str) -> PolicyApplied {
    let planned = plan(world, text).await;
    assert!(planned.sound(), "{planned:#?}");
    try_apply(world, text, &planned.base).await.unwrap()
}

pub async fn export(world: &World) -> PolicyDocument {
    match world.verb(json!({"verb": "policy_export"})).await {
        Ok(AdminReply::PolicyDocument(document)) => document,
        other => panic!("{other:?}"),
    }
}

/// Everybody's way to everything as `email account@machine`, whatever the hour.
pub async fn reached(world: &World) -> BTreeSet<String> {
    match world.verb(json!({"verb": "policy_matrix"})).await {
        Ok(AdminReply::PolicyMatrix(matrix)) => matrix
            .rows
            .iter()
            .flat_map(|row| {
                row.cells
                    .iter()
                    .map(|cell| format!("{} {}@{}", row.email, cell.account, cell.machine))
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

const DOCUMENT: &str = r#"
expect = [
    "a member of ops reaches web-1 as deploy",
    "carol@corp.example never reaches db-1",
]

[employee."alice@corp.example"]
name = "Alice Stone"
[employee."bob@corp.example"]
[employee."carol@corp.example"]
account = "cc"

[team.ops]
employees = ["alice@corp.example", "bob@corp.example"]

[pool.web]
title = "Web servers"
machines = ["web-1", "web-2"]
employees = ["carol@corp.example"]
[pool.db]
machines = ["db-1"]
[pool.edge]
machines = ["edge-1"]
[pool.lone]
machines = ["lone-1"]
[pool.production]
include = ["web", "db"]

[[grant]]
team = "ops"
pool = "production"
account = "deploy"
sudo = ["/usr/bin/systemctl restart app"]
lifetime = "1h"

[[grant]]
employee = "alice@corp.example"
pool = "edge"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_becomes_the_policy_in_one_entry_and_exactly_its_machines_change() {
    let world = company().await;
    let before = generations(&world).await;
    let planned = plan(&world, DOCUMENT).await;
    assert!(planned.sound(), "{planned:#?}");
    assert!(planned.changes());
    assert_eq!((planned.expectations, planned.broken.len()), (2, 0));
    assert_eq!(generations(&world).await, before, "a plan changes nothing");
    let counts = planned.plan.as_ref().unwrap().counts;
    assert_eq!((counts.people_gaining, counts.people_losing), (3, 0));
    // Two ops on three machines, carol on two, alice on one.
    assert_eq!(counts.cells_gained, 9);

    let applied = try_apply(&world, DOCUMENT, &planned.base[..12])
        .await
        .unwrap();
    let after = generations(&world).await;
    let concerned: BTreeSet<String> = ["db-1", "edge-1", "web-1", "web-2"]
        .map(str::to_owned)
        .into();
    assert_eq!(risen(&before, &after), concerned);
    assert_eq!(counts.machines, concerned.len());
    // One entry says what was applied; what it did to people stands before it.
    let ledger = world.ledger(20).await;
    let entry: Vec<_> = ledger
        .iter()
        .filter(|line| line.event == "policy_applied")
        .collect();
    assert_eq!(entry.len(), 1);
    assert_eq!(entry[0].about, "p.toml");
    for words in [
        "employees invited: 3",
        "grants added: 3",
        "logins gained: 9",
        &planned.base[..12],
        &planned.document_sha256[..12],
    ] {
        assert!(entry[0].detail.contains(words), "{}", entry[0].detail);
    }
    // Everybody new is invited, and their code works.
    let invited: Vec<&str> = applied
        .invitations
        .iter()
        .map(|one| one.employee.email.as_str())
        .collect();
    assert_eq!(
        invited,
        [
            "alice@corp.example",
            "bob@corp.example",
            "carol@corp.example"
        ]
    );
    let code = applied.invitations[2].code.expose().to_owned();
    let carol = world.enrol("carol@corp.example", &code).await;
    let session = world.login(&carol).await;
    assert_eq!(
        certificate(&session.issued.certificates[0]).valid_principals(),
        ["cc@web"]
    );
    // Said again, it changes nothing: also after somebody has enrolled.
    let again = plan(&world, DOCUMENT).await;
    assert!(!again.changes(), "{again:#?}");
    let entries = world.ledger(1).await[0].seq;
    let nothing = apply(&world, DOCUMENT).await;
    assert!(nothing.invitations.is_empty() && nothing.machines.is_empty());
    assert_eq!(world.ledger(1).await[0].seq, entries, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_applied_changes_nothing_and_says_all() {
    let world = company().await;
    // By commands: every kind of condition, a title, a suspended admin, somebody removed, nested teams.
    for request in [
        json!({"verb": "pool_set", "pool": "web", "title": "The \"web\" \\ servers"}),
        json!({"verb": "employee_add", "email": "alice@corp.example", "name": "Alice", "pools": ["web"], "admin": true}),
        json!({"verb": "employee_add", "email": "bob@corp.example", "account": "bobby"}),
        json!({"verb": "employee_add", "email": "gone@corp.example", "pools": ["db"]}),
        json!({"verb": "employee_remove", "email": "gone@corp.example"}),
        json!({"verb": "employee_suspend", "email": "alice@corp.example"}),
        json!({"verb": "team_add", "team": "ops", "employees": ["bob@corp.example"]}),
        json!({"verb": "grant_add", "team": "ops", "pool": "production", "account": "deploy", "sudo": "/usr/bin/id,/usr/bin/who"}),
        json!({"verb": "grant_add", "team": "ops", "pool": "edge", "account": "self", "hours": "Mon-Fri 08:00-18:00 Europe/Berlin",
               "sources": ["10.0.0.0/8"], "lifetime_secs": 900, "command": "/usr/bin/backup", "allow": ["port-forwarding"]}),
        json!({"verb": "grant_add", "employee": "bob@corp.example", "pool": "lone", "account": "self", "security_key": true,
               "until_unix": world.now() + 86_400, "sudo": "all"}),
    ] {
        let what = request.to_string();
        world
            .verb(request)
            .await
            .unwrap_or_else(|error| panic!("{what}: {}", error.message));
    }
    let document = export(&world).await;
    let planned = plan(&world, &document.text).await;
    assert!(planned.sound(), "{planned:#?}\n{}", document.text);
    assert!(!planned.changes(), "{planned:#?}\n{}", document.text);
    assert_eq!(planned.base, document.digest);
    for words in [
        "hours = \"Mon-Fri 08:00-18:00 Europe/Berlin\"",
        "security_key = true",
        "suspended = true",
        "bobby",
        "allow = [\"port-forwarding\"]",
    ] {
        assert!(document.text.contains(words), "{words}: {}", document.text);
    }
    assert!(!document.text.contains("gone@"), "{}", document.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ways_one_truth_commands_and_a_document_come_to_the_same() {
    let by_commands = company().await;
    for request in [
        json!({"verb": "employee_add", "email": "alice@corp.example", "name": "Alice Stone"}),
        json!({"verb": "employee_add", "email": "bob@corp.example"}),
        json!({"verb": "employee_add", "email": "carol@corp.example", "account": "cc", "pools": ["web"]}),
        json!({"verb": "team_add", "team": "ops", "employees": ["alice@corp.example", "bob@corp.example"]}),
        json!({"verb": "grant_add", "team": "ops", "pool": "production", "account": "deploy",
               "sudo": "/usr/bin/systemctl restart app", "lifetime_secs": 3600}),
        json!({"verb": "grant_add", "employee": "alice@corp.example", "pool": "edge", "account": "self"}),
        json!({"verb": "pool_set", "pool": "web", "title": "Web servers"}),
    ] {
        by_commands.verb(request).await.unwrap();
    }
    let by_document = company().await;
    apply(&by_document, DOCUMENT).await;
    assert_eq!(reached(&by_commands).await, reached(&by_document).await);
    // What the one exports is what the other has already, but for the numbers that each gave in its own order.
    let said = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with("uid = ") && !line.starts_with("id = "))
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let (one, other) = (export(&by_commands).await, export(&by_document).await);
    let expected: Vec<String> = said(&other.text)
        .into_iter()
        .filter(|line| !line.contains("reaches") && line != "expect = [" && line != "]")
        .collect();
    let found: Vec<String> = said(&one.text)
        .into_iter()
        .filter(|line| line != "]")
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_p7_what_a_document_takes_away_is_revoked_and_people_are_suspended_resumed_and_removed()
{
    let world = company().await;
    let applied = apply(&world, DOCUMENT).await;
    let mut people = BTreeMap::new();
    for invitation in &applied.invitations {
        let email = invitation.employee.email.clone();
        let person = world.enrol(&email, invitation.code.expose()).await;
        let session = world.login(&person).await;
        people.insert(email, (person, session));
    }
    let certificates = |email: &str| people[email].1.issued.certificates.clone();
    let (alice, bob, carol) = (
        "alice@corp.example",
        "bob@corp.example",
        "carol@corp.example",
    );
    // Alice leaves ops and keeps edge; bob is suspended; carol goes.
    let next = DOCUMENT
        .replace(
            "employees = [\"alice@corp.example\", \"bob@corp.example\"]",
            "employees = [\"bob@corp.example\"]",
        )
        .replace(
            "[employee.\"bob@corp.example\"]",
            "[employee.\"bob@corp.example\"]\nsuspended = true",
        )
        .replace("[employee.\"carol@corp.example\"]\naccount = \"cc\"\n", "")
        .replace("employees = [\"carol@corp.example\"]", "")
        .replace("    \"carol@corp.example never reaches db-1\",\n", "");
    let planned = plan(&world, &next).await;
    assert!(planned.sound(), "{planned:#?}");
    let view = planned.plan.as_ref().unwrap();
    let steps: Vec<(&str, &str)> = view
        .employees
        .iter()
        .map(|one| (one.email.as_str(), one.step.as_str()))
        .collect();
    assert!(steps.contains(&(bob, "suspended")), "{steps:?}");
    assert!(steps.contains(&(carol, "removed")), "{steps:?}");
    let lost: Vec<&AccountOf> = view
        .access
        .iter()
        .filter(|one| one.step == "lost")
        .map(|one| &one.account)
        .collect();
    assert!(lost.contains(&&AccountOf::Shared("deploy".to_owned())));
    let good: Vec<String> = [alice, bob, carol]
        .into_iter()
        .flat_map(certificates)
        .collect();
    assert!(world.revoked(&good).await.iter().all(|revoked| !revoked));
    let applied = try_apply(&world, &next, &planned.base).await.unwrap();
    for text in certificates(alice) {
        let names = certificate(&text).valid_principals().to_vec();
        let lost = names.contains(&"deploy@production".to_owned());
        assert_eq!(world.revoked(&[text]).await, [lost], "{names:?}");
    }
    for email in [bob, carol] {
        assert!(
            world
                .revoked(&certificates(email))
                .await
                .iter()
                .all(|revoked| *revoked)
        );
        let (person, session) = &people[email];
        assert_eq!(world.renew(session).await.code(), "session_over", "{email}");
        assert_eq!(world.try_login(person).await.code(), "refused", "{email}");
        assert_eq!(world.show(email).await.epoch, 2);
    }
    // Her day session stays, and renews into what is left.
    let left = world.renew(&people[alice].1).await.issued().certificates;
    assert_eq!(certificate(&left[0]).valid_principals(), ["alice@edge"]);
    let gone = certificates(bob).len() + certificates(carol).len() + 1;
    assert_eq!(applied.revoked_certificates, gone);
    // None of these machines is there: each says so, with how long a revoked certificate would work.
    assert!(!applied.machines.is_empty());
    for machine in &applied.machines {
        assert!(
            matches!(
                machine.outcome,
                DeliveryOutcome::NotReached {
                    exposed_until_unix: Some(_),
                    ..
                }
            ),
            "{machine:?}"
        );
    }
    // Back as it was: bob may log in with the password he has, carol is invited as who she was.
    let applied = apply(&world, DOCUMENT).await;
    let invited: Vec<&str> = applied
        .invitations
        .iter()
        .map(|one| one.employee.email.as_str())
        .collect();
    assert_eq!(invited, [carol]);
    assert_eq!(world.show(bob).await.status, "active");
    assert!(world.try_login(&people[bob].0).await.status == 200);
    assert_eq!(world.show(carol).await.account, "cc");
    assert_eq!(world.show(carol).await.epoch, 2, "P9: epochs never restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_is_refused_when_the_policy_is_another_one_by_now() {
    let world = company().await;
    let planned = plan(&world, DOCUMENT).await;
    world.pool("late").await;
    let entries = world.ledger(1).await[0].seq;
    let refused = try_apply(&world, DOCUMENT, &planned.base)
        .await
        .unwrap_err();
    assert!(
        refused
            .message
            .contains("somebody changed the policy since")
    );
    assert!(refused.message.contains("nothing was applied"));
    for base in ["", "0", &planned.base[..7], "zzzzzzzz"] {
        assert!(try_apply(&world, DOCUMENT, base).await.is_err(), "{base:?}");
    }
    assert_eq!(world.ledger(1).await[0].seq, entries);
    // What changes by itself and changes no plan is no reason: an epoch, an enrolment.
    let world = company().await;
    let code = world.invite("zoe@corp.example", &[], false).await;
    let with_zoe = format!("{DOCUMENT}\n[employee.\"zoe@corp.example\"]\n");
    let planned = plan(&world, &with_zoe).await;
    world.enrol("zoe@corp.example", &code).await;
    try_apply(&world, &with_zoe, &planned.base).await.unwrap();
    assert_eq!(world.show("zoe@corp.example").await.status, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_document_and_a_broken_expectation_are_told_with_their_line_and_never_applied() {
    let world = company().await;
    let base = export(&world).await.digest;
    let entries = world.ledger(1).await[0].seq;
    let unknown = DOCUMENT.replace("pool = \"edge\"", "pool = \"egde\"");
    let planned = plan(&world, &unknown).await;
    assert!(!planned.sound() && planned.plan.is_none() && planned.after.is_none());
    let fault = &planned.faults[0];
    let line = unknown
        .lines()
        .position(|line| line.contains("egde"))
        .unwrap()
        + 1;
    assert_eq!((fault.file.as_str(), fault.line), ("p.toml", line));
    assert!(
        fault.column > 1 && fault.message.contains("edge"),
        "{fault:?}"
    );
    let broken = DOCUMENT.replace("never reaches db-1", "never reaches web-1");
    let planned = plan(&world, &broken).await;
    assert!(!planned.sound() && planned.plan.is_some());
    assert_eq!((planned.expectations, planned.broken.len()), (2, 1));
    let line = broken
        .lines()
        .position(|line| line.contains("never"))
        .unwrap()
        + 1;
    assert_eq!(planned.broken[0].line, line);
    for text in [&unknown, &broken, &"pool = ".to_owned(), &"\0".to_owned()] {
        let refused = try_apply(&world, text, &base).await.unwrap_err();
        assert!(
            refused.message.contains("cannot be applied"),
            "{}",
            refused.message
        );
    }
    assert_eq!(
        world.ledger(1).await[0].seq,
        entries,
        "something was written"
    );
    assert_eq!(export(&world).await.digest, base);
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_an_admin_whose_role_the_document_takes_applies_it_once_and_no_more() {
    let world = World::new().await;
    let chief = world.an_admin("chief@corp.example", &[]).await;
    let token = format!("Bearer {}", world.admin_token(&chief).await);
    let ask = |body: Value| {
        let token = token.clone();
        let world = &world;
        async move {
            let net = ca_server::http::Peer::Network([192, 0, 2, 7].into());
            let text = body.to_string();
            crate::doors::ask(world, net, "POST", "/v1/admin", Some(&token), &text).await
        }
    };
    let base = export(&world).await.digest;
    let apply = json!({
        "verb": "policy_apply", "name": "p.toml", "text": "[employee.\"chief@corp.example\"]\n", "base": base,
    });
    let (status, text) = ask(apply).await;
    assert!(
        status.is_success() && text.contains("policy_applied"),
        "{text}"
    );
    let (status, _) = ask(json!({"verb": "policy_export"})).await;
    assert_eq!(status, axum::http::StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn w2_a_large_document_is_read_of_an_admin_and_of_nobody_else() {
    let world = World::new().await;
    let chief = world.an_admin("chief@corp.example", &[]).await;
    let token = format!("Bearer {}", world.admin_token(&chief).await);
    let large = |mib: usize| {
        let text = format!("# {}\n", "x".repeat(mib * 1024 * 1024));
        json!({"verb": "policy_plan", "name": "p.toml", "text": text}).to_string()
    };
    let headers = [("authorization", token.as_str())];
    let answer = world
        .send("POST", "/v1/admin", &headers, large(2).into())
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("policy_planned"));
    let answer = world
        .send("POST", "/v1/admin", &headers, large(17).into())
        .await;
    assert_ne!(answer.status, 200);
    let answer = world.send("POST", "/v1/admin", &[], large(2).into()).await;
    assert_ne!(answer.status, 200);
}

/// A machine that the fleet knows, in a pool that nobody else uses.
pub async fn machines(world: &World, names: &[&str]) {
    world.pool("lobby").await;
    for name in names {
        machine(world, name, &["lobby"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keymgrs_example_gives_exactly_its_documented_table() {
    const KEYS: &str = "\
hostgroup hg1 : h1 h2
hostgroup hg2 : h3 hg1
hostgroup hg3 : h1 h3
usergroup ug1 : u1 u2 u3
usergroup ug2 : u4
manage hg3 : u1 u2        #rule A
manage h4 : ug1 u5        #rule B
manage hg2 : ug2 u3       #rule C
";
    let world = World::new().await;
    machines(&world, &["h1", "h2", "h3", "h4"]).await;
    let request = json!({
        "verb": "policy_import", "name": "keys.cfg", "text": KEYS, "format": "keymgr", "domain": "corp.example",
    });
    let planned = match world.verb(request).await {
        Ok(AdminReply::PolicyPlanned(planned)) => *planned,
        other => panic!("{other:?}"),
    };
    assert!(planned.sound() && planned.changes(), "{planned:#?}");
    let import = planned.import.clone().unwrap();
    let applied = try_apply(&world, &import.text, &planned.base)
        .await
        .unwrap();
    assert_eq!(applied.invitations.len(), 5);
    let matrix = match world.verb(json!({"verb": "policy_matrix"})).await {
        Ok(AdminReply::PolicyMatrix(matrix)) => matrix,
        other => panic!("{other:?}"),
    };
    let mut table = String::new();
    for row in &matrix.rows {
        let name = row.email.split('@').next().unwrap();
        let cells: Vec<String> = matrix
            .machines
            .iter()
            .map(|machine| {
                let here = row.cells.iter().find(|cell| cell.machine == machine.name);
                here.map_or("-".to_owned(), |cell| {
                    assert_eq!(cell.account, name);
                    let titled = |one: &&ImportTitle| one.grant == cell.grants[0];
                    let title = &import.titles.iter().find(titled).unwrap().title;
                    title.trim_start_matches("rule ").to_owned()
                })
            })
            .collect();
        table.push_str(&format!("{name} {}\n", cells.join(" ")));
    }
    assert_eq!(
        table,
        "u1 A - A B\nu2 A - A B\nu3 C C C B\nu4 C C C -\nu5 - - - B\n"
    );
    // Again, it adds nothing.
    let request = json!({
        "verb": "policy_import", "name": "keys.cfg", "text": KEYS, "format": "keymgr", "domain": "corp.example",
    });
    match world
        .command(serde_json::from_value::<AdminRequest>(request).unwrap())
        .await
    {
        Ok(AdminReply::PolicyPlanned(again)) => assert!(!again.changes(), "{again:#?}"),
        other => panic!("{other:?}"),
    }
}
