//! P7: what somebody may no longer do is revoked, and nothing else.

use serde_json::{Value, json};

use crate::{policy::two_people, world::certificate};

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_narrowing_revokes_exactly_the_certificates_that_carry_what_was_lost() {
    let (world, alice, bob) = two_people().await;
    let both = json!([alice.email, bob.email]);
    world
        .verb(json!({"verb": "team_add", "team": "ops", "employees": both}))
        .await
        .unwrap();
    let grant = |body: Value| {
        let mut body = body;
        body["verb"] = "grant_add".into();
        body["pool"] = "db".into();
        body
    };
    let id = |reply| match reply {
        Ok(ca_api::admin::AdminReply::Grant(view)) => view.id,
        other => panic!("{other:?}"),
    };
    let team = world
        .verb(grant(json!({"team": "ops", "account": "self"})))
        .await;
    let team = id(team);
    // A lifetime of its own puts the shared account into a certificate of its own.
    let deploy =
        grant(json!({"employee": alice.email, "account": "deploy", "lifetime_secs": 1200}));
    let deploy = id(world.verb(deploy).await);
    let (hers, his) = (world.login(&alice).await, world.login(&bob).await);
    let all: Vec<String> = [
        hers.issued.certificates.clone(),
        his.issued.certificates.clone(),
    ]
    .concat();
    let names: Vec<Vec<String>> = all
        .iter()
        .map(|text| {
            let mut names = certificate(text).valid_principals().to_vec();
            names.sort();
            names
        })
        .collect();
    let lost = |gone: &[&str]| -> Vec<bool> {
        names
            .iter()
            .map(|names| names.iter().any(|name| gone.contains(&name.as_str())))
            .collect()
    };
    assert_eq!(world.revoked(&all).await, lost(&[]));
    // A widening revokes nothing.
    world
        .verb(
            json!({"verb": "employee_set", "email": bob.email, "add_pools": ["db"], "name": "Bob"}),
        )
        .await
        .unwrap();
    assert_eq!(world.revoked(&all).await, lost(&[]));
    // A grant removed: its certificate, and no other.
    world
        .verb(json!({"verb": "grant_remove", "id": deploy}))
        .await
        .unwrap();
    assert_eq!(world.revoked(&all).await, lost(&["deploy@db"]));
    assert!(lost(&["deploy@db"]).contains(&true));
    // A team left: hers. Bob is in it still, and has his own grant as well.
    world
        .verb(json!({"verb": "team_leave", "team": "ops", "employees": [alice.email]}))
        .await
        .unwrap();
    assert_eq!(world.revoked(&all).await, lost(&["deploy@db", "alice@db"]));
    // The team's grant goes: Bob keeps what he has from another grant.
    world
        .verb(json!({"verb": "grant_remove", "id": team}))
        .await
        .unwrap();
    assert_eq!(world.revoked(&all).await, lost(&["deploy@db", "alice@db"]));
    world
        .verb(json!({"verb": "employee_set", "email": bob.email, "remove_pools": ["db"]}))
        .await
        .unwrap();
    let gone = ["deploy@db", "alice@db", "bob@db"];
    assert_eq!(world.revoked(&all).await, lost(&gone));
    // The day session stays, and renews into what is left.
    let left = world.renew(&hers).await.issued().certificates;
    assert_eq!(certificate(&left[0]).valid_principals(), ["alice@web"]);
    assert_eq!(world.revoked(&left).await, [false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_condition_added_revokes_what_was_issued_without_it() {
    let (world, alice, _) = two_people().await;
    let wide = world.login(&alice).await;
    world
        .verb(json!({
            "verb": "grant_add", "employee": alice.email, "pool": "web", "account": "self", "sources": ["192.0.2.0/24"],
        }))
        .await
        .unwrap();
    assert_eq!(world.revoked(&wide.issued.certificates).await, [false]);
    world
        .verb(json!({"verb": "employee_set", "email": alice.email, "remove_pools": ["web"]}))
        .await
        .unwrap();
    assert_eq!(
        world.revoked(&wide.issued.certificates).await,
        [true],
        "the principal is granted still, but only from one network"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_of_two_certificates_with_one_principal_the_one_that_is_still_allowed_stays() {
    let (world, alice, _) = two_people().await;
    world
        .verb(json!({
            "verb": "grant_add", "employee": alice.email, "pool": "web", "account": "self", "sources": ["192.0.2.0/24"],
        }))
        .await
        .unwrap();
    let session = world.login(&alice).await;
    let all = session.issued.certificates;
    let from_anywhere = |text: &String| {
        !certificate(text)
            .critical_options()
            .contains_key("source-address")
    };
    let wide: Vec<bool> = all.iter().map(from_anywhere).collect();
    assert_eq!(wide.iter().filter(|wide| **wide).count(), 1, "one of two");
    assert_eq!(wide.len(), 2);
    world
        .verb(json!({"verb": "employee_set", "email": alice.email, "remove_pools": ["web"]}))
        .await
        .unwrap();
    assert_eq!(world.revoked(&all).await, wide);
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_pool_removed_by_force_revokes_what_named_it() {
    let (world, alice, bob) = two_people().await;
    world
        .verb(json!({"verb": "employee_set", "email": alice.email, "add_pools": ["db"]}))
        .await
        .unwrap();
    let (hers, his) = (world.login(&alice).await, world.login(&bob).await);
    let refused = world
        .verb(json!({"verb": "pool_remove", "pool": "db"}))
        .await;
    assert!(refused.is_err(), "a pool in use goes by force only");
    world
        .verb(json!({"verb": "pool_remove", "pool": "db", "force": true}))
        .await
        .unwrap();
    assert_eq!(world.revoked(&hers.issued.certificates).await, [true]);
    assert_eq!(world.revoked(&his.issued.certificates).await, [false]);
    let again = world.verb(json!({"verb": "pool_add", "pool": "db"})).await;
    assert!(again.is_err(), "P9: the name is never given again");
}
