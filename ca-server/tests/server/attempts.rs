//! A5, A6, A9, A10: the budget of attempts, whoever asks and however often.

use std::sync::Arc;

use ca_server::{config::Argon2Config, store::Fault};
use serde_json::json;

use crate::{
    authentication::{same_code, with_alice},
    world::{Person, World},
};

fn looked_at(lines: &[ca_api::admin::LedgerLine]) -> usize {
    lines
        .iter()
        .filter(|line| line.event == "login_refused" && !line.detail.contains("too many attempts"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_a_hundred_parallel_guesses_get_the_budget_of_one() {
    let (world, alice) = with_alice().await;
    let wrong = Person {
        password: "not the password at all".to_owned(),
        ..alice.clone()
    };
    // All in one second: the first lock-out ends for none of them.
    world.ca.clock.stop();
    world.ca.clock.shift(3600);
    let code = world.fresh_code(&wrong);
    let bodies = same_code(&world, &wrong, &code, 100).await;
    let world = Arc::new(world);
    let racing: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.post("/v1/login", &body).await })
        })
        .collect();
    for one in racing {
        assert_eq!(one.await.unwrap().status, 401);
    }
    let looked = looked_at(&world.ledger(400).await);
    assert_eq!(looked, 1, "passwords that were compared");
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_an_attempt_counts_when_the_connection_is_cut_and_over_a_crash() {
    use tokio::io::AsyncWriteExt;
    // So slow that the client can hang up while its password is being compared.
    let world = World::with(Argon2Config {
        memory_kib: 64 * 1024,
        passes: 4,
        parallel: 1,
    })
    .await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    world.ca.clock.stop();
    world.ca.clock.shift(3600);
    let mut body = world.login_body(&alice).await;
    body["password"] = "not the password at all".into();
    let text = body.to_string();
    let stream = tokio::net::TcpStream::connect(world.address).await.unwrap();
    let mut tls = tokio_rustls::TlsConnector::from(Arc::clone(&world.client))
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
        .unwrap();
    let head = format!(
        "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        text.len()
    );
    tls.write_all(head.as_bytes()).await.unwrap();
    tls.write_all(text.as_bytes()).await.unwrap();
    tls.flush().await.unwrap();
    let counted = async {
        loop {
            let attempts = world.ledger(50).await;
            if attempts.iter().any(|line| line.event == "login_attempt") {
                return attempts;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), counted)
        .await
        .expect("the attempt was counted");
    drop(tls);
    // The right password right after it is locked out too, and after a restart as well.
    let right = same_code(&world, &alice, &world.code(&alice), 2).await;
    let now = world.now();
    assert_eq!(world.post("/v1/login", &right[0]).await.status, 401);
    let world = world.restart().await;
    world.ca.clock.stop();
    world.ca.clock.shift(now - world.now());
    let right = same_code(&world, &alice, &world.code(&alice), 1).await;
    assert_eq!(
        world.post("/v1/login", &right[0]).await.status,
        401,
        "the restart forgot the attempt"
    );
    world.ca.clock.shift(3600);
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_an_attempt_that_cannot_be_counted_is_not_looked_at() {
    let (world, alice) = with_alice().await;
    let body = world.login_body(&alice).await;
    world.faults.fail_next([Fault::NotPersisted]);
    let answer = world.post("/v1/login", &body).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    // The code is still good: nothing was looked at.
    let code = body["totp"].as_str().unwrap();
    let again = same_code(&world, &alice, code, 1).await.remove(0);
    assert_eq!(world.post("/v1/login", &again).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_one_person_has_one_budget_however_the_email_is_written() {
    let (world, alice) = with_alice().await;
    // All within the second of the first lock-out.
    world.ca.clock.stop();
    world.ca.clock.shift(3600);
    let mut compared = 0;
    for email in [
        "alice@corp.example",
        "Alice@corp.example",
        "ALICE@CORP.EXAMPLE",
        "alice@Corp.Example",
    ] {
        let guess = Person {
            email: email.to_owned(),
            password: "not the password at all".to_owned(),
            ..alice.clone()
        };
        let body = same_code(&world, &guess, "123456", 1).await.remove(0);
        assert_eq!(world.post("/v1/login", &body).await.status, 401);
        compared = looked_at(&world.ledger(50).await);
    }
    assert_eq!(compared, 1, "each spelling had a budget of its own");
    world.ca.clock.shift(3600);
    let shouted = Person {
        email: "ALICE@Corp.Example".to_owned(),
        ..alice.clone()
    };
    let session = world.login(&shouted).await;
    let key_id = crate::world::certificate(&session.issued.certificates[0])
        .key_id()
        .to_owned();
    assert_eq!(key_id, "alice@corp.example/1");
    let twice = world
        .verb(json!({"verb": "employee_add", "email": "ALICE@corp.example", "account": "alice2"}))
        .await;
    assert!(twice.is_err(), "the same person twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_stranger_cannot_lock_a_known_device_out() {
    let (world, alice) = with_alice().await;
    let device = world.login(&alice).await.issued.session.unwrap().device;
    let guess = Person {
        password: "not the password at all".to_owned(),
        ..alice.clone()
    };
    for _ in 0..5 {
        let body = same_code(&world, &guess, "123456", 1).await.remove(0);
        world.post("/v1/login", &body).await;
    }
    world.ca.clock.stop();
    let code = world.fresh_code(&alice);
    let body = same_code(&world, &guess, "123456", 1).await.remove(0);
    world.post("/v1/login", &body).await;
    let mut known = same_code(&world, &alice, &code, 1).await.remove(0);
    known["device"] = device.expose().into();
    assert_eq!(world.post("/v1/login", &known).await.status, 200);
    // A token of somebody else's device is no free budget.
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let foreign = world.login(&bob).await.issued.session.unwrap().device;
    world.ca.clock.shift(3600);
    let before = looked_at(&world.ledger(400).await);
    for token in [foreign.expose(), "a-made-up-token", ""] {
        let mut body = same_code(&world, &guess, "123456", 1).await.remove(0);
        body["device"] = token.into();
        world.post("/v1/login", &body).await;
    }
    assert_eq!(looked_at(&world.ledger(400).await) - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a10_a_flood_of_logins_is_bounded_and_the_server_lives() {
    let world = World::with(Argon2Config {
        memory_kib: 8 * 1024,
        passes: 1,
        parallel: 2,
    })
    .await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let mut bodies = Vec::new();
    for n in 0..400 {
        let flood = Person {
            email: format!("flood{n}@corp.example"),
            ..alice.clone()
        };
        bodies.push(same_code(&world, &flood, "123456", 1).await.remove(0));
    }
    let world = Arc::new(world);
    let racing: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(n, body)| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                let request = serde_json::from_value(body).unwrap();
                // Each from a network of its own: no lock-out stands in the flood's way.
                let from = std::net::Ipv4Addr::new(10, (n / 250) as u8, (n % 250) as u8, 1);
                ca_server::session::login::login(&world.ca, request, from.into())
                    .await
                    .map(|_| ())
                    .map_err(|error| ca_api::ApiError::from(&error).code)
            })
        })
        .collect();
    let (mut refused, mut busy) = (0, 0);
    for one in racing {
        match one.await.unwrap() {
            Err(ca_api::ErrorCode::Refused) => refused += 1,
            Err(ca_api::ErrorCode::Busy) => busy += 1,
            other => panic!("{other:?}"),
        }
    }
    println!("{refused} refused, {busy} turned away");
    assert_eq!(refused + busy, 400);
    assert!(refused > 0);
    world.login(&alice).await;
}
