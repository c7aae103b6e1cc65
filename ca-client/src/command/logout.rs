//! `logout`: the session ends at the CA, the key leaves the agent, the files go.

use std::time::Duration;

use ca_api::{ErrorCode, LogoutRequest};
use clap::Args;

use super::{Ending, Failure, block_on};
use crate::{
    agent::Agent,
    api::{CallError, Deadlines},
    atomic,
    config::Config,
    day::Lock,
    install,
    key::KeyPlace,
    places::Places,
    say,
    session::{Session, SessionError},
};

/// Whoever logs out wants to leave.
const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(3),
    call: Duration::from_secs(5),
    event: Duration::from_secs(5),
};

#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Arguments {
    /// Also forget the CA, and take the Include out of ~/.ssh/config
    #[arg(long)]
    forget: bool,
}

pub(super) fn run(places: &Places, arguments: Arguments) -> Result<Ending, Failure> {
    let session = match Session::load(places) {
        Ok(session) => Some(session),
        // A damaged session cannot be ended at the CA, but everything here can go.
        Err(SessionError::None | SessionError::Damaged { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut open_ends = Vec::new();
    if let Some(session) = &session {
        if let Err(why) = end_at_ca(places, session) {
            open_ends.push(format!(
                "The session could not be ended at the CA ({why}); nobody else has its secret, and it ends by itself."
            ));
        }
        if session.key_place == KeyPlace::Agent
            && let Err(error) =
                Agent::of_user().and_then(|mut agent| match agent.holds(&session.public_key)? {
                    true => agent.remove(&session.public_key),
                    false => Ok(()),
                })
        {
            open_ends.push(format!("The key could not be taken out of the agent: {error}. It is forgotten when the session would have ended."));
        }
    }
    let lock = Lock::wait(places)?;
    install::remove_all(places)?;
    if arguments.forget {
        forget(places)?;
    }
    drop(lock);
    if session.is_none() && !arguments.forget {
        say::out("You were not logged in.\n");
        return Ok(Ending::Done);
    }
    let by_security_key = session
        .as_ref()
        .is_some_and(|session| matches!(session.key_place, KeyPlace::SecurityKey { .. }));
    say::out(if arguments.forget {
        "Logged out. The CA is forgotten, and the Include is out of ~/.ssh/config.\n"
    } else if by_security_key {
        "Logged out: the certificates are gone from this computer. Your security key is as it was.\n"
    } else {
        "Logged out: the key and the certificates are gone from this computer.\n"
    });
    for line in &open_ends {
        say::err(line);
    }
    Ok(if open_ends.is_empty() {
        Ending::Done
    } else {
        Ending::Partly
    })
}

fn end_at_ca(places: &Places, session: &Session) -> Result<(), String> {
    let config = Config::load(places).map_err(|error| error.to_string())?;
    let client = config.client().with_deadlines(DEADLINES);
    let request = LogoutRequest {
        session_id: session.id.clone(),
        session_secret: session.secret.clone(),
    };
    match block_on(client.logout(&request)).map_err(|failure| failure.message)? {
        Ok(_) => Ok(()),
        Err(CallError::Refused(error)) if error.code == ErrorCode::SessionOver => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn forget(places: &Places) -> Result<(), Failure> {
    install::exclude(places)?;
    for path in [
        places.config(),
        places.pinned_certificate(),
        places.device(),
    ] {
        atomic::remove(&path).map_err(|source| install::InstallError::File { path, source })?;
    }
    Ok(())
}
