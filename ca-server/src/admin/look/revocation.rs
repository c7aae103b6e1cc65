//! The KRL and certificates as the commands show them.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::{
    ApiError, ErrorCode,
    admin::{AdminReply, CertificateView, KrlEntryView, KrlJudgement, KrlView, MachineBehind},
};
use policies::Email;
use ssh_key::Certificate;

use super::{Reply, failed, view};
use crate::{
    admin::{parse, unknown},
    ca::Ca,
    fleet::{pull::NOT_REPORTED, standing::Standing},
    ledger,
    records::{CertificateRecord, CertificateState, RevocationRecord, Revoked, number},
    revoke::krl,
    store::{KeyRange, Read, ReadError, Table},
};

pub async fn krl(ca: &Ca) -> Reply {
    let record = krl::current(ca).await.map_err(krl_failed)?;
    let (view, _) = view(ca)?;
    let mut entries: Vec<KrlEntryView> = view
        .scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)
        .map_err(failed)?
        .into_iter()
        .map(|(_, entry)| KrlEntryView {
            what: entry.what.describe(),
            at_unix: entry.at_unix,
            until_unix: entry.until_unix,
            reason: entry.reason,
        })
        .collect();
    entries.reverse();
    let standing = Standing::read(&view, ca.clock.now().unix_timestamp()).map_err(failed)?;
    let behind: Vec<MachineBehind> = standing
        .without_krl()
        .map(|stand| MachineBehind {
            machine: stand.machine.to_string(),
            krl_version: stand.seen.krl_version,
            last_seen_unix: stand.seen.last_seen_unix,
            trouble: if stand.seen.trouble.is_empty() && !stand.pushed_to {
                NOT_REPORTED.to_owned()
            } else {
                stand.seen.trouble.clone()
            },
            exposed_until_unix: stand.exposed_until_unix,
        })
        .collect();
    let bytes = STANDARD.decode(&record.krl).unwrap_or_default().len();
    Ok(AdminReply::Krl(KrlView {
        version: record.version,
        built_unix: record.built_unix,
        bytes,
        entries,
        machines_current: standing.machines.len() - behind.len(),
        machines: standing.machines.len(),
        behind,
    }))
}

fn krl_failed(error: krl::KrlError) -> ApiError {
    tracing::error!(%error, "the KRL could not be built");
    ApiError::new(ErrorCode::Unavailable, error.to_string())
}

pub async fn krl_file(ca: &Ca) -> Reply {
    let record = krl::current(ca).await.map_err(krl_failed)?;
    Ok(AdminReply::KrlFile(record.krl))
}

/// What OpenSSH itself says of a certificate with the KRL in force.
pub async fn krl_check(ca: &Ca, certificate: &str) -> Reply {
    let parsed = Certificate::from_openssh(certificate)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "this is not an OpenSSH certificate"))?;
    let record = krl::current(ca).await.map_err(krl_failed)?;
    let failed = |error: std::io::Error| {
        ApiError::new(
            ErrorCode::Unavailable,
            format!("the check cannot be run: {error}"),
        )
    };
    let dir = tempfile::tempdir().map_err(failed)?;
    let (list, file) = (dir.path().join("krl"), dir.path().join("id-cert.pub"));
    std::fs::write(&list, STANDARD.decode(&record.krl).unwrap_or_default()).map_err(failed)?;
    std::fs::write(&file, certificate).map_err(failed)?;
    let says = krl::openssh_says(&list, &file).map_err(failed)?;
    let revoked = says.ok_or_else(|| {
        ApiError::new(
            ErrorCode::Unavailable,
            "OpenSSH cannot read the KRL in force",
        )
    })?;
    Ok(AdminReply::KrlJudged(KrlJudgement {
        serial: parsed.serial(),
        key_id: parsed.key_id().to_owned(),
        revoked,
        krl_version: record.version,
    }))
}

pub fn certificates(ca: &Ca, employee: Option<&str>, live: bool) -> Reply {
    let email: Option<Email> = employee.map(parse).transpose()?;
    let (view, compiled) = view(ca)?;
    if let Some(email) = &email
        && !compiled.policy.employees.contains_key(email)
    {
        return Err(unknown("employee", email, "employee"));
    }
    let now = ca.clock.now().unix_timestamp();
    let revoked = Revocations::read(&view).map_err(failed)?;
    let mut all = Vec::new();
    for (key, record) in view
        .scan_json::<CertificateRecord>(Table::Certificates, &KeyRange::all(), usize::MAX)
        .map_err(failed)?
    {
        let holder = record
            .key_id
            .rsplit_once('/')
            .map_or("", |(holder, _)| holder);
        // The CA's own canaries open nothing and are asked for by serial alone.
        let theirs = match &email {
            Some(email) => holder == email.as_str(),
            None => record.kind != ledger::CertificateKind::Canary,
        };
        if theirs && (!live || record.is_live(now)) {
            let serial = number(Table::Certificates, &key).map_err(failed)?;
            all.push(revoked.view(serial, record));
        }
    }
    all.sort_by_key(|certificate| (certificate.valid_after_unix, certificate.serial));
    Ok(AdminReply::Certificates(all))
}

pub fn certificate(ca: &Ca, serial: u64) -> Reply {
    let (view, _) = view(ca)?;
    let record: Option<CertificateRecord> = view
        .get_json(Table::Certificates, &serial.to_be_bytes())
        .map_err(failed)?;
    let record = record.ok_or_else(|| unknown("certificate with serial", serial, "cert"))?;
    let revoked = Revocations::read(&view).map_err(failed)?;
    Ok(AdminReply::Certificate(revoked.view(serial, record)))
}

/// What is revoked, for looking certificates up.
pub struct Revocations(BTreeSet<Revoked>);

impl Revocations {
    /// As it stands.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn read<R: Read>(view: &R) -> Result<Self, ReadError> {
        let all =
            view.scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)?;
        Ok(Self(
            all.into_iter().map(|(_, record)| record.what).collect(),
        ))
    }

    /// Is this certificate revoked, in whatever way?
    pub fn contains(&self, serial: u64, record: &CertificateRecord) -> bool {
        let by_serial = Revoked::Serial {
            ca: record.ca.clone(),
            serial,
        };
        let earlier = |what: &Revoked| matches!(what, Revoked::Earlier { ca, last } if *ca == record.ca && serial <= *last);
        self.0.contains(&by_serial)
            || self.0.iter().any(earlier)
            || self.0.contains(&Revoked::KeyId(record.key_id.clone()))
            || self.0.contains(&Revoked::Key(record.subject.clone()))
    }

    /// As the commands show it.
    pub fn view(&self, serial: u64, record: CertificateRecord) -> CertificateView {
        let revoked = self.contains(serial, &record);
        CertificateView {
            serial,
            key_id: record.key_id,
            key: record.subject,
            principals: record.principals,
            valid_after_unix: i64::try_from(record.valid_after_unix).unwrap_or(i64::MAX),
            valid_before_unix: i64::try_from(record.valid_before_unix).unwrap_or(i64::MAX),
            state: match record.state {
                CertificateState::Intent => "intent",
                CertificateState::Issued => "issued",
                CertificateState::Failed => "failed",
            }
            .to_owned(),
            revoked,
        }
    }
}
