//! Revocation as an admin sees it: durable first, then delivered while they watch, then what is proven.

use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminEvent, AdminReply, Revocation, RevokeTarget},
};
use policies::{Email, Status};

use super::{
    Admin, Events,
    change::{ChangeError, api_error, policy_change, store_error},
    employee::{self, End},
    machine::HOST_CERTIFICATE_SECS,
    parse, unknown,
};
use crate::{
    break_glass,
    ca::unix_ms,
    fleet::{
        deliver::Lanes,
        keeper::{Push, push},
    },
    ledger::{Actor, CertificateKind, Event, RevokedWhat},
    records::{
        CANARY, CanaryRecord, CertificateRecord, Revoked, fleet, live_certificates, open_sessions,
    },
    revoke::{self, Because, GRACE_SECS, KEEP_SECS, krl},
    store::{KeyRange, Read, Table},
};

/// What a decision to revoke came to, before it is delivered.
struct Decided {
    what: String,
    live: usize,
    last_expiry_unix: Option<i64>,
    sessions_ended: usize,
    login_closed: bool,
}

impl Admin {
    /// `krl revoke`.
    pub(super) async fn revoke(
        &self,
        actor: Actor,
        target: RevokeTarget,
        keep_login: bool,
        reason: String,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let decided = match target {
            RevokeTarget::Employee(email) => {
                self.revoke_employee(actor, &email, keep_login, reason)
                    .await?
            }
            RevokeTarget::Serial(serial) => self.revoke_serial(actor, serial, reason).await?,
            RevokeTarget::Key(fingerprint) => self.revoke_key(actor, fingerprint, reason).await?,
        };
        self.publish(decided, events).await
    }

    /// `employee suspend` and `employee remove`: the same proof as a revocation.
    pub(super) async fn end_employee(
        &self,
        actor: Actor,
        email: &str,
        end: End,
        reason: String,
        events: &Events,
    ) -> Result<AdminReply, ApiError> {
        let email: Email = parse(email)?;
        let held = self.held(&email)?;
        let ended = employee::end(&self.ca, actor, &email, end, reason).await?;
        let word = match end {
            End::Suspend => "suspended",
            End::Remove { .. } => "removed",
        };
        let decided = Decided {
            what: format!("{email} is {word}; key id {email}/{}", ended.old_epoch),
            sessions_ended: ended.sessions,
            login_closed: true,
            ..held
        };
        self.publish(decided, events).await
    }

    /// What a person holds now.
    fn held(&self, email: &Email) -> Result<Decided, ApiError> {
        let now = self.ca.clock.now().unix_timestamp();
        let (live, sessions) = self
            .ca
            .db
            .read(|view| {
                Ok((
                    live_certificates(view, email, now)?,
                    open_sessions(view, email, now)?.len(),
                ))
            })
            .map_err(|error: crate::store::ReadError| store_error(&error.into()))?;
        Ok(Decided {
            what: String::new(),
            live: live.len(),
            last_expiry_unix: live.iter().map(|(_, record)| end_of(record)).max(),
            sessions_ended: sessions,
            login_closed: false,
        })
    }

    async fn revoke_employee(
        &self,
        actor: Actor,
        email: &str,
        keep_login: bool,
        reason: String,
    ) -> Result<Decided, ApiError> {
        let email: Email = parse(email)?;
        let held = self.held(&email)?;
        let who = email.clone();
        let (ended, closed) = policy_change(&self.ca, actor, move |policy, editing| {
            let because = editing.because(&reason);
            let employee = policy
                .employees
                .get_mut(&who)
                .ok_or_else(|| unknown("employee", &who, "employee"))?;
            let ended = revoke::employee(editing.txn, employee, &because, keep_login)?;
            if !keep_login && matches!(employee.status, Status::Active | Status::Invited) {
                employee.status = Status::Suspended;
                editing.record(&Event::EmployeeSuspended {
                    email: who.clone(),
                    epoch: employee.epoch,
                    reason: reason.clone(),
                });
            }
            Ok((ended, employee.status != Status::Active))
        })
        .await?;
        Ok(Decided {
            what: format!("{email} (key id {email}/{})", ended.old_epoch),
            sessions_ended: ended.sessions,
            login_closed: closed,
            ..held
        })
    }

    async fn revoke_serial(
        &self,
        actor: Actor,
        serial: u64,
        reason: String,
    ) -> Result<Decided, ApiError> {
        let record: Option<CertificateRecord> = self
            .ca
            .db
            .read(|view| view.get_json(Table::Certificates, &serial.to_be_bytes()))
            .map_err(|error: crate::store::ReadError| store_error(&error.into()))?;
        let record = record.ok_or_else(|| unknown("certificate with serial", serial, "cert"))?;
        revocable_by_serial(&record)?;
        let ca_key = record.ca.clone();
        let what = Revoked::Serial { ca: ca_key, serial };
        self.add_entry(
            actor,
            what,
            RevokedWhat::Serials {
                serials: vec![serial],
            },
            reason,
        )
        .await?;
        let live = record.is_live(self.ca.clock.now().unix_timestamp());
        Ok(Decided {
            what: format!("serial {serial} ({})", record.key_id),
            live: usize::from(live),
            last_expiry_unix: live.then(|| end_of(&record)),
            sessions_ended: 0,
            login_closed: false,
        })
    }

    async fn revoke_key(
        &self,
        actor: Actor,
        fingerprint: String,
        reason: String,
    ) -> Result<Decided, ApiError> {
        let parsed: ssh_key::Fingerprint = fingerprint.parse().map_err(|_| {
            ApiError::new(
                ErrorCode::Invalid,
                format!("{fingerprint:?} is not a fingerprint"),
            )
            .hint("write it as `ssh-keygen -l` prints it: SHA256:…")
        })?;
        if !parsed.is_sha256() {
            return Err(ApiError::new(
                ErrorCode::Invalid,
                "only SHA256: fingerprints can be revoked",
            ));
        }
        if self
            .ca
            .keys()
            .own()
            .any(|key| key.fingerprint(ssh_key::HashAlg::Sha256) == parsed)
        {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                "this is one of the CA's own keys: revoking it like this would lock everybody out",
            ));
        }
        let fingerprint = parsed.to_string();
        if self.is_canary(&fingerprint)? {
            return Err(canary());
        }
        let what = Revoked::Key(fingerprint.clone());
        let in_ledger = RevokedWhat::Key {
            fingerprint: fingerprint.clone(),
        };
        self.add_entry(actor, what, in_ledger, reason).await?;
        Ok(Decided {
            what: format!("key {fingerprint}"),
            live: 0,
            last_expiry_unix: None,
            sessions_ended: 0,
            login_closed: false,
        })
    }

    /// Is it the key of a certificate that every KRL is checked with?
    fn is_canary(&self, fingerprint: &str) -> Result<bool, ApiError> {
        let held = self.ca.db.read(|view| {
            let of_each_key = KeyRange::prefix(CANARY.to_vec());
            view.scan_json::<CanaryRecord>(Table::Krl, &of_each_key, usize::MAX)
        });
        let held = held.map_err(|error: crate::store::ReadError| store_error(&error.into()))?;
        Ok(held.into_iter().any(|(_, canary)| {
            ssh_key::Certificate::from_openssh(&canary.certificate).is_ok_and(|certificate| {
                let key = certificate.public_key();
                key.fingerprint(ssh_key::HashAlg::Sha256).to_string() == fingerprint
            })
        }))
    }

    async fn add_entry(
        &self,
        actor: Actor,
        what: Revoked,
        in_ledger: RevokedWhat,
        reason: String,
    ) -> Result<(), ApiError> {
        let at = unix_ms(self.ca.clock.now());
        let keys = self.ca.keys();
        let keep_secs = match &what {
            Revoked::Serial { ca, .. } if keys.host_ca.find(ca).is_some() => {
                HOST_CERTIFICATE_SECS + GRACE_SECS
            }
            _ => KEEP_SECS,
        };
        self.ca
            .db
            .write_async(move |txn| {
                let because = Because {
                    actor: actor.clone(),
                    at_unix_ms: at,
                    reason: reason.clone(),
                    keep_secs,
                };
                if let Revoked::Key(key) = &what
                    && break_glass::record(txn)?
                        .current()
                        .is_some_and(|current| current.fingerprint == *key)
                {
                    return Err(of_break_glass().into());
                }
                revoke::add(txn, what.clone(), &because)?;
                txn.record(
                    at,
                    &actor,
                    &Event::Revoked {
                        what: in_ledger.clone(),
                        entries: vec![what.describe()],
                        reason: reason.clone(),
                        keep_login: true,
                    },
                );
                Ok::<_, ChangeError>(())
            })
            .await
            .map_err(api_error)
    }

    /// `krl push`.
    pub(super) async fn krl_push(&self, events: &Events) -> Result<AdminReply, ApiError> {
        let nothing_new = Decided {
            what: String::new(),
            live: 0,
            last_expiry_unix: None,
            sessions_ended: 0,
            login_closed: false,
        };
        self.publish(nothing_new, events).await
    }

    /// Builds the KRL that carries the decision and brings it to every machine; the answer is what is proven.
    async fn publish(&self, decided: Decided, events: &Events) -> Result<AdminReply, ApiError> {
        let note = |text: String| AdminEvent::Note { text };
        if !decided.what.is_empty() {
            let text = format!("revoked, durably: {}", decided.what);
            drop(events.send(note(text)).await);
        }
        let krl = krl::current(&self.ca).await.map_err(|error| {
            tracing::error!(%error, "the KRL could not be built");
            ApiError::new(
                ErrorCode::Unavailable,
                format!("the decision is durable, but {error}"),
            )
            .hint("login and renewal are refused already; mend this and run `ca-server krl push`")
        })?;
        // One that was prepared and never confirmed may trust this CA already: it is asked too, and not proven until it says.
        let machines = self
            .ca
            .db
            .read(fleet)
            .map_err(|error| store_error(&error.into()))?;
        let what = Push {
            machines: machines.into_iter().map(|(name, _)| name).collect(),
            lanes: Lanes::Krl,
            exposed_until_unix: decided.last_expiry_unix,
        };
        let deliveries = push(&self.courier, &krl, what, Some(events)).await;
        // Whoever was not reached is tried again by the keeper.
        self.ca.fleet_changed.notify_one();
        Ok(AdminReply::Revoked(Revocation {
            what: decided.what,
            krl_version: krl.version,
            live_certificates: decided.live,
            last_expiry_unix: decided.last_expiry_unix,
            sessions_ended: decided.sessions_ended,
            login_closed: decided.login_closed,
            machines: deliveries,
        }))
    }
}

/// A canary that a KRL revokes makes every later KRL fail its check (R5): one entry would end revocation for good.
fn revocable_by_serial(record: &CertificateRecord) -> Result<(), ApiError> {
    match record.kind {
        CertificateKind::User | CertificateKind::Probe | CertificateKind::Host => Ok(()),
        CertificateKind::Canary => Err(canary()),
    }
}

/// The last way in when everything else is lost has a command of its own, on the CA host alone: here, any admin's session would end it
/// everywhere, and `break-glass show` would go on saying that it is there.
fn of_break_glass() -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        "this is the key of the break-glass credentials; nothing was changed",
    )
    .hint("`ca-server break-glass revoke` ends them, on the CA host only")
}

fn canary() -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        "this belongs to the CA's own check of KRLs: revoking it would keep every later KRL from being published; nothing was changed",
    )
}

fn end_of(record: &CertificateRecord) -> i64 {
    i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX)
}
