//! `status`: who you are, until when, and how the key and the certificates are. Without the network.

use serde::Serialize;

use super::{Ending, Failure, Format, machines, print_json};
use crate::{
    agent::{Agent, AgentError},
    directory::Reach,
    due::now_unix,
    key::{KeyPlace, PRIVATE_FILE},
    places::Places,
    say::{self, Tone},
    session::{InstalledCertificate, Session},
    text,
};

#[derive(Serialize)]
pub(super) struct Facts {
    email: String,
    session_ends_unix: i64,
    session_open: bool,
    key_place: KeyPlace,
    needs_security_key: usize,
    certificates: Vec<InstalledCertificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machines: Option<Vec<machines::MachineFacts>>,
}

/// How the private key is.
#[derive(Debug)]
pub(super) enum KeyState {
    Held,
    Lost,
    OutOfReach(AgentError),
}

pub(super) fn key_state(places: &Places, session: &Session) -> KeyState {
    let in_agent = || match Agent::of_user().and_then(|mut agent| agent.holds(&session.public_key))
    {
        Ok(true) => KeyState::Held,
        Ok(false) => KeyState::Lost,
        Err(error) => KeyState::OutOfReach(error),
    };
    match &session.key_place {
        KeyPlace::File if places.state(PRIVATE_FILE).exists() => KeyState::Held,
        KeyPlace::File => KeyState::Lost,
        KeyPlace::SecurityKey {
            handle: Some(handle),
        } if handle.exists() => KeyState::Held,
        KeyPlace::Agent | KeyPlace::SecurityKey { .. } => in_agent(),
    }
}

pub(super) fn facts(session: &Session, reach: Option<&Reach>) -> Facts {
    let now = now_unix() + session.server_ahead_secs;
    Facts {
        email: session.email.clone(),
        session_ends_unix: session.ends_unix,
        session_open: now < session.ends_unix,
        key_place: session.key_place.clone(),
        needs_security_key: session.needs_security_key,
        certificates: session.certificates.clone(),
        machines: reach.map(machines::facts),
    }
}

pub(super) fn run(places: &Places, format: Format) -> Result<Ending, Failure> {
    let session = Session::load(places)?;
    let key = key_state(places, &session);
    let now = now_unix() + session.server_ahead_secs;
    let usable = matches!(key, KeyState::Held) && now < session.last_expiry_unix();
    let ending = if usable { Ending::Done } else { Ending::Amiss };
    if format == Format::Json {
        print_json(&facts(
            &session,
            machines::stored_reach(places, &session).ok().as_ref(),
        ));
        return Ok(ending);
    }
    let mut rows = vec![vec!["you".to_owned(), session.email.clone()]];
    let open = if now < session.ends_unix {
        format!(
            "{} until {}",
            say::toned("open", Tone::Good),
            say::when(session.ends_unix, now)
        )
    } else {
        format!(
            "{} since {}; log in: ca-client login",
            say::toned("over", Tone::Bad),
            say::when(session.ends_unix, now)
        )
    };
    rows.push(vec!["session".to_owned(), open]);
    rows.push(vec!["key".to_owned(), key_line(&key, &session.key_place)]);
    for certificate in &session.certificates {
        let InstalledCertificate {
            principals,
            valid_before_unix: until,
            serial,
            ..
        } = certificate;
        let state = if now < *until {
            say::toned("good", Tone::Good)
        } else {
            say::toned("ended", Tone::Bad)
        };
        rows.push(vec![
            "certificate".to_owned(),
            format!(
                "{state} until {}, serial {serial}, for {}",
                say::when(*until, now),
                principals.join(", ")
            ),
        ]);
    }
    if session.certificates.is_empty() {
        rows.push(vec![
            "certificate".to_owned(),
            "none: you reach no machine at the moment".to_owned(),
        ]);
    }
    if let Some(left_out) = session.left_out() {
        rows.push(vec!["left out".to_owned(), left_out]);
    }
    if let Ok(reach) = machines::stored_reach(places, &session) {
        rows.push(vec![
            "machines".to_owned(),
            format!("{} (ca-client machines)", reach.machines.len()),
        ]);
    }
    say::out(&say::columns(&rows));
    Ok(ending)
}

/// Where the key is, in words.
pub(super) fn place_words(place: &KeyPlace) -> String {
    match place {
        KeyPlace::Agent => "in the ssh-agent".to_owned(),
        KeyPlace::File => "in ~/.ssh/ca/id".to_owned(),
        KeyPlace::SecurityKey { handle: None } => {
            "in a security key, through the ssh-agent".to_owned()
        }
        KeyPlace::SecurityKey {
            handle: Some(handle),
        } => format!(
            "in a security key, by its handle {}",
            text::line(&handle.display().to_string())
        ),
    }
}

fn key_line(state: &KeyState, place: &KeyPlace) -> String {
    let lost = say::toned("lost", Tone::Bad);
    match (state, place) {
        (KeyState::Held, place) => {
            format!("{} {}", say::toned("held", Tone::Good), place_words(place))
        }
        (KeyState::Lost, KeyPlace::Agent) => {
            format!("{lost}: the ssh-agent no longer has it (restarted?); log in: ca-client login")
        }
        (KeyState::Lost, KeyPlace::File) => format!("{lost}: log in: ca-client login"),
        (KeyState::Lost, KeyPlace::SecurityKey { .. }) => {
            format!("{lost}: {}", lost_handle(place))
        }
        (KeyState::OutOfReach(error), _) => {
            format!("{}: {error}", say::toned("out of reach", Tone::Bad))
        }
    }
}

/// Why a security key cannot be asked, and what helps.
pub(super) fn lost_handle(place: &KeyPlace) -> String {
    match place {
        KeyPlace::SecurityKey {
            handle: Some(handle),
        } => format!(
            "its handle {} is gone; put it back, or log in with another: ca-client login --security-key PATH",
            text::line(&handle.display().to_string())
        ),
        _ => "the ssh-agent no longer has it; add it again (ssh-add), or log in with another: ca-client login --security-key".to_owned(),
    }
}
