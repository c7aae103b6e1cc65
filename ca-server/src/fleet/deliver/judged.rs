//! What a machine's answer to a delivery is worth: proven, or why not, and whether another try may help.

use ca_machine::{Report, RunError};

use crate::records::KrlRecord;

/// Not all was done that was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// For people.
    pub(super) reason: String,
    /// Where the machine stands, if it said so.
    pub(super) stands: Option<Stands>,
    /// Whether another try may help.
    pub(super) cause: Cause,
    /// Whether it is there at all.
    pub(super) reached: Reached,
    /// The fleet keys (`SHA256:…`) that it goes by, if it said so.
    pub(super) goes_by: Option<Vec<String>>,
}

/// Did the machine say anything?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    Yes,
    No,
}

/// What kept a machine from doing what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// Another delivery was quicker, and brought something newer.
    Overtaken,
    /// Another run was at work there.
    Busy,
    /// It goes by another fleet key than the one that signed.
    OtherFleetKey,
    /// Something that another try does not mend.
    Lasting,
}

/// Where a machine stands that did not do all that was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stands {
    /// What is applied and stays, as [`settled`] says it.
    pub(super) generation: Option<u64>,
    pub(super) krl: KrlThere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KrlThere {
    Proven,
    NotProven,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            stands: None,
            cause: Cause::Lasting,
            reached: Reached::Yes,
            goes_by: None,
        }
    }

    /// There is no answer.
    pub(crate) fn unanswered(error: &RunError) -> Self {
        let reached = match error {
            RunError::Open(_) | RunError::Silent { .. } | RunError::TimedOut { .. } => Reached::No,
            RunError::NotRoot { .. } | RunError::Broken { .. } | RunError::Answer { .. } => {
                Reached::Yes
            }
        };
        Self {
            reached,
            ..Self::new(error.to_string())
        }
    }
}

/// The generation that is applied and stays. While a change waits for its confirmation there is none: the machine's timer may put the
/// one before back, and with it what the machine trusts (K3).
pub(super) fn settled(report: &Report) -> Option<u64> {
    let state = report.state()?;
    state
        .awaiting
        .is_empty()
        .then_some(state.applied_generation)
}

/// Is this KRL what the machine's own OpenSSH reads and obeys, and did the machine do what was asked?
pub(super) fn proven(report: &Report, krl: &KrlRecord) -> Result<(), Failure> {
    let state = match (report.state(), report.refusal()) {
        (Some(state), _) => state,
        (None, Some((code, detail))) => {
            return Err(Failure {
                cause: cause_of(code),
                ..Failure::new(format!("it refused ({code}): {detail}"))
            });
        }
        (None, None) => return Err(Failure::new("it did not say where it stands")),
    };
    let there = state.krl_version == krl.version
        && state.krl_canaries == "ok"
        && state.krl_sha256 == krl.krl_sha256;
    let fail = |cause: Cause, reason: String| Failure {
        reason,
        stands: Some(Stands {
            generation: settled(report),
            krl: if there {
                KrlThere::Proven
            } else {
                KrlThere::NotProven
            },
        }),
        cause,
        reached: Reached::Yes,
        goes_by: None,
    };
    if let Some((code, detail)) = report.refusal() {
        return Err(fail(
            cause_of(code),
            format!("it refused ({code}): {detail}"),
        ));
    }
    if state.krl_version != krl.version {
        let cause = if state.krl_version > krl.version {
            Cause::Overtaken
        } else {
            Cause::Lasting
        };
        return Err(fail(
            cause,
            format!(
                "it has KRL {} instead of {}",
                state.krl_version, krl.version
            ),
        ));
    }
    if state.krl_canaries != "ok" {
        // Or another delivery put a newer KRL into place while this one looked.
        return Err(fail(
            Cause::Overtaken,
            format!(
                "its own OpenSSH does not judge the canaries as it must ({})",
                state.krl_canaries
            ),
        ));
    }
    if state.krl_sha256 != krl.krl_sha256 {
        return Err(fail(
            Cause::Overtaken,
            "the KRL that its sshd reads has another hash".to_owned(),
        ));
    }
    Ok(())
}

fn cause_of(refusal: &str) -> Cause {
    match refusal {
        "old-krl" | "old-generation" => Cause::Overtaken,
        "busy" => Cause::Busy,
        "bad-signature" => Cause::OtherFleetKey,
        _ => Cause::Lasting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn krl(version: u64) -> KrlRecord {
        KrlRecord {
            version,
            krl_sha256: format!("hash of {version}"),
            built_unix: 0,
            covers: 0,
            ca_keys: Vec::new(),
            krl: String::new(),
            parcel: String::new(),
            signature: String::new(),
        }
    }

    fn report(version: u64, end: &str) -> Report {
        let text = format!(
            "{{\"step\":\"state\",\"krl_version\":{version},\"krl_sha256\":\"hash of {version}\",\"krl_canaries\":\"ok\",\"applied_generation\":5}}\n{end}\n"
        );
        Report::parse(text.as_bytes()).expect("an answer with its end")
    }

    const DONE: &str = "{\"step\":\"done\"}";

    #[test]
    fn r10_a_refused_bundle_takes_nothing_from_a_krl_that_is_there() {
        assert!(proven(&report(7, DONE), &krl(7)).is_ok());
        let refused = "{\"step\":\"refused\",\"code\":\"invalid-config\",\"detail\":\"no\"}";
        let failure = proven(&report(7, refused), &krl(7)).expect_err("it refused");
        let stands = failure.stands.expect("it said where it stands");
        assert_eq!((stands.krl, stands.generation), (KrlThere::Proven, Some(5)));
        assert_eq!(failure.cause, Cause::Lasting);
        assert!(failure.reason.contains("invalid-config"));
    }

    #[test]
    fn k3_a_change_that_somebody_has_yet_to_confirm_counts_as_nothing() {
        let said = |awaiting: &str, end: &str| {
            let text = format!(
                "{{\"step\":\"state\",\"krl_version\":7,\"krl_sha256\":\"hash of 7\",\"krl_canaries\":\"ok\",\"applied_generation\":5,\"awaiting\":\"{awaiting}\"}}\n{end}\n"
            );
            Report::parse(text.as_bytes()).expect("an answer with its end")
        };
        assert_eq!(settled(&said("", DONE)), Some(5));
        let pending = "0123456789abcdef0123456789abcdef";
        let waits = said(pending, DONE);
        assert!(proven(&waits, &krl(7)).is_ok(), "its KRL is there (R10)");
        assert_eq!(settled(&waits), None);
        let refused = "{\"step\":\"refused\",\"code\":\"busy\",\"detail\":\"no\"}";
        let failure = proven(&said(pending, refused), &krl(7)).expect_err("it refused");
        let stands = failure.stands.expect("it said where it stands");
        assert_eq!((stands.krl, stands.generation), (KrlThere::Proven, None));
    }

    #[test]
    fn r7_what_came_between_is_told_from_what_lasts() {
        let cause = |report: &Report| proven(report, &krl(7)).expect_err("not proven").cause;
        assert_eq!(cause(&report(8, DONE)), Cause::Overtaken);
        assert_eq!(cause(&report(6, DONE)), Cause::Lasting);
        for (code, expected) in [
            ("old-krl", Cause::Overtaken),
            ("old-generation", Cause::Overtaken),
            ("busy", Cause::Busy),
            ("bad-signature", Cause::OtherFleetKey),
        ] {
            // Refused before it said where it stands: the reason is told all the same.
            let line =
                format!("{{\"step\":\"refused\",\"code\":\"{code}\",\"detail\":\"so it is\"}}\n");
            let report = Report::parse(line.as_bytes()).expect("an answer with its end");
            let failure = proven(&report, &krl(7)).expect_err("it refused");
            assert_eq!(failure.cause, expected, "{code}");
            assert!(failure.reason.contains(code), "{}", failure.reason);
        }
    }
}
