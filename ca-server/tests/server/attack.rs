//! What a second review with an attacker's eyes found: each test fails on the code as it was before.

use ca_api::admin::{AdminReply, BreakGlassView};
use serde_json::json;
use ssh_key::HashAlg;

use crate::world::{World, ed25519};

async fn break_glass(world: &World) -> BreakGlassView {
    match world.verb(json!({"verb": "break_glass_show"})).await {
        Ok(AdminReply::BreakGlass(view)) => view,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_no_admin_session_ends_the_break_glass_credentials_through_the_revocation_of_a_key() {
    let world = World::new().await;
    let eve = world.an_admin("eve@corp.example", &[]).await;
    let glass = ed25519();
    let trust = json!({
        "verb": "break_glass_trust", "public_key": glass.public_key().to_openssh().unwrap(), "needed": 2, "shares": 3,
    });
    world.verb(trust).await.unwrap();
    let print = glass.public_key().fingerprint(HashAlg::Sha256).to_string();
    // Their own command is for the CA host alone: neither is there another way to the same end.
    let revoke =
        json!({"verb": "krl_revoke", "target": {"key": print}, "keep_login": false, "reason": ""});
    let bearer = format!("Bearer {}", world.admin_token(&eve).await);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", bearer.as_str()),
    ];
    let answer = world
        .send("POST", "/v1/admin", &headers, revoke.to_string().into())
        .await;
    assert!(
        answer.text().contains("break-glass revoke"),
        "{}",
        answer.text()
    );
    assert!(world.verb(revoke.clone()).await.is_err());
    let opens = |list: &[u8]| {
        let revoked = ssh_krl::Krl::decode(list).unwrap();
        let hash = print.parse::<ssh_key::Fingerprint>().unwrap();
        !revoked
            .entries()
            .any(|entry| matches!(entry, ssh_krl::Entry::KeySha256(found) if ssh_key::Fingerprint::Sha256(*found) == hash))
    };
    assert!(opens(&world.krl().await), "the last way in is shut");
    assert!(break_glass(&world).await.keys[0].ended_unix.is_none());
    // Their own command does it, and says so.
    world
        .verb(json!({"verb": "break_glass_revoke"}))
        .await
        .unwrap();
    assert!(!opens(&world.krl().await));
    assert!(break_glass(&world).await.keys[0].ended_unix.is_some());
    // What has ended may be named: it changes nothing.
    world.verb(revoke).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_no_account_of_the_cas_own_is_taken_for_an_admins_way_in() {
    let world = World::new().await;
    world.pool("web").await;
    let key = ed25519().public_key().to_openssh().unwrap();
    for account in ["breakglass", "ssh-ca-sync", "ssh-ca-probe", "ssh-admin"] {
        let prepared = world
            .verb(json!({
                "verb": "machine_prepare", "machine": "web-1", "address": "127.9.0.1", "port": 1, "pools": ["web"],
                "host_key": key, "admin_account": account, "sshd_version": "OpenSSH_9.2p1", "facts": "{}",
            }))
            .await;
        if account == "ssh-admin" {
            prepared.unwrap();
        } else {
            let refused = prepared.unwrap_err();
            assert!(refused.hint.contains("--as"), "{account}: {refused:?}");
        }
    }
}
