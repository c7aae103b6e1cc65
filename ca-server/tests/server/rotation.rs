//! A key of the CA is replaced: who has to have confirmed what before which step, and that a server that dies goes on.

use ca_api::admin::{AdminReply, CaKeys};
use ca_server::{
    admin::machine,
    fleet::{deliver, wanted},
    issue::{self, RecordError, SignedBy},
    keys::{Life, Purpose},
    ledger::{Actor, CertificateKind},
    records::{FleetRecord, KrlRecord, SeenRecord, fleet},
    revoke::krl,
    rotate::{self, Stage, Wish},
    session::plan::{self, Planned},
    store::{Fault, Table, WriteError},
};
use serde_json::{Value, json};
use ssh_key::{HashAlg, PublicKey};

use crate::{
    day,
    world::{Answer, Person, Session, World, certificate},
};

/// A CA with alice on `web-1` and `web-2`, both of which have what is wanted.
pub async fn company() -> (World, Person) {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    for name in ["web-1", "web-2"] {
        day::machine(&world, name, &["web"]).await;
        let machine = name.parse().unwrap();
        machine::managed(
            &world.ca,
            Actor::Server,
            &machine,
            SeenRecord::default(),
            ca_server::records::Reach::PushToo,
        )
        .await
        .unwrap();
        applies(&world, name).await;
    }
    (world, alice)
}

pub async fn wanted_on(world: &World, name: &str) -> (FleetRecord, KrlRecord) {
    wanted::refresh_all(&world.ca).await.unwrap();
    let krl = krl::current(&world.ca).await.unwrap();
    let all = world.ca.db.read(fleet).unwrap();
    let (_, record) = all
        .into_iter()
        .find(|(one, _)| one.as_str() == name)
        .unwrap();
    (record, krl)
}

/// The machine says that it has all that is wanted there: what a delivery would have written down.
pub async fn applies(world: &World, name: &str) {
    let (record, krl) = wanted_on(world, name).await;
    says(
        world,
        name,
        SeenRecord {
            generation: record.generation,
            krl_version: krl.version,
            krl_covers: krl.covers,
            krl_ca_keys: krl.ca_keys.clone(),
            trusts: record.trusts.clone(),
            host_ca: deliver::host_ca(&record),
            last_seen_unix: Some(world.now()),
            ..SeenRecord::default()
        },
    );
}

pub fn says(world: &World, name: &str, seen: SeenRecord) {
    let name = name.to_owned();
    world
        .ca
        .db
        .write(move |txn| {
            txn.unrecorded()
                .put_json(Table::Seen, name.as_bytes(), &seen);
            Ok::<_, ca_server::store::ReadError>(())
        })
        .unwrap();
}

pub async fn ca(world: &World, request: Value) -> CaKeys {
    match world.verb(request).await {
        Ok(AdminReply::CaKeys(keys)) => keys,
        other => panic!("{other:?}"),
    }
}

/// The name of the key that signed the session's only certificate.
pub fn signed_by(world: &World, certificates: &[String]) -> String {
    let one = certificate(&certificates[0]);
    let print = one.signature_key().fingerprint(HashAlg::Sha256).to_string();
    let keys = world.ca.keys();
    let held = keys.user_ca.find(&print).unwrap();
    held.record().name()
}

pub fn life(world: &World, purpose: Purpose, number: u32) -> Life {
    let keys = world.ca.keys();
    let mut all = keys.ring(purpose).all();
    let held = all.find(|held| held.record().number == number).unwrap();
    held.record().life
}

async fn renewed(world: &World, session: &Session) -> Vec<String> {
    let answer: Answer = world.renew(session).await;
    answer.issued().certificates
}

/// The user CA keys that a machine is told to trust.
async fn told(world: &World, name: &str) -> usize {
    wanted_on(world, name).await.0.trusts.len()
}

/// Rotates the user CA to the point where its next key signs.
pub async fn switched(world: &World) {
    ca(world, json!({"verb": "ca_rotate", "key": "user"})).await;
    for name in ["web-1", "web-2"] {
        applies(world, name).await;
    }
    rotate::go_on(&world.ca).await;
    assert_eq!(life(world, Purpose::UserCa, 2), Life::Current);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_new_user_ca_key_signs_only_when_every_machine_has_confirmed_it() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    let id = world.ca.keys().ca_id();
    let begun = ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    assert!(begun.waits, "nobody listens on these machines");
    assert_eq!(begun.rotations[0].waits_for.len(), 2);
    assert_eq!(life(&world, Purpose::UserCa, 2), Life::Next);
    assert_eq!(told(&world, "web-1").await, 2, "announced");
    let directory = session_directory(&world, &session).await;
    assert_eq!(directory["user_cas"].as_array().unwrap().len(), 2);

    applies(&world, "web-1").await;
    rotate::go_on(&world.ca).await;
    assert_eq!(
        signed_by(&world, &renewed(&world, &session).await),
        "user_ca"
    );
    // The generation is there and its KRL is not: what the new key signs could not be revoked (R4).
    let (record, _) = wanted_on(&world, "web-2").await;
    let keys = world.ca.keys();
    let half = SeenRecord {
        generation: record.generation,
        trusts: record.trusts.clone(),
        krl_ca_keys: vec![keys.user_ca.current_held().fingerprint().to_owned()],
        ..SeenRecord::default()
    };
    says(&world, "web-2", half);
    rotate::go_on(&world.ca).await;
    assert_eq!(
        signed_by(&world, &renewed(&world, &session).await),
        "user_ca"
    );

    applies(&world, "web-2").await;
    rotate::go_on(&world.ca).await;
    assert_eq!(
        signed_by(&world, &renewed(&world, &session).await),
        "user_ca.2"
    );
    assert_eq!(
        signed_by(&world, &world.login(&alice).await.issued.certificates),
        "user_ca.2"
    );
    assert_eq!(world.ca.keys().ca_id(), id, "proofs go on");
    assert_eq!(told(&world, "web-1").await, 2, "both are trusted");
}

async fn session_directory(world: &World, session: &Session) -> Value {
    let mut body = world.renew_body(session).await;
    body["directory_tag"] = session.issued.directory_tag.clone().into();
    let answer = world.post("/v1/renew", &body).await;
    answer.json()["directory"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_machine_that_is_left_behind_is_not_waited_for_and_no_other() {
    let (world, alice) = company().await;
    // What the old key signed is valid for a while.
    world.login(&alice).await;
    let wrong = world
        .verb(json!({"verb": "ca_rotate", "key": "user", "leave_behind": ["web-9"]}))
        .await;
    assert!(wrong.is_err(), "an unknown machine");
    assert!(
        world.ca.keys().user_ca.next().is_none(),
        "and nothing began"
    );
    let left = json!({"verb": "ca_rotate", "key": "user", "leave_behind": ["web-2"]});
    let begun = ca(&world, left).await;
    assert_eq!(begun.rotations[0].waits_for.len(), 1);
    assert_eq!(begun.rotations[0].leave_behind, ["web-2"]);
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::UserCa, 2), Life::Next);
    applies(&world, "web-1").await;
    rotate::go_on(&world.ca).await;
    assert_eq!(
        signed_by(&world, &world.login(&alice).await.issued.certificates),
        "user_ca.2"
    );
    // The one that was left behind is brought what everybody has.
    assert_eq!(told(&world, "web-2").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_step_by_step_nothing_happens_by_itself() {
    let (world, _) = company().await;
    let step = json!({"verb": "ca_rotate", "key": "user", "pace": "step"});
    ca(&world, step.clone()).await;
    for name in ["web-1", "web-2"] {
        applies(&world, name).await;
    }
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::UserCa, 2), Life::Next);
    let second = ca(&world, step.clone()).await;
    assert_eq!(second.did.len(), 1, "{:?}", second.did);
    assert_eq!(life(&world, Purpose::UserCa, 2), Life::Current);
    let third = ca(&world, step).await;
    assert!(!third.did.is_empty() || life(&world, Purpose::UserCa, 1) == Life::Retiring);
}

#[tokio::test(flavor = "multi_thread")]
async fn k4_what_was_decided_under_the_old_key_is_not_signed_after_the_switch() {
    let (world, alice) = company().await;
    let old = world.ca.keys();
    let email = alice.email.parse().unwrap();
    let subject = policies::acceptable_subject(alice.key.public_key(), []).unwrap();
    let proven = ca_server::session::possession::ProvenKey {
        key: alice.key.public_key().clone(),
        subject,
        kind: policies::KeyKind::Plain,
    };
    let now = world.ca.clock.steady().unwrap();
    let narrow = policies::Narrow::default();
    let Planned::Orders(plan) = plan::plan(&world.ca, &email, None, &narrow, &proven, now).unwrap()
    else {
        panic!("nothing granted")
    };
    switched(&world).await;
    let by = SignedBy::current(&old, CertificateKind::User);
    let linted = plan.linted.clone();
    let refused = world
        .ca
        .db
        .write(move |txn| issue::record(txn, &linted, &by, &Actor::Server, 0));
    assert!(matches!(
        refused,
        Err(WriteError::Refused(RecordError::KeysChanged))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn r4_each_user_ca_key_has_its_section_and_what_is_revoked_is_revoked_under_both() {
    let (world, alice) = company().await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let (old, other) = (world.login(&alice).await, world.login(&bob).await);
    switched(&world).await;
    let new = renewed(&world, &old).await;
    let both = [old.issued.certificates[0].clone(), new[0].clone()];
    assert_eq!(world.revoked(&both).await, [false, false]);
    // One of them by its serial: under the key that signed it, and under no other.
    let serial = certificate(&both[0]).serial();
    let target = json!({"verb": "krl_revoke", "target": {"serial": serial}});
    world.verb(target).await.unwrap();
    assert_eq!(world.revoked(&both).await, [true, false]);
    let twin = {
        // The same serial by the other key: the ledger knows no such certificate.
        let keys = world.ca.keys();
        let mut builder = ssh_key::certificate::Builder::new(
            vec![1; 32],
            alice.key.public_key().key_data().clone(),
            1,
            100,
        )
        .unwrap();
        builder.serial(serial).unwrap();
        builder.key_id("x/1").unwrap();
        builder.valid_principal("alice@web").unwrap();
        let signer = ca_server::signer::SigningKey(keys.user_ca.current().as_ref());
        builder.sign(&signer).unwrap().to_openssh().unwrap()
    };
    assert_eq!(world.revoked(&[twin]).await, [false]);
    let target = json!({"verb": "krl_revoke", "target": {"employee": alice.email}});
    world.verb(target).await.unwrap();
    assert_eq!(world.revoked(&both).await, [true, true]);
    assert_eq!(world.revoked(&other.issued.certificates).await, [false]);
    let parcel = {
        use base64::Engine as _;
        let krl = krl::current(&world.ca).await.unwrap();
        base64::engine::general_purpose::STANDARD
            .decode(krl.parcel)
            .unwrap()
    };
    let parcel = ca_machine::KrlParcel::decode(&parcel).unwrap();
    assert_eq!(parcel.revoked_canaries.len(), 2, "a pair for each key");
    assert_eq!(parcel.good_canaries.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_no_key_of_the_ring_is_ever_certified() {
    let (world, alice) = company().await;
    ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    let keys = world.ca.keys();
    let next = PublicKey::from(keys.user_ca.next().unwrap().key().key_data().clone());
    let mut body = world.login_body(&alice).await;
    body["public_key"] = next.to_openssh().unwrap().into();
    let answer = world.post("/v1/login", &body).await;
    assert_ne!(answer.status, 200);
    let print = keys.user_ca.next().unwrap().fingerprint().to_owned();
    let target = json!({"verb": "krl_revoke", "target": {"key": print}});
    assert!(world.verb(target).await.is_err());
}

/// Each commit of a rotation is tried twice: not saved, and saved without a word of it. After each the server is started
/// again, as after kill -9: the store decides, and it goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_every_commit_of_a_rotation_it_goes_on_from_there() {
    let (mut world, alice) = company().await;
    world.login(&alice).await;
    let keys = world.folder.path().join("ca/keys");
    let stages = [
        ("begun", [Life::Current, Life::Next]),
        ("switched", [Life::Retiring, Life::Current]),
        ("counted", [Life::Retiring, Life::Current]),
        ("taken out", [Life::Retiring, Life::Current]),
        ("retired", [Life::Retired, Life::Current]),
    ];
    for (what, lives) in stages {
        let before = stage(&world);
        for fault in [Fault::NotPersisted, Fault::PersistedAndBlind] {
            world.faults.fail_next([fault]);
            let (ca, by, user) = (&world.ca, &Actor::Server, Purpose::UserCa);
            let taken = if before.is_none() {
                rotate::begin(ca, by, user, &Wish::default()).await
            } else {
                rotate::advance(ca, by, user).await
            };
            assert!(taken.is_err(), "{what}: {fault:?}");
            world = world.restart().await;
            if fault == Fault::NotPersisted {
                assert_eq!(
                    stage(&world),
                    before,
                    "{what}: nothing of it is in the store"
                );
            }
        }
        assert_ne!(stage(&world), before, "{what}");
        assert_eq!([1, 2].map(|one| life(&world, Purpose::UserCa, one)), lives);
        // What the next step waits for.
        for name in ["web-1", "web-2"] {
            applies(&world, name).await;
        }
        if what == "counted" {
            world.ca.clock.shift(25 * 3600);
        }
    }
    assert!(keys.join("user_ca.2").exists());
    assert!(
        !keys.join("user_ca").exists(),
        "deleted by the server that came after"
    );
    let session = world.login(&alice).await;
    assert_eq!(signed_by(&world, &session.issued.certificates), "user_ca.2");
    assert_eq!(world.revoked(&session.issued.certificates).await, [false]);
    assert_eq!(world.ca.keys().user_ca.trusted().len(), 1);
    let verified = world.verb(json!({"verb": "audit_verify"})).await;
    assert!(verified.is_ok(), "{verified:?}");
}

pub fn stage(world: &World) -> Option<Stage> {
    let view = world.ca.db.snapshot().unwrap();
    let keys = world.ca.key_room.at(&view).unwrap();
    rotate::stage(&view, &keys, Purpose::UserCa, world.now()).unwrap()
}
