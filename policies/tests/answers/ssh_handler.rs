//! SSH Handler's JSON: both shapes, keys that are listed, and faults with their place.

use policies::{
    Policy, check,
    import::{Imported, Next, Weight, ssh_handler},
};
use proptest::prelude::*;

use crate::{build::public, cases};

fn read(text: &str) -> Imported {
    ssh_handler("data.json", text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn faults(text: &str) -> Vec<String> {
    let faults = ssh_handler("data.json", text).expect_err(text);
    faults.iter().map(ToString::to_string).collect()
}

fn key(seed: u8) -> String {
    public(seed).to_openssh().unwrap()
}

#[test]
fn lists_become_pools_machines_grants_and_keys_to_look_at() {
    let text = format!(
        r#"{{
  "pools": [{{"name": "web", "machines": ["web-1", "WEB-2"]}}, {{"name": "Data Base", "machines": ["db-1", "web-1"]}}],
  "employees": [
    {{"email": "alice@corp.example", "pools": ["web", "Data Base"], "public_key": "{} alice@laptop"}},
    {{"email": "bob@corp.example", "pools": [], "public_key": null}}
  ]
}}"#,
        key(1)
    );
    let imported = read(&text);
    let pools: Vec<String> = imported
        .pools
        .iter()
        .map(|(name, pool)| format!("{name}/{}", pool.title))
        .collect();
    assert_eq!(pools, ["data-base/Data Base", "web/"]);
    let web_1 = &imported.machines[&"web-1".parse().unwrap()];
    assert_eq!(web_1.len(), 2);
    assert!(imported.machines.contains_key(&"web-2".parse().unwrap()));
    let grants: Vec<String> = imported
        .grants
        .iter()
        .map(|grant| format!("{:?} {} {}", grant.who, grant.pool, grant.at))
        .collect();
    assert_eq!(
        grants,
        [
            "Employee(\"alice@corp.example\") web data.json:4:47",
            "Employee(\"alice@corp.example\") data-base data.json:4:54",
        ]
    );
    let [found] = imported.static_keys.as_slice() else {
        panic!("{imported:#?}");
    };
    assert_eq!(
        found.fingerprint,
        public(1).fingerprint(ssh_key::HashAlg::Sha256).to_string()
    );
    assert_eq!(found.employee, Some("alice@corp.example".parse().unwrap()));
    assert_eq!(found.at.line, 4);

    let added = imported
        .added_to(
            &Policy::default(),
            Next {
                uid: 20_000,
                grant: 1,
            },
        )
        .unwrap();
    assert_eq!(check(&added.policy), []);
    assert_eq!(
        (added.policy.grants.len(), added.policy.employees.len()),
        (2, 2)
    );
    assert_eq!(added.machines_to_bootstrap.len(), 3);
}

#[test]
fn maps_say_the_same_as_lists() {
    let list = read(
        r#"{"pools": [{"name": "web", "machines": ["web-1"]}, {"name": "db", "machines": []}],
            "employees": [{"email": "alice@corp.example", "pools": ["web"]}]}"#,
    );
    for text in [
        r#"{"pools": {"web": ["web-1"], "db": []}, "employees": {"alice@corp.example": {"pools": ["web"]}}}"#,
        r#"{"pools": {"web": {"machines": ["web-1"]}, "db": {"machines": []}}, "employees": {"0": {"email": "alice@corp.example", "pools": ["web"]}}}"#,
        r#"{"employees": [{"email": "alice@corp.example", "pools": ["0"]}], "pools": {"0": {"name": "web", "machines": ["web-1"]}, "1": {"name": "db", "machines": []}}}"#,
        // As SSH Handler's own file has it: employees by number at the top.
        r#"{"0": {"email": "alice@corp.example", "pools": ["web"]}, "pools": {"web": ["web-1"], "db": []}}"#,
    ] {
        let mut map = read(text);
        // Only the places differ.
        for (grant, expected) in map.grants.iter_mut().zip(&list.grants) {
            grant.at = expected.at.clone();
        }
        assert_eq!(map, list, "{text}");
    }
    // Next to its name as key, a pool's "name" is for people.
    let titled = read(r#"{"pools": {"web": {"name": "The web servers", "machines": []}}}"#);
    assert_eq!(
        titled.pools[&"web".parse().unwrap()].title,
        "The web servers"
    );
}

#[test]
fn k1_passwords_in_the_file_are_told_and_never_kept() {
    let text = r#"{"0": {"email": "a@corp.example", "password": "hunter-22-hunter"}, "1": {"email": "b@corp.example", "password": "x"}}"#;
    let imported = read(text);
    let note = imported.notes.last().unwrap();
    assert_eq!(note.weight, Weight::Alarm);
    assert!(
        note.sentence
            .starts_with("the file holds 2 passwords in plain text"),
        "{note:?}"
    );
    assert!(!format!("{imported:?}").contains("hunter"));
    assert!(!serde_json::to_string(&imported).unwrap().contains("hunter"));
}

#[test]
fn a_public_key_that_is_none_is_told_and_the_rest_is_imported() {
    let imported = read(
        r#"{"employees": [{"email": "a@corp.example", "public_key": "ssh-ed25519 AAAA"}, {"email": "b@corp.example", "public_keys": ["", "rubbish"]}]}"#,
    );
    assert!(imported.static_keys.is_empty());
    assert_eq!(imported.employees.len(), 2);
    assert_eq!(imported.notes.len(), 2, "{:?}", imported.notes);
    assert!(imported.notes[0].sentence.contains("a@corp.example"));
}

#[test]
fn every_fault_has_its_place() {
    for (text, expected) in [
        ("", "1:1: EOF while parsing a value"),
        (
            "[1]",
            "1:1: invalid type: sequence, expected an object with \"pools\" and \"employees\"",
        ),
        (
            "{\"pols\": []}",
            "1:7: \"pols\" is no field of this file; it has \"pools\" and \"employees\", or employees by number",
        ),
        (
            "{\"pools\": [],\n \"pools\": []}",
            "2:8: \"pools\" stands twice",
        ),
        (
            "{\"pools\": {\"a\": [],\n \"a\": []}}",
            "2:4: \"a\" stands twice",
        ),
        (
            "{\"pools\": [{\"name\": \"a\", \"machine\": []}]}",
            "1:34: unknown field `machine`, expected `name` or `machines`",
        ),
        (
            "{\"pools\": [{\"machines\": []}]}",
            "1:12: this pool has no name; give it a \"name\"",
        ),
        (
            "{\"pools\": [{\"name\": \"a\"}]}",
            "1:24: missing field `machines`",
        ),
        (
            "{\"pools\": {\"0\": []}}",
            "1:17: this pool has no name; give it a \"name\"",
        ),
        (
            "{\"pools\": {\"a\": [\"x\",\n\"b_c\"]}}",
            "2:1: \"b_c\" is not a machine name: expected a host name: labels of a-z, 0-9 and -, parted by dots, at most 253 characters",
        ),
        (
            "{\"pools\": {\"a\": [\"x\", \"X\"]}}",
            "1:23: x stands twice in this list; remove one",
        ),
        (
            "{\"pools\": {\"a\": [], \"A\": []}}",
            "1:26: the pool a is defined twice; put its machines into one",
        ),
        (
            "{\"employees\": [{\"pools\": []}]}",
            "1:16: this employee has no email; give them an \"email\"",
        ),
        (
            "{\"employees\": [{\"email\": \"a\"}]}",
            "1:16: \"a\" is not an email address: expected name@domain with the letters a-z, digits and . _ + - before the @, and a-z, digits, . and - after it",
        ),
        (
            "{\"employees\": [{\"email\": \"a@b.c\"},\n {\"email\": \"A@b.c\"}]}",
            "2:2: the employee a@b.c stands twice; put their pools into one",
        ),
        (
            "{\"employees\": [{\"email\": \"a@b.c\", \"pools\":\n [\"web\"]}]}",
            "2:3: the pool \"web\" is named here and defined nowhere; add it to \"pools\", or correct the name",
        ),
        (
            "{\"employees\": [{\"email\": 7}]}",
            "1:26: invalid type: integer `7`, expected a string",
        ),
        (
            "{\"employees\": [{\"email\": \"a@b.c\", \"sudo\": true}]}",
            "1:40: unknown field `sudo`, expected one of `email`, `pools`, `public_key`, `public_keys`, `password`",
        ),
        ("{} x", "1:4: trailing characters"),
    ] {
        assert_eq!(faults(text), [format!("data.json:{expected}")], "{text}");
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn w3_no_text_panics(text in "([\\[\\]{},:]|\"(pools|employees|email|name|machines|a@b\\.c|0|web|public_key)\"|null|1|[ \n]){0,40}|\\PC{0,60}") {
        if let Err(faults) = ssh_handler("f", &text) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn w3_no_mixture_of_good_parts_panics(pools in proptest::collection::vec("web|db|Web|0|é|", 0..4), people in proptest::collection::vec(("a@b\\.c|b@b\\.c|x", "web|db|0"), 0..4)) {
        let pools: serde_json::Map<_, _> = pools.into_iter().map(|name| (name, serde_json::json!(["h1"]))).collect();
        let people: Vec<_> = people.into_iter().map(|(email, pool)| serde_json::json!({"email": email, "pools": [pool]})).collect();
        let text = serde_json::to_string_pretty(&serde_json::json!({"pools": pools, "employees": people})).unwrap();
        match ssh_handler("f", &text) {
            Ok(imported) => prop_assert!(imported.grants.iter().all(|grant| imported.pools.contains_key(&grant.pool))),
            Err(faults) => for fault in faults {
                let line = text.lines().nth(fault.at.line as usize - 1);
                prop_assert!(line.is_some_and(|line| fault.at.column as usize <= line.chars().count()));
            }
        }
    }
}
