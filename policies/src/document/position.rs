//! Where in a document something stands: file, line, column.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A place in a document, for a person and their editor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The document's name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something that is said at a place in a document.
///
/// Shown as `FILE:LINE:COLUMN: …`; serialised as an object with `file`, `line`, `column` and `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At<T> {
    /// Where.
    pub position: Position,
    /// What.
    pub what: T,
}

impl<T: fmt::Display> fmt::Display for At<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.what)
    }
}

impl<T: fmt::Display> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("At", 4)?;
        object.serialize_field("file", &self.position.file)?;
        object.serialize_field("line", &self.position.line)?;
        object.serialize_field("column", &self.position.column)?;
        object.serialize_field("message", &self.what.to_string())?;
        object.end()
    }
}

/// A document's lines, to turn a byte into a line and a column.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    file: &'t str,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(file: &'t str, text: &'t str) -> Self {
        let behind_newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            file,
            text,
            starts: std::iter::once(0)
                .chain(behind_newlines.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    /// The place of a byte; one behind the end is the end.
    pub(super) fn position(&self, byte: usize) -> Position {
        let byte = byte.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= byte);
        let start = self.starts[line - 1];
        let before = self.text.as_bytes().get(start..byte).unwrap_or_default();
        // Every byte but the ones that continue a character.
        let characters = before.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        Position {
            file: self.file.to_owned(),
            line,
            column: characters + 1,
        }
    }

    pub(super) fn line(&self, byte: usize) -> usize {
        self.position(byte).line
    }

    pub(super) fn at<T>(&self, byte: usize, what: T) -> At<T> {
        At {
            position: self.position(byte),
            what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_nothing_is_out_of_range() {
        let lines = Lines::of("p.toml", "a\näb\n");
        assert_eq!(lines.position(0).to_string(), "p.toml:1:1");
        assert_eq!(lines.position(2).to_string(), "p.toml:2:1");
        assert_eq!(lines.position(4).to_string(), "p.toml:2:2");
        assert_eq!(lines.position(6).to_string(), "p.toml:3:1");
        assert_eq!(lines.position(99).to_string(), "p.toml:3:1");
        assert_eq!(Lines::of("e", "").position(0).to_string(), "e:1:1");
    }
}
