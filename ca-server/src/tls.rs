//! The server's own TLS: a CA made at `init`, whose fingerprint employees pin, and a leaf made at each start.

use std::{fs, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
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
    ca: CertificateDer<'static>,
    key: KeyPair,
}

impl Tls {
    /// Makes the TLS CA: the certificate as PEM, its key sealed.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Folder, seal: &Seal, now: OffsetDateTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = ca_params();
        params.not_before = now - Duration::hours(1);
        params.not_after = now + CA_LIFETIME;
        let certificate = params.self_signed(&key)?;
        folder.write("tls/ca.pem", certificate.pem().as_bytes())?;
        folder.write(
            "tls/ca.key",
            seal.seal(SEALED_FOR, &key.serialize_der()).as_bytes(),
        )?;
        Ok(Self {
            ca: certificate.der().clone(),
            key,
        })
    }

    /// Opens what [`Tls::create`] made.
    ///
    /// # Errors
    /// When a file is missing or was not made by this CA.
    pub fn open(folder: &Folder, seal: &Seal) -> Result<Self, TlsError> {
        let pem = folder.read("tls/ca.pem")?;
        let ca = CertificateDer::from_pem_slice(&pem).map_err(|error| TlsError::Own {
            path: folder.tls("ca.pem").display().to_string(),
            why: error.to_string(),
        })?;
        let sealed = String::from_utf8(folder.read("tls/ca.key")?).map_err(|_| TlsError::Sealed)?;
        let der = seal
            .open(SEALED_FOR, sealed.trim())
            .ok_or(TlsError::Sealed)?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(
            &PrivatePkcs8KeyDer::from(der.as_slice()),
            &PKCS_ECDSA_P256_SHA256,
        )?;
        Ok(Self { ca, key })
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
        let ca = ca_params();
        let leaf = params.signed_by(&key, &Issuer::from_params(&ca, &self.key))?;
        server_config(
            vec![leaf.der().clone(), self.ca.clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
    }
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

/// The CA's parameters without its times: what a leaf's issuer needs.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "ssh-ca TLS CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
