//! `ca move`: the CA's key into another back end, the same key, proven there before anything changes.

use std::sync::Arc;

use ca_api::{
    ApiError, ErrorCode, Secret,
    admin::{AdminReply, CaKey},
};

use crate::{
    ca::{Ca, unix_ms},
    keys::{MoveError, Place, Purpose},
    ledger::{Actor, Event},
    signer::SignerSpec,
    store::ReadError,
};

/// Carries it out.
///
/// # Errors
/// When somebody asks over the network (K5), or the key is not, or does not sign, at the new place.
pub async fn move_key(
    ca: &Arc<Ca>,
    actor: Actor,
    key: CaKey,
    signer: &str,
    pin: Option<Secret>,
) -> Result<AdminReply, ApiError> {
    let place = place(&actor, signer, pin)?;
    let purpose = match key {
        CaKey::User => Purpose::UserCa,
        CaKey::Host => Purpose::HostCa,
        CaKey::Fleet => Purpose::Fleet,
        CaKey::Tls => {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "the TLS CA's key is always in a file of the data folder",
            ));
        }
    };
    // No replacement of the same key runs beside this.
    let _one_at_a_time = ca.key_room.changing.lock().await;
    let shared = Arc::clone(ca);
    // A token, a person who must touch something: not where others wait.
    let reached = tokio::task::spawn_blocking(move || shared.key_room.reach(purpose, place))
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error: MoveError| {
            let code = match &error {
                MoveError::There { .. } | MoveError::NoFile { .. } => ErrorCode::Conflict,
                MoveError::Signer { .. } | MoveError::Keys(_) => ErrorCode::Unavailable,
            };
            ApiError::new(code, error.to_string())
                .hint("nothing was changed; the key signs where it did before")
        })?;
    let (name, to, left) = (reached.name().to_owned(), reached.to(), reached.leaves());
    let event = Event::CaKeyChanged {
        key: name.clone(),
        fingerprint: reached.fingerprint(),
        change: format!("moves from {} to {to}, where it was proven", reached.from()),
    };
    let at = unix_ms(ca.clock.now());
    // No ledger, no change.
    ca.db
        .write_async(move |txn| {
            txn.record(at, &actor, &event);
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| failed(&error))?;
    let shared = Arc::clone(ca);
    tokio::task::spawn_blocking(move || shared.key_room.settle(reached, &shared.db))
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))?;
    let mut told = format!(
        "The key {name} signs in {to} from now on; it is the same key, so nothing changes for anybody."
    );
    if let Some(file) = left {
        told.push_str(&format!(
            "\nIts old file is kept, encrypted, as {file}. As long as it is there, the key can be moved back with \
             `ca-server ca move {} --signer file`, and whoever copies it and knows the passphrase has the key. Delete it \
             when that is worth more than the way back.",
            key.word()
        ));
    }
    Ok(AdminReply::Text(told))
}

/// Where a key is to be, as an admin says it on the CA's own host.
///
/// # Errors
/// When somebody says it over the network (K5), or it cannot be understood.
pub fn place(actor: &Actor, signer: &str, pin: Option<Secret>) -> Result<Place, ApiError> {
    let Actor::Console { .. } = actor else {
        return Err(ApiError::new(
            ErrorCode::Forbidden,
            "where a key of the CA is kept can be said on the CA's own host only",
        )
        .hint("log in there and run the same command without --url"));
    };
    let spec: SignerSpec = signer.parse().map_err(|error: crate::signer::SpecError| {
        ApiError::new(ErrorCode::Invalid, error.to_string())
    })?;
    Ok(Place { spec, pin })
}

fn failed(error: &dyn std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a key could not be moved");
    ApiError::new(
        ErrorCode::Unavailable,
        format!("the key was not moved: {error}"),
    )
    .hint("run it again: what was begun is finished, and done twice it changes nothing")
}
