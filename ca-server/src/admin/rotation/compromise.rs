//! `ca compromise`: what becomes of a key that somebody else has, and who has to be told what.

use ca_api::{
    ApiError,
    admin::{AdminReply, CaKeys},
};

use super::{Admin, Events, missed, note, rotate_error};
use crate::{
    keys::{KeyRecord, Life, Purpose},
    ledger::Actor,
    rotate::{self, Emergency, Lost},
    tls::room::Step,
};

/// What was named, as it is typed.
enum Named {
    Keys(Lost),
    /// All generations of the TLS CA, or one of them by its number.
    Tls(Step),
}

impl Admin {
    /// `ca compromise`.
    pub(in crate::admin) async fn ca_compromise(
        &self,
        actor: Actor,
        key: &str,
        reason: &str,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let lost = match self.named(key)? {
            Named::Keys(lost) => lost,
            Named::Tls(step) => return self.tls(actor, step, &[], events).await,
        };
        let purpose = lost.purpose();
        let emergency = rotate::compromise(&self.ca, &actor, &lost, reason)
            .await
            .map_err(rotate_error)?;
        let mut did = if emergency.old.is_empty() {
            vec![format!(
                "{key} was given up before; {} signs",
                emergency.now.name()
            )]
        } else {
            told(purpose, &emergency)
        };
        did.extend(
            emergency
                .exposed
                .iter()
                .map(|one| format!("{}: {}", one.who, one.why)),
        );
        for one in &did {
            note(events, one).await;
        }
        let machines = self.spread(None, events).await?;
        if let Some(missed) = missed(&machines) {
            did.push(match purpose {
                Purpose::Fleet => format!("not reached: {missed}"),
                Purpose::UserCa | Purpose::HostCa => format!(
                    "{missed} NOT REACHED: whoever has {} gets in there until it is; the server tries again by itself",
                    names(&emergency.old, key)
                ),
            });
        }
        let keys = self.ca_keys()?;
        Ok(AdminReply::CaKeys(CaKeys {
            waits: missed(&machines).is_some() || !emergency.exposed.is_empty(),
            did,
            machines,
            ..keys
        }))
    }

    /// All keys of a purpose by its word, or one by its name or fingerprint.
    fn named(&self, key: &str) -> Result<Named, ApiError> {
        let all = |purpose| Ok(Named::Keys(Lost::All(purpose)));
        match key {
            "user" => return all(Purpose::UserCa),
            "host" => return all(Purpose::HostCa),
            "fleet" => return all(Purpose::Fleet),
            "tls" => return Ok(Named::Tls(Step::Compromise)),
            _ => {}
        }
        if let Some(one) = self.tls_generation(key)? {
            return Ok(Named::Tls(match one.life {
                Life::Next | Life::Current => Step::Compromise,
                Life::Retiring | Life::Retired | Life::Compromised => {
                    Step::CompromiseOne(one.number)
                }
            }));
        }
        let one = self.find(key)?;
        Ok(Named::Keys(Lost::One(one.purpose, one.fingerprint())))
    }
}

fn names(keys: &[KeyRecord], named: &str) -> String {
    let names: Vec<String> = keys.iter().map(KeyRecord::name).collect();
    match names.as_slice() {
        [] => named.to_owned(),
        names => names.join(", "),
    }
}

fn told(purpose: Purpose, emergency: &Emergency) -> Vec<String> {
    let (old, now) = (names(&emergency.old, ""), emergency.now.name());
    let signs = if emergency.switched {
        "from now on"
    } else {
        "as before"
    };
    let signed = emergency
        .old
        .iter()
        .any(|one| one.signs_since_unix.is_some());
    let mut did = vec![match purpose {
        Purpose::UserCa | Purpose::HostCa => format!(
            "revoked as a whole, durably: {old}; nothing that was signed with it counts, and {now} signs {signs}"
        ),
        Purpose::Fleet => format!(
            "{now} signs {signs}; deleted here: {old}; what it says of a successor leads nobody on who goes by {now}"
        ),
    }];
    did.push(match (purpose, emergency.switched) {
        (Purpose::UserCa | Purpose::HostCa, false) if !signed => {
            "nothing was signed with it yet, so nobody has to renew".to_owned()
        }
        (Purpose::UserCa, _) => "every employee's certificate by it is refused where this arrives; `ca-client renew` (or the next \
                                 renewal by itself) gives them another one"
            .to_owned(),
        (Purpose::HostCa, _) => "machines get host certificates by the key that signs; employees' ssh accepts them after \
                                 `ca-client renew`, and refuses the old ones"
            .to_owned(),
        (Purpose::Fleet, true) => "no machine can be told by the CA: each goes by the old key, and refuses the new one's word, until an admin has \
                                   logged in there. For each machine, the most exposed first: `bootstrap add-machine NAME --resync`. Until then \
                                   it takes no revocation, and whoever has both the old key and a way to the machine commands it"
            .to_owned(),
        (Purpose::Fleet, false) if emergency.exposed.is_empty() => {
            format!("every machine goes by {now}: none believes what the lost one signs")
        }
        (Purpose::Fleet, false) => format!(
            "a machine that does not go by {now} yet is led on the moment it is reached, but whoever has the lost key may be there before: for each \
             of these, before you trust it again: `bootstrap add-machine NAME --resync`"
        ),
    });
    for why in &emergency.left {
        did.push(format!(
            "its private half could NOT be deleted here; the next start of the server tries again ({why})"
        ));
    }
    did
}
