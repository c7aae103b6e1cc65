//! A disk that is really full: a small tmpfs in a mount namespace of the test's own.

use std::{env, fs, path::PathBuf, process::Command, sync::Arc};

use ca_server::store::{Db, RedbBackend, StoreError, WriteError};

use crate::medium::{CA, put, value, whole};

const FOLDER: &str = "STORE_FULL_FOLDER";

/// Not a test by itself: run on the small disk.
#[test]
#[ignore = "run by the test below"]
fn child_on_a_small_disk() {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("the parent says where"));
    let path = folder.join("ca.redb");
    let db = Db::create(Arc::new(RedbBackend::create(&path).unwrap()), CA).unwrap();
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let fill = |n: u32| db.write(move |txn| put(txn, &n.to_string(), &"x".repeat(60_000)));
    let mut done = 0;
    let error = loop {
        match fill(done) {
            Ok(_) => done += 1,
            Err(e) => break e,
        }
        assert!(done < 1000, "the disk does not fill");
    };
    assert!(
        matches!(error, WriteError::Store(StoreError::NotPersisted(_))),
        "full is known to be not saved: {error:?}"
    );
    println!("full after {done} changes: {error}");
    assert!(fill(done).is_err(), "still full");
    assert!(db.stopped().is_none(), "a full disk is no reason to stop");
    let now = db.snapshot().unwrap();
    assert!(value(&now, &(done - 1).to_string()).is_some());
    assert!(value(&now, &done.to_string()).is_none());
    drop(now);
    assert_eq!(whole(&db).entries, u64::from(done));
    fs::remove_file(ballast).unwrap();
    fill(done).expect("there is room again");
    drop(db);
    let db = Db::open(Arc::new(RedbBackend::open(&path).unwrap())).unwrap();
    assert_eq!(whole(&db).entries, u64::from(done) + 1);
}

#[test]
fn s2_a_full_disk_loses_nothing_and_heals() {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        println!(
            "LEFT OUT: s2_a_full_disk_loses_nothing_and_heals needs root, for a small disk of its own"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script =
        r#"mount -t tmpfs -o size=16m,mode=0700 none "$STORE_FULL_FOLDER" && exec "$0" "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(env::current_exe().unwrap())
        .args([
            "--exact",
            "full::child_on_a_small_disk",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && shown.contains("1 passed"),
        "{shown}\n{errors}"
    );
}
