//! `policy …` from outside: what it shows (snapshots), when it asks, what it sends, and how it exits.

use std::path::{Path, PathBuf};

use ca_api::admin::{
    AccessView, AccountOf, AccountThere, AdminReply, ChangedView, DocumentLine, EmployeeChangeView,
    GivesView, ImportNote, ImportTitle, ImportView, LimitChangeView, MachineChangeView,
    MachineSide, MatrixCell, MatrixMachine, MatrixRow, MissingView, NamesView, PlanCounts,
    PlanView, PolicyApplied, PolicyDocument, PolicyExplained, PolicyMatrix, PolicyPlanned,
    RuleView, StaticKeyView,
};
use ca_server::cli::render::{self, Context};
use serde_json::{Value, json};

use crate::{
    binary::{code, err, out, run, value},
    samples::*,
    server::{Answer, Script, done, note},
    snapshot,
    tty::on_terminal,
};

const BASE: &str = "6747e2dc849471d1d3c243b063279c614c7985e0efd2600af90b51f917eaf49e";
const AFTER: &str = "f9edec0dbda404b7778860f08676322bd124e142167f3602dc26f88dd93a683b";

fn names(all: &[&str]) -> NamesView {
    NamesView {
        count: all.len(),
        names: texts(all),
    }
}

fn at(line: usize, column: usize, message: &str) -> DocumentLine {
    DocumentLine {
        file: "policy.toml".to_owned(),
        line,
        column,
        message: message.to_owned(),
    }
}

fn plan() -> PlanView {
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

fn planned() -> PolicyPlanned {
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

fn nothing() -> PolicyPlanned {
    PolicyPlanned {
        after: Some(BASE.to_owned()),
        plan: Some(PlanView::default()),
        cautions: Vec::new(),
        ..planned()
    }
}

fn wrong() -> PolicyPlanned {
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

fn broken() -> PolicyPlanned {
    PolicyPlanned {
        broken: vec![at(
            3,
            5,
            "expected \"a contractor never reaches db-1\", but grant 19 lets zoe@subsidiary.corp.example in as zoe",
        )],
        ..planned()
    }
}

fn imported() -> PolicyPlanned {
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

fn applied() -> PolicyApplied {
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

fn matrix(machines: usize) -> PolicyMatrix {
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

fn granted() -> PolicyExplained {
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

fn denied() -> PolicyExplained {
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

fn show(name: &str, reply: &AdminReply, width: Option<usize>) {
    let context = Context {
        clock: CLOCK,
        employee: None,
        width,
    };
    snapshot::check(name, &render::reply(reply, &context));
}

#[test]
fn plans_say_who_gains_and_loses_what_where() {
    let plan = |planned: PolicyPlanned| AdminReply::PolicyPlanned(Box::new(planned));
    show("policy-plan", &plan(planned()), None);
    show("policy-plan-nothing", &plan(nothing()), None);
    show("policy-plan-wrong", &plan(wrong()), None);
    show("policy-plan-broken", &plan(broken()), None);
    show("policy-import", &plan(imported()), None);
    show(
        "policy-apply",
        &AdminReply::PolicyApplied(Box::new(applied())),
        None,
    );
}

#[test]
fn a_matrix_is_a_table_where_it_fits_and_nothing_is_ever_left_out() {
    let table = |machines| AdminReply::PolicyMatrix(matrix(machines));
    show("policy-matrix", &table(3), Some(80));
    // Machines that nobody can tell apart share a column.
    show("policy-matrix-grouped", &table(9), Some(80));
    show("policy-matrix-list", &table(9), Some(50));
    for width in 20..200 {
        let context = Context {
            clock: CLOCK,
            employee: None,
            width: Some(width),
        };
        let text = render::reply(&table(9), &context);
        for n in 1..=9 {
            assert!(text.contains(&format!("web-{n}")), "{width}: {text}");
        }
        for word in ["9,12", "deploy:10", "11", "carol@corp.example"] {
            assert!(text.contains(word), "{width}: no {word} in {text}");
        }
    }
    let nobody = PolicyMatrix {
        rows: vec![matrix(0).rows.remove(2)],
        ..matrix(2)
    };
    show(
        "policy-matrix-nobody",
        &AdminReply::PolicyMatrix(nobody),
        None,
    );
}

#[test]
fn an_explanation_begins_with_the_answer() {
    let explained = |one| AdminReply::PolicyExplained(Box::new(one));
    show("policy-explain-yes", &explained(granted()), None);
    show("policy-explain-no", &explained(denied()), None);
}

#[test]
fn c5_no_name_in_a_plan_moves_the_cursor() {
    const HOSTILE: &str = "x\u{1b}[2J\u{9b}1A\r\nadmin@corp.example  admin\u{202e}";
    let mut planned = planned();
    planned.document = HOSTILE.to_owned();
    planned.faults = vec![at(1, 1, HOSTILE)];
    planned.faults[0].file = HOSTILE.to_owned();
    let mut shown = imported();
    shown.document = HOSTILE.to_owned();
    shown.import.as_mut().expect("there").static_keys[0].comment = HOSTILE.to_owned();
    shown.import.as_mut().expect("there").titles[0].title = HOSTILE.to_owned();
    shown.plan.as_mut().expect("there").access[0].words = texts(&[HOSTILE]);
    let mut explained = denied();
    explained.verdict = HOSTILE.to_owned();
    explained.rules[0].sentence = HOSTILE.to_owned();
    let mut table = matrix(2);
    table.rows[0].email = HOSTILE.to_owned();
    table.machines[0].name = HOSTILE.to_owned();
    table.rows[0].cells[0].account = HOSTILE.to_owned();
    for reply in [
        AdminReply::PolicyPlanned(Box::new(planned)),
        AdminReply::PolicyPlanned(Box::new(shown)),
        AdminReply::PolicyExplained(Box::new(explained)),
        AdminReply::PolicyMatrix(table),
        AdminReply::PolicyDocument(PolicyDocument {
            text: "# \u{1b}[2J\n".to_owned(),
            digest: String::new(),
        }),
    ] {
        let context = Context {
            clock: CLOCK,
            employee: None,
            width: Some(300),
        };
        let text = render::reply(&reply, &context);
        let text = anstream::adapter::strip_str(&text).to_string();
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
}

/// A data folder with a server that answers in turn, and a document in it.
fn ready(answers: Vec<Answer>) -> (tempfile::TempDir, Script, tokio::runtime::Runtime, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Script::new(answers);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let inside = runtime.enter();
    script.listen(folder.path());
    drop(inside);
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, "[team.ops]\n").expect("written");
    (folder, script, runtime, file)
}

fn plan_of(planned: PolicyPlanned) -> Answer {
    Answer::done("policy_planned", &value(planned))
}

fn applied_of(applied: PolicyApplied) -> Answer {
    Answer::events(&[
        note("applied, durably: policy.toml"),
        done("policy_applied", &value(applied)),
    ])
}

fn policy(data: &Path, words: &[&str]) -> std::process::Output {
    run(data, &[&["policy"], words].concat())
}

#[test]
fn a_plan_exits_1_when_the_document_is_wrong_or_an_expectation_fails() {
    for (answer, exit) in [(planned(), 0), (nothing(), 0), (wrong(), 1), (broken(), 1)] {
        let (data, script, _runtime, file) = ready(vec![plan_of(answer)]);
        let file = file.display().to_string();
        let output = policy(data.path(), &["plan", &file]);
        assert_eq!(code(&output), exit, "{}", out(&output));
        let asked = &script.asked()[0].body;
        assert_eq!(
            *asked,
            json!({"verb": "policy_plan", "name": file, "text": "[team.ops]\n", "force": false})
        );
        let whole = policy(data.path(), &["plan", &file, "--json"]);
        assert_eq!(code(&whole), exit);
        let found: Value = serde_json::from_str(&out(&whole)).expect("JSON");
        assert_eq!(found["base"], BASE);
    }
}

#[test]
fn an_apply_shows_the_plan_and_pins_the_policy_that_it_saw() {
    let (data, script, _runtime, file) = ready(vec![plan_of(planned()), applied_of(applied())]);
    let file = file.display().to_string();
    let output = policy(data.path(), &["apply", &file, "--yes"]);
    assert_eq!(code(&output), 3, "one machine was not reached");
    assert!(err(&output).contains("gains"), "the plan: {}", err(&output));
    assert!(out(&output).contains("Applied: the policy is what policy.toml says"));
    let line = "ca-client setup https://ca.corp.example:8443 --fingerprint \
                SHA256:4f0sQUl0j1yLkY1ecb0gcl2fWcY8dQHn1hyp7kM1iGE && ca-client enrol K7QD-3M4X-PPTN-2W9C\n";
    assert!(
        out(&output).ends_with(&format!("# bob@corp.example\n{line}")),
        "{}",
        out(&output)
    );
    assert!(!err(&output).contains("K7QD"));
    assert_eq!(
        script.asked()[1].body,
        json!({"verb": "policy_apply", "name": file, "text": "[team.ops]\n", "base": BASE, "force": false})
    );
    // Everywhere: exit 0. As JSON: the answer alone, with the codes.
    let mut everywhere = applied();
    everywhere.machines.remove(0);
    let (data, _script, _runtime, file) = ready(vec![plan_of(planned()), applied_of(everywhere)]);
    let file = file.display().to_string();
    let output = policy(data.path(), &["apply", &file, "--yes", "--json"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let found: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!(found["invitations"][0]["code"], "K7QD-3M4X-PPTN-2W9C");
    assert_eq!(found["planned"]["after"], AFTER);
}

#[test]
fn nothing_is_applied_without_a_yes_or_from_a_wrong_plan() {
    for (answer, words, exit, sent) in [
        (planned(), vec![], 1, 1),
        (wrong(), vec!["--yes"], 1, 1),
        (broken(), vec!["--yes"], 1, 1),
        (nothing(), vec!["--yes"], 0, 1),
        (planned(), vec!["--yes", "--base", "00000000"], 1, 1),
        (planned(), vec!["--yes", "--base", "6747e2dc8494"], 3, 2),
    ] {
        let (data, script, _runtime, file) = ready(vec![plan_of(answer), applied_of(applied())]);
        let file = file.display().to_string();
        let mut all = vec!["apply", file.as_str()];
        all.extend(&words);
        let output = policy(data.path(), &all);
        assert_eq!(code(&output), exit, "{words:?}: {}", err(&output));
        assert_eq!(script.asked().len(), sent, "{words:?}");
    }
    let (data, _script, _runtime, file) = ready(vec![plan_of(planned())]);
    let file = file.display().to_string();
    let output = policy(data.path(), &["apply", &file]);
    assert!(err(&output).contains("Give --yes if it is meant."));
    let output = policy(
        data.path(),
        &["apply", &file, "--yes", "--base", "00000000"],
    );
    assert!(
        err(&output).contains("somebody changed the policy since")
            && err(&output).contains("nothing was applied"),
        "{}",
        err(&output)
    );
}

#[test]
fn an_apply_is_asked_on_a_terminal() {
    let (data, script, _runtime, file) = ready(vec![plan_of(planned()), applied_of(applied())]);
    let file = file.display().to_string();
    let words = ["policy", "apply", file.as_str()];
    let (code, screen) = on_terminal(data.path(), &words, &[("[y/N]", "n")]);
    assert_eq!(code, 1, "{screen}");
    let question = screen.find("[y/N]").expect("asked");
    assert!(
        screen[..question].contains("gains"),
        "the plan first: {screen}"
    );
    assert_eq!(script.asked().len(), 1, "nothing was applied");
    let (data, script, _runtime, file) = ready(vec![plan_of(planned()), applied_of(applied())]);
    let file = file.display().to_string();
    let words = ["policy", "apply", file.as_str()];
    let (code, screen) = on_terminal(data.path(), &words, &[("[y/N]", "y")]);
    assert_eq!(code, 3, "{screen}");
    assert_eq!(script.asked()[1].body["verb"], "policy_apply");
}

#[test]
fn an_import_is_applied_as_the_document_that_it_comes_to() {
    let (data, script, _runtime, _file) = ready(vec![plan_of(imported()), applied_of(applied())]);
    let file = data.path().join("keys.cfg");
    std::fs::write(&file, "hostgroup hg1 : h1\n").expect("written");
    let file = file.display().to_string();
    let words = ["import", &file, "--domain", "corp.example", "--yes"];
    let output = policy(data.path(), &words);
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert!(err(&output).contains("bootstrap add-machine h4 --pool h4 --pool hg1"));
    let asked = script.asked();
    assert_eq!(asked[0].body["format"], "keymgr");
    assert_eq!(asked[0].body["domain"], "corp.example");
    assert_eq!(asked[1].body["text"], "# the whole policy\n");
    assert_eq!(asked[1].body["base"], BASE);
    // What a file is can be said, or told by its name; never guessed from what is in it.
    let odd = data.path().join("odd");
    std::fs::write(&odd, "x").expect("written");
    let odd = odd.display().to_string();
    let output = policy(data.path(), &["import", &odd]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("--format"), "{}", err(&output));
}

#[test]
fn an_export_is_whole_and_private_and_csv_is_as_it_came() {
    let document = PolicyDocument {
        text: "[team.ops]\n".to_owned(),
        digest: BASE.to_owned(),
    };
    let (data, _script, _runtime, _file) =
        ready(vec![Answer::done("policy_document", &value(document))]);
    let output = policy(data.path(), &["export"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "[team.ops]\n"));
    let file = data.path().join("out.toml");
    let output = policy(
        data.path(),
        &["export", "--out", &file.display().to_string()],
    );
    assert_eq!(code(&output), 0);
    assert_eq!(
        std::fs::read_to_string(&file).expect("there"),
        "[team.ops]\n"
    );

    let lines = "employee,web-1\r\nalice@corp.example,alice (9)\r\n";
    let (data, script, _runtime, _file) = ready(vec![Answer::done("csv", &json!(lines))]);
    let output = policy(data.path(), &["matrix", "--csv", "--pool", "web"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), lines.replace('\r', ""));
    assert_eq!(script.asked()[0].body["csv"], "table");
    policy(data.path(), &["matrix", "--csv=lines", "--now"]);
    assert_eq!(script.asked()[1].body["csv"], "lines");
    assert_eq!(script.asked()[1].body["now"], true);
}

#[test]
fn an_explanation_exits_by_its_answer() {
    for (answer, exit) in [(granted(), 0), (denied(), 1)] {
        let (data, script, _runtime, _file) =
            ready(vec![Answer::done("policy_explained", &value(answer))]);
        let words = [
            "explain",
            "alice@corp.example",
            "web-1",
            "--account",
            "deploy",
        ];
        assert_eq!(code(&policy(data.path(), &words)), exit);
        assert_eq!(
            script.asked()[0].body,
            json!({
                "verb": "policy_explain", "email": "alice@corp.example", "machine": "web-1", "account": "deploy",
                "security_key": false
            })
        );
    }
}
