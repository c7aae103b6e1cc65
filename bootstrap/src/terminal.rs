//! Questions to the person at the terminal; without one, nothing is ever asked.

use std::io::{self, BufRead, IsTerminal, Write};

use ca_api::Secret;

/// Whether somebody is there to answer. Asked for once, at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Standard input and standard error are a terminal.
    AtTheTerminal,
    /// A script, a pipe, a service.
    Nobody,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no terminal.
    #[error("there is no terminal to ask for {0}")]
    NoTerminal(String),
    /// The terminal was closed (Ctrl-D), or broke.
    #[error("{what} was not given: {source}")]
    NotGiven {
        /// What was asked for.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl Person {
    /// Looks whether there is a terminal.
    #[must_use]
    pub fn look() -> Self {
        if io::stdin().is_terminal() && io::stderr().is_terminal() {
            Self::AtTheTerminal
        } else {
            Self::Nobody
        }
    }

    /// Asks for a secret, which is not shown while it is typed.
    ///
    /// # Errors
    /// Without a terminal, or at the end of input.
    pub fn secret(self, what: &str) -> Result<Secret, AskError> {
        self.present(what)?;
        let text = rpassword::prompt_password(format!("{what}: "));
        text.map(Secret::new).map_err(|source| AskError::NotGiven {
            what: what.to_owned(),
            source,
        })
    }

    /// Asks for a line; an empty answer means `default`, where there is one.
    ///
    /// # Errors
    /// Without a terminal, or at the end of input.
    pub fn line(self, what: &str, default: Option<&str>) -> Result<String, AskError> {
        self.present(what)?;
        let shown = default.map(|text| format!(" [{text}]")).unwrap_or_default();
        let answer = read_line(&format!("{what}{shown}: "));
        let answer = answer.map_err(|source| AskError::NotGiven {
            what: what.to_owned(),
            source,
        })?;
        Ok(match (answer.as_str(), default) {
            ("", Some(default)) => default.to_owned(),
            _ => answer,
        })
    }

    /// Asks a question that only a typed `yes` (or `y`) answers with yes.
    ///
    /// # Errors
    /// Without a terminal, or at the end of input.
    pub fn agrees(self, question: &str) -> Result<bool, AskError> {
        self.present("an answer")?;
        let answer = read_line(&format!("{question} [y/N] "));
        let answer = answer.map_err(|source| AskError::NotGiven {
            what: "an answer".to_owned(),
            source,
        })?;
        Ok(matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    fn present(self, what: &str) -> Result<(), AskError> {
        match self {
            Self::AtTheTerminal => Ok(()),
            Self::Nobody => Err(AskError::NoTerminal(what.to_owned())),
        }
    }
}

fn read_line(prompt: &str) -> io::Result<String> {
    let mut terminal = io::stderr().lock();
    terminal.write_all(prompt.as_bytes())?;
    terminal.flush()?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim().to_owned())
}
