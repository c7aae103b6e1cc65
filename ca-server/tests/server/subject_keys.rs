//! I8: which keys are certified, and which never.

use std::process::Command;

use ssh_key::{PrivateKey, PublicKey};

use crate::{
    issuance::alice_on,
    world::{Person, World, ed25519},
};

/// A text of a key that is not certified, with a right proof by it where `ssh-keygen` can give one.
fn by_keygen(world: &World, alice: &Person, nonce: &str, arguments: &[&str]) -> (String, String) {
    use ca_api::proof::{LOGIN_NAMESPACE, login_message};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let keygen = |arguments: &[&str]| {
        let out = Command::new("ssh-keygen").args(arguments).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    let file = path.to_str().unwrap();
    keygen(&[arguments, &["-q", "-N", "", "-f", file]].concat());
    let public = std::fs::read_to_string(dir.path().join("key.pub")).unwrap();
    let blob = public.split(' ').nth(1).unwrap();
    let message = login_message(&world.ca.keys().ca_id(), nonce, &alice.email, blob);
    let text = dir.path().join("message");
    std::fs::write(&text, message).unwrap();
    keygen(&[
        "-Y",
        "sign",
        "-q",
        "-n",
        LOGIN_NAMESPACE,
        "-f",
        file,
        text.to_str().unwrap(),
    ]);
    let proof = std::fs::read_to_string(dir.path().join("message.sig")).unwrap();
    (public.trim().to_owned(), proof)
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_weak_keys_are_refused_at_the_door_and_good_ones_of_openssh_are_certified() {
    let (world, alice) = alice_on(&["web"]).await;
    world.ca.clock.stop();
    for (arguments, good) in [
        (&["-t", "rsa", "-b", "2048"][..], false),
        (&["-t", "rsa", "-b", "1024"][..], false),
        (&["-t", "ed25519"][..], true),
        (&["-t", "ecdsa", "-b", "256"][..], true),
    ] {
        let mut body = world.login_body(&alice).await;
        let nonce = body["nonce"].as_str().unwrap().to_owned();
        let (public, proof) = by_keygen(&world, &alice, &nonce, arguments);
        body["public_key"] = public.into();
        body["proof"] = proof.into();
        let answer = world.post("/v1/login", &body).await;
        let wanted = if good { 200 } else { 400 };
        assert_eq!(answer.status, wanted, "{arguments:?}: {}", answer.text());
    }
}

/// `ssh-dss` with a 1024-bit p, as `ssh-keygen -t dsa` made it.
fn dsa_text() -> String {
    use base64::Engine as _;
    let mut blob = Vec::new();
    let mut string = |bytes: &[u8]| {
        blob.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        blob.extend(bytes);
    };
    string(b"ssh-dss");
    string(&[&[0], &[0xf1; 128][..]].concat());
    string(&[&[0], &[0xe3; 20][..]].concat());
    string(&[0x71; 128]);
    string(&[0x23; 128]);
    format!(
        "ssh-dss {}",
        base64::engine::general_purpose::STANDARD.encode(blob)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn i8_certificates_ca_keys_and_dsa_are_refused_at_the_login_door() {
    use ca_api::proof::{LOGIN_NAMESPACE, login_message};
    let (world, alice) = alice_on(&["web"]).await;
    let session = world.login(&alice).await;

    let own_certificate = &session.issued.certificates[0];
    // The certificate's own text, and its blob under the name of a plain key.
    let blob_of_certificate = own_certificate.split(' ').nth(1).unwrap();
    for text in [
        own_certificate.clone(),
        format!("ssh-ed25519 {blob_of_certificate}"),
        dsa_text(),
        format!(
            "command=\"id\" {}",
            alice.key.public_key().to_openssh().unwrap()
        ),
        format!(
            "{}\n{}",
            alice.key.public_key().to_openssh().unwrap(),
            ed25519().public_key().to_openssh().unwrap()
        ),
        String::new(),
    ] {
        let mut body = world.login_body(&alice).await;
        body["public_key"] = text.clone().into();
        let answer = world.post("/v1/login", &body).await;
        assert_eq!(answer.code(), "invalid", "{text}: {}", answer.text());
    }

    // The CA's own keys, with proofs that verify.
    let keys = world.ca.keys();
    for key in [&keys.sync, &keys.ledger] {
        let mut thief = alice.clone();
        thief.key = PrivateKey::clone(key);
        let answer = world.try_login(&thief).await;
        assert_eq!(answer.code(), "invalid", "{}", answer.text());
        assert!(
            answer.text().contains("cannot be certified"),
            "{}",
            answer.text()
        );
    }
    for ring in [&keys.user_ca, &keys.host_ca, &keys.fleet] {
        let signer = ring.current();
        let mut body = world.login_body(&alice).await;
        let nonce = body["nonce"].as_str().unwrap().to_owned();
        let public = PublicKey::from(signer.public_key().clone());
        let text = public.to_openssh().unwrap();
        let key_blob = text.split(' ').nth(1).unwrap().to_owned();
        let message = login_message(&keys.ca_id(), &nonce, &alice.email, &key_blob);
        let signed = ssh_key::SshSig::sign(
            &ca_server::signer::SigningKey(signer.as_ref()),
            LOGIN_NAMESPACE,
            ssh_key::HashAlg::Sha512,
            &message,
        );
        body["proof"] = signed
            .unwrap()
            .to_pem(ssh_key::LineEnding::LF)
            .unwrap()
            .into();
        body["public_key"] = text.into();
        let answer = world.post("/v1/login", &body).await;
        assert!(
            answer.text().contains("cannot be certified"),
            "{}",
            answer.text()
        );
    }
}
