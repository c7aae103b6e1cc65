//! Answers of a server as they could be, for snapshots.

use ca_api::{
    Secret,
    admin::{
        CaKey, CaKeyView, CaKeys, CertificateView, CheckFinding, DeliveryOutcome, EmployeeView,
        GrantView, Gravity, Invitation, KrlEntryView, KrlView, LedgerHead, LedgerLine, LogView,
        MachineBehind, MachineCheck, MachineDelivery, MachineKeyView, MachineKeys, MachineView,
        NotReached, Pace, PoolView, PullView, RemovalOutcome, Revocation, RotationView,
        SessionView, SessionsEnded, SessionsView, TeamView, WaitsFor,
    },
};
use ca_server::cli::time::Clock;
use time::macros::datetime;

/// Ten to four in the morning, on a Sunday.
pub const CLOCK: Clock = Clock {
    now: datetime!(2026-11-22 03:50:00 +1),
};

/// So many seconds from [`CLOCK`].
pub fn after(secs: i64) -> i64 {
    CLOCK.now.unix_timestamp() + secs
}

pub fn texts(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

pub fn alice() -> EmployeeView {
    EmployeeView {
        email: "alice@corp.example".to_owned(),
        name: "Alice Stone".to_owned(),
        account: "alice".to_owned(),
        uid: 60_001,
        status: "active".to_owned(),
        admin: true,
        epoch: 3,
        teams: texts(&["ops"]),
        principals: texts(&["alice@web-server", "deploy@production"]),
        live_certificates: 2,
        sessions: 1,
        last_login_unix: Some(after(-7320)),
    }
}

pub fn employees() -> Vec<EmployeeView> {
    let bob = EmployeeView {
        email: "bob@corp.example".to_owned(),
        name: String::new(),
        account: "bob".to_owned(),
        uid: 60_002,
        status: "invited".to_owned(),
        admin: false,
        epoch: 1,
        teams: Vec::new(),
        principals: Vec::new(),
        live_certificates: 0,
        sessions: 0,
        last_login_unix: None,
    };
    let zoe = EmployeeView {
        email: "zoe@subsidiary.corp.example".to_owned(),
        name: "Zoë 東京".to_owned(),
        account: "zoe".to_owned(),
        status: "suspended".to_owned(),
        last_login_unix: Some(after(-40 * 86_400)),
        live_certificates: 12,
        ..bob.clone()
    };
    vec![alice(), bob, zoe]
}

pub fn invitation() -> Invitation {
    Invitation {
        employee: EmployeeView {
            principals: texts(&["bob@web-server"]),
            ..employees().remove(1)
        },
        code: Secret::new("K7QD-3M4X-PPTN-2W9C".to_owned()),
        expires_unix: after(86_400),
        url: "https://ca.corp.example:8443".to_owned(),
        fingerprint: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
    }
}

pub fn pools() -> Vec<PoolView> {
    vec![
        PoolView {
            name: "production".to_owned(),
            title: "All that customers see".to_owned(),
            include: texts(&["db", "web-server"]),
            machines: texts(&["db-1", "web-1", "web-2"]),
            who: texts(&["alice@corp.example as deploy"]),
        },
        PoolView {
            name: "web-server".to_owned(),
            title: String::new(),
            include: Vec::new(),
            machines: texts(&["web-1", "web-2"]),
            who: texts(&[
                "alice@corp.example as alice",
                "alice@corp.example as deploy",
            ]),
        },
    ]
}

pub fn teams() -> Vec<TeamView> {
    vec![TeamView {
        name: "ops".to_owned(),
        employees: texts(&["alice@corp.example", "bob@corp.example"]),
        teams: texts(&["night-shift"]),
    }]
}

pub fn grants() -> Vec<GrantView> {
    let grant = GrantView {
        id: 9,
        who: "alice@corp.example".to_owned(),
        account: "self".to_owned(),
        pool: "web-server".to_owned(),
        sudo: "none".to_owned(),
        conditions: String::new(),
        until_unix: None,
    };
    let team = GrantView {
        id: 10,
        who: "team ops".to_owned(),
        account: "deploy".to_owned(),
        pool: "production".to_owned(),
        sudo: "all".to_owned(),
        conditions: "from 10.0.0.0/8; at most 1 h".to_owned(),
        until_unix: Some(after(5 * 3600)),
    };
    vec![grant, team]
}

pub fn machines() -> Vec<MachineView> {
    let web_1 = MachineView {
        name: "web-1".to_owned(),
        address: "10.0.0.7".to_owned(),
        port: 22,
        pools: texts(&["web-server"]),
        status: "managed".to_owned(),
        observed: false,
        generation_wanted: 4,
        generation: 4,
        krl_wanted: 42,
        krl_version: 42,
        last_seen_unix: Some(after(-31)),
        trouble: String::new(),
        exposed_until_unix: None,
        host_key: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
        host_certificate_until_unix: after(30 * 86_400),
        who: texts(&[
            "alice@corp.example as alice",
            "alice@corp.example as deploy",
        ]),
        check: checks().into_iter().find(|check| check.machine == "web-1"),
        pull: None,
    };
    let db_1 = MachineView {
        name: "db-1".to_owned(),
        address: "fd00::7".to_owned(),
        port: 2222,
        pools: texts(&["db", "production"]),
        observed: true,
        generation: 3,
        krl_version: 41,
        last_seen_unix: Some(after(-5 * 3600)),
        trouble: "No route to host".to_owned(),
        exposed_until_unix: Some(after(3 * 3600)),
        check: checks().into_iter().next(),
        pull: Some(PullView {
            tree: Some("https://mirror.corp.example/ssh-ca".to_owned()),
            place: "0123456789abcdef0123456789abcdef".to_owned(),
            reach: "pull only".to_owned(),
            reported_unix: Some(after(-5 * 3600)),
            order: None,
        }),
        ..web_1.clone()
    };
    let new = MachineView {
        name: "new-1".to_owned(),
        status: "preparing".to_owned(),
        generation: 0,
        krl_version: 0,
        last_seen_unix: None,
        check: None,
        pull: None,
        ..web_1.clone()
    };
    vec![db_1, new, web_1]
}

pub fn proven(machine: &str, ended: &[&str], open: &[&str]) -> MachineDelivery {
    MachineDelivery {
        machine: machine.to_owned(),
        outcome: DeliveryOutcome::Proven {
            krl_version: 42,
            generation: 4,
            sessions_ended: texts(ended),
            sessions_open: texts(open),
        },
        millis: 310,
        changes: Vec::new(),
    }
}

pub fn not_reached(machine: &str, exposed_until_unix: Option<i64>) -> MachineDelivery {
    MachineDelivery {
        machine: machine.to_owned(),
        outcome: DeliveryOutcome::NotReached {
            reason: "No route to host".to_owned(),
            krl_version: 41,
            exposed_until_unix,
        },
        millis: 3100,
        changes: Vec::new(),
    }
}

pub fn revocation(machines: Vec<MachineDelivery>) -> Revocation {
    Revocation {
        what: "everything that alice@corp.example holds".to_owned(),
        krl_version: 42,
        live_certificates: 2,
        last_expiry_unix: Some(after(7 * 3600 + 720)),
        sessions_ended: 1,
        login_closed: true,
        machines,
    }
}

pub fn krl() -> KrlView {
    KrlView {
        version: 42,
        built_unix: after(-15),
        bytes: 312,
        entries: vec![
            KrlEntryView {
                what: "key id alice@corp.example/3".to_owned(),
                at_unix: after(-15),
                until_unix: Some(after(8 * 86_400)),
                reason: "laptop stolen".to_owned(),
            },
            KrlEntryView {
                what: "key SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
                at_unix: after(-86_400),
                until_unix: None,
                reason: String::new(),
            },
        ],
        machines_current: 2,
        machines: 3,
        behind: vec![MachineBehind {
            machine: "db-1".to_owned(),
            krl_version: 41,
            last_seen_unix: Some(after(-5 * 3600)),
            trouble: "No route to host".to_owned(),
            exposed_until_unix: Some(after(3 * 3600)),
        }],
    }
}

pub fn checks() -> Vec<MachineCheck> {
    let finding = |gravity, code: &str, what: &str, meaning: &str, remedy: &str| CheckFinding {
        gravity,
        code: code.to_owned(),
        what: what.to_owned(),
        meaning: meaning.to_owned(),
        remedy: remedy.to_owned(),
        repairable: code == "drift",
    };
    let check = |machine: &str, reached, findings: &[CheckFinding]| MachineCheck {
        machine: machine.to_owned(),
        reached,
        at_unix: after(-30),
        findings: findings.to_vec(),
        repaired: Vec::new(),
    };
    let silent = finding(
        Gravity::Warning,
        "not-reached",
        "10.0.0.8 cannot be reached: No route to host",
        "nobody can say how it stands; what is revoked meanwhile still opens it",
        "see whether it is on and its port is open; then `ca-server sync db-1`",
    );
    let sudo = finding(
        Gravity::Danger,
        "drift",
        "/etc/sudoers.d/ssh-ca is changed",
        "this file decides who becomes root there",
        "`ca-server check web-1 --repair` applies again what the CA wants",
    );
    let key = finding(
        Gravity::Notice,
        "static-key",
        "a static key opens ubuntu: /home/ubuntu/.ssh/authorized_keys line 1",
        "the machine is observed, so the key works as before; no revocation ends it",
        "`ca-server check --keys` tells whose it is",
    );
    vec![
        check("db-1", false, &[silent]),
        check("web-1", true, &[sudo, key.clone()]),
        check("web-2", true, &[key]),
    ]
}

pub fn sessions() -> SessionsView {
    let session = |id: &str, key_id: &str, state: &str| SessionView {
        id: id.to_owned(),
        machine: "web-1".to_owned(),
        account: "alice".to_owned(),
        from: "10.0.0.9".to_owned(),
        since_unix: Some(after(-3600)),
        key_id: key_id.to_owned(),
        employee: None,
        serial: (!key_id.is_empty()).then_some(3_921_843_772),
        state: state.to_owned(),
    };
    SessionsView {
        sessions: vec![
            session("web-1:4711-889", "alice@corp.example/3", "live"),
            session("web-1:4713-890", "", "live"),
            session("web-1:4715-891", "", "unknown"),
        ],
        not_reached: vec![NotReached {
            machine: "db-1".to_owned(),
            reason: "No route to host".to_owned(),
        }],
    }
}

pub fn sessions_ended() -> SessionsEnded {
    let mut sessions = sessions().sessions;
    SessionsEnded {
        open: vec![sessions.remove(1)],
        ended: vec![sessions.remove(0)],
        gone: texts(&["web-1:4716-900"]),
        not_reached: Vec::new(),
    }
}

pub fn removals() -> [(&'static str, RemovalOutcome); 5] {
    let taken_off = RemovalOutcome::TakenOff {
        files: 6,
        accounts: texts(&["alice expired", "deploy expired", "ssh-ca-sync purged"]),
        notes: Vec::new(),
        sshd_answers: true,
    };
    let waiting = RemovalOutcome::Waiting {
        reason: "10.77.1.1 cannot be reached: No route to host".to_owned(),
    };
    [
        ("done", taken_off),
        ("shut", RemovalOutcome::Shut),
        ("left", RemovalOutcome::Left),
        ("waiting", waiting),
        (
            "fetches",
            RemovalOutcome::Fetches {
                tree: Some("https://mirror.corp.example/ssh-ca".to_owned()),
                until_unix: after(30 * 24 * 3600),
                reported_unix: None,
            },
        ),
    ]
}

pub fn static_keys() -> Vec<MachineKeys> {
    let key = |account: &str, door: &str, state: &str, used| MachineKeyView {
        account: account.to_owned(),
        file: format!("/home/{account}/.ssh/authorized_keys"),
        line: 1,
        algorithm: "ssh-ed25519".to_owned(),
        fingerprint: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
        comment: "ops laptop".to_owned(),
        options: String::new(),
        employee: None,
        state: state.to_owned(),
        door: door.to_owned(),
        last_used_unix: used,
    };
    let machine = |machine: &str, trouble: &str, keys: &[MachineKeyView]| MachineKeys {
        machine: machine.to_owned(),
        trouble: trouble.to_owned(),
        observed: true,
        logs: Vec::new(),
        keys: keys.to_vec(),
        commands: Vec::new(),
    };
    let mut web = machine(
        "web-1",
        "",
        &[
            key("ssh-admin", "admin", "opens", Some(after(-86_400))),
            key("ubuntu", "other", "opens", Some(after(-3600))),
            key("deploy", "other", "not heeded", None),
        ],
    );
    web.logs.push(LogView {
        source: "/var/log/auth.log".to_owned(),
        since_unix: Some(after(-7 * 86_400)),
    });
    let mut bare = machine("web-2", "", &[key("ubuntu", "other", "opens", None)]);
    bare.commands.push("/usr/bin/keys %u".to_owned());
    vec![machine("db-1", "No route to host", &[]), web, bare]
}

pub fn certificates() -> Vec<CertificateView> {
    let live = CertificateView {
        serial: 3_921_843_772,
        key_id: "alice@corp.example/3".to_owned(),
        key: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
        principals: texts(&["alice@web-server", "deploy@production"]),
        valid_after_unix: after(-60),
        valid_before_unix: after(8 * 3600),
        state: "issued".to_owned(),
        revoked: false,
    };
    let with = |serial, state: &str, revoked, valid_before_unix| CertificateView {
        serial,
        state: state.to_owned(),
        revoked,
        valid_before_unix,
        ..live.clone()
    };
    vec![
        live.clone(),
        with(17, "issued", true, after(3600)),
        with(18, "issued", false, after(-3600)),
        with(19, "intent", false, after(3600)),
        with(20, "failed", false, after(3600)),
    ]
}

pub fn ledger() -> Vec<LedgerLine> {
    let entry = |seq, actor: &str, event: &str, about: &str, detail: &str| LedgerLine {
        seq,
        at_unix: after(seq as i64 - 200),
        actor: actor.to_owned(),
        event: event.to_owned(),
        about: about.to_owned(),
        detail: detail.to_owned(),
    };
    vec![
        entry(
            99,
            "server",
            "login_refused",
            "alice@corp.example",
            "from 10.0.0.9",
        ),
        entry(
            100,
            "admin (socket, uid 0)",
            "revoked",
            "alice@corp.example",
            "epoch 3; laptop stolen",
        ),
    ]
}

pub fn head() -> LedgerHead {
    LedgerHead {
        entries: 100,
        hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        signature: "{\"ca\":\"SHA256:user\",\"head\":100}\n-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
            .to_owned(),
    }
}

fn ca_key(name: &str, life: &str, trusted_by: usize) -> CaKeyView {
    let next = life == "next";
    CaKeyView {
        signer: "file".to_owned(),
        name: name.to_owned(),
        fingerprint: format!("SHA256:{name}"),
        life: life.to_owned(),
        made_unix: after(-7200),
        signs_since_unix: (!next).then(|| after(-86_400)),
        signed_until_unix: None,
        last_expiry_unix: None,
        ended_unix: None,
        trusted_by,
        machines: 3,
    }
}

/// A replacement of the user CA that waits for a machine.
pub fn ca_keys() -> CaKeys {
    CaKeys {
        keys: vec![
            ca_key("user_ca", "current", 3),
            ca_key("user_ca.2", "next", 2),
            ca_key("host_ca", "current", 3),
            ca_key("fleet", "current", 3),
        ],
        rotations: vec![RotationView {
            key: CaKey::User,
            pace: Pace::Step,
            stage: "user_ca.2 is announced, and signs when every machine has confirmed that it trusts it".to_owned(),
            waits_for: vec![WaitsFor {
                who: "web-2".to_owned(),
                why: "it does not trust the key yet (No route to host)".to_owned(),
            }],
            leave_behind: texts(&["old-1"]),
            until_unix: None,
        }],
        ..CaKeys::default()
    }
}
