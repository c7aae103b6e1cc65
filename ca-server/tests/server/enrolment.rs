//! A11: codes that let somebody in for the first time, or again.

use ca_api::admin::AdminReply;
use serde_json::json;

use crate::world::{Person, World, code_of, ed25519};

async fn world_with_web() -> World {
    let world = World::new().await;
    world.pool("web").await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_code_works_once_also_when_two_use_it_at_the_same_time() {
    let world = std::sync::Arc::new(world_with_web().await);
    let code = world.invite("alice@corp.example", &["web"], false).await;
    let started = world.post("/v1/enrol/start", &json!({"code": code})).await;
    let secret = started.json()["totp_secret"].as_str().unwrap().to_owned();
    let totp = data_encoding::BASE32_NOPAD
        .decode(secret.as_bytes())
        .unwrap();
    let again = world.post("/v1/enrol/start", &json!({"code": code})).await;
    assert_eq!(
        again.json()["totp_secret"],
        secret,
        "opened again, the secret stays"
    );

    let racing: Vec<_> = (0..8)
        .map(|n| {
            let (world, code, totp) = (std::sync::Arc::clone(&world), code.clone(), totp.clone());
            tokio::spawn(async move {
                let finish = json!({
                    "code": code,
                    "password": format!("wobbly-lantern-eats-41-figs-{n}"),
                    "totp": crate::world::code_at(&totp, world.now()),
                });
                (n, world.post("/v1/enrol/finish", &finish).await)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for one in racing {
        let (n, answer) = one.await.unwrap();
        if answer.status == 200 {
            winners.push(n);
        } else {
            assert_eq!(answer.status, 401, "{}", answer.text());
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let person = Person {
        email: "alice@corp.example".to_owned(),
        password: format!("wobbly-lantern-eats-41-figs-{}", winners[0]),
        totp,
        key: ed25519(),
    };
    world.login(&person).await;
    for path in ["/v1/enrol/start", "/v1/enrol/finish"] {
        let mut body = json!({"code": code});
        if path.ends_with("finish") {
            body["password"] = "wobbly-lantern-eats-42-figs".into();
            body["totp"] = world.fresh_code(&person).into();
        }
        let used = world.post(path, &body).await;
        assert_eq!(used.status, 401, "{path}: {}", used.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_code_ends_to_the_second_and_a_wrong_one_opens_nothing() {
    let world = world_with_web().await;
    world.ca.clock.stop();
    let AdminReply::Invited(invitation) = world
        .verb(json!({"verb": "employee_add", "email": "alice@corp.example"}))
        .await
        .unwrap()
    else {
        panic!("no invitation")
    };
    let code = invitation.code.expose().to_owned();
    world
        .ca
        .clock
        .shift(invitation.expires_unix - 1 - world.now());
    let last_second = world.post("/v1/enrol/start", &json!({"code": code})).await;
    // A slow machine may need that second itself.
    assert_eq!(last_second.status, 200, "{}", last_second.text());
    world.ca.clock.shift(invitation.expires_unix - world.now());
    let over = world.post("/v1/enrol/start", &json!({"code": code})).await;
    let wrong = world
        .post("/v1/enrol/start", &json!({"code": "aaaaa-bbbbb"}))
        .await;
    let none = world.post("/v1/enrol/start", &json!({"code": ""})).await;
    assert_eq!((over.status, wrong.status, none.status), (401, 401, 401));
    assert_eq!(
        (&over.bytes, &wrong.bytes),
        (&wrong.bytes, &none.bytes),
        "they cannot be told apart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_codes_and_totp_secrets_are_not_at_rest_as_they_are() {
    let world = world_with_web().await;
    let code = world.invite("alice@corp.example", &["web"], false).await;
    let alice = world.enrol("alice@corp.example", &code).await;
    let bob = world.invite("bob@corp.example", &["web"], false).await;
    let session = world.login(&alice).await;
    let store = std::fs::read(world.folder.path().join("store.redb")).unwrap();
    let hidden = [
        bob.clone().into_bytes(),
        bob.replace('-', "").into_bytes(),
        code.replace('-', "").into_bytes(),
        alice.password.clone().into_bytes(),
        session.secret.clone().into_bytes(),
        session
            .issued
            .session
            .unwrap()
            .device
            .expose()
            .as_bytes()
            .to_vec(),
        alice.totp.clone(),
        data_encoding::BASE32_NOPAD.encode(&alice.totp).into_bytes(),
    ];
    for secret in hidden {
        assert!(
            !store.windows(secret.len()).any(|part| part == secret),
            "{:?} is in the store's file",
            String::from_utf8_lossy(&secret)
        );
    }
    // The search itself finds what is there.
    let known = b"alice@corp.example";
    assert!(store.windows(known.len()).any(|part| part == known));
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_reset_ends_sessions_raises_the_epoch_and_forgets_both_factors() {
    let world = world_with_web().await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    let old = world.invite("bob@corp.example", &[], false).await;
    let reply = world
        .verb(json!({"verb": "employee_reset", "email": alice.email}))
        .await
        .unwrap();
    assert_eq!(world.show(&alice.email).await.epoch, 2);
    assert_eq!(world.renew(&session).await.code(), "session_over");
    assert_eq!(world.try_login(&alice).await.code(), "refused");
    assert_eq!(world.revoked(&session.issued.certificates).await, [true]);
    let again = world.enrol(&alice.email, &code_of(reply)).await;
    assert_ne!(again.totp, alice.totp, "a new authenticator");
    let old_factor = Person {
        totp: alice.totp.clone(),
        ..again.clone()
    };
    assert_eq!(world.try_login(&old_factor).await.code(), "refused");
    let fresh = world.login(&again).await;
    assert_eq!(world.revoked(&fresh.issued.certificates).await, [false]);

    // A second invitation replaces the first.
    world
        .verb(json!({"verb": "employee_reset", "email": "bob@corp.example"}))
        .await
        .unwrap();
    let replaced = world.post("/v1/enrol/start", &json!({"code": old})).await;
    assert_eq!(replaced.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_an_invitation_dies_after_ten_wrong_codes_and_with_its_person() {
    let world = world_with_web().await;
    let code = world.invite("alice@corp.example", &["web"], false).await;
    world.post("/v1/enrol/start", &json!({"code": code})).await;
    let wrong = json!({"code": code, "password": "wobbly-lantern-eats-41-figs", "totp": "12345x"});
    for n in 0..10 {
        let answer = world.post("/v1/enrol/finish", &wrong).await;
        assert!(
            answer.text().contains("authenticator"),
            "{n}: {}",
            answer.text()
        );
    }
    let dead = world.post("/v1/enrol/finish", &wrong).await;
    assert_eq!(dead.status, 401);
    assert!(dead.text().contains("enrolment code"), "{}", dead.text());

    let code = world.invite("bob@corp.example", &["web"], false).await;
    world
        .verb(json!({"verb": "employee_remove", "email": "bob@corp.example"}))
        .await
        .unwrap();
    let gone = world.post("/v1/enrol/start", &json!({"code": code})).await;
    assert_eq!(gone.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_ends_every_session_also_an_admins() {
    let world = world_with_web().await;
    let chief = world.an_admin("chief@corp.example", &["web"]).await;
    let session = world.login(&chief).await;
    let token = world.admin_token(&chief).await;
    let change = json!({
        "email": chief.email, "password": chief.password, "totp": world.fresh_code(&chief),
        "new_password": "another-lantern-eats-77-plums",
    });
    assert_eq!(world.post("/v1/password", &change).await.status, 200);
    assert_eq!(world.renew(&session).await.code(), "session_over");
    let bearer = format!("Bearer {token}");
    let answer = world
        .send(
            "POST",
            "/v1/admin",
            &[("authorization", &bearer)],
            r#"{"verb":"pool_list"}"#.into(),
        )
        .await;
    assert_eq!(
        answer.status,
        401,
        "the admin session of the old password: {}",
        answer.text()
    );
    assert_eq!(world.try_login(&chief).await.code(), "refused");
    let with_new = Person {
        password: "another-lantern-eats-77-plums".to_owned(),
        ..chief
    };
    world.login(&with_new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a11_a_password_can_be_asked_about_before_an_authenticator_is_set_up() {
    let world = world_with_web().await;
    let code = world.invite("alice@corp.example", &["web"], false).await;
    let started = world.post("/v1/enrol/start", &json!({"code": code})).await;
    let opened = world.ledger(1).await[0].seq;
    let ask = |password: &str| json!({"code": code, "password": password});
    for (weak, why) in [
        ("short", "12"),
        ("password1234", "guess"),
        ("alice@corp.example", "guess"),
    ] {
        let refused = world.post("/v1/enrol/start", &ask(weak)).await;
        assert_eq!(refused.code(), "invalid", "{weak}: {}", refused.text());
        assert!(refused.text().contains(why), "{weak}: {}", refused.text());
    }
    let taken = world
        .post("/v1/enrol/start", &ask("wobbly-lantern-eats-41-figs"))
        .await;
    assert_eq!(taken.json(), started.json(), "the authenticator stays");
    // A question is no event, and sets nothing: the password of the end counts.
    assert_eq!(world.ledger(1).await[0].seq, opened);
    let person = world.enrol("alice@corp.example", &code).await;
    world.login(&person).await;
    // Nobody without an invitation asks anything.
    let stranger = json!({"code": "aaaaa-bbbbb-ccccc-ddddd-e", "password": "short"});
    let refused = world.post("/v1/enrol/start", &stranger).await;
    assert_eq!(refused.code(), "refused", "{}", refused.text());
}
