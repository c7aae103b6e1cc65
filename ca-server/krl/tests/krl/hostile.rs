//! Hostile bytes: no panic, no surprise in memory, an error that says where.

use proptest::prelude::*;
use ssh_krl::{CertificatesError, DecodeErrorKind, Krl, KrlBuilder, Limits};

use crate::craft;

fn ca_blob() -> Vec<u8> {
    let mut blob = craft::string(b"ssh-ed25519");
    blob.extend(craft::string(&[4; 32]));
    blob
}

fn sample() -> (Vec<u8>, Vec<usize>) {
    let mut file = craft::header();
    let mut boundaries = vec![file.len()];
    let extension = craft::extension(255, 0);
    for section in craft::every_kind(&ca_blob()).into_iter().chain([extension]) {
        file.extend(section);
        boundaries.push(file.len());
    }
    (file, boundaries)
}

/// What was read can be written, and then says the same.
fn survives(bytes: &[u8]) {
    if let Ok(krl) = Krl::decode(bytes) {
        let again = krl.encode().unwrap();
        assert_eq!(Krl::decode(&again).unwrap(), krl);
        assert_eq!(krl.entries().count() == 0, krl.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn w3_decoder_never_panics_on_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes);
        // Past the header, where the sections are.
        let mut file = craft::header();
        file.extend(&bytes);
        survives(&file);
        // And with the lengths right, inside of a section and of a subsection.
        if let [section_type, data @ ..] = bytes.as_slice() {
            let mut file = craft::header();
            file.extend(craft::section(*section_type, data));
            survives(&file);
            let mut file = craft::header();
            file.extend(craft::certificates(b"", &craft::section(*section_type & 0x3f, data)));
            survives(&file);
        }
    }

    #[test]
    fn w3_decoder_never_panics_on_mutated_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut file, _) = sample();
        for (place, value) in changes {
            let place = place.index(file.len());
            file[place] = value;
        }
        survives(&file);
        file.remove(cut.index(file.len()));
        survives(&file);
    }
}

#[test]
fn w3_decoder_never_panics_on_truncation_at_every_byte() {
    let (file, boundaries) = sample();
    assert_eq!(boundaries.last(), Some(&file.len()));
    for length in 0..=file.len() {
        let whole = boundaries.contains(&length);
        match Krl::decode(&file[..length]) {
            // A cut at a section's border is a shorter, valid KRL: FACTS of the format, also for sshd.
            Ok(_) => assert!(whole, "cut at {length} of {boundaries:?} was read"),
            Err(error) => {
                assert!(!whole, "cut at {length}: {error}");
                assert!(error.offset <= length, "{error}");
            }
        }
    }
    for index in 0..file.len() * 8 {
        let mut flipped = file.clone();
        flipped[index / 8] ^= 1 << (index % 8);
        survives(&flipped);
    }
}

#[test]
fn w3_a_length_of_four_gigabytes_allocates_nothing() {
    for section_type in [1, 2, 3, 5, 255] {
        let mut file = craft::header();
        let offset = file.len() + 5;
        file.push(section_type);
        file.extend(u32::MAX.to_be_bytes());
        let error = Krl::decode(&file).unwrap_err();
        let (needed, left) = (u32::MAX as usize, 0);
        assert_eq!(error.kind, DecodeErrorKind::Truncated { needed, left });
        assert_eq!(error.offset, offset);
    }
}

#[test]
fn w3_limits_hold_before_memory_is_taken() {
    // 100 bitmaps of 16,384 bits, every second one set: 8,192 runs in each 2 kB.
    let bitmaps: Vec<u8> = (0..100)
        .flat_map(|index| craft::bitmap(1 + index * 20_000, &[0x55; 2048]))
        .collect();
    let mut file = craft::header();
    file.extend(craft::certificates(b"", &bitmaps));
    let runs = Krl::decode(&file).unwrap().entries().count();
    assert_eq!(runs, 819_200);

    let limits = Limits {
        max_entries: runs - 1,
        ..Limits::default()
    };
    let error = Krl::decode_within(&file, limits).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::TooManyEntries);
    let limits = Limits {
        max_entries: runs,
        max_bytes: file.len() as u64,
    };
    assert!(Krl::decode_within(&file, limits).is_ok());
    let limits = Limits {
        max_bytes: file.len() as u64 - 1,
        ..limits
    };
    let error = Krl::decode_within(&file, limits).unwrap_err();
    let limit = limits.max_bytes;
    assert_eq!(error.kind, DecodeErrorKind::TooLarge { limit });
}

#[test]
fn w3_errors_name_the_byte() {
    let start = craft::header().len();
    let in_certificates = start + 5 + 4 + "reserved".len() + 4;
    let cases: [(Vec<u8>, usize, DecodeErrorKind); 8] = [
        (
            craft::section(9, b""),
            start,
            DecodeErrorKind::UnknownSection { section_type: 9 },
        ),
        (
            craft::section(3, &craft::string(&[0; 19])),
            start + 5,
            DecodeErrorKind::HashLength {
                found: 19,
                expected: 20,
            },
        ),
        (
            craft::extension(255, 1),
            start + 5,
            DecodeErrorKind::CriticalExtension {
                name: "bloom@example.org".to_owned(),
            },
        ),
        (
            craft::certificates(b"", &craft::section(0x24, b"")),
            in_certificates,
            DecodeErrorKind::Certificates(CertificatesError::UnknownSubsection {
                section_type: 0x24,
            }),
        ),
        (
            craft::certificates(b"", &craft::section(0x20, &[0; 8])),
            in_certificates + 5,
            DecodeErrorKind::Certificates(CertificatesError::SerialZero),
        ),
        (
            craft::certificates(b"", &craft::section(0x20, &[1; 9])),
            in_certificates + 5 + 8,
            DecodeErrorKind::Truncated { needed: 8, left: 1 },
        ),
        (
            craft::certificates(b"", &craft::section(0x21, &[1; 17])),
            in_certificates + 5 + 16,
            DecodeErrorKind::TrailingBytes { count: 1 },
        ),
        (
            craft::certificates(b"", &craft::section(0x23, &craft::string(b"a\0b"))),
            in_certificates + 5,
            DecodeErrorKind::NulInString,
        ),
    ];
    for (section, offset, kind) in cases {
        let mut file = craft::header();
        file.extend(section);
        let error = Krl::decode(&file).unwrap_err();
        assert_eq!((error.offset, &error.kind), (offset, &kind), "{error}");
    }
    // A comment that only the encoder's caller could have spoilt.
    assert!(KrlBuilder::new(1, 1).comment("a\0b").is_err());
}
