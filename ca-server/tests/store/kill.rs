//! `kill -9` at any moment: everything acknowledged is there, and the ledger is whole.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use ca_server::{
    ledger::{self, Head},
    store::{Db, Read, RedbBackend},
};
use ssh_key::rand_core::{OsRng, RngCore};

use crate::medium::{CA, Medium, OnDisk, put, value, whole};

const STORE: &str = "STORE_KILL_FILE";

/// Not a test by itself: what is killed. Four clients write in a loop and print what was acknowledged.
#[test]
#[ignore = "run by the test below"]
fn child_that_is_killed() {
    let path = env::var_os(STORE).expect("the parent says where");
    let db = Db::open(Arc::new(RedbBackend::open(path.as_ref()).unwrap())).unwrap();
    let client = || loop {
        let key = format!("{:016x}", OsRng.next_u64());
        let written = key.clone();
        let seq = db.write(move |txn| put(txn, &written, "x")).unwrap();
        // One write each: a line is whole or not there.
        let line = format!("\nack {seq} {key}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(client);
        }
    });
}

#[test]
fn i6_what_was_acknowledged_survives_kill_9() {
    let rounds = env::var("STORE_KILL_ROUNDS").map_or(20, |n| n.parse().unwrap());
    let medium = OnDisk::new();
    drop(Db::create(medium.backend(), CA).unwrap());
    let mut acknowledged: Vec<(u64, String)> = vec![];
    let mut last: Option<Head> = None;
    for round in 0..rounds {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "kill::child_that_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(STORE, medium.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = OsRng.next_u32() as usize % 40 + 1;
        let pause = Duration::from_micros(u64::from(OsRng.next_u32() % 5000));
        let mut here = vec![];
        let mut killed = false;
        for line in lines.map_while(Result::ok) {
            if let Some((seq, key)) = line
                .strip_prefix("ack ")
                .and_then(|ack| ack.split_once(' '))
            {
                here.push((seq.parse().unwrap(), key.to_owned()));
            }
            if here.len() >= wanted && !killed {
                thread::sleep(pause);
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself: {status}");
        acknowledged.extend(here);

        let db = Db::open(medium.backend()).unwrap();
        let head = whole(&db);
        let snapshot = db.snapshot().unwrap();
        if let Some(last) = &last {
            ledger::verify(&snapshot, last).unwrap();
        }
        for (seq, key) in &acknowledged {
            assert!(*seq <= head.entries, "round {round}: entry {seq} is gone");
            assert!(
                value(&snapshot, key).is_some(),
                "round {round}: {key} is gone"
            );
            let entry = ledger::find(&snapshot, *seq).unwrap().unwrap();
            assert_eq!(entry.event, crate::medium::event(key), "round {round}");
        }
        last = Some(snapshot.head());
    }
    println!(
        "{rounds} kills, {} acknowledged changes",
        acknowledged.len()
    );
}
