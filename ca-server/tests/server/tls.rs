//! The TLS CA's replacement, while the server serves: who pinned the old one goes on, learns the new one, and loses nothing.

use std::sync::Arc;

use ca_api::admin::{AdminReply, AdminRequest};
use ca_server::{
    keys::Life,
    ledger::Actor,
    store::Fault,
    tls::room::{self, Step},
};
use serde_json::json;

use crate::world::{Person, World, template, trusting};

async fn take(world: &World, step: Step) {
    room::take(&world.ca, &Actor::Server, step).await.unwrap();
}

/// Does a client that pinned this certificate get through the handshake and an answer?
pub async fn answers(world: &World, pem: &[u8]) -> bool {
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(trusting(pem));
    connector.connect(name, stream).await.is_ok()
}

/// The certificate in force.
pub fn pem(world: &World, number: u32) -> Vec<u8> {
    let name = match number {
        1 => "ca.pem".to_owned(),
        number => format!("ca.{number}.pem"),
    };
    std::fs::read(world.folder.path().join("ca/tls").join(name)).unwrap()
}

pub fn key_is_there(world: &World, number: u32) -> bool {
    let name = match number {
        1 => "ca.key".to_owned(),
        number => format!("ca.{number}.key"),
    };
    world.folder.path().join("ca/tls").join(name).exists()
}

/// What a new employee's invitation tells to pin.
async fn given_out(world: &World, email: &str) -> String {
    let request: AdminRequest =
        serde_json::from_value(json!({"verb": "employee_add", "email": email})).unwrap();
    match world.command(request).await.unwrap() {
        AdminReply::Invited(invitation) => invitation.fingerprint,
        other => panic!("{other:?}"),
    }
}

async fn told(world: &World, person: &Person) -> Option<Vec<u8>> {
    let issued = world.login(person).await.issued;
    issued.tls_ca.map(String::into_bytes)
}

#[tokio::test]
async fn c2_the_tls_ca_is_replaced_under_the_feet_of_those_who_pinned_it() {
    let mut world = World::new().await;
    world.pool("web").await;
    let person = world.employee("alice@corp.example", &["web"]).await;
    let old = template().tls_ca.clone();
    let old_print = world.ca.tls.fingerprint();
    assert_eq!(told(&world, &person).await, None);

    // Files without a record are nothing: the server died before it could say so.
    std::fs::write(world.folder.path().join("ca/tls/ca.2.pem"), "half").unwrap();
    world.faults.fail_next([Fault::NotPersisted]);
    let failed = room::take(&world.ca, &Actor::Server, Step::Rotate).await;
    assert!(failed.is_err());
    assert_eq!(world.ca.tls.fingerprint(), old_print);
    world = world.restart().await;
    assert_eq!(world.ca.tls.fingerprint(), old_print);
    assert!(answers(&world, &old).await);

    take(&world, Step::Rotate).await;
    let new_print = world.ca.tls.fingerprint();
    let new = pem(&world, 2);
    for round in 0..2 {
        assert_ne!(new_print, old_print);
        assert_eq!(world.ca.tls.fingerprint(), new_print);
        assert_eq!(
            given_out(&world, &format!("new-{round}@corp.example")).await,
            new_print
        );
        assert!(answers(&world, &old).await && answers(&world, &new).await);
        // Over the old pin: a login, which tells the new one.
        let text = |pem: &[u8]| String::from_utf8_lossy(pem).replace('\r', "");
        let heard = told(&world, &person).await.unwrap();
        assert_eq!(text(&heard), text(&new));
        world = world.restart().await;
    }
    assert!(key_is_there(&world, 1));

    take(&world, Step::Retire).await;
    // The other keys are replaced right after it, though the store has all of them in one table.
    let rotate = json!({"verb": "ca_rotate", "key": "fleet"});
    world.verb(rotate).await.unwrap();
    for _ in 0..2 {
        assert!(!answers(&world, &old).await && answers(&world, &new).await);
        assert!(!key_is_there(&world, 1) && key_is_there(&world, 2));
        world = world.restart().await;
    }
    world.client = trusting(&new);
    assert_eq!(told(&world, &person).await, None);
    let nothing = room::take(&world.ca, &Actor::Server, Step::Retire).await;
    assert!(matches!(nothing, Err(room::ReplaceError::NothingRetires)));
}

#[tokio::test]
async fn c2_a_compromised_tls_ca_vouches_for_nobody() {
    let world = World::new().await;
    let old = template().tls_ca.clone();
    take(&world, Step::Rotate).await;
    let second = pem(&world, 2);
    take(&world, Step::Compromise).await;
    assert!(!answers(&world, &old).await && !answers(&world, &second).await);
    assert!(answers(&world, &pem(&world, 3)).await);
    assert!(!key_is_there(&world, 1) && !key_is_there(&world, 2));
    assert_eq!(world.ca.tls.announced(), None);
    let world = world.restart().await;
    assert!(!answers(&world, &second).await && answers(&world, &pem(&world, 3)).await);
    drop(Arc::clone(&world.ca));
}

/// Does this tool fetch something from the server, with the certificates in this file as its only trust?
fn fetched(world: &World, tool: &str, trusted: &str) -> bool {
    let file = world.folder.path().join("trusted.pem");
    std::fs::write(&file, trusted).unwrap();
    let url = format!("https://{}/v1/nonce", world.address);
    let mut command = std::process::Command::new(tool);
    match tool {
        "curl" => command.args(["-q", "-f", "-s", "--max-time", "60", "--cacert"]),
        _ => command.args([
            "--no-config",
            "-q",
            "--tries=1",
            "--timeout=60",
            "-O",
            "-",
            "--ca-certificate",
        ]),
    };
    command
        .arg(&file)
        .arg(url)
        .output()
        .unwrap()
        .status
        .success()
}

/// What machines fetch with builds one path and tries no second one: it has to be the right one for those who know the old CA alone, and for
/// those who were told the next one.
#[tokio::test(flavor = "multi_thread")]
async fn c2_curl_and_wget_go_on_over_a_replacement_of_the_tls_ca() {
    let mut world = World::new().await;
    let old = String::from_utf8(template().tls_ca.clone()).unwrap();
    let told = |world: &World| world.ca.tls.pem().unwrap();
    let mut known = vec![old.clone()];
    for round in 0..2 {
        take(&world, Step::Rotate).await;
        // Given again, it makes no third one.
        take(&world, Step::Rotate).await;
        known.push(told(&world));
        world = world.restart().await;
        for tool in ["curl", "wget"] {
            for (at, trusted) in known.iter().enumerate().skip(round) {
                assert!(
                    fetched(&world, tool, trusted),
                    "{tool}, round {round}, known {at}"
                );
            }
        }
        take(&world, Step::Retire).await;
        for tool in ["curl", "wget"] {
            assert!(
                fetched(&world, tool, &known[round + 1]),
                "{tool}, round {round}"
            );
            assert!(
                !fetched(&world, tool, &known[round]),
                "{tool}, round {round}"
            );
        }
        known[round + 1] = told(&world);
    }
    assert_eq!(world.ca.tls.generations(&world.ca.db).unwrap().len(), 3);
}

#[tokio::test]
async fn c2_a_tls_ca_that_was_lost_on_its_way_out_is_shown_no_more_and_the_one_that_signs_goes_on()
{
    let world = World::new().await;
    let old = template().tls_ca.clone();
    take(&world, Step::Rotate).await;
    let print = world.ca.tls.fingerprint();
    for name in ["tls.1", "tls.1"] {
        let lost = json!({"verb": "ca_compromise", "key": name});
        world.verb(lost).await.unwrap();
        assert!(!answers(&world, &old).await && answers(&world, &pem(&world, 2)).await);
        assert!(!key_is_there(&world, 1) && key_is_there(&world, 2));
        assert_eq!(world.ca.tls.fingerprint(), print);
        let all = world.ca.tls.generations(&world.ca.db).unwrap();
        assert_eq!((all.len(), all[0].life), (2, Life::Compromised));
    }
    // The one that signs, by its own name: another one takes its place.
    world
        .verb(json!({"verb": "ca_compromise", "key": "tls.2"}))
        .await
        .unwrap();
    assert!(!answers(&world, &pem(&world, 2)).await && answers(&world, &pem(&world, 3)).await);
}
