//! Plans, matrices and explanations as a server would send them.

use ca_api::admin::{
    AccessView, AccountOf, AccountThere, ChangedView, DocumentLine, EmployeeChangeView, GivesView,
    ImportNote, ImportTitle, ImportView, LimitChangeView, MachineChangeView, MachineSide,
    MatrixCell, MatrixMachine, MatrixRow, MissingView, NamesView, PlanCounts, PlanView,
    PolicyApplied, PolicyExplained, PolicyMatrix, PolicyPlanned, RuleView, StaticKeyView,
};

use crate::samples::*;

pub const BASE: &str = "6747e2dc849471d1d3c243b063279c614c7985e0efd2600af90b51f917eaf49e";

pub const AFTER: &str = "f9edec0dbda404b7778860f08676322bd124e142167f3602dc26f88dd93a683b";

pub fn names(all: &[&str]) -> NamesView {
    NamesView {
        count: all.len(),
        names: texts(all),
    }
}

pub fn at(line: usize, column: usize, message: &str) -> DocumentLine {
    DocumentLine {
        file: "policy.toml".to_owned(),
        line,
        column,
        message: message.to_owned(),
    }
}

pub fn plan() -> PlanView {
    let access =
        |step: &str, people, account: AccountOf, machines, grants: &[u64], words: &[&str]| {
            AccessView {
                step: step.to_owned(),
                people,
                account,
                machines,
                grants: grants.to_vec(),
                words: texts(words),
            }
        };
    let many = NamesView {
        count: 60,
        names: (1..=50).map(|n| format!("web-{n}")).collect(),
    };
    let deploy = || AccountOf::Shared("deploy".to_owned());
    PlanView {
        counts: PlanCounts {
            people_gaining: 1,
            people_losing: 2,
            people_changed: 1,
            cells_gained: 60,
            cells_lost: 4,
            cells_changed: 2,
            machines: 62,
            accounts_appearing: 60,
            accounts_disappearing: 2,
        },
        limits: vec![LimitChangeView {
            name: "lifetime".to_owned(),
            before_secs: 8 * 3600,
            after_secs: 4 * 3600,
        }],
        employees: vec![
            EmployeeChangeView {
                email: "bob@corp.example".to_owned(),
                step: "suspended".to_owned(),
            },
            EmployeeChangeView {
                email: "zoe@subsidiary.corp.example".to_owned(),
                step: "invited".to_owned(),
            },
        ],
        teams: vec![ChangedView {
            name: "ops".to_owned(),
            how: "changed".to_owned(),
            words: texts(&["employees: -bob@corp.example"]),
        }],
        pools: vec![ChangedView {
            name: "gpu".to_owned(),
            how: "added".to_owned(),
            words: Vec::new(),
        }],
        grants: vec![ChangedView {
            name: 17,
            how: "removed".to_owned(),
            words: texts(&["team ops: deploy on pool db"]),
        }],
        access: vec![
            access(
                "lost",
                names(&["alice@corp.example", "bob@corp.example"]),
                deploy(),
                names(&["db-1", "db-2"]),
                &[17],
                &[],
            ),
            access(
                "changed",
                names(&["alice@corp.example"]),
                AccountOf::Own,
                names(&["web-1", "web-2"]),
                &[9],
                &["sudo: none, before all commands"],
            ),
            access(
                "gained",
                names(&["zoe@subsidiary.corp.example"]),
                AccountOf::Own,
                many,
                &[18, 19],
                &["until 2026-12-24 18:00 UTC"],
            ),
        ],
        machines: vec![
            MachineChangeView {
                machines: names(&["db-1", "db-2"]),
                joins: texts(&["gpu"]),
                leaves: texts(&["production"]),
                appear: names(&[]),
                disappear: names(&["deploy"]),
                sudo: names(&[]),
                principals: true,
            },
            MachineChangeView {
                machines: names(&["web-1", "web-2"]),
                joins: Vec::new(),
                leaves: Vec::new(),
                appear: names(&["zoe"]),
                disappear: names(&[]),
                sudo: names(&["alice: none, before all commands"]),
                principals: false,
            },
        ],
        warnings: texts(&[
            "zoe@subsidiary.corp.example has 300 principals under one set of conditions",
        ]),
        errors: Vec::new(),
    }
}

pub fn planned() -> PolicyPlanned {
    PolicyPlanned {
        document: "policy.toml".to_owned(),
        document_sha256: "0".repeat(64),
        base: BASE.to_owned(),
        after: Some(AFTER.to_owned()),
        faults: Vec::new(),
        cautions: vec![at(
            31,
            1,
            "nobody is in team night, so that this grant gives nothing yet",
        )],
        plan: Some(plan()),
        expectations: 3,
        broken: Vec::new(),
        import: None,
    }
}

pub fn nothing() -> PolicyPlanned {
    PolicyPlanned {
        after: Some(BASE.to_owned()),
        plan: Some(PlanView::default()),
        cautions: Vec::new(),
        ..planned()
    }
}

pub fn wrong() -> PolicyPlanned {
    PolicyPlanned {
        after: None,
        plan: None,
        cautions: Vec::new(),
        expectations: 0,
        faults: vec![
            at(
                4,
                8,
                "there is no team opps (did you mean ops?); correct the name, or write [team.…] for it",
            ),
            at(
                12,
                1,
                "\"machnes\" is no field of a pool (did you mean machines?); its fields are title, include, machines, employees",
            ),
        ],
        ..planned()
    }
}

pub fn broken() -> PolicyPlanned {
    PolicyPlanned {
        broken: vec![at(
            3,
            5,
            "expected \"a contractor never reaches db-1\", but grant 19 lets zoe@subsidiary.corp.example in as zoe",
        )],
        ..planned()
    }
}

pub fn imported() -> PolicyPlanned {
    PolicyPlanned {
        document: "keys.cfg".to_owned(),
        cautions: Vec::new(),
        expectations: 0,
        import: Some(ImportView {
            text: "# the whole policy\n".to_owned(),
            notes: vec![ImportNote {
                weight: "warning".to_owned(),
                at: "keys.cfg:3:1".to_owned(),
                sentence: "the team ops is there already: who joins it through this import also gets what it is granted already"
                    .to_owned(),
            }],
            static_keys: vec![StaticKeyView {
                at: "keys.cfg:9:1".to_owned(),
                algorithm: "RSA 2048".to_owned(),
                fingerprint: "SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE".to_owned(),
                comment: "alice@laptop".to_owned(),
                owner: Some("alice@corp.example (by the account)".to_owned()),
                options: texts(&["from", "no-pty"]),
                fault: None,
            }],
            machines_to_bootstrap: vec![MatrixMachine {
                name: "h4".to_owned(),
                pools: texts(&["h4", "hg1"]),
            }],
            titles: vec![ImportTitle {
                grant: 18,
                title: "rule A".to_owned(),
            }],
        }),
        ..planned()
    }
}

pub fn applied() -> PolicyApplied {
    PolicyApplied {
        planned: planned(),
        invitations: vec![invitation()],
        revoked_certificates: 2,
        krl_version: 42,
        machines: vec![
            not_reached("db-1", Some(after(3600))),
            proven("web-1", &[], &[]),
        ],
    }
}

pub fn matrix(machines: usize) -> PolicyMatrix {
    let name = |n: usize| format!("web-{n}");
    let cell = |machine: usize, account: &str, grants: &[u64]| MatrixCell {
        machine: name(machine),
        account: account.to_owned(),
        grants: grants.to_vec(),
    };
    let all = 1..=machines;
    let alice: Vec<MatrixCell> = all.clone().map(|n| cell(n, "alice", &[9, 12])).collect();
    let mut bob: Vec<MatrixCell> = all.map(|n| cell(n, "deploy", &[10])).collect();
    bob.push(cell(1, "bob", &[11]));
    let row = |email: &str, status: &str, account: &str, cells| MatrixRow {
        email: email.to_owned(),
        status: status.to_owned(),
        account: account.to_owned(),
        cells,
    };
    PolicyMatrix {
        machines: (1..=machines)
            .map(|n| MatrixMachine {
                name: name(n),
                pools: texts(&["web-server"]),
            })
            .collect(),
        rows: vec![
            row("alice@corp.example", "active", "alice", alice),
            row("bob@corp.example", "invited", "bob", bob),
            row("carol@corp.example", "active", "carol", Vec::new()),
        ],
        grants: grants(),
    }
}

pub fn granted() -> PolicyExplained {
    let rule = |grant, sentence: &str, gives, missing| RuleView {
        grant,
        sentence: sentence.to_owned(),
        team_path: texts(&["night", "ops"]),
        pool_path: texts(&["web", "production"]),
        gives,
        missing,
    };
    let gives = GivesView {
        account: "deploy".to_owned(),
        principal: "deploy@production".to_owned(),
        ends_unix: after(3600),
        sudo: "/usr/bin/id".to_owned(),
        conditions: "Mon-Fri 08:00-18:00 Europe/Berlin; from 10.0.0.0/8".to_owned(),
    };
    let missing = MissingView {
        sentence: "it holds in its hours only".to_owned(),
        mend: Some("ca-server grant add --team ops --pool web".to_owned()),
    };
    PolicyExplained {
        email: "alice@corp.example".to_owned(),
        machine: "web-1".to_owned(),
        account: None,
        allowed: true,
        verdict: "alice@corp.example reaches web-1 as deploy".to_owned(),
        granted: true,
        obstacles: Vec::new(),
        rules: vec![
            rule(
                4,
                "grant 4 lets the team ops use deploy on the pool production",
                Some(gives),
                Vec::new(),
            ),
            rule(
                7,
                "grant 7 lets the team ops use their own account on the pool web",
                None,
                vec![missing],
            ),
        ],
        next: None,
        machine_side: Some(MachineSide {
            status: "managed".to_owned(),
            observed: true,
            generation_wanted: 7,
            generation: 7,
            krl_wanted: 42,
            krl_version: 42,
            last_seen_unix: Some(after(-60)),
            trouble: String::new(),
            accounts: vec![AccountThere {
                account: "deploy".to_owned(),
                wanted: true,
                there: true,
            }],
            findings: Vec::new(),
        }),
        certificates: certificates().drain(..2).collect(),
    }
}

pub fn denied() -> PolicyExplained {
    let mut denied = granted();
    denied.allowed = false;
    denied.verdict =
        "policy allows it, but web-1 has not got the configuration that is wanted there".to_owned();
    denied.next = Some("ca-server sync web-1".to_owned());
    denied.certificates.clear();
    let side = denied.machine_side.as_mut().expect("granted has one");
    (side.generation, side.krl_version) = (6, 41);
    side.accounts[0].there = false;
    side.findings.push(MissingView {
        sentence: "its configuration is of generation 6, wanted is 7".to_owned(),
        mend: Some("ca-server sync web-1".to_owned()),
    });
    denied
}
