//! A key of the CA from one back end into another: the same key, proven first, and a way back.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ca_api::ApiError;
use ca_server::{
    keys::Purpose,
    ledger::Actor,
    signer::{SignerSpec, spec::AgentSpec},
    store::Fault,
};
use serde_json::json;
use ssh_key::{HashAlg, LineEnding, PrivateKey};

use crate::{
    back_ends::{Agent, PIN, Token, key},
    fleet_key::everybody_is_led,
    world::{PASSPHRASE, Person, World},
};

async fn with_alice() -> (World, Person) {
    let world = World::with_keys(BTreeMap::new()).await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    (world, alice)
}

async fn move_user(world: &World, signer: &SignerSpec) -> Result<(), ApiError> {
    let signer = signer.to_string();
    world
        .verb(json!({"verb": "ca_move", "key": "user", "signer": signer, "pin": PIN}))
        .await
        .map(drop)
}

fn there(world: &World, name: &str) -> bool {
    path(world, name).exists()
}

fn path(world: &World, name: &str) -> PathBuf {
    world.folder.path().join("ca/keys").join(name)
}

fn back_end(world: &World) -> String {
    world.ca.keys().user_ca.current().back_end()
}

fn decrypted(world: &World, name: &str) -> PrivateKey {
    let text = std::fs::read(path(world, name)).unwrap();
    let locked = PrivateKey::from_openssh(text).unwrap();
    locked.decrypt(PASSPHRASE).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn k6_a_key_moves_through_every_back_end_and_back_and_stays_the_same() {
    let (world, alice) = with_alice().await;
    let (token, agent) = (Token::new(), Agent::start());
    let ours = world.ca.keys().user_ca.current().public_key().clone();

    // Into a token: brought in, because the token takes it.
    move_user(&world, &SignerSpec::Pkcs11(token.spec()))
        .await
        .unwrap();
    assert!(back_end(&world).starts_with("pkcs11:"));
    world.login(&alice).await;
    assert!(!there(&world, "user_ca") && there(&world, "user_ca.moved"));
    let told = std::fs::read_to_string(path(&world, "user_ca.signer")).unwrap();
    assert!(!told.contains(PIN), "{told}");
    let world = world.restart().await;
    assert!(back_end(&world).starts_with("pkcs11:"));
    world.login(&alice).await;

    // From there to an agent that has the same key.
    agent.add(&decrypted(&world, "user_ca.moved"));
    let spec = agent.spec();
    move_user(&world, &SignerSpec::Agent(spec)).await.unwrap();
    assert!(back_end(&world).starts_with("agent:"));
    world.login(&alice).await;

    // And home again.
    move_user(&world, &SignerSpec::File).await.unwrap();
    assert_eq!(back_end(&world), "file");
    assert!(there(&world, "user_ca") && !there(&world, "user_ca.signer"));
    assert!(!there(&world, "user_ca.moved"));
    let world = world.restart().await;
    world.login(&alice).await;
    assert_eq!(back_end(&world), "file");
    assert_eq!(*world.ca.keys().user_ca.current().public_key(), ours);

    let audit = world.verb(json!({"verb": "audit_list"})).await.unwrap();
    let audit = format!("{audit:?}");
    assert_eq!(audit.matches("where it was proven").count(), 3, "{audit}");
    assert!(!audit.contains(PIN));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_proven_is_not_moved() {
    let (world, alice) = with_alice().await;
    let (token, agent) = (Token::new(), Agent::start());
    agent.add(&key(ssh_key::Algorithm::Ed25519));
    let refused = |error: ApiError| {
        assert!(!there(&world, "user_ca.signer") && there(&world, "user_ca"));
        assert_eq!(back_end(&world), "file");
        error.message
    };
    // Another key, nobody there, a wrong PIN, nonsense.
    let other = refused(
        move_user(&world, &SignerSpec::Agent(agent.spec()))
            .await
            .unwrap_err(),
    );
    assert!(other.contains("does not hold the key"), "{other}");
    let absent = SignerSpec::Agent(AgentSpec::at("/nowhere/agent".as_ref()));
    let absent = refused(move_user(&world, &absent).await.unwrap_err());
    assert!(absent.contains("is not there"), "{absent}");
    let wrong = json!({
        "verb": "ca_move", "key": "user", "pin": "000000",
        "signer": SignerSpec::Pkcs11(token.spec()).to_string(),
    });
    let wrong = refused(world.verb(wrong).await.unwrap_err());
    assert!(wrong.contains("the PIN is wrong"), "{wrong}");
    refused(move_user(&world, &SignerSpec::File).await.unwrap_err());
    let nonsense = json!({"verb": "ca_move", "key": "user", "signer": "agent:here"});
    refused(world.verb(nonsense).await.unwrap_err());
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k5_over_the_network_no_admin_moves_a_key() {
    let (world, _) = with_alice().await;
    let agent = Agent::start();
    agent.add(&decrypted(&world, "user_ca"));
    let request = json!({
        "verb": "ca_move", "key": "user",
        "signer": SignerSpec::Agent(agent.spec()).to_string(),
    });
    let (events, _heard) = tokio::sync::mpsc::channel(16);
    let remote = Actor::Admin {
        email: "admin@corp.example".parse().unwrap(),
        address: IpAddr::from([127, 0, 0, 1]),
    };
    let request = serde_json::from_value(request).unwrap();
    let refused = world.admin.run(remote, request, &events).await.unwrap_err();
    assert!(
        refused.message.contains("on the CA's own host only"),
        "{}",
        refused.message
    );
    assert_eq!(back_end(&world), "file");
    assert!(!there(&world, "user_ca.signer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_cut_off_between_its_steps_is_finished_at_the_next_start() {
    let (world, alice) = with_alice().await;
    let agent = Agent::start();
    agent.add(&decrypted(&world, "user_ca"));
    let key_file = std::fs::read(path(&world, "user_ca")).unwrap();
    move_user(&world, &SignerSpec::Agent(agent.spec()))
        .await
        .unwrap();
    // As it was after the first step: it is written down, and the file is not put aside.
    std::fs::rename(path(&world, "user_ca.moved"), path(&world, "user_ca")).unwrap();
    let world = world.restart().await;
    assert!(back_end(&world).starts_with("agent:"));
    assert!(!there(&world, "user_ca") && there(&world, "user_ca.moved"));
    world.login(&alice).await;
    // The other way: taken back, and the note is still there.
    std::fs::copy(path(&world, "user_ca.moved"), path(&world, "user_ca")).unwrap();
    let world = world.restart().await;
    assert!(back_end(&world).starts_with("agent:"));
    assert_eq!(
        std::fs::read(path(&world, "user_ca.moved")).unwrap(),
        key_file
    );
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_keygen_reads_the_key_file_and_ssh_add_takes_it_over_by_its_comment() {
    let world = World::with_keys(BTreeMap::new()).await;
    let agent = Agent::start();
    for name in ["user_ca", "host_ca", "fleet"] {
        let plain = agent.folder.path().join(name);
        std::fs::copy(path(&world, name), &plain).unwrap();
        let out = std::process::Command::new("ssh-keygen")
            .args(["-p", "-q", "-P", PASSPHRASE, "-N", "", "-f"])
            .arg(&plain)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        agent.ssh_add(&["-q", plain.to_str().unwrap()]);
        let key = PrivateKey::from_openssh(std::fs::read(&plain).unwrap()).unwrap();
        assert!(key.to_openssh(LineEnding::LF).is_ok());
        let purpose = Purpose::ALL
            .into_iter()
            .find(|purpose| purpose.name() == name)
            .unwrap();
        let held = world.ca.keys();
        assert_eq!(
            held.ring(purpose).current_held().fingerprint(),
            key.fingerprint(HashAlg::Sha256).to_string()
        );
    }
    // A new CA takes all three, each by its name.
    let everywhere = Purpose::ALL
        .map(|purpose| (purpose, super::issuing::in_agent(agent.spec())))
        .into();
    let again = World::with_keys(everywhere).await;
    for purpose in Purpose::ALL {
        assert_eq!(
            again.ca.keys().ring(purpose).current_held().fingerprint(),
            world.ca.keys().ring(purpose).current_held().fingerprint()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_a_replacement_may_be_made_in_another_back_end() {
    let (world, alice) = with_alice().await;
    let token = Token::new();
    world.login(&alice).await;
    let rotated = json!({
        "verb": "ca_rotate", "key": "user", "pin": PIN,
        "signer": SignerSpec::Pkcs11(token.spec()).to_string(),
    });
    // Over the network nobody says where keys are (K5).
    let (events, _heard) = tokio::sync::mpsc::channel(64);
    let remote = Actor::Admin {
        email: "admin@corp.example".parse().unwrap(),
        address: IpAddr::from([127, 0, 0, 1]),
    };
    let request = serde_json::from_value(rotated.clone()).unwrap();
    let refused = world.admin.run(remote, request, &events).await.unwrap_err();
    assert!(refused.message.contains("on the CA's own host only"));
    assert!(!there(&world, "user_ca.2.signer"));
    // No machine has to confirm anything: it signs at once.
    world.verb(rotated).await.unwrap();
    assert!(there(&world, "user_ca.2.signer") && !there(&world, "user_ca.2"));
    assert!(
        back_end(&world).starts_with("pkcs11:"),
        "{}",
        back_end(&world)
    );
    let listed = world.verb(json!({"verb": "ca_list"})).await.unwrap();
    assert!(format!("{listed:?}").contains("object=ssh-ca%20user_ca.2"));
    let world = world.restart().await;
    assert!(back_end(&world).starts_with("pkcs11:"));
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn k3_the_next_fleet_key_may_be_made_in_another_back_end_and_machines_are_led_to_it() {
    let (mut world, _) = with_alice().await;
    let (token, agent) = (Token::new(), Agent::start());
    let current = |world: &World| world.ca.keys().fleet.current_held().key().clone();
    let back_end = |world: &World| world.ca.keys().fleet.current().back_end();
    let into = |signer: &SignerSpec| json!({"verb": "ca_rotate", "key": "fleet", "pin": PIN, "signer": signer.to_string()});
    let first = current(&world);
    // A place that has no key, and a server that dies between the key there and the commit that names it: nothing has changed.
    let nowhere = SignerSpec::Agent(agent.spec());
    assert!(world.verb(into(&nowhere)).await.is_err());
    let token = SignerSpec::Pkcs11(token.spec());
    world.faults.fail_next([Fault::NotPersisted]);
    assert!(world.verb(into(&token)).await.is_err());
    assert!(there(&world, "fleet.2.signer"));
    world = world.restart().await;
    assert_eq!(
        (current(&world), back_end(&world).as_str()),
        (first.clone(), "file")
    );
    // A file then: what was begun elsewhere is not looked for.
    world
        .verb(json!({"verb": "ca_rotate", "key": "fleet"}))
        .await
        .unwrap();
    assert!(there(&world, "fleet.2") && !there(&world, "fleet.2.signer"));
    let mut ever = vec![first, current(&world)];
    everybody_is_led(&world, &ever).await;

    let did = world.verb(into(&token)).await.unwrap();
    assert!(
        format!("{did:?}").contains("where --signer says"),
        "{did:?}"
    );
    ever.push(current(&world));
    for _ in 0..2 {
        assert!(
            back_end(&world).starts_with("pkcs11:"),
            "{}",
            back_end(&world)
        );
        assert!(there(&world, "fleet.3.signer") && !there(&world, "fleet.3"));
        everybody_is_led(&world, &ever).await;
        world = world.restart().await;
    }
    let tls = json!({"verb": "ca_rotate", "key": "tls", "pin": PIN, "signer": token.to_string()});
    let refused = world.verb(tls).await.unwrap_err();
    assert!(refused.hint.contains("[tls]"), "{refused:?}");
}
