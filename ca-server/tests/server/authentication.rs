//! A1–A3: what a login and a renewal need, and that each code works once.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::world::{Answer, Person, World, code_at, ed25519};

pub async fn with_alice() -> (World, Person) {
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
pub async fn same_code(world: &World, person: &Person, code: &str, count: usize) -> Vec<Value> {
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
