//! Questions to the person at the terminal; without one, nothing is ever asked.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use ca_api::Secret;
use ca_client::prompt::{PromptError, Terminal};
use nix::sys::signal::{Signal, raise};

/// Whether somebody is there to answer. Asked for once, at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Standard input and standard error are a terminal, and this process may talk on it.
    AtTheTerminal,
    /// A script, a pipe, a service, a background job.
    Nobody,
}

/// A question without an answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no terminal.
    #[error("there is no terminal to ask for {0}")]
    NoTerminal(String),
    /// The terminal was closed, Ctrl-C or Ctrl-D was pressed, or it broke.
    #[error("{what} was not given: {source}")]
    NotGiven {
        /// What was asked for.
        what: String,
        /// Why.
        source: PromptError,
    },
}

impl Person {
    /// Looks whether there is a terminal.
    #[must_use]
    pub fn look() -> Self {
        let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
        if terminal && Terminal::open().is_some() {
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
        let answer = self.terminal(what)?.hidden(&format!("{what}: "), what);
        given(answer, what).map(Secret::new)
    }

    /// Asks for a line; an empty answer means `default`, where there is one.
    ///
    /// # Errors
    /// Without a terminal, or at the end of input.
    pub fn line(self, what: &str, default: Option<&str>) -> Result<String, AskError> {
        let offer = default.map(|text| format!(" [{text}]")).unwrap_or_default();
        let answer = self
            .terminal(what)?
            .shown(&format!("{what}{offer}: "), what);
        let answer = given(answer, what)?.trim().to_owned();
        Ok(match default {
            Some(default) if answer.is_empty() => default.to_owned(),
            _ => answer,
        })
    }

    /// Asks a question that only a typed `yes` (or `y`) answers with yes.
    ///
    /// # Errors
    /// Without a terminal, or at the end of input.
    pub fn agrees(self, question: &str) -> Result<bool, AskError> {
        let what = "an answer";
        let mut terminal = self.terminal(what)?;
        // The prompt is one line, so that correcting the answer does not show the whole question again.
        let (above, last) = question.rsplit_once('\n').unwrap_or(("", question));
        above.lines().for_each(|line| terminal.say(line));
        let answer = given(terminal.shown(&format!("{last} [y/N] "), what), what)?;
        Ok(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    fn terminal(self, what: &str) -> Result<Terminal, AskError> {
        let terminal = match self {
            Self::AtTheTerminal => Terminal::open(),
            Self::Nobody => None,
        };
        terminal.ok_or_else(|| AskError::NoTerminal(what.to_owned()))
    }
}

/// Ctrl-C at the terminal reaches every program there, this one perhaps a moment after an `ssh` of a jump host that it ended. Before a failure
/// is told as one, it may turn out to be the person's own wish.
pub async fn let_an_interrupt_come() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

fn given(answer: Result<String, PromptError>, what: &str) -> Result<String, AskError> {
    if matches!(answer, Err(PromptError::Cancelled)) {
        // Ctrl-C at a question means the whole run, also where other machines have no question.
        let _ = raise(Signal::SIGINT);
    }
    answer.map_err(|source| AskError::NotGiven {
        what: what.to_owned(),
        source,
    })
}
