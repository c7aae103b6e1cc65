//! Sessions of security keys: what their proofs must say, which grants they open, and that nothing forged passes for one.

use ca_api::proof;
use serde_json::{Value, json};

use crate::{
    token_key::{Said, TOUCHED, Token, VERIFIED, tampered},
    world::{Answer, Person, World, certificate},
};

/// Alice, with a plain grant and two that demand a security key: one on the same terms, one for a minute only.
async fn with_alice() -> (World, Person) {
    let world = World::new().await;
    for pool in ["web", "vault", "lab"] {
        world.pool(pool).await;
    }
    let alice = world.employee("alice@corp.example", &["web"]).await;
    for (pool, lifetime) in [("vault", None), ("lab", Some(60))] {
        world
            .verb(json!({
                "verb": "grant_add", "employee": alice.email, "pool": pool, "account": "self",
                "security_key": true, "lifetime_secs": lifetime,
            }))
            .await
            .unwrap();
    }
    (world, alice)
}

async fn login_body(
    world: &World,
    person: &Person,
    token: &Token,
    proof: impl FnOnce(&[u8]) -> String,
) -> Value {
    let mut body = world.login_body(person).await;
    let nonce = body["nonce"].as_str().unwrap().to_owned();
    let ca_id = world.ca.keys().ca_id();
    let message = proof::login_message(&ca_id, &nonce, &person.email, &token.blob());
    body["public_key"] = token.public.to_openssh().unwrap().into();
    body["proof"] = proof(&message).into();
    body
}

async fn login(world: &World, person: &Person, token: &Token, said: Said) -> Answer {
    let body = login_body(world, person, token, |message| token.prove(message, &said)).await;
    world.post("/v1/login", &body).await
}

async fn renew(world: &World, opened: &Answer, token: &Token, said: &Said) -> Answer {
    let grant = opened.issued().session.unwrap();
    let nonce = world.nonce().await;
    let body = renewal(world, &grant, &nonce, token, said);
    world.post("/v1/renew", &body).await
}

fn renewal(
    world: &World,
    grant: &ca_api::SessionGrant,
    nonce: &str,
    token: &Token,
    said: &Said,
) -> Value {
    let ca_id = world.ca.keys().ca_id();
    let message = proof::renew_message(&ca_id, nonce, &grant.id, &token.blob());
    json!({
        "session_id": grant.id, "session_secret": grant.secret.expose(), "nonce": nonce,
        "proof": token.prove(&message, said),
    })
}

/// Principals and critical options of each certificate.
fn contents(answer: &Answer) -> Vec<(Vec<String>, Vec<String>)> {
    let mut all: Vec<_> = answer
        .issued()
        .certificates
        .iter()
        .map(|text| {
            let certificate = certificate(text);
            (
                certificate.valid_principals().to_vec(),
                certificate.critical_options().keys().cloned().collect(),
            )
        })
        .collect();
    all.sort();
    all
}

fn wanted(list: &[(&str, &[&str])]) -> Vec<(Vec<String>, Vec<String>)> {
    let mut all: Vec<_> = list
        .iter()
        .map(|(principal, options)| {
            let options = options.iter().map(|name| (*name).to_owned()).collect();
            (vec![(*principal).to_owned()], options)
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_security_key_that_checked_its_owner_gets_one_certificate_for_each_condition_set() {
    let (world, alice) = with_alice().await;
    for token in [Token::ed25519(), Token::ecdsa()] {
        let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
        let opened = login(&world, &alice, &token, said).await;
        assert_eq!(
            contents(&opened),
            wanted(&[
                ("alice@lab", &["verify-required"]),
                ("alice@vault", &["verify-required"]),
                ("alice@web", &[]),
            ])
        );
        assert_eq!(opened.issued().needs_security_key, 0);
        for text in &opened.issued().certificates {
            assert_eq!(
                certificate(text).public_key(),
                token.public.key_data(),
                "all for the one key"
            );
        }
        // Any counter will do, also one that went back: the nonce is what makes a proof new.
        for counter in [0, 6, 7, u32::MAX] {
            let said = Said {
                counter,
                ..token.says(proof::RENEW_NAMESPACE, VERIFIED)
            };
            let renewed = renew(&world, &opened, &token, &said).await;
            assert_eq!(contents(&renewed), contents(&opened));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_without_the_owner_verified_a_security_key_is_a_plain_one_and_stays_it() {
    let (world, alice) = with_alice().await;
    let token = Token::ed25519();
    let plain = wanted(&[("alice@web", &[])]);
    let touched = login(
        &world,
        &alice,
        &token,
        token.says(proof::LOGIN_NAMESPACE, TOUCHED),
    )
    .await;
    assert_eq!(contents(&touched), plain);
    assert_eq!(touched.issued().needs_security_key, 2);
    // A session that was opened as less is never renewed into more.
    let verified = token.says(proof::RENEW_NAMESPACE, VERIFIED);
    let renewed = renew(&world, &touched, &token, &verified).await;
    assert_eq!(contents(&renewed), plain);
    assert_eq!(renewed.issued().needs_security_key, 2);

    // And one that was opened with the owner verified is not renewed by whoever can touch the key.
    let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
    let opened = login(&world, &alice, &token, said).await;
    let refused = renew(
        &world,
        &opened,
        &token,
        &token.says(proof::RENEW_NAMESPACE, TOUCHED),
    )
    .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "invalid"),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("PIN"), "{}", refused.text());
    let renewed = renew(&world, &opened, &token, &verified).await;
    assert_eq!(contents(&renewed), contents(&opened), "its owner still can");

    // A plain key is told how many grants it lacks.
    let by_plain = world.try_login(&alice).await;
    assert_eq!(contents(&by_plain), plain);
    assert_eq!(by_plain.issued().needs_security_key, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_no_hostile_proof_passes_for_one_of_a_security_key() {
    let (world, alice) = with_alice().await;
    for token in [Token::ed25519(), Token::ecdsa()] {
        let right = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
        let said: Vec<(&str, Said)> = vec![
            (
                "another application hashed",
                Said {
                    application: "ssh:other".into(),
                    ..right.clone()
                },
            ),
            (
                "nobody touched it",
                Said {
                    flags: 0,
                    ..right.clone()
                },
            ),
            (
                "verified and nobody touched it",
                Said {
                    flags: 0x04,
                    ..right.clone()
                },
            ),
            (
                "the renewal's namespace",
                Said {
                    namespace: proof::RENEW_NAMESPACE,
                    ..right.clone()
                },
            ),
            (
                "a file's namespace",
                Said {
                    namespace: "file",
                    ..right.clone()
                },
            ),
            (
                "the name of a plain key's signature",
                Said {
                    name: "ssh-ed25519",
                    ..right.clone()
                },
            ),
            (
                "a name that nobody knows",
                Said {
                    name: "sk-anything@corp.example",
                    ..right.clone()
                },
            ),
            (
                "the web's way of signing",
                Said {
                    name: "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
                    ..right.clone()
                },
            ),
        ];
        for (what, said) in said {
            let refused = login(&world, &alice, &token, said).await;
            assert_eq!(refused.code(), "invalid", "{what}: {}", refused.text());
            assert!(
                refused.text().contains("proof of possession"),
                "{what}: {}",
                refused.text()
            );
        }
        // A plain signature under a security key's name.
        let body = login_body(&world, &alice, &token, |message| {
            token.prove_plainly(message, proof::LOGIN_NAMESPACE)
        })
        .await;
        assert_eq!(world.post("/v1/login", &body).await.code(), "invalid");
        // Flags and counter that were changed after the signature, bit by bit.
        let said = token.says(proof::LOGIN_NAMESPACE, TOUCHED);
        for (from_end, bit) in (0..8).map(|bit| (5, bit)).chain([(1, 0), (4, 7)]) {
            let body = login_body(&world, &alice, &token, |message| {
                tampered(&token.prove(message, &said), from_end, bit)
            })
            .await;
            let refused = world.post("/v1/login", &body).await;
            assert!(
                refused.text().contains("does not verify"),
                "bit {bit} of byte {from_end}: {}",
                refused.text()
            );
        }
        // By another security key, under this one's name.
        let other = Token::ed25519();
        let body = login_body(&world, &alice, &token, |message| {
            other.prove(message, &other.says(proof::LOGIN_NAMESPACE, VERIFIED))
        })
        .await;
        assert_eq!(world.post("/v1/login", &body).await.code(), "invalid");
        // After all of it, the right one.
        let opened = login(&world, &alice, &token, right).await;
        assert_eq!(opened.status, 200, "{}", opened.text());
    }
    // Nothing of it was counted as somebody guessing the password: the proof is looked at first.
    assert_eq!(world.try_login(&alice).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a_proof_of_a_security_key_works_once_and_for_its_purpose() {
    let (world, alice) = with_alice().await;
    let token = Token::ed25519();
    // A proof again: of a login, and of a renewal.
    let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
    let body = login_body(&world, &alice, &token, |message| {
        token.prove(message, &said)
    })
    .await;
    let opened = world.post("/v1/login", &body).await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    assert_eq!(world.post("/v1/login", &body).await.code(), "bad_nonce");
    let grant = opened.issued().session.unwrap();
    let nonce = world.nonce().await;
    let said = token.says(proof::RENEW_NAMESPACE, VERIFIED);
    let body = renewal(&world, &grant, &nonce, &token, &said);
    assert_eq!(world.post("/v1/renew", &body).await.status, 200);
    assert_eq!(world.post("/v1/renew", &body).await.code(), "bad_nonce");
    // The proof of a login is none of a renewal.
    let nonce = world.nonce().await;
    let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
    let body = renewal(&world, &grant, &nonce, &token, &said);
    assert_eq!(world.post("/v1/renew", &body).await.code(), "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_a_key_that_was_not_made_for_ssh_is_refused_with_the_line_that_makes_one() {
    let (world, alice) = with_alice().await;
    for application in ["", "webauthn", "https://corp.example", "SSH:", "xssh:"] {
        let token = Token::with_application(application);
        let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
        let refused = login(&world, &alice, &token, said).await;
        assert_eq!(
            refused.code(),
            "invalid",
            "{application:?}: {}",
            refused.text()
        );
        assert!(
            refused
                .text()
                .contains("ssh-keygen -t ed25519-sk -O verify-required"),
            "{}",
            refused.text()
        );
    }
    let token = Token::with_application("ssh:corp-laptop");
    let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
    assert_eq!(login(&world, &alice, &token, said).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_key_where_everything_needs_a_security_key_is_told_so() {
    let world = World::new().await;
    world.pool("vault").await;
    let alice = world.employee("alice@corp.example", &[]).await;
    world
        .verb(json!({
            "verb": "grant_add", "employee": alice.email, "pool": "vault", "account": "self",
            "security_key": true,
        }))
        .await
        .unwrap();
    let refused = world.try_login(&alice).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "forbidden")
    );
    assert!(
        refused.text().contains("ca-client login --security-key"),
        "{}",
        refused.text()
    );
    let token = Token::ecdsa();
    let said = token.says(proof::LOGIN_NAMESPACE, VERIFIED);
    let opened = login(&world, &alice, &token, said).await;
    assert_eq!(
        contents(&opened),
        wanted(&[("alice@vault", &["verify-required"])])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_who_lacks_the_session_secret_uses_up_no_nonce() {
    let (world, alice) = with_alice().await;
    let session = world.login(&alice).await;
    let nonce = world.nonce().await;
    let right = world.renew_with(&session, &nonce);
    let mut wrong = right.clone();
    wrong["session_secret"] = "somebody-else-s".into();
    assert_eq!(world.post("/v1/renew", &wrong).await.code(), "session_over");
    assert_eq!(world.post("/v1/renew", &right).await.status, 200);
    assert_eq!(world.post("/v1/renew", &right).await.code(), "bad_nonce");
}
