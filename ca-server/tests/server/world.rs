//! A CA of its own for each test: keys made once a process, a store of its own on disk, doors on loopback, a clock to shift.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use ca_api::{
    ApiError, Issued, Secret,
    admin::{AdminEvent, AdminReply, AdminRequest, EmployeeView},
    proof,
};
use ca_server::{
    admin::Admin,
    auth::{nonce::Nonces, password::Hasher},
    ca::{Ca, Clock},
    config::{Argon2Config, Config},
    fleet::agent::SyncAgent,
    folder::Folder,
    http::{self, accept},
    init,
    issue::Rehearsal,
    keys::{Fixed, KeyRecord, KeyRoom, Opened, Place, Purpose, record},
    ledger::Actor,
    records::{PolicyCache, RevokedKeys},
    revoke::krl,
    store::{Backend, Db, FaultyBackend, RedbBackend},
    tls::room::TlsRoom,
};
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use rand_core::OsRng;
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use ssh_key::{Algorithm, Certificate, HashAlg, LineEnding, PrivateKey};
use tokio::{net::TcpStream, sync::watch};
use totp_rs::{Builder, Secret as TotpSecret};

/// Opens the keys of every world.
pub const PASSPHRASE: &str = "a passphrase for tests";

/// What every world starts from.
pub struct Template {
    store: Vec<u8>,
    /// What lies beside it, by name.
    files: Vec<(String, Vec<u8>)>,
    keys: Opened,
    passphrase: Secret,
    lives: Vec<KeyRecord>,
    #[allow(dead_code, reason = "the benches tell it to their clients")]
    pub tls_ca: Vec<u8>,
}

pub fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("ca");
        let passphrase = Secret::new(PASSPHRASE.to_owned());
        let names = vec!["127.0.0.1".to_owned()];
        let now = time::OffsetDateTime::now_utc();
        init::create(&data, names.clone(), &passphrase, now).unwrap();
        let folder = Folder::open(&data).unwrap();
        let db = Db::open(Arc::new(RedbBackend::open(&folder.store()).unwrap())).unwrap();
        let room = KeyRoom::open(&folder, &passphrase, &db, now.unix_timestamp()).unwrap();
        let lives = record::all(&db.snapshot().unwrap()).unwrap();
        drop(db);
        let pem = std::fs::read(folder.tls("ca.pem")).unwrap();
        let mut files = vec!["config.toml".to_owned()];
        for sub in ["keys", "tls"] {
            let names = folder.list(sub).unwrap();
            files.extend(names.iter().map(|name| format!("{sub}/{name}")));
        }
        Template {
            files: files
                .into_iter()
                .map(|name| (name.clone(), folder.read(&name).unwrap()))
                .collect(),
            store: std::fs::read(folder.store()).unwrap(),
            tls_ca: pem,
            keys: room.share(),
            lives,
            passphrase,
        }
    })
}

/// A client that trusts this TLS CA and nothing else.
pub fn trusting(ca_pem: &[u8]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// Argon2 as cheap as it gets.
pub const CHEAP: Argon2Config = Argon2Config {
    memory_kib: 64,
    passes: 1,
    parallel: 4,
};

/// A running CA.
pub struct World {
    pub ca: Arc<Ca>,
    pub admin: Arc<Admin>,
    pub faults: Arc<FaultyBackend>,
    pub address: SocketAddr,
    pub router: Router,
    pub client: Arc<rustls::ClientConfig>,
    pub folder: tempfile::TempDir,
    stop: watch::Sender<bool>,
    doors: tokio::task::JoinHandle<()>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub bytes: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn issued(&self) -> Issued {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Somebody who enrolled.
#[derive(Clone)]
pub struct Person {
    pub email: String,
    pub password: String,
    pub totp: Vec<u8>,
    pub key: PrivateKey,
}

/// A day session as its owner holds it.
#[derive(Clone)]
pub struct Session {
    pub id: String,
    pub secret: String,
    pub ends_unix: i64,
    pub key: PrivateKey,
    pub issued: Issued,
}

impl World {
    pub async fn new() -> Self {
        Self::with(CHEAP).await
    }

    pub async fn with(argon2: Argon2Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.redb");
        std::fs::write(&store, &template().store).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self::on_disk(folder, argon2, Clock::default()).await
    }

    /// A CA of its own, with keys in these places; those that are not named are in files.
    pub async fn with_keys(places: BTreeMap<Purpose, Place>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("ca");
        let names = vec!["127.0.0.1".to_owned()];
        let now = time::OffsetDateTime::now_utc();
        init::create_in(&data, names, &template().passphrase, &places, now).unwrap();
        std::fs::rename(data.join("store.redb"), folder.path().join("store.redb")).unwrap();
        Self::on_disk(folder, CHEAP, Clock::default()).await
    }

    /// A store in memory: for benches that want to know what the disk costs.
    #[allow(dead_code, reason = "the benches use it")]
    pub async fn in_memory(argon2: Argon2Config) -> Self {
        use ca_server::{
            ledger::{CaId, Event},
            records::{CA, CaRecord, LIMITS},
            store::{MemoryBackend, ReadError, Table},
        };
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let db = Db::create(Arc::clone(&backend), CaId([7; 16])).unwrap();
        let lives = template().lives.clone();
        db.write(move |txn| {
            let record = CaRecord {
                instance_epoch: 1_800_000_000,
                next_uid: 60_001,
                next_grant: 1,
                next_revocation: 1,
            };
            txn.put_json(Table::Meta, CA, &record);
            txn.put_json(Table::Limits, LIMITS, &policies::Limits::default());
            for record in &lives {
                record::put(txn, record);
            }
            let version = "a bench".to_owned();
            txn.record(0, &Actor::Server, &Event::ServerStarted { version });
            Ok::<_, ReadError>(())
        })
        .unwrap();
        drop(db);
        let folder = tempfile::tempdir().unwrap();
        Self::over(folder, backend, argon2, Clock::default()).await
    }

    async fn on_disk(folder: tempfile::TempDir, argon2: Argon2Config, clock: Clock) -> Self {
        let backend = RedbBackend::open(&folder.path().join("store.redb")).unwrap();
        Self::over(folder, Arc::new(backend), argon2, clock).await
    }

    async fn over(
        folder: tempfile::TempDir,
        backend: Arc<dyn Backend>,
        argon2: Argon2Config,
        clock: Clock,
    ) -> Self {
        let template = template();
        let faults = Arc::new(FaultyBackend::new(backend));
        let mut config = Config::new(vec!["127.0.0.1".to_owned()]);
        config.argon2 = argon2;
        let db = Db::open(Arc::clone(&faults) as _).unwrap();
        // Keys of later generations are made here; the first ones are open already.
        let home = folder.path().join("ca");
        let home = Folder::open(&home).unwrap_or_else(|_| {
            let made = Folder::create(&home).unwrap();
            for (name, bytes) in &template.files {
                made.write(name, bytes).unwrap();
            }
            made.seal().unwrap();
            made
        });
        // A folder with keys of its own has others than the template's.
        let opened = if home.key("seal").exists() {
            Fixed::open(&home, &template.passphrase).unwrap().into()
        } else {
            template.keys.clone()
        };
        let now = clock.now().unix_timestamp();
        let key_room = KeyRoom::with(&home, &template.passphrase, &db, now, opened).unwrap();
        let seal = Arc::clone(&key_room.keys().seal);
        // The clients' clock is not shifted.
        let real = time::OffsetDateTime::now_utc();
        let tls = TlsRoom::open(&home, &config, seal, &db, real).unwrap();
        let shown = tls.shown();
        let ca = Arc::new(Ca {
            db,
            decoy: ca_server::session::decoy::Decoy::new(&key_room.keys()),
            key_room,
            hasher: Hasher::new(config.argon2).unwrap(),
            breached: None,
            config,
            nonces: Nonces::new(),
            floods: ca_server::auth::flood::Floods::default(),
            leaving: Default::default(),
            policy: PolicyCache::default(),
            revoked_keys: RevokedKeys::default(),
            revoked_serials: Default::default(),
            rehearsal: Rehearsal::new(),
            clock,
            tls,
            fleet_changed: Arc::default(),
            publishing: tokio::sync::Mutex::new(()),
        });
        let agent = Arc::new(SyncAgent::start(Arc::clone(&ca.keys().sync)).unwrap());
        let admin = Arc::new(Admin::new(Arc::clone(&ca), agent));
        let router = http::router(Arc::clone(&ca), Arc::clone(&admin));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let doors = tokio::spawn(accept::https(
            listener,
            shown,
            router.clone(),
            Vec::new(),
            // No test but those of the deadlines themselves may run into one, however slow the machine is.
            accept::Deadlines {
                handshake: Duration::from_secs(120),
                headers: Duration::from_secs(120),
                body: Duration::from_secs(120),
            },
            stopped,
        ));
        Self {
            ca,
            admin,
            faults,
            address,
            router,
            // A folder with keys of its own has a TLS CA of its own.
            client: trusting(&std::fs::read(home.tls("ca.pem")).unwrap()),
            folder,
            stop,
            doors,
        }
    }

    /// A CA whose data folder is `ca` in this one, with a clock that is ahead.
    pub async fn open(folder: tempfile::TempDir, ahead_secs: i64) -> Self {
        let clock = Clock::default();
        clock.shift(ahead_secs);
        let backend = RedbBackend::open(&folder.path().join("ca/store.redb")).unwrap();
        Self::over(folder, Arc::new(backend), CHEAP, clock).await
    }

    /// How far the clock is ahead, in seconds.
    pub fn ahead(&self) -> i64 {
        (self.ca.clock.now() - time::OffsetDateTime::now_utc()).whole_seconds()
    }

    /// Ends the server and starts it again over the same store; the clock goes on.
    pub async fn restart(self) -> Self {
        let Self {
            ca,
            admin,
            faults,
            router,
            folder,
            stop,
            doors,
            ..
        } = self;
        let ahead = (ca.clock.now() - time::OffsetDateTime::now_utc()).whole_seconds();
        let argon2 = ca.config.argon2;
        stop.send_replace(true);
        drop(doors.await);
        drop((router, admin));
        // Whoever still holds the CA holds the store's file open: spawned commands may need a moment to end.
        let mut ca = Some(ca);
        for _ in 0..12_000 {
            match Arc::try_unwrap(ca.take().unwrap()) {
                Ok(last) => {
                    drop(last);
                    break;
                }
                Err(shared) => {
                    ca = Some(shared);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        assert!(ca.is_none(), "somebody still holds the CA");
        drop(faults);
        let clock = Clock::default();
        clock.shift(ahead);
        Self::on_disk(folder, argon2, clock).await
    }

    pub fn now(&self) -> i64 {
        self.ca.clock.now().unix_timestamp()
    }

    /// An admin command, over the console.
    pub async fn command(&self, request: AdminRequest) -> Result<AdminReply, ApiError> {
        let (events, mut received) = tokio::sync::mpsc::channel(1024);
        let drain = tokio::spawn(async move { while received.recv().await.is_some() {} });
        let reply = self
            .admin
            .run(Actor::Console { uid: 0 }, request, &events)
            .await;
        drop(events);
        drain.await.unwrap();
        reply.map(over_the_wire)
    }

    /// The same, written as JSON.
    pub async fn verb(&self, request: Value) -> Result<AdminReply, ApiError> {
        self.command(serde_json::from_value(request).unwrap()).await
    }

    pub async fn pool(&self, pool: &str) {
        self.verb(json!({"verb": "pool_add", "pool": pool}))
            .await
            .unwrap();
    }

    /// Invites somebody; returns the code.
    pub async fn invite(&self, email: &str, pools: &[&str], admin: bool) -> String {
        let reply = self
            .verb(json!({"verb": "employee_add", "email": email, "pools": pools, "admin": admin}))
            .await
            .unwrap();
        code_of(reply)
    }

    /// Invites and enrols somebody with their own account on `pools`.
    pub async fn employee(&self, email: &str, pools: &[&str]) -> Person {
        let code = self.invite(email, pools, false).await;
        self.enrol(email, &code).await
    }

    pub async fn an_admin(&self, email: &str, pools: &[&str]) -> Person {
        let code = self.invite(email, pools, true).await;
        self.enrol(email, &code).await
    }

    pub async fn enrol(&self, email: &str, code: &str) -> Person {
        let started = self.post("/v1/enrol/start", &json!({"code": code})).await;
        assert_eq!(started.status, 200, "{}", started.text());
        let text = started.json()["totp_secret"].as_str().unwrap().to_owned();
        let totp = data_encoding::BASE32_NOPAD.decode(text.as_bytes()).unwrap();
        let person = Person {
            email: email.to_owned(),
            password: format!("wobbly-lantern-eats-41-figs-{}", email.len()),
            totp,
            key: ed25519(),
        };
        let finish = json!({
            "code": code, "password": person.password, "totp": self.fresh_code(&person),
        });
        let finished = self.post("/v1/enrol/finish", &finish).await;
        assert_eq!(finished.status, 200, "{}", finished.text());
        person
    }

    /// The code that the authenticator shows now.
    pub fn code(&self, person: &Person) -> String {
        code_at(&person.totp, self.now())
    }

    /// A code of a step that was never used: time goes on.
    pub fn fresh_code(&self, person: &Person) -> String {
        self.ca.clock.shift(31);
        self.code(person)
    }

    /// A whole and right login request, with the code of a step that was never used: time goes on.
    pub async fn login_body(&self, person: &Person) -> Value {
        self.ca.clock.shift(31);
        self.login_body_now(person).await
    }

    /// The same with the code that the authenticator shows now.
    pub async fn login_body_now(&self, person: &Person) -> Value {
        let totp = self.code(person);
        let nonce = self.nonce().await;
        let ca_id = self.ca.keys().ca_id();
        let message = proof::login_message(&ca_id, &nonce, &person.email, &blob(&person.key));
        json!({
            "email": person.email,
            "password": person.password,
            "totp": totp,
            "public_key": person.key.public_key().to_openssh().unwrap(),
            "nonce": nonce,
            "proof": sshsig(&person.key, proof::LOGIN_NAMESPACE, &message),
        })
    }

    pub async fn try_login(&self, person: &Person) -> Answer {
        let body = self.login_body(person).await;
        self.post("/v1/login", &body).await
    }

    pub async fn login(&self, person: &Person) -> Session {
        let issued = self.try_login(person).await.issued();
        let grant = issued.session.clone().unwrap();
        Session {
            id: grant.id,
            secret: grant.secret.expose().to_owned(),
            ends_unix: grant.ends_unix,
            key: person.key.clone(),
            issued,
        }
    }

    /// A whole and right renewal request.
    pub async fn renew_body(&self, session: &Session) -> Value {
        let nonce = self.nonce().await;
        self.renew_with(session, &nonce)
    }

    pub fn renew_with(&self, session: &Session, nonce: &str) -> Value {
        let ca_id = self.ca.keys().ca_id();
        let message = proof::renew_message(&ca_id, nonce, &session.id, &blob(&session.key));
        json!({
            "session_id": session.id,
            "session_secret": session.secret,
            "nonce": nonce,
            "proof": sshsig(&session.key, proof::RENEW_NAMESPACE, &message),
        })
    }

    pub async fn renew(&self, session: &Session) -> Answer {
        let body = self.renew_body(session).await;
        self.post("/v1/renew", &body).await
    }

    pub async fn nonce(&self) -> String {
        self.ca.nonces.issue(self.now())
    }

    pub async fn admin_token(&self, admin: &Person) -> String {
        let body = json!({
            "email": admin.email, "password": admin.password, "totp": self.fresh_code(admin),
        });
        let answer = self.post("/v1/admin/login", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    pub async fn connect(&self) -> SendRequest<Full<Bytes>> {
        connect(self.address, &self.client).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string().into()).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let mut connection = self.connect().await;
        send(&mut connection, method, path, headers, body).await
    }

    /// The KRL in force, as the server builds it.
    pub async fn krl(&self) -> Vec<u8> {
        use base64::Engine as _;
        let record = krl::current(&self.ca).await.unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(record.krl)
            .unwrap()
    }

    /// Whether OpenSSH finds each of the certificates revoked by the KRL in force.
    pub async fn revoked(&self, certificates: &[String]) -> Vec<bool> {
        let list = self.krl().await;
        certificates
            .iter()
            .map(|text| keygen_says(&list, text))
            .collect()
    }

    pub async fn show(&self, email: &str) -> EmployeeView {
        match self
            .verb(json!({"verb": "employee_show", "email": email}))
            .await
        {
            Ok(AdminReply::Employee(view)) => view,
            other => panic!("{other:?}"),
        }
    }

    /// The newest ledger entries, oldest first, as `event: detail`.
    pub async fn ledger(&self, last: u64) -> Vec<ca_api::admin::LedgerLine> {
        match self.verb(json!({"verb": "audit_list", "last": last})).await {
            Ok(AdminReply::Ledger(lines)) => lines,
            other => panic!("{other:?}"),
        }
    }
}

/// An answer as a client has it: written as a line of JSON, and read again.
fn over_the_wire(reply: AdminReply) -> AdminReply {
    let event = AdminEvent::Done {
        reply: Box::new(reply),
    };
    let line: Value = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
    match serde_json::from_value(line).unwrap() {
        AdminEvent::Done { reply } => *reply,
        other => panic!("{other:?}"),
    }
}

pub fn code_of(reply: AdminReply) -> String {
    match reply {
        AdminReply::Invited(invitation) => invitation.code.expose().to_owned(),
        other => panic!("{other:?}"),
    }
}

pub async fn connect(
    address: SocketAddr,
    client: &Arc<rustls::ClientConfig>,
) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::clone(client))
        .connect(ServerName::try_from("127.0.0.1").unwrap(), stream)
        .await
        .unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// One request over a connection; status 0 if the server cut it.
pub async fn send(
    connection: &mut SendRequest<Full<Bytes>>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).unwrap();
    let cut = |what: String| Answer {
        status: 0,
        headers: Vec::new(),
        bytes: what.into(),
    };
    let response = match connection.send_request(request).await {
        Ok(response) => response,
        Err(error) => return cut(error.to_string()),
    };
    let status = response.status().as_u16();
    let headers = response
        .headers()
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                value.to_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    match response.into_body().collect().await {
        Ok(body) => Answer {
            status,
            headers,
            bytes: body.to_bytes(),
        },
        Err(error) => cut(error.to_string()),
    }
}

pub fn ed25519() -> PrivateKey {
    PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap()
}

pub fn blob(key: &PrivateKey) -> String {
    let text = key.public_key().to_openssh().unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}

pub fn sshsig(key: &PrivateKey, namespace: &str, message: &[u8]) -> String {
    key.sign(namespace, HashAlg::Sha512, message)
        .unwrap()
        .to_pem(LineEnding::LF)
        .unwrap()
}

pub fn code_at(secret: &[u8], unix: i64) -> String {
    let totp = Builder::new()
        .with_secret(TotpSecret::new(secret.to_vec().into_boxed_slice()))
        .with_account_name("a@b")
        .with_issuer(Some("ssh-ca"))
        .build()
        .unwrap();
    totp.generate(u64::try_from(unix).unwrap()).to_string()
}

pub fn certificate(text: &str) -> Certificate {
    Certificate::from_openssh(text).unwrap()
}

/// What `ssh-keygen -Q` says: the word decides, and an unreadable list is an error, not an answer.
pub fn keygen_says(list: &[u8], certificate: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (krl, file) = (dir.path().join("krl"), dir.path().join("id-cert.pub"));
    std::fs::write(&krl, list).unwrap();
    std::fs::write(&file, certificate).unwrap();
    let out = keygen(&krl, &file);
    let words = String::from_utf8_lossy(&out.stdout).into_owned();
    match (
        out.status.code(),
        words.trim_end().ends_with(": REVOKED"),
        words.trim_end().ends_with(": ok"),
    ) {
        (Some(1), true, false) => true,
        (Some(0), false, true) => false,
        _ => panic!(
            "ssh-keygen: {:?} {words} {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        ),
    }
}

fn keygen(krl: &Path, file: &Path) -> std::process::Output {
    Command::new("ssh-keygen")
        .env("LC_ALL", "C")
        .args(["-Q", "-f"])
        .arg(krl)
        .arg(file)
        .output()
        .unwrap()
}
