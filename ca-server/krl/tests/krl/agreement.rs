//! Random KRLs, judged by this crate and by the real `ssh-keygen -Q`: no difference is allowed.

use std::cell::Cell;
use std::io::Write as _;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use ssh_krl::{CertificatesError, DecodeErrorKind, Krl};

use crate::pool::Pool;
use crate::{keygen, plan};

/// What `tests/run --full` and the issue ask for.
const FULL_CASES: u32 = 10_000;

fn cases() -> u32 {
    match std::env::var("KRL_CASES") {
        Ok(text) => text.parse().expect("KRL_CASES is a number of KRLs"),
        Err(_) => 1_000,
    }
}

fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    property: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    });
    if let Err(error) = runner.run(strategy, property) {
        panic!("{error}");
    }
}

/// Past the test harness's capture: the count must be seen also when all is well.
fn report(what: &str, cases: u32) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "ssh-krl: {cases} of {FULL_CASES} {what}").unwrap();
}

fn compare(pool: &Pool, krl: &Krl, theirs: &[bool]) -> Result<(), TestCaseError> {
    for ((ours, theirs), sample) in pool.judge(krl).iter().zip(theirs).zip(&pool.samples) {
        if ours != theirs {
            let what = sample.path.file_name().unwrap();
            let ours = sample.judge(krl);
            return Err(TestCaseError::fail(format!(
                "{what:?}: ours {ours:?}, ssh-keygen revoked={theirs}, {krl:#?}"
            )));
        }
    }
    Ok(())
}

/// Our file, read by OpenSSH.
#[test]
fn r5_openssh_judges_our_krls_as_we_do() {
    let pool = Pool::make();
    let path = pool.dir.path().join("ours.krl");
    let (revoked, good) = (Cell::new(0_u64), Cell::new(0_u64));
    let property = |plan: Vec<plan::Step>| {
        let krl = plan::build(&pool, &plan);
        let bytes = krl.encode().unwrap();
        assert_eq!(bytes.len() as u64, krl.encoded_len());
        assert_eq!(Krl::decode(&bytes).unwrap(), krl);
        std::fs::write(&path, bytes).unwrap();
        let theirs = keygen::ask(&pool, &path).map_err(TestCaseError::fail)?;
        let count = theirs.iter().filter(|revoked| **revoked).count() as u64;
        revoked.set(revoked.get() + count);
        good.set(good.get() + theirs.len() as u64 - count);
        compare(&pool, &krl, &theirs)
    };
    check(cases(), &plan::plan(), property);
    let (revoked, good) = (revoked.get(), good.get());
    assert!(revoked > 0 && good > 0, "both verdicts must have occurred");
    report(
        &format!(
            "KRLs written here, 0 mismatches with ssh-keygen -Q ({revoked} revoked, {good} good verdicts)"
        ),
        cases(),
    );
}

/// OpenSSH's file (lists, ranges, small bitmaps, SHA-1), read by us, and written again by us.
#[test]
fn r5_we_judge_openssh_krls_as_openssh_does() {
    let pool = Pool::make();
    let (path, again, scratch) = (
        pool.dir.path().join("theirs.krl"),
        pool.dir.path().join("again.krl"),
        pool.dir.path().join("spec"),
    );
    let bitmaps = Cell::new(0_u64);
    let property = |plan: Vec<plan::Step>| {
        keygen::write(&path, &plan::specs(&pool, &plan), &scratch);
        let bytes = std::fs::read(&path).unwrap();
        let krl = Krl::decode(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
        assert_eq!(krl.version(), 7);
        let theirs = keygen::ask(&pool, &path).map_err(TestCaseError::fail)?;
        compare(&pool, &krl, &theirs)?;

        let ours = krl.encode().unwrap();
        // Without a bitmap ours is never the longer one, unless theirs squeezed serials into one.
        bitmaps.set(bitmaps.get() + u64::from(ours.len() > bytes.len()));
        if !plan.len().is_multiple_of(4) {
            return Ok(()); // The other test asks ssh-keygen about every file of ours.
        }
        std::fs::write(&again, ours).unwrap();
        let theirs = keygen::ask(&pool, &again).map_err(TestCaseError::fail)?;
        compare(&pool, &krl, &theirs)
    };
    check(cases(), &plan::plan(), property);
    let bitmaps = bitmaps.get();
    assert!(bitmaps > 0, "ssh-keygen must have written bitmaps");
    report(
        &format!("KRLs written by ssh-keygen -k, 0 mismatches ({bitmaps} or more with a bitmap)"),
        cases(),
    );
}

/// The union of two KRLs revokes exactly what one of them revokes, in OpenSSH's eyes, too.
#[test]
fn s7_union_revokes_what_either_revokes() {
    let pool = Pool::make();
    let path = pool.dir.path().join("union.krl");
    let property = |(one, two): (Vec<plan::Step>, Vec<plan::Step>)| {
        let (one, two) = (plan::build(&pool, &one), plan::build(&pool, &two));
        let union = one.union(&two);
        std::fs::write(&path, union.encode().unwrap()).unwrap();
        let either: Vec<bool> = pool
            .judge(&one)
            .iter()
            .zip(pool.judge(&two))
            .map(|(a, b)| a | b)
            .collect();
        let theirs = keygen::ask(&pool, &path).map_err(TestCaseError::fail)?;
        assert_eq!(theirs, either);
        assert_eq!(union.version(), one.version().max(two.version()));
        assert_eq!(one.union(&one), one);
        compare(&pool, &union, &theirs)
    };
    let cases = cases() / 4;
    check(cases, &(plan::plan(), plan::plan()), property);
}

/// A damaged file: what we read, OpenSSH reads and judges alike; what only OpenSSH reads, we refuse for a
/// reason that the documentation names.
#[test]
fn w3_damaged_files_are_judged_as_by_openssh_or_refused() {
    let pool = Pool::make();
    let path = pool.dir.path().join("damaged.krl");
    let (read, refused, stricter) = (Cell::new(0_u32), Cell::new(0_u32), Cell::new(0_u32));
    let property = |(plan, damage): (Vec<plan::Step>, Vec<(usize, u8)>)| {
        let mut bytes = plan::build(&pool, &plan).encode().unwrap();
        for (place, value) in damage {
            let place = place % bytes.len();
            bytes[place] = value;
        }
        std::fs::write(&path, &bytes).unwrap();
        let theirs = keygen::ask(&pool, &path);
        match (Krl::decode(&bytes), theirs) {
            (Ok(krl), Ok(theirs)) => {
                read.set(read.get() + 1);
                compare(&pool, &krl, &theirs)
            }
            (Err(_), Err(_)) => {
                refused.set(refused.get() + 1);
                Ok(())
            }
            (Ok(krl), Err(text)) => {
                // Whether a point lies on its curve takes curve arithmetic: documented at CaScope::key.
                let foreign_point = krl.certificates().any(|(ca, _)| {
                    let blob = ca.key_blob().unwrap_or_default();
                    blob.get(4..9) == Some(b"ecdsa") && pool.cas.iter().all(|ca| ca.blob != blob)
                });
                if foreign_point {
                    return Ok(());
                }
                Err(TestCaseError::fail(format!("only we read it: {text}")))
            }
            (Err(error), Ok(_)) => match error.kind {
                DecodeErrorKind::Signed
                | DecodeErrorKind::Certificates(CertificatesError::CaKey(_)) => {
                    stricter.set(stricter.get() + 1);
                    Ok(())
                }
                kind => Err(TestCaseError::fail(format!(
                    "only OpenSSH reads it: {kind}"
                ))),
            },
        }
    };
    let damage = proptest::collection::vec(
        (
            proptest::prelude::any::<usize>(),
            proptest::prelude::any::<u8>(),
        ),
        1..4,
    );
    check(cases(), &(plan::plan(), damage), property);
    let (read, refused, stricter) = (read.get(), refused.get(), stricter.get());
    assert!(read > 0 && refused > 0, "both outcomes must have occurred");
    report(
        &format!(
            "damaged KRLs judged as by ssh-keygen -Q ({read} read by both, {refused} refused by both, {stricter} refused here only)"
        ),
        cases(),
    );
}
