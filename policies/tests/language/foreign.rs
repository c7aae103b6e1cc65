//! Whatever the text: a policy or faults at places that are in it, and never a panic (W3).

use policies::{
    Policy,
    document::{duration_secs, export},
    expect::{Expectation, judge},
    plan::{Detail, plan},
};
use proptest::prelude::*;

use crate::{
    examples::EXAMPLES,
    sound::{Dice, bytes},
    world::{NOW, cases, read_against},
};

/// Reads, and goes all the way where it can be read.
fn survives(store: &Policy, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    match read_against(store, text) {
        Ok(reading) => {
            let what = plan(store, &reading.policy, NOW, Detail::SUMMARY).to_string();
            assert!(!what.is_empty());
            let expectations = reading.expectations.iter().map(|at| &at.what);
            for broken in judge(&reading.policy, expectations, NOW) {
                assert!(!broken.to_string().is_empty());
            }
            assert!(read_against(&reading.policy, &export(&reading.policy, &[])).is_ok());
        }
        Err(faults) => {
            assert!(faults.len() > 0);
            for fault in faults.iter() {
                let position = &fault.position;
                let line = lines.get(position.line - 1).unwrap();
                assert!(
                    (1..=line.chars().count() + 1).contains(&position.column),
                    "{fault}"
                );
            }
        }
    }
}

/// Words of the language, so that random texts come near to it.
const WORDS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "=",
    ",",
    "\"",
    "'",
    "\n",
    " ",
    ".",
    "#",
    "{",
    "}",
    "\\",
    "\u{e4}",
    "\u{0}",
    "\r\n",
    "\"\"\"",
    "pool",
    "team",
    "employee",
    "grant",
    "limits",
    "expect",
    "web",
    "ops",
    "\"ann@corp.example\"",
    "machines",
    "include",
    "employees",
    "teams",
    "id",
    "uid",
    "account",
    "\"self\"",
    "sudo",
    "\"all\"",
    "lifetime",
    "\"8h\"",
    "until",
    "2026-12-31T18:00:00Z",
    "hours",
    "\"Mon-Fri 08:00-18:00\"",
    "true",
    "false",
    "0",
    "-1",
    "99999999999999999999",
    "1e9",
    "\"nobody reaches web-1\"",
    "\"a member of ops reaches pool web\"",
    "title",
    "roles",
    "suspended",
    "allow",
    "[\"pty\"]",
];

const SENTENCE_WORDS: &[&str] = &[
    "a",
    "an",
    "member",
    "of",
    "every",
    "nobody",
    "somebody",
    "ops",
    "web-1",
    "pool",
    "web",
    "reaches",
    "never",
    "as",
    "deploy",
    "self",
    "with",
    "sudo",
    "security",
    "plain",
    "key",
    "from",
    "10.0.0.1",
    "::1",
    "on",
    "Monday",
    "at",
    "10:00",
    "24:00",
    "Europe/Berlin",
    "ann@corp.example",
    "\u{e4}",
    "",
];

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn w3_random_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&Policy::default(), &String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn w3_random_words_are_survived(words in proptest::collection::vec(0..WORDS.len(), 0..120)) {
        let text: String = words.into_iter().map(|at| WORDS[at]).collect();
        survives(&Policy::default(), &text);
    }

    #[test]
    fn w3_mutated_examples_are_survived(
        example in 0..EXAMPLES.len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), 0..WORDS.len() + 2), 1..6),
    ) {
        let (_, text) = EXAMPLES[example];
        let store = crate::examples::store_of(text);
        let mut text: Vec<char> = text.chars().collect();
        for (at, change) in changes {
            let at = at.index(text.len());
            match change.checked_sub(2) {
                Some(word) => drop(text.splice(at..at, WORDS[word].chars())),
                None => drop(text.drain(at..(at + 1 + change * 20).min(text.len()))),
            }
            if text.is_empty() {
                break;
            }
        }
        survives(&store, &text.into_iter().collect::<String>());
    }

    #[test]
    fn w3_mutated_exports_are_survived(bytes in bytes(), at in any::<proptest::sample::Index>(), word in 0..WORDS.len()) {
        let policy = Dice::new(&bytes).policy();
        let text = export(&policy, &[]);
        let mut text: Vec<char> = text.chars().collect();
        let at = at.index(text.len());
        text.splice(at..at, WORDS[word].chars());
        survives(&policy, &text.into_iter().collect::<String>());
    }

    #[test]
    fn w3_random_sentences_are_survived(words in proptest::collection::vec(0..SENTENCE_WORDS.len(), 0..16), bytes in bytes()) {
        let policy = Dice::new(&bytes).policy();
        let words: Vec<&str> = words.into_iter().map(|at| SENTENCE_WORDS[at]).collect();
        let text = words.join(" ");
        match Expectation::parse(&text, &policy) {
            Ok(sentence) => drop(judge(&policy, [&sentence], NOW)),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.at), "{error:?} in {text:?}");
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn w3_random_durations_are_survived(text in "[0-9dhms. -]{0,24}") {
        let _ = duration_secs(&text);
    }
}

#[test]
fn w3_deep_nesting_is_a_fault_and_no_overflow() {
    survives(&Policy::default(), &"[".repeat(100_000));
    survives(
        &Policy::default(),
        &format!("expect = {}", "[".repeat(50_000)),
    );
    survives(
        &Policy::default(),
        &format!("expect = {}", "{a=".repeat(50_000)),
    );
    survives(&Policy::default(), &format!("[{}x]", "a.".repeat(50_000)));
    survives(&Policy::default(), &format!("{}x = 1", "a.".repeat(50_000)));
}
