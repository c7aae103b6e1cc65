//! The file: who may open it, what it must be, and a disk whose every operation fails once.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use ca_server::store::{
    Db, DiskFaults, DiskOperation, FileError, Lasting, RedbBackend, StoreError, WriteError,
};

use crate::medium::{CA, Medium, OnDisk, value, whole, write};

fn refused(path: &Path) -> FileError {
    match RedbBackend::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(e) => e,
    }
}

#[test]
fn s6_a_new_file_is_0600_whatever_the_umask_and_a_wider_one_is_refused() {
    let medium = OnDisk::new();
    drop(Db::create(medium.backend(), CA).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&medium.path()), 0o600);
    let before = fs::read(medium.path()).unwrap();
    for wide in [0o640, 0o604, 0o660, 0o601, 0o777] {
        fs::set_permissions(medium.path(), fs::Permissions::from_mode(wide)).unwrap();
        let error = refused(&medium.path());
        assert!(matches!(error, FileError::TooWide { mode, .. } if mode == wide));
        assert!(error.to_string().contains("chmod 0600"), "{error}");
        assert_eq!(mode(&medium.path()), wide, "not set right silently");
    }
    assert_eq!(
        fs::read(medium.path()).unwrap(),
        before,
        "nothing was changed"
    );
    fs::set_permissions(medium.path(), fs::Permissions::from_mode(0o600)).unwrap();
    whole(&Db::open(medium.backend()).unwrap());
}

#[test]
fn a_second_opener_is_told_who_it_is() {
    let medium = OnDisk::new();
    let db = Db::create(medium.backend(), CA).unwrap();
    let error = refused(&medium.path());
    assert!(matches!(error, FileError::InUse(_)), "{error:?}");
    assert!(
        error.to_string().contains("is ca-server running already?"),
        "{error}"
    );
    write(&db, "a", "1").unwrap();
    drop(db);
    whole(&Db::open(medium.backend()).unwrap());
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.redb");
    assert!(matches!(refused(&path), FileError::Missing(_)));
    assert!(!path.exists());
    assert!(matches!(refused(folder.path()), FileError::NotAFile(_)));
    for content in [&b""[..], b"x", &[0; 4096], &[b'g'; 100_000]] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = refused(&path);
        assert!(
            matches!(error, FileError::NotAStore(_)),
            "{} bytes: {error:?}",
            content.len()
        );
        assert_eq!(fs::read(&path).unwrap(), content);
        assert!(matches!(
            RedbBackend::create(&path),
            Err(FileError::Exists(_))
        ));
        assert_eq!(fs::read(&path).unwrap(), content);
    }
    // Some other redb file, and a store of a later version.
    const OWN: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("store");
    fs::remove_file(&path).unwrap();
    for (format, text) in [(None, "not a store"), (Some(2u64), "has format 2")] {
        let other = redb::Database::create(&path).unwrap();
        let txn = other.begin_write().unwrap();
        if let Some(format) = format {
            let mut own = txn.open_table(OWN).unwrap();
            own.insert(&b"format"[..], format.to_be_bytes().as_slice())
                .unwrap();
        }
        txn.commit().unwrap();
        drop(other);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = refused(&path);
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// Every operation that changes the disk fails in its turn; afterwards the file holds all that was acknowledged and
/// nothing that was denied.
#[test]
fn s1_s2_whichever_operation_of_the_disk_fails() {
    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    for lasting in [Lasting::Once, Lasting::UntilMended] {
        let mut struck = [0; 3];
        for good in 0.. {
            let medium = OnDisk::new();
            let db = Db::create(medium.backend(), CA).unwrap();
            write(&db, "before", "1").unwrap();
            drop(db);
            let faults = Arc::new(DiskFaults::default());
            let disk = RedbBackend::open_with_faults(&medium.path(), Arc::clone(&faults)).unwrap();
            let db = Db::open(Arc::new(disk)).unwrap();
            faults.fail_after(good, lasting);
            let answers = KEYS.map(|key| write(&db, key, "1"));
            let Some(operation) = faults.struck() else {
                break;
            };
            struck[operation as usize] += 1;
            if operation == DiskOperation::Flush {
                assert!(
                    db.stopped().is_some(),
                    "S1: a failed flush stops the store; {good} {lasting:?}: {answers:?}"
                );
                let first = answers.iter().position(Result::is_err).unwrap();
                assert!(
                    matches!(
                        answers[first],
                        Err(WriteError::Store(StoreError::Unknown(_)))
                    ),
                    "{:?}",
                    answers[first]
                );
                faults.mend();
                let operations = faults.operations();
                for answer in answers
                    .iter()
                    .skip(first + 1)
                    .chain([&write(&db, "e", "1")])
                {
                    assert!(
                        matches!(answer, Err(WriteError::Store(StoreError::Stopped(_)))),
                        "{answer:?}"
                    );
                }
                assert_eq!(faults.operations(), operations, "never retried");
            }
            if lasting == Lasting::Once && operation != DiskOperation::Flush {
                assert!(
                    db.stopped().is_none(),
                    "{operation:?} {good}: {:?}",
                    db.stopped()
                );
                assert!(write(&db, "later", "1").is_ok(), "a passing fault passes");
            }
            faults.mend();
            drop(db);
            let db = Db::open(medium.backend()).unwrap();
            let snapshot = db.snapshot().unwrap();
            assert!(value(&snapshot, "before").is_some());
            for (key, answer) in KEYS.iter().zip(&answers) {
                let there = value(&snapshot, key).is_some();
                let context =
                    format!("{key} after {good} good operations, {operation:?} {lasting:?}");
                match answer {
                    Ok(_) => assert!(there, "acknowledged, but lost: {context}"),
                    Err(WriteError::Store(StoreError::Unknown(_))) => {}
                    Err(e) => assert!(!there, "denied, but there: {context}: {e}"),
                }
            }
            whole(&db);
            assert!(good < 2000, "the sweep does not end");
        }
        assert!(struck[DiskOperation::Write as usize] >= 8, "{struck:?}");
        assert!(
            struck[DiskOperation::Flush as usize] >= 8,
            "two for each of four commits: {struck:?}"
        );
    }
}
