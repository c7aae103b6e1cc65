//! The TLS CA among the CA's keys: it is no ssh key, machines know nothing of it, and employees' clients learn it by themselves.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, CaKeyView, CaKeys},
};

use super::{Admin, Events, note, read_error};
use crate::{
    admin::change::store_error,
    keys::Life,
    ledger::Actor,
    tls::{
        lives::Generation,
        room::{self, ReplaceError, Step},
    },
};

impl Admin {
    /// `ca rotate tls`, `ca retire tls`, `ca compromise tls`.
    pub(super) async fn tls(
        &self,
        actor: Actor,
        step: Step,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let now = room::take(&self.ca, &actor, step).await.map_err(refused)?;
        let (name, print) = (now.name(), &now.fingerprint);
        let did = match step {
            Step::Rotate => vec![
                format!("{name} signs what the server shows from now on; the one before has signed it too, so every client goes on"),
                "a client learns it with its next login or renewal".to_owned(),
                format!("whoever is set up from now on pins {print}"),
                "`ca-server ca retire tls` when everybody has logged in since: whoever has not must run `ca-client setup` again then"
                    .to_owned(),
            ],
            Step::Retire => vec![
                format!("{name} alone is shown from now on; what was before it is deleted"),
                format!("who has not logged in since it came runs once: ca-client setup {} --fingerprint {print}", self.ca.config.url()),
            ],
            Step::Compromise => vec![
                format!("{name} signs what the server shows from now on; nothing that was before it counts, and its keys are deleted here"),
                format!(
                    "no client believes the new one by the old one's word: everybody runs, with this line from you and not from the network: \
                     ca-client setup {} --fingerprint {print}",
                    self.ca.config.url()
                ),
                "until they have, whoever has the old key and stands between them and this server can ask them for password and code"
                    .to_owned(),
            ],
        };
        for one in &did {
            note(events, one).await;
        }
        Ok(AdminReply::CaKeys(CaKeys {
            did,
            ..self.ca_keys()?
        }))
    }

    /// Is this the name or the fingerprint of a TLS CA, or of all of them?
    pub(super) fn tls_named(&self, key: &str) -> Result<bool, ApiError> {
        let all = self.ca.tls.generations(&self.ca.db).map_err(read_error)?;
        let Some(one) = all
            .iter()
            .find(|one| one.name() == key || one.fingerprint == key)
        else {
            return Ok(key == "tls");
        };
        if one.life == Life::Current && one.number > 1 {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                format!(
                    "{} is the current key: another one has to sign first",
                    one.name()
                ),
            )
            .hint("`ca-server ca retire tls` retires those before it; nothing was changed"));
        }
        Ok(true)
    }
}

/// A TLS CA beside the other keys; no machine trusts it.
pub(super) fn tls_view(one: &Generation) -> CaKeyView {
    CaKeyView {
        signer: "file".to_owned(),
        name: one.name(),
        fingerprint: one.fingerprint.clone(),
        life: one.life.word().to_owned(),
        made_unix: one.made_unix,
        signs_since_unix: (one.made_unix > 0).then_some(one.made_unix),
        signed_until_unix: one.signed_until_unix,
        last_expiry_unix: None,
        ended_unix: one.ended_unix,
        trusted_by: 0,
        machines: 0,
    }
}

fn refused(error: ReplaceError) -> ApiError {
    match error {
        ReplaceError::Operators => ApiError::new(ErrorCode::Conflict, error.to_string()).hint(
            "replace the files that [tls] names, and start the server again; if the last certificate of the chain changes, employees pin it \
             with the line that `employee add` prints",
        ),
        ReplaceError::NothingRetires => ApiError::new(ErrorCode::Conflict, error.to_string())
            .hint("`ca-server ca rotate tls` puts another one in its place"),
        ReplaceError::Store(error) => store_error(&error),
        ReplaceError::Tls(_) | ReplaceError::Keys(_) => ApiError::new(ErrorCode::Unavailable, error.to_string())
            .hint("what was done before is durable; `ca-server ca list` shows how it stands"),
    }
}
