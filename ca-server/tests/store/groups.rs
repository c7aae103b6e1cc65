//! How changes become one commit: what of a group stays, and what is turned away.

use std::{
    sync::{Arc, Barrier},
    task::{Context, Poll, Waker},
    thread,
};

use ca_server::store::{Backend, Db, FaultyBackend, Options, ReadError, StoreError, WriteError};

use crate::medium::{CA, Medium, on_every_medium, put, value, whole};

on_every_medium! {
    a_group_with_a_failing_change_keeps_the_others
    a_panic_takes_nobody_along
    a_full_queue_is_busy
    async_changes_are_grouped
}

/// Holds the writer inside one change until all of these are in its queue, so that they become one group.
fn grouped<T>(db: &Db, changes: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let (inside, held) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let holder = {
        let (db, inside, held) = (db.clone(), Arc::clone(&inside), Arc::clone(&held));
        thread::spawn(move || {
            db.write(move |_| {
                inside.wait();
                held.wait();
                Ok::<_, ReadError>(())
            })
        })
    };
    inside.wait();
    // A change is in the queue, or refused, once it was looked at for the first time.
    let mut nobody = Context::from_waker(Waker::noop());
    let queued: Vec<_> = changes
        .into_iter()
        .map(|change| {
            let mut change = Box::pin(change);
            let answer = change.as_mut().poll(&mut nobody);
            (change, answer)
        })
        .collect();
    held.wait();
    holder.join().unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    queued
        .into_iter()
        .map(|(change, answer)| match answer {
            Poll::Ready(answer) => answer,
            Poll::Pending => runtime.block_on(change),
        })
        .collect()
}

fn a_group_with_a_failing_change_keeps_the_others<M: Medium>() {
    let medium = M::new();
    let faulty = Arc::new(FaultyBackend::new(medium.backend()));
    let db = Db::create(Arc::clone(&faulty) as Arc<dyn Backend>, CA).unwrap();
    let before = faulty.commits();
    let changes = (0..10).map(|n| {
        db.write_async(move |txn| {
            let seen = value(txn, "count").map_or(0, |n| n.parse::<u32>().unwrap());
            put(txn, "count", &(seen + 1).to_string()).map_err(|e| e.to_string())?;
            if n % 3 == 0 {
                Err("no".to_owned())
            } else {
                Ok(seen)
            }
        })
    });
    let results = grouped(&db, changes);
    let mut kept: Vec<_> = results.iter().filter_map(|r| r.as_ref().ok()).collect();
    kept.sort();
    assert_eq!(
        kept,
        [&0, &1, &2, &3, &4, &5],
        "each saw those before it, and no refused one"
    );
    assert_eq!(
        value(&db.snapshot().unwrap(), "count").as_deref(),
        Some("6")
    );
    assert_eq!(whole(&db).entries, 6);
    assert_eq!(faulty.commits() - before, 1, "ten changes, one commit");
}

fn a_panic_takes_nobody_along<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let changes = (0..4).map(|n| {
        db.write_async(move |txn| {
            let seq = put(txn, "a", "1")?;
            assert!(n != 1, "w3: a panic inside a change, on purpose");
            Ok::<_, ReadError>(seq)
        })
    });
    let results = grouped(&db, changes);
    let panicked = |r: &&Result<_, _>| matches!(r, Err(WriteError::Store(StoreError::Panicked)));
    assert_eq!(results.iter().filter(panicked).count(), 1);
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 3);
    assert_eq!(whole(&db).entries, 3);
}

fn a_full_queue_is_busy<M: Medium>() {
    let medium = M::new();
    drop(Db::create(medium.backend(), CA).unwrap());
    let options = Options { queue: 4, group: 2 };
    let db = Db::open_with(medium.backend(), options).unwrap();
    let changes = (0..20).map(|_| db.write_async(|txn| put(txn, "a", "1")));
    let results = grouped(&db, changes);
    let busy = |r: &&Result<_, _>| matches!(r, Err(WriteError::Store(StoreError::Busy)));
    let (busy, done) = (
        results.iter().filter(busy).count(),
        results.iter().filter(|r| r.is_ok()).count(),
    );
    assert_eq!((done, busy), (4, 16), "as many as there is room for");
    assert_eq!(whole(&db).entries, done as u64);
}

fn async_changes_are_grouped<M: Medium>() {
    let medium = M::new();
    let faulty = Arc::new(FaultyBackend::new(medium.backend()));
    let db = Db::create(Arc::clone(&faulty) as Arc<dyn Backend>, CA).unwrap();
    let before = faulty.commits();
    let changes = (0..200).map(|n: u32| db.write_async(move |txn| put(txn, &n.to_string(), "1")));
    for answer in grouped(&db, changes) {
        answer.unwrap();
    }
    assert_eq!(whole(&db).entries, 200);
    assert_eq!(faulty.commits() - before, 1, "200 changes, one commit");
}
