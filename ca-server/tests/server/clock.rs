//! A clock that somebody sets (Z5): nothing is signed, everything else goes on, and it heals.

use std::sync::Arc;

use ca_api::{
    Secret,
    admin::{AdminReply, ClockView},
};
use ca_server::{
    ca::Ca,
    clock::watch,
    config::Config,
    folder::Folder,
    ledger::{Actor, Event},
    serve,
    store::{Db, Direction, KeyRange, Read as _, ReadError, RedbBackend, Table},
};
use serde_json::json;

use crate::{
    process::{PASSPHRASE, data_folder},
    world::{World, certificate, ed25519, keygen_says},
};

async fn shown(world: &World) -> ClockView {
    match world.verb(json!({"verb": "clock_show"})).await {
        Ok(AdminReply::Clock(view)) => view,
        other => panic!("{other:?}"),
    }
}

/// How often the ledger has this event among its last entries.
async fn told(world: &World, event: &str) -> usize {
    let lines = world.ledger(5000).await;
    lines.iter().filter(|line| line.event == event).count()
}

/// What a login uses up: codes, attempts, sessions.
fn used(world: &World) -> Vec<(Vec<u8>, Vec<u8>)> {
    let view = world.ca.db.snapshot().unwrap();
    [Table::Credentials, Table::Attempts, Table::Sessions]
        .into_iter()
        .flat_map(|table| {
            view.scan(table, &KeyRange::all(), Direction::Forward, usize::MAX)
                .unwrap()
        })
        .collect()
}

fn prepare(name: &str) -> serde_json::Value {
    let key = ed25519().public_key().to_openssh().unwrap();
    json!({
        "verb": "machine_prepare", "machine": name, "address": "192.0.2.1", "port": 22, "pools": ["web"], "host_key": key,
        "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn z5_a_step_of_more_than_30_s_stops_signing_and_nothing_else() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    world.verb(prepare("m")).await.unwrap();
    let session = world.login(&alice).await;
    let bobs = world.login(&bob).await.issued.certificates;
    let clock = &world.ca.clock;
    watch::look(&world.ca).await.unwrap();
    for (number, by_secs) in [40, -40, 86_400, -86_400, 400 * 86_400]
        .into_iter()
        .enumerate()
    {
        let ahead = world.ahead();
        clock.set_by(by_secs);
        watch::look(&world.ca).await.unwrap();
        watch::look(&world.ca).await.unwrap();
        // The CA's own time goes on, so nothing ends early or late by it.
        assert!(
            (world.ahead() - ahead).abs() <= 1,
            "{by_secs}: the CA's time jumped"
        );
        let view = shown(&world).await;
        assert!(
            !view.steady && (view.by_secs - by_secs).abs() <= 1,
            "{view:?}"
        );
        assert_eq!(
            told(&world, "clock_doubted").await,
            number + 1,
            "one entry for each step"
        );

        // No certificate, for nobody, and it is said why.
        let (issued, used) = (told(&world, "certificate_intent").await, used(&world));
        let body = world.login_body(&alice).await;
        let refused = world.post("/v1/login", &body).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "unavailable")
        );
        let text = refused.text();
        assert!(
            text.contains("nothing is signed") && text.contains("ca-server clock show"),
            "{text}"
        );
        let refused = world.renew(&session).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "unavailable")
        );
        let subject = ed25519().public_key().to_openssh().unwrap();
        for request in [
            prepare("another"),
            json!({"verb": "machine_probe", "machine": "m", "public_key": subject}),
        ] {
            let refused = world.verb(request).await.unwrap_err();
            assert!(refused.message.contains("nothing is signed"), "{refused:?}");
        }
        assert_eq!(
            told(&world, "certificate_intent").await,
            issued,
            "an intent"
        );
        assert_eq!(self::used(&world), used, "a code or an attempt was used up");

        // Everything else goes on: changes, revocations, the KRL, and what was revoked stays so.
        world.pool(&format!("pool-{number}")).await;
        let serial = certificate(&bobs[0]).serial();
        let before = ca_server::revoke::krl::current(&world.ca).await.unwrap();
        let target = json!({"verb": "krl_revoke", "target": {"serial": serial}});
        drop(world.verb(target).await);
        let krl = ca_server::revoke::krl::current(&world.ca).await.unwrap();
        assert!(krl.version > before.version || number > 0);
        assert!(
            keygen_says(&world.krl().await, &bobs[0]),
            "{by_secs}: no longer revoked"
        );

        // Set back, it is as if nothing had been.
        clock.set_by(-by_secs);
        watch::look(&world.ca).await.unwrap();
        assert!(shown(&world).await.steady);
        assert_eq!(
            told(&world, "clock_trusted").await,
            number + 2,
            "the start, and each time"
        );
        assert_eq!(world.try_login(&alice).await.status, 200, "{by_secs}");
        assert_eq!(world.renew(&session).await.status, 200, "{by_secs}");
    }
    world.verb(json!({"verb": "audit_verify"})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn z5_time_that_passes_and_small_steps_stop_nothing() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let clock = &world.ca.clock;
    watch::look(&world.ca).await.unwrap();
    // Within half a minute in either direction.
    for by_secs in [25, -50, 25] {
        let ahead = world.ahead();
        clock.set_by(by_secs);
        watch::look(&world.ca).await.unwrap();
        assert!(
            (world.ahead() - ahead - by_secs).abs() <= 1,
            "a small step is followed"
        );
        // A code of an earlier step is never taken again.
        clock.shift(60);
        world.login(&alice).await;
    }
    // Small steps that come quickly add up to a big one.
    for _ in 0..2 {
        clock.set_by(20);
        watch::look(&world.ca).await.unwrap();
    }
    assert!(!shown(&world).await.steady);
    clock.set_by(-40);
    watch::look(&world.ca).await.unwrap();
    // Whatever time passes on both clocks, asleep or awake, is none.
    for secs in [3600, 9 * 3600, 300 * 86_400] {
        clock.shift(secs);
        watch::look(&world.ca).await.unwrap();
        assert!(shown(&world).await.steady);
        world.login(&alice).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn z5_an_admin_may_say_that_the_clock_is_right_as_it_is() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let accept = json!({"verb": "clock_accept"});
    let nothing = world.verb(accept.clone()).await.unwrap_err();
    assert_eq!(nothing.code, ca_api::ErrorCode::Conflict);
    watch::look(&world.ca).await.unwrap();
    let before = world.now();
    world.ca.clock.set_by(86_400);
    assert_eq!(world.try_login(&alice).await.code(), "unavailable");
    world.verb(accept.clone()).await.unwrap();
    assert!(
        world.now() - before >= 86_400,
        "it goes by the wall clock now"
    );
    let session = world.login(&alice).await;
    let valid_after = certificate(&session.issued.certificates[0]).valid_after();
    assert!(i64::try_from(valid_after).unwrap() >= before + 86_000);
    // From there it is measured anew, in either direction.
    world.ca.clock.set_by(-86_400);
    assert_eq!(world.renew(&session).await.code(), "unavailable");
    world.ca.clock.set_by(86_400);
    assert_eq!(world.renew(&session).await.status, 200);
    let lines = world.ledger(50).await;
    let trusted = lines
        .iter()
        .rfind(|line| line.event == "clock_trusted")
        .unwrap();
    assert!(trusted.actor.contains("console"), "{trusted:?}");
}

fn reopened(folder: &Folder) -> Ca {
    let config = Config::read(&folder.config()).unwrap();
    serve::open(folder, config, &Secret::new(PASSPHRASE.to_owned())).unwrap()
}

/// What `serve` does before it opens its doors.
async fn started(folder: &Folder) -> Ca {
    let ca = reopened(folder);
    watch::look(&ca).await.unwrap();
    ca
}

#[tokio::test(flavor = "multi_thread")]
async fn z5_a_restart_is_nobodys_word_that_the_clock_is_right() {
    let (_dir, data) = data_folder();
    let folder = Folder::open(&data).unwrap();
    let ca = started(&folder).await;
    assert!(ca.clock.steady().is_ok());
    drop(ca);
    // It was set while the server was down, or right before it was started again: forward and back.
    for by_secs in [3600, -3600] {
        let ca = reopened(&folder);
        ca.clock.set_by(by_secs);
        watch::begin(&ca.clock, &ca.db).unwrap();
        watch::look(&ca).await.unwrap();
        let doubt = ca.clock.steady().unwrap_err();
        assert!((doubt.by_secs - by_secs).abs() <= 1, "{doubt:?}");
        // Accepted, and started once more with the clock as it is really: that is a step too.
        watch::accept(&ca, Actor::Console { uid: 0 }).await.unwrap();
        assert!(ca.clock.steady().is_ok());
        drop(ca);
        let ca = started(&folder).await;
        let doubt = ca.clock.steady().unwrap_err();
        assert!((doubt.by_secs + by_secs).abs() <= 1, "{doubt:?}");
        watch::accept(&ca, Actor::Console { uid: 0 }).await.unwrap();
    }
    assert!(started(&folder).await.clock.steady().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn z5_after_a_reboot_the_clock_is_measured_by_the_ledger() {
    const DAY: i64 = 86_400;
    // How much later than the wall clock the last entry was made, in seconds; and whether the clock is believed then.
    for (entry_secs, believed) in [
        (0, true),
        (20, true),
        (900, false),
        (400 * DAY, false),
        (-6 * DAY, true),
        (-8 * DAY, false),
        (-400 * DAY, false),
    ] {
        let (_dir, data) = data_folder();
        let folder = Folder::open(&data).unwrap();
        drop(started(&folder).await);
        let db = Db::open(Arc::new(RedbBackend::open(&folder.store()).unwrap())).unwrap();
        let at = time::OffsetDateTime::now_utc().unix_timestamp() + entry_secs;
        db.write(move |txn| {
            let other = json!({"boot": "of another start of the host", "offset_ms": 0});
            txn.put_json(Table::Meta, b"clock", &other);
            let reason = "a power cut".to_owned();
            txn.record(at * 1000, &Actor::Server, &Event::ServerStopped { reason });
            Ok::<_, ReadError>(())
        })
        .unwrap();
        drop(db);
        let ca = started(&folder).await;
        assert_eq!(ca.clock.steady().is_ok(), believed, "{entry_secs}");
        let real = time::OffsetDateTime::now_utc().unix_timestamp();
        let off = ca.clock.now().unix_timestamp() - if believed { real } else { at };
        assert!(
            (-2..600).contains(&off),
            "{entry_secs}: the CA's time is {off} s off"
        );
        if believed {
            continue;
        }
        // Set right by whoever was late: it heals by itself, and from then on it is measured by the time since boot.
        ca.clock.set_by(entry_secs + 60);
        watch::look(&ca).await.unwrap();
        assert!(ca.clock.steady().is_ok(), "{entry_secs}");
        ca.clock.set_by(3600);
        assert!(ca.clock.steady().is_err(), "{entry_secs}");
    }
}
