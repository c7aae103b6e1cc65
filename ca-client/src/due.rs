//! When to renew: a small file that answers ssh in no time while nothing is due.
//!
//! ssh runs `renew --if-due` before each connection to a machine of ours, so the usual answer may cost nothing: one
//! file of one line, no JSON, no configuration, no runtime, no TLS. All times in it are by this computer's clock.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    agent, atomic,
    key::KeyPlace,
    places::Places,
    session::{InstalledCertificate, Session},
};

/// Name of the file.
pub const FILE: &str = "due";

/// Name of the back-off's file.
pub const BACK_OFF_FILE: &str = "back-off";

/// Name of the file that says when the CA may be asked again whether the certificates are still good.
pub const ASKED_FILE: &str = "asked";

/// How long an answer holds: a script that runs ssh a hundred times asks every few seconds.
const ANSWER_HOLDS_SECS: i64 = 3;

/// A clock that went back further than this is not trusted to say that nothing is due.
const CLOCK_BACK_SECS: i64 = 300;

/// The first wait after a failed renewal; it doubles up to [`BACK_OFF_MAX_SECS`].
const BACK_OFF_FIRST_SECS: i64 = 60;

/// The longest wait.
const BACK_OFF_MAX_SECS: i64 = 900;

/// This computer's clock, in Unix seconds.
#[must_use]
pub fn now_unix() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When it was written.
    pub written: i64,
    /// When less than a quarter of a certificate's life is left.
    pub renew_at: i64,
    /// When the last certificate ends.
    pub expires: i64,
    /// When the session ends.
    pub session_ends: i64,
    /// What a renewal needs beside the CA.
    pub key: Needs,
}

/// What holds the session's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needs {
    /// The agent that was seen to hold it ([`agent::stamp`]).
    Agent(String),
    /// A file.
    File,
    /// A security key: it signs nothing without a person.
    Touch,
}

/// What ssh has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    NotDue,
    /// A renewal; `still_good` says whether ssh works without it.
    Renew {
        /// Is there a certificate that is still valid?
        still_good: bool,
    },
    /// A renewal failed a moment ago, and the certificate is still good.
    BackedOff,
    /// A login.
    SessionOver,
}

/// When a renewal is due, by the CA's clock: when less than a quarter of the life of any certificate that a renewal
/// could prolong is left.
#[must_use]
pub fn renew_at_unix(
    certificates: &[InstalledCertificate],
    session_ends_unix: i64,
    now_unix: i64,
) -> i64 {
    let at = certificates
        .iter()
        .map(|certificate| {
            let life = certificate.valid_before_unix - certificate.valid_after_unix;
            // One that lives as long as the session has nothing to gain.
            if certificate.valid_before_unix >= session_ends_unix {
                session_ends_unix
            } else {
                certificate.valid_before_unix - life / 4
            }
        })
        .min()
        .unwrap_or(session_ends_unix);
    // A certificate that ends with its grant stays as short after each renewal: not at every ssh.
    at.max(now_unix + 10).min(session_ends_unix)
}

impl Due {
    /// What to write after a login or renewal.
    #[must_use]
    pub fn of(session: &Session, now: i64) -> Self {
        let ahead = session.server_ahead_secs;
        let renew_at = renew_at_unix(&session.certificates, session.ends_unix, now + ahead);
        Self {
            written: now,
            renew_at: renew_at - ahead,
            expires: session.last_expiry_unix() - ahead,
            session_ends: session.ends_unix - ahead,
            key: match session.key_place {
                KeyPlace::Agent => Needs::Agent(
                    agent::socket()
                        .and_then(|path| agent::stamp(&path))
                        .unwrap_or_default(),
                ),
                KeyPlace::File => Needs::File,
                KeyPlace::SecurityKey { .. } => Needs::Touch,
            },
        }
    }

    /// Parses the file; anything odd is `None`, which means: look properly.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        if words.next()? != "1" {
            return None;
        }
        let mut number = || words.next()?.parse().ok();
        let (written, renew_at, expires, session_ends) =
            (number()?, number()?, number()?, number()?);
        let key = match words.next()? {
            "file" => Needs::File,
            "touch" => Needs::Touch,
            stamp => Needs::Agent(stamp.strip_prefix("agent=")?.to_owned()),
        };
        Some(Self {
            written,
            renew_at,
            expires,
            session_ends,
            key,
        })
    }

    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let Self {
            written,
            renew_at,
            expires,
            session_ends,
            key,
        } = self;
        let key = match key {
            Needs::Agent(stamp) => format!("agent={stamp}"),
            Needs::File => "file".to_owned(),
            Needs::Touch => "touch".to_owned(),
        };
        format!("1 {written} {renew_at} {expires} {session_ends} {key}\n")
    }

    /// Decides.
    #[must_use]
    pub fn judge(&self, now: i64, backed_off_until: i64) -> Verdict {
        let still_good = now < self.expires;
        if now >= self.session_ends {
            return Verdict::SessionOver;
        }
        if now < self.renew_at && now >= self.written - CLOCK_BACK_SECS {
            return Verdict::NotDue;
        }
        // A back-off further away than any that is written comes from a clock that went back.
        let backed_off = now < backed_off_until && backed_off_until <= now + BACK_OFF_MAX_SECS;
        if still_good && backed_off {
            Verdict::BackedOff
        } else {
            Verdict::Renew { still_good }
        }
    }

    /// Does the agent that this shell reaches look like the one that was seen to hold the key?
    #[must_use]
    pub fn agent_as_seen(&self) -> bool {
        let Needs::Agent(seen) = &self.key else {
            return true;
        };
        agent::socket()
            .and_then(|path| agent::stamp(&path))
            .is_some_and(|stamp| stamp == *seen)
    }

    /// Reads the file.
    #[must_use]
    pub fn load(places: &Places) -> Option<Self> {
        Self::parse(&atomic::read(&places.state(FILE)).ok()??)
    }

    /// Stores the file.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, places: &Places) -> io::Result<()> {
        atomic::replace(
            &places.state(FILE),
            self.render().as_bytes(),
            atomic::OWNER_ONLY,
        )
    }
}

/// Until when a failed renewal is not tried again, and how long the wait was.
fn back_off(places: &Places) -> Option<(i64, i64)> {
    let text = atomic::read(&places.state(BACK_OFF_FILE)).ok()??;
    let (until, wait) = text.trim().split_once(' ')?;
    Some((until.parse().ok()?, wait.parse().ok()?))
}

/// Until when a failed renewal is not tried again; 0 where none failed.
#[must_use]
pub fn backed_off_until(places: &Places) -> i64 {
    back_off(places).map_or(0, |(until, _)| until)
}

/// After a failed renewal: the next wait is twice as long, but never a quarter of what the certificate has left, so that
/// a short certificate still gets several tries.
///
/// # Errors
/// When the folder cannot be written.
pub fn back_off_more(places: &Places, now: i64, expires: i64) -> io::Result<()> {
    let last = back_off(places).map_or(0, |(_, wait)| wait);
    let left = (expires - now).max(0);
    let wait = (last * 2)
        .clamp(BACK_OFF_FIRST_SECS, BACK_OFF_MAX_SECS)
        .min(left / 4)
        .max(5);
    let text = format!("{} {wait}\n", now + wait);
    atomic::replace(
        &places.state(BACK_OFF_FILE),
        text.as_bytes(),
        atomic::OWNER_ONLY,
    )
}

/// When the CA may be asked again, and how long the last wait for it was.
fn asked(places: &Places) -> (i64, i64) {
    let text = atomic::read(&places.state(ASKED_FILE)).ok().flatten();
    let numbers = text.as_deref().and_then(|text| {
        let (not_before, wait) = text.trim().split_once(' ')?;
        Some((not_before.parse().ok()?, wait.parse().ok()?))
    });
    numbers.unwrap_or((0, 0))
}

/// Is it time to ask the CA whether the certificates are still good?
#[must_use]
pub fn may_ask(places: &Places, now: i64) -> bool {
    let (not_before, wait) = asked(places);
    // Further away than what was written: the clock went back.
    now >= not_before || not_before > now + wait.max(ANSWER_HOLDS_SECS)
}

/// The CA has just said that they are good, or has renewed them.
pub fn note_answer(places: &Places, now: i64) {
    note_asked(places, now + ANSWER_HOLDS_SECS, 0);
}

/// The CA did not answer, or cannot help: it is not asked for a while, each time for twice as long, so that ssh does not wait for it.
pub fn note_silence(places: &Places, now: i64) {
    let (_, last) = asked(places);
    let wait = (last * 2).clamp(BACK_OFF_FIRST_SECS, BACK_OFF_MAX_SECS);
    note_asked(places, now + wait, wait);
}

/// Nothing is to be asked until then.
pub fn note_nothing_to_ask(places: &Places, now: i64, until: i64) {
    note_asked(places, until, until - now);
}

/// Where it cannot be written, ssh asks each time: that costs it a moment, and no more.
fn note_asked(places: &Places, not_before: i64, wait: i64) {
    let text = format!("{not_before} {wait}\n");
    let _ = atomic::replace(
        &places.state(ASKED_FILE),
        text.as_bytes(),
        atomic::OWNER_ONLY,
    );
}

/// The whole of `renew --if-due` while nothing is due: true says that there is nothing to do.
#[must_use]
pub fn nothing_to_do(places: &Places) -> bool {
    let now = now_unix();
    Due::load(places).is_some_and(|due| due.judge(now, 0) == Verdict::NotDue && due.agent_as_seen())
        && !may_ask(places, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: i64, until: i64) -> InstalledCertificate {
        InstalledCertificate {
            serial: 1,
            principals: Vec::new(),
            valid_after_unix: from,
            valid_before_unix: until,
        }
    }

    #[test]
    fn due_when_a_quarter_is_left_of_the_first_that_a_renewal_prolongs() {
        let day = 43_200;
        assert_eq!(renew_at_unix(&[certificate(0, 28_800)], day, 0), 21_600);
        assert_eq!(
            renew_at_unix(&[certificate(0, 28_800), certificate(0, 3_600)], day, 0),
            2_700
        );
        // It ends with the session: the next thing due is a login.
        assert_eq!(renew_at_unix(&[certificate(20_000, day)], day, 20_000), day);
        // A grant that ends in four seconds does not make every ssh renew.
        assert_eq!(renew_at_unix(&[certificate(0, 1_004)], day, 1_000), 1_010);
        assert_eq!(renew_at_unix(&[], day, 5), day);
    }

    #[test]
    fn z6_a_silent_ca_is_asked_ever_less() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::in_home(folder.path(), None).unwrap();
        crate::install::folders(&places).unwrap();
        assert!(may_ask(&places, 1_000), "nobody asked yet");
        note_answer(&places, 1_000);
        assert!(!may_ask(&places, 1_000) && !may_ask(&places, 1_002));
        assert!(may_ask(&places, 1_003));
        let mut now = 1_003;
        for wait in [60, 120, 240, 480, 900, 900] {
            note_silence(&places, now);
            assert!(!may_ask(&places, now + wait - 1), "{wait}");
            now += wait;
            assert!(may_ask(&places, now), "{wait}");
        }
        // It is back.
        note_answer(&places, now);
        note_silence(&places, now);
        assert!(may_ask(&places, now + 60));
        assert!(may_ask(&places, 500), "the clock went back");
        std::fs::write(places.state(ASKED_FILE), "odd").unwrap();
        assert!(may_ask(&places, now));
    }

    #[test]
    fn verdicts() {
        let due = Due {
            written: 1_000,
            renew_at: 4_000,
            expires: 5_000,
            session_ends: 9_000,
            key: Needs::File,
        };
        assert_eq!(Due::parse(&due.render()), Some(due.clone()));
        assert_eq!(due.judge(3_999, 0), Verdict::NotDue);
        assert_eq!(due.judge(4_000, 0), Verdict::Renew { still_good: true });
        assert_eq!(due.judge(4_000, 4_060), Verdict::BackedOff);
        assert_eq!(
            due.judge(5_000, 5_060),
            Verdict::Renew { still_good: false },
            "an expired one is always tried"
        );
        assert_eq!(due.judge(9_000, 0), Verdict::SessionOver);
        assert_eq!(
            due.judge(100, 0),
            Verdict::Renew { still_good: true },
            "the clock went back"
        );
        assert_eq!(
            due.judge(4_000, 99_999),
            Verdict::Renew { still_good: true },
            "and so the back-off is void"
        );
        for odd in [
            "",
            "2 1 2 3 4 file",
            "1 1 2 3",
            "1 1 2 3 4",
            "1 a 2 3 4 file",
            "1 1 2 3 4 elsewhere",
        ] {
            assert_eq!(Due::parse(odd), None, "{odd:?}");
        }
    }
}
