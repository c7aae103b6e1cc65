//! R1–R5 and S3 on what the server itself builds, judged by OpenSSH.

use ca_api::admin::AdminEvent;
use ca_server::{
    ledger::verify_all,
    records::{KRL_CURRENT, KrlRecord},
    store::{Read, Table},
};
use serde_json::json;
use ssh_key::HashAlg;

use crate::world::{Person, Session, World, certificate, ed25519, keygen_says};

async fn with_alice() -> (World, Person) {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    (world, alice)
}

fn version(world: &World) -> u64 {
    let view = world.ca.db.snapshot().unwrap();
    let record: KrlRecord = view.get_json(Table::Krl, KRL_CURRENT).unwrap().unwrap();
    record.version
}

async fn revoke(world: &World, target: serde_json::Value) {
    world
        .verb(json!({"verb": "krl_revoke", "target": target, "keep_login": true}))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_revocation_is_durable_before_its_first_word() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    // There is room for one word, and it is taken: the first one of its own has to wait until it is heard.
    let (events, mut heard) = tokio::sync::mpsc::channel(1);
    let full = AdminEvent::Note {
        text: String::new(),
    };
    events.send(full).await.unwrap();
    let request =
        serde_json::from_value(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}));
    let admin = std::sync::Arc::clone(&world.admin);
    let running = tokio::spawn(async move {
        let actor = ca_server::ledger::Actor::Console { uid: 0 };
        admin.run(actor, request.unwrap(), &events).await
    });
    let decided = async {
        while world.show(&alice.email).await.epoch != 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(180), decided)
        .await
        .expect("it is decided before anything is said");
    // Before this word, what is on disk refuses her: looked at through a copy of the file, as after a power cut. Nothing is
    // written meanwhile.
    let copy = tempfile::tempdir().unwrap();
    let path = copy.path().join("store.redb");
    std::fs::copy(world.folder.path().join("store.redb"), &path).unwrap();
    heard.recv().await.expect("the one that was there");
    heard.recv().await.expect("a word that it is durable");
    drop(heard);
    running.await.unwrap().unwrap();
    let backend = ca_server::store::RedbBackend::open(&path).unwrap();
    let db = ca_server::store::Db::open(std::sync::Arc::new(backend)).unwrap();
    let view = db.snapshot().unwrap();
    let kept: policies::Employee = view
        .get_json(Table::Employees, alice.email.as_bytes())
        .unwrap()
        .unwrap();
    assert_eq!((kept.epoch, kept.status), (2, policies::Status::Suspended));
    assert_eq!(
        view.count(Table::Sessions, &ca_server::store::KeyRange::all())
            .unwrap(),
        0
    );
    assert_eq!(world.renew(&session).await.code(), "session_over");
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_versions_rise_with_every_change_over_restarts_and_clocks_that_step_back() {
    let (world, alice) = with_alice().await;
    world.krl().await;
    let mut last = version(&world);
    let mut session = world.login(&alice).await;
    let mut world = world;
    for round in 0..6 {
        let renewed = world.renew(&session).await;
        let text = renewed.issued().certificates.remove(0);
        revoke(&world, json!({"serial": certificate(&text).serial()})).await;
        let now = version(&world);
        assert!(now > last, "round {round}: {now} after {last}");
        assert_eq!(world.revoked(&[text]).await, [true]);
        assert_eq!(version(&world), now, "no change, no version");
        last = now;
        match round {
            1 => world = world.restart().await,
            2 => world.ca.clock.shift(-86_400),
            // Back to where it was, and a day ahead of it: the session of the morning is over by then.
            3 => world.ca.clock.shift(86_400),
            4 => {
                world.ca.clock.shift(86_400);
                session = world.login(&alice).await;
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r3_an_entry_leaves_only_after_the_hard_ceiling_and_seven_days() {
    let (world, alice) = with_alice().await;
    world.ca.clock.stop();
    let session = world.login(&alice).await;
    let text = session.issued.certificates.clone();
    let one = certificate(&text[0]);
    // What the company allows today says nothing of a certificate that lives already.
    let lowered = policies::Limits {
        ceiling_secs: 3600,
        ..policies::Limits::default()
    };
    let store = move |txn: &mut ca_server::store::Txn<'_>| {
        let table = ca_server::store::Table::Limits;
        txn.put_json(table, ca_server::records::LIMITS, &lowered);
        let event = ca_server::ledger::Event::ServerStopped {
            reason: "a test".to_owned(),
        };
        txn.record(1, &ca_server::ledger::Actor::Server, &event);
        Ok::<_, ca_server::store::ReadError>(())
    };
    world.ca.db.write(store).unwrap();
    revoke(&world, json!({"serial": one.serial()})).await;
    let decided = world.now();
    let key = ed25519()
        .public_key()
        .fingerprint(HashAlg::Sha256)
        .to_string();
    revoke(&world, json!({"key": key})).await;
    let ceiling = i64::try_from(policies::check::MAX_CEILING_SECS).unwrap();
    assert!(
        ceiling >= i64::try_from(one.valid_before() - one.valid_after()).unwrap() - 60,
        "no lifetime is beyond the ceiling"
    );
    let keep = ceiling + 7 * 24 * 3600;
    world.ca.clock.shift(decided + keep - 60 - world.now());
    assert_eq!(
        world.revoked(&text).await,
        [true],
        "a minute before it may go"
    );
    let before = version(&world);
    world.ca.clock.shift(61);
    assert_eq!(world.revoked(&text).await, [false], "it may go now");
    assert!(version(&world) > before);
    // A revoked key never leaves.
    world.ca.clock.shift(10 * 365 * 24 * 3600);
    world.krl().await;
    let shown = world.verb(json!({"verb": "krl_show"})).await.unwrap();
    assert!(format!("{shown:?}").contains(&key), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_entries_are_filed_under_the_key_that_signed_also_those_of_hosts() {
    use ca_server::{
        issue::probe::{Own, issue_own},
        ledger::Actor,
    };
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let machine = "web-1".parse().unwrap();
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let key = ed25519();
        let own = Own::Host {
            subject: key.public_key(),
            machine: &machine,
            names: ["web-1".to_owned()].into(),
            lifetime_secs: 3600,
        };
        hosts.push(issue_own(&world.ca, own, Actor::Server).await.unwrap());
    }
    let one = certificate(&hosts[0]).serial();
    revoke(&world, json!({"serial": one})).await;
    assert_eq!(
        world.revoked(&hosts).await,
        [true, false],
        "a host certificate is filed under the host CA"
    );
    assert_eq!(world.revoked(&session.issued.certificates).await, [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_key_id_covers_what_the_ledger_lost_and_no_other_epoch_or_person() {
    let (world, alice) = with_alice().await;
    let keys = world.ca.keys();
    let signer = keys.user_ca.current().as_ref();
    let signed = |serial: u64, key_id: &str| {
        // Signed by the CA key, but without a trace in the store: the ledger lost it.
        let mut builder = ssh_key::certificate::Builder::new(
            vec![1; 32],
            ed25519().public_key().key_data().clone(),
            1,
            100,
        )
        .unwrap();
        builder.serial(serial).unwrap();
        builder.key_id(key_id).unwrap();
        builder.valid_principal("alice@web").unwrap();
        let certificate = builder
            .sign(&ca_server::signer::SigningKey(signer))
            .unwrap();
        certificate.to_openssh().unwrap()
    };
    let lost = [
        signed(1, "alice@corp.example/1"),
        signed(u64::MAX >> 1, "alice@corp.example/1"),
        signed(2, "alice@corp.example/2"),
        signed(3, "alice@corp.example/10"),
        signed(4, "alice@corp.example.net/1"),
    ];
    revoke(&world, json!({"employee": alice.email})).await;
    assert_eq!(
        world.revoked(&lost).await,
        [true, true, false, false, false]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_a_revoked_key_is_refused_in_every_certificate_and_never_certified_again() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let print = alice
        .key
        .public_key()
        .fingerprint(HashAlg::Sha256)
        .to_string();
    revoke(&world, json!({"key": print})).await;
    assert_eq!(world.revoked(&session.issued.certificates).await, [true]);
    assert_eq!(world.renew(&session).await.code(), "session_over");
    let again = world.try_login(&alice).await;
    assert_ne!(again.status, 200, "{}", again.text());
    let fresh = Person {
        key: ed25519(),
        ..alice
    };
    let session = world.login(&fresh).await;
    assert_eq!(world.revoked(&session.issued.certificates).await, [false]);
    // The CA's own keys cannot be put on the list: that would lock everybody out.
    let keys = world.ca.keys();
    let own: Vec<_> = keys.own().collect();
    assert_eq!(own.len(), 5);
    for key in own {
        let target = json!({"key": key.fingerprint(HashAlg::Sha256).to_string()});
        let refused = world
            .verb(json!({"verb": "krl_revoke", "target": target}))
            .await;
        assert!(refused.is_err());
    }
    assert_eq!(world.revoked(&session.issued.certificates).await, [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_the_krl_has_no_bitmap_and_holds_both_ways_with_many_entries() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let (mut gone, mut kept): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for n in 0..60 {
        let text = world.renew(&session).await.issued().certificates.remove(0);
        if n % 2 == 0 {
            kept.push(text);
        } else {
            gone.push(text);
        }
    }
    for text in &gone {
        // The decision alone; one KRL is built at the end.
        let what = ca_server::records::Revoked::Serial {
            ca: world.ca.keys().ca_id(),
            serial: certificate(text).serial(),
        };
        let because = ca_server::revoke::Because {
            actor: ca_server::ledger::Actor::Server,
            at_unix_ms: world.now() * 1000,
            reason: String::new(),
            keep_secs: 1_000_000,
        };
        let event = ca_server::ledger::Event::ServerStopped {
            reason: "a test".to_owned(),
        };
        world
            .ca
            .db
            .write_async(move |txn| {
                ca_server::revoke::add(txn, what.clone(), &because)?;
                txn.record(0, &because.actor, &event);
                Ok::<_, ca_server::store::ReadError>(())
            })
            .await
            .unwrap();
    }
    let list = world.krl().await;
    assert!(gone.iter().all(|text| keygen_says(&list, text)));
    assert!(kept.iter().all(|text| !keygen_says(&list, text)));
    // Section types of PROTOCOL.krl inside a certificates section: 0x22 is the bitmap.
    let krl = ssh_krl::Krl::decode(&list).unwrap();
    assert!(krl.certificates().count() >= 1);
    let mut at = 44;
    let mut sections = Vec::new();
    let word = |at: usize| u32::from_be_bytes(list[at..at + 4].try_into().unwrap()) as usize;
    // Header: magic 8, format 4, version 8, date 8, flags 8, reserved string, comment string.
    at = at - 44 + 36;
    at += 4 + word(at);
    at += 4 + word(at);
    while at < list.len() {
        let (kind, length) = (list[at], word(at + 1));
        let body = at + 5;
        if kind == 1 {
            let mut inner = body + 4 + word(body);
            inner += 4 + word(inner);
            while inner < body + length {
                sections.push(list[inner]);
                inner += 5 + word(inner + 1);
            }
        }
        at = body + length;
    }
    assert!(
        !sections.is_empty() && !sections.contains(&0x22),
        "{sections:x?}"
    );
    // A list that lost a byte is no list: the harness tells it from an answer.
    let cut = std::panic::catch_unwind(|| keygen_says(&list[..list.len() - 1], &gone[0]));
    assert!(cut.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_while_the_list_cannot_be_made_the_last_one_stays_and_the_decision_stands() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let before = world.krl().await;
    // The decision goes through, the KRL's own commit does not.
    world.faults.fail_next([
        ca_server::store::Fault::None,
        ca_server::store::Fault::NotPersisted,
    ]);
    let failed = world
        .verb(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}))
        .await
        .unwrap_err();
    assert!(failed.message.contains("durable"), "{failed}");
    let view = world.ca.db.snapshot().unwrap();
    let held: KrlRecord = view.get_json(Table::Krl, KRL_CURRENT).unwrap().unwrap();
    use base64::Engine as _;
    assert_eq!(
        held.krl,
        base64::engine::general_purpose::STANDARD.encode(before)
    );
    assert_eq!(world.renew(&session).await.code(), "session_over");
    assert_eq!(
        world.revoked(&session.issued.certificates).await,
        [true],
        "the next build carries it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_the_ledger_of_a_whole_day_verifies_and_every_serial_stands_in_it() {
    let (world, alice) = with_alice().await;
    let mut serials = Vec::new();
    let session: Session = world.login(&alice).await;
    for _ in 0..3 {
        let renewed = world.renew(&session).await.issued();
        serials.push(certificate(&renewed.certificates[0]).serial());
    }
    revoke(&world, json!({"employee": alice.email})).await;
    let verified = world.verb(json!({"verb": "audit_verify"})).await;
    assert!(verified.is_ok(), "{verified:?}");
    let view = world.ca.db.snapshot().unwrap();
    assert_eq!(
        verify_all(&view, &world.ca.db.ca_id()).unwrap(),
        view.head()
    );
    let text = format!("{:?}", world.ledger(500).await);
    for serial in serials {
        assert!(
            text.matches(&serial.to_string()).count() >= 2,
            "intent and outcome of {serial}"
        );
    }
    // An exported head is still contained later, and another CA's is not.
    let head = world.verb(json!({"verb": "audit_export"})).await.unwrap();
    let head = serde_json::to_value(head).unwrap()["data"]["signature"]
        .as_str()
        .unwrap()
        .to_owned();
    world.pool("later").await;
    let contained = world
        .verb(json!({"verb": "audit_verify", "head": head}))
        .await;
    assert!(contained.is_ok(), "{contained:?}");
    let forged = head.replacen("\"entries\":", "\"entries\":1", 1);
    assert_ne!(forged, head);
    let refused = world
        .verb(json!({"verb": "audit_verify", "head": forged}))
        .await;
    assert!(refused.is_err());
}
