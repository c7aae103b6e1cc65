//! Certificates, KRLs and bundles by keys that are not files; and what is left when such a key fails.

use std::{collections::BTreeMap, process::Command, time::Duration};

use ca_api::Secret;
use ca_server::{
    issue::probe::{Own, issue_own},
    keys::{Place, Purpose},
    ledger::Actor,
    records::{
        CertificateRecord, CertificateState, KRL_CURRENT, KrlRecord, RevocationRecord, Revoked,
        live_certificates,
    },
    revoke::krl,
    signer::{
        SignerSpec,
        spec::{AgentSpec, KeyKind, Pkcs11Spec},
    },
    store::{KeyRange, Read, Table},
};
use serde_json::json;
use ssh_key::{Algorithm, HashAlg, PublicKey};

use crate::{
    back_ends::{Agent, P256, PIN, Token, key},
    world::{World, certificate, ed25519, keygen_says},
};

pub fn in_token(spec: Pkcs11Spec) -> Place {
    Place {
        spec: SignerSpec::Pkcs11(spec),
        pin: Some(Secret::new(PIN.to_owned())),
    }
}

pub fn in_agent(spec: AgentSpec) -> Place {
    Place {
        spec: SignerSpec::Agent(spec),
        pin: None,
    }
}

/// What OpenSSH says of a certificate: the line of its CA.
fn signed_by(certificate: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("id-cert.pub");
    std::fs::write(&file, certificate).unwrap();
    let out = Command::new("ssh-keygen")
        .args(["-L", "-f"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let line = said.lines().find(|line| line.contains("Signing CA"));
    line.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
}

/// `ssh-keygen -Y verify`, as a machine runs it, on the KRL's parcel.
fn machines_take_the_krl(world: &World) {
    let view = world.ca.db.snapshot().unwrap();
    let record: KrlRecord = view.get_json(Table::Krl, KRL_CURRENT).unwrap().unwrap();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let fleet = PublicKey::from(world.ca.keys().fleet.current().public_key().clone());
    let line = format!("fleet {}\n", fleet.to_openssh().unwrap());
    std::fs::write(at("signers"), line).unwrap();
    std::fs::write(at("sig"), &record.signature).unwrap();
    std::fs::write(at("parcel"), STANDARD.decode(&record.parcel).unwrap()).unwrap();
    let out = Command::new("ssh-keygen")
        .args(["-Y", "verify", "-I", "fleet", "-n", "krl@ssh-ca", "-f"])
        .arg(at("signers"))
        .arg("-s")
        .arg(at("sig"))
        .stdin(std::fs::File::open(at("parcel")).unwrap())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stdout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_r5_every_back_end_signs_what_openssh_takes() {
    let (token, agent) = (Token::new(), Agent::start());
    let (ours, other) = (key(P256), key(Algorithm::Ed25519));
    agent.add(&ours);
    agent.add(&other);
    let held = |key: &ssh_key::PrivateKey| {
        in_agent(AgentSpec {
            key: Some(key.fingerprint(HashAlg::Sha256)),
            ..agent.spec()
        })
    };
    let made = |kind| {
        in_token(Pkcs11Spec {
            kind: Some(kind),
            ..token.spec()
        })
    };
    for (user, host, fleet) in [
        (
            made(KeyKind::EcdsaP256),
            held(&other),
            made(KeyKind::Ed25519),
        ),
        (held(&other), made(KeyKind::Ed25519), held(&ours)),
    ] {
        let places = BTreeMap::from([
            (Purpose::UserCa, user),
            (Purpose::HostCa, host),
            (Purpose::Fleet, fleet),
        ]);
        let world = World::with_keys(places).await;
        let keys = world.ca.keys();
        for ring in [&keys.user_ca, &keys.host_ca, &keys.fleet] {
            assert_ne!(ring.current().back_end(), "file");
        }
        world.pool("web").await;
        let alice = world.employee("alice@corp.example", &["web"]).await;
        let answer = world.try_login(&alice).await;
        if answer.status != 200 {
            let audit = world.verb(json!({"verb": "audit_list"})).await.unwrap();
            panic!("{audit:#?}");
        }
        let session = world.login(&alice).await;
        let text = &session.issued.certificates[0];
        let fingerprint = |purpose| keys.ring(purpose).current_held().fingerprint().to_owned();
        assert!(
            signed_by(text).contains(&fingerprint(Purpose::UserCa)),
            "{}",
            signed_by(text)
        );
        let host_key = ed25519();
        let host = Own::Host {
            subject: host_key.public_key(),
            machine: &"web-1".parse().unwrap(),
            names: ["web-1".to_owned()].into(),
            lifetime_secs: 3600,
        };
        let host = issue_own(&world.ca, host, Actor::Server).await.unwrap();
        assert!(signed_by(&host).contains(&fingerprint(Purpose::HostCa)));

        world
            .verb(json!({"verb": "krl_revoke", "target": {"employee": alice.email}}))
            .await
            .unwrap();
        let list = krl::current(&world.ca).await.unwrap();
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        assert!(keygen_says(&STANDARD.decode(&list.krl).unwrap(), text));
        assert!(!keygen_says(&STANDARD.decode(&list.krl).unwrap(), &host));
        machines_take_the_krl(&world);
        // Everything is found again by what is in the folder, and by the passphrase.
        let world = world.restart().await;
        world
            .verb(json!({"verb": "employee_resume", "email": alice.email}))
            .await
            .unwrap();
        assert!(!world.login(&alice).await.issued.certificates.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_signer_that_fails_leaves_an_intent_that_counts_as_issued_and_can_be_revoked() {
    let token = Token::new();
    let spec = Pkcs11Spec {
        wait: Duration::from_secs(15),
        ..token.faulty()
    };
    let world = World::with_keys(BTreeMap::from([(Purpose::UserCa, in_token(spec))])).await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let email = alice.email.parse().unwrap();
    let serials = |world: &World| -> Vec<(u64, CertificateRecord)> {
        live_certificates(&world.ca.db.snapshot().unwrap(), &email, world.now()).unwrap()
    };
    // The server makes its first KRL, with the canaries, when it starts.
    krl::current(&world.ca).await.unwrap();
    let mut known = 0;
    // Hung last: while it hangs, nothing else about it can be seen.
    for fault in ["lie", "gone", "crash", "hang"] {
        token.fault(fault);
        let answer = world.try_login(&alice).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "unavailable"),
            "{fault}: {}",
            answer.text()
        );
        assert!(!answer.text().contains("cert-v01"), "{fault}");
        // Nobody outside learns where the CA's key is.
        assert!(!answer.text().contains("pkcs11"), "{}", answer.text());
        let live = serials(&world);
        known += 1;
        assert_eq!(live.len(), known, "{fault}: the intent counts as issued");
        assert!(
            live.iter()
                .all(|(_, record)| record.state != CertificateState::Issued)
        );
    }
    // While it hangs, everything that needs no certificate goes on: people are revoked, one by one and as serials.
    let (serial, _) = serials(&world).remove(0);
    world
        .verb(json!({"verb": "krl_revoke", "target": {"serial": serial}, "keep_login": true}))
        .await
        .unwrap();
    let view = world.ca.db.snapshot().unwrap();
    let entries = view
        .scan_json::<RevocationRecord>(Table::Revocations, &KeyRange::all(), usize::MAX)
        .unwrap();
    assert!(entries.iter().any(|(_, entry)| matches!(
        entry.what,
        Revoked::Serial { serial: revoked, .. } if revoked == serial
    )));
    drop(view);
    token.fault("");
    let patience = std::time::Instant::now() + Duration::from_secs(300);
    loop {
        let answer = world.try_login(&alice).await;
        if answer.status == 200 {
            let text = answer.issued().certificates.remove(0);
            assert_ne!(certificate(&text).serial(), serial);
            break;
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(std::time::Instant::now() < patience, "{}", answer.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The KRL refuses that serial.
    let list = krl::current(&world.ca).await.unwrap();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let list = ssh_krl::Krl::decode(&STANDARD.decode(&list.krl).unwrap()).unwrap();
    assert!(list.certificates().any(|(_, section)| {
        section
            .serials()
            .iter()
            .any(|run| (run.first()..=run.last()).contains(&serial))
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_user_ca_is_unplugged_starts_revokes_and_signs_when_it_is_back() {
    let token = Token::new();
    let world = World::with_keys(BTreeMap::from([(Purpose::UserCa, in_token(token.spec()))])).await;
    world.pool("web").await;
    let alice = world.employee("alice@corp.example", &["web"]).await;
    let before = world.login(&alice).await;
    krl::current(&world.ca).await.unwrap();
    token.unplug();
    let world = world.restart().await;
    assert_eq!(world.try_login(&alice).await.status, 503);
    let serial = certificate(&before.issued.certificates[0]).serial();
    world
        .verb(json!({"verb": "krl_revoke", "target": {"serial": serial}, "keep_login": true}))
        .await
        .unwrap();
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let list = STANDARD
        .decode(krl::current(&world.ca).await.unwrap().krl)
        .unwrap();
    assert!(keygen_says(&list, &before.issued.certificates[0]));
    machines_take_the_krl(&world);
    token.plug();
    let patience = std::time::Instant::now() + Duration::from_secs(300);
    while world.try_login(&alice).await.status != 200 {
        assert!(std::time::Instant::now() < patience);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
