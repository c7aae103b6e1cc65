//! rustls's verifier for a pinned certificate: decides inside the handshake, before a byte of a request is sent.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Fingerprint, Pinned};

/// No certificate that the server presented is the pinned one, nor issued by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate that the server presented has the pinned fingerprint")]
pub struct PinMismatch;

/// Why the server is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Another server, another CA, or somebody in between.
    #[error("its certificate is not the one that was pinned, nor issued by it")]
    NotPinned,
    /// The certificate is for other names.
    #[error("its certificate is not for that name")]
    WrongName,
    /// The certificate, or this computer's clock, is past it.
    #[error("its certificate has expired (or this computer's clock is wrong)")]
    Expired,
    /// The certificate is not valid yet, or this computer's clock is behind.
    #[error("its certificate is not valid yet (or this computer's clock is wrong)")]
    NotValidYet,
    /// Something else in TLS: no TLS 1.3, a broken handshake.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
}

impl TrustError {
    /// What a failed handshake means; `None` when it was the network.
    pub(crate) fn from_handshake(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match error {
            Error::InvalidCertificate(reason) => match reason {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::NotPinned,
                CertificateError::Other(OtherError(inner)) if inner.is::<PinMismatch>() => {
                    Self::NotPinned
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotValidYet
                }
                other => Self::Handshake(other.to_string()),
            },
            other => Self::Handshake(other.to_string()),
        })
    }
}

/// What the presented chain is held against.
#[derive(Debug)]
enum Against {
    Fingerprint(Fingerprint),
    Certificate(CertificateDer<'static>),
}

/// Believes a server whose chain leads to one certificate.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    against: Against,
    provider: Arc<CryptoProvider>,
    believed: Mutex<Option<Believed>>,
}

/// A server that was believed: by which certificate, and what it presented.
#[derive(Debug)]
struct Believed {
    by: CertificateDer<'static>,
    leaf: CertificateDer<'static>,
    name: ServerName<'static>,
    at: UnixTime,
}

impl PinVerifier {
    /// For setup: the certificate is looked for in the presented chain by its fingerprint.
    pub(crate) fn by_fingerprint(fingerprint: Fingerprint) -> Self {
        Self::new(Against::Fingerprint(fingerprint))
    }

    /// For everything after: the stored certificate.
    pub(crate) fn by_certificate(pinned: &Pinned) -> Self {
        Self::new(Against::Certificate(pinned.certificate().clone()))
    }

    fn new(against: Against) -> Self {
        Self {
            against,
            provider: Arc::new(ring::default_provider()),
            believed: Mutex::new(None),
        }
    }

    /// The certificate that was believed, after a handshake.
    pub(crate) fn found(&self) -> Option<Pinned> {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed
            .as_ref()
            .map(|believed| Pinned::new(believed.by.clone()))
    }

    /// Whether `successor` itself signed the certificate of the server that was believed last. With what [`Self::found`] names, that makes
    /// two that vouch for one server: the key of the pinned certificate has vouched for the successor's.
    pub(crate) fn also_led_to(&self, successor: &Pinned) -> bool {
        let believed = self.believed.lock().unwrap_or_else(PoisonError::into_inner);
        believed.as_ref().is_some_and(|believed| {
            let root = successor.certificate();
            *root != believed.leaf
                && self
                    .verify_chain(root, &believed.leaf, &[], &believed.name, &[], believed.at)
                    .is_ok()
        })
    }

    /// Lets webpki build a path from the leaf to `root`.
    fn verify_chain(
        &self,
        root: &CertificateDer<'static>,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let webpki = WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(&self.provider),
        )
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
        webpki.verify_server_cert(leaf, intermediates, name, ocsp, now)
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = match &self.against {
            Against::Certificate(certificate) => certificate.clone(),
            Against::Fingerprint(fingerprint) => std::iter::once(leaf)
                .chain(intermediates)
                .find(|certificate| Fingerprint::of(certificate) == *fingerprint)
                .map(|certificate| certificate.clone().into_owned())
                .ok_or_else(|| {
                    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(
                        PinMismatch,
                    ))))
                })?,
        };
        let checked = self.verify_chain(&pinned, leaf, intermediates, name, ocsp, now);
        if &pinned == leaf {
            // The very certificate is pinned: it needs no issuer, but its dates and its name still count. webpki looks at
            // the dates before it looks for an issuer, so any other complaint means that they are in order.
            if let Err(
                error @ Error::InvalidCertificate(
                    CertificateError::Expired
                    | CertificateError::ExpiredContext { .. }
                    | CertificateError::NotValidYet
                    | CertificateError::NotValidYetContext { .. },
                ),
            ) = checked
            {
                return Err(error);
            }
            verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
        } else {
            checked?;
        }
        *self.believed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Believed {
            by: pinned,
            leaf: leaf.clone().into_owned(),
            name: name.to_owned(),
            at: now,
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only TLS 1.3 is spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// TLS 1.3 only, HTTP/1.1, and `verifier` alone decides.
pub(crate) fn client_config(verifier: Arc<PinVerifier>) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&verifier.provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("ring has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
