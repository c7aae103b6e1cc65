//! S3: the ledger's chain shows every edit, gap, reordering, truncation and addition; exported heads show the rest.

use std::{io::Write, process::Command, sync::Arc};

use ca_server::{
    ledger::{
        self, CaId, ChainError, ChainFault, ExportError, Head, SignedHead, VerifyError, verify,
        verify_all,
    },
    store::{Backend, Batch, Db, Mark, MemoryBackend, Read, Snapshot, Table},
};
use ssh_key::{Algorithm, PrivateKey, rand_core::OsRng};

use crate::medium::{CA, put, whole};

struct Forger {
    backend: MemoryBackend,
    heads: Vec<Head>,
}

impl Forger {
    /// A ledger of six entries, and the head after each.
    fn new() -> Self {
        let backend = MemoryBackend::default();
        let db = Db::create(Arc::new(backend.clone()), CA).unwrap();
        let mut heads = vec![whole(&db)];
        for key in ["a", "b", "c", "d", "e", "f"] {
            db.write(move |txn| put(txn, key, "1")).unwrap();
            heads.push(whole(&db));
        }
        Self { backend, heads }
    }

    fn entry(&self, seq: u64) -> Vec<u8> {
        let snapshot = Snapshot::of(&self.backend).unwrap();
        snapshot
            .get(Table::Ledger, &seq.to_be_bytes())
            .unwrap()
            .unwrap()
    }

    /// Writes into the ledger behind the store's back, and sets the mark's head.
    fn forge(&self, entries: &[(u64, Option<Vec<u8>>)], head: Head) {
        let before = *Snapshot::of(&self.backend).unwrap().mark().unwrap();
        let changes = entries
            .iter()
            .map(|(seq, bytes)| (Table::Ledger, seq.to_be_bytes().to_vec(), bytes.clone()));
        let batch = Batch {
            changes: changes.collect(),
            mark: Mark {
                id: [9; 16],
                commits: before.commits + 1,
                head,
            },
        };
        self.backend.commit(Some(&before), &batch).unwrap();
    }

    fn end(&self) -> Head {
        *self.heads.last().unwrap()
    }

    fn found(&self) -> Result<Head, ChainError> {
        self.found_from(&Head::genesis(&CA))
    }

    fn found_from(&self, from: &Head) -> Result<Head, ChainError> {
        match verify(&Snapshot::of(&self.backend).unwrap(), from) {
            Ok(head) => Ok(head),
            Err(VerifyError::Chain(e)) => Err(e),
            Err(VerifyError::Read(e)) => panic!("{e}"),
        }
    }
}

fn broken(seq: u64, what: ChainFault) -> Result<Head, ChainError> {
    Err(ChainError { seq, what })
}

#[test]
fn s3_a_whole_ledger_verifies_from_every_head() {
    let forger = Forger::new();
    for from in &forger.heads {
        assert_eq!(forger.found_from(from), Ok(forger.end()));
    }
}

#[test]
fn s3_an_edit_shows_wherever_it_is() {
    for seq in 1..=6 {
        let bytes = Forger::new().entry(seq);
        for place in 0..bytes.len() {
            let forger = Forger::new();
            let mut edited = forger.entry(seq);
            edited[place] ^= 1;
            forger.forge(&[(seq, Some(edited))], forger.end());
            let found = forger.found().unwrap_err();
            // An edit of the link to the entry before cannot be told from an edit of that entry.
            assert!(
                [seq, seq - 1].contains(&found.seq),
                "{found} for an edit of {seq}"
            );
        }
    }
}

#[test]
fn s3_the_entry_that_a_known_head_ends_with_is_read_again() {
    for seq in 1..=6 {
        let forger = Forger::new();
        let edited = String::from_utf8(forger.entry(seq))
            .unwrap()
            .replace("server", "sarver");
        forger.forge(&[(seq, Some(edited.into_bytes()))], forger.end());
        let from = forger.heads[seq as usize];
        assert_eq!(forger.found_from(&from), broken(seq, ChainFault::Changed));
    }
}

#[test]
fn s3_a_gap_shows() {
    for seq in 1..6 {
        let forger = Forger::new();
        forger.forge(&[(seq, None)], forger.end());
        assert_eq!(forger.found(), broken(seq, ChainFault::Missing));
    }
}

#[test]
fn s3_reordering_shows() {
    let forger = Forger::new();
    let (second, third) = (forger.entry(2), forger.entry(3));
    forger.forge(&[(2, Some(third)), (3, Some(second))], forger.end());
    assert_eq!(forger.found(), broken(2, ChainFault::Misplaced));
}

#[test]
fn s3_truncation_shows() {
    let forger = Forger::new();
    forger.forge(&[(5, None), (6, None)], forger.end());
    assert_eq!(forger.found(), broken(5, ChainFault::Truncated));
    // Whoever sets the mark back too is betrayed by a head from before.
    forger.forge(&[], forger.heads[4]);
    assert_eq!(forger.found(), Ok(forger.heads[4]));
    assert_eq!(
        forger.found_from(&forger.end()),
        broken(5, ChainFault::Truncated)
    );
}

#[test]
fn s3_an_added_entry_shows() {
    let forger = Forger::new();
    forger.forge(&[(7, Some(forger.entry(6)))], forger.end());
    assert_eq!(forger.found(), broken(7, ChainFault::Added));
    let forger = Forger::new();
    forger.forge(&[(0, Some(forger.entry(1)))], forger.end());
    assert_eq!(forger.found(), broken(0, ChainFault::Added));
}

#[test]
fn s3_a_ledger_rewritten_as_a_whole_betrays_itself_to_an_earlier_head() {
    let forger = Forger::new();
    // Everything from entry 3 on anew, every link right, and the mark with it.
    let (mut head, mut entries) = (forger.heads[2], vec![]);
    for seq in 3..=6u64 {
        let text = String::from_utf8(forger.entry(seq)).unwrap();
        let before = ledger::text::hex(&forger.heads[seq as usize - 1].hash);
        let forged = text
            .replace(&before, &ledger::text::hex(&head.hash))
            .replace("server_started", "server_stopped")
            .replace("version", "reason");
        head = head.after(forged.as_bytes());
        entries.push((seq, Some(forged.into_bytes())));
    }
    forger.forge(&entries, head);
    assert_eq!(forger.found(), Ok(head), "in itself it is whole");
    for from in &forger.heads[..=2] {
        assert_eq!(forger.found_from(from), Ok(head));
    }
    for (seq, from) in forger.heads.iter().enumerate().skip(3) {
        assert_eq!(
            forger.found_from(from),
            broken(seq as u64, ChainFault::Changed)
        );
    }
}

#[test]
fn s3_another_cas_ledger_is_not_this_ones() {
    let forger = Forger::new();
    let other = Head::genesis(&CaId([8; 16]));
    assert_eq!(forger.found_from(&other), broken(1, ChainFault::Changed));
}

#[test]
fn s3_an_exported_head_is_held_against_the_ledger_and_checked_by_openssh() {
    let forger = Forger::new();
    let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    let text = SignedHead::sign(&CA, &forger.heads[4], 1_800_000_000_000, &key)
        .unwrap()
        .to_string();
    let read: SignedHead = text.parse().unwrap();
    let head = read.check(&CA, key.public_key()).unwrap();
    assert_eq!(forger.found_from(&head), Ok(forger.end()));

    let stranger = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
    assert!(matches!(
        read.check(&CA, stranger.public_key()),
        Err(ExportError::Signature(_))
    ));
    let other = read.check(&CaId([8; 16]), key.public_key());
    assert!(matches!(other, Err(ExportError::OtherCa(_))));
    let edited: SignedHead = text
        .replacen("\"entries\":4", "\"entries\":3", 1)
        .parse()
        .unwrap();
    assert!(matches!(
        edited.check(&CA, key.public_key()),
        Err(ExportError::Signature(_))
    ));
    assert!("{}".parse::<SignedHead>().is_err());
    assert!(text.lines().next().unwrap().parse::<SignedHead>().is_err());

    // Stock OpenSSH believes it too.
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (line, signature) = text.split_at(text.find('\n').unwrap() + 1);
    std::fs::write(path("head.sig"), signature).unwrap();
    let allowed = format!("ca {}\n", key.public_key().to_openssh().unwrap());
    std::fs::write(path("allowed"), allowed).unwrap();
    let mut keygen = Command::new("ssh-keygen")
        .args([
            "-Y",
            "verify",
            "-n",
            ledger::export::NAMESPACE,
            "-I",
            "ca",
            "-f",
        ])
        .arg(path("allowed"))
        .arg("-s")
        .arg(path("head.sig"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    keygen
        .stdin
        .take()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    assert!(keygen.wait().unwrap().success());
}

#[test]
fn s3_the_chain_of_an_entry_is_what_this_line_says() {
    use sha2::{Digest, Sha256};
    let forger = Forger::new();
    let genesis: [u8; 32] = Sha256::new()
        .chain_update(b"ssh-ca ledger 1\0")
        .chain_update([7; 16])
        .finalize()
        .into();
    let expected = format!(
        r#"{{"seq":1,"at_unix_ms":1800000000123,"actor":{{"kind":"server"}},"event":{{"type":"server_started","version":"a"}},"prev":"{}"}}"#,
        ledger::text::hex(&genesis)
    );
    assert_eq!(String::from_utf8(forger.entry(1)).unwrap(), expected);
    let hash: [u8; 32] = Sha256::new()
        .chain_update(genesis)
        .chain_update(expected)
        .finalize()
        .into();
    assert_eq!(forger.heads[1], Head { entries: 1, hash });
    let snapshot = Snapshot::of(&forger.backend).unwrap();
    assert_eq!(verify_all(&snapshot, &CA).unwrap(), forger.end());
    let newest = ledger::recent(&snapshot, None, 2, |_| true).unwrap();
    assert_eq!(newest.iter().map(|e| e.seq).collect::<Vec<_>>(), [6, 5]);
    let older = ledger::recent(&snapshot, Some(3), 9, |e| e.seq != 2).unwrap();
    assert_eq!(older.iter().map(|e| e.seq).collect::<Vec<_>>(), [1]);
    assert_eq!(older[0].line(), "1 server_started a (by server)");
}
