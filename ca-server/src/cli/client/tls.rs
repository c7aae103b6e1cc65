//! TLS 1.3 to a server whose CA certificate is pinned by its fingerprint (C2).

use std::{io, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::ClientError;
use crate::cli::args::Url;

/// How long connecting and the handshake may take, each.
const PATIENCE: Duration = Duration::from_secs(10);

/// `SHA256:…` of a certificate (DER), as `init` prints it.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    format!(
        "SHA256:{}",
        STANDARD_NO_PAD.encode(Sha256::digest(certificate))
    )
}

/// Connects, and goes no further than the handshake unless the server's chain leads to the pinned certificate.
///
/// # Errors
/// Not reached, or not the server that was pinned.
pub async fn connect(url: &Url, pinned: &str) -> Result<TlsStream<TcpStream>, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        url: url.to_string(),
        source,
    };
    let refused = |why: String| ClientError::Tls {
        url: url.to_string(),
        why,
    };
    let late = || {
        unreachable(io::Error::new(
            io::ErrorKind::TimedOut,
            "no answer within 10 s",
        ))
    };
    let stream = timeout(PATIENCE, TcpStream::connect((url.host.as_str(), url.port)))
        .await
        .map_err(|_| late())?
        .map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    let name =
        ServerName::try_from(url.host.clone()).map_err(|error| refused(error.to_string()))?;
    let config = config(pinned).map_err(|error| refused(error.to_string()))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    timeout(PATIENCE, handshake)
        .await
        .map_err(|_| late())?
        .map_err(|error| refused(error.to_string()))
}

fn config(pinned: &str) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Pinned {
        fingerprint: pinned.to_owned(),
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}

/// Trusts one CA certificate, which the server sends along and which is known by its hash; everything else (chain,
/// names, dates) is rustls's usual verification below that one root.
#[derive(Debug)]
struct Pinned {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let pinned = intermediates
            .iter()
            // A self-signed certificate of the operator's own is leaf and root at once.
            .chain([end_entity])
            .find(|certificate| fingerprint(certificate) == self.fingerprint)
            .ok_or_else(|| {
                let seen = intermediates
                    .last()
                    .map_or_else(|| fingerprint(end_entity), fingerprint);
                Error::General(format!(
                    "its certificates do not lead to {}, but to {seen}",
                    self.fingerprint
                ))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Only TLS 1.3 is offered; a path that cannot be taken refuses.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
