//! The table by hand, and that it is never there as a whole.

use policies::{Filter, KeyKind, Status, View, matrix, who};

use crate::build::{Draft, changed, email, grant, now};

fn company() -> Draft {
    let mut draft = Draft::default()
        .employee("alice")
        .employee("bob")
        .employee("eve")
        .team("ops", &["alice", "bob"], &[])
        .pool("all", &["web"])
        .pool("web", &[])
        .machine("db-1", &["all"])
        .machine("web-1", &["web"])
        .grant(grant("%ops", "deploy", "all"))
        .grant(grant("alice", "self", "web"))
        .grant(changed(grant("bob", "self", "web"), |grant| {
            grant.hours = Some("Mon 08:00-09:00".parse().unwrap());
        }))
        .grant(grant("eve", "self", "web"));
    draft.person("eve").status = Status::Invited;
    draft
}

fn lines(view: View) -> Vec<String> {
    let index = company().index();
    let filter = Filter::all(view);
    matrix(&index, &filter, now())
        .flat_map(|row| {
            row.cells.into_iter().map(move |cell| {
                let grants: Vec<String> = cell
                    .grants
                    .iter()
                    .map(|given| given.grant.to_string())
                    .collect();
                format!(
                    "{} {} {} {}",
                    row.email.as_str().split('@').next().unwrap(),
                    cell.machine,
                    cell.account,
                    grants.join(",")
                )
            })
        })
        .collect()
}

#[test]
fn now_leaves_out_closed_hours_and_invited_people_and_standing_shows_them() {
    let now = lines(View::Now(KeyKind::Plain));
    assert_eq!(
        now,
        [
            "alice db-1 deploy 1",
            "alice web-1 alice 2",
            "alice web-1 deploy 1",
            "bob db-1 deploy 1",
            "bob web-1 deploy 1"
        ]
    );
    let standing = lines(View::Standing);
    let more: Vec<&String> = standing.iter().filter(|line| !now.contains(line)).collect();
    assert_eq!(more, ["bob web-1 bob 3", "eve web-1 eve 4"]);
}

#[test]
fn who_reads_the_table_from_the_machine() {
    let index = company().index();
    let there = who(&index, &"web-1".parse().unwrap(), View::Standing, now());
    let told: Vec<String> = there
        .iter()
        .map(|one| format!("{} {} {:?}", one.email, one.account, one.status))
        .collect();
    assert_eq!(
        told,
        [
            "alice@corp.example alice Active",
            "alice@corp.example deploy Active",
            "bob@corp.example bob Active",
            "bob@corp.example deploy Active",
            "eve@corp.example eve Invited",
        ]
    );
    assert!(
        who(
            &index,
            &"no-machine".parse().unwrap(),
            View::Standing,
            now()
        )
        .is_empty()
    );
}

#[test]
fn a_large_table_is_read_line_by_line() {
    // 2000 × 2000 with everybody on every machine would be four million cells; only the lines that are asked for are made.
    let mut draft = Draft::default()
        .pool("all", &[])
        .team("everybody", &[], &[]);
    for n in 0..2000 {
        draft = draft
            .employee(&format!("p{n}"))
            .machine(&format!("m{n}"), &["all"]);
        draft
            .0
            .teams
            .get_mut(&"everybody".parse().unwrap())
            .unwrap()
            .employees
            .insert(email(&format!("p{n}")));
    }
    let index = draft.grant(grant("%everybody", "self", "all")).index();
    let filter = Filter::all(View::Standing);
    let mut rows = matrix(&index, &filter, now());
    assert_eq!(rows.next().unwrap().cells.len(), 2000);
    assert_eq!(rows.take(3).map(|row| row.cells.len()).sum::<usize>(), 6000);
}
