//! I1–I9 on what really leaves the server: what is decided, by whom it is proven, and how long it lives.

use std::sync::Arc;

use ca_server::{
    records::{CertificateRecord, CertificateState},
    store::{Read, Table},
};
use serde_json::{Value, json};
use ssh_key::{Certificate, PrivateKey};

use crate::world::{Answer, Person, World, certificate, ed25519};

fn principals(certificate: &Certificate) -> Vec<String> {
    let mut all = certificate.valid_principals().to_vec();
    all.sort();
    all
}

pub fn record(world: &World, serial: u64) -> Option<CertificateRecord> {
    let view = world.ca.db.snapshot().unwrap();
    view.get_json(Table::Certificates, &serial.to_be_bytes())
        .unwrap()
}

pub fn all_serials(world: &World) -> Vec<u64> {
    let view = world.ca.db.snapshot().unwrap();
    let all = view.scan(
        Table::Certificates,
        &ca_server::store::KeyRange::all(),
        ca_server::store::Direction::Forward,
        usize::MAX,
    );
    all.unwrap()
        .into_iter()
        .map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap()))
        .collect()
}

pub async fn alice_on(pools: &[&str]) -> (World, Person) {
    let world = World::new().await;
    for pool in pools {
        world.pool(pool).await;
    }
    let alice = world.employee("alice@corp.example", pools).await;
    (world, alice)
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_who_is_granted_nothing_gets_no_certificate_instead_of_an_empty_one() {
    let (world, alice) = alice_on(&[]).await;
    let answer = world.try_login(&alice).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (403, "forbidden"),
        "{}",
        answer.text()
    );
    assert!(!answer.text().contains("cert-v01"));
    assert_eq!(all_serials(&world), Vec::<u64>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i3_principals_are_what_is_granted_now_and_nothing_else() {
    let (world, alice) = alice_on(&["web", "db"]).await;
    world.pool("vault").await;
    let session = world.login(&alice).await;
    let first = certificate(&session.issued.certificates[0]);
    assert_eq!(principals(&first), ["alice@db", "alice@web"]);
    world
        .verb(json!({"verb": "employee_set", "email": alice.email, "remove_pools": ["db"], "add_pools": ["vault"]}))
        .await
        .unwrap();
    let renewed = world.renew(&session).await.issued();
    let second = certificate(&renewed.certificates[0]);
    assert_eq!(principals(&second), ["alice@vault", "alice@web"]);
    // Names that would be something else in a principals file never get that far.
    for bad in ["a,b", "web db", "-x", "Web", "web@db", "wéb", "", "web\n"] {
        let refused = world.verb(json!({"verb": "pool_add", "pool": bad})).await;
        assert!(refused.is_err(), "{bad:?}");
        let account = world
            .verb(json!({"verb": "employee_add", "email": "bob@corp.example", "account": bad}))
            .await;
        assert!(account.is_err(), "{bad:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_a_grant_removed_during_renewals_is_in_no_live_certificate_afterwards() {
    let (world, alice) = alice_on(&["web", "db"]).await;
    let session = world.login(&alice).await;
    let world = Arc::new(world);
    for round in 0..4 {
        let renewals: Vec<_> = (0..16)
            .map(|_| {
                let (world, session) = (Arc::clone(&world), session.clone());
                tokio::spawn(async move { world.renew(&session).await })
            })
            .collect();
        let change = |verb: &str| json!({"verb": "employee_set", "email": "alice@corp.example", verb: ["db"]});
        world.verb(change("remove_pools")).await.unwrap();
        let mut texts = session.issued.certificates.clone();
        for renewal in renewals {
            let answer: Answer = renewal.await.unwrap();
            texts.extend(answer.issued().certificates);
        }
        let revoked = world.revoked(&texts).await;
        for (text, revoked) in texts.iter().zip(revoked) {
            let carries = principals(&certificate(text)).contains(&"alice@db".to_owned());
            assert_eq!(
                carries, revoked,
                "round {round}: a certificate that carries db and is not revoked, or the reverse"
            );
        }
        world.verb(change("add_pools")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_client_can_narrow_and_never_widen() {
    let (world, alice) = alice_on(&["web", "db"]).await;
    world.pool("vault").await;
    let mut body = world.login_body(&alice).await;
    for (name, value) in [
        ("principals", json!(["root@web"])),
        ("serial", json!(1)),
        ("valid_before", json!(u64::MAX)),
        ("extensions", json!({"permit-port-forwarding": ""})),
        ("session_ends", json!(1)),
        ("admin", json!(true)),
    ] {
        let mut wide = body.clone();
        wide[name] = value.clone();
        let answer = world.post("/v1/login", &wide).await;
        assert_eq!(answer.code(), "invalid", "{name}: {}", answer.text());
        let mut wide = body.clone();
        wide["narrow"] = json!({name: value});
        assert_eq!(
            world.post("/v1/login", &wide).await.code(),
            "invalid",
            "narrow.{name}"
        );
    }
    body["narrow"] = json!({"pools": ["web", "vault"], "lifetime_secs": 10_000_000});
    let session = world.post("/v1/login", &body).await.issued();
    let narrowed = certificate(&session.certificates[0]);
    assert_eq!(
        principals(&narrowed),
        ["alice@web"],
        "a pool that is not hers is not given"
    );
    let lifetime = narrowed.valid_before() - narrowed.valid_after();
    assert!(
        lifetime <= 8 * 3600 + 60,
        "longer than policy allows: {lifetime}"
    );

    let mut body = world.login_body(&alice).await;
    body["narrow"] = json!({"pools": ["vault"]});
    assert_eq!(world.post("/v1/login", &body).await.code(), "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_the_proof_is_by_the_key_that_is_certified_for_this_ca_person_and_nonce() {
    let (world, alice) = alice_on(&["web"]).await;
    use crate::world::{blob, sshsig};
    use ca_api::proof::{LOGIN_NAMESPACE, RENEW_NAMESPACE, login_message};
    let ca_id = world.ca.keys().ca_id();
    let stolen = ed25519();
    type Forge = fn(&Person, &PrivateKey, &str, &str) -> String;
    let forged: [(&str, Forge); 6] = [
        ("another key signs", |alice, other, ca, nonce| {
            let message = login_message(ca, nonce, &alice.email, &blob(&alice.key));
            sshsig(other, LOGIN_NAMESPACE, &message)
        }),
        ("another namespace", |alice, _, ca, nonce| {
            let message = login_message(ca, nonce, &alice.email, &blob(&alice.key));
            sshsig(&alice.key, RENEW_NAMESPACE, &message)
        }),
        ("another nonce", |alice, _, ca, _| {
            let message = login_message(ca, "another", &alice.email, &blob(&alice.key));
            sshsig(&alice.key, LOGIN_NAMESPACE, &message)
        }),
        ("another CA", |alice, _, _, nonce| {
            let message = login_message("SHA256:other", nonce, &alice.email, &blob(&alice.key));
            sshsig(&alice.key, LOGIN_NAMESPACE, &message)
        }),
        ("another person", |alice, _, ca, nonce| {
            let message = login_message(ca, nonce, "bob@corp.example", &blob(&alice.key));
            sshsig(&alice.key, LOGIN_NAMESPACE, &message)
        }),
        ("no signature at all", |_, _, _, _| String::new()),
    ];
    for (what, forge) in forged {
        let mut body = world.login_body(&alice).await;
        let nonce = body["nonce"].as_str().unwrap().to_owned();
        body["proof"] = Value::String(forge(&alice, &stolen, &ca_id, &nonce));
        let answer = world.post("/v1/login", &body).await;
        assert_eq!(answer.code(), "invalid", "{what}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_serials_are_unique_with_the_epoch_in_their_high_bits_also_after_a_restart() {
    let (world, alice) = alice_on(&["web"]).await;
    let session = world.login(&alice).await;
    let world = Arc::new(world);
    let renewals: Vec<_> = (0..40)
        .map(|_| {
            let (world, session) = (Arc::clone(&world), session.clone());
            tokio::spawn(async move { world.renew(&session).await.issued().certificates })
        })
        .collect();
    let mut texts = session.issued.certificates.clone();
    for renewal in renewals {
        texts.extend(renewal.await.unwrap());
    }
    let world = Arc::into_inner(world).unwrap().restart().await;
    for _ in 0..5 {
        texts.extend(world.renew(&session).await.issued().certificates);
    }
    let serials: Vec<u64> = texts.iter().map(|t| certificate(t).serial()).collect();
    let mut unique = serials.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 46);
    let epoch = serials[0] >> 32;
    assert!(
        (1..1 << 31).contains(&epoch),
        "epoch {epoch} is not 31 bits"
    );
    for (serial, text) in serials.iter().zip(&texts) {
        assert_eq!(
            serial >> 32,
            epoch,
            "the epoch changes with a restore only, and stands in the high bits"
        );
        let held = record(&world, *serial).expect("every serial is in the ledger's index");
        assert_eq!(held.state, CertificateState::Issued);
        assert_eq!(held.key_id, certificate(text).key_id());
        assert_eq!(held.principals, certificate(text).valid_principals());
    }
    // One serial, one content.
    assert_eq!(all_serials(&world), unique);
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_a_lifetime_is_what_policy_allows_to_the_second_and_backdated_by_60_at_most() {
    let (world, alice) = alice_on(&["web"]).await;
    let chief = world.an_admin("chief@corp.example", &["web"]).await;
    for (person, allowed) in [(&alice, 8 * 3600), (&chief, 3600)] {
        let body = world.login_body(person).await;
        let from = u64::try_from(world.now()).unwrap();
        let issued = world.post("/v1/login", &body).await.issued();
        let until = u64::try_from(world.now()).unwrap();
        let one = certificate(&issued.certificates[0]);
        assert!(
            one.valid_after() >= from - 60,
            "back-dated by more than 60 s"
        );
        assert!(one.valid_after() <= until);
        assert!(
            (from + allowed..=until + allowed).contains(&one.valid_before()),
            "{} is not {allowed} s after {from}",
            one.valid_before()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_no_certificate_outlives_the_session_and_the_session_ends_to_the_second() {
    let (world, alice) = alice_on(&["web"]).await;
    world.ca.clock.stop();
    let session = world.login(&alice).await;
    assert_eq!(
        session.ends_unix - world.now(),
        12 * 3600,
        "the default day session"
    );
    world.ca.clock.shift(session.ends_unix - 3600 - world.now());
    let one = certificate(&world.renew(&session).await.issued().certificates[0]);
    assert_eq!(
        i64::try_from(one.valid_before()).unwrap(),
        session.ends_unix
    );
    world.ca.clock.shift(session.ends_unix - world.now());
    let over = world.renew(&session).await;
    assert_eq!(
        (over.status, over.code().as_str()),
        (401, "session_over"),
        "the second in which it ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_no_certificate_outlives_its_grant() {
    let (world, alice) = alice_on(&["web"]).await;
    world.ca.clock.stop();
    world.pool("db").await;
    let until = world.now() + 1800;
    world
        .verb(json!({"verb": "grant_add", "employee": alice.email, "pool": "db", "account": "self", "until_unix": until}))
        .await
        .unwrap();
    let session = world.login(&alice).await;
    let ends: Vec<(Vec<String>, i64)> = session
        .issued
        .certificates
        .iter()
        .map(|text| {
            let one = certificate(text);
            (principals(&one), i64::try_from(one.valid_before()).unwrap())
        })
        .collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    for (names, end) in ends {
        if names == ["alice@db"] {
            assert_eq!(end, until);
        } else {
            assert_eq!(names, ["alice@web"]);
            assert!(end > until);
        }
    }
    world.ca.clock.shift(until - world.now());
    let later = world.renew(&session).await.issued();
    assert_eq!(
        later.certificates.len(),
        1,
        "the grant is over in the second in which it ends"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_p8_a_renewal_keeps_every_restriction_and_conditions_are_never_mixed() {
    let (world, alice) = alice_on(&["web"]).await;
    world.pool("db").await;
    world
        .verb(json!({
            "verb": "grant_add", "employee": alice.email, "pool": "db", "account": "self",
            "sources": ["192.0.2.0/24"], "command": "/usr/bin/backup", "no_pty": true, "lifetime_secs": 600,
        }))
        .await
        .unwrap();
    let session = world.login(&alice).await;
    let renewed = world.renew(&session).await.issued();
    for texts in [&session.issued.certificates, &renewed.certificates] {
        assert_eq!(texts.len(), 2, "one certificate per condition set");
        for text in texts {
            let one = certificate(text);
            let options: Vec<(&str, &str)> = one
                .critical_options()
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let extensions: Vec<&str> = one.extensions().keys().map(String::as_str).collect();
            if principals(&one) == ["alice@db"] {
                assert_eq!(
                    options,
                    [
                        ("force-command", "/usr/bin/backup"),
                        ("source-address", "192.0.2.0/24")
                    ]
                );
                assert_eq!(extensions, Vec::<&str>::new());
                assert!(one.valid_before() - one.valid_after() <= 660);
            } else {
                assert_eq!(principals(&one), ["alice@web"]);
                assert_eq!(options, []);
                assert_eq!(extensions, ["permit-pty"]);
            }
        }
    }
}
