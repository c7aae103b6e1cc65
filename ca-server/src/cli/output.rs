//! Where results and failures go: text or JSON, standard output or standard error, and the exit code.

use std::{io, io::Write as _, process::ExitCode};

use ca_api::{
    ErrorCode,
    admin::{AdminReply, DeliveryOutcome, MachineDelivery, RemovalOutcome},
};
use serde_json::{Value, json};

use super::{
    client::ClientError,
    order::{OrderError, Sink},
    passphrase::PassphraseError,
    render::table::{BAD, styled},
    time::iso,
};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Done: 0.
    Done,
    /// Refused or failed: 1.
    Failed,
    /// Wrong usage: 2.
    Usage,
    /// Partly done, some machines were not reached: 3.
    Partly,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Done => 0,
            Verdict::Failed => 1,
            Verdict::Usage => 2,
            Verdict::Partly => 3,
        })
    }
}

/// What an answer comes to.
#[must_use]
pub fn verdict(reply: &AdminReply, sink: &Sink) -> Verdict {
    let all = |done: bool| if done { Verdict::Done } else { Verdict::Partly };
    match reply {
        // As `ssh-keygen -Q` has it: a revoked certificate is no success.
        AdminReply::KrlJudged(judged) if judged.revoked => Verdict::Failed,
        // A document that cannot be applied, and an answer of "no", are no success either.
        AdminReply::PolicyPlanned(planned) if !planned.sound() => Verdict::Failed,
        AdminReply::PolicyExplained(explained) if !explained.allowed => Verdict::Failed,
        AdminReply::PolicyApplied(applied) => all(proven(&applied.machines)),
        AdminReply::Revoked(revocation) => all(revocation.proven()),
        AdminReply::Krl(view) => all(view.machines_current >= view.machines),
        AdminReply::Synced(machines) => all(proven(machines)),
        AdminReply::CaKeys(keys) => all(!keys.waits),
        AdminReply::Checked(machines) => {
            if machines.iter().any(|machine| !machine.reached) {
                Verdict::Partly
            } else if *sink == Sink::Findings
                && machines.iter().any(ca_api::admin::MachineCheck::is_wrong)
            {
                Verdict::Failed
            } else {
                Verdict::Done
            }
        }
        AdminReply::Keys(machines) => all(machines.iter().all(|one| one.trouble.is_empty())),
        AdminReply::Sessions(view) => all(view.not_reached.is_empty()),
        AdminReply::SessionsEnded(outcome) if !outcome.open.is_empty() => Verdict::Failed,
        AdminReply::SessionsEnded(outcome) => all(outcome.not_reached.is_empty()),
        AdminReply::MachineRemoved(removed) => all(!matches!(
            removed.outcome,
            RemovalOutcome::Waiting { .. } | RemovalOutcome::Fetches { .. }
        )),
        _ => Verdict::Done,
    }
}

fn proven(machines: &[MachineDelivery]) -> bool {
    machines
        .iter()
        .all(|machine| matches!(machine.outcome, DeliveryOutcome::Proven { .. }))
}

/// The style of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// For people.
    Text,
    /// `--json`.
    Json,
}

/// Something failed: what, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A stable word for scripts.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl Failure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            hint: String::new(),
        }
    }

    /// Tells it on standard error; the exit code is 1.
    pub fn tell(&self, style: Style) -> Verdict {
        let text = match style {
            Style::Json => format!("{}\n", self.json()),
            Style::Text => self.text(),
        };
        // Nobody is left to tell if standard error is gone.
        let _ = write!(anstream::stderr().lock(), "{text}");
        Verdict::Failed
    }

    /// `{"error":{"code":…,"message":…,"hint":…}}`
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "error": { "code": self.code, "message": self.message, "hint": self.hint } })
    }

    /// For people; one line for what happened, one for what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let message = super::text::line(&self.message);
        let mut text = format!("{} {message}\n", styled(BAD, "ca-server:"));
        if !self.hint.is_empty() {
            text.push_str(&format!(
                "{}\n",
                super::text::sentence(&super::text::line(&self.hint))
            ));
        }
        text
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Api(error) => {
                return Self::from_api(error.code, &error.message, &error.hint);
            }
            ClientError::NoSocket { .. } => "not_running",
            ClientError::Denied { .. } => "denied",
            ClientError::Unreachable { .. } => "unreachable",
            ClientError::Tls { .. } => "tls",
            ClientError::NotPinned { .. } => "not_pinned",
            ClientError::Cut { .. } => "outcome_unknown",
            ClientError::Garbage(_) => "bad_answer",
            ClientError::LoginNeeded { .. } | ClientError::Ask(_) => "login_needed",
            ClientError::Memory(_) => "memory",
        };
        Self {
            code: code.to_owned(),
            hint: error.hint(),
            message: error.to_string(),
        }
    }
}

impl Failure {
    fn from_api(code: ErrorCode, message: &str, hint: &str) -> Self {
        let code = match code {
            ErrorCode::Invalid => "invalid",
            ErrorCode::Refused => "refused",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::NotFound => "not_found",
            ErrorCode::Conflict => "conflict",
            ErrorCode::SessionOver => "session_over",
            ErrorCode::WrongCode => "wrong_code",
            ErrorCode::BadNonce => "bad_nonce",
            ErrorCode::Busy => "busy",
            ErrorCode::Unavailable => "unavailable",
        };
        Self {
            code: code.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        }
    }
}

impl From<OrderError> for Failure {
    fn from(error: OrderError) -> Self {
        Self::new("file", error.to_string())
    }
}

impl From<PassphraseError> for Failure {
    fn from(error: PassphraseError) -> Self {
        Self::new("passphrase", error.to_string())
    }
}

/// Prints to standard output. A reader that has gone (`| head`) is no failure.
///
/// # Errors
/// The text could not be written, for another reason: it must not look done.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
            "output",
            format!("cannot write the result: {error}"),
        )),
        _ => Ok(()),
    }
}

/// The data of a reply as JSON, with an ISO 8601 text `x` beside each number `x_unix`.
#[must_use]
pub fn data(reply: &AdminReply) -> Value {
    let mut value = serde_json::to_value(reply).expect("a reply of texts and numbers is JSON");
    let mut data = value.get_mut("data").map_or(Value::Null, Value::take);
    add_iso(&mut data);
    data
}

/// Adds the ISO 8601 text `x` beside each `x_unix`, at every depth.
pub fn add_iso(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(add_iso),
        Value::Object(fields) => {
            fields.values_mut().for_each(add_iso);
            let texts: Vec<_> = fields
                .iter()
                .filter_map(|(key, unix)| {
                    let name = key.strip_suffix("_unix")?;
                    let text = match unix {
                        Value::Null => Value::Null,
                        unix => iso(unix.as_i64()?)?.into(),
                    };
                    Some((name.to_owned(), text))
                })
                .collect();
            for (name, text) in texts {
                fields.entry(name).or_insert(text);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stand_in_json_as_numbers_and_as_iso() {
        let mut value = json!({ "a": [{ "at_unix": 1_795_000_000, "until_unix": null }], "far_unix": i64::MAX });
        add_iso(&mut value);
        assert_eq!(
            value,
            json!({
                "a": [{ "at_unix": 1_795_000_000, "at": "2026-11-18T11:06:40Z", "until_unix": null, "until": null }],
                "far_unix": i64::MAX
            })
        );
    }
}
