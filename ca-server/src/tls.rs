//! The server's own TLS: a CA made at `init`, whose fingerprint employees pin, and a leaf made at each start.
//!
//! When the CA is replaced, the old one signs the new one's key as well (a cross-certificate). While the old one retires the server sends
//! `leaf, new CA signed by the old one, new CA, old CA`: whoever pinned either of them finds a path. The order matters to those that try no
//! second one: OpenSSL stops at the first issuer that it finds, so it must not be a CA that signed itself.

pub mod lives;
pub mod room;

use std::{fs, path::Path, sync::Arc};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use crate::{
    folder::{Folder, FolderError},
    keys::Seal,
};

/// How long the CA certificate is valid: employees pin it, so it outlives every machine.
const CA_LIFETIME: Duration = Duration::days(20 * 365);

/// How long a leaf is valid; a server that runs longer makes a new one in time ([`Tls::leaf`]).
const LEAF_LIFETIME: Duration = Duration::days(90);

const SEALED_FOR: &str = "tls ca key";

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Making a certificate failed.
    #[error("cannot make the TLS certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The sealed key does not open.
    #[error("the TLS CA's key does not open with this CA's keys: was tls/ca.key replaced?")]
    Sealed,
    /// rustls refuses the certificate.
    #[error("the TLS certificate is not usable: {0}")]
    Rustls(#[from] rustls::Error),
    /// An operator's own certificate cannot be read.
    #[error("cannot read the TLS certificate {path}: {why}")]
    Own {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// The server's TLS CA.
pub struct Tls {
    number: u32,
    ca: CertificateDer<'static>,
    key: KeyPair,
    /// For those who pinned a CA before this one, the newest first.
    bridge: Vec<Span>,
}

/// What leads from a CA to the one after it.
#[derive(Clone)]
struct Span {
    /// The key of the one after it, signed by the elder.
    cross: CertificateDer<'static>,
    /// The CA before it.
    elder: CertificateDer<'static>,
}

/// Which generations of the TLS CA count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The one that signs.
    pub current: u32,
    /// Those before it that employees may still have pinned, the newest first.
    pub retiring: Vec<u32>,
}

impl Default for Line {
    /// That of a new CA.
    fn default() -> Self {
        Self {
            current: 1,
            retiring: Vec::new(),
        }
    }
}

impl Tls {
    /// Makes the first TLS CA: the certificate as PEM, its key sealed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Folder, seal: &Seal, now: OffsetDateTime) -> Result<Self, TlsError> {
        Self::make(folder, seal, 1, now)
    }

    /// Makes the TLS CA of this generation, vouched for by nobody. It is on the disk when this returns, and counts as nothing until the
    /// store names it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(
        folder: &Folder,
        seal: &Seal,
        number: u32,
        now: OffsetDateTime,
    ) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = ca_params(number);
        params.not_before = now - Duration::hours(1);
        params.not_after = now + CA_LIFETIME;
        let certificate = params.self_signed(&key)?;
        folder.write(&path(number, "pem"), certificate.pem().as_bytes())?;
        let sealed = seal.seal(SEALED_FOR, &key.serialize_der());
        folder.write(&path(number, "key"), sealed.as_bytes())?;
        Ok(Self {
            number,
            ca: certificate.der().clone(),
            key,
            bridge: Vec::new(),
        })
    }

    /// Makes the TLS CA that takes this one's place, and signs its key with this one's.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make_successor(
        &self,
        folder: &Folder,
        seal: &Seal,
        number: u32,
        now: OffsetDateTime,
    ) -> Result<Self, TlsError> {
        let mut successor = Self::make(folder, seal, number, now)?;
        let mut params = ca_params(number);
        params.not_before = now - Duration::hours(1);
        params.not_after = now + CA_LIFETIME;
        let own = ca_params(self.number);
        let cross = params.signed_by(&successor.key, &Issuer::from_params(&own, &self.key))?;
        folder.write(&path(number, "cross.pem"), cross.pem().as_bytes())?;
        let span = Span {
            cross: cross.der().clone(),
            elder: self.ca.clone(),
        };
        successor.bridge = std::iter::once(span)
            .chain(self.bridge.iter().cloned())
            .collect();
        Ok(successor)
    }

    /// Opens what was made before.
    ///
    /// # Errors
    /// When a file is missing or was not made by this CA.
    pub fn open(folder: &Folder, seal: &Seal, line: &Line) -> Result<Self, TlsError> {
        let sealed = String::from_utf8(folder.read(&path(line.current, "key"))?)
            .map_err(|_| TlsError::Sealed)?;
        let der = seal
            .open(SEALED_FOR, sealed.trim())
            .ok_or(TlsError::Sealed)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(der.as_slice()),
            &PKCS_ECDSA_P256_SHA256,
        )?;
        let mut bridge = Vec::new();
        let mut younger = line.current;
        for elder in &line.retiring {
            bridge.push(Span {
                cross: certificate(folder, &path(younger, "cross.pem"))?,
                elder: certificate(folder, &path(*elder, "pem"))?,
            });
            younger = *elder;
        }
        Ok(Self {
            number: line.current,
            ca: certificate(folder, &path(line.current, "pem"))?,
            key,
            bridge,
        })
    }

    /// The same without those before it: who has pinned one of them finds no path any more.
    #[must_use]
    pub fn alone(self) -> Self {
        Self {
            bridge: Vec::new(),
            ..self
        }
    }

    /// Its certificate as PEM, while it is taking the place of another: what a client that pinned that one is to learn.
    #[must_use]
    pub fn announced(&self) -> Option<String> {
        (!self.bridge.is_empty()).then(|| self.newest())
    }

    /// Its certificate as PEM.
    #[must_use]
    pub fn newest(&self) -> String {
        to_pem(&self.ca)
    }

    /// The CA certificate and those before it that count still, PEM: what machines that fetch check this server with. With all of them they
    /// find a path at every moment of a replacement, whatever builds it.
    #[must_use]
    pub fn pem(&self) -> String {
        let elders = self.bridge.iter().map(|span| &span.elder);
        std::iter::once(&self.ca)
            .chain(elders)
            .map(to_pem)
            .collect()
    }

    /// What employees pin: `SHA256:` and the unpadded base64 of the SHA-256 of the CA certificate (DER).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.ca)
    }

    /// A rustls configuration (TLS 1.3 only) with a fresh leaf for `names` (host names and IP addresses).
    ///
    /// # Errors
    /// When a name is not one.
    pub fn leaf(
        &self,
        names: &[String],
        now: OffsetDateTime,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "ssh-ca server");
        params.not_before = now - Duration::hours(1);
        params.not_after = now + LEAF_LIFETIME;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let ca = ca_params(self.number);
        let leaf = params.signed_by(&key, &Issuer::from_params(&ca, &self.key))?;
        let crosses = self.bridge.iter().map(|span| &span.cross);
        let elders = self.bridge.iter().map(|span| &span.elder);
        let chain = std::iter::once(leaf.der())
            .chain(crosses)
            .chain([&self.ca])
            .chain(elders)
            .cloned();
        server_config(
            chain.collect(),
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
    }
}

/// Deletes the private half of a generation that signs no more.
///
/// # Errors
/// When it stays.
pub(crate) fn forget(folder: &Folder, number: u32) -> Result<(), TlsError> {
    Ok(folder.remove(&path(number, "key"))?)
}

/// The file of a generation: the first has no number.
fn path(number: u32, ending: &str) -> String {
    match number {
        1 => format!("tls/ca.{ending}"),
        number => format!("tls/ca.{number}.{ending}"),
    }
}

fn certificate(folder: &Folder, path: &str) -> Result<CertificateDer<'static>, TlsError> {
    let pem = folder.read(path)?;
    CertificateDer::from_pem_slice(&pem).map_err(|error| TlsError::Own {
        path: folder.root().join(path).display().to_string(),
        why: error.to_string(),
    })
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A rustls configuration with an operator's own certificate chain and key (PEM files).
///
/// # Errors
/// When a file cannot be read, is not PEM, or the two do not fit.
pub fn own(chain: &Path, key: &Path) -> Result<(Arc<ServerConfig>, String), TlsError> {
    let unreadable = |path: &Path, why: String| TlsError::Own {
        path: path.display().to_string(),
        why,
    };
    let pem = fs::read(chain).map_err(|error| unreadable(chain, error.to_string()))?;
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| unreadable(chain, error.to_string()))?;
    let last = certificates
        .last()
        .ok_or_else(|| unreadable(chain, "it holds no certificate".to_owned()))?;
    let print = fingerprint(last);
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error.to_string()))?;
    Ok((server_config(certificates, key)?, print))
}

/// `SHA256:` and the unpadded base64 of the SHA-256 of a certificate's DER.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    format!(
        "SHA256:{}",
        STANDARD_NO_PAD.encode(Sha256::digest(certificate))
    )
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // One ticket is enough for a client that comes back within the hour; each more costs a record in every handshake.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The CA's parameters without its times: what a leaf's issuer needs. Each generation has a name of its own, so that a path is found at once.
fn ca_params(number: u32) -> CertificateParams {
    let name = match number {
        1 => "ssh-ca TLS CA".to_owned(),
        number => format!("ssh-ca TLS CA {number}"),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Below it there may be the cross-certificate of a CA after it.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests;
