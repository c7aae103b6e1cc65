//! The lines of a keymgr file as words with their columns.

use std::collections::BTreeSet;

use super::KeymgrFault;

/// One line that says something, well formed by itself: both sides have words, a group has one name.
pub(super) struct Line<'t> {
    /// From 1.
    pub(super) number: u32,
    pub(super) keyword: Keyword,
    /// Before the colon, without the keyword; never empty.
    pub(super) left: Vec<Word<'t>>,
    /// Behind the colon; never empty.
    pub(super) right: Vec<Word<'t>>,
    /// The comment behind it, without `#`.
    pub(super) title: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    HostGroup,
    UserGroup,
    Manage,
}

impl Keyword {
    fn as_str(self) -> &'static str {
        match self {
            Self::HostGroup => "hostgroup",
            Self::UserGroup => "usergroup",
            Self::Manage => "manage",
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    /// From 1, in characters.
    pub(super) column: u32,
}

/// Line, column, fault.
pub(super) type Fault = (u32, u32, KeymgrFault);

/// The well-formed lines, and what is wrong with the others.
pub(super) fn lines(text: &str) -> (Vec<Line<'_>>, Vec<Fault>) {
    let mut lines = Vec::new();
    let mut faults = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let number = u32::try_from(at + 1).unwrap_or(u32::MAX);
        match line(number, text) {
            Ok(line) => lines.extend(line),
            Err((column, fault)) => faults.push((number, column, fault)),
        }
    }
    (lines, faults)
}

fn line(number: u32, text: &str) -> Result<Option<Line<'_>>, (u32, KeymgrFault)> {
    let (text, title) = match text.split_once('#') {
        Some((text, comment)) => (text, title(comment)),
        None => (text, String::new()),
    };
    let mut words = words(text).into_iter();
    let Some(first) = words.next() else {
        return Ok(None);
    };
    let keyword = match first.text {
        "hostgroup" => Keyword::HostGroup,
        "usergroup" => Keyword::UserGroup,
        "manage" => Keyword::Manage,
        word => {
            let word = word.to_owned();
            return Err((first.column, KeymgrFault::UnknownKeyword { word }));
        }
    };
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut colon = None;
    for word in words {
        match (word.text, colon) {
            (":", None) => colon = Some(word.column),
            (":", Some(_)) => return Err((word.column, KeymgrFault::SecondColon)),
            (_, None) => left.push(word),
            (_, Some(_)) => right.push(word),
        }
    }
    let name = keyword.as_str();
    let Some(colon) = colon else {
        return Err((first.column, KeymgrFault::NoColon { keyword: name }));
    };
    match (keyword, left.as_slice()) {
        (Keyword::Manage, []) => return Err((colon, KeymgrFault::Nothing { side: "before" })),
        (Keyword::Manage, _) | (_, [_]) => {}
        (_, []) => return Err((colon, KeymgrFault::NoName { keyword: name })),
        (_, [_, second, ..]) => {
            let fault = KeymgrFault::SecondName {
                keyword: name,
                name: second.text.to_owned(),
            };
            return Err((second.column, fault));
        }
    }
    if right.is_empty() {
        return Err((colon, KeymgrFault::Nothing { side: "behind" }));
    }
    for side in [&left, &right] {
        let mut seen = BTreeSet::new();
        for word in side {
            if !seen.insert(word.text) {
                let name = word.text.to_owned();
                return Err((word.column, KeymgrFault::Twice { name }));
            }
        }
    }
    Ok(Some(Line {
        number,
        keyword,
        left,
        right,
        title,
    }))
}

/// A comment as a title: without control characters, and of a length that fits a line.
fn title(comment: &str) -> String {
    let printable: String = comment.chars().filter(|c| !c.is_control()).collect();
    printable.trim().chars().take(100).collect()
}

/// Words parted by blanks; a colon is a word of its own.
fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut begun: Option<(usize, u32)> = None;
    for (column, (at, c)) in (1u32..).zip(text.char_indices()) {
        let ends = c.is_whitespace() || c == ':';
        match begun {
            Some((from, column)) if ends => {
                words.push(Word {
                    text: &text[from..at],
                    column,
                });
                begun = None;
            }
            None if !ends => begun = Some((at, column)),
            Some(_) | None => {}
        }
        if c == ':' {
            words.push(Word {
                text: &text[at..=at],
                column,
            });
        }
    }
    if let Some((from, column)) = begun {
        words.push(Word {
            text: &text[from..],
            column,
        });
    }
    words
}
