//! The promises of the crate, one by one, each shown to OpenSSH where OpenSSH has a say.

use std::path::PathBuf;

use ssh_krl::{
    CaScope, CertificateFacts, CertificatesError, DecodeErrorKind, EncodeError, Entry,
    KeyBlobError, KeyMatch, Krl, KrlBuilder, MAX_KRL_BYTES, PlainKey, Reason, RevokeError,
    ScopeKind, Verdict,
};

use crate::pool::{Pool, Sample};
use crate::{craft, keygen};

fn builder() -> KrlBuilder {
    KrlBuilder::new(1, 1_795_305_600)
}

fn file(pool: &Pool, bytes: &[u8]) -> PathBuf {
    let path = pool.dir.path().join("rules.krl");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Asks OpenSSH and this crate, and expects them to agree.
fn both(pool: &Pool, bytes: &[u8]) -> Vec<bool> {
    let krl = Krl::decode(bytes).unwrap();
    let ours = pool.judge(&krl);
    assert_eq!(keygen::ask(pool, &file(pool, bytes)).unwrap(), ours);
    ours
}

fn serial_of(sample: &Sample) -> Option<u64> {
    sample.certificate.as_ref().map(|(_, serial, _)| *serial)
}

#[test]
fn r5_no_bitmap_is_ever_written() {
    let pool = Pool::make();
    let ca = CaScope::key(&*pool.cas[2].blob).unwrap();
    let mut builder = builder();
    // 1, 3, 5 … 39,999: the densest set of holes, over 16,384 bits wide.
    let odd = (0..20_000).map(|index| 2 * index + 1);
    builder.revoke_serial_list(&ca, odd.clone()).unwrap();
    let bytes = builder.build().encode().unwrap();
    assert_eq!(craft::subsection_types(&bytes), [0x20]);
    let revoked = both(&pool, &bytes);
    let expected: Vec<bool> = pool
        .samples
        .iter()
        .map(|sample| {
            let of_ca =
                sample.certificate.as_ref().map(|(blob, _, _)| blob) == Some(&pool.cas[2].blob);
            of_ca && serial_of(sample).is_some_and(|serial| serial < 40_000 && serial % 2 == 1)
        })
        .collect();
    assert_eq!(revoked, expected);
    assert!(expected.contains(&true));

    // The same by ssh-keygen -k is a file that OpenSSH itself cannot read: the reason for the rule.
    let spec: String = odd.map(|serial| format!("serial: {serial}\n")).collect();
    let theirs = pool.dir.path().join("theirs.krl");
    let specs = [(Some(pool.cas[2].public_path.as_path()), spec)];
    keygen::write(&theirs, &specs, &pool.dir.path().join("spec"));
    let error = keygen::ask(&pool, &theirs).unwrap_err();
    assert!(error.contains("bignum is too large"), "{error}");
    let error = Krl::decode(&std::fs::read(&theirs).unwrap()).unwrap_err();
    let DecodeErrorKind::Certificates(CertificatesError::BitmapTooLarge { .. }) = error.kind else {
        panic!("{error}");
    };
}

#[test]
fn r5_bitmaps_are_read_up_to_the_size_that_openssh_reads() {
    let pool = Pool::make();
    let with_bitmap = |offset: u64, number: &[u8]| {
        let mut bytes = craft::header();
        bytes.extend(craft::certificates(b"", &craft::bitmap(offset, number)));
        bytes
    };
    // 16,384 bits: after a zero byte that keeps the number positive.
    let mut largest = vec![0];
    largest.extend([0xff; 2048]);
    assert!(both(&pool, &with_bitmap(1, &largest)).contains(&true));
    assert!(!both(&pool, &with_bitmap(1, &[])).contains(&true));
    // Bit 2 of offset 1 is serial 3, and no other.
    let revoked = both(&pool, &with_bitmap(1, &[4]));
    for (sample, revoked) in pool.samples.iter().zip(revoked) {
        assert_eq!(revoked, serial_of(sample) == Some(3), "{:?}", sample.path);
    }
    assert!(both(&pool, &with_bitmap(u64::MAX - 1, &[3])).contains(&true));

    use CertificatesError as Error;
    let mut too_large = vec![1];
    too_large.extend([0; 2048]);
    let bytes = too_large.len();
    for (offset, number, error) in [
        (1, too_large.as_slice(), Error::BitmapTooLarge { bytes }),
        (1, &[0x80], Error::NegativeBitmap),
        (0, &[1], Error::SerialZero),
        (u64::MAX, &[3], Error::BitmapPastEnd),
    ] {
        let bytes = with_bitmap(offset, number);
        let kind = DecodeErrorKind::Certificates(error);
        assert_eq!(Krl::decode(&bytes).unwrap_err().kind, kind);
        assert!(keygen::ask(&pool, &file(&pool, &bytes)).is_err(), "{error}");
    }
}

#[test]
fn r4_entries_are_filed_under_their_ca() {
    let pool = Pool::make();
    for (index, ca) in pool.cas.iter().enumerate() {
        let scope = CaScope::key(&*ca.blob).unwrap();
        let mut builder = builder();
        builder.revoke_serials(&scope, 1..=u64::MAX).unwrap();
        builder.revoke_key_id(&scope, "bob").unwrap();
        let revoked = both(&pool, &builder.build().encode().unwrap());
        for (sample, revoked) in pool.samples.iter().zip(revoked) {
            let expected = match &sample.certificate {
                // Of this CA: everything but serial 0, which only the key ID can reach.
                Some((blob, serial, id)) => {
                    *blob == ca.blob && (*serial > 0 || id.trim_end_matches('\0') == "bob")
                }
                None => false,
            };
            assert_eq!(revoked, expected, "CA {index}: {:?}", sample.path);
        }
    }
    let mut builder = builder();
    builder.revoke_serials(&CaScope::ANY, 1..=u64::MAX).unwrap();
    let revoked = both(&pool, &builder.build().encode().unwrap());
    for (sample, revoked) in pool.samples.iter().zip(revoked) {
        assert_eq!(revoked, serial_of(sample).is_some_and(|serial| serial > 0));
    }
}

#[test]
fn r4_a_revoked_ca_key_takes_its_certificates_with_it() {
    let pool = Pool::make();
    let key = PlainKey::new(&pool.cas[0].blob).unwrap();
    let mut builder = builder();
    builder.revoke_key(key);
    let krl = builder.build();
    let revoked = both(&pool, &krl.encode().unwrap());
    for (sample, revoked) in pool.samples.iter().zip(revoked) {
        let signer = sample.certificate.as_ref().map(|(blob, _, _)| blob);
        let expected = signer.unwrap_or(&sample.subject_blob) == &pool.cas[0].blob;
        assert_eq!(revoked, expected, "{:?}", sample.path);
    }
    let signed = pool.samples[0].judge(&krl);
    assert_eq!(signed, Verdict::Revoked(Reason::CaKey(KeyMatch::Explicit)));
    assert_eq!(
        krl.judge_key(key),
        Verdict::Revoked(Reason::Key(KeyMatch::Explicit))
    );
}

#[test]
fn r5_serial_zero_is_refused_here_and_by_openssh() {
    let mut builder = builder();
    let zero = builder.revoke_serial(&CaScope::ANY, 0).map(|_| ());
    assert_eq!(zero, Err(RevokeError::SerialZero));
    let range = builder.revoke_serials(&CaScope::ANY, 0..=9).map(|_| ());
    assert_eq!(range, Err(RevokeError::SerialZero));
    let list = builder
        .revoke_serial_list(&CaScope::ANY, [4, 0])
        .map(|_| ());
    assert_eq!(list, Err(RevokeError::SerialZero));
    let (first, last) = (9, 8);
    let backward = builder
        .revoke_serials(&CaScope::ANY, first..=last)
        .map(|_| ());
    assert_eq!(backward, Err(RevokeError::BackwardRange { first, last }));
    assert!(
        builder.build().is_empty(),
        "a refused list leaves nothing behind"
    );

    let pool = Pool::make();
    let mut bytes = craft::header();
    bytes.extend(craft::certificates(b"", &craft::section(0x20, &[0; 8])));
    assert!(Krl::decode(&bytes).is_err());
    assert!(keygen::ask(&pool, &file(&pool, &bytes)).is_err());
}

#[test]
fn r5_what_would_make_the_file_unreadable_is_refused() {
    let mut builder = builder();
    let key_id = builder.revoke_key_id(&CaScope::ANY, "a\0b").map(|_| ());
    assert_eq!(key_id, Err(RevokeError::NulInKeyId));
    let comment = builder.comment("a\0b").map(|_| ());
    assert_eq!(comment, Err(RevokeError::NulInComment));

    let comment = "x".repeat(MAX_KRL_BYTES as usize);
    builder.comment(comment).unwrap();
    let krl = builder.build();
    let bytes = krl.encoded_len();
    assert_eq!(krl.encode(), Err(EncodeError::TooLarge { bytes }));
}

#[test]
fn r5_ca_keys_that_sshd_could_not_read_are_refused() {
    use KeyBlobError as Error;
    let pool = Pool::make();
    for ca in &pool.cas {
        assert_eq!(CaScope::key(&*ca.blob).unwrap().key_blob(), Some(&*ca.blob));
        let cut = CaScope::key(&ca.blob[..ca.blob.len() - 1]);
        assert_eq!(cut, Err(Error::Truncated));
        let longer = [&*ca.blob, b"x"].concat();
        let count = 1;
        assert_eq!(CaScope::key(longer), Err(Error::TrailingBytes { count }));
    }
    let key = |fields: &[&[u8]]| -> Vec<u8> {
        fields
            .iter()
            .flat_map(|field| craft::string(field))
            .collect()
    };
    let off_curve_form = [&[2][..], &[7; 64]].concat();
    for (blob, unreadable_for_openssh) in [
        (key(&[b"ssh-ed25519", &[1; 31]]), true),
        (key(&[b"ssh-dss", &[1; 31]]), true),
        (key(&[b"ecdsa-sha2-nistp256", b"nistp384", &[4; 65]]), true),
        (
            key(&[b"ecdsa-sha2-nistp256", b"nistp256", &off_curve_form]),
            true,
        ),
        (key(&[b"ssh-rsa", &[3], &[0x7f; 100]]), true),
        (key(&[b"ssh-rsa", &[3], &[0xff; 256]]), true),
        // OpenSSH drops the needless zeros; compared as blobs, they would be another key.
        (key(&[b"ssh-rsa", &[0, 3], &[0x7f; 256]]), false),
        (key(&[b"ssh-ed25519-cert-v01@openssh.com", &[1; 32]]), true),
        (key(&[b""]), true),
        (b"ssh-ed25519".to_vec(), true),
    ] {
        assert!(CaScope::key(blob.clone()).is_err(), "{blob:?}");
        let mut bytes = craft::header();
        bytes.extend(craft::certificates(
            &blob,
            &craft::section(0x23, &craft::string(b"x")),
        ));
        assert!(Krl::decode(&bytes).is_err());
        let theirs = keygen::ask(&pool, &file(&pool, &bytes));
        assert_eq!(theirs.is_err(), unreadable_for_openssh, "{blob:?}");
    }
    assert_eq!(
        CaScope::key(Vec::new()),
        Err(Error::Truncated),
        "no CA is not every CA"
    );
}

#[test]
fn r5_keys_are_revoked_and_asked_for_as_plain_keys() {
    let certificate = craft::string(b"ssh-ed25519-cert-v01@openssh.com");
    assert_eq!(PlainKey::new(&certificate), Err(KeyBlobError::Certificate));
    assert_eq!(PlainKey::new(b""), Err(KeyBlobError::Truncated));
    assert_eq!(PlainKey::new(&[0; 8]), Err(KeyBlobError::NoAlgorithm));
}

#[test]
fn r5_signed_krls_are_refused() {
    // OpenSSH 9.2 asks only whether the signature is good, not whose it is, and 9.4 skips it.
    let pool = Pool::make();
    let mut bytes = craft::header();
    let start = bytes.len();
    bytes.extend(craft::section(4, &pool.cas[0].blob));
    bytes.extend(craft::string(b"signature"));
    let error = Krl::decode(&bytes).unwrap_err();
    assert_eq!((error.offset, error.kind), (start, DecodeErrorKind::Signed));
}

#[test]
fn r5_every_kind_of_section_is_read_and_kept() {
    let pool = Pool::make();
    let mut bytes = craft::header();
    bytes.extend(craft::every_kind(&pool.cas[0].blob).concat());
    both(&pool, &bytes);
    let krl = Krl::decode(&bytes).unwrap();
    assert_eq!((krl.version(), krl.comment()), (3, "by hand"));
    assert_eq!(krl.generated_unix_secs(), 1_795_305_600);

    let any = CaScope::ANY;
    let ca = CaScope::key(&*pool.cas[0].blob).unwrap();
    let entries: Vec<Entry<'_>> = krl.entries().collect();
    assert_eq!(entries[0], Entry::KeyId(&any, b"everywhere"));
    let serials: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Serials(scope, run) if **scope == ca => Some((run.first(), run.last())),
            _ => None,
        })
        .collect();
    let edge = u64::MAX;
    assert_eq!(
        serials,
        [
            (3, 3),
            (5, 5),
            (100, 200),
            (1000, 1000),
            (1002, 1002),
            (edge, edge)
        ]
    );
    let key_ids: Vec<&[u8]> = krl.certificates().nth(1).unwrap().1.key_ids().collect();
    assert_eq!(key_ids, [&b""[..], b"alice", b"bob"]);
    assert_eq!(krl.keys().count(), 1);
    assert_eq!(krl.keys_sha1(), [[1; 20]]);
    assert_eq!(krl.keys_sha256(), [[7; 32], [8; 32]]);
    assert_eq!(entries.len(), 1 + 6 + 3 + 1 + 1 + 2);
    // Extensions that are not critical say nothing that must be kept.
    bytes.extend(craft::extension(255, 0));
    bytes.extend(craft::certificates(b"", &craft::extension(0x39, 0)));
    assert_eq!(Krl::decode(&bytes).unwrap(), krl);
    bytes.extend(craft::certificates(b"", &craft::extension(0x39, 1)));
    assert!(Krl::decode(&bytes).is_err());
    assert_eq!(Krl::decode(&krl.encode().unwrap()).unwrap(), krl);
}

#[test]
fn r5_equal_content_gives_equal_bytes_and_the_shorter_section() {
    let ca = CaScope::ANY;
    let (mut one, mut two) = (builder(), builder());
    for serial in [7, 1, 2, 9, 8, 20] {
        one.revoke_serial(&ca, serial).unwrap();
    }
    one.revoke_key_sha256([2; 32]).revoke_key_sha256([1; 32]);
    two.revoke_key_sha256([1; 32]).revoke_key_sha256([2; 32]);
    two.revoke_serials(&ca, 7..=9).unwrap();
    two.revoke_serial_list(&ca, [20, 2, 1, 20]).unwrap();
    let (one, two) = (one.build(), two.build());
    assert_eq!(one, two);
    let bytes = one.encode().unwrap();
    assert_eq!(bytes, two.encode().unwrap());
    // 1, 2 and 20 in the list (24 bytes); 7 to 9 as a range (16 bytes).
    assert_eq!(craft::subsection_types(&bytes), [0x20, 0x21]);
    let mut empty = builder();
    empty.revoke_serial_list(&ca, []).unwrap();
    assert!(craft::subsection_types(&empty.build().encode().unwrap()).is_empty());
}

#[test]
fn r4_reasons_say_which_entry_matched() {
    let (ca_blob, subject) = (ed25519(1), ed25519(2));
    let facts = CertificateFacts {
        ca_key: PlainKey::new(&ca_blob).unwrap(),
        subject_key: PlainKey::new(&subject).unwrap(),
        serial: 5,
        key_id: b"bob",
    };
    let ca = CaScope::key(&*ca_blob).unwrap();
    let judge = |revoke: &dyn Fn(&mut KrlBuilder)| {
        let mut builder = builder();
        revoke(&mut builder);
        builder.build().judge_certificate(&facts)
    };
    let serial = judge(&|krl| _ = krl.revoke_serial(&ca, 5).unwrap());
    assert_eq!(serial, Verdict::Revoked(Reason::Serial(ScopeKind::ThisCa)));
    let any = judge(&|krl| _ = krl.revoke_serials(&CaScope::ANY, 4..=6).unwrap());
    assert_eq!(any, Verdict::Revoked(Reason::Serial(ScopeKind::AnyCa)));
    let key_id = judge(&|krl| _ = krl.revoke_key_id(&CaScope::ANY, "bob").unwrap());
    assert_eq!(key_id, Verdict::Revoked(Reason::KeyId(ScopeKind::AnyCa)));
    let key = judge(&|krl| _ = krl.revoke_key(facts.subject_key));
    assert_eq!(key, Verdict::Revoked(Reason::Key(KeyMatch::Explicit)));
    let neighbours = judge(&|krl| _ = krl.revoke_serial_list(&ca, [4, 6]).unwrap());
    assert_eq!(neighbours, Verdict::Good);
}

fn ed25519(fill: u8) -> Vec<u8> {
    let mut blob = craft::string(b"ssh-ed25519");
    blob.extend(craft::string(&[fill; 32]));
    blob
}
