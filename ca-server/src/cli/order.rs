//! What a command line comes to: one request, perhaps a question first, and where the answer goes.

use std::path::{Path, PathBuf};

use ca_api::admin::AdminRequest;

/// One command, ready to be sent.
#[derive(Debug)]
pub struct Order {
    /// What to ask the server.
    pub request: AdminRequest,
    /// What to ask the person first; `None` if nothing hurts, or `--yes` was given.
    pub question: Option<String>,
    /// What must be there for the question to make sense: it is looked up before anybody is asked.
    pub look: Option<Box<AdminRequest>>,
    /// Where the answer goes.
    pub sink: Sink,
    /// What follows where the answer is a plan.
    pub apply: Option<Apply>,
}

/// A plan is shown first, and applied if the person agrees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apply {
    /// Against which policy.
    pub base: Base,
    /// Did the person agree on the command line?
    pub consent: Consent,
}

/// The policy that a document is applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The one that the plan was made against.
    AsPlanned,
    /// The one with this digest, or this beginning of one.
    Pinned(String),
}

/// Where an answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sink {
    /// To standard output.
    Print,
    /// To standard output: only who can log in there.
    PrintWho,
    /// The bytes of the KRL into this file (`-` is standard output).
    Krl(PathBuf),
    /// The ledger's head into this file, or to standard output.
    Head(Option<PathBuf>),
    /// The policy's document into this file, or to standard output.
    Document(Option<PathBuf>),
    /// The tree that machines fetch from, into this folder.
    Tree(PathBuf),
    /// Nowhere: what follows tells.
    Nowhere,
    /// To standard output; findings of a check-up that are left make the exit code 1.
    Findings,
}

/// Why a command line that parsed cannot become a request.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A file that it names.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that it names is too large to be what it should be.
    #[error("{} is larger than {limit_bytes} bytes: that is not {what}", path.display())]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// How large such a thing can be.
        limit_bytes: u64,
    },
    /// A file that it names is something else.
    #[error("{} is not {what}", path.display())]
    NotThat {
        /// Which.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// It cannot be told what to do with a file.
    #[error("it cannot be told {what} from the name of {}; {remedy}", path.display())]
    Unclear {
        /// Which.
        path: PathBuf,
        /// What cannot be told.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl Order {
    /// A request whose answer is printed.
    #[must_use]
    pub fn new(request: AdminRequest) -> Self {
        Self {
            request,
            question: None,
            look: None,
            sink: Sink::Print,
            apply: None,
        }
    }

    /// The answer is a plan: it is shown, and applied if the person agrees.
    #[must_use]
    pub fn then_apply(mut self, apply: Apply) -> Self {
        self.apply = Some(apply);
        self
    }

    /// Asks first, unless the person already said yes.
    #[must_use]
    pub fn asking(mut self, consent: Consent, question: impl Into<String>) -> Self {
        if consent == Consent::Ask {
            self.question = Some(question.into());
        }
        self
    }

    /// The same, of something that has to be there.
    #[must_use]
    pub fn asking_of(
        mut self,
        consent: Consent,
        look: AdminRequest,
        question: impl Into<String>,
    ) -> Self {
        if consent == Consent::Ask {
            self.look = Some(Box::new(look));
        }
        self.asking(consent, question)
    }

    /// Sends the answer elsewhere.
    #[must_use]
    pub fn into_sink(mut self, sink: Sink) -> Self {
        self.sink = sink;
        self
    }
}

/// Did the person already say yes on the command line?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// No: ask.
    Ask,
    /// `--yes`.
    Given,
}

/// `--yes`, for commands that ask.
#[derive(Debug, Clone, clap::Args)]
pub struct ConsentOption {
    /// Do not ask; needed where there is no terminal.
    #[arg(long, short = 'y')]
    pub yes: bool,
}

impl ConsentOption {
    /// As a type.
    #[must_use]
    pub fn consent(&self) -> Consent {
        if self.yes {
            Consent::Given
        } else {
            Consent::Ask
        }
    }
}

/// Reads a small text file that a command names; `-` is standard input.
pub(crate) fn read_small(
    path: &Path,
    what: &'static str,
    limit_bytes: u64,
) -> Result<String, OrderError> {
    use std::io::Read as _;
    let read = |source| OrderError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limit_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(read)?;
    } else {
        std::fs::File::open(path)
            .map_err(read)?
            .take(limit_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(read)?;
    }
    if bytes.len() as u64 > limit_bytes {
        return Err(OrderError::TooLarge {
            path: path.to_owned(),
            what,
            limit_bytes,
        });
    }
    String::from_utf8(bytes).map_err(|_| OrderError::NotThat {
        path: path.to_owned(),
        what,
    })
}
