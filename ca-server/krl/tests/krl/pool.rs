//! Real certificates and keys, made once, that every KRL of these tests is asked about.

use std::path::{Path, PathBuf};
use std::process::Command;

use rand_core::OsRng;
use ssh_key::certificate::Builder;
use ssh_key::{Algorithm, EcdsaCurve, PrivateKey, PublicKey};
use ssh_krl::{CertificateFacts, Krl, PlainKey, Verdict};
use tempfile::TempDir;

/// Serials of the pool's certificates: 0, small ones with gaps and runs, and the edges of 31, 32, 63 and 64 bits.
pub const SERIALS: [u64; 16] = [
    0,
    1,
    2,
    3,
    5,
    8,
    13,
    21,
    22,
    23,
    1 << 31,
    (1 << 32) - 1,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// Key IDs of the pool's certificates; the last one differs from its neighbour by a NUL at the end.
pub const KEY_IDS: [&str; 9] = [
    "alice@corp.example/1",
    "alice@corp.example/2",
    "alice@corp.example/20",
    "bob",
    "x#7",
    "with space",
    "ünï",
    "",
    "bob\0",
];

/// The CAs of the pool; the last one signed nothing.
pub const CA_COUNT: usize = 5;
/// The certified keys of the pool.
pub const SUBJECT_COUNT: usize = 6;

pub struct Ca {
    pub blob: Vec<u8>,
    pub public_path: PathBuf,
    pub line: String,
}

pub struct Subject {
    pub blob: Vec<u8>,
    pub line: String,
}

pub struct Sample {
    pub path: PathBuf,
    pub subject_blob: Vec<u8>,
    /// CA blob, serial and key ID of a certificate; none for a plain key.
    pub certificate: Option<(Vec<u8>, u64, String)>,
}

pub struct Pool {
    pub dir: TempDir,
    pub cas: Vec<Ca>,
    pub subjects: Vec<Subject>,
    pub samples: Vec<Sample>,
}

impl Sample {
    pub fn judge(&self, krl: &Krl) -> Verdict {
        let subject_key = PlainKey::new(&self.subject_blob).unwrap();
        match &self.certificate {
            None => krl.judge_key(subject_key),
            Some((ca_blob, serial, key_id)) => krl.judge_certificate(&CertificateFacts {
                ca_key: PlainKey::new(ca_blob).unwrap(),
                subject_key,
                serial: *serial,
                key_id: key_id.as_bytes(),
            }),
        }
    }
}

impl Pool {
    pub fn judge(&self, krl: &Krl) -> Vec<bool> {
        let verdicts = self.samples.iter().map(|sample| sample.judge(krl));
        verdicts.map(|verdict| verdict.is_revoked()).collect()
    }

    /// Two Ed25519 CAs, one P-256 CA, one RSA CA made by `ssh-keygen`, and one that signs nothing.
    pub fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let p256 = Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        };
        let signers = [
            fresh(Algorithm::Ed25519),
            fresh(Algorithm::Ed25519),
            fresh(p256),
        ];
        let subjects: Vec<PrivateKey> = (0..SUBJECT_COUNT)
            .map(|_| fresh(Algorithm::Ed25519))
            .collect();
        let stranger = fresh(Algorithm::Ed25519);

        let mut samples = Vec::new();
        for (ca_index, ca) in signers.iter().enumerate() {
            // `-Q` verifies each certificate, and OpenSSH's Ed25519 is slow: most are signed by the others.
            let every = if ca_index == 2 { 1 } else { 2 };
            for (index, serial) in SERIALS.into_iter().enumerate().step_by(every) {
                let subject = &subjects[(index + ca_index) % SUBJECT_COUNT];
                let key_id = KEY_IDS[(index + 3 * ca_index) % KEY_IDS.len()];
                let path = dir.path().join(format!("ca{ca_index}-{index}-cert.pub"));
                std::fs::write(&path, certificate(ca, subject, serial, key_id)).unwrap();
                samples.push(Sample {
                    path,
                    subject_blob: blob(subject.public_key()),
                    certificate: Some((blob(ca.public_key()), serial, key_id.to_owned())),
                });
            }
        }

        let rsa_path = dir.path().join("rsa");
        keygen(
            &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"],
            &rsa_path,
        );
        let rsa_public = std::fs::read_to_string(rsa_path.with_extension("pub")).unwrap();
        let rsa_public = PublicKey::from_openssh(&rsa_public).unwrap();
        let rsa_signed = [
            (1, "bob"),
            (2, "alice@corp.example/2"),
            (3, "alice@corp.example/1"),
            (22, "x#7"),
            ((1 << 32) - 1, "alice@corp.example/20"),
            (u64::MAX, "with space"),
        ];
        for (serial, key_id) in rsa_signed {
            let subject = &subjects[0];
            let plain = dir.path().join(format!("rsa-signed-{serial}.pub"));
            std::fs::write(&plain, line(subject.public_key())).unwrap();
            let (rsa, serial_text) = (rsa_path.to_str().unwrap(), serial.to_string());
            keygen(&["-q", "-s", rsa, "-I", key_id, "-z", &serial_text], &plain);
            samples.push(Sample {
                path: dir.path().join(format!("rsa-signed-{serial}-cert.pub")),
                subject_blob: blob(subject.public_key()),
                certificate: Some((blob(&rsa_public), serial, key_id.to_owned())),
            });
        }

        let ca_keys = signers.iter().map(PrivateKey::public_key);
        let cas: Vec<Ca> = ca_keys
            .chain([&rsa_public, stranger.public_key()])
            .enumerate()
            .map(|(index, key)| {
                let public_path = dir.path().join(format!("authority{index}.pub"));
                std::fs::write(&public_path, line(key)).unwrap();
                Ca {
                    blob: blob(key),
                    public_path,
                    line: line(key),
                }
            })
            .collect();
        let subjects: Vec<Subject> = subjects
            .iter()
            .map(|key| Subject {
                blob: blob(key.public_key()),
                line: line(key.public_key()),
            })
            .collect();
        for ca in &cas {
            samples.push(plain_sample(ca.public_path.clone(), &ca.blob));
        }
        for (index, subject) in subjects.iter().enumerate() {
            let path = dir.path().join(format!("subject{index}.pub"));
            std::fs::write(&path, &subject.line).unwrap();
            samples.push(plain_sample(path, &subject.blob));
        }
        assert_eq!(cas.len(), CA_COUNT);
        Self {
            dir,
            cas,
            subjects,
            samples,
        }
    }
}

fn plain_sample(path: PathBuf, blob: &[u8]) -> Sample {
    Sample {
        path,
        subject_blob: blob.to_vec(),
        certificate: None,
    }
}

fn fresh(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut OsRng, algorithm).unwrap()
}

pub fn blob(key: &PublicKey) -> Vec<u8> {
    key.to_bytes().unwrap()
}

fn line(key: &PublicKey) -> String {
    key.to_openssh().unwrap() + "\n"
}

fn certificate(ca: &PrivateKey, subject: &PrivateKey, serial: u64, key_id: &str) -> String {
    let mut builder =
        Builder::new_with_random_nonce(&mut OsRng, subject.public_key(), 0, i64::MAX as u64)
            .unwrap();
    builder.serial(serial).unwrap();
    builder.key_id(key_id).unwrap();
    builder.valid_principal("alice@web").unwrap();
    builder.sign(ca).unwrap().to_openssh().unwrap() + "\n"
}

fn keygen(arguments: &[&str], file: &Path) {
    let done = Command::new("ssh-keygen")
        .args(arguments)
        .arg(file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}
