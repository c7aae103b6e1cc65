//! Where answers come from: the terminal, a file, or standard input; never an argument or the environment (C3).

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use ca_api::Secret;
use zeroize::Zeroizing;

mod terminal;

pub use terminal::Terminal;

/// The longest answer, in bytes; the server refuses longer passwords anyway.
const MAX_ANSWER_BYTES: usize = 8192;

/// Where a command shall take its answers from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AnswerSource {
    /// From the terminal, even where standard input is something else.
    #[default]
    Terminal,
    /// One a line from standard input, in the order of the questions.
    Stdin,
    /// One a line from a file.
    File(PathBuf),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// Nobody can be asked.
    #[error("there is no terminal to ask for the {0} on")]
    NoTerminal(String),
    /// The file or standard input has fewer lines than there are questions.
    #[error("there is no line left for the {0}")]
    NoLineLeft(String),
    /// Ctrl-C or Ctrl-D at a question.
    #[error("cancelled")]
    Cancelled,
    /// Too long to be an answer.
    #[error("the {0} is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong(String),
    /// Not text.
    #[error("the {0} is not UTF-8 text")]
    NotText(String),
    /// The terminal or file cannot be read.
    #[error("cannot read the {what}: {source}")]
    Io {
        /// What was asked for.
        what: String,
        /// Why.
        source: io::Error,
    },
}

/// Answers to questions, from one source.
pub enum Answers {
    /// A person at a terminal.
    Terminal(Terminal),
    /// Lines, read one byte at a time: what follows the answers belongs to somebody else.
    Lines(Box<dyn Read + Send>),
    /// Nobody: each question is an error.
    Nobody,
}

impl Answers {
    /// Opens a source. A terminal that is not there shows only at the first question.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(source: &AnswerSource) -> io::Result<Self> {
        Ok(match source {
            AnswerSource::Terminal => Terminal::open().map_or(Self::Nobody, Self::Terminal),
            AnswerSource::Stdin => Self::Lines(Box::new(UnbufferedStdin)),
            AnswerSource::File(path) => Self::Lines(Box::new(File::open(path)?)),
        })
    }

    /// Is there a person who can be asked again?
    #[must_use]
    pub fn is_person(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// Asks without showing what is typed.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn secret(&mut self, what: &str) -> Result<Secret, PromptError> {
        let text = match self {
            Self::Terminal(terminal) => terminal.hidden(&format!("{}: ", capital(what)), what)?,
            Self::Lines(lines) => one_line(lines, what)?,
            Self::Nobody => return Err(PromptError::NoTerminal(what.to_owned())),
        };
        Ok(Secret::new(text))
    }

    /// Asks, showing what is typed; an empty answer means `default`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn text(&mut self, what: &str, default: Option<&str>) -> Result<String, PromptError> {
        let answer = match self {
            Self::Terminal(terminal) => {
                let offer = default.map(|text| format!(" [{text}]")).unwrap_or_default();
                terminal.shown(&format!("{}{offer}: ", capital(what)), what)?
            }
            Self::Lines(lines) => one_line(lines, what)?,
            Self::Nobody => return Err(PromptError::NoTerminal(what.to_owned())),
        };
        Ok(match default {
            Some(default) if answer.is_empty() => default.to_owned(),
            _ => answer,
        })
    }
}

fn capital(what: &str) -> String {
    let mut chars = what.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// One line without its end.
fn one_line(from: &mut dyn Read, what: &str) -> Result<String, PromptError> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
    let mut byte = Zeroizing::new([0]);
    loop {
        match from.read(&mut *byte) {
            Ok(0) if line.is_empty() => return Err(PromptError::NoLineLeft(what.to_owned())),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == MAX_ANSWER_BYTES => {
                return Err(PromptError::TooLong(what.to_owned()));
            }
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(PromptError::Io {
                    what: what.to_owned(),
                    source,
                });
            }
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    std::str::from_utf8(&line)
        .map(str::to_owned)
        .map_err(|_| PromptError::NotText(what.to_owned()))
}

/// Standard input without the library's buffer, which would keep secrets and swallow what follows.
struct UnbufferedStdin;

impl Read for UnbufferedStdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        nix::unistd::read(io::stdin(), buffer).map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c3_lines_are_taken_one_by_one_and_nothing_after_them() {
        let mut rest: &[u8] = b"pass word \r\n123456\nleft";
        assert_eq!(one_line(&mut rest, "password").unwrap(), "pass word ");
        assert_eq!(one_line(&mut rest, "code").unwrap(), "123456");
        assert_eq!(rest, b"left");
        assert!(matches!(
            one_line(&mut &[][..], "code"),
            Err(PromptError::NoLineLeft(_))
        ));
        assert!(matches!(
            one_line(&mut &[b'a'; 9000][..], "code"),
            Err(PromptError::TooLong(_))
        ));
    }
}
