//! Backup, restore and the admin's look after it, cut off where it hurts: what was not said to be done is done again.

use std::{fs, process::Stdio, time::Duration};

use ca_server::{
    backup::{
        dump::Include,
        restore::{self, plain},
    },
    recovery,
    store::Fault,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{
    backup::{archive, empty},
    process::{Server, data_folder, program},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn s7_h8_an_admins_look_that_is_cut_at_its_commit_is_asked_for_again() {
    let world = World::new().await;
    let tar = archive(&world, Include::Keys);
    let (ahead, now) = (world.ahead(), world.ca.clock.now());
    drop(world);
    let root = empty();
    restore::restore(&tar[..], &root.path().join("ca"), now, &plain).unwrap();
    // Where a world that is started again looks for it.
    let store = root.path().join("ca/store.redb");
    fs::hard_link(store, root.path().join("store.redb")).unwrap();
    let mut world = World::open(root, ahead).await;
    let finish = || json!({"verb": "recovery_finish"});
    let entries = async |world: &World| {
        let lines = world.ledger(5000).await;
        lines
            .iter()
            .filter(|line| line.event == "recovery_finished")
            .count()
    };
    // Dead before the commit: shut as ever. Dead after it: open, with its entry, though nobody was told.
    for (fault, shut, written) in [
        (Fault::NotPersisted, true, 0),
        (Fault::PersistedAndBlind, false, 1),
    ] {
        world.faults.fail_next([fault]);
        assert!(world.verb(finish()).await.is_err(), "{fault:?}");
        world = world.restart().await;
        let found = recovery::is_shut(&world.ca.db.snapshot().unwrap()).unwrap();
        assert_eq!((found, entries(&world).await), (shut, written), "{fault:?}");
    }
    world.verb(finish()).await.unwrap();
    assert_eq!(entries(&world).await, 1, "asked for again, nothing changes");
    world.verb(json!({"verb": "audit_verify"})).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_a_server_that_is_killed_while_it_gives_a_backup_leaves_none() {
    let (dir, data) = data_folder();
    let server = Server::start(&data, "info").await;
    let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
    // It stands still, so that the command is in the middle of it for sure.
    kill(pid, Signal::SIGSTOP).unwrap();
    let file = dir.path().join("ca.age");
    let identity = age::x25519::Identity::generate();
    let child = program(&["backup", "--recipient"])
        .arg(identity.to_public().to_string())
        .arg("--data")
        .arg(&data)
        .arg(&file)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = dir.path().join("ca.age.partial");
    let began = std::time::Instant::now();
    while !partial.exists() {
        assert!(began.elapsed().as_secs() < 120, "it does not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(server);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(!file.exists() && !partial.exists(), "{out:?}");
}
