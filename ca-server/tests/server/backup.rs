//! Backup and restore: what is in an archive, what is refused, and that nothing goes back (S7).

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ca_api::Secret;
use ca_server::{
    backup::{
        BackupError,
        dump::{Include, Source, about, dump},
        lock::{Key, Lock, Locked, lock},
        restore::{self, plain},
        verify,
    },
    keys::{KeyRecord, Life, Purpose, record},
    ledger::{self, Actor, CaId, Event},
    records::{CA, CaRecord, Credentials, FleetRecord, RevocationRecord, Revoked},
    recovery,
    serve::{self, ServeError},
    store::{
        Backend, Batch, CommitError, Db, KeyRange, Mark, Read as _, ReadError, RedbBackend, Table,
        View,
    },
};
use serde_json::json;

use crate::world::{PASSPHRASE, Person, World, certificate, keygen_says};

/// The archive as the server would send it now.
pub fn archive(world: &World, include: Include) -> Vec<u8> {
    let snapshot = world.ca.db.snapshot().unwrap();
    let ledger_key = world.ca.keys().ledger.clone();
    let source = Source {
        snapshot: &snapshot,
        folder: world.ca.key_room.folder(),
        ledger_key: &ledger_key,
        now_unix: world.now(),
        include,
    };
    dump(&source, about(&source).unwrap(), Vec::new()).unwrap()
}

/// A folder where a CA can be put back.
pub fn empty() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    dir
}

fn serials(issued: &ca_api::Issued) -> Vec<u64> {
    issued
        .certificates
        .iter()
        .map(|text| certificate(text).serial())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_a3_after_a_restore_of_yesterdays_backup_nothing_goes_back() {
    const PEOPLE: usize = 20;
    const EACH: usize = 50;
    let world = World::new().await;
    world.pool("web").await;
    let mut people = Vec::new();
    for n in 0..PEOPLE {
        people.push(
            world
                .employee(&format!("p{n}@corp.example"), &["web"])
                .await,
        );
    }
    world.login(&people[0]).await;
    let tar = archive(&world, Include::Keys);
    let backup_epochs = epochs(&world.ca.db);
    let mut used: BTreeSet<u64> = BTreeSet::new();
    let mut certificates = Vec::new();
    let mut last: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for round in 0..EACH {
        for person in &people {
            let body = world.login_body(person).await;
            let issued = world.post("/v1/login", &body).await.issued();
            for serial in serials(&issued) {
                assert!(used.insert(serial), "a serial came twice");
            }
            if round + 1 == EACH {
                certificates.extend(issued.certificates);
            }
            last.insert(person.email.clone(), body);
        }
    }
    assert_eq!(used.len(), PEOPLE * EACH);
    let gone = world
        .verb(json!({"verb": "krl_revoke", "target": {"employee": people[1].email}}))
        .await;
    gone.unwrap();
    let old_krl = ca_server::revoke::krl::current(&world.ca).await.unwrap();
    let newcomer = world.employee("late@corp.example", &["web"]).await;
    let late = world.login(&newcomer).await;
    certificates.extend(late.issued.certificates.clone());
    let old_epoch = instance_epoch(&world.ca.db);
    let (ahead, now) = (world.ahead(), world.ca.clock.now());
    drop(world);

    let root = empty();
    let restored = restore::restore(&tar[..], &root.path().join("ca"), now, &plain).unwrap();
    assert!(restored.instance_epoch > old_epoch);
    let world = World::open(root, ahead).await;
    // At the moment of the restore, however long all this takes.
    world.ca.clock.stop();
    world.ca.clock.shift(now.unix_timestamp() - world.now());
    ledger::verify_all(&world.ca.db.snapshot().unwrap(), &world.ca.db.ca_id()).unwrap();
    // Shut: nobody comes in before an admin has looked, over whatever door.
    for path in ["/v1/login", "/v1/admin/login"] {
        let body = match path {
            "/v1/login" => world.login_body(&people[2]).await,
            _ => {
                json!({"email": people[2].email, "password": people[2].password, "totp": "123456"})
            }
        };
        assert_eq!(
            world.post(path, &body).await.code(),
            "unavailable",
            "{path}"
        );
    }
    let renewed = world.renew_body(&late).await;
    assert_eq!(
        world.post("/v1/renew", &renewed).await.code(),
        "unavailable"
    );
    let code = json!({"code": "3ailg-zpma4-dgsgz-7mjmt-m"});
    assert_eq!(
        world.post("/v1/enrol/start", &code).await.code(),
        "unavailable"
    );
    world
        .verb(json!({"verb": "recovery_finish"}))
        .await
        .unwrap();

    // No code that was accepted before is accepted again, with everything else made anew.
    for person in &people {
        let mut body = world.login_body_now(person).await;
        body["totp"] = last[&person.email]["totp"].clone();
        let answer = world.post("/v1/login", &body).await;
        assert_eq!(answer.code(), "refused", "{}", answer.text());
    }
    // Nor the one that the authenticator shows at the moment of the restore, whoever saw it (and no pause after a refusal is why).
    world.ca.clock.shift(2);
    let body = world.login_body_now(&people[3]).await;
    assert_eq!(world.post("/v1/login", &body).await.code(), "refused");
    world.ca.clock.shift(20 * 60);
    // The newcomer is not known; sessions are over; every epoch is above all that were ever given out.
    assert_eq!(world.try_login(&newcomer).await.code(), "refused");
    let renewed = world.renew_body(&late).await;
    assert_eq!(
        world.post("/v1/renew", &renewed).await.code(),
        "session_over"
    );
    for (email, epoch) in epochs(&world.ca.db) {
        assert!(epoch > backup_epochs[&email] + 1000, "{email}: {epoch}");
    }
    let mut fresh = Vec::new();
    for person in people.iter().take(10) {
        let session = world.login(person).await;
        for serial in serials(&session.issued) {
            assert!(used.insert(serial), "a serial came twice");
            assert!(serial >> 32 >= u64::from(restored.instance_epoch));
        }
        fresh.extend(session.issued.certificates);
    }
    // Every certificate of before is refused, also those that nobody remembers; new ones are not.
    let krl = ca_server::revoke::krl::current(&world.ca).await.unwrap();
    assert!(krl.version > old_krl.version, "R2");
    let list = world.krl().await;
    for certificate in certificates.iter().step_by(5).chain(certificates.last()) {
        assert!(keygen_says(&list, certificate));
    }
    for certificate in &fresh {
        assert!(!keygen_says(&list, certificate));
    }
    // Somebody new with a name that the lost CA gave away gets an epoch above.
    let again = world.employee("late@corp.example", &["web"]).await;
    assert!(epochs(&world.ca.db)[&again.email] >= u64::from(restored.instance_epoch));
    let lines = world.ledger(5000).await;
    for event in ["restored", "instance_epoch_raised", "recovery_finished"] {
        assert!(lines.iter().any(|line| line.event == event), "{event}");
    }
}

fn instance_epoch(db: &Db) -> u32 {
    let record: Option<CaRecord> = db
        .read(|view| view.get_json::<CaRecord>(Table::Meta, CA))
        .unwrap_or_else(|error: ReadError| panic!("{error}"));
    record.unwrap().instance_epoch
}

fn epochs(db: &Db) -> BTreeMap<String, u64> {
    let all = db
        .snapshot()
        .unwrap()
        .scan_json::<policies::Employee>(Table::Employees, &KeyRange::all(), usize::MAX)
        .unwrap();
    all.into_iter()
        .map(|(_, employee)| (employee.email.to_string(), employee.epoch))
        .collect()
}

fn small_world_rows(db: &Db) {
    // Rows of several commits: what is in them is nothing to anybody.
    db.write(|txn| {
        for n in 0..130u32 {
            txn.unrecorded()
                .put(Table::Checks, format!("row-{n:04}"), vec![b'x'; 100_000]);
        }
        Ok::<_, ReadError>(())
    })
    .unwrap();
}

/// A back end that kills this process at a commit.
struct Killer {
    inner: RedbBackend,
    left: AtomicUsize,
    after: bool,
}

impl Backend for Killer {
    fn snapshot(&self) -> Result<Box<dyn View>, ReadError> {
        self.inner.snapshot()
    }
    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError> {
        let die = self.left.fetch_sub(1, Ordering::SeqCst) == 0;
        if die && !self.after {
            kill_myself();
        }
        let result = self.inner.commit(expected, batch);
        if die {
            kill_myself();
        }
        result
    }
    fn reopen(&self) -> Result<(), CommitError> {
        self.inner.reopen()
    }
}

fn kill_myself() {
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// Not a test by itself: what is killed.
#[test]
#[ignore = "run by the test below"]
fn child_that_is_killed() {
    let archive = fs::read(env::var_os("RESTORE_ARCHIVE").unwrap()).unwrap();
    let root = env::var_os("RESTORE_ROOT").unwrap();
    let at: usize = env::var("RESTORE_COMMIT").unwrap().parse().unwrap();
    let now = time::OffsetDateTime::now_utc();
    restore::restore(&archive[..], Path::new(&root), now, &|inner| {
        Arc::new(Killer {
            inner,
            left: AtomicUsize::new(at / 2),
            after: at % 2 == 1,
        })
    })
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_h8_a_restore_that_is_killed_at_any_commit_is_run_again_and_converges() {
    let world = World::new().await;
    world.pool("web").await;
    world.employee("alice@corp.example", &["web"]).await;
    small_world_rows(&world.ca.db);
    let tar = archive(&world, Include::Keys);
    let head = world.ca.db.snapshot().unwrap().head();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    fs::write(&path, &tar).unwrap();
    let mut killed = 0;
    for at in 0.. {
        let root = dir.path().join(format!("ca-{at}"));
        let status = Command::new(env::current_exe().unwrap())
            .args(["--exact", "backup::child_that_is_killed", "--ignored"])
            .env("RESTORE_ARCHIVE", &path)
            .env("RESTORE_ROOT", &root)
            .env("RESTORE_COMMIT", at.to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        if status.success() {
            break;
        }
        killed += 1;
        // What was begun is nobody's.
        let folder = ca_server::folder::Folder::open(&root);
        assert!(folder.is_err(), "killed at {at}, and it counts already");
        let now = time::OffsetDateTime::now_utc();
        let restored = restore::restore(&tar[..], &root, now, &plain).unwrap();
        let db = Db::open(Arc::new(
            RedbBackend::open(&root.join("store.redb")).unwrap(),
        ))
        .unwrap();
        let snapshot = db.snapshot().unwrap();
        ledger::verify_all(&snapshot, &db.ca_id()).unwrap();
        ledger::verify(&snapshot, &head).unwrap();
        assert_eq!(instance_epoch(&db), restored.instance_epoch);
        assert!(recovery::is_shut(&snapshot).unwrap());
        assert!(!root.join("restoring").exists());
        // A second run changes nothing.
        drop((snapshot, db));
        let before = fs::read(root.join("store.redb")).unwrap();
        let again = restore::restore(&tar[..], &root, now, &plain);
        assert!(matches!(again, Err(BackupError::Folder(_))), "{again:?}");
        assert_eq!(fs::read(root.join("store.redb")).unwrap(), before);
    }
    assert!(killed >= 8, "only {killed} commits were cut");
}

/// Reads the archive out of a locked one.
fn opened(locked: &[u8], key: &Key) -> Result<ca_server::backup::archive::Contents, BackupError> {
    verify::locked(Locked::new(locked)?, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_s7_a_backup_that_is_not_whole_is_refused_and_nothing_changes() {
    let world = World::new().await;
    world.pool("web").await;
    world.employee("alice@corp.example", &["web"]).await;
    let tar = archive(&world, Include::PublicOnly);
    let identity = age::x25519::Identity::generate();
    let mut out = lock(&Lock::Recipients(vec![identity.to_public()]), Vec::new()).unwrap();
    out.write_all(&tar).unwrap();
    let locked = out.finish().unwrap();
    let key = Key::Identities(vec![identity]);
    let contents = opened(&locked, &key).unwrap();
    assert_eq!(contents.manifest.about.keys, Vec::<String>::new());
    assert!(
        contents
            .manifest
            .files
            .keys()
            .all(|name| name.ends_with(".pub")
                || ["about.json", "config.toml", "tls/ca.pem"].contains(&name.as_str()))
    );
    assert_eq!(contents.manifest.tables["employees"].rows, 1);

    // A flipped bit, wherever: in the lock's header, its body, its last piece.
    for at in (0..locked.len())
        .step_by(locked.len() / 300 + 1)
        .chain([0, locked.len() - 1])
    {
        for bit in [0, 5] {
            let mut broken = locked.clone();
            broken[at] ^= 1 << bit;
            assert!(opened(&broken, &key).is_err(), "bit {bit} of byte {at}");
        }
    }
    for at in (0..locked.len()).step_by(locked.len() / 100 + 1) {
        assert!(opened(&locked[..at], &key).is_err(), "cut at {at}");
    }
    let end = tar.iter().rposition(|byte| *byte != 0).unwrap();
    // The archive itself, as whoever only has the recipient could make one.
    for at in (0..tar.len()).step_by(tar.len() / 400 + 1) {
        let mut broken = tar.clone();
        broken[at] ^= 0x10;
        // tar has bytes that mean nothing (padding, owners): what is taken from it is the same then.
        if let Ok(other) = verify::archive(&broken[..]) {
            assert_eq!(other.manifest_json, contents.manifest_json, "byte {at}");
        }
        // What follows the last file are zeros.
        if at > end {
            break;
        }
        let root = empty();
        let restored = restore::restore(&tar[..at], root.path(), world.ca.clock.now(), &plain);
        assert!(restored.is_err(), "cut at {at}");
        assert_eq!(
            fs::read_dir(root.path()).unwrap().count(),
            0,
            "something was left"
        );
    }
    let stranger = Key::Identities(vec![age::x25519::Identity::generate()]);
    assert!(matches!(
        opened(&locked, &stranger),
        Err(BackupError::WrongIdentity)
    ));
    let passphrase = |text: &str| Secret::new(text.to_owned());
    let with = Lock::Passphrase {
        passphrase: passphrase("the right passphrase"),
        work_factor: 10,
    };
    let mut out = lock(&with, Vec::new()).unwrap();
    out.write_all(&tar).unwrap();
    let locked = out.finish().unwrap();
    assert!(
        opened(
            &locked,
            &Key::Passphrase(passphrase("the right passphrase"))
        )
        .is_ok()
    );
    let wrong = opened(&locked, &Key::Passphrase(passphrase("another passphrase")));
    assert!(
        matches!(wrong, Err(BackupError::WrongPassphrase)),
        "{wrong:?}"
    );
    assert!(matches!(
        opened(&locked, &stranger),
        Err(BackupError::OtherLock(_))
    ));
    assert!(matches!(
        opened(b"not a backup at all", &stranger),
        Err(BackupError::NotOne(_))
    ));
}

#[test]
fn another_format_and_a_strange_file_are_refused_by_name() {
    let tar = |entries: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            // As somebody would who means harm: the library refuses to write such names.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    };
    let later = tar(&[(
        "about.json",
        br#"{"format":2,"program":"9.1.0","anything":[]}"#,
    )]);
    let error = verify::archive(&later[..]).unwrap_err();
    assert!(
        matches!(error, BackupError::OtherFormat { found: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("9.1.0"), "{error}");
    let about = format!(
        r#"{{"format":1,"program":"0.1.0","made_unix":1,"ca":"{}","instance_epoch":1,"head":{{"entries":0,"hash":"{}"}},"commits":1,"keys":[]}}"#,
        "00".repeat(16),
        "00".repeat(32)
    );
    for name in [
        "keys/../config.toml",
        "etc/passwd",
        "keys/.hidden",
        "store/nothing.0",
        "tls/other",
        "keys/a/b",
        // Nothing that a key could be looked for in, where the archive says that it has no keys.
        "keys/evil.so",
        "keys/user_ca.signer",
        "keys/user_ca.2",
        "tls/ca.key",
        "keys/fleet.01.pub",
    ] {
        let archive = tar(&[("about.json", about.as_bytes()), (name, b"x")]);
        let root = empty();
        let now = time::OffsetDateTime::now_utc();
        let restored = restore::restore(&archive[..], root.path(), now, &plain);
        let why = restored.unwrap_err().to_string();
        assert!(
            why.contains("does not belong there") || why.contains("not known"),
            "{name}: {why}"
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k1_a_store_from_a_backup_that_somebody_made_up_is_not_served() {
    let world = World::new().await;
    let tar = archive(&world, Include::PublicOnly);
    let now = world.ca.clock.now();
    let origin = |root: &Path| {
        let db = Db::open(Arc::new(
            RedbBackend::open(&root.join("store.redb")).unwrap(),
        ))
        .unwrap();
        let keys = world.ca.keys();
        recovery::check_origin(&db.snapshot().unwrap(), keys.ledger.public_key(), root)
    };
    let root = empty();
    restore::restore(&tar[..], root.path(), now, &plain).unwrap();
    origin(root.path()).unwrap();
    // The same store, signed by whoever had only the recipient: its ledger key is another one.
    let forger =
        ssh_key::PrivateKey::random(&mut rand_core::OsRng, ssh_key::Algorithm::Ed25519).unwrap();
    let own = empty();
    for sub in ["keys", "tls"] {
        fs::create_dir(own.path().join(sub)).unwrap();
        for entry in fs::read_dir(world.ca.key_room.folder().root().join(sub)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), own.path().join(sub).join(entry.file_name())).unwrap();
        }
        fs::set_permissions(own.path().join(sub), fs::Permissions::from_mode(0o700)).unwrap();
    }
    for name in ["config.toml", "version"] {
        fs::copy(
            world.ca.key_room.folder().root().join(name),
            own.path().join(name),
        )
        .unwrap();
    }
    let public = forger.public_key().to_openssh().unwrap();
    fs::write(own.path().join("keys/ledger.pub"), public).unwrap();
    let folder = ca_server::folder::Folder::open(own.path()).unwrap();
    let snapshot = world.ca.db.snapshot().unwrap();
    let source = Source {
        snapshot: &snapshot,
        folder: &folder,
        ledger_key: &forger,
        now_unix: world.now(),
        include: Include::PublicOnly,
    };
    let forged = dump(&source, about(&source).unwrap(), Vec::new()).unwrap();
    let root = empty();
    restore::restore(&forged[..], root.path(), now, &plain).unwrap();
    let refused = origin(root.path());
    assert!(
        matches!(refused, Err(recovery::OriginError::Foreign(_))),
        "{refused:?}"
    );

    // Nor is anything done that it asks for: a key that is elsewhere now, and one that is retired.
    let elsewhere = format!(
        "signer = \"agent:/nowhere\"\npublic_key = \"{}\"\n",
        public_key(&world, Purpose::UserCa)
    );
    fs::write(own.path().join("keys/user_ca.signer"), elsewhere).unwrap();
    let host_ca = world.ca.keys().host_ca.current_held().record().clone();
    world
        .ca
        .db
        .write(move |txn| {
            let retired = KeyRecord {
                life: Life::Retired,
                ..host_ca.clone()
            };
            record::put(txn, &retired);
            let next = KeyRecord {
                number: 2,
                ..host_ca.clone()
            };
            record::put(txn, &next);
            let event = Event::CaKeyChanged {
                key: retired.name(),
                fingerprint: retired.fingerprint(),
                change: "made up".to_owned(),
            };
            txn.record(1, &Actor::Server, &event);
            Ok::<_, ReadError>(())
        })
        .unwrap();
    let snapshot = world.ca.db.snapshot().unwrap();
    let source = Source {
        snapshot: &snapshot,
        include: Include::Keys,
        ..source
    };
    let forged = dump(&source, about(&source).unwrap(), Vec::new()).unwrap();
    let root = empty();
    restore::restore(&forged[..], root.path(), now, &plain).unwrap();
    assert!(root.path().join("keys/user_ca.signer").exists());
    // As the command says: the genuine keys are put back.
    let genuine = world.ca.key_room.folder();
    let names = |sub: &str| {
        let all = genuine.list(sub).unwrap().into_iter();
        all.map(|name| format!("{sub}/{name}")).collect::<Vec<_>>()
    };
    let mine = [names("keys"), names("tls")].concat();
    for name in &mine {
        fs::write(root.path().join(name), genuine.read(name).unwrap()).unwrap();
    }
    let folder = ca_server::folder::Folder::open(root.path()).unwrap();
    let config = ca_server::config::Config::read(&folder.config()).unwrap();
    let passphrase = Secret::new(PASSPHRASE.to_owned());
    let opened = serve::open(&folder, config, &passphrase);
    assert!(matches!(opened, Err(ServeError::Origin(_))));
    for name in &mine {
        let left = folder.read(name).unwrap_or_default();
        assert!(left == genuine.read(name).unwrap(), "{name} was touched");
    }
}

fn public_key(world: &World, purpose: Purpose) -> String {
    let keys = world.ca.keys();
    keys.ring(purpose)
        .current_held()
        .record()
        .public_key
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn s7_machines_are_forgotten_and_asked_anew_and_steps_are_used_up() {
    let world = World::new().await;
    world.pool("web").await;
    let alice: Person = world.employee("alice@corp.example", &["web"]).await;
    crate::day::machine(&world, "web-1", &["web"]).await;
    let tar = archive(&world, Include::Keys);
    let root = empty();
    let now = world.ca.clock.now();
    let restored = restore::restore(&tar[..], root.path(), now, &plain).unwrap();
    assert_eq!(restored.machines, 1);
    let db = Db::open(Arc::new(
        RedbBackend::open(&root.path().join("store.redb")).unwrap(),
    ))
    .unwrap();
    let snapshot = db.snapshot().unwrap();
    let unread = recovery::unread(&snapshot).unwrap();
    assert_eq!(
        unread.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["web-1"]
    );
    assert_eq!(snapshot.count(Table::Seen, &KeyRange::all()).unwrap(), 0);
    // R3: the backup's ceiling says nothing of what the lost CA allowed after it.
    let earlier: Vec<_> = snapshot
        .scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)
        .unwrap()
        .into_iter()
        .filter(|(_, one)| matches!(one.what, Revoked::Earlier { .. }))
        .collect();
    assert_eq!(earlier.len(), 2, "one for each CA key");
    let longest = policies::check::MAX_CEILING_SECS + 7 * 24 * 3600;
    for (_, one) in &earlier {
        let kept = one.until_unix.unwrap() - now.unix_timestamp();
        assert!(kept >= i64::try_from(longest).unwrap(), "{kept} s");
    }
    let machine: FleetRecord = snapshot.get_json(Table::Fleet, b"web-1").unwrap().unwrap();
    assert_eq!(machine.host_certificate_until_unix, 0, "it gets a new one");
    let credentials: Credentials = snapshot
        .get_json(Table::Credentials, alice.email.as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!(
        credentials.last_totp_step,
        u64::try_from(now.unix_timestamp()).unwrap() / 30 + 1
    );
    let CaId(_) = db.ca_id();
    drop(snapshot);
}
