//! Whether a person's certificates are still good: told to the session's owner, and nothing to anybody else.

use serde_json::{Value, json};

use crate::world::{Session, World, certificate};

fn serials(certificates: &[String]) -> Vec<u64> {
    certificates
        .iter()
        .map(|text| certificate(text).serial())
        .collect()
}

async fn must_renew(world: &World, session: &Session, serials: &[u64]) -> bool {
    asked(world, &session.id, &session.secret, serials).await
}

async fn asked(world: &World, id: &str, secret: &str, serials: &[u64]) -> bool {
    let body = json!({"session_id": id, "session_secret": secret, "serials": serials});
    let answer = world.post("/v1/standing", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let value = answer.json();
    assert_eq!(value.as_object().unwrap().len(), 1, "{value}");
    value["renew"].as_bool().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_narrowing_is_told_to_whom_it_concerns_and_a_renewal_mends_it() {
    let world = World::new().await;
    world.pool("web").await;
    world.pool("db").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    // A lifetime of its own: a certificate of its own.
    let deploy = world
        .verb(json!({
            "verb": "grant_add", "employee": alice.email, "pool": "db", "account": "deploy", "lifetime_secs": 1200,
        }))
        .await
        .unwrap();
    let ca_api::admin::AdminReply::Grant(deploy) = deploy else {
        panic!("{deploy:?}")
    };
    let (hers, his) = (world.login(&alice).await, world.login(&bob).await);
    let (all, bobs) = (
        serials(&hers.issued.certificates),
        serials(&his.issued.certificates),
    );
    assert_eq!(all.len(), 2);
    assert!(!must_renew(&world, &hers, &all).await);
    assert!(!must_renew(&world, &his, &bobs).await);

    world
        .verb(json!({"verb": "grant_remove", "id": deploy.id}))
        .await
        .unwrap();
    assert!(must_renew(&world, &hers, &all).await);
    let mut lost = Vec::new();
    for serial in &all {
        if must_renew(&world, &hers, &[*serial]).await {
            lost.push(*serial);
        }
    }
    assert_eq!(lost.len(), 1, "only the one that carries what was lost");
    assert!(
        !must_renew(&world, &his, &bobs).await,
        "bob lost nothing and is told nothing"
    );
    let renewed = serials(&world.renew(&hers).await.issued().certificates);
    assert_eq!(renewed.len(), 1);
    assert!(!must_renew(&world, &hers, &renewed).await);

    // Of one certificate, of the key, of the person.
    world
        .verb(json!({"verb": "krl_revoke", "target": {"serial": renewed[0]}}))
        .await
        .unwrap();
    assert!(must_renew(&world, &hers, &renewed).await);
    world
        .verb(json!({"verb": "employee_suspend", "email": bob.email}))
        .await
        .unwrap();
    assert!(must_renew(&world, &his, &bobs).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_who_does_not_have_the_secret_learns_nothing_and_writes_nothing() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    let (hers, his) = (world.login(&alice).await, world.login(&bob).await);
    let (good, bobs) = (
        serials(&hers.issued.certificates),
        serials(&his.issued.certificates),
    );
    let before = world.ledger(1000).await.len();
    // A good certificate and a number that never was one: the same answer.
    for serials in [&good[..], &[1, 2, 3], &[]] {
        for (id, secret) in [
            (hers.id.as_str(), his.secret.as_str()),
            (hers.id.as_str(), ""),
            ("nobody", hers.secret.as_str()),
        ] {
            assert!(asked(&world, id, secret, serials).await);
        }
    }
    // Somebody else's certificate is none of hers, good or not.
    assert!(must_renew(&world, &hers, &bobs).await);
    assert!(!must_renew(&world, &hers, &good).await);
    assert_eq!(world.ledger(1000).await.len(), before, "it wrote something");
    let many: Vec<u64> = (0..300).collect();
    for wrong in [
        json!({"session_id": hers.id, "session_secret": hers.secret, "serials": many}),
        json!({"session_id": hers.id, "serials": good}),
        json!({"session_id": hers.id, "session_secret": hers.secret, "serials": good, "more": 1}),
        Value::Null,
    ] {
        assert_eq!(world.post("/v1/standing", &wrong).await.code(), "invalid");
    }
}
