//! A power cut at any moment: of what was not flushed, any part may be on the disk, in any order, torn at sectors (S2, I6).

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};

use ca_server::{
    ledger,
    store::{Db, DiskFaults, DiskOp, Read, RedbBackend},
};
use ssh_key::rand_core::{OsRng, RngCore};

use crate::medium::{CA, Medium, OnDisk, put, value, whole};

const SECTOR: usize = 512;

/// Small and good enough to choose what a disk forgets; the seed is printed when a test fails.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

fn apply(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}

/// The disk after a cut before operation `cut`: all up to the last flush, and of the rest what the dice say.
fn image(base: &[u8], log: &[DiskOp], cut: usize, dice: &mut Dice) -> Vec<u8> {
    let flushed = log[..cut]
        .iter()
        .rposition(|op| matches!(op, DiskOp::Flush))
        .map_or(0, |at| at + 1);
    let mut image = base.to_vec();
    for (at, op) in log[..cut].iter().enumerate() {
        match op {
            DiskOp::Flush => {}
            DiskOp::Resize(len) => {
                // Growth that came too late is growth by the writes; what is cut off too early was not needed any more.
                if at < flushed || dice.below(2) == 0 {
                    image.resize(*len as usize, 0);
                }
            }
            DiskOp::Write(offset, data) if at < flushed => {
                apply(&mut image, *offset as usize, data)
            }
            DiskOp::Write(offset, data) => match dice.below(4) {
                0 => {}
                1 => {
                    for (n, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.below(2) == 0 {
                            apply(&mut image, *offset as usize + n * SECTOR, sector);
                        }
                    }
                }
                _ => apply(&mut image, *offset as usize, data),
            },
        }
    }
    image
}

#[test]
fn s2_whatever_a_power_cut_leaves_what_was_acknowledged_is_there() {
    let medium = OnDisk::new();
    drop(Db::create(medium.backend(), CA).unwrap());
    let base = fs::read(medium.path()).unwrap();
    let disk = Arc::new(DiskFaults::default());
    disk.record();
    let backend = RedbBackend::open_with_faults(&medium.path(), Arc::clone(&disk)).unwrap();
    let db = Db::open(Arc::new(backend)).unwrap();
    let mut acknowledged = vec![];
    for n in 0..60u32 {
        let seq = db
            .write(move |txn| {
                put(
                    txn,
                    &format!("{:08x}", n.wrapping_mul(0x9E37_79B9)),
                    &"x".repeat(700),
                )
            })
            .unwrap();
        acknowledged.push((disk.recorded().len(), seq, db.snapshot().unwrap().head()));
    }
    drop(db);
    let log = disk.recorded();
    let cuts = std::env::var("STORE_CUTS").map_or(150, |n| n.parse().unwrap());
    let seed = OsRng.next_u64();
    println!("seed {seed}, {cuts} cuts in {} operations", log.len());
    let mut dice = Dice(seed);
    for _ in 0..cuts {
        let cut = dice.below(log.len() + 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.redb");
        fs::write(&path, image(&base, &log, cut, &mut dice)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let db = Db::open(Arc::new(RedbBackend::open(&path).unwrap())).unwrap();
        let head = whole(&db);
        let owed = acknowledged.iter().rfind(|(at, ..)| *at <= cut);
        if let Some((_, seq, then)) = owed {
            assert!(
                head.entries >= *seq,
                "cut at {cut}: {} of {seq}",
                head.entries
            );
            let snapshot = db.snapshot().unwrap();
            ledger::verify(&snapshot, then).unwrap();
            for n in 0..*seq as u32 {
                let key = format!("{:08x}", n.wrapping_mul(0x9E37_79B9));
                assert!(
                    value(&snapshot, &key).is_some(),
                    "cut at {cut}: {key} is gone"
                );
            }
        }
        // And it goes on.
        db.write(|txn| put(txn, "after", "1")).unwrap();
        whole(&db);
    }
}
