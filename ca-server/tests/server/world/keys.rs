//! Keys, codes and certificates, and what `ssh-keygen` says of them.

use std::{path::Path, process::Command};

use rand_core::OsRng;
use ssh_key::{Algorithm, Certificate, HashAlg, LineEnding, PrivateKey};
use totp_rs::{Builder, Secret as TotpSecret};

pub fn ed25519() -> PrivateKey {
    PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap()
}

pub fn blob(key: &PrivateKey) -> String {
    let text = key.public_key().to_openssh().unwrap();
    text.split(' ').nth(1).unwrap().to_owned()
}

pub fn sshsig(key: &PrivateKey, namespace: &str, message: &[u8]) -> String {
    key.sign(namespace, HashAlg::Sha512, message)
        .unwrap()
        .to_pem(LineEnding::LF)
        .unwrap()
}

pub fn code_at(secret: &[u8], unix: i64) -> String {
    let totp = Builder::new()
        .with_secret(TotpSecret::new(secret.to_vec().into_boxed_slice()))
        .with_account_name("a@b")
        .with_issuer(Some("ssh-ca"))
        .build()
        .unwrap();
    totp.generate(u64::try_from(unix).unwrap()).to_string()
}

pub fn certificate(text: &str) -> Certificate {
    Certificate::from_openssh(text).unwrap()
}

/// What `ssh-keygen -Q` says: the word decides, and an unreadable list is an error, not an answer.
pub fn keygen_says(list: &[u8], certificate: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (krl, file) = (dir.path().join("krl"), dir.path().join("id-cert.pub"));
    std::fs::write(&krl, list).unwrap();
    std::fs::write(&file, certificate).unwrap();
    let out = keygen(&krl, &file);
    let words = String::from_utf8_lossy(&out.stdout).into_owned();
    match (
        out.status.code(),
        words.trim_end().ends_with(": REVOKED"),
        words.trim_end().ends_with(": ok"),
    ) {
        (Some(1), true, false) => true,
        (Some(0), false, true) => false,
        _ => panic!(
            "ssh-keygen: {:?} {words} {}",
            out.status,
            String::from_utf8_lossy(&out.stderr)
        ),
    }
}

fn keygen(krl: &Path, file: &Path) -> std::process::Output {
    Command::new("ssh-keygen")
        .env("LC_ALL", "C")
        .args(["-Q", "-f"])
        .arg(krl)
        .arg(file)
        .output()
        .unwrap()
}
