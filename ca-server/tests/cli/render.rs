//! What people see, as snapshots in a zone of its own; and that colour says something wherever it is.

use std::path::Path;

use ca_api::admin::{AdminEvent, AdminReply, MachineDelivery, MachineRemoved};
use ca_server::cli::{
    progress::{json_line, text_line},
    render::{
        self, Context,
        delivery::timing,
        setup::{Made, made},
    },
};

use crate::{samples::*, snapshot};

fn show(name: &str, reply: &AdminReply) {
    show_about(name, reply, None);
}

fn show_about(name: &str, reply: &AdminReply, employee: Option<&str>) {
    snapshot::check(name, &rendered(reply, employee));
}

fn rendered(reply: &AdminReply, employee: Option<&str>) -> String {
    let context = Context {
        clock: CLOCK,
        employee: employee.map(str::to_owned),
        width: None,
    };
    render::reply(reply, &context)
}

#[test]
fn employees_and_their_invitation() {
    show("employee-list", &AdminReply::Employees(employees()));
    show("employee-list-empty", &AdminReply::Employees(Vec::new()));
    show("employee-show", &AdminReply::Employee(alice()));
    let (before, after) = render::around_paste_line(&invitation(), CLOCK);
    let line = render::paste_line(&invitation());
    snapshot::check("employee-add", &format!("{before}{line}\n{after}"));
}

#[test]
fn pools_teams_and_grants() {
    show("pool-list", &AdminReply::Pools(pools()));
    show("pool-list-empty", &AdminReply::Pools(Vec::new()));
    show("pool-show", &AdminReply::Pool(pools().remove(0)));
    show("team-list", &AdminReply::Teams(teams()));
    show("team-show", &AdminReply::Team(teams().remove(0)));
    show("grant-list", &AdminReply::Grants(grants()));
    show("grant-list-empty", &AdminReply::Grants(Vec::new()));
}

#[test]
fn machines_and_who_reaches_them() {
    show("machine-list", &AdminReply::Machines(machines()));
    show("machine-list-empty", &AdminReply::Machines(Vec::new()));
    show("machine-show", &AdminReply::Machine(machines().remove(0)));
    snapshot::check("machine-show-who", &render::machine::who(&machines()[2]));
}

#[test]
fn certificates_the_krl_and_the_ledger() {
    show("cert-list", &AdminReply::Certificates(certificates()));
    show(
        "cert-show",
        &AdminReply::Certificate(certificates().remove(0)),
    );
    show("krl-show", &AdminReply::Krl(krl()));
    show("ca-list", &AdminReply::CaKeys(ca_keys()));
    let begun = ca_api::admin::CaKeys {
        did: texts(&["made user_ca.2, the next user CA key"]),
        machines: vec![proven("db-1", &[], &[]), not_reached("web-2", None)],
        waits: true,
        ..ca_keys()
    };
    show("ca-rotate", &AdminReply::CaKeys(begun));
    show("audit-list", &AdminReply::Ledger(ledger()));
    show("audit-verify", &AdminReply::Verified(head()));
    show("audit-export", &AdminReply::LedgerHead(head()));
}

#[test]
fn r1_a_revocation_ends_with_what_is_proven_and_what_to_do() {
    let alice = Some("alice@corp.example");
    let all = vec![
        proven("web-1", &["pts/0 of pid 431"], &[]),
        proven("web-2", &[], &[]),
    ];
    show_about(
        "revoke-proven",
        &AdminReply::Revoked(revocation(all.clone())),
        alice,
    );

    let mut some = all.clone();
    some.insert(0, not_reached("db-1", Some(after(7 * 3600 + 720))));
    some.push(proven(
        "web-3",
        &[],
        &["pid 977, account alice, no record of its login"],
    ));
    show_about(
        "revoke-partly",
        &AdminReply::Revoked(revocation(some)),
        alice,
    );

    let mut kept = revocation(all.clone());
    kept.login_closed = false;
    show_about("revoke-keep-login", &AdminReply::Revoked(kept), alice);

    let mut none = revocation(vec![not_reached("db-1", None)]);
    (none.live_certificates, none.last_expiry_unix) = (0, None);
    show_about(
        "revoke-one-machine-missed",
        &AdminReply::Revoked(none),
        alice,
    );

    show_about(
        "revoke-no-machines",
        &AdminReply::Revoked(revocation(Vec::new())),
        alice,
    );

    let mut push = revocation(vec![
        proven("web-1", &[], &[]),
        not_reached("db-1", Some(after(3600))),
    ]);
    push.what = String::new();
    show("krl-push", &AdminReply::Revoked(push));
}

#[test]
fn sync_and_check_say_what_they_changed_and_found() {
    let changed = MachineDelivery {
        changes: texts(&["principals/alice: new", "sshd reloaded"]),
        ..proven("web-1", &[], &[])
    };
    let machines = vec![
        not_reached("db-1", Some(after(3600))),
        changed,
        proven("web-2", &[], &[]),
    ];
    show("sync", &AdminReply::Synced(machines));
    show(
        "sync-all-well",
        &AdminReply::Synced(vec![proven("web-1", &[], &[]), proven("web-2", &[], &[])]),
    );
    show("check", &AdminReply::Checked(checks()));
    show("check-keys", &AdminReply::Keys(static_keys()));
    show("session-list", &AdminReply::Sessions(sessions()));
    show("session-end", &AdminReply::SessionsEnded(sessions_ended()));
    for (name, outcome) in removals() {
        let removed = MachineRemoved {
            machine: "web-1".to_owned(),
            outcome,
        };
        show(
            &format!("machine-remove-{name}"),
            &AdminReply::MachineRemoved(removed),
        );
    }
    show(
        "check-all-well",
        &AdminReply::Checked(checks().split_off(2)),
    );
}

#[test]
fn progress_is_a_line_for_each_machine() {
    let events = [
        AdminEvent::Note {
            text: "alice@corp.example is revoked, durably (KRL 42).".to_owned(),
        },
        AdminEvent::Machine {
            done: 1,
            total: 3,
            state: proven("web-1", &["pts/0 of pid 431"], &["pid 977"]),
        },
        AdminEvent::Machine {
            done: 2,
            total: 3,
            state: not_reached("db-1", Some(after(60))),
        },
    ];
    let lines: Vec<_> = events.iter().filter_map(text_line).collect();
    snapshot::check("progress", &format!("{}\n", lines.join("\n")));
    let lines: Vec<_> = events.iter().map(json_line).collect();
    snapshot::check("progress-json", &format!("{}\n", lines.join("\n")));
}

#[test]
fn timing_is_by_nearest_rank() {
    let hundred: Vec<u64> = (1..=100).rev().map(|n| n * 10).collect();
    assert_eq!(
        timing(&hundred).as_deref(),
        Some("100 machines proven: half within 500 ms, 99 % within 990 ms")
    );
    assert_eq!(
        timing(&[70, 310]).as_deref(),
        Some("2 machines proven: half within 70 ms, 99 % within 310 ms")
    );
    assert_eq!(timing(&[310]), None);
}

#[test]
fn colour_is_only_where_it_says_something() {
    const RED: &str = "\u{1b}[31m";
    const GREEN: &str = "\u{1b}[32m";
    let missed = rendered(
        &AdminReply::Revoked(revocation(vec![not_reached("db-1", Some(after(60)))])),
        None,
    );
    assert!(
        missed.contains(RED) && !missed.contains(GREEN),
        "{missed:?}"
    );
    let well = rendered(
        &AdminReply::Revoked(revocation(vec![proven("web-1", &[], &[])])),
        None,
    );
    assert!(well.contains(GREEN) && !well.contains(RED), "{well:?}");
    let plain = rendered(&AdminReply::Pools(pools()), None);
    assert!(!plain.contains(RED) && !plain.contains(GREEN), "{plain:?}");
}

#[test]
fn c5_no_answer_moves_the_cursor_or_fakes_a_row() {
    const HOSTILE: &str = "x\u{1b}[2J\u{9b}1A\r\nadmin@corp.example  admin\u{202e}";
    let mut employee = alice();
    employee.name = HOSTILE.to_owned();
    employee.email = HOSTILE.to_owned();
    employee.principals = texts(&[HOSTILE]);
    let mut machine = machines().remove(0);
    machine.trouble = HOSTILE.to_owned();
    machine.who = texts(&[HOSTILE]);
    let mut revoked = revocation(vec![
        proven(HOSTILE, &[HOSTILE], &[HOSTILE]),
        not_reached(HOSTILE, None),
    ]);
    revoked.what = HOSTILE.to_owned();
    let replies = [
        AdminReply::Employees(vec![employee.clone()]),
        AdminReply::Employee(employee),
        AdminReply::Machine(machine.clone()),
        AdminReply::Machines(vec![machine]),
        AdminReply::Revoked(revoked),
        AdminReply::Synced(vec![not_reached(HOSTILE, None)]),
    ];
    for reply in &replies {
        let text = anstream::adapter::strip_str(&rendered(reply, Some(HOSTILE))).to_string();
        // Our own colours are gone now: what is left of ESC or C1 came from the server.
        assert!(
            text.chars().all(|c| c == '\n' || !c.is_control()),
            "{text:?}"
        );
        assert!(!text.contains('\u{202e}'), "{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("admin@")),
            "{text}"
        );
    }
    let raw = rendered(&replies[0], None);
    assert!(
        !raw.contains("[2J\u{1b}") && !raw.contains("\u{1b}[2J"),
        "{raw:?}"
    );
}

#[test]
fn init_ends_with_what_was_made_and_the_next_commands() {
    let facts = |data| Made {
        data: Path::new(data),
        url: "https://ca.corp.example:8443",
        tls_fingerprint: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE",
        user_ca: "SHA256:user",
        host_ca: "SHA256:host",
    };
    snapshot::check("init", &made(&facts("/var/lib/ssh-ca-server")));
    snapshot::check("init-elsewhere", &made(&facts("/srv/the ca")));
}
