//! A1–A10: the two doors that employees come through.

use std::{sync::Arc, time::Instant};

use ca_server::{config::Argon2Config, store::Fault};
use rand_core::{OsRng, RngCore};
use serde_json::{Value, json};

use crate::world::{Answer, Person, World, code_at, ed25519};

async fn with_alice() -> (World, Person) {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    (world, alice)
}

/// Missing, null, empty, of another type, wrong.
fn spoilt(body: &Value, field: &str, wrong: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut missing = body.clone();
    missing.as_object_mut().unwrap().remove(field);
    all.push((format!("{field} missing"), missing));
    let right = body[field].as_str().unwrap_or_default().to_owned();
    for value in [
        json!(null),
        json!(""),
        json!(0),
        json!(true),
        json!([]),
        json!([right]),
        json!({"$ne": ""}),
        json!(wrong),
        json!(format!("{right}\0")),
        json!(format!("x{right}")),
    ] {
        let mut one = body.clone();
        one[field] = value.clone();
        all.push((format!("{field} = {value}"), one));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_login_needs_every_part_of_it() {
    let (world, alice) = with_alice().await;
    let stranger = ed25519().public_key().to_openssh().unwrap();
    for (field, wrong) in [
        ("email", "bob@corp.example"),
        ("password", "wobbly-lantern-eats-41-figs-1"),
        ("totp", "000000"),
        ("public_key", stranger.as_str()),
        (
            "nonce",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("proof", "-----BEGIN SSH SIGNATURE-----"),
    ] {
        let cases = spoilt(&world.login_body(&alice).await, field, wrong).len();
        for n in 0..cases {
            // Each on a right request of its own: only the spoilt field is wrong.
            let (what, body) = spoilt(&world.login_body(&alice).await, field, wrong).swap_remove(n);
            world.ca.clock.shift(3600);
            let mut body = body;
            if field != "totp" {
                body["totp"] = world.code(&alice).into();
            }
            if field != "nonce" && field != "proof" {
                let nonce = world.nonce().await;
                let message = ca_api::proof::login_message(
                    &world.ca.keys().ca_id(),
                    &nonce,
                    body["email"].as_str().unwrap_or(&alice.email),
                    &crate::world::blob(&alice.key),
                );
                body["proof"] =
                    crate::world::sshsig(&alice.key, ca_api::proof::LOGIN_NAMESPACE, &message)
                        .into();
                body["nonce"] = nonce.into();
            }
            let answer = world.post("/v1/login", &body).await;
            assert!(
                matches!(answer.status, 400 | 401),
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(!answer.text().contains("cert-v01"), "{what}");
        }
    }
    let mut unknown = world.login_body(&alice).await;
    unknown["remember"] = true.into();
    assert_eq!(world.post("/v1/login", &unknown).await.code(), "invalid");
    world.ca.clock.shift(3600);
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_renewal_needs_key_nonce_and_secret() {
    let (world, alice) = with_alice().await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    let others = world.login(&bob).await;
    for (field, wrong) in [
        ("session_id", others.id.as_str()),
        ("session_secret", others.secret.as_str()),
        ("nonce", "AAAA"),
        ("proof", "-----BEGIN SSH SIGNATURE-----"),
    ] {
        let cases = spoilt(&world.renew_body(&session).await, field, wrong).len();
        for n in 0..cases {
            let (what, body) =
                spoilt(&world.renew_body(&session).await, field, wrong).swap_remove(n);
            let answer = world.post("/v1/renew", &body).await;
            assert!(
                matches!(answer.status, 400 | 401),
                "{what}: {} {}",
                answer.status,
                answer.text()
            );
            assert!(!answer.text().contains("cert-v01"), "{what}");
        }
    }
    // Another's key over everything that is right otherwise: a stolen secret alone renews nothing.
    let mut thief = session.clone();
    thief.key = bob.key.clone();
    assert_eq!(world.renew(&thief).await.code(), "invalid");
    // A forwarded agent alone, without the secret, neither.
    let mut agent = session.clone();
    agent.secret = others.secret.clone();
    assert_eq!(world.renew(&agent).await.code(), "session_over");
    world.renew(&session).await.issued();
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_nonce_works_once_also_in_parallel_and_not_after_a_restart() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let world = Arc::new(world);
    let body = world.renew_body(&session).await;
    let racing: Vec<_> = (0..16)
        .map(|_| {
            let (world, body) = (Arc::clone(&world), body.clone());
            tokio::spawn(async move { world.post("/v1/renew", &body).await.status })
        })
        .collect();
    let mut won = 0;
    for one in racing {
        match one.await.unwrap() {
            200 => won += 1,
            status => assert_eq!(status, 400),
        }
    }
    assert_eq!(won, 1);
    let kept = world.renew_body(&session).await;
    let world = Arc::into_inner(world).unwrap().restart().await;
    assert_eq!(world.post("/v1/renew", &kept).await.code(), "bad_nonce");
    world.renew(&session).await.issued();
    let old = world.renew_body(&session).await;
    world.ca.clock.shift(62);
    assert_eq!(world.post("/v1/renew", &old).await.code(), "bad_nonce");
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_a_code_is_six_ascii_digits_and_nothing_like_them() {
    let (world, alice) = with_alice().await;
    type Spoil = fn(&str) -> String;
    let forms: [Spoil; 7] = [
        |c| format!(" {c}"),
        |c| format!("{c} "),
        |c| format!("{c}\n"),
        |c| format!("{} {}", &c[..3], &c[3..]),
        |c| format!("0{c}"),
        |c| {
            c.chars()
                .map(|d| char::from_u32(0x0660 + d as u32 - 48).unwrap())
                .collect()
        },
        |c| {
            c.chars()
                .map(|d| char::from_u32(0xff10 + d as u32 - 48).unwrap())
                .collect()
        },
    ];
    for spoil in forms {
        world.ca.clock.shift(3600);
        let mut body = world.login_body(&alice).await;
        body["totp"] = spoil(body["totp"].as_str().unwrap()).into();
        let answer = world.post("/v1/login", &body).await;
        assert_eq!(
            answer.code(),
            "refused",
            "{}: {}",
            body["totp"],
            answer.text()
        );
    }
    world.ca.clock.shift(3600);
    world.login(&alice).await;
}

/// Login requests with one code, each on a nonce and a device of its own.
async fn same_code(world: &World, person: &Person, code: &str, count: usize) -> Vec<Value> {
    let mut all = Vec::new();
    for _ in 0..count {
        let nonce = world.nonce().await;
        let message = ca_api::proof::login_message(
            &world.ca.keys().ca_id(),
            &nonce,
            &person.email,
            &crate::world::blob(&person.key),
        );
        all.push(json!({
            "email": person.email, "password": person.password, "totp": code, "nonce": nonce,
            "public_key": person.key.public_key().to_openssh().unwrap(),
            "proof": crate::world::sshsig(&person.key, ca_api::proof::LOGIN_NAMESPACE, &message),
        }));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_one_code_lets_exactly_one_of_many_in() {
    let (world, alice) = with_alice().await;
    // Many known devices: each has a budget of its own, so that only the step itself can refuse the others.
    let mut devices = Vec::new();
    for _ in 0..6 {
        let session = world.login(&alice).await;
        devices.push(session.issued.session.unwrap().device);
    }
    let code = world.fresh_code(&alice);
    let mut bodies = same_code(&world, &alice, &code, devices.len()).await;
    for (body, device) in bodies.iter_mut().zip(&devices) {
        body["device"] = device.expose().into();
    }
    let world = Arc::new(world);
    let racing: Vec<_> = bodies
        .into_iter()
        .map(|body| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.post("/v1/login", &body).await })
        })
        .collect();
    let mut won = 0;
    for one in racing {
        let answer: Answer = one.await.unwrap();
        if answer.status == 200 {
            won += 1;
        } else {
            assert_eq!(answer.code(), "refused", "{}", answer.text());
        }
    }
    assert_eq!(won, 1, "logins with one code");

    // Not after a restart, not for the admins' door, not for another purpose.
    let world = Arc::into_inner(world).unwrap().restart().await;
    let mut again = same_code(&world, &alice, &code, 1).await.remove(0);
    again["device"] = devices[0].expose().into();
    assert_eq!(world.post("/v1/login", &again).await.code(), "refused");
    let change = json!({
        "email": alice.email, "password": alice.password, "totp": code, "new_password": "another-lantern-eats-77-plums",
    });
    world.ca.clock.shift(2);
    assert_eq!(world.post("/v1/password", &change).await.code(), "refused");
    world.login(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_neither_a_reset_nor_a_removal_forgets_the_last_step() {
    let (world, alice) = with_alice().await;
    for removal in [false, true] {
        let person = Person {
            totp: alice.totp.clone(),
            ..alice.clone()
        };
        let request = if removal {
            world
                .verb(json!({"verb": "employee_remove", "email": person.email}))
                .await
                .unwrap();
            json!({"verb": "employee_add", "email": person.email, "pools": ["web"]})
        } else {
            json!({"verb": "employee_reset", "email": person.email})
        };
        let code = crate::world::code_of(world.verb(request).await.unwrap());
        let started = world.post("/v1/enrol/start", &json!({"code": code})).await;
        let secret = started.json()["totp_secret"].as_str().unwrap().to_owned();
        let totp = data_encoding::BASE32_NOPAD
            .decode(secret.as_bytes())
            .unwrap();
        // Enrolled at step N: the code of N itself lets nobody in afterwards, though it is within the slack.
        world.ca.clock.shift(60);
        let now = world.now();
        let finish =
            json!({"code": code, "password": person.password, "totp": code_at(&totp, now)});
        let finished = world.post("/v1/enrol/finish", &finish).await;
        assert_eq!(finished.status, 200, "{}", finished.text());
        let person = Person { totp, ..person };
        let body = same_code(&world, &person, &code_at(&person.totp, now), 1)
            .await
            .remove(0);
        assert_eq!(world.post("/v1/login", &body).await.code(), "refused");
        world.ca.clock.shift(60);
        world.login(&person).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_every_refusal_is_the_same_to_the_byte() {
    let (world, alice) = with_alice().await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let carol = world.employee("carol@corp.example", &["web"]).await;
    world.invite("dave@corp.example", &["web"], false).await;
    world
        .verb(json!({"verb": "employee_suspend", "email": bob.email}))
        .await
        .unwrap();
    world
        .verb(json!({"verb": "employee_remove", "email": carol.email}))
        .await
        .unwrap();
    let mut answers: Vec<(&str, Answer)> = Vec::new();
    let unknown = Person {
        email: "nobody@corp.example".to_owned(),
        ..alice.clone()
    };
    let not_an_email = Person {
        email: "no email at all".to_owned(),
        ..alice.clone()
    };
    let invited = Person {
        email: "dave@corp.example".to_owned(),
        ..alice.clone()
    };
    let wrong_password = Person {
        password: "something else".to_owned(),
        ..alice.clone()
    };
    let long_password = Person {
        password: "x".repeat(5000),
        ..alice.clone()
    };
    let wrong_code = Person {
        totp: vec![7; 20],
        ..alice.clone()
    };
    for (what, person) in [
        ("unknown email", &unknown),
        ("no email", &not_an_email),
        ("invited", &invited),
        ("wrong password", &wrong_password),
        ("oversize password", &long_password),
        ("wrong code", &wrong_code),
        ("suspended", &bob),
        ("removed", &carol),
    ] {
        world.ca.clock.shift(3600);
        answers.push((what, world.try_login(person).await));
    }
    // Locked: the attempt before has just failed.
    world.ca.clock.stop();
    world.ca.clock.shift(3600);
    let body = world.login_body(&wrong_password).await;
    world.post("/v1/login", &body).await;
    let locked = same_code(&world, &alice, &world.code(&alice), 1).await;
    answers.push(("locked", world.post("/v1/login", &locked[0]).await));
    // A used code.
    world.ca.clock.shift(3600);
    let right = world.login_body(&alice).await;
    let code = right["totp"].as_str().unwrap().to_owned();
    assert_eq!(world.post("/v1/login", &right).await.status, 200);
    let used = same_code(&world, &alice, &code, 1).await;
    answers.push(("used code", world.post("/v1/login", &used[0]).await));
    // The admins' door says no more: right factors without the role, and none at all.
    world.ca.clock.shift(3600);
    let admin =
        json!({"email": alice.email, "password": alice.password, "totp": world.fresh_code(&alice)});
    answers.push(("no admin", world.post("/v1/admin/login", &admin).await));
    world.ca.clock.shift(3600);
    answers.push((
        "no admin, wrong code",
        world.post("/v1/admin/login", &admin).await,
    ));

    let plain = |answer: &Answer| {
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "date");
        (answer.status, headers, answer.bytes.clone())
    };
    let first = plain(&answers[0].1);
    assert_eq!(first.0, 401);
    for (what, answer) in &answers {
        assert_eq!(plain(answer), first, "{what}");
    }
    // The ledger knows them apart.
    let ledger = world.ledger(200).await;
    for reason in [
        "unknown email",
        "wrong password",
        "wrong code",
        "not active",
        "too many attempts",
    ] {
        assert!(
            ledger
                .iter()
                .any(|line| line.event == "login_refused" && line.detail.contains(reason)),
            "{reason}"
        );
    }
}

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

/// The chance that a sample of one group is slower than one of the other.
fn auc(slow: &[f64], fast: &[f64]) -> f64 {
    let mut wins = 0.0;
    for a in slow {
        for b in fast {
            wins += match a.total_cmp(b) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / (slow.len() * fast.len()) as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_an_unknown_email_takes_the_same_path_and_the_same_time() {
    // Dear enough to be seen: without its Argon2 run, every unknown email would be faster than every known one.
    let world = World::with(Argon2Config {
        memory_kib: 1024,
        passes: 1,
        parallel: 2,
    })
    .await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let known = Person {
        password: "not the password at all".to_owned(),
        ..alice.clone()
    };
    let unknown = Person {
        email: "alien@corp.example".to_owned(),
        ..known.clone()
    };
    let sample = async |person: &Person| {
        // A day later every attempt is the first again.
        world.ca.clock.shift(25 * 3600);
        let body = same_code(&world, person, "123456", 1).await.remove(0);
        let request = serde_json::from_value(body).unwrap();
        let (commits, started) = (world.faults.commits(), Instant::now());
        let from = [127, 0, 0, 1].into();
        let outcome = ca_server::session::login::login(&world.ca, request, from).await;
        let took = started.elapsed().as_secs_f64();
        assert!(outcome.is_err());
        (took, world.faults.commits() - commits)
    };
    let mut last = 0.0;
    for round in 0..10 {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for _ in 0..150 {
            // Interleaved in random order, so that a busy machine is busy for both.
            let known_first = OsRng.next_u32().is_multiple_of(2);
            for first in [true, false] {
                let (person, into) = if first == known_first {
                    (&known, &mut a)
                } else {
                    (&unknown, &mut b)
                };
                let (took, commits) = sample(person).await;
                assert_eq!(commits, 2, "attempt and refusal are counted for both");
                into.push(took);
            }
        }
        last = auc(&a, &b);
        println!("round {round}: AUC {last:.3}");
        if (0.45..=0.55).contains(&last) {
            return;
        }
    }
    panic!(
        "known and unknown emails can be told apart by time: AUC {last:.3}, and never within bounds"
    );
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
