//! TLS identities for the test's CA.

use std::sync::Arc;

use ca_client::trust::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// A TLS identity: chain and key, and the fingerprints of CA and leaf.
pub struct Tls {
    pub config: Arc<ServerConfig>,
    pub fingerprint: String,
    pub leaf_fingerprint: String,
}

pub fn tls(names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Tls {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let leaf_key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .unwrap();
    adjust(&mut leaf);
    let leaf = leaf
        .signed_by(&leaf_key, &Issuer::from_params(&ca, &ca_key))
        .unwrap();
    let chain: Vec<CertificateDer<'static>> =
        vec![leaf.der().clone(), ca_certificate.der().clone()];
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            chain,
            PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Tls {
        config: Arc::new(config),
        fingerprint: Fingerprint::of(ca_certificate.der()).to_string(),
        leaf_fingerprint: Fingerprint::of(leaf.der()).to_string(),
    }
}
