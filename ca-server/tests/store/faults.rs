//! Commits that fail, each in both ways (not saved; saved, but errored), on every back end.

use std::sync::Arc;

use ca_server::store::{Backend, CommitError, Db, Fault, FaultyBackend, StoreError, WriteError};

use crate::medium::{CA, Medium, Written, on_every_medium, value, whole, write};

on_every_medium! {
    not_persisted_changes_nothing
    s2_an_errored_commit_is_looked_up
    i6_an_outcome_that_cannot_be_looked_up_is_unknown
    s1_a_failed_flush_stops_the_store
    a_fault_answers_the_whole_group
}

fn faulty<M: Medium>(medium: &M) -> (Arc<FaultyBackend>, Db) {
    let faulty = Arc::new(FaultyBackend::new(medium.backend()));
    let db = Db::create(Arc::clone(&faulty) as Arc<dyn Backend>, CA).unwrap();
    write(&db, "before", "1").unwrap();
    (faulty, db)
}

fn goes_on<M: Medium>(medium: &M, faulty: Option<Arc<FaultyBackend>>, db: Db, entries: u64) {
    assert_eq!(write(&db, "after", "1").unwrap(), entries + 1);
    assert_eq!(whole(&db).entries, entries + 1);
    drop(faulty);
    drop(db);
    whole(&Db::open(medium.backend()).unwrap());
}

fn not_persisted_changes_nothing<M: Medium>() {
    let medium = M::new();
    let (faulty, db) = faulty(&medium);
    faulty.fail_next([Fault::NotPersisted]);
    let failed = write(&db, "a", "1");
    assert!(matches!(
        failed,
        Err(WriteError::Store(StoreError::NotPersisted(_)))
    ));
    assert_eq!(value(&db.snapshot().unwrap(), "a"), None);
    assert_eq!(whole(&db).entries, 1);
    goes_on(&medium, Some(faulty), db, 1);
}

fn s2_an_errored_commit_is_looked_up<M: Medium>() {
    let medium = M::new();
    let (faulty, db) = faulty(&medium);
    faulty.fail_next([Fault::PersistedButErrored]);
    assert_eq!(
        write(&db, "a", "1").unwrap(),
        2,
        "it is in the store: so it succeeded"
    );
    faulty.fail_next([Fault::Lost]);
    let lost = write(&db, "b", "1");
    assert!(matches!(
        lost,
        Err(WriteError::Store(StoreError::NotPersisted(_)))
    ));
    let snapshot = db.snapshot().unwrap();
    assert_eq!(value(&snapshot, "a").as_deref(), Some("1"));
    assert_eq!(value(&snapshot, "b"), None);
    goes_on(&medium, Some(faulty), db, 2);
}

fn i6_an_outcome_that_cannot_be_looked_up_is_unknown<M: Medium>() {
    for (fault, persisted) in [(Fault::LostAndBlind, 0), (Fault::PersistedAndBlind, 1)] {
        let medium = M::new();
        let (faulty, db) = faulty(&medium);
        faulty.fail_next([fault]);
        let unknown = write(&db, "a", "1");
        assert!(
            matches!(unknown, Err(WriteError::Store(StoreError::Unknown(_)))),
            "{fault:?}"
        );
        assert_eq!(
            value(&db.snapshot().unwrap(), "a").is_some(),
            persisted == 1
        );
        goes_on(&medium, Some(faulty), db, 1 + persisted);
    }
}

fn s1_a_failed_flush_stops_the_store<M: Medium>() {
    let medium = M::new();
    let (faulty, db) = faulty(&medium);
    faulty.fail_next([Fault::FlushFailed]);
    let unknown = write(&db, "a", "1");
    assert!(matches!(
        unknown,
        Err(WriteError::Store(StoreError::Unknown(_)))
    ));
    assert!(db.stopped().is_some());
    let tried = faulty.commits();
    for _ in 0..3 {
        let stopped = write(&db, "b", "1");
        assert!(matches!(
            stopped,
            Err(WriteError::Store(StoreError::Stopped(_)))
        ));
    }
    assert_eq!(faulty.commits(), tried, "never retried");
    let direct = faulty.commit(
        None,
        &ca_server::store::Batch {
            changes: vec![],
            mark: *db.snapshot().unwrap().mark().unwrap(),
        },
    );
    assert!(matches!(direct, Err(CommitError::Stopped(_))));
    assert_eq!(whole(&db).entries, 1, "what was there can still be read");
    drop(db);
    drop(faulty);
    // A restart of the server is a new look at the medium.
    goes_on(&medium, None, Db::open(medium.backend()).unwrap(), 1);
}

fn a_fault_answers_the_whole_group<M: Medium>() {
    for fault in [Fault::NotPersisted, Fault::Lost, Fault::LostAndBlind] {
        let medium = M::new();
        let (faulty, db) = faulty(&medium);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        faulty.fail_next([fault]);
        let answers: Vec<Written<u64>> = runtime.block_on(async {
            let change = |db: Db| async move {
                db.write_async(|txn| crate::medium::put(txn, "a", "1"))
                    .await
            };
            let first = change(db.clone());
            let second = change(db.clone());
            let (first, second) = tokio::join!(first, second);
            vec![first, second]
        });
        // One or two groups, as it happens: whoever was in the failed one was told so, and nothing of it is there.
        let done = answers.iter().filter(|a| a.is_ok()).count();
        assert!(done < 2);
        assert_eq!(whole(&db).entries, 1 + done as u64);
        goes_on(&medium, Some(faulty), db, 1 + done as u64);
    }
}
