//! Keeps text that came from elsewhere harmless on a terminal (C5).

use serde_json::Value;

/// One line of foreign text: no control characters, nothing that reorders or hides; a line end becomes a space.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c })
        .filter(|c| harmless(*c))
        .collect()
}

/// Foreign text of several lines: as [`line()`], but line ends stay.
#[must_use]
pub fn block(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .filter(|c| *c == '\n' || harmless(*c))
        .collect()
}

/// Cleans every text inside a value that came over the wire, before anything is made of it.
pub fn scrub(value: &mut Value) {
    match value {
        Value::String(text) => {
            // Most texts are clean: no copy for those.
            if !text.chars().all(harmless) {
                *text = block(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(scrub),
        Value::Object(fields) => fields.values_mut().for_each(scrub),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Neither a control character (C0, DEL, C1) nor an invisible one that reorders or joins what stands beside it.
fn harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A word for a POSIX shell: as it is where that is safe, otherwise in single quotes.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let text = line(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// As a line of its own begins: with a capital letter, unless it begins with a command.
#[must_use]
pub fn sentence(text: &str) -> String {
    const COMMANDS: [&str; 4] = ["ca-server ", "ca-client ", "bootstrap ", "ssh"];
    if COMMANDS.iter().any(|command| text.starts_with(command)) {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

/// `1 machine`, `2 machines`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "ok\x1b[2J\x1b]0;title\x07\r\n\u{9b}31m\u{202e}txt\u{200b}\x7f\tend";

    #[test]
    fn c5_control_characters_never_reach_the_terminal() {
        assert_eq!(line(HOSTILE), "ok[2J]0;title 31mtxt end");
        assert_eq!(block(HOSTILE), "ok[2J]0;title\n31mtxt end");
        assert_eq!(line("Zoë 東京 – naïve"), "Zoë 東京 – naïve");
    }

    #[test]
    fn c5_every_depth_of_an_answer_is_scrubbed() {
        let mut value = serde_json::json!({ "a": [{ "b": HOSTILE }], "c": 7, "pem": "one\ntwo\n" });
        scrub(&mut value);
        assert_eq!(
            value,
            serde_json::json!({ "a": [{ "b": "ok[2J]0;title\n31mtxt end" }], "c": 7, "pem": "one\ntwo\n" })
        );
    }

    #[test]
    fn a_hint_begins_as_a_sentence_and_a_command_stays_one() {
        assert_eq!(sentence("see the log"), "See the log");
        assert_eq!(sentence("ca-server krl push"), "ca-server krl push");
        assert_eq!(sentence("`ca-server krl push`"), "`ca-server krl push`");
        assert_eq!(sentence(""), "");
    }

    #[test]
    fn what_an_employee_pastes_is_one_word_each() {
        assert_eq!(
            shell_word("https://ca.corp.example:8443"),
            "https://ca.corp.example:8443"
        );
        assert_eq!(shell_word("SHA256:ab+/9="), "SHA256:ab+/9=");
        assert_eq!(shell_word("x; rm -rf ~"), "'x; rm -rf ~'");
        assert_eq!(shell_word("a'b"), r"'a'\''b'");
        assert_eq!(shell_word(""), "''");
    }
}
