//! Makes text from elsewhere harmless to a terminal (C5).

use std::borrow::Cow;

use serde_json::Value;

/// Can `c` move the cursor, hide text, or turn its direction? Line feed is not counted: [`clean`] keeps it.
fn is_hostile(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c,
            '\u{200b}'..='\u{200f}'      // zero width, and direction marks
            | '\u{2028}'..='\u{202e}'    // line and paragraph separators, bidi embeddings and overrides
            | '\u{2060}'..='\u{206f}'    // invisible operators, bidi isolates
            | '\u{061c}' | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}') // tags: text that nobody sees
}

/// `text` without control characters (line feeds stay), bidi overrides and invisible characters.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hostile) {
        Cow::Owned(text.chars().filter(|c| !is_hostile(*c)).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// [`clean`], on one line: what a table cell or a message line can hold.
#[must_use]
pub fn line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

/// Cleans every string inside a JSON value, names of fields too.
pub fn clean_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = clean(text) {
                *text = clean;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(clean_json),
        Value::Object(fields) => {
            if fields.keys().any(|name| name.chars().any(is_hostile)) {
                *fields = std::mem::take(fields)
                    .into_iter()
                    .map(|(name, value)| (clean(&name).into_owned(), value))
                    .collect();
            }
            fields.values_mut().for_each(clean_json);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_terminal_controls_and_bidi_overrides_are_stripped() {
        assert_eq!(
            clean("a\u{1b}]0;owned\u{7}b\u{9b}31m\rc\u{202e}d\u{2066}e"),
            "a]0;ownedb31mcde"
        );
        assert_eq!(clean("zwei\nZeilen, schön"), "zwei\nZeilen, schön");
        assert_eq!(line("one\ntwo\u{8}"), "one two");
    }

    #[test]
    fn c5_json_is_cleaned_at_every_depth() {
        let mut value = serde_json::json!({"a\u{1b}": ["x\u{7}", {"b": "y\u{202e}z"}], "n": 18_446_744_073_709_551_615_u64});
        clean_json(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"a": ["x", {"b": "yz"}], "n": 18_446_744_073_709_551_615_u64})
        );
    }
}
