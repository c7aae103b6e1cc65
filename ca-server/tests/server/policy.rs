//! P3, P6, P9: who may be granted what, who is refused at once, and what is never given again.

use serde_json::json;

use crate::world::{Person, World, certificate};

#[tokio::test(flavor = "multi_thread")]
async fn p3_who_is_suspended_or_removed_is_refused_at_once_and_revoked() {
    let world = World::new().await;
    world.pool("web").await;
    for (verb, email) in [
        ("employee_suspend", "s@corp.example"),
        ("employee_remove", "r@corp.example"),
    ] {
        let person = world.employee(email, &["web"]).await;
        let session = world.login(&person).await;
        let renewed = world.renew(&session).await.issued();
        let mut all = session.issued.certificates.clone();
        all.extend(renewed.certificates);
        assert_eq!(world.revoked(&all).await, [false, false]);
        world
            .verb(json!({"verb": verb, "email": email}))
            .await
            .unwrap();
        assert_eq!(world.renew(&session).await.code(), "session_over", "{verb}");
        assert_eq!(world.try_login(&person).await.code(), "refused", "{verb}");
        assert_eq!(world.revoked(&all).await, [true, true], "{verb}");
    }
    // Back again: the old certificates stay revoked, the old session stays ended.
    let again = world
        .verb(json!({"verb": "employee_resume", "email": "s@corp.example"}))
        .await;
    assert!(again.is_ok());
    assert_eq!(world.show("s@corp.example").await.epoch, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_system_accounts_are_granted_only_where_the_grant_is_marked_for_it() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let grant = |account: &str, marked: bool| json!({"verb": "grant_add", "employee": alice.email, "pool": "web", "account": account, "system_account": marked});
    for account in [
        "root",
        "daemon",
        "www-data",
        "postgres",
        "systemd-network",
        "nobody",
        "sshd",
    ] {
        assert!(
            world.verb(grant(account, false)).await.is_err(),
            "{account}"
        );
        let person = world
            .verb(json!({"verb": "employee_add", "email": "eve@corp.example", "account": account}))
            .await;
        assert!(
            person.is_err(),
            "an employee whose own account is {account}"
        );
    }
    for account in ["ssh-admin", "ssh-ca-sync", "ssh-ca-probe"] {
        for marked in [false, true] {
            assert!(
                world.verb(grant(account, marked)).await.is_err(),
                "{account} {marked}"
            );
        }
    }
    world.verb(grant("root", true)).await.unwrap();
    let session = world.login(&alice).await;
    let carried: Vec<String> = session
        .issued
        .certificates
        .iter()
        .flat_map(|text| certificate(text).valid_principals().to_vec())
        .collect();
    assert!(carried.contains(&"root@web".to_owned()), "{carried:?}");
    // The CA's own pools are nobody's to grant or make.
    for pool in ["_probe", "_nowhere"] {
        assert!(
            world
                .verb(json!({"verb": "pool_add", "pool": pool}))
                .await
                .is_err()
        );
        let own =
            json!({"verb": "grant_add", "employee": alice.email, "pool": pool, "account": "self"});
        assert!(world.verb(own).await.is_err());
    }
}

pub async fn two_people() -> (World, Person, Person) {
    let world = World::new().await;
    for pool in ["web", "db"] {
        world.pool(pool).await;
    }
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let bob = world.employee("bob@corp.example", &["web"]).await;
    (world, alice, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_who_comes_back_is_who_they_were_and_nobody_else_ever_is() {
    let (world, alice, _) = two_people().await;
    let before = world.show(&alice.email).await;
    let session = world.login(&alice).await;
    for round in 1..=2 {
        world
            .verb(json!({"verb": "employee_remove", "email": alice.email}))
            .await
            .unwrap();
        for thief in ["mallory@corp.example", "alice@other.example"] {
            let taken = world
                .verb(json!({"verb": "employee_add", "email": thief, "account": "alice"}))
                .await;
            assert!(taken.is_err(), "{thief} got the account alice");
        }
        let shared = world
            .verb(json!({"verb": "grant_add", "employee": "bob@corp.example", "pool": "web", "account": "alice"}))
            .await;
        assert!(shared.is_err(), "the account became a shared one");
        let renamed = world
            .verb(json!({"verb": "employee_add", "email": alice.email, "account": "alice-two"}))
            .await;
        assert!(renamed.is_err(), "she came back as somebody else");
        let code = world.invite(&alice.email, &["web"], false).await;
        let again = world.enrol(&alice.email, &code).await;
        let after = world.show(&alice.email).await;
        assert_eq!((after.uid, &after.account), (before.uid, &before.account));
        assert_eq!(after.epoch, before.epoch + round, "the epoch goes on");
        let fresh = world.login(&again).await;
        assert_eq!(
            certificate(&fresh.issued.certificates[0]).key_id(),
            format!("alice@corp.example/{}", 1 + round)
        );
        assert_eq!(world.revoked(&session.issued.certificates).await, [true]);
        assert_eq!(world.revoked(&fresh.issued.certificates).await, [false]);
    }
    let carol = world.employee("carol@corp.example", &[]).await;
    let uids = [
        before.uid,
        world.show("bob@corp.example").await.uid,
        world.show(&carol.email).await.uid,
    ];
    assert!(
        uids[0] != uids[1] && uids[1] != uids[2] && uids[0] != uids[2],
        "{uids:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_somebody_elses_own_account_is_not_granted_as_a_system_account_either() {
    let (world, alice, bob) = two_people().await;
    let grant = json!({
        "verb": "grant_add", "employee": bob.email, "pool": "web", "account": "alice", "system_account": true,
    });
    assert!(
        world.verb(grant.clone()).await.is_err(),
        "bob may log in as alice"
    );
    world
        .verb(json!({"verb": "employee_remove", "email": alice.email}))
        .await
        .unwrap();
    assert!(
        world.verb(grant).await.is_err(),
        "bob may log in as alice, who was removed"
    );
}
