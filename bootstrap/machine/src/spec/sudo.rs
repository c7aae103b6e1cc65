//! What an account may run as others, in words that cannot say more than they seem to in a sudoers file.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What an account may run as others (always without a password: such accounts have none).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SudoRule {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// These commands, as root, with exactly these arguments.
    Commands(Vec<SudoCommand>),
}

/// One command with its arguments: `/usr/bin/systemctl restart nginx`. Without arguments it may be run without any only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SudoCommand(String);

/// A text that cannot be a sudo command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a sudo command: expected an absolute path and arguments of letters, digits and . _ / @ % + = : - , one space between"
)]
pub struct SudoCommandError(String);

impl FromStr for SudoCommand {
    type Err = SudoCommandError;

    fn from_str(text: &str) -> Result<Self, SudoCommandError> {
        let word_ok = |word: &str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._/@%+=:-".contains(&b))
        };
        let ok = text.len() <= 500
            && text.starts_with('/')
            && text.split(' ').all(word_ok)
            && !text.split(' ').next().is_some_and(|path| {
                path.ends_with('/') || path.split('/').any(|part| part == "..")
            });
        ok.then(|| Self(text.to_owned()))
            .ok_or_else(|| SudoCommandError(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for SudoCommand {
    type Error = SudoCommandError;

    fn try_from(text: String) -> Result<Self, SudoCommandError> {
        text.parse()
    }
}

impl From<SudoCommand> for String {
    fn from(command: SudoCommand) -> String {
        command.0
    }
}

impl fmt::Display for SudoCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SudoCommand {
    /// As sudoers wants it: `:`, `=` and `,` escaped, and `""` for "no arguments" (a bare path would allow any).
    pub(super) fn in_sudoers(&self) -> String {
        let escaped = self.0.replace(':', "\\:").replace('=', "\\=");
        if escaped.contains(' ') {
            escaped
        } else {
            format!("{escaped} \"\"")
        }
    }
}
