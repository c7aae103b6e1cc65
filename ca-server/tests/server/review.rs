//! What a review with an attacker's eyes found: each test fails on the code as it was before.

use std::net::IpAddr;

use ca_api::{
    AdminLogin, ErrorCode, Secret,
    admin::{AdminReply, DeliveryOutcome},
    proof,
};
use ca_server::{
    admin::door,
    ledger::Actor,
    records::{CANARY_GOOD, CanaryRecord, CertificateRecord},
    store::{KeyRange, Read, Table},
};
use serde_json::{Value, json};
use ssh_key::{HashAlg, PrivateKey};

use crate::world::{Person, World, blob, certificate, ed25519, sshsig};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether the admins' door opens to these credentials from there.
async fn admin_door(world: &World, who: &Person, password: &str, code: &str, from: &str) -> bool {
    let request = AdminLogin {
        email: who.email.clone(),
        password: Secret::new(password.to_owned()),
        totp: Secret::new(code.to_owned()),
    };
    door::login(&world.ca, request, address(from)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_botnet_elsewhere_cannot_lock_an_admin_out_of_a_network_they_logged_in_from() {
    let world = World::new().await;
    let eve = world.an_admin("eve@corp.example", &[]).await;
    let code = world.fresh_code(&eve);
    assert!(admin_door(&world, &eve, &eve.password, &code, "10.1.1.1").await);
    for network in 0..34 {
        let from = format!("192.0.{network}.1");
        assert!(!admin_door(&world, &eve, "a guess", "000000", &from).await);
        world.ca.clock.shift(901);
    }
    assert!(!admin_door(&world, &eve, "a guess", "000000", "192.0.200.1").await);
    // The account is slow for strangers now, also with everything right ...
    let code = world.fresh_code(&eve);
    assert!(!admin_door(&world, &eve, &eve.password, &code, "203.0.113.9").await);
    // ... and not for its owner in the office.
    assert!(admin_door(&world, &eve, &eve.password, &code, "10.1.1.7").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_client_does_not_choose_its_own_device_token() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    for chosen in ["", "everybody knows this one"] {
        let mut body = world.login_body(&alice).await;
        body["device"] = chosen.into();
        let given = world.post("/v1/login", &body).await.issued();
        assert_ne!(given.session.unwrap().device.expose(), chosen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_a_login_that_finds_no_room_is_not_counted_as_a_wrong_one() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let mut body = world.login_body(&alice).await;
    let mut places = Vec::new();
    for network in 0..=u8::MAX {
        while let Ok(place) = world.ca.hasher.enter([192, 0, network, 1].into()) {
            places.push(place);
        }
    }
    let busy = world.post("/v1/login", &body).await;
    assert_eq!((busy.status, busy.code().as_str()), (429, "busy"));
    drop(places);
    // At once: a counted failure would close the account for a second.
    let nonce = world.nonce().await;
    let ca_id = world.ca.keys().ca_id();
    let message = proof::login_message(&ca_id, &nonce, &alice.email, &blob(&alice.key));
    body["proof"] = sshsig(&alice.key, proof::LOGIN_NAMESPACE, &message).into();
    body["nonce"] = nonce.into();
    world.post("/v1/login", &body).await.issued();
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_session_that_was_opened_for_less_is_not_renewed_into_more() {
    let world = World::new().await;
    world.pool("web").await;
    world.pool("db").await;
    let alice = world.employee("alice@corp.example", &["web", "db"]).await;
    let mut body = world.login_body(&alice).await;
    body["narrow"] = json!({"pools": ["web"], "lifetime_secs": 600});
    let issued = world.post("/v1/login", &body).await.issued();
    let grant = issued.session.clone().unwrap();
    let session = crate::world::Session {
        id: grant.id,
        secret: grant.secret.expose().to_owned(),
        ends_unix: grant.ends_unix,
        key: alice.key.clone(),
        issued,
    };
    let wide = world.renew_body(&session).await;
    let mut other = world.renew_body(&session).await;
    other["narrow"] = json!({"pools": ["web", "db"], "lifetime_secs": 6000});
    for body in [wide, other] {
        for text in world.post("/v1/renew", &body).await.issued().certificates {
            let certificate = certificate(&text);
            assert_eq!(certificate.valid_principals(), ["alice@web"]);
            assert!(certificate.valid_before() - certificate.valid_after() <= 660);
        }
    }
    let mut none = world.renew_body(&session).await;
    none["narrow"] = json!({"pools": ["db"]});
    assert_eq!(world.post("/v1/renew", &none).await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn r5_no_command_can_revoke_the_canaries_and_with_them_every_later_krl() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let session = world.login(&alice).await;
    world.krl().await;
    let view = world.ca.db.snapshot().unwrap();
    let good: CanaryRecord = view.get_json(Table::Krl, CANARY_GOOD).unwrap().unwrap();
    let good = certificate(&good.certificate);
    let key = good.public_key().fingerprint(HashAlg::Sha256).to_string();
    for target in [json!({"serial": good.serial()}), json!({"key": key})] {
        let refused = world
            .verb(json!({"verb": "krl_revoke", "target": target}))
            .await
            .unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
    }
    world
        .verb(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}))
        .await
        .unwrap();
    assert_eq!(
        world.revoked(&session.issued.certificates).await,
        vec![true; session.issued.certificates.len()]
    );
}

fn prepare(machine: &str, address: &str, key: &PrivateKey, rebuilt: bool) -> Value {
    json!({
        "verb": "machine_prepare", "machine": machine, "address": address, "port": 1,
        "pools": ["web"], "host_key": key.public_key().to_openssh().unwrap(),
        "admin_account": "ssh-admin", "sshd_version": "OpenSSH_9.2p1", "facts": "{}",
        "rebuilt": rebuilt,
    })
}

/// The host keys that employees' ssh refuses.
async fn refused_hosts(world: &World, who: &Person) -> Vec<String> {
    let directory = world.login(who).await.issued.directory.unwrap();
    let mut blobs: Vec<String> = directory
        .revoked_hosts
        .iter()
        .map(|text| text.split(' ').nth(1).unwrap().to_owned())
        .collect();
    blobs.sort();
    blobs
}

fn sorted(keys: &[&PrivateKey]) -> Vec<String> {
    let mut blobs: Vec<String> = keys.iter().map(|key| blob(key)).collect();
    blobs.sort();
    blobs
}

#[tokio::test(flavor = "multi_thread")]
async fn h7_an_old_host_key_stays_refused_when_its_machine_gets_another() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let keys: Vec<PrivateKey> = (0..3).map(|_| ed25519()).collect();
    let remove = json!({"verb": "machine_remove", "machine": "db-1", "leave_files": true});

    world
        .verb(prepare("db-1", "10.9.0.1", &keys[0], false))
        .await
        .unwrap();
    assert_eq!(refused_hosts(&world, &alice).await, sorted(&[]));
    // Rebuilt: the old disk must not stand in for the new machine.
    world
        .verb(prepare("db-1", "10.9.0.1", &keys[1], true))
        .await
        .unwrap();
    assert_eq!(refused_hosts(&world, &alice).await, sorted(&[&keys[0]]));
    // Removed, and another machine under the same name.
    world.verb(remove.clone()).await.unwrap();
    world
        .verb(prepare("db-1", "10.9.0.1", &keys[2], false))
        .await
        .unwrap();
    let both = sorted(&[&keys[0], &keys[1]]);
    assert_eq!(refused_hosts(&world, &alice).await, both);
    // Removed, and back under another name with its own key: that is no reason to refuse it.
    world.verb(remove).await.unwrap();
    world
        .verb(prepare("db-2", "10.9.0.1", &keys[2], false))
        .await
        .unwrap();
    assert_eq!(refused_hosts(&world, &alice).await, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn k6_no_host_certificate_carries_another_machines_name() {
    let world = World::new().await;
    world.pool("web").await;
    world
        .verb(prepare("db-1", "10.9.0.1", &ed25519(), false))
        .await
        .unwrap();
    world
        .verb(prepare("web-1", "www.corp.example", &ed25519(), false))
        .await
        .unwrap();
    for request in [
        prepare("evil", "db-1", &ed25519(), false),
        prepare("www.corp.example", "10.9.0.9", &ed25519(), false),
        json!({"verb": "machine_set", "machine": "web-1", "address": "db-1"}),
    ] {
        let refused = world.verb(request).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
    }
    let view = world.ca.db.snapshot().unwrap();
    let issued = view
        .scan_json::<CertificateRecord>(Table::Certificates, &KeyRange::all(), usize::MAX)
        .unwrap();
    let names_it = |record: &CertificateRecord| record.principals.iter().any(|name| name == "db-1");
    assert_eq!(
        issued.iter().filter(|(_, record)| names_it(record)).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r7_a_machine_that_was_prepared_and_never_confirmed_is_not_passed_over_in_silence() {
    let world = World::new().await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    // Nobody listens on port 1.
    world
        .verb(prepare("web-1", "127.0.0.1", &ed25519(), false))
        .await
        .unwrap();
    let reply = world
        .verb(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}))
        .await
        .unwrap();
    let AdminReply::Revoked(revocation) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(revocation.machines.len(), 1);
    assert!(matches!(
        revocation.machines[0].outcome,
        DeliveryOutcome::NotReached { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_change_that_waited_behind_its_own_suspension_is_refused() {
    let world = World::new().await;
    world.pool("web").await;
    let mallory = world.an_admin("mallory@corp.example", &[]).await;
    world
        .verb(json!({"verb": "employee_set", "email": mallory.email, "admin": false}))
        .await
        .unwrap();
    // The door let it in a moment before.
    let actor = Actor::Admin {
        email: mallory.email.parse().unwrap(),
        address: address("10.1.1.1"),
    };
    let (events, _kept) = tokio::sync::mpsc::channel(8);
    let request = json!({"verb": "employee_set", "email": mallory.email, "admin": true});
    let refused = world
        .admin
        .run(actor, serde_json::from_value(request).unwrap(), &events)
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Refused, "{refused}");
    assert!(!world.show(&mallory.email).await.admin);
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_grant_marked_for_a_system_account_that_is_none_stops_no_bundle() {
    let world = World::new().await;
    world.pool("web").await;
    world.employee("alice@corp.example", &["web"]).await;
    world
        .verb(json!({
            "verb": "grant_add", "employee": "alice@corp.example", "pool": "web",
            "account": "deploy", "system_account": true,
        }))
        .await
        .unwrap();
    world
        .verb(prepare("web-1", "10.9.0.1", &ed25519(), false))
        .await
        .unwrap();
    // And the name is nobody's own later (P9).
    let refused = world
        .verb(json!({"verb": "employee_add", "email": "deploy@corp.example"}))
        .await
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
}
