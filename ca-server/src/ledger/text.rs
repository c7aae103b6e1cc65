//! Text of the ledger: hashes as hex, and foreign text made fit for a terminal (S5, C5).

use std::fmt::Write;

/// Bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// `text` with every character escaped that could steer a terminal or turn a line around: control characters (C0, DEL, C1)
/// and Unicode's invisible and bidirectional format characters.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || c.is_control() || is_format(c) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Unicode's line and paragraph separators, and the format characters (Cf) that hide or reorder text.
fn is_format(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// 32 bytes as hex in JSON.
pub mod hex32 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// As 64 hex digits.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(hash: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        data_encoding::HEXLOWER.encode_mut(hash, &mut text);
        serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }

    /// From 64 lower-case hex digits.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        data_encoding::HEXLOWER
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom("expected 64 lower-case hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn s5_control_and_format_characters_are_escaped() {
        assert_eq!(printable("web-1 ä 日本"), "web-1 ä 日本");
        for hostile in [
            "\u{1b}[2J",
            "\r\n",
            "\u{7f}",
            "\u{9b}31m",
            "\u{202e}",
            "\u{200b}",
            "\u{2028}",
            "\0",
        ] {
            let shown = printable(hostile);
            assert!(shown.starts_with('\\'), "{hostile:?} became {shown:?}");
            assert!(shown.chars().all(|c| c.is_ascii_graphic()), "{shown:?}");
        }
        assert_eq!(
            printable("\\n"),
            "\\\\n",
            "an escaped text can be told from an escape"
        );
    }
}
