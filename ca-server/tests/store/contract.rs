//! What every back end does, and what the database does on each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ca_server::{
    ledger::{Actor, Head},
    store::{
        Backend, Batch, Cached, CommitError, Db, Direction, KeyRange, Mark, OpenError, Read,
        ReadError, Snapshot, StoreError, Table, TableGroup, WriteError,
    },
};

use crate::medium::{CA, Medium, event, on_every_medium, put, value, whole, write};

on_every_medium! {
    a_batch_goes_in_whole_and_only_after_its_mark
    a_snapshot_stays_as_it_was
    ranges_in_both_directions
    create_once_open_later
    a_change_is_durable_when_it_returns
    a_refused_change_leaves_nothing
    s4_state_without_an_entry_is_refused
    i6_no_answer_before_the_commit_is_through
    z3_two_writers_never_lose_an_update
    a_cached_value_is_rebuilt_when_its_tables_change
    a_refused_change_does_not_poison_the_cache
}

fn mark(n: u8) -> Mark {
    Mark {
        id: [n; 16],
        commits: u64::from(n),
        head: Head::genesis(&CA),
    }
}

fn batch(n: u8, changes: &[(&str, Option<&str>)]) -> Batch {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Batch {
        changes: changes
            .iter()
            .map(|(key, value)| (Table::Meta, bytes(key), value.map(bytes)))
            .collect(),
        mark: mark(n),
    }
}

fn a_batch_goes_in_whole_and_only_after_its_mark<M: Medium>() {
    let medium = M::new();
    let backend = medium.backend();
    assert_eq!(backend.snapshot().unwrap().mark().unwrap(), None);
    let early = backend.commit(Some(&mark(1)), &batch(2, &[("a", Some("0"))]));
    assert!(matches!(early, Err(CommitError::Conflict)));
    backend
        .commit(None, &batch(1, &[("a", Some("1")), ("b", Some("1"))]))
        .unwrap();
    backend
        .commit(Some(&mark(1)), &batch(2, &[("a", None), ("b", Some("2"))]))
        .unwrap();
    for stale in [None, Some(&mark(1)), Some(&mark(3))] {
        let late = backend.commit(stale, &batch(3, &[("a", Some("3")), ("c", Some("3"))]));
        assert!(matches!(late, Err(CommitError::Conflict)), "{late:?}");
    }
    backend.reopen().unwrap();
    drop(backend);
    let backend = medium.backend();
    let snapshot = Snapshot::of(backend.as_ref()).unwrap();
    assert_eq!(snapshot.mark(), Some(&mark(2)));
    assert_eq!(value(&snapshot, "a"), None);
    assert_eq!(value(&snapshot, "b").as_deref(), Some("2"));
    assert_eq!(value(&snapshot, "c"), None);
}

fn a_snapshot_stays_as_it_was<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    write(&db, "a", "1").unwrap();
    let before = db.snapshot().unwrap();
    write(&db, "a", "2").unwrap();
    write(&db, "b", "2").unwrap();
    assert_eq!(value(&before, "a").as_deref(), Some("1"));
    assert_eq!(value(&before, "b"), None);
    assert_eq!(before.head().entries, 1);
    assert_eq!(value(&db.snapshot().unwrap(), "a").as_deref(), Some("2"));
}

fn ranges_in_both_directions<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    for key in ["a", "b", "ba", "bb", "b\u{7f}", "c"] {
        write(&db, key, "x").unwrap();
    }
    let snapshot = db.snapshot().unwrap();
    let keys = |range: KeyRange, direction, limit| -> Vec<String> {
        let pairs = snapshot
            .scan(Table::Meta, &range, direction, limit)
            .unwrap();
        let keys = pairs
            .into_iter()
            .map(|(key, _)| String::from_utf8(key).unwrap());
        keys.collect()
    };
    use Direction::{Backward, Forward};
    assert_eq!(
        keys(KeyRange::prefix("b"), Forward, 9),
        ["b", "ba", "bb", "b\u{7f}"]
    );
    assert_eq!(keys(KeyRange::prefix("b"), Backward, 2), ["b\u{7f}", "bb"]);
    assert_eq!(keys(KeyRange::between("b", "bb"), Forward, 9), ["b", "ba"]);
    assert_eq!(keys(KeyRange::before("b"), Forward, 9), ["a"]);
    assert_eq!(
        keys(KeyRange::since("bb"), Backward, 9),
        ["c", "b\u{7f}", "bb"]
    );
    assert_eq!(keys(KeyRange::all(), Backward, 1), ["c"]);
    assert!(keys(KeyRange::between("c", "a"), Forward, 9).is_empty());
    assert!(keys(KeyRange::all(), Forward, 0).is_empty());
    assert_eq!(
        snapshot.count(Table::Employees, &KeyRange::all()).unwrap(),
        0
    );
}

fn create_once_open_later<M: Medium>() {
    let medium = M::new();
    let backend = medium.backend();
    assert!(matches!(
        Db::open(Arc::clone(&backend)),
        Err(OpenError::Empty)
    ));
    let db = Db::create(Arc::clone(&backend), CA).unwrap();
    write(&db, "a", "1").unwrap();
    drop(db);
    assert!(matches!(Db::create(backend, CA), Err(OpenError::NotEmpty)));
    let db = Db::open(medium.backend()).unwrap();
    assert_eq!(db.ca_id(), CA);
    assert_eq!(value(&db.snapshot().unwrap(), "a").as_deref(), Some("1"));
}

fn a_change_is_durable_when_it_returns<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    assert_eq!(write(&db, "a", "1").unwrap(), 1);
    assert_eq!(write(&db, "b", "1").unwrap(), 2);
    let head = whole(&db);
    drop(db);
    let db = Db::open(medium.backend()).unwrap();
    assert_eq!(whole(&db), head);
    assert_eq!(value(&db.snapshot().unwrap(), "b").as_deref(), Some("1"));
    assert_eq!(write(&db, "c", "1").unwrap(), 3);
    whole(&db);
}

fn a_refused_change_leaves_nothing<M: Medium>() {
    #[derive(Debug, PartialEq)]
    struct No;
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let refused: Result<(), _> = db.write(|txn| {
        put(txn, "a", "1").unwrap();
        assert_eq!(
            value(txn, "a").as_deref(),
            Some("1"),
            "a change sees what it wrote"
        );
        assert_eq!(txn.head().entries, 1);
        Err(No)
    });
    assert!(matches!(refused, Err(WriteError::Refused(No))));
    assert_eq!(value(&db.snapshot().unwrap(), "a"), None);
    assert_eq!(whole(&db).entries, 0);
}

fn s4_state_without_an_entry_is_refused<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let change = |table: Table| {
        db.write(move |txn| {
            txn.put(table, "k", "v");
            Ok::<_, ReadError>(())
        })
    };
    for &table in Table::ALL {
        let result = change(table);
        match table {
            Table::Seen | Table::Checks => assert!(result.is_ok()),
            Table::Ledger | Table::Internal => assert!(
                matches!(result, Err(WriteError::Store(StoreError::Forbidden(t))) if t == table)
            ),
            _ => assert!(
                matches!(result, Err(WriteError::Store(StoreError::Unrecorded(t))) if t == table)
            ),
        }
        let sneaked = db.write(move |txn| {
            txn.unrecorded().delete(table, "k");
            Ok::<_, ReadError>(())
        });
        let heard = matches!(table, Table::Seen | Table::Checks);
        assert_eq!(sneaked.is_ok(), heard, "{table}");
        if table != Table::Internal && !heard {
            let rows = db
                .snapshot()
                .unwrap()
                .count(table, &KeyRange::all())
                .unwrap();
            assert_eq!(rows, 0, "{table}");
        }
    }
    // A ledger entry alone is a change too.
    db.write(|txn| Ok::<_, ReadError>(txn.record(1, &Actor::Server, &event("x"))))
        .unwrap();
    assert_eq!(whole(&db).entries, 1);
}

/// Holds every commit until told.
struct Gate {
    inner: Arc<dyn Backend>,
    arrived: std::sync::Mutex<mpsc::Sender<()>>,
    open: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Backend for Gate {
    fn snapshot(&self) -> Result<Box<dyn ca_server::store::View>, ReadError> {
        self.inner.snapshot()
    }

    fn commit(&self, expected: Option<&Mark>, batch: &Batch) -> Result<(), CommitError> {
        self.arrived.lock().unwrap().send(()).unwrap();
        self.open.lock().unwrap().recv().unwrap();
        self.inner.commit(expected, batch)
    }

    fn reopen(&self) -> Result<(), CommitError> {
        self.inner.reopen()
    }
}

fn i6_no_answer_before_the_commit_is_through<M: Medium>() {
    let medium = M::new();
    drop(Db::create(medium.backend(), CA).unwrap());
    let (arrived, arrivals) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    let gate = Gate {
        inner: medium.backend(),
        arrived: arrived.into(),
        open: opened.into(),
    };
    let db = Db::open(Arc::new(gate)).unwrap();
    for refuse in [false, true] {
        let (answer, answers) = mpsc::channel();
        let other = db.clone();
        let waiting = thread::spawn(move || {
            let result = other.write(move |txn| put(txn, "a", "1"));
            answer.send(result.is_ok()).unwrap();
        });
        arrivals.recv().unwrap();
        let early = answers.recv_timeout(Duration::from_millis(50));
        assert_eq!(
            early,
            Err(mpsc::RecvTimeoutError::Timeout),
            "answered before durable"
        );
        assert_eq!(whole(&db).entries, u64::from(refuse), "seen before durable");
        open.send(()).unwrap();
        assert!(answers.recv().unwrap());
        waiting.join().unwrap();
    }
    assert_eq!(whole(&db).entries, 2);
}

fn z3_two_writers_never_lose_an_update<M: Medium>() {
    const EACH: u32 = 100;
    let medium = M::new();
    let backend = medium.backend();
    // Two databases over one back end, as two replicas of the server would have it.
    let first = Db::create(Arc::clone(&backend), CA).unwrap();
    let second = Db::open(backend).unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let threads = [first.clone(), first.clone(), second.clone(), second].map(|db| {
        let runs = Arc::clone(&runs);
        thread::spawn(move || {
            for _ in 0..EACH {
                // Crowded out is not persisted, and says so: whoever asks tries again.
                while let Err(error) = {
                    let runs = Arc::clone(&runs);
                    db.write(move |txn| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        let seen = value(txn, "count").map_or(0, |n| n.parse::<u32>().unwrap());
                        put(txn, "count", &(seen + 1).to_string())
                    })
                } {
                    assert!(
                        matches!(error, WriteError::Store(StoreError::NotPersisted(_))),
                        "{error:?}"
                    );
                }
            }
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    let count = value(&first.snapshot().unwrap(), "count").unwrap();
    assert_eq!(count, (4 * EACH).to_string());
    assert_eq!(whole(&first).entries, u64::from(4 * EACH));
    assert!(runs.load(Ordering::Relaxed) >= 4 * EACH);
}

fn pools(source: &impl Read) -> Result<u64, ReadError> {
    source.count(Table::Pools, &KeyRange::all())
}

fn a_cached_value_is_rebuilt_when_its_tables_change<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let cache = Arc::new(Cached::new(TableGroup::Policy));
    let builds = Arc::new(AtomicU32::new(0));
    let look = {
        let (cache, builds, db) = (Arc::clone(&cache), Arc::clone(&builds), db.clone());
        move || {
            let value = cache.load(&db.snapshot().unwrap(), |s| {
                builds.fetch_add(1, Ordering::Relaxed);
                pools(s)
            });
            (*value.unwrap(), builds.load(Ordering::Relaxed))
        }
    };
    assert_eq!(look(), (0, 1));
    write(&db, "a", "1").unwrap();
    assert_eq!(look(), (0, 1), "another table's change rebuilds nothing");
    let inner = Arc::clone(&cache);
    db.write(move |txn| {
        txn.put(Table::Pools, "web", "{}");
        assert_eq!(*inner.load(txn, pools)?, 1);
        txn.put(Table::Pools, "db", "{}");
        assert_eq!(
            *inner.load(txn, pools)?,
            2,
            "a change sees its second write too"
        );
        txn.record(1, &Actor::Server, &event("pools"));
        Ok::<_, ReadError>(())
    })
    .unwrap();
    assert_eq!(look(), (2, 1), "what the writer built serves the readers");
}

fn a_refused_change_does_not_poison_the_cache<M: Medium>() {
    let medium = M::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let cache = Arc::new(Cached::new(TableGroup::Policy));
    for (refuse, expected) in [(true, 0), (false, 1), (true, 1)] {
        let inner = Arc::clone(&cache);
        let result = db.write(move |txn| {
            txn.put(Table::Pools, if refuse { "refused" } else { "web" }, "{}");
            inner.load(txn, pools).map_err(|e| e.to_string())?;
            txn.record(1, &Actor::Server, &event("pools"));
            if refuse { Err("no".to_owned()) } else { Ok(()) }
        });
        assert_eq!(result.is_err(), refuse);
        let seen = cache.load(&db.snapshot().unwrap(), pools).unwrap();
        assert_eq!(*seen, expected);
    }
}
