//! What a durable change costs: 64 clients that each commit an intent and then its outcome, as a renewal does.
//!
//! `items` are changes: two are one renewal. The store lies in the temporary folder (`TMPDIR`): point it at the disk in question.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ca_server::{
    ledger::{Actor, CaId, CertificateKind, Event, verify_all},
    store::{Backend, Db, MemoryBackend, Read, ReadError, RedbBackend, Table, Txn},
};
use divan::{Bencher, counter::ItemsCount};

const CLIENTS: u64 = 64;
const RENEWALS_EACH: u64 = 32;

fn main() {
    divan::main();
}

fn renewals(bencher: Bencher<'_, '_>, backend: Arc<dyn Backend>) {
    let db = Db::create(backend, CaId([1; 16])).expect("an empty back end");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let serials = Arc::new(AtomicU64::new(1));
    let changes = CLIENTS * RENEWALS_EACH * 2;
    let before = db.snapshot().map(|s| commits(&s)).expect("readable");
    let mut rounds = 0;
    let started = std::time::Instant::now();
    bencher.counter(ItemsCount::new(changes)).bench_local(|| {
        rounds += 1;
        runtime.block_on(async {
            let clients = (0..CLIENTS).map(|client| {
                let (db, serials) = (db.clone(), Arc::clone(&serials));
                tokio::spawn(async move {
                    for _ in 0..RENEWALS_EACH {
                        renew(&db, client, serials.fetch_add(1, Ordering::Relaxed)).await;
                    }
                })
            });
            for client in clients.collect::<Vec<_>>() {
                client.await.expect("a client");
            }
        });
    });
    let took = started.elapsed().as_secs_f64();
    let after = db.snapshot().map(|s| commits(&s)).expect("readable");
    let commits = (after - before) as f64;
    println!(
        "\n    {:.0} changes/s, {:.0} renewals/s, {:.0} commits/s, {:.1} changes a commit",
        (rounds * changes) as f64 / took,
        (rounds * changes / 2) as f64 / took,
        commits / took,
        (rounds * changes) as f64 / commits,
    );
}

fn commits(snapshot: &ca_server::store::Snapshot) -> u64 {
    snapshot.mark().map_or(0, |mark| mark.commits)
}

async fn renew(db: &Db, client: u64, n: u64) {
    // Serials are random in their low half: so are the places of their rows.
    let serial = (1_800_000_000 << 32) | (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32);
    db.write_async(move |txn| intent(txn, client, serial))
        .await
        .expect("an intent");
    db.write_async(move |txn| outcome(txn, client, serial))
        .await
        .expect("an outcome");
}

fn actor(client: u64) -> Actor {
    Actor::Employee {
        email: format!("employee{client}@corp.example")
            .parse()
            .expect("an email"),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
    }
}

fn intent(txn: &mut Txn<'_>, client: u64, serial: u64) -> Result<(), ReadError> {
    let email = format!("employee{client}@corp.example");
    let event = Event::CertificateIntent {
        serial,
        key_id: format!("{email}/7"),
        kind: CertificateKind::User,
        ca: "SHA256:uNiVztksCsDhcc0u9e8BrNd3kXC1Kt9/qxZvMl0JNEM".into(),
        subject: "SHA256:uNiVztksCsDhcc0u9e8BrNd3kXC1Kt9/qxZvMl0JNEN".into(),
        principals: vec!["alice@web-server".into(), "deploy@web-server".into()],
        valid_after: 1_800_000_000,
        valid_before: 1_800_028_800,
        email: email.parse().ok(),
        session: Some("0123456789abcdef".into()),
        machine: None,
        options: BTreeMap::from([("permit-pty".into(), String::new())]),
    };
    if txn.contains(Table::Certificates, &serial.to_be_bytes())? {
        return Ok(());
    }
    let session = txn
        .get(Table::Sessions, email.as_bytes())?
        .unwrap_or_default();
    txn.put(
        Table::Sessions,
        email.as_bytes(),
        if session.is_empty() {
            vec![b's'; 300]
        } else {
            session
        },
    );
    txn.put_json(Table::Certificates, serial.to_be_bytes(), &event);
    let mut key = email.into_bytes();
    key.push(0);
    key.extend(serial.to_be_bytes());
    txn.put(Table::CertificatesByEmployee, key, []);
    txn.record(1_800_000_000_000, &actor(client), &event);
    Ok(())
}

fn outcome(txn: &mut Txn<'_>, client: u64, serial: u64) -> Result<(), ReadError> {
    let event = Event::CertificateIssued {
        serial,
        sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
    };
    let row = txn
        .get(Table::Certificates, &serial.to_be_bytes())?
        .unwrap_or_default();
    txn.put(Table::Certificates, serial.to_be_bytes(), row);
    txn.record(1_800_000_000_000, &actor(client), &event);
    Ok(())
}

fn on_disk(folder: &Path) -> Arc<dyn Backend> {
    Arc::new(RedbBackend::create(&folder.join("ca.redb")).expect("a new file"))
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn renewals_redb(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder");
    renewals(bencher, on_disk(folder.path()));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn renewals_memory(bencher: Bencher<'_, '_>) {
    renewals(bencher, Arc::new(MemoryBackend::default()));
}

/// One client alone: the price of one durable commit.
#[divan::bench(sample_count = 100, sample_size = 1)]
fn one_change_redb(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::create(on_disk(folder.path()), CaId([1; 16])).expect("an empty back end");
    let mut serial = 0;
    bencher.bench_local(|| {
        serial += 1;
        let serial = serial;
        db.write(move |txn| intent(txn, 1, serial))
            .expect("an intent");
    });
}

/// A look at one row, from a snapshot of its own.
#[divan::bench]
fn read_redb(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::create(on_disk(folder.path()), CaId([1; 16])).expect("an empty back end");
    db.write(|txn| intent(txn, 1, 1)).expect("an intent");
    bencher.bench_local(|| {
        db.read(|s| s.get(Table::Certificates, &1u64.to_be_bytes()))
            .expect("readable")
    });
}

/// `audit verify` over 20,000 entries.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn verify_redb(bencher: Bencher<'_, '_>) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::create(on_disk(folder.path()), CaId([1; 16])).expect("an empty back end");
    for group in 0..20u64 {
        db.write(move |txn| (0..1000).try_for_each(|n| intent(txn, n % 64, group * 1000 + n + 1)))
            .expect("entries");
    }
    let snapshot = db.snapshot().expect("readable");
    bencher
        .counter(ItemsCount::new(20_000u64))
        .bench_local(|| verify_all(&snapshot, &db.ca_id()).expect("whole"));
}
