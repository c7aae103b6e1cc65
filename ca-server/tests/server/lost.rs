//! One key of the CA alone is in somebody else's hands: what he could do with it is worth nothing, and the others go on.

use ca_machine::Succession;
use ca_server::{
    fleet::succession,
    keys::{Held, Life, Purpose},
    records::SeenRecord,
    signer::SigningKey,
};
use serde_json::json;
use ssh_key::PublicKey;

use crate::{
    fleet_key::follows,
    rotation::{ca, company, life, says, signed_by, stage, switched, wanted_on},
    rotation_ends::forge_with,
    world::{World, ed25519},
};

async fn lose(world: &World, key: &str) -> ca_api::admin::CaKeys {
    ca(
        world,
        json!({"verb": "ca_compromise", "key": key, "reason": "copied"}),
    )
    .await
}

fn is_there(world: &World, key: &str) -> bool {
    world.folder.path().join("ca/keys").join(key).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_next_key_that_was_lost_never_signs_and_the_one_that_signs_goes_on() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    // Machines trust it already: the thief could let himself in everywhere.
    let theirs = [forge_with(&world, 1)];
    assert_eq!(world.revoked(&theirs).await, [false]);
    for round in ["lost", "said again"] {
        let said = lose(&world, "user_ca.2").await;
        assert_eq!(
            said.did[0].contains("given up before"),
            round == "said again",
            "{:?}",
            said.did
        );
        assert_eq!(
            [1, 2].map(|one| life(&world, Purpose::UserCa, one)),
            [Life::Current, Life::Compromised]
        );
        assert_eq!(world.revoked(&theirs).await, [true]);
        assert_eq!(
            world.revoked(&session.issued.certificates).await,
            [false],
            "nobody has to renew"
        );
        assert_eq!(
            (stage(&world), is_there(&world, "user_ca.2")),
            (None, false)
        );
        assert_eq!(wanted_on(&world, "web-1").await.0.trusts.len(), 1);
    }
    let renewed = world.renew(&session).await.issued().certificates;
    assert_eq!(signed_by(&world, &renewed), "user_ca");
    ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    assert_eq!(
        life(&world, Purpose::UserCa, 3),
        Life::Next,
        "and it is replaced as always"
    );
    let unknown = json!({"verb": "ca_compromise", "key": "user_ca.9"});
    assert!(world.verb(unknown).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn k4_a_key_that_was_lost_on_its_way_out_is_revoked_at_once() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    switched(&world).await;
    let theirs = [forge_with(&world, 1)];
    let fresh = world.renew(&session).await.issued().certificates;
    assert_eq!(world.revoked(&theirs).await, [false], "it is trusted still");
    let print = {
        let keys = world.ca.keys();
        keys.user_ca.retiring()[0].fingerprint().to_owned()
    };
    lose(&world, &print).await;
    assert_eq!(
        [1, 2].map(|one| life(&world, Purpose::UserCa, one)),
        [Life::Compromised, Life::Current]
    );
    assert_eq!(world.revoked(&theirs).await, [true]);
    assert_eq!(
        world.revoked(&session.issued.certificates).await,
        [true],
        "it may be the thief's"
    );
    assert_eq!(world.revoked(&fresh).await, [false]);
    assert_eq!((stage(&world), is_there(&world, "user_ca")), (None, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_when_the_key_that_signs_alone_is_lost_the_next_one_signs_at_once() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    let theirs = [forge_with(&world, 0)];
    lose(&world, "user_ca.1").await;
    assert_eq!(
        [1, 2].map(|one| life(&world, Purpose::UserCa, one)),
        [Life::Compromised, Life::Current]
    );
    assert_eq!(world.revoked(&theirs).await, [true]);
    let renewed = world.renew(&session).await.issued().certificates;
    assert_eq!(signed_by(&world, &renewed), "user_ca.2");
    assert_eq!(world.revoked(&renewed).await, [false]);
    assert_eq!(stage(&world), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_next_host_ca_key_that_was_lost_makes_no_machine_believed() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    ca(&world, json!({"verb": "ca_rotate", "key": "host"})).await;
    let lost = {
        let keys = world.ca.keys();
        keys.host_ca.next().unwrap().record().public_key.clone()
    };
    let told = world.renew(&session).await.issued().directory.unwrap();
    assert_eq!(told.host_cas.len(), 2, "employees believe it already");
    lose(&world, "host_ca.2").await;
    let told = world.renew(&session).await.issued().directory.unwrap();
    assert_eq!(told.host_cas.len(), 1);
    assert!(told.revoked_hosts.contains(&lost));
    assert_eq!(
        [1, 2].map(|one| life(&world, Purpose::HostCa, one)),
        [Life::Current, Life::Compromised]
    );
}

fn goes_by(world: &World, name: &str, key: &Held) {
    let fleet_keys = vec![key.fingerprint().to_owned()];
    let seen = SeenRecord {
        fleet_keys,
        last_seen_unix: Some(world.now()),
        ..SeenRecord::default()
    };
    says(world, name, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn r9_an_old_fleet_key_that_was_lost_commands_nobody_who_was_led_on_and_the_others_are_named()
{
    let (world, _) = company().await;
    ca(&world, json!({"verb": "ca_rotate", "key": "fleet"})).await;
    let keys = world.ca.keys();
    let (old, now) = (
        keys.fleet.retiring()[0].clone(),
        keys.fleet.current_held().clone(),
    );
    goes_by(&world, "web-1", &now);
    goes_by(&world, "web-2", &old);
    // The thief names a successor of his own, above every number of ours.
    let evil = ed25519().public_key().clone();
    let theirs = Succession {
        number: 900_000_000_000_000_000,
        old: old.key().clone(),
        new: PublicKey::from(evil.key_data().clone()),
    };
    let theirs = theirs
        .sign(&SigningKey(old.signer().unwrap().as_ref()))
        .unwrap();

    let said = lose(&world, "fleet.1").await;
    assert_eq!(
        [1, 2].map(|one| life(&world, Purpose::Fleet, one)),
        [Life::Compromised, Life::Current]
    );
    assert!(!is_there(&world, "fleet") && is_there(&world, "fleet.2"));
    let named =
        |said: &ca_api::admin::CaKeys, text: &str| said.did.iter().any(|one| one.contains(text));
    assert!(
        said.waits
            && named(&said, "--resync")
            && named(&said, "web-2: ")
            && !named(&said, "web-1: "),
        "{:?}",
        said.did
    );
    // Whoever goes by the new one does not hear the thief; who does not yet is led on by ours, if we are there first.
    let chain = [theirs];
    assert_eq!(
        follows(now.key().clone(), &chain).key_data(),
        now.key().key_data()
    );
    assert_eq!(
        follows(old.key().clone(), &chain).key_data(),
        evil.key_data(),
        "nobody can prevent that"
    );
    let ours = succession::chain(&world.ca, &world.ca.keys()).unwrap();
    let led = follows(
        old.key().clone(),
        &ours.onward(&[old.fingerprint().to_owned()]),
    );
    assert_eq!(led.key_data(), now.key().key_data());
    // One that was led astray is known by what it says.
    let astray = SeenRecord {
        fleet_keys: vec![ca_server::keys::record::fingerprint(&evil)],
        ..SeenRecord::default()
    };
    says(&world, "web-2", astray);
    let again = lose(&world, "fleet.1").await;
    assert!(again.waits, "{:?}", again.did);
    goes_by(&world, "web-2", &now);
    assert!(
        world
            .restart()
            .await
            .ca
            .keys()
            .fleet
            .find(old.fingerprint())
            .unwrap()
            .signer()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_fleet_key_that_signs_takes_those_before_it_along() {
    let (world, _) = company().await;
    ca(&world, json!({"verb": "ca_rotate", "key": "fleet"})).await;
    let said = lose(&world, "fleet").await;
    assert_eq!(
        [1, 2, 3].map(|one| life(&world, Purpose::Fleet, one)),
        [Life::Compromised, Life::Compromised, Life::Current]
    );
    assert!(!is_there(&world, "fleet") && !is_there(&world, "fleet.2"));
    assert!(
        said.waits && said.did.iter().any(|one| one.contains("--resync")),
        "{:?}",
        said.did
    );
    let keys = world.ca.keys();
    let chain = succession::chain(&world.ca, &keys).unwrap();
    for lost in keys.fleet.ended() {
        assert!(chain.onward(&[lost.fingerprint().to_owned()]).is_empty());
    }
    let named = lose(&world, "fleet.3").await;
    assert_eq!(
        life(&world, Purpose::Fleet, 4),
        Life::Current,
        "by its own name as well: {:?}",
        named.did
    );
}
