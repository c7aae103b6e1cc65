//! I6, S1, S4: what a commit that fails leaves behind, at each step of an issuance.

use ca_server::{
    records::{CertificateState, live_certificates},
    store::Fault,
};
use serde_json::json;

use crate::{
    issuance::{alice_on, all_serials, record},
    world::{Answer, Session, World},
};

/// Breaks the commit number `at` (0: intent, 1: outcome) of a renewal.
async fn broken_renewal(fault: Fault, at: usize) -> (World, Session, Answer, Vec<u64>) {
    let (world, alice) = alice_on(&["web"]).await;
    let session = world.login(&alice).await;
    let before = all_serials(&world);
    let body = world.renew_body(&session).await;
    let mut script = vec![Fault::None; at];
    script.push(fault);
    world.faults.fail_next(script);
    let answer = world.post("/v1/renew", &body).await;
    let new: Vec<u64> = all_serials(&world)
        .into_iter()
        .filter(|serial| !before.contains(serial))
        .collect();
    (world, session, answer, new)
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_an_intent_whose_fate_is_unknown_hands_out_nothing() {
    for fault in [
        Fault::NotPersisted,
        Fault::Lost,
        Fault::LostAndBlind,
        Fault::FlushFailed,
        Fault::PersistedAndBlind,
    ] {
        let (world, _, answer, new) = broken_renewal(fault, 0).await;
        assert_eq!(answer.status, 503, "{fault:?}: {}", answer.text());
        assert!(!answer.text().contains("cert-v01"), "{fault:?}");
        let kept = fault == Fault::PersistedAndBlind;
        assert_eq!(new.len(), usize::from(kept), "{fault:?}");
        for serial in new {
            assert_eq!(
                record(&world, serial).unwrap().state,
                CertificateState::Intent
            );
        }
    }
    // Saved after all, and the store could find out: a promise is kept.
    let (_, _, answer, new) = broken_renewal(Fault::PersistedButErrored, 0).await;
    assert_eq!(answer.issued().certificates.len(), 1);
    assert_eq!(new.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i6_a_certificate_whose_outcome_is_unknown_is_not_handed_out_and_counts_as_issued() {
    for fault in [
        Fault::NotPersisted,
        Fault::Lost,
        Fault::LostAndBlind,
        Fault::PersistedAndBlind,
        Fault::FlushFailed,
    ] {
        let (world, _, answer, new) = broken_renewal(fault, 1).await;
        assert_eq!(answer.status, 503, "{fault:?}: {}", answer.text());
        assert!(!answer.text().contains("cert-v01"), "{fault:?}");
        assert_eq!(new.len(), 1, "{fault:?}: the intent is durable");
        let email = "alice@corp.example".parse().unwrap();
        let view = world.ca.db.snapshot().unwrap();
        let live = live_certificates(&view, &email, world.now()).unwrap();
        assert!(
            live.iter().any(|(serial, _)| *serial == new[0]),
            "{fault:?}: it counts as issued"
        );
        if fault == Fault::FlushFailed {
            continue;
        }
        // And so it is revoked with the rest when its grant goes.
        let change = json!({"verb": "employee_set", "email": email, "remove_pools": ["web"]});
        world.verb(change).await.unwrap();
        let ledger = world.ledger(5).await;
        assert!(
            ledger
                .iter()
                .any(|line| line.event == "narrowed" && line.detail.contains(&new[0].to_string())),
            "{fault:?}: {ledger:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_s4_without_a_ledger_there_is_no_issuance_and_a_failed_flush_is_final() {
    let (world, session, _, _) = broken_renewal(Fault::FlushFailed, 0).await;
    assert!(
        world.ca.db.stopped().is_some(),
        "the server must see that it has to stop"
    );
    for _ in 0..3 {
        let answer = world.renew(&session).await;
        assert_eq!(answer.status, 503, "{}", answer.text());
    }
    let info = world.send("GET", "/v1/ca", &[], "".into()).await;
    assert_eq!(info.status, 200, "it still says who it is");
}
