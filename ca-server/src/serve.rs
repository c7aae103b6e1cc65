//! `ca-server serve`: opens the data folder, starts every part, and ends them in order.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ca_api::Secret;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::{Mutex, Notify, watch},
};

use crate::{
    admin::{Admin, checkup, machine::remove},
    auth::{
        flood::Floods,
        nonce::Nonces,
        password::{Breached, HashError, Hasher},
    },
    ca::{Ca, Clock, unix_ms},
    cli::{args::ServeArgs, passphrase},
    clock,
    config::{Config, ConfigError},
    fleet::{agent::SyncAgent, keeper, leaving::UnderWay},
    folder::{Folder, FolderError, Others, check_outside},
    http,
    issue::Rehearsal,
    keys::{Fixed, KeyRoom, KeysError},
    ledger::{Actor, Event},
    records::{PolicyCache, RevokedKeys, RevokedSerials},
    recovery,
    revoke::krl,
    session::decoy::Decoy,
    store::{Db, OpenError, ReadError, RedbBackend},
    tls::room::{ReplaceError, TlsRoom},
};

/// How often the TLS leaf is made anew, well within its 90 days.
const LEAF_EVERY: Duration = Duration::from_secs(24 * 3600);

/// The server cannot start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The passphrase.
    #[error(transparent)]
    Passphrase(#[from] passphrase::PassphraseError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] ReplaceError),
    /// The store's file.
    #[error(transparent)]
    File(#[from] crate::store::FileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store came from a backup that is not this CA's.
    #[error(transparent)]
    Origin(#[from] recovery::OriginError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Argon2's parameters.
    #[error("the password hash cannot be set up: {0}")]
    Hash(#[from] HashError),
    /// The list of breached passwords.
    #[error("the list of breached passwords {path} cannot be opened: {source}")]
    Breached {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The port.
    #[error(
        "cannot listen on {address}: {source}; is another server running there? Choose another with --listen"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The admin socket.
    #[error("cannot make the admin socket {path}: {source}")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operating system.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The store stopped: nothing durable can be promised any more (S1).
    #[error("the store stopped, and so did the server: {0}; look at the disk, then start it again")]
    Stopped(String),
}

/// Opens a data folder with its passphrase.
///
/// # Errors
/// See [`ServeError`]; nothing is changed then.
pub fn open(folder: &Folder, config: Config, passphrase: &Secret) -> Result<Ca, ServeError> {
    let clock = Clock::default();
    // Before the store is opened: a wrong passphrase changes nothing at all.
    let fixed = Fixed::open(folder, passphrase)?;
    let db = Db::open(Arc::new(RedbBackend::open(&folder.store())?))?;
    // Before anything is done that the store, or a file which came with it, asks for: keys are found, put aside and deleted by
    // what it says, and whoever made it up would choose.
    recovery::check_origin(
        &db.snapshot()?,
        fixed.ledger.public_key(),
        &folder.root().join("keys"),
    )?;
    clock::watch::begin(&clock, &db)?;
    let now = clock.now().unix_timestamp();
    let key_room = KeyRoom::with(folder, passphrase, &db, now, fixed.into())?;
    let keys = key_room.keys();
    let tls = TlsRoom::open(folder, &config, Arc::clone(&keys.seal), &db, clock.now())?;
    let breached = config
        .breached_passwords
        .as_ref()
        .map(|path| {
            Breached::open(path).map_err(|source| ServeError::Breached {
                path: path.clone(),
                source,
            })
        })
        .transpose()?;
    Ok(Ca {
        db,
        decoy: Decoy::new(&keys),
        key_room,
        hasher: Hasher::new(config.argon2)?,
        breached,
        config,
        nonces: Nonces::new(),
        floods: Floods::default(),
        leaving: UnderWay::default(),
        policy: PolicyCache::default(),
        revoked_keys: RevokedKeys::default(),
        revoked_serials: RevokedSerials::default(),
        rehearsal: Rehearsal::new(),
        clock,
        tls,
        fleet_changed: Arc::new(Notify::new()),
        publishing: Mutex::new(()),
    })
}

/// Runs the server until SIGTERM or SIGINT, then lets requests in flight finish.
///
/// # Errors
/// See [`ServeError`].
pub fn run(args: &ServeArgs) -> Result<(), ServeError> {
    harden();
    start_log();
    let folder = Folder::open(&args.data)?;
    if let Some(elsewhere) = &args.config {
        // Whoever can write it decides where passwords go.
        check_outside(elsewhere, Others::Read)?;
    }
    let mut config = Config::read(args.config.as_ref().unwrap_or(&folder.config()))?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    // The port is taken before anybody types a passphrase for nothing.
    let listener =
        std::net::TcpListener::bind(config.listen).map_err(|source| ServeError::Listen {
            address: config.listen,
            source,
        })?;
    listener.set_nonblocking(true).map_err(system("listen"))?;
    if let Ok(bound) = listener.local_addr() {
        config.listen = bound;
    }
    let passphrase = passphrase::read(&args.passphrase, passphrase::Purpose::Unlock)?;
    let ca = open(&folder, config, &passphrase)?;
    drop(passphrase);
    runtime.block_on(serve(&folder, ca, listener))
}

async fn serve(folder: &Folder, ca: Ca, listener: std::net::TcpListener) -> Result<(), ServeError> {
    let ca = Arc::new(ca);
    let listener = TcpListener::from_std(listener).map_err(system("listen"))?;
    let agent = Arc::new(
        SyncAgent::start(Arc::clone(&ca.keys().sync)).map_err(system("start the sync agent"))?,
    );
    let socket_path = folder.socket();
    let socket = admin_socket(&socket_path)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for signals"))?;

    note(
        &ca,
        Event::ServerStarted {
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
    )
    .await?;
    // Before anybody is let in: what the clock rests on is in the store.
    clock::watch::look(&ca)
        .await
        .map_err(|error| ServeError::Stopped(error.to_string()))?;
    // The first KRL stands before the first machine asks for one.
    if let Err(error) = krl::current(&ca).await {
        tracing::error!(%error, "the KRL could not be built; the last one stays in force");
    }
    let (stop, stopped) = watch::channel(false);
    let admin = Arc::new(Admin::new(Arc::clone(&ca), Arc::clone(&agent)));
    let courier = Arc::clone(admin.courier());
    let router = http::router(Arc::clone(&ca), admin);
    let proxies = ca.config.trusted_proxies.clone();
    let doors = [
        tokio::spawn(http::accept::https(
            listener,
            ca.tls.shown(),
            router.clone(),
            proxies,
            http::accept::Deadlines::default(),
            stopped.clone(),
        )),
        tokio::spawn(http::accept::socket(socket, router, stopped.clone())),
        tokio::spawn(keeper::keep(
            Arc::clone(&ca),
            Arc::clone(&courier),
            stopped.clone(),
        )),
        tokio::spawn(clock::watch::keep(Arc::clone(&ca), stopped.clone())),
        tokio::spawn(checkup::keep(
            Arc::clone(&ca),
            Arc::clone(&agent),
            courier,
            stopped.clone(),
        )),
        tokio::spawn(remove::keep(
            Arc::clone(&ca),
            Arc::clone(&agent),
            stopped.clone(),
        )),
    ];
    let leaves = tokio::spawn(renew_leaf(Arc::clone(&ca)));
    tracing::info!(url = ca.config.url(), listen = %ca.config.listen, "serving");

    let reason = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = store_stopped(&ca) => "the store stopped",
    };
    tracing::info!(reason, "stopping; requests in flight may finish");
    stop.send_replace(true);
    for door in doors {
        drop(door.await);
    }
    leaves.abort();
    drop(std::fs::remove_file(&socket_path));
    if let Some(cause) = ca.db.stopped() {
        return Err(ServeError::Stopped(cause.to_string()));
    }
    note(
        &ca,
        Event::ServerStopped {
            reason: reason.to_owned(),
        },
    )
    .await
}

async fn note(ca: &Ca, event: Event) -> Result<(), ServeError> {
    let at = unix_ms(ca.clock.now());
    ca.db
        .write_async(move |txn| {
            txn.record(at, &Actor::Server, &event);
            Ok::<_, ReadError>(())
        })
        .await
        .map_err(|error| ServeError::Stopped(error.to_string()))
}

/// Ends when the store takes no more writes.
async fn store_stopped(ca: &Ca) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if ca.db.stopped().is_some() {
            return;
        }
    }
}

async fn renew_leaf(ca: Arc<Ca>) {
    loop {
        tokio::time::sleep(LEAF_EVERY).await;
        if let Err(error) = ca.tls.renew(ca.clock.now()) {
            tracing::error!(%error, "the TLS certificate could not be renewed; the last one stays");
        }
    }
}

/// A socket that only this user can open (0600): made under another name and moved into place, so that it is never
/// there with a wider mode.
fn admin_socket(path: &std::path::Path) -> Result<UnixListener, ServeError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |source| ServeError::Socket {
        path: path.to_owned(),
        source,
    };
    let fresh = path.with_extension("new");
    drop(std::fs::remove_file(&fresh));
    let listener = UnixListener::bind(&fresh).map_err(failed)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)?;
    Ok(listener)
}

/// No core file may ever hold a key (K1), and nothing this process makes is for others (S6).
pub fn harden() {
    use nix::sys::resource::{Resource, setrlimit};
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 0, 0) {
        eprintln!("ca-server: core files could not be switched off: {error}");
    }
    if let Err(error) = nix::sys::prctl::set_dumpable(false) {
        eprintln!("ca-server: this process can still be dumped: {error}");
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        // A library tells each socket that it opens; whoever runs the server did not ask.
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,ssh_agent_lib=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false);
    // A second subscriber in one process (tests) is no reason to fail.
    drop(log.try_init());
}

fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> ServeError {
    move |source| ServeError::System { action, source }
}
