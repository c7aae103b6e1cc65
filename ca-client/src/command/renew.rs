//! `renew`, and `renew --if-due` for ssh's `Match exec`: silent, quick, and never in the way of what still works.

use std::{
    thread,
    time::{Duration, Instant},
};

use ca_api::{ErrorCode, Narrow, Standing, StandingRequest};
use clap::Args;
use tokio::time::timeout;

use super::{
    Ending, Failure, Format, JsonFlag, block_on,
    login::{self, KeyChoice},
    machines::machine_list,
    print_json, status,
};
use crate::{
    agent::{self, Agent, AgentError},
    api::{CallError, Deadlines},
    atomic,
    config::Config,
    day::{self, Day, Lock, RenewError},
    due::{self, Due, Needs, Verdict, now_unix},
    key::ProofError,
    places::Places,
    prompt::{Answers, Terminal},
    say,
    session::Session,
    text,
};

/// What ssh may have to wait for a renewal.
const PATIENCE: Duration = Duration::from_millis(2500);

/// What ssh may have to wait for the answer whether its certificate is still good. Within it a CA on the same continent answers; one that
/// does not is not asked for a while ([`due::note_silence`]).
const ASK_PATIENCE: Duration = Duration::from_millis(600);

/// What ssh may have to wait for another process's renewal, where it cannot do without.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// A local agent answers in less than a millisecond.
const AGENT_PATIENCE: Duration = Duration::from_secs(1);

/// What ssh may have to wait for a renewal by a security key, on a terminal: a person with a PIN to type and a key to touch,
/// for as long as the CA's nonce lives, and twice the network.
const TOUCH_PATIENCE: Duration = Duration::from_secs(65);

/// How long the offer of a login stays on a terminal that nobody looks at.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Arguments {
    /// Only when it is due, silently: for ssh_config's Match exec
    #[arg(long, conflicts_with = "json")]
    if_due: bool,
    #[command(flatten)]
    json: JsonFlag,
}

pub(super) fn run(places: &Places, arguments: Arguments) -> Result<Ending, Failure> {
    if arguments.if_due {
        return if_due(places);
    }
    let mut config = Config::load(places)?;
    let client = config.client();
    let lock = Lock::wait(places)?;
    let renewed = block_on(day::renew(places, &mut config, &client))?;
    drop(lock);
    if let Err(error) = &renewed {
        note_session_over(places, error);
    }
    let Day { session, reach, .. } = renewed?;
    match arguments.json.json() {
        Format::Json => print_json(&status::facts(&session, Some(&reach))),
        Format::Text => {
            let now = now_unix() + session.server_ahead_secs;
            let until = say::when(session.last_expiry_unix(), now);
            say::out(&format!(
                "Renewed until {until}.\n\n{}",
                machine_list(&reach)
            ));
        }
    }
    Ok(Ending::Done)
}

/// What ssh would show a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// A certificate that is good by its own words.
    Good,
    /// None that has not ended.
    Ended,
    /// One that machines refuse, or will in a moment: access was narrowed, or it was revoked.
    Withdrawn,
}

impl Held {
    const fn by_its_words(still_good: bool) -> Self {
        if still_good { Self::Good } else { Self::Ended }
    }
}

/// The answer to ssh. It has no bearing on whether ssh goes on (the `Match` block is empty); what counts is what is said
/// and how long it takes.
fn if_due(places: &Places) -> Result<Ending, Failure> {
    let Some(mut due) = Due::load(places) else {
        return offer_login(places, "you are not logged in");
    };
    if !due.agent_as_seen()
        && let Some(trouble) = look_at_agent(places, &mut due)
    {
        return match trouble {
            KeyTrouble::Lost => offer_login(
                places,
                "the ssh-agent no longer has your key (was it restarted?)",
            ),
            KeyTrouble::OutOfReach(error) => {
                say::err(&format!(
                    "ca-client: {error}; your key is in the agent of the shell where you logged in. Here: ca-client login"
                ));
                Ok(Ending::Amiss)
            }
        };
    }
    let now = now_unix();
    if due.judge(now, due::backed_off_until(places)) == Verdict::NotDue {
        return match withdrawn(places, now) {
            Some(session) => renew_withdrawn(places, &session),
            None => Ok(Ending::Done),
        };
    }
    let Some(lock) = lock_for_renewal(places)? else {
        return Ok(Ending::Done);
    };
    // Another process may have renewed, or failed to, while this one waited.
    let Some(due) = Due::load(places) else {
        return Ok(Ending::Done);
    };
    match due.judge(now_unix(), due::backed_off_until(places)) {
        Verdict::NotDue | Verdict::BackedOff => Ok(Ending::Done),
        Verdict::SessionOver => {
            drop(lock);
            offer_login(places, "your session is over")
        }
        Verdict::Renew { still_good } => {
            renew_held(places, lock, &due, Held::by_its_words(still_good))
        }
    }
}

fn renew_held(places: &Places, lock: Lock, due: &Due, held: Held) -> Result<Ending, Failure> {
    if due.key == Needs::Touch {
        renew_by_touch(places, lock, due, held)
    } else {
        renew_for_ssh(places, lock, due, held, PATIENCE)
    }
}

/// Asks the CA, where it is time to, whether the certificates are still good. The session, if they are not; silence and every trouble mean
/// that ssh goes on with what it has, as it would without a CA (Z6).
fn withdrawn(places: &Places, now: i64) -> Option<Session> {
    if !due::may_ask(places, now) {
        return None;
    }
    let session = Session::load(places).ok()?;
    let client = Config::load(places).ok()?.client();
    let client = client.with_deadlines(Deadlines {
        connect: ASK_PATIENCE,
        call: ASK_PATIENCE,
        event: ASK_PATIENCE,
    });
    let request = StandingRequest {
        session_id: session.id.clone(),
        session_secret: session.secret.clone(),
        serials: session
            .certificates
            .iter()
            .map(|certificate| certificate.serial)
            .collect(),
    };
    let answer = block_on(async { timeout(ASK_PATIENCE, client.standing(&request)).await }).ok()?;
    match answer {
        Ok(Ok(Standing { renew: false })) => {
            due::note_answer(places, now);
            None
        }
        Ok(Ok(Standing { renew: true })) => Some(session),
        Ok(Err(_)) | Err(_) => {
            due::note_silence(places, now);
            None
        }
    }
}

/// Of several that are told at once that their certificates are withdrawn, one renews, and the others wait for it.
fn renew_withdrawn(places: &Places, session: &Session) -> Result<Ending, Failure> {
    let begun = Instant::now();
    let lock = loop {
        if let Some(lock) = Lock::attempt(places)? {
            break lock;
        }
        if begun.elapsed() > LOCK_PATIENCE {
            return Ok(Ending::Done);
        }
        thread::sleep(Duration::from_millis(25));
    };
    let renewed = |now: &Session| now.id != session.id || now.certificates != session.certificates;
    let Some(due) = Due::load(places) else {
        return Ok(Ending::Done);
    };
    if Session::load(places).is_ok_and(|now| renewed(&now)) || !due::may_ask(places, now_unix()) {
        return Ok(Ending::Done);
    }
    renew_held(places, lock, &due, Held::Withdrawn)
}

/// Without a terminal there may be nobody to touch the key: nothing is asked then, and ssh is not kept waiting.
fn renew_by_touch(places: &Places, lock: Lock, due: &Due, held: Held) -> Result<Ending, Failure> {
    let now = now_unix();
    let what = match held {
        Held::Good => format!("your certificates end at {}", say::when(due.expires, now)),
        Held::Ended => "your certificates have ended".to_owned(),
        Held::Withdrawn => "the CA has withdrawn your certificates".to_owned(),
    };
    if let Some(mut terminal) = Terminal::open() {
        terminal.say(&format!(
            "ca-client: {what}; your security key renews them."
        ));
        return renew_for_ssh(places, lock, due, held, TOUCH_PATIENCE);
    }
    drop(lock);
    say::err(&format!(
        "ca-client: {what}; to renew them by a touch of your security key: ca-client renew"
    ));
    // Said again only after a while: not before every file that a script copies.
    match held {
        Held::Good => {
            let _ = due::back_off_more(places, now, due.expires);
            Ok(Ending::Done)
        }
        Held::Withdrawn => {
            due::note_silence(places, now);
            Ok(Ending::Amiss)
        }
        Held::Ended => Ok(Ending::Amiss),
    }
}

/// Takes the lock where something is due. `None`: there is nothing to do, or another process is at it and ssh works
/// meanwhile.
fn lock_for_renewal(places: &Places) -> Result<Option<Lock>, Failure> {
    let begun = Instant::now();
    loop {
        let verdict =
            Due::load(places).map(|due| due.judge(now_unix(), due::backed_off_until(places)));
        let still_good = match verdict {
            None | Some(Verdict::NotDue | Verdict::BackedOff) => return Ok(None),
            Some(Verdict::Renew { still_good }) => still_good,
            Some(Verdict::SessionOver) => false,
        };
        if let Some(lock) = Lock::attempt(places)? {
            return Ok(Some(lock));
        }
        if still_good || begun.elapsed() > LOCK_PATIENCE {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(25));
    }
}

fn renew_for_ssh(
    places: &Places,
    lock: Lock,
    due: &Due,
    held: Held,
    patience: Duration,
) -> Result<Ending, Failure> {
    let mut config = Config::load(places)?;
    let deadlines = Deadlines {
        connect: PATIENCE,
        call: PATIENCE,
        event: PATIENCE,
    };
    let client = config.client().with_deadlines(deadlines);
    let renewed =
        block_on(async { timeout(patience, day::renew(places, &mut config, &client)).await })?;
    let error = match renewed {
        Ok(Ok(_)) => return Ok(Ending::Done),
        Ok(Err(error)) => Some(error),
        Err(_elapsed) => None,
    };
    let now = now_unix();
    if let Some(error) = &error {
        if let RenewError::Proof(ProofError::Agent(AgentError::Refused(_))) = error {
            drop(lock);
            return offer_login(
                places,
                "the ssh-agent no longer has your key (was it restarted?)",
            );
        }
        if note_session_over(places, error) {
            drop(lock);
            if held == Held::Ended {
                return offer_login(places, "your session was ended");
            }
            // Said once: no renewal mends it.
            due::note_nothing_to_ask(places, now, due.expires);
            // Revoked, or a password changed elsewhere: the CA does not say which, so nothing is promised of the
            // certificate. ssh will find out.
            say::err("ca-client: your session was ended at the CA; log in again: ca-client login");
            return Ok(Ending::Done);
        }
    }
    let reason = error.map_or_else(
        || format!("the CA did not answer within {} s", patience.as_secs_f32()),
        |error| text::line(&Failure::from(error).message),
    );
    match held {
        Held::Good => {
            // ssh goes on with what it has; the next attempt waits a while, so that a CA that is down costs little.
            let _ = due::back_off_more(places, now, due.expires);
            let until = say::when(due.expires, now);
            say::err(&format!(
                "ca-client: not renewed ({reason}); your certificate is good until {until}"
            ));
            Ok(Ending::Done)
        }
        Held::Withdrawn => {
            due::note_silence(places, now);
            say::err(&format!(
                "ca-client: the CA has withdrawn your certificate and did not renew it: {reason}"
            ));
            Ok(Ending::Amiss)
        }
        Held::Ended => {
            say::err(&format!(
                "ca-client: your certificate has ended and could not be renewed: {reason}"
            ));
            Ok(Ending::Amiss)
        }
    }
}

/// Writes down that the CA ended the session, so that ssh does not ask again. Says whether it did.
fn note_session_over(places: &Places, error: &RenewError) -> bool {
    let RenewError::Call(CallError::Refused(error)) = error else {
        return false;
    };
    if error.code != ErrorCode::SessionOver {
        return false;
    }
    if let Some(mut due) = Due::load(places) {
        // While a certificate is good there is nothing to log in for: the session "ends" with the last of them.
        due.session_ends = due.expires.max(now_unix());
        due.renew_at = due.session_ends;
        let _ = due.save(places);
    }
    true
}

enum KeyTrouble {
    Lost,
    OutOfReach(AgentError),
}

/// Looks whether the agent that this shell reaches has the key; if so, remembers that agent.
fn look_at_agent(places: &Places, due: &mut Due) -> Option<KeyTrouble> {
    let session = Session::load(places).ok()?;
    let held = Agent::of_user()
        .and_then(|agent| agent.with_patience(AGENT_PATIENCE))
        .and_then(|mut agent| agent.holds(&session.public_key));
    match held {
        Ok(true) => {
            due.key = Needs::Agent(
                agent::socket()
                    .and_then(|path| agent::stamp(&path))
                    .unwrap_or_default(),
            );
            let _ = due.save(places);
            None
        }
        Ok(false) => Some(KeyTrouble::Lost),
        Err(error) => Some(KeyTrouble::OutOfReach(error)),
    }
}

/// Offers the login on the terminal; without one, says what to do in one line.
fn offer_login(places: &Places, reason: &str) -> Result<Ending, Failure> {
    let Some(mut terminal) = Terminal::open() else {
        say::err(&format!("ca-client: {reason}; log in: ca-client login"));
        return Ok(Ending::Amiss);
    };
    if !terminal
        .offer(&format!("ca-client: {reason}. Log in now?"), OFFER_PATIENCE)
        .unwrap_or(false)
    {
        return Ok(Ending::Amiss);
    }
    let narrow = Session::load(places)
        .map(|session| session.narrow)
        .unwrap_or_default();
    log_in_on(places, terminal, narrow)
}

fn log_in_on(places: &Places, terminal: Terminal, narrow: Narrow) -> Result<Ending, Failure> {
    let mut answers = Answers::Terminal(terminal);
    let day = login::log_in(places, None, &KeyChoice::AsBefore, narrow, &mut answers)?;
    if let Answers::Terminal(terminal) = &mut answers {
        let now = now_unix() + day.session.server_ahead_secs;
        terminal.say(&format!(
            "Logged in until {}.",
            say::when(day.session.ends_unix, now)
        ));
    }
    let _ = atomic::remove(&places.state(due::BACK_OFF_FILE));
    Ok(Ending::Done)
}
