//! A server that dies while a key of the CA is replaced or given up: at every commit, and between a key's file and the commit that names it.

use std::{collections::BTreeSet, fs};

use ca_server::{
    admin::machine,
    fleet::{deliver, succession},
    keys::{Half, KeyRecord, Life, Purpose, half, record},
    ledger::{Actor, verify_all},
    records::SeenRecord,
    rotate::{self, Stage, Wish},
    store::Fault,
    tls::room::{self, Step},
};
use serde_json::json;

use crate::{
    rotation::{ca, company, life, says, wanted_on},
    rotation_ends::forge_with,
    tls::{answers, key_is_there, pem},
    world::{Person, Session, World},
};

/// How a commit ends for a server that dies there: its keys' files are written and nothing is saved, or all is saved and nothing after it is done.
const DEATHS: [Fault; 2] = [Fault::NotPersisted, Fault::PersistedAndBlind];

/// What holds at every moment, whatever happened: one key of each purpose signs, what is over is trusted by nobody and deleted, the ledger is whole.
async fn sound(world: &World) {
    let view = world.ca.db.snapshot().unwrap();
    verify_all(&view, &world.ca.db.ca_id()).unwrap();
    let (keys, records) = (world.ca.keys(), record::all(&view).unwrap());
    let folder = world.folder.path().join("ca/keys");
    let told = wanted_on(world, "web-1").await.0.trusts;
    let mut may_be = BTreeSet::new();
    for purpose in Purpose::ALL {
        let mine: Vec<&KeyRecord> = records
            .iter()
            .filter(|one| one.purpose == purpose)
            .collect();
        let signing: Vec<_> = mine
            .iter()
            .filter(|one| one.life == Life::Current)
            .collect();
        assert_eq!(signing.len(), 1, "{mine:?}");
        assert_eq!(keys.ring(purpose).current_held().record(), *signing[0]);
        for one in &mine {
            let ended = matches!(one.life, Life::Retired | Life::Compromised);
            let print = one.fingerprint();
            if !ended {
                may_be.insert(one.name());
                continue;
            }
            let mut trusted = keys.ring(purpose).trusted().into_iter();
            assert!(!trusted.any(|key| record::fingerprint(&key) == print));
            assert!(
                !told.contains(&print),
                "web-1 is told to trust {}",
                one.name()
            );
            assert!(keys.ring(purpose).find(&print).unwrap().signer().is_none());
        }
        // One that was made and never named: nobody heard of it, and the next try writes over it.
        let newest = mine.iter().map(|one| one.number).max().unwrap();
        may_be.insert(record::name(purpose, newest + 1));
    }
    for file in fs::read_dir(&folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let ours = ["sync", "ledger", "seal"].contains(&name.as_str()) || may_be.contains(&name);
        assert!(
            half(&name) == Some(Half::Public) || ours,
            "keys/{name} is left"
        );
    }
    let all = world.ca.tls.generations(&world.ca.db).unwrap();
    let signing: Vec<_> = all.iter().filter(|one| one.life == Life::Current).collect();
    assert_eq!(signing.len(), 1, "{all:?}");
    for one in &all {
        let ended = matches!(one.life, Life::Retired | Life::Compromised);
        assert_eq!(key_is_there(world, one.number), !ended, "{one:?}");
        assert_eq!(
            answers(world, &pem(world, one.number)).await,
            !ended,
            "{one:?}"
        );
    }
}

/// How many keys of a purpose there ever were.
fn made(world: &World, purpose: Purpose) -> usize {
    let all = record::all(&world.ca.db.snapshot().unwrap()).unwrap();
    all.iter().filter(|one| one.purpose == purpose).count()
}

fn stage_of(world: &World, purpose: Purpose) -> Option<Stage> {
    let view = world.ca.db.snapshot().unwrap();
    let keys = world.ca.key_room.at(&view).unwrap();
    rotate::stage(&view, &keys, purpose, world.now()).unwrap()
}

/// Everybody has what is wanted: the machines with a host certificate by the key that signs, and the session with the newest directory.
async fn all_confirm(world: &World, session: &Session) {
    world.renew(session).await.issued();
    for name in ["web-1", "web-2"] {
        let machine = name.parse().unwrap();
        machine::renew_host_certificate(&world.ca, &machine)
            .await
            .unwrap();
        let (record, krl) = wanted_on(world, name).await;
        let fleet = world
            .ca
            .keys()
            .fleet
            .current_held()
            .fingerprint()
            .to_owned();
        let seen = SeenRecord {
            generation: record.generation,
            krl_version: krl.version,
            krl_covers: krl.covers,
            krl_ca_keys: krl.ca_keys.clone(),
            trusts: record.trusts.clone(),
            host_ca: deliver::host_ca(&record),
            fleet_keys: vec![fleet],
            last_seen_unix: Some(world.now()),
            ..SeenRecord::default()
        };
        says(world, name, seen);
    }
}

/// Replaces a key, dying at each commit in both ways, and begins anew after each: no step is lost or taken twice.
async fn replaced(purpose: Purpose, stages: &[(&str, [Life; 2])]) -> (World, Person) {
    let (mut world, alice) = company().await;
    let session = world.login(&alice).await;
    for (what, lives) in stages {
        let before = stage_of(&world, purpose);
        for fault in DEATHS {
            world.faults.fail_next([fault]);
            let (ca, by) = (&world.ca, &Actor::Server);
            let taken = if before.is_none() {
                rotate::begin(ca, by, purpose, &Wish::default()).await
            } else {
                rotate::advance(ca, by, purpose).await
            };
            assert!(taken.is_err(), "{what}: {fault:?}: {taken:?}");
            world = world.restart().await;
            if fault == Fault::NotPersisted {
                assert_eq!(
                    stage_of(&world, purpose),
                    before,
                    "{what}: nothing of it is in the store"
                );
            }
            sound(&world).await;
        }
        assert_ne!(stage_of(&world, purpose), before, "{what}");
        assert_eq!(
            [1, 2].map(|one| life(&world, purpose, one)),
            *lives,
            "{what}"
        );
        if stage_of(&world, purpose).is_some() {
            // The command is given again: it goes on, and makes no other key.
            rotate::begin(&world.ca, &Actor::Server, purpose, &Wish::default())
                .await
                .unwrap();
            assert_eq!(made(&world, purpose), 2, "{what}");
        }
        all_confirm(&world, &session).await;
    }
    assert_eq!(stage_of(&world, purpose), None);
    sound(&world).await;
    (world, alice)
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_every_commit_of_a_host_ca_rotation_it_goes_on_from_there() {
    let stages = [
        ("begun", [Life::Current, Life::Next]),
        ("switched", [Life::Retiring, Life::Current]),
        ("counted", [Life::Retiring, Life::Current]),
        ("retired", [Life::Retired, Life::Current]),
    ];
    let (world, alice) = replaced(Purpose::HostCa, &stages).await;
    let directory = world.login(&alice).await.issued.directory.unwrap();
    assert_eq!(directory.host_cas.len(), 1);
    let now = world
        .ca
        .keys()
        .host_ca
        .current_held()
        .fingerprint()
        .to_owned();
    assert_eq!(deliver::host_ca(&wanted_on(&world, "web-1").await.0), now);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_every_commit_of_a_fleet_key_rotation_it_goes_on_from_there() {
    let stages = [
        ("begun", [Life::Retiring, Life::Current]),
        ("retired", [Life::Retired, Life::Current]),
    ];
    let (world, _) = replaced(Purpose::Fleet, &stages).await;
    let keys = world.ca.keys();
    let first = keys.fleet.ended()[0].fingerprint().to_owned();
    let chain = succession::chain(&world.ca, &keys).unwrap();
    assert_eq!(
        chain.onward(&[first]).len(),
        1,
        "whoever was away is led on for ever"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_every_commit_of_a_tls_rotation_it_goes_on_from_there() {
    let (mut world, alice) = company().await;
    let first = pem(&world, 1);
    for (step, then) in [(Step::Rotate, 2), (Step::Retire, 1)] {
        for fault in DEATHS {
            let before = world.ca.tls.generations(&world.ca.db).unwrap();
            world.faults.fail_next([fault]);
            let taken = room::take(&world.ca, &Actor::Server, step).await;
            assert!(taken.is_err(), "{step:?}: {fault:?}");
            world = world.restart().await;
            sound(&world).await;
            let after = world.ca.tls.generations(&world.ca.db).unwrap();
            assert_eq!(before == after, fault == Fault::NotPersisted, "{after:?}");
        }
        let all = world.ca.tls.generations(&world.ca.db).unwrap();
        let shown = all
            .iter()
            .filter(|one| matches!(one.life, Life::Current | Life::Retiring));
        assert_eq!((all.len(), shown.count()), (2, then), "{all:?}");
        assert_eq!(answers(&world, &first).await, step == Step::Rotate);
    }
    world.client = crate::world::trusting(&pem(&world, 2));
    world.login(&alice).await;
}

/// What a thief has of a CA whose key was just being replaced.
struct Loot {
    /// Certificates for himself by each user CA key, of which the CA knows nothing.
    forged: Vec<String>,
    /// The keys of each purpose that anybody believes.
    keys: Vec<(Purpose, String)>,
    /// What employees pinned.
    tls: Vec<u32>,
}

async fn in_the_middle(key: &str) -> (World, Session, Loot) {
    let (world, alice) = company().await;
    // A session that has not heard of it keeps the next host CA key waiting.
    let session = world.login(&alice).await;
    ca(&world, json!({"verb": "ca_rotate", "key": key})).await;
    let keys = world.ca.keys();
    let forged = (0..keys.user_ca.covered().count())
        .map(|at| forge_with(&world, at))
        .collect();
    let prints = |purpose: Purpose| {
        let covered = keys.ring(purpose).covered();
        covered
            .map(|held| (purpose, held.fingerprint().to_owned()))
            .collect::<Vec<_>>()
    };
    let all = world.ca.tls.generations(&world.ca.db).unwrap();
    let loot = Loot {
        forged,
        keys: Purpose::ALL.into_iter().flat_map(prints).collect(),
        tls: all.iter().map(|one| one.number).collect(),
    };
    (world, session, loot)
}

/// Nothing that the thief has is worth anything, and those who belong here go on.
async fn worthless(world: &World, session: &Session, loot: &Loot, key: &str) {
    let keys = world.ca.keys();
    let lives = |purpose| {
        let mine = loot.keys.iter().filter(move |(of, _)| *of == purpose);
        mine.map(|(of, print)| keys.ring(*of).find(print).unwrap().record().life)
    };
    match key {
        "user" => {
            assert!(lives(Purpose::UserCa).all(|life| life == Life::Compromised));
            assert!(
                world
                    .revoked(&loot.forged)
                    .await
                    .iter()
                    .all(|revoked| *revoked)
            );
        }
        "host" => {
            assert!(lives(Purpose::HostCa).all(|life| life == Life::Compromised));
            let directory = world.renew(session).await.issued().directory.unwrap();
            assert_eq!(directory.host_cas.len(), 1);
            for (_, print) in loot.keys.iter().filter(|(of, _)| *of == Purpose::HostCa) {
                let lost = &keys.host_ca.find(print).unwrap().record().public_key;
                assert!(directory.revoked_hosts.contains(lost));
            }
        }
        "fleet" => {
            assert!(lives(Purpose::Fleet).any(|life| life == Life::Compromised));
            let chain = succession::chain(&world.ca, &keys).unwrap();
            for (_, print) in loot.keys.iter().filter(|(of, _)| *of == Purpose::Fleet) {
                assert!(
                    !chain.begins_at(std::slice::from_ref(print)),
                    "nobody is led through it"
                );
            }
        }
        _ => {
            for number in &loot.tls {
                assert!(!answers(world, &pem(world, *number)).await);
            }
        }
    }
    if key != "tls" {
        let renewed = world.renew(session).await.issued().certificates;
        assert_eq!(world.revoked(&renewed).await, [false]);
    }
}

/// Gives a key up and dies at commit `nth` of it; then gives it up again. Whether there was such a commit.
async fn dies_at(key: &str, nth: usize, fault: Fault) -> bool {
    let (world, session, loot) = in_the_middle(key).await;
    let before = lives_now(&world);
    let commits = world.faults.commits();
    world
        .faults
        .fail_next(std::iter::repeat_n(Fault::None, nth).chain([fault]));
    let request = json!({"verb": "ca_compromise", "key": key, "reason": "copied"});
    let said = world.verb(request.clone()).await;
    let died = world.faults.commits() - commits > nth as u64;
    let world = world.restart().await;
    sound(&world).await;
    if nth == 0 && fault == Fault::NotPersisted {
        assert!(
            said.is_err(),
            "what is not durable is not said to be done (R1)"
        );
        assert_eq!(lives_now(&world), before);
    } else {
        worthless(&world, &session, &loot, key).await;
    }
    if nth > 0 {
        // What is left to do is the keeper's, and was shown to be sound.
        return died;
    }
    world.verb(request).await.unwrap();
    sound(&world).await;
    worthless(&world, &session, &loot, key).await;
    let world = world.restart().await;
    sound(&world).await;
    worthless(&world, &session, &loot, key).await;
    died
}

/// Each key's name and life.
fn lives_now(world: &World) -> Vec<(String, Life)> {
    let view = world.ca.db.snapshot().unwrap();
    let keys = record::all(&view)
        .unwrap()
        .into_iter()
        .map(|one| (one.name(), one.life));
    let tls = world.ca.tls.generations(&world.ca.db).unwrap();
    keys.chain(tls.iter().map(|one| (one.name(), one.life)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_every_commit_of_giving_up_the_user_ca_key_nothing_that_was_lost_counts() {
    for fault in DEATHS {
        assert!(dies_at("user", 0, fault).await);
    }
    // What follows the decision makes canaries, the KRL and bundles: nothing of it is decided there.
    for nth in 1..4 {
        assert!(
            dies_at("user", nth, Fault::NotPersisted).await,
            "commit {nth}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_the_commit_of_giving_up_the_host_ca_key_nothing_that_was_lost_counts() {
    for fault in DEATHS {
        assert!(dies_at("host", 0, fault).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_the_commit_of_giving_up_the_fleet_key_nothing_that_was_lost_counts() {
    for fault in DEATHS {
        assert!(dies_at("fleet", 0, fault).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_at_the_commit_of_giving_up_the_tls_ca_nothing_that_was_lost_counts() {
    for fault in DEATHS {
        assert!(dies_at("tls", 0, fault).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_killed_when_the_last_machine_has_confirmed_a_compromise_it_is_concluded_later() {
    let (mut world, alice) = company().await;
    ca(&world, json!({"verb": "ca_compromise", "key": "user"})).await;
    let session = world.login(&alice).await;
    all_confirm(&world, &session).await;
    let ended = |world: &World| world.ca.keys().user_ca.ended()[0].record().ended_unix;
    for (fault, concluded) in DEATHS.into_iter().zip([false, true]) {
        world.faults.fail_next([fault]);
        rotate::go_on(&world.ca).await;
        world = world.restart().await;
        assert_eq!(ended(&world).is_some(), concluded, "{fault:?}");
        sound(&world).await;
    }
    assert_eq!(life(&world, Purpose::UserCa, 1), Life::Compromised);
}
