//! What a backup costs in memory: the peak of the server while it gives one, and of `backup`, `backup verify` and `restore`, for a store and for
//! one that is ten times as big.
//!
//! `BACKUP_ENTRIES` (1,000,000) is how many ledger entries the big one has; half of them with a certificate's row. It is written to the
//! temporary folder (`TMPDIR`), about 1.5 KB an entry for store, backup and what is restored of it together.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use age::secrecy::ExposeSecret as _;
use ca_api::Secret;
use ca_server::{
    folder::Folder,
    init,
    ledger::{Actor, CertificateKind, Event},
    records::{CertificateRecord, CertificateState},
    store::{Db, ReadError, RedbBackend, Table},
};

const PASSPHRASE: &str = "an iron giraffe reads newspapers";
/// Certificates in one commit.
const AT_ONCE: u64 = 2_000;

fn main() {
    let entries = std::env::var("BACKUP_ENTRIES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    println!(
        "{:>10} {:>9} {:>9}  {:<24} {:>9} {:>8}",
        "entries", "store", "backup", "process", "peak", "took"
    );
    for entries in [entries / 10, entries] {
        measure(entries);
    }
}

fn measure(entries: u64) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (data, pass) = (dir.path().join("ca"), dir.path().join("pass"));
    let key = dir.path().join("identity");
    let identity = age::x25519::Identity::generate();
    for (path, text) in [
        (&pass, PASSPHRASE.to_owned()),
        (&key, identity.to_string().expose_secret().to_owned()),
    ] {
        fs::write(path, text).expect("a file");
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    let now = time::OffsetDateTime::now_utc();
    let secret = Secret::new(PASSPHRASE.to_owned());
    init::create(&data, vec!["127.0.0.1".to_owned()], &secret, now).expect("a new CA");
    fill(&data, entries / 2);

    let log = dir.path().join("log");
    let mut server = Running::start("serve, at rest", |command| {
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .arg("--passphrase-file")
            .arg(&pass)
            .stderr(fs::File::create(&log).expect("a log"));
    });
    while !fs::read_to_string(&log)
        .unwrap_or_default()
        .contains("serving")
    {
        assert!(
            server.child.try_wait().expect("its state").is_none(),
            "{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let at_rest = server.look();
    let (file, back) = (dir.path().join("ca.age"), dir.path().join("back"));
    let recipient = identity.to_public().to_string();
    let mut peaks = vec![("serve, at rest", at_rest, Duration::ZERO)];
    let made = Running::start("backup", |command| {
        command
            .args(["backup", "--with-keys", "--recipient", &recipient, "--data"])
            .arg(&data)
            .arg(&file);
    })
    .end();
    peaks.push(("serve, giving a backup", server.look(), made.2));
    peaks.push(made);
    drop(server.child.kill());
    drop(server.child.wait());
    for verb in [&["backup", "verify"][..], &["restore"]] {
        let name = if verb.len() == 2 {
            "backup verify"
        } else {
            "restore"
        };
        let ended = Running::start(name, |command| {
            command
                .args(verb)
                .arg(&file)
                .arg("--identity")
                .arg(&key)
                .arg("--data")
                .arg(&back);
        });
        peaks.push(ended.end());
    }
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len()) / 1_000_000;
    let (store, backup) = (size(&data.join("store.redb")), size(&file));
    for (name, kib, took) in peaks {
        println!(
            "{entries:>10} {store:>6} MB {backup:>6} MB  {name:<24} {:>5} MiB {:>6.1} s",
            kib / 1024,
            took.as_secs_f64()
        );
    }
}

/// So many certificates, each with its intent and its outcome in the ledger.
fn fill(data: &Path, certificates: u64) {
    let folder = Folder::open(data).expect("a CA");
    let backend = RedbBackend::open(&folder.store()).expect("its store");
    let db = Db::open(Arc::new(backend)).expect("its store");
    let mut next = 0;
    while next < certificates {
        let last = (next + AT_ONCE).min(certificates);
        db.write(move |txn| {
            for n in next..last {
                // Serials are random in their low half: so are the places of their rows.
                let serial = (1_800_000_000 << 32) | (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32);
                let (record, intent, outcome, actor) = certificate(n, serial);
                txn.put_json(Table::Certificates, serial.to_be_bytes(), &record);
                txn.record(1_800_000_000_000, &actor, &intent);
                txn.record(1_800_000_000_000, &actor, &outcome);
            }
            Ok::<_, ReadError>(())
        })
        .expect("a commit");
        next = last;
    }
}

fn certificate(n: u64, serial: u64) -> (CertificateRecord, Event, Event, Actor) {
    let email = format!("employee{}@corp.example", n % 1000);
    let key = "SHA256:uNiVztksCsDhcc0u9e8BrNd3kXC1Kt9/qxZvMl0JNEM".to_owned();
    let record = CertificateRecord {
        kind: CertificateKind::User,
        key_id: format!("{email}/7"),
        ca: key.clone(),
        subject: key.clone(),
        principals: vec!["alice@web-server".into(), "deploy@web-server".into()],
        conditions: None,
        valid_after_unix: 1_800_000_000,
        valid_before_unix: 1_800_028_800,
        state: CertificateState::Issued,
    };
    let intent = Event::CertificateIntent {
        serial,
        key_id: record.key_id.clone(),
        kind: record.kind,
        ca: key.clone(),
        subject: key,
        principals: record.principals.clone(),
        valid_after: record.valid_after_unix,
        valid_before: record.valid_before_unix,
        email: email.parse().ok(),
        session: Some("0123456789abcdef".into()),
        machine: None,
        options: BTreeMap::from([("permit-pty".into(), String::new())]),
    };
    let outcome = Event::CertificateIssued {
        serial,
        sha256: "0123456789abcdef".repeat(4),
    };
    let actor = Actor::Employee {
        email: email.parse().expect("an email"),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    (record, intent, outcome, actor)
}

/// A process whose memory is looked at while it runs.
struct Running {
    name: &'static str,
    child: Child,
    began: Instant,
}

impl Running {
    fn start(name: &'static str, arguments: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ca-server"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        arguments(&mut command);
        Self {
            name,
            child: command.spawn().expect("a process"),
            began: Instant::now(),
        }
    }

    /// The most memory that it ever held, in KiB (the kernel's `VmHWM`).
    fn look(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Looks until it has ended.
    fn end(mut self) -> (&'static str, u64, Duration) {
        let mut peak = 0;
        loop {
            peak = peak.max(self.look());
            if let Some(status) = self.child.try_wait().expect("its state") {
                assert!(status.success(), "{}: {status}", self.name);
                return (self.name, peak, self.began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
