//! Everything about a certificate but its nonce and its signature, fixed before anybody signs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ssh_key::{
    certificate::{Builder, CertType},
    public::KeyData,
};

use super::{KeyId, Serial, Subject, options};
use crate::{Conditions, MachineName, Order, Principals, check::MAX_CEILING_SECS, rules};

/// The length of a certificate's nonce.
pub const NONCE_BYTES: usize = 32;

/// The longest life of a probe or canary certificate.
pub const PROBE_LIFETIME_MAX_SECS: u64 = 24 * 3600;

/// The longest life of a host certificate: never "forever" (I7).
pub const HOST_LIFETIME_MAX_SECS: u64 = 5 * 366 * 24 * 3600;

/// Everything about one certificate but its nonce and its signature.
///
/// Made only from what was decided: [`Blueprint::of`] an order, [`Blueprint::probe`] for the CA's own proofs,
/// [`Blueprint::host`] for a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blueprint {
    serial: Serial,
    key_id: KeyId,
    subject: Subject,
    bearer: Bearer,
    /// What was decided, where policy did.
    conditions: Option<Conditions>,
    valid_after_unix_secs: u64,
    valid_before_unix_secs: u64,
    critical_options: BTreeMap<String, String>,
    extensions: BTreeMap<String, String>,
}

/// Who the certificate speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bearer {
    User(Principals),
    Host(BTreeSet<String>),
}

/// A certificate that must not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlueprintError {
    /// The conditions demand a security key, and the key is none.
    #[error("this certificate is for a security key (an sk- key) only, and the key is none")]
    PlainKey,
    /// A probe needs a probe's or a canary's key ID.
    #[error("{0} is not the key ID of a probe or canary")]
    NotAProbe(KeyId),
    /// A probe opens accounts of the CA only.
    #[error("a probe or canary may carry principals of ssh-ca-… accounts only, not {0}")]
    NotOurAccount(crate::Principal),
    /// It would end before it begins, or live too long.
    #[error(
        "a certificate from {valid_after_unix_secs} to {valid_before_unix_secs} (Unix time) must last at least 1 s and at most {max_secs} s"
    )]
    Lifetime {
        /// The first second.
        valid_after_unix_secs: u64,
        /// The second after the last.
        valid_before_unix_secs: u64,
        /// The longest life of this kind of certificate.
        max_secs: u64,
    },
    /// A host certificate names 1 to 256 hosts.
    #[error("a host certificate names 1 to 256 hosts, not {0}")]
    HostCount(usize),
    /// Neither a host name nor an IP address.
    #[error("{0:?} is neither a lower-case host name nor an IP address")]
    HostName(String),
}

impl Blueprint {
    /// The certificate that `order` decided, for `subject`.
    ///
    /// # Errors
    /// A key that is no security key, where the conditions demand one.
    pub fn of(order: &Order, serial: Serial, subject: &Subject) -> Result<Self, BlueprintError> {
        if !order.conditions().key.allows(subject.kind()) {
            return Err(BlueprintError::PlainKey);
        }
        Ok(Self {
            serial,
            key_id: order.key_id().clone(),
            subject: subject.clone(),
            bearer: Bearer::User(order.principals().clone()),
            conditions: Some(order.conditions().clone()),
            valid_after_unix_secs: order.valid_after_unix_secs(),
            valid_before_unix_secs: order.valid_before_unix_secs(),
            critical_options: options::critical_options(order.conditions()),
            extensions: options::extensions(order.conditions()),
        })
    }

    /// A certificate of the CA's own, to prove that a machine accepts the right one and refuses a revoked one. It has no extensions.
    ///
    /// # Errors
    /// Another kind of key ID, an account that is not the CA's, or a life over [`PROBE_LIFETIME_MAX_SECS`].
    pub fn probe(
        serial: Serial,
        key_id: KeyId,
        subject: &Subject,
        principals: Principals,
        valid_after_unix_secs: u64,
        valid_before_unix_secs: u64,
    ) -> Result<Self, BlueprintError> {
        match key_id {
            KeyId::Probe(_) | KeyId::Canary(_) => {}
            KeyId::Employee { .. } | KeyId::Host(_) => {
                return Err(BlueprintError::NotAProbe(key_id));
            }
        }
        if let Some(foreign) = principals
            .iter()
            .find(|principal| !rules::is_ca_account(&principal.account))
        {
            return Err(BlueprintError::NotOurAccount(foreign.clone()));
        }
        lifetime(
            valid_after_unix_secs,
            valid_before_unix_secs,
            PROBE_LIFETIME_MAX_SECS,
        )?;
        Ok(Self {
            serial,
            key_id,
            subject: subject.clone(),
            bearer: Bearer::User(principals),
            conditions: None,
            valid_after_unix_secs,
            valid_before_unix_secs,
            critical_options: BTreeMap::new(),
            extensions: BTreeMap::new(),
        })
    }

    /// A machine's host certificate for `names`: host names and IP addresses without port, as people type them.
    ///
    /// # Errors
    /// No name or more than 256, a malformed one, or a life over [`HOST_LIFETIME_MAX_SECS`].
    pub fn host(
        serial: Serial,
        machine: &MachineName,
        subject: &Subject,
        names: BTreeSet<String>,
        valid_after_unix_secs: u64,
        valid_before_unix_secs: u64,
    ) -> Result<Self, BlueprintError> {
        if !(1..=crate::MAX_PRINCIPALS).contains(&names.len()) {
            return Err(BlueprintError::HostCount(names.len()));
        }
        if let Some(bad) = names.iter().find(|name| !is_host(name)) {
            return Err(BlueprintError::HostName(bad.clone()));
        }
        lifetime(
            valid_after_unix_secs,
            valid_before_unix_secs,
            HOST_LIFETIME_MAX_SECS,
        )?;
        Ok(Self {
            serial,
            key_id: KeyId::Host(machine.clone()),
            subject: subject.clone(),
            bearer: Bearer::Host(names),
            conditions: None,
            valid_after_unix_secs,
            valid_before_unix_secs,
            critical_options: BTreeMap::new(),
            extensions: BTreeMap::new(),
        })
    }

    /// A builder that holds all of it; whoever has the CA key calls `sign` on it.
    ///
    /// `nonce` must be random: it keeps anybody from choosing all the bytes that the CA signs.
    #[must_use]
    pub fn build(&self, nonce: [u8; NONCE_BYTES]) -> Builder {
        self.try_build(nonce)
            .expect("times are far below 2^63 and every field is set once")
    }

    fn try_build(&self, nonce: [u8; NONCE_BYTES]) -> ssh_key::Result<Builder> {
        let mut builder = Builder::new(
            nonce,
            self.subject.key_data().clone(),
            self.valid_after_unix_secs,
            self.valid_before_unix_secs,
        )?;
        builder
            .serial(self.serial.number())?
            .cert_type(self.cert_type())?
            .key_id(self.key_id.to_string())?
            .comment(self.comment())?;
        for principal in self.principals() {
            builder.valid_principal(principal)?;
        }
        for (name, value) in &self.critical_options {
            builder.critical_option(name, value)?;
        }
        for (name, value) in &self.extensions {
            builder.extension(name, value)?;
        }
        Ok(builder)
    }

    /// The serial.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Whose it is.
    #[must_use]
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// The key that is certified.
    #[must_use]
    pub fn subject(&self) -> &KeyData {
        self.subject.key_data()
    }

    /// User or host.
    #[must_use]
    pub fn cert_type(&self) -> CertType {
        match self.bearer {
            Bearer::User(_) => CertType::User,
            Bearer::Host(_) => CertType::Host,
        }
    }

    /// The principals or host names as the certificate lists them: sorted, 1 to 256.
    #[must_use]
    pub fn principals(&self) -> Vec<String> {
        match &self.bearer {
            Bearer::User(principals) => principals.iter().map(ToString::to_string).collect(),
            Bearer::Host(names) => names.iter().cloned().collect(),
        }
    }

    /// The first second in which it is valid.
    #[must_use]
    pub fn valid_after_unix_secs(&self) -> u64 {
        self.valid_after_unix_secs
    }

    /// The first second in which it is valid no more.
    #[must_use]
    pub fn valid_before_unix_secs(&self) -> u64 {
        self.valid_before_unix_secs
    }

    /// The conditions of the order; `None` for what policy does not decide: probes and hosts.
    #[must_use]
    pub fn conditions(&self) -> Option<&Conditions> {
        self.conditions.as_ref()
    }

    /// `force-command`, `source-address` and `verify-required`, where the conditions have them.
    #[must_use]
    pub fn critical_options(&self) -> &BTreeMap<String, String> {
        &self.critical_options
    }

    /// The extensions, each without a value.
    #[must_use]
    pub fn extensions(&self) -> &BTreeMap<String, String> {
        &self.extensions
    }

    /// The comment behind the certificate's text, for people; it is not signed.
    #[must_use]
    pub fn comment(&self) -> String {
        self.key_id.to_string()
    }

    /// The longest life that this kind of certificate may have, back-dating included.
    pub(super) fn lifetime_max_secs(&self) -> u64 {
        match self.key_id {
            KeyId::Employee { .. } => MAX_CEILING_SECS + crate::BACKDATE_SECS,
            KeyId::Probe(_) | KeyId::Canary(_) => PROBE_LIFETIME_MAX_SECS,
            KeyId::Host(_) => HOST_LIFETIME_MAX_SECS,
        }
    }
}

/// Whether `name` may stand in a host certificate.
pub(super) fn is_host(name: &str) -> bool {
    let address = name
        .parse::<IpAddr>()
        .is_ok_and(|address| address.to_string() == name);
    address || name.parse::<MachineName>().is_ok()
}

fn lifetime(after: u64, before: u64, max_secs: u64) -> Result<(), BlueprintError> {
    let fits = before.checked_sub(after).is_some_and(|secs| (1..=max_secs).contains(&secs))
        // ssh-key reads times up to 2^63−1.
        && i64::try_from(before).is_ok();
    fits.then_some(()).ok_or(BlueprintError::Lifetime {
        valid_after_unix_secs: after,
        valid_before_unix_secs: before,
        max_secs,
    })
}
