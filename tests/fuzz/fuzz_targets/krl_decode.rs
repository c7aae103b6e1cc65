//! Arbitrary bytes as a KRL: no panic, and what is read can be written and says the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ssh_krl::{CertificateFacts, Entry, Krl, PlainKey, Verdict};

fuzz_target!(|bytes: &[u8]| {
    let Ok(krl) = Krl::decode(bytes) else {
        return;
    };
    let file = krl
        .encode()
        .expect("a decoded KRL of this size can be written");
    assert_eq!(file.len() as u64, krl.encoded_len());
    let again = Krl::decode(&file).expect("what was written can be read");
    assert_eq!(again, krl);
    assert_eq!(again.encode().as_deref(), Ok(&*file));
    assert_eq!(krl.union(&again), krl);

    // Each entry judges as revoked what it names.
    for entry in krl.entries().take(100) {
        match entry {
            Entry::Serials(ca, run) => {
                let Ok(ca_key) = PlainKey::new(ca.key_blob().unwrap_or(b"\0\0\0\x01x")) else {
                    continue;
                };
                for serial in [run.first(), run.last()] {
                    let facts = CertificateFacts {
                        ca_key,
                        subject_key: ca_key,
                        serial,
                        key_id: b"",
                    };
                    assert!(krl.judge_certificate(&facts).is_revoked());
                }
            }
            Entry::Key(blob) => {
                if let Ok(key) = PlainKey::new(blob) {
                    assert_ne!(krl.judge_key(key), Verdict::Good);
                }
            }
            _ => {}
        }
    }
});
