//! TLS identities for the test's CA.

use std::sync::Arc;

use ca_client::trust::Fingerprint;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// A TLS identity: chain and key, and the fingerprints of CA and leaf.
pub struct Tls {
    pub config: Arc<ServerConfig>,
    pub fingerprint: String,
    pub leaf_fingerprint: String,
    pub ca: Authority,
}

/// A TLS CA.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pub pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            params,
            key,
        }
    }

    /// Its key, signed by `elder`.
    pub fn signed_by(&self, elder: &Self) -> CertificateDer<'static> {
        let issuer = Issuer::from_params(&elder.params, &elder.key);
        let cross = self.params.signed_by(&self.key, &issuer).unwrap();
        cross.der().clone()
    }

    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }
}

pub fn tls(names: &[&str], adjust: impl FnOnce(&mut CertificateParams)) -> Tls {
    of(Authority::new("a CA"), names, Vec::new(), adjust)
}

/// A leaf of this CA for 127.0.0.1, and `more` behind the two in what the server presents.
pub fn of_ca(ca: Authority, more: Vec<CertificateDer<'static>>) -> Tls {
    of(ca, &["127.0.0.1"], more, |_| {})
}

fn of(
    ca: Authority,
    names: &[&str],
    more: Vec<CertificateDer<'static>>,
    adjust: impl FnOnce(&mut CertificateParams),
) -> Tls {
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
        .signed_by(&leaf_key, &Issuer::from_params(&ca.params, &ca.key))
        .unwrap();
    let chain: Vec<CertificateDer<'static>> = [leaf.der().clone(), ca.certificate()]
        .into_iter()
        .chain(more)
        .collect();
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
        fingerprint: Fingerprint::of(&ca.certificate).to_string(),
        leaf_fingerprint: Fingerprint::of(leaf.der()).to_string(),
        ca,
    }
}
