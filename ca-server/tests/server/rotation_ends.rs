//! How a key of the CA leaves: the old one of a rotation, that of the host CA, and one that somebody else has.

use ca_api::admin::DeliveryOutcome;
use ca_server::{
    admin::machine,
    keys::{Life, Purpose},
    records::SeenRecord,
    revoke::krl,
    rotate::{self, Stage},
};
use serde_json::json;

use crate::{
    rotation::{applies, ca, company, life, says, signed_by, stage, switched, wanted_on},
    world::{Person, World, certificate, ed25519},
};

#[tokio::test(flavor = "multi_thread")]
async fn k4_the_old_key_is_trusted_until_the_last_certificate_that_it_signed_has_ended() {
    let (world, alice) = company().await;
    world.ca.clock.stop();
    let session = world.login(&alice).await;
    let end = i64::try_from(certificate(&session.issued.certificates[0]).valid_before()).unwrap();
    switched(&world).await;
    let renewed = world.renew(&session).await.issued().certificates;
    assert_eq!(signed_by(&world, &renewed), "user_ca.2");

    rotate::go_on(&world.ca).await;
    let Some(Stage::Retiring { until_unix, .. }) = stage(&world) else {
        panic!("{:?}", stage(&world))
    };
    assert_eq!(
        until_unix,
        Some(end),
        "what it really signed, to the second"
    );
    world.ca.clock.shift(end - world.now() - 2);
    rotate::go_on(&world.ca).await;
    let (record, _) = wanted_on(&world, "web-1").await;
    assert_eq!(
        record.trusts.len(),
        2,
        "its last certificate is valid still"
    );
    world.ca.clock.shift(3);
    rotate::go_on(&world.ca).await;
    let (record, krl) = wanted_on(&world, "web-1").await;
    assert_eq!(record.trusts.len(), 1, "told to trust it no more");
    // It may be trusted on a machine that has not heard that: so the KRL covers it (R4).
    let old = world.ca.keys();
    let old = old.user_ca.retiring()[0].fingerprint().to_owned();
    assert!(krl.ca_keys.contains(&old));
    applies(&world, "web-1").await;
    // One that was put back to an old disk: nobody knows what it trusts.
    says(&world, "web-2", SeenRecord::default());
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Retiring);
    applies(&world, "web-2").await;
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Retired);
    let krl = krl::current(&world.ca).await.unwrap();
    assert!(!krl.ca_keys.contains(&old));
    assert_eq!(stage(&world), None);
    let again = ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    assert_eq!(again.rotations.len(), 1, "and the next time");
    assert_eq!(life(&world, Purpose::UserCa, 3), Life::Next);
}

#[tokio::test(flavor = "multi_thread")]
async fn k4_no_command_takes_a_key_out_before_its_time() {
    let (world, alice) = company().await;
    world.login(&alice).await;
    for key in ["user_ca", "user_ca.2", "SHA256:x"] {
        let refused = world.verb(json!({"verb": "ca_retire", "key": key})).await;
        assert!(refused.is_err(), "{key}");
    }
    switched(&world).await;
    let left = json!({"verb": "ca_retire", "key": "user_ca", "leave_behind": ["web-1", "web-2"]});
    ca(&world, left).await;
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Retiring);
    assert_eq!(world.ca.keys().user_ca.trusted().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_new_host_ca_key_signs_when_every_live_session_has_its_line() {
    let (world, alice) = company().await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let (a, b) = (world.login(&alice).await, world.login(&bob).await);
    let begun = ca(&world, json!({"verb": "ca_rotate", "key": "host"})).await;
    let who: Vec<&str> = begun.rotations[0]
        .waits_for
        .iter()
        .map(|one| one.who.as_str())
        .collect();
    assert_eq!(who, [alice.email.as_str(), bob.email.as_str()]);
    assert_eq!(
        begun.rotations[0].until_unix,
        Some(a.ends_unix.max(b.ends_unix))
    );

    let answer = world.renew(&a).await.issued();
    assert_eq!(
        answer.directory.unwrap().host_cas.len(),
        2,
        "in known_hosts before it signs"
    );
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::HostCa, 2), Life::Next);
    // Whoever logs in now hears of it at once, and is not waited for.
    let fresh = Person {
        key: ed25519(),
        ..alice.clone()
    };
    world.login(&fresh).await;
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::HostCa, 2), Life::Next);
    // Bob's session ends without a renewal: he has to log in, and gets it then.
    world.ca.clock.shift(b.ends_unix - world.now() + 1);
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::HostCa, 2), Life::Current);
    assert_eq!(life(&world, Purpose::HostCa, 1), Life::Retiring);
    assert_eq!(
        world.ca.keys().host_ca.trusted().len(),
        2,
        "machines show the old one still"
    );

    for name in ["web-1", "web-2"] {
        machine::renew_host_certificate(&world.ca, &name.parse().unwrap())
            .await
            .unwrap();
        rotate::go_on(&world.ca).await;
        assert_eq!(
            life(&world, Purpose::HostCa, 1),
            Life::Retiring,
            "issued is not shown"
        );
        applies(&world, name).await;
    }
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::HostCa, 1), Life::Retired);
    let session = world.login(&bob).await;
    assert_eq!(session.issued.directory.unwrap().host_cas.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn k4_a_machine_that_is_off_keeps_the_old_host_ca_until_its_certificate_ended_or_it_is_left_behind()
 {
    let (world, _) = company().await;
    ca(&world, json!({"verb": "ca_rotate", "key": "host"})).await;
    assert_eq!(
        life(&world, Purpose::HostCa, 2),
        Life::Current,
        "nobody is logged in"
    );
    machine::renew_host_certificate(&world.ca, &"web-1".parse().unwrap())
        .await
        .unwrap();
    applies(&world, "web-1").await;
    rotate::go_on(&world.ca).await;
    assert_eq!(life(&world, Purpose::HostCa, 1), Life::Retiring);
    let left = json!({"verb": "ca_retire", "key": "host_ca", "leave_behind": ["web-2"]});
    ca(&world, left).await;
    assert_eq!(life(&world, Purpose::HostCa, 1), Life::Retired);
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_compromised_user_ca_key_is_revoked_whole_and_another_signs_at_once() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    let forged = forge(&world);
    assert_eq!(world.revoked(std::slice::from_ref(&forged)).await, [false]);
    let stopped = ca(
        &world,
        json!({"verb": "ca_compromise", "key": "user", "reason": "copied"}),
    )
    .await;
    assert!(stopped.waits);
    assert_eq!(stopped.machines.len(), 2);
    let missed = |one: &ca_api::admin::MachineDelivery| {
        matches!(one.outcome, DeliveryOutcome::NotReached { .. })
    };
    assert!(stopped.machines.iter().all(missed));
    // OpenSSH's own parser: what the ledger knows, and what only the thief knows.
    let old = [session.issued.certificates[0].clone(), forged];
    assert_eq!(world.revoked(&old).await, [true, true]);
    let new = world.renew(&session).await.issued();
    assert_eq!(signed_by(&world, &new.certificates), "user_ca.2");
    assert_eq!(world.revoked(&new.certificates).await, [false]);
    assert_eq!(new.directory.unwrap().user_cas.len(), 1);
    assert_eq!(wanted_on(&world, "web-1").await.0.trusts.len(), 1);
    assert!(!world.folder.path().join("ca/keys/user_ca").exists());

    let world = world.restart().await;
    assert_eq!(world.revoked(&old).await, [true, true]);
    let parcel = |krl: ca_server::records::KrlRecord| {
        use base64::Engine as _;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(krl.parcel)
            .unwrap();
        ca_machine::KrlParcel::decode(&bytes).unwrap()
    };
    let krl = krl::current(&world.ca).await.unwrap();
    assert_eq!(
        parcel(krl).revoked_canaries.len(),
        3,
        "its good canary has to be refused too"
    );
    for name in ["web-1", "web-2"] {
        applies(&world, name).await;
    }
    rotate::go_on(&world.ca).await;
    let krl = krl::current(&world.ca).await.unwrap();
    assert_eq!(parcel(krl).revoked_canaries.len(), 1);
    assert_eq!(
        world.revoked(&old).await,
        [true, true],
        "the entry stays for ever"
    );
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Compromised);
}

/// A certificate by the key that signs now, of which the CA knows nothing.
fn forge(world: &World) -> String {
    forge_with(world, 0)
}

/// The same, by one of the keys that are trusted: the one that signs, the next, those that retire.
pub fn forge_with(world: &World, at: usize) -> String {
    let keys = world.ca.keys();
    let held = keys.user_ca.covered().nth(at).unwrap();
    let thief = ed25519();
    let mut builder = ssh_key::certificate::Builder::new(
        vec![1; 32],
        thief.public_key().key_data().clone(),
        1,
        u64::MAX >> 1,
    )
    .unwrap();
    builder.serial(77).unwrap();
    builder.key_id("mallory/1").unwrap();
    builder.valid_principal("alice@web").unwrap();
    let signer = ca_server::signer::SigningKey(held.signer().unwrap().as_ref());
    builder.sign(&signer).unwrap().to_openssh().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_compromise_in_the_middle_of_a_rotation_revokes_every_key_that_lay_there() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    ca(&world, json!({"verb": "ca_rotate", "key": "user"})).await;
    // Whoever took the folder took the next key too.
    let theirs = [forge_with(&world, 0), forge_with(&world, 1)];
    ca(&world, json!({"verb": "ca_compromise", "key": "user"})).await;
    for number in [1, 2] {
        assert_eq!(life(&world, Purpose::UserCa, number), Life::Compromised);
    }
    assert_eq!(life(&world, Purpose::UserCa, 3), Life::Current);
    assert_eq!(stage(&world), None, "the rotation is over with it");
    assert_eq!(world.ca.keys().user_ca.trusted().len(), 1);
    assert_eq!(world.revoked(&theirs).await, [true, true]);
    assert_eq!(world.revoked(&session.issued.certificates).await, [true]);
    for name in ["user_ca", "user_ca.2"] {
        let left = world.folder.path().join("ca/keys").join(name).exists();
        assert!(!left, "{name} is still there");
    }
    // It is finished like any other, and the CA opens with it.
    for name in ["web-1", "web-2"] {
        applies(&world, name).await;
    }
    rotate::go_on(&world.ca).await;
    let world = world.restart().await;
    assert_eq!(world.revoked(&theirs).await, [true, true]);
    let new = world.login(&alice).await.issued;
    assert_eq!(signed_by(&world, &new.certificates), "user_ca.3");
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_compromise_reaches_the_keys_that_retire() {
    let (world, _) = company().await;
    crate::rotation::switched(&world).await;
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Retiring);
    let theirs = [forge_with(&world, 0), forge_with(&world, 1)];
    ca(&world, json!({"verb": "ca_compromise", "key": "user"})).await;
    for number in [1, 2] {
        assert_eq!(life(&world, Purpose::UserCa, number), Life::Compromised);
    }
    assert_eq!(life(&world, Purpose::UserCa, 3), Life::Current);
    assert_eq!(world.revoked(&theirs).await, [true, true]);
    assert_eq!(world.ca.keys().user_ca.trusted().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r1_a_key_file_that_cannot_be_deleted_keeps_no_machine_from_being_told() {
    let (world, _) = company().await;
    // Nothing that can be overwritten, whoever runs this.
    let file = world.folder.path().join("ca/keys/user_ca");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let said = ca(&world, json!({"verb": "ca_compromise", "key": "user"})).await;
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Compromised);
    assert_eq!(said.machines.len(), 2, "they were spoken to");
    assert!(said.did.iter().any(|one| one.contains("NOT be deleted")));
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_compromised_host_ca_key_is_named_as_revoked_in_known_hosts() {
    let (world, alice) = company().await;
    let session = world.login(&alice).await;
    let old = world.ca.keys().host_ca.trusted_texts();
    ca(&world, json!({"verb": "ca_compromise", "key": "host"})).await;
    let directory = world.renew(&session).await.issued().directory.unwrap();
    assert_eq!(directory.host_cas.len(), 1);
    assert_ne!(directory.host_cas, old);
    let blob = old[0].split(' ').nth(1).unwrap();
    assert!(directory.revoked_hosts.iter().any(|key| key.contains(blob)));
}
