//! The fleet key's change: whatever happens at whichever step, what the server sends leads from any key that it ever had to the one that signs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ca_api::admin::{AdminReply, MachinePrepared};
use ca_machine::{Namespace, Signed, Succession};
use ca_server::{
    fleet::{
        succession::{self, ChangeError, Reason},
        wanted,
    },
    keys::{Life, Purpose},
    ledger::Actor,
    store::Fault,
};
use serde_json::json;
use ssh_key::PublicKey;

use crate::world::{World, ed25519};

async fn change(world: &World) -> Result<(), ChangeError> {
    succession::change(&world.ca, &Actor::Server, Reason::Rotation(None))
        .await
        .map(|_| ())
}

fn current(world: &World) -> PublicKey {
    world.ca.keys().fleet.current_held().key().clone()
}

fn same(one: &PublicKey, other: &PublicKey) -> bool {
    one.key_data() == other.key_data()
}

/// What `bootstrap` would be handed for web-1.
async fn prepared(world: &World, seen: serde_json::Value) -> MachinePrepared {
    let key = ed25519().public_key().to_openssh().unwrap();
    let request = json!({
        "verb": "machine_prepare", "machine": "web-1", "address": "127.9.0.1", "port": 1, "pools": ["web"], "host_key": key,
        "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}", "rebuilt": true, "seen": seen,
    });
    match world.verb(request).await.unwrap() {
        AdminReply::MachinePrepared(prepared) => prepared,
        other => panic!("{other:?}"),
    }
}

/// Where a machine ends that goes by `key` and follows what it is sent.
pub fn follows(mut key: PublicKey, chain: &[Signed]) -> PublicKey {
    let mut seen = 0;
    for signed in chain {
        let link = Succession::decode(signed.object()).unwrap();
        if !same(&link.old, &key) || link.number <= seen {
            continue;
        }
        let object = signed.object().to_vec();
        let signature = signed.signature().to_owned();
        Signed::from_parts(Namespace::Succession, object, signature, &[key]).unwrap();
        (key, seen) = (link.new, link.number);
    }
    key
}

/// Whoever goes by one of `ever` understands what is sent: the KRL, and the bundle.
pub async fn everybody_is_led(world: &World, ever: &[PublicKey]) {
    let keys = world.ca.keys();
    let chain = succession::chain(&world.ca, &keys).unwrap();
    for key in ever {
        let known = [ca_server::keys::record::fingerprint(key)];
        let links = chain.onward(&known);
        assert!(same(&follows(key.clone(), &links), &current(world)));
        // A server that knows nothing of the machine sends everything.
        assert!(same(
            &follows(key.clone(), &chain.onward(&[])),
            &current(world)
        ));
        assert_eq!(links.is_empty(), same(key, &current(world)));
    }
    let reply = prepared(world, serde_json::Value::Null).await;
    let signer = [current(world)];
    for (namespace, object, signature) in [
        (Namespace::Bundle, &reply.bundle, &reply.bundle_signature),
        (Namespace::Krl, &reply.krl, &reply.krl_signature),
    ] {
        let object = STANDARD.decode(object).unwrap();
        Signed::from_parts(namespace, object, signature.clone(), &signer).unwrap();
    }
    assert_eq!(reply.fleet_keys.len(), 1);
    assert!(same(
        &PublicKey::from_openssh(&reply.fleet_keys[0]).unwrap(),
        &current(world)
    ));
}

#[tokio::test]
async fn k3_at_every_step_of_a_change_what_is_sent_leads_to_the_key_that_signs() {
    let mut world = World::new().await;
    world.pool("web").await;
    let mut ever = vec![current(&world)];
    everybody_is_led(&world, &ever).await;

    // The server dies when the key is made and the store has not named it: it is nothing.
    world.ca.key_room.make(Purpose::Fleet, 2).unwrap();
    world = world.restart().await;
    assert!(same(&current(&world), &ever[0]));
    everybody_is_led(&world, &ever).await;

    // The commit fails, in each of the ways in which one can.
    for fault in [
        Fault::NotPersisted,
        Fault::Lost,
        Fault::PersistedButErrored,
        Fault::LostAndBlind,
        Fault::PersistedAndBlind,
        Fault::FlushFailed,
    ] {
        world.faults.fail_next([fault]);
        // Of some the store itself finds out how they ended.
        drop(change(&world).await);
        if world.ca.db.stopped().is_none() {
            let now = current(&world);
            if !ever.iter().any(|key| same(key, &now)) {
                ever.push(now);
            }
            everybody_is_led(&world, &ever).await;
        }
        world = world.restart().await;
        let now = current(&world);
        if !ever.iter().any(|key| same(key, &now)) {
            ever.push(now);
        }
        everybody_is_led(&world, &ever).await;
    }
    let before = ever.len();
    for _ in 0..2 {
        change(&world).await.unwrap();
        ever.push(current(&world));
        everybody_is_led(&world, &ever).await;
        world = world.restart().await;
        everybody_is_led(&world, &ever).await;
    }
    assert_eq!(ever.len(), before + 2);
    assert_eq!(world.ca.keys().fleet.retiring().len(), ever.len() - 1);
    // Machines are told to trust one alone.
    assert_eq!(world.ca.keys().fleet.trusted().len(), 1);
}

#[tokio::test]
async fn r2_numbers_rise_also_when_the_clock_goes_back_and_two_changes_at_once_are_one() {
    let world = World::new().await;
    world.pool("web").await;
    let before = u64::try_from(world.now()).unwrap();
    change(&world).await.unwrap();
    let highest = |world: &World| {
        succession::chain(&world.ca, &world.ca.keys())
            .unwrap()
            .highest()
    };
    let first = highest(&world);
    assert!(first >= before);
    world.ca.clock.shift(-400 * 24 * 3600);
    change(&world).await.unwrap();
    assert_eq!(highest(&world), first + 1);
    let (one, other) = tokio::join!(change(&world), change(&world));
    assert!(one.is_ok() || other.is_ok());
    let current = world.ca.keys();
    let held = current.fleet.current_held();
    assert_eq!(held.record().life, Life::Current);
    let chain = succession::chain(&world.ca, &current).unwrap();
    assert!(chain.onward(&[held.fingerprint().to_owned()]).is_empty());
}

#[tokio::test]
async fn after_a_compromise_nothing_leads_on_and_an_admin_tells_each_machine_anew() {
    let world = World::new().await;
    world.pool("web").await;
    let first = current(&world);
    change(&world).await.unwrap();
    let stolen = current(&world);
    let record = succession::change(&world.ca, &Actor::Server, Reason::Compromise("a test"))
        .await
        .unwrap();
    assert_eq!(record.number, 3);
    let keys = world.ca.keys();
    assert_eq!(
        keys.fleet.ended().last().map(|held| held.record().life),
        Some(Life::Compromised)
    );
    let chain = succession::chain(&world.ca, &keys).unwrap();
    let print = ca_server::keys::record::fingerprint;
    for old in [&first, &stolen] {
        assert!(!chain.begins_at(&[print(old)]));
        assert!(
            chain.onward(&[print(old)]).is_empty(),
            "a link to the stolen key leads astray"
        );
    }
    let last = chain.highest();
    assert!(last > 0, "numbers go on");
    // From the new key on it goes as always, and what was signed before is signed anew.
    let fresh = current(&world);
    everybody_is_led(&world, std::slice::from_ref(&fresh)).await;
    change(&world).await.unwrap();
    everybody_is_led(&world, &[fresh, current(&world)]).await;
    let before = u64::try_from(world.now()).unwrap();
    let told = prepared(&world, serde_json::Value::Null).await.succession;
    assert!(told > last);
    // One less than the second of its making: the next change is above it.
    assert!(
        told >= before - 1,
        "above what a restored CA forgot: {told}"
    );
}

#[tokio::test]
async fn r2_a_machine_that_is_told_anew_gets_a_generation_and_a_krl_above_what_it_has_seen() {
    let world = World::new().await;
    world.pool("web").await;
    let none = serde_json::Value::Null;
    let before = prepared(&world, none.clone()).await;
    let hash = |text: &str| ca_server::ca::sha256_hex(&STANDARD.decode(text).unwrap());
    let parcel = ca_machine::KrlParcel::decode(&STANDARD.decode(&before.krl).unwrap()).unwrap();
    let seen = |generation: u64, bundle: &str, version: u64, krl: &str| json!({"generation": generation, "bundle_sha256": bundle, "krl_version": version, "krl_sha256": krl});
    // A new host key each time: the generation rises by that. So the machine that is as the CA knows it is asked twice.
    let again = prepared(&world, none.clone()).await;
    assert!(again.generation > before.generation);
    let far = again.generation + 5_000;
    let ahead = prepared(&world, seen(far, "", before.krl_version, &parcel.sha256())).await;
    assert!(ahead.generation > far);
    assert_eq!(
        ahead.krl_version, before.krl_version,
        "nothing is made for nothing"
    );
    let other = prepared(&world, seen(1, "", before.krl_version, "another")).await;
    assert!(other.krl_version > before.krl_version);
    let newer = other.krl_version + 10_000;
    let ahead = prepared(&world, seen(1, "", newer, "another")).await;
    assert!(ahead.krl_version > newer);
    let same_bytes = hash(&ahead.bundle);
    assert_ne!(same_bytes, String::new());
    // No machine lies the numbers of all the others up.
    let key = ed25519().public_key().to_openssh().unwrap();
    let in_two_days = other.krl_version + 2 * 24 * 3600;
    for version in [in_two_days, 900_000_000_000_000_000] {
        let refused = world
        .verb(json!({
            "verb": "machine_prepare", "machine": "web-1", "address": "127.9.0.1", "port": 1, "pools": ["web"], "host_key": key,
            "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}", "rebuilt": true,
            "seen": seen(1, "", version, "another"),
        }))
        .await
        .unwrap_err();
        assert!(refused.hint.contains("remove-machine"), "{refused:?}");
    }
    wanted::refresh_all(&world.ca).await.unwrap();
}
