//! Why a text is no sentence of the language.

use crate::document::Kind;

/// A text that is no sentence, with the place of the word that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct ExpectError {
    /// The byte of the sentence at which the wrong word begins; its length where a word is missing.
    pub at: usize,
    /// What is wrong.
    pub rule: ExpectRule,
}

/// The rule that a sentence breaks, and the next step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(
    missing_docs,
    reason = "each variant's message says what its fields are"
)]
pub enum ExpectRule {
    #[error("the sentence ends where {expected} should come; such as \"{example}\"")]
    Ends {
        expected: &'static str,
        example: &'static str,
    },
    #[error("{word:?} stands where {expected} should; such as \"{example}\"")]
    Word {
        word: String,
        expected: &'static str,
        example: &'static str,
    },
    #[error("{phrase:?} is there twice; say it once")]
    Twice { phrase: &'static str },
    #[error(
        "a sentence about {who} that never reaches is not clear; say `nobody reaches …` or `somebody reaches …`"
    )]
    DoubleNegation { who: &'static str },
    #[error("there is no {kind} {name}{}; correct the name", guess(.suggestion.as_deref()))]
    Unknown {
        kind: Kind,
        name: String,
        suggestion: Option<String>,
    },
    #[error(
        "{name} is both a team and, with an s, another one; say `a member of {name}` or `a member of {name}s`"
    )]
    TwoTeams { name: String },
    #[error("the time zone {zone:?} is not known; write its IANA name, such as Europe/Berlin")]
    Zone { zone: String },
}

fn guess(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
