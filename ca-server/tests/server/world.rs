//! A CA of its own for each test: keys made once a process, a store of its own on disk, doors on loopback, a clock to shift.

#[path = "world/keys.rs"]
mod keys;
#[path = "world/people.rs"]
mod people;
#[path = "world/wire.rs"]
mod wire;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use ca_api::Secret;
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
    store::{Backend, Db, FaultyBackend, RedbBackend},
    tls::room::TlsRoom,
};
use tokio::sync::watch;

pub use self::{keys::*, people::*, wire::*};

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

/// How far a clock is ahead, in seconds. The two clocks are read one after the other: cut off instead of rounded, each restart would
/// take a second away, and a code of before it could be asked for again.
fn ahead(clock: &Clock) -> i64 {
    let ahead = clock.now() - time::OffsetDateTime::now_utc();
    ahead.as_seconds_f64().round() as i64
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
        ahead(&self.ca.clock)
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
        let ahead = ahead(&ca.clock);
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
}
