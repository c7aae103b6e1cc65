//! Signer back ends against real ssh-agents and real SoftHSM tokens, sound and with faults.

#[path = "signers/agent.rs"]
mod agent;
#[path = "signers/issuing.rs"]
mod issuing;
#[path = "signers/moving.rs"]
mod moving;
#[path = "signers/token.rs"]
mod token;

use std::time::{Duration, Instant};

use ca_server::signer::{Signer, SignerError, remote::RemoteSigner};
use ssh_key::public::KeyData;

/// What the signer signs verifies.
fn signs(signer: &dyn Signer) {
    let signature = signer.sign(b"some data").unwrap();
    signature::Verifier::verify(signer.public_key(), b"some data", &signature).unwrap();
}

fn public(key: &ssh_key::PrivateKey) -> &KeyData {
    key.public_key().key_data()
}

/// Waits until a signer that hung signs again.
fn recovers(signer: &RemoteSigner) {
    let patience = Instant::now() + Duration::from_secs(120);
    while signer.hung_since().is_some() {
        assert!(Instant::now() < patience, "it never answered again");
        std::thread::sleep(Duration::from_millis(20));
    }
    signs(signer);
}

fn error(opened: Result<RemoteSigner, SignerError>) -> SignerError {
    match opened {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}
