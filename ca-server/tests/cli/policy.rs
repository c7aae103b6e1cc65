//! `policy …` from outside: what it shows (snapshots), when it asks, what it sends, and how it exits.

use std::path::{Path, PathBuf};

use ca_api::admin::{AdminReply, PolicyApplied, PolicyDocument, PolicyMatrix, PolicyPlanned};
use ca_server::cli::render::{self, Context};
use serde_json::{Value, json};

use crate::{
    binary::{code, err, out, run, value},
    policy_samples::*,
    samples::*,
    server::{Answer, Script, done, note},
    snapshot,
    tty::on_terminal,
};

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
