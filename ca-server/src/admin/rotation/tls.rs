//! The TLS CA among the CA's keys: it is no ssh key; employees' clients learn it by themselves, and machines that fetch are told.

use std::collections::BTreeSet;

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, CaKey, CaKeyView, CaKeys, MachineDelivery, Pace, RotationView},
};
use policies::MachineName;

use super::{Admin, Events, missed, note, read_error, waits_for};
use crate::{
    admin::change::store_error,
    fleet::pull::trust::unaware,
    keys::Life,
    ledger::Actor,
    rotate::Waiting,
    store::Snapshot,
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
        leave_behind: &[String],
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let left: BTreeSet<MachineName> = self.known(leave_behind)?.into_iter().collect();
        let under_way = self.ca.tls.announced().is_some();
        if step == Step::Retire && under_way {
            // Whoever can be told is told now: what is shown after it lets in nobody who knows the old one alone.
            let machines = self.tell(&left, events).await?;
            let waits = self.unaware(&left)?;
            if !waits.is_empty() {
                let names: Vec<&str> = waits.iter().map(|one| one.who.as_str()).collect();
                let why = format!(
                    "nothing was retired yet: {} could not fetch any more then; without them: --leave-behind MACHINE",
                    names.join(", ")
                );
                return self.told(vec![why], machines, true, events).await;
            }
        }
        let now = room::take(&self.ca, &actor, step).await.map_err(refused)?;
        let did = self.did(step, under_way, &now);
        let machines = self.tell(&left, events).await?;
        let waits = match step {
            Step::Rotate => !self.unaware(&left)?.is_empty(),
            Step::Retire | Step::Compromise | Step::CompromiseOne(_) => false,
        };
        self.told(did, machines, waits, events).await
    }

    fn did(&self, step: Step, under_way: bool, now: &Generation) -> Vec<String> {
        let (name, print) = (now.name(), &now.fingerprint);
        let setup = format!(
            "ca-client setup {} --fingerprint {print}",
            self.ca.config.url()
        );
        match step {
            Step::Rotate if under_way => vec![format!(
                "{name} signs what the server shows already; `ca-server ca retire tls` ends the replacement"
            )],
            Step::Rotate => vec![
                format!("{name} signs what the server shows from now on; the one before has signed it too, so every client goes on"),
                "a client learns it with its next login or renewal, a machine that fetches with its next configuration".to_owned(),
                format!("whoever is set up from now on pins {print}"),
                "`ca-server ca retire tls` when everybody has logged in since: whoever has not must run `ca-client setup` again then"
                    .to_owned(),
            ],
            Step::Retire => vec![
                format!("{name} alone is shown from now on; what was before it is deleted"),
                format!("who has not logged in since it came runs once: {setup}"),
            ],
            Step::CompromiseOne(_) => vec![
                format!("{name} signs as before, and nothing that was before it counts: its keys are deleted here"),
                format!(
                    "who has not logged in since {name} came believes the lost one still, and whoever has it and stands in between can ask them for \
                     password and code, until they run, with this line from you and not from the network: {setup}"
                ),
            ],
            Step::Compromise => vec![
                format!("{name} signs what the server shows from now on; nothing that was before it counts, and its keys are deleted here"),
                format!(
                    "no client believes the new one by the old one's word: everybody runs, with this line from you and not from the network: {setup}"
                ),
                "until they have, whoever has the old key and stands between them and this server can ask them for password and code"
                    .to_owned(),
            ],
        }
    }

    async fn told(
        &self,
        mut did: Vec<String>,
        machines: Vec<MachineDelivery>,
        waits: bool,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        if let Some(missed) = missed(&machines) {
            did.push(format!(
                "fetch for themselves, and have not proven yet that they know it: {missed}; one that fetches from this server and is refused needs you once: \
                 `bootstrap add-machine NAME --pull`"
            ));
        }
        for one in &did {
            note(events, one).await;
        }
        Ok(AdminReply::CaKeys(CaKeys {
            did,
            machines,
            waits,
            ..self.ca_keys()?
        }))
    }

    /// Brings the machines that fetch what they check this server with, where the CA logs in as well; the others are only named.
    async fn tell(
        &self,
        left: &BTreeSet<MachineName>,
        events: &Events,
    ) -> Result<Vec<MachineDelivery>, ApiError> {
        let waits = self.unaware(left)?;
        let names: Vec<MachineName> = waits
            .iter()
            .filter_map(|one| one.who.parse().ok())
            .collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.spread(Some(names), events).await
    }

    fn unaware(&self, left: &BTreeSet<MachineName>) -> Result<Vec<Waiting>, ApiError> {
        let Some(pem) = self.ca.tls.newest() else {
            return Ok(Vec::new());
        };
        unaware(&self.view()?, &pem, left).map_err(read_error)
    }

    /// How the TLS CA's replacement stands, while there is one.
    pub(super) fn tls_rotation(&self, view: &Snapshot) -> Result<Option<RotationView>, ApiError> {
        let Some(pem) = self.ca.tls.announced() else {
            return Ok(None);
        };
        let waits = unaware(view, &pem, &BTreeSet::new()).map_err(read_error)?;
        Ok(Some(RotationView {
            key: CaKey::Tls,
            pace: Pace::Step,
            stage: "the new one signs, and the old one vouches for it until it is retired: clients learn it with their next login or renewal"
                .to_owned(),
            waits_for: waits.iter().map(waits_for).collect(),
            leave_behind: Vec::new(),
            until_unix: None,
        }))
    }

    /// A generation of the TLS CA by its name or fingerprint.
    pub(super) fn tls_generation(&self, key: &str) -> Result<Option<Generation>, ApiError> {
        let all = self.ca.tls.generations(&self.ca.db).map_err(read_error)?;
        Ok(all.into_iter().find(|one| {
            let first = one.number == 1 && key == "tls.1";
            first || one.name() == key || one.fingerprint == key
        }))
    }

    /// Is this the name or the fingerprint of a TLS CA, or of all of them?
    pub(super) fn tls_named(&self, key: &str) -> Result<bool, ApiError> {
        let Some(one) = self.tls_generation(key)? else {
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
