//! A CA in a thread: TLS 1.3 by rcgen's certificates, proofs really verified, certificates really signed.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use ca_api::{
    ApiError, Directory, ErrorCode, Issued, LoginEntry, LoginRequest, MachineEntry, Nonce,
    RenewRequest, Secret, ServerInfo, SessionGrant, proof,
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use ssh_key::{
    Algorithm, PrivateKey, PublicKey, SshSig,
    certificate::{Builder, CertType},
    rand_core::OsRng,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_rustls::TlsAcceptor;

use crate::tls::{Tls, tls};

pub const EMAIL: &str = "alice@corp.example";
pub const PASSWORD: &str = "correct horse battery staple";
pub const TOTP: &str = "123456";
pub const SESSION_SECRET: &str = "the-session-secret-of-the-test";

pub fn now() -> i64 {
    i64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs(),
    )
    .unwrap()
}

/// One certificate to sign.
#[derive(Clone)]
pub struct Plan {
    pub principals: Vec<String>,
    pub kind: CertType,
    pub age_secs: i64,
    pub life_secs: i64,
    pub critical: Vec<(String, String)>,
    pub foreign_key: Option<PublicKey>,
    pub signer: Arc<PrivateKey>,
}

/// What the CA says and does; tests change it while it runs.
pub struct Behaviour {
    pub plans: Vec<Plan>,
    pub directory: Directory,
    pub session_secs: i64,
    pub ahead_secs: i64,
    pub delay: Duration,
    pub refuse: Option<ApiError>,
    pub seen: Vec<String>,
    pub renewals: usize,
    pub needs_security_key: usize,
    pub tls_ca: Option<String>,
    nonces: BTreeSet<String>,
    pub key: Option<PublicKey>,
    opened: i64,
}

pub struct Ca {
    pub address: SocketAddr,
    pub fingerprint: String,
    pub leaf_fingerprint: String,
    pub user_ca: Arc<PrivateKey>,
    pub behaviour: Arc<Mutex<Behaviour>>,
    tls: Arc<Mutex<TlsAcceptor>>,
    runtime: Option<Runtime>,
}

pub fn key() -> Arc<PrivateKey> {
    Arc::new(PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap())
}

pub fn text(key: &PrivateKey) -> String {
    key.public_key().to_openssh().unwrap()
}

pub fn machine(name: &str, logins: &[(&str, usize)]) -> MachineEntry {
    MachineEntry {
        name: name.into(),
        address: "127.0.0.1".into(),
        port: 2222,
        pools: vec!["web".into()],
        logins: logins
            .iter()
            .map(|(account, certificate)| LoginEntry {
                account: (*account).into(),
                certificate: *certificate,
            })
            .collect(),
    }
}

impl Ca {
    /// A CA where alice reaches web-1 as alice and deploy with one certificate of eight hours.
    pub fn start() -> Self {
        Self::with_tls(tls(&["127.0.0.1"], |_| {}))
    }

    pub fn with_tls(tls: Tls) -> Self {
        let (user_ca, host_ca) = (key(), key());
        let plan = Plan {
            principals: vec!["alice@web".into(), "deploy@web".into()],
            kind: CertType::User,
            age_secs: 30,
            life_secs: 8 * 3600,
            critical: Vec::new(),
            foreign_key: None,
            signer: Arc::clone(&user_ca),
        };
        let directory = Directory {
            email: EMAIL.into(),
            name: "Alice Example".into(),
            account: "alice".into(),
            machines: vec![machine("web-1", &[("alice", 0), ("deploy", 0)])],
            user_cas: vec![text(&user_ca)],
            host_cas: vec![text(&host_ca)],
            revoked_hosts: Vec::new(),
        };
        let behaviour = Arc::new(Mutex::new(Behaviour {
            plans: vec![plan],
            directory,
            session_secs: 12 * 3600,
            ahead_secs: 0,
            delay: Duration::ZERO,
            refuse: None,
            seen: Vec::new(),
            renewals: 0,
            needs_security_key: 0,
            tls_ca: None,
            nonces: BTreeSet::new(),
            key: None,
            opened: now(),
        }));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let in_force = Arc::new(Mutex::new(TlsAcceptor::from(tls.config)));
        let acceptor = Arc::clone(&in_force);
        let (shared, signer) = (Arc::clone(&behaviour), Arc::clone(&user_ca));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.lock().unwrap().clone();
                let (shared, signer) = (Arc::clone(&shared), Arc::clone(&signer));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&shared), Arc::clone(&signer))
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            fingerprint: tls.fingerprint,
            leaf_fingerprint: tls.leaf_fingerprint,
            user_ca,
            behaviour,
            tls: in_force,
            runtime: Some(runtime),
        }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// From the next connection on it shows these certificates.
    pub fn show(&self, tls: &Tls) {
        *self.tls.lock().unwrap() = TlsAcceptor::from(Arc::clone(&tls.config));
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.behaviour.lock().unwrap());
    }

    pub fn count(&self, path: &str) -> usize {
        self.behaviour
            .lock()
            .unwrap()
            .seen
            .iter()
            .filter(|seen| *seen == path)
            .count()
    }

    /// The CA is down: nobody listens any more.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

impl Drop for Ca {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Mutex<Behaviour>>,
    user_ca: Arc<PrivateKey>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let delay = {
        let mut behaviour = shared.lock().unwrap();
        behaviour.seen.push(path.clone());
        behaviour.delay
    };
    tokio::time::sleep(delay).await;
    let reply = respond(&path, &body, &mut shared.lock().unwrap(), &user_ca);
    let (status, body) = match reply {
        Ok(body) => (200, body),
        Err(error) => (400, serde_json::to_vec(&error).unwrap()),
    };
    Ok(Response::builder()
        .status(status)
        .body(Full::new(body.into()))
        .unwrap())
}

fn ca_id(user_ca: &PrivateKey) -> String {
    user_ca.fingerprint(ssh_key::HashAlg::Sha256).to_string()
}

fn respond(
    path: &str,
    body: &[u8],
    it: &mut Behaviour,
    user_ca: &PrivateKey,
) -> Result<Vec<u8>, ApiError> {
    let json = |value: serde_json::Value| Ok(serde_json::to_vec(&value).unwrap());
    let no = |why: &str| ApiError::new(ErrorCode::Refused, why);
    match path {
        "/v1/ca" => Ok(serde_json::to_vec(&ServerInfo {
            ca_id: ca_id(user_ca),
            version: "test".into(),
            now_unix: now() + it.ahead_secs,
            user_cas: vec![text(user_ca)],
            host_cas: it.directory.host_cas.clone(),
        })
        .unwrap()),
        "/v1/nonce" => {
            let nonce = format!("nonce-{}", it.seen.len());
            it.nonces.insert(nonce.clone());
            Ok(serde_json::to_vec(&Nonce { nonce }).unwrap())
        }
        "/v1/login" => {
            let request: LoginRequest = serde_json::from_slice(body).unwrap();
            if let Some(error) = it.refuse.clone() {
                return Err(error);
            }
            let right = request.email == EMAIL
                && request.password.expose() == PASSWORD
                && request.totp.expose() == TOTP;
            let key = PublicKey::from_openssh(&request.public_key).unwrap();
            let blob = request.public_key.split(' ').nth(1).unwrap();
            let message = proof::login_message(&ca_id(user_ca), &request.nonce, EMAIL, blob);
            if !it.nonces.remove(&request.nonce) {
                return Err(ApiError::new(ErrorCode::BadNonce, "nonce"));
            }
            verify(&key, proof::LOGIN_NAMESPACE, &message, &request.proof)?;
            if !right {
                return Err(no("email, password or code is wrong"));
            }
            it.opened = now();
            it.key = Some(key);
            issue(it, true)
        }
        "/v1/renew" => {
            let request: RenewRequest = serde_json::from_slice(body).unwrap();
            if let Some(error) = it.refuse.clone() {
                return Err(error);
            }
            let key = it.key.clone().ok_or_else(|| no("no session"))?;
            let blob = text_of(&key);
            let message = proof::renew_message(&ca_id(user_ca), &request.nonce, "s-1", &blob);
            if !it.nonces.remove(&request.nonce) {
                return Err(ApiError::new(ErrorCode::BadNonce, "nonce"));
            }
            verify(&key, proof::RENEW_NAMESPACE, &message, &request.proof)?;
            if request.session_secret.expose() != SESSION_SECRET {
                return Err(no("wrong secret"));
            }
            it.renewals += 1;
            issue(it, false)
        }
        "/v1/logout" => json(serde_json::json!({})),
        _ => Err(ApiError::new(ErrorCode::NotFound, "no such door")),
    }
}

fn text_of(key: &PublicKey) -> String {
    key.to_openssh()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned()
}

fn verify(key: &PublicKey, namespace: &str, message: &[u8], proof: &str) -> Result<(), ApiError> {
    let signature = SshSig::from_pem(proof).unwrap();
    key.verify(namespace, message, &signature)
        .map_err(|_| ApiError::new(ErrorCode::Invalid, "the proof does not verify"))
}

fn issue(it: &mut Behaviour, login: bool) -> Result<Vec<u8>, ApiError> {
    let key = it.key.clone().unwrap();
    let server_now = now() + it.ahead_secs;
    let certificates = it
        .plans
        .iter()
        .enumerate()
        .map(|(n, plan)| sign(plan, &key, server_now, n))
        .collect();
    let issued = Issued {
        session: login.then(|| SessionGrant {
            id: "s-1".into(),
            secret: Secret::new(SESSION_SECRET.into()),
            ends_unix: it.opened + it.ahead_secs + it.session_secs,
            device: Secret::new("device-token".into()),
        }),
        certificates,
        directory: Some(it.directory.clone()),
        directory_tag: "tag".into(),
        needs_security_key: it.needs_security_key,
        next_nonce: "unused".into(),
        tls_ca: it.tls_ca.clone(),
        now_unix: server_now,
    };
    Ok(serde_json::to_vec(&issued).unwrap())
}

pub fn sign(plan: &Plan, key: &PublicKey, server_now: i64, serial: usize) -> String {
    let from = u64::try_from(server_now - plan.age_secs).unwrap();
    let until = u64::try_from(server_now - plan.age_secs + plan.life_secs).unwrap();
    let subject = plan.foreign_key.as_ref().unwrap_or(key);
    let mut builder = Builder::new_with_random_nonce(&mut OsRng, subject, from, until).unwrap();
    builder
        .serial(serial as u64 + 1)
        .unwrap()
        .key_id("alice@corp.example/1")
        .unwrap()
        .cert_type(plan.kind)
        .unwrap();
    for principal in &plan.principals {
        builder.valid_principal(principal).unwrap();
    }
    if plan.principals.is_empty() {
        builder.all_principals_valid().unwrap();
    }
    for (name, value) in &plan.critical {
        builder.critical_option(name, value).unwrap();
    }
    builder.extension("permit-pty", "").unwrap();
    builder.comment("from the server\u{1b}[31m").unwrap();
    builder.sign(&*plan.signer).unwrap().to_openssh().unwrap()
}
