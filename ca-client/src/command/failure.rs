//! What went wrong, in a sentence, and what to do next: where every typed error gets its hint.

use std::{fmt, io};

use ca_api::{ApiError, ErrorCode};

use crate::{
    agent::AgentError,
    api::CallError,
    config::ConfigError,
    day::{LoginError, RenewError, ReplyError},
    install::InstallError,
    key::ProofError,
    places::PlacesError,
    prompt::{AnswerSource, PromptError},
    security_key::{FindError, MAKE, SignError},
    session::SessionError,
    text,
    trust::TrustError,
};

/// A message for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl Failure {
    /// A message with what to do next.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }

    pub(super) fn runtime(error: io::Error) -> Self {
        Self::new(
            format!("cannot begin to talk to the network: {error}"),
            "Close some programs and try again.",
        )
    }

    pub(super) fn answers_file(source: &AnswerSource, error: &io::Error) -> Self {
        Self::new(
            format!("cannot read the answers from {source:?}: {error}"),
            "Give --secrets-file a file that you can read.",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n  {}", self.hint)?;
        }
        Ok(())
    }
}

/// What to do about an error that the server sent without a hint of its own.
fn server_hint(error: &ApiError) -> &'static str {
    match error.code {
        ErrorCode::Invalid => "",
        ErrorCode::WrongCode => "Type the six digits that the authenticator shows now.",
        ErrorCode::Refused => {
            "Check the email, the password and the code; a code works once, so wait for the next one."
        }
        ErrorCode::Forbidden => "Ask your admin.",
        ErrorCode::NotFound => "Check the spelling.",
        ErrorCode::Conflict => "Look at what is there first.",
        ErrorCode::SessionOver => "Log in again: ca-client login",
        ErrorCode::BadNonce => "Try again.",
        ErrorCode::Busy => "Wait a minute and try again.",
        ErrorCode::Unavailable => {
            "Try again in a minute; certificates that you have keep working until they end."
        }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let hint = if error.hint.is_empty() {
            server_hint(&error).to_owned()
        } else {
            error.hint
        };
        Self::new(text::line(&error.message), text::line(&hint))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error {
            CallError::Refused(error) => error.into(),
            CallError::Connect { .. } | CallError::Timeout { .. } | CallError::Broken { .. } => {
                Self::new(
                    message,
                    "Check the network (VPN?); certificates that you have keep working until they end.",
                )
            }
            CallError::Untrusted {
                source: TrustError::Expired | TrustError::NotValidYet,
                ..
            } => Self::new(
                message,
                "Check this computer's clock; if it is right, tell your admin.",
            ),
            CallError::Untrusted { .. } => Self::new(
                message,
                "Nothing was sent. Ask your admin whether the CA's certificate changed; if it did: ca-client setup URL --fingerprint SHA256:…",
            ),
            CallError::TooLarge { .. } | CallError::Foreign { .. } => Self::new(
                message,
                "Check the URL, and that ca-client and the CA are of matching versions.",
            ),
        }
    }
}

impl From<PlacesError> for Failure {
    fn from(error: PlacesError) -> Self {
        Self::new(error.to_string(), "Set HOME to a folder with a plain name.")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let hint = match &error {
            ConfigError::NotSetUp => {
                "Paste the line that your admin gave you: ca-client setup URL --fingerprint SHA256:…"
            }
            ConfigError::File { .. } => "Check who owns it and that the disk is not full.",
            ConfigError::Malformed { .. } | ConfigError::Pinned { .. } => {
                "Set up again with the line that your admin gave you: ca-client setup URL --fingerprint SHA256:…"
            }
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Self {
        let hint = match &error {
            PromptError::NoTerminal(_) | PromptError::NoLineLeft(_) => {
                "Run it in a terminal, or give --secrets-stdin or --secrets-file FILE."
            }
            PromptError::Cancelled => "",
            PromptError::TooLong(_) | PromptError::NotText(_) | PromptError::Io { .. } => {
                "Try again."
            }
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let hint = match &error {
            SessionError::None | SessionError::Damaged { .. } => "Log in: ca-client login",
            SessionError::File { .. } => "Check who owns it and that the disk is not full.",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let hint = match &error {
            InstallError::File { .. } => "Check who owns it and that the disk is not full.",
            InstallError::Place(_) => "Move it to a path with a plain name.",
            InstallError::Program(_) => "Call ca-client by its absolute path.",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let hint = match &error {
            AgentError::Absent | AgentError::Unreachable { .. } => {
                "Use the shell in which you logged in, or log in again here: ca-client login"
            }
            AgentError::Refused(_) => {
                "If it was restarted or locked, it no longer has the key. Log in again: ca-client login"
            }
            AgentError::Foreign => "Check what SSH_AUTH_SOCK points to.",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<ProofError> for Failure {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Agent(error) => error.into(),
            ProofError::SecurityKey(error) => error.into(),
            ProofError::File(_) | ProofError::Key(_) => {
                Self::new(error.to_string(), "Log in again: ca-client login")
            }
        }
    }
}

impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        let hint = match &error {
            SignError::Run(_) => "Install the OpenSSH client.",
            SignError::Agent(_) | SignError::Keygen(_) | SignError::Untouched => {
                "Plug the security key in, type its PIN where it is asked for, touch it when it blinks, and try again."
            }
            SignError::Key(_) => "Check what SSH_AUTH_SOCK points to.",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        let make =
            || format!("Plug it in and make one: {MAKE}\n  Then: ca-client login --security-key");
        let hint = match &error {
            FindError::None | FindError::Plain { .. } | FindError::Application { .. } => make(),
            FindError::Several(_) => {
                "Say which by its path: ca-client login --security-key PATH".to_owned()
            }
            FindError::File { .. } | FindError::NotAKey { .. } => {
                "Name the handle of a security key, such as ~/.ssh/id_ed25519_sk.".to_owned()
            }
            FindError::NoHandle { .. } | FindError::LeftAgent => "Put the handle back or add it to the agent (ssh-add); without a security key: ca-client login --plain-key".to_owned(),
            FindError::Make(_) => "Install the OpenSSH client.".to_owned(),
            FindError::NotMade => format!(
                "It needs a PIN (ykman fido access change-pin, or your desktop's settings). If it is an older one without Ed25519: {}",
                MAKE.replace("ed25519", "ecdsa")
            ),
            FindError::Place(_) => "Move it to a path with a plain name.".to_owned(),
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<ReplyError> for Failure {
    fn from(error: ReplyError) -> Self {
        let hint = match &error {
            ReplyError::Certificate(crate::check::CheckError::UnknownCa) => {
                "Ask your admin whether the CA's keys changed; if they did: ca-client setup URL --fingerprint SHA256:…"
            }
            ReplyError::Certificate(_)
            | ReplyError::Directory(_)
            | ReplyError::SomebodyElse(_)
            | ReplyError::Incomplete(_) => "Nothing was changed here. Tell your admin.",
        };
        Self::new(error.to_string(), hint)
    }
}

impl From<LoginError> for Failure {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Call(error) => error.into(),
            LoginError::Proof(error) => error.into(),
            LoginError::Reply(error) => error.into(),
            LoginError::Install(error) => error.into(),
            LoginError::Session(error) => error.into(),
            LoginError::Config(error) => error.into(),
            LoginError::KeyFile(_) | LoginError::Due(_) => Self::new(
                error.to_string(),
                "Check who owns it and that the disk is not full.",
            ),
        }
    }
}

impl From<RenewError> for Failure {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Call(error) => error.into(),
            RenewError::Proof(error) => error.into(),
            RenewError::Reply(error) => error.into(),
            RenewError::Install(error) => error.into(),
            RenewError::Session(error) => error.into(),
            RenewError::Config(error) => error.into(),
            RenewError::Due(_) => Self::new(
                error.to_string(),
                "Check who owns it and that the disk is not full.",
            ),
        }
    }
}
