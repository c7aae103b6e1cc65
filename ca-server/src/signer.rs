//! What signs with a CA key: one trait, and the back ends behind it.
//!
//! | back end | where the private key is |
//! |---|---|
//! | [`mod@file`] | in an encrypted OpenSSH key file, decrypted into the server's memory |
//! | [`agent`] | in whatever an ssh-agent keeps it: memory, a YubiKey, a TPM |
//! | [`pkcs11`] | in a token or HSM, behind its vendor's module, which runs in a process of its own |
//!
//! Whatever a back end answers is checked with the public key before anybody sees it. [`remote`] keeps one that hangs from
//! stopping the server.

pub mod agent;
pub mod file;
pub mod pkcs11;
pub mod remote;
pub mod spec;
mod wire;

use std::sync::{Arc, Mutex};

use ssh_key::{Signature, public::KeyData};

pub use file::FileSigner;
pub use spec::{SignerSpec, SpecError};

/// A signer could not sign. Each says what to do; none is for employees, who are told that the CA cannot issue now.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The back end failed.
    #[error("the signer failed: {0}")]
    Backend(#[source] signature::Error),
    /// The back end returned a signature that its own public key does not verify.
    #[error("the signer returned a wrong signature")]
    WrongSignature,
    /// Nobody is there.
    #[error("the signer {signer} is not there: {why}")]
    Absent {
        /// Which.
        signer: String,
        /// Why, and what to do.
        why: String,
    },
    /// It is there and says no: it is locked, its owner declined, a PIN is wrong.
    #[error("the signer {signer} refused: {why}")]
    Refused {
        /// Which.
        signer: String,
        /// Why, and what to do.
        why: String,
    },
    /// It is there and has not the key, or another one.
    #[error("the signer {signer} does not hold the key: {why}")]
    NoKey {
        /// Which.
        signer: String,
        /// What it has instead.
        why: String,
    },
    /// It did not answer in time.
    #[error(
        "the signer {signer} did not answer within {waited_secs} s; look whether it waits for a touch or hangs"
    )]
    TimedOut {
        /// Which.
        signer: String,
        /// How long it was waited for.
        waited_secs: u64,
    },
    /// It did not answer an earlier request, and is not asked until it answers again.
    #[error(
        "the signer {signer} has not answered for {silent_secs} s; it is asked again by itself, and signs again as soon as it answers"
    )]
    Hung {
        /// Which.
        signer: String,
        /// Since when.
        silent_secs: u64,
    },
    /// More wants to be signed than it can do.
    #[error("the signer {signer} has more to sign than it can do now; try again in a moment")]
    Busy {
        /// Which.
        signer: String,
    },
    /// It answered something that is not an answer.
    #[error("the signer {signer} answered nonsense: {why}")]
    Nonsense {
        /// Which.
        signer: String,
        /// What.
        why: String,
    },
}

/// How long a signature takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Microseconds: it may be made where others wait.
    Instant,
    /// As long as somebody else takes: it is made where nobody waits.
    Waits,
}

/// A private key that stays where it is. Signing is synchronous and may take as long as hardware takes.
pub trait Signer: Send + Sync {
    /// The key's public half.
    fn public_key(&self) -> &KeyData;

    /// Signs `data`.
    ///
    /// # Errors
    /// When the back end refuses or is gone. The caller treats what it meant to sign as issued all the same.
    fn sign(&self, data: &[u8]) -> Result<Signature, SignerError>;

    /// How long [`Signer::sign`] takes.
    fn pace(&self) -> Pace {
        Pace::Instant
    }

    /// Which back end it is, for people.
    fn back_end(&self) -> String {
        "file".to_owned()
    }
}

/// Does `work` with a signer, on a thread where nobody else waits if the signer is one that can take its time.
pub async fn with<T: Send + 'static>(
    signer: &Arc<dyn Signer>,
    work: impl FnOnce(&dyn Signer) -> T + Send + 'static,
) -> T {
    match signer.pace() {
        Pace::Instant => work(signer.as_ref()),
        Pace::Waits => {
            let signer = Arc::clone(signer);
            match tokio::task::spawn_blocking(move || work(signer.as_ref())).await {
                Ok(done) => done,
                // It is never cancelled: what is left is a panic, which belongs to the caller.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
    }
}

/// Lets `ssh-key`'s certificate builder and SSHSIG use any [`Signer`].
///
/// `ssh-key` forgets why a signature failed; an [`Attempt`] remembers.
pub struct SigningKey<'a>(pub &'a dyn Signer);

impl signature::Signer<Signature> for SigningKey<'_> {
    fn try_sign(&self, data: &[u8]) -> Result<Signature, signature::Error> {
        self.0.sign(data).map_err(|error| {
            // `ssh-key` says "cryptographic error" to whoever asked: the reason stands in the log.
            tracing::error!(%error, "nothing was signed");
            signature::Error::from_source(error)
        })
    }
}

impl From<&SigningKey<'_>> for KeyData {
    fn from(key: &SigningKey<'_>) -> KeyData {
        key.0.public_key().clone()
    }
}

/// One attempt to sign something through `ssh-key`: like [`SigningKey`], and keeps the reason when it fails.
pub struct Attempt<'a> {
    signer: &'a dyn Signer,
    failed: Mutex<Option<SignerError>>,
}

impl<'a> Attempt<'a> {
    /// With this signer.
    #[must_use]
    pub fn new(signer: &'a dyn Signer) -> Self {
        Self {
            signer,
            failed: Mutex::new(None),
        }
    }

    /// Why the signer failed, if it did.
    #[must_use]
    pub fn failure(self) -> Option<SignerError> {
        self.failed
            .into_inner()
            .unwrap_or_else(|lock| lock.into_inner())
    }
}

impl signature::Signer<Signature> for Attempt<'_> {
    fn try_sign(&self, data: &[u8]) -> Result<Signature, signature::Error> {
        self.signer.sign(data).map_err(|error| {
            let told = signature::Error::from_source(error.to_string());
            if let Ok(mut failed) = self.failed.lock() {
                *failed = Some(error);
            }
            told
        })
    }
}

impl From<&Attempt<'_>> for KeyData {
    fn from(attempt: &Attempt<'_>) -> KeyData {
        attempt.signer.public_key().clone()
    }
}

/// Signs a probe and checks it with the public key, so that a wrong signer is found before it is trusted.
///
/// # Errors
/// When the signer fails, or its signature does not verify.
pub fn prove(signer: &dyn Signer) -> Result<(), SignerError> {
    const PROBE: &[u8] = b"ssh-ca: does this signer hold the key it names?";
    let signature = signer.sign(PROBE)?;
    check(signer.public_key(), PROBE, &signature)
}

/// Checks what a back end returned.
///
/// # Errors
/// [`SignerError::WrongSignature`], also for one of another algorithm than the key's.
fn check(key: &KeyData, data: &[u8], signature: &Signature) -> Result<(), SignerError> {
    if signature.algorithm() != key.algorithm() {
        return Err(SignerError::WrongSignature);
    }
    signature::Verifier::verify(key, data, signature).map_err(|_| SignerError::WrongSignature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey};

    struct Liar {
        says: KeyData,
        signs_with: PrivateKey,
    }

    impl Signer for Liar {
        fn public_key(&self) -> &KeyData {
            &self.says
        }
        fn sign(&self, data: &[u8]) -> Result<Signature, SignerError> {
            signature::Signer::try_sign(&self.signs_with, data).map_err(SignerError::Backend)
        }
    }

    #[test]
    fn k6_a_signer_that_names_another_key_is_found_out() {
        let one = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let other = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        assert!(prove(&FileSigner::new(one.clone())).is_ok());
        let liar = Liar {
            says: other.public_key().key_data().clone(),
            signs_with: one,
        };
        assert!(matches!(prove(&liar), Err(SignerError::WrongSignature)));
    }

    #[test]
    fn why_a_signature_failed_is_not_lost_on_the_way_through_ssh_key() {
        struct Locked(PrivateKey);
        impl Signer for Locked {
            fn public_key(&self) -> &KeyData {
                self.0.public_key().key_data()
            }
            fn sign(&self, _: &[u8]) -> Result<Signature, SignerError> {
                Err(SignerError::Refused {
                    signer: "agent:/run/agent".to_owned(),
                    why: "it is locked".to_owned(),
                })
            }
        }
        let locked = Locked(PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap());
        let attempt = Attempt::new(&locked);
        let refused = ssh_key::SshSig::sign(&attempt, "test", ssh_key::HashAlg::Sha512, b"data");
        assert!(refused.is_err());
        assert!(matches!(
            attempt.failure(),
            Some(SignerError::Refused { why, .. }) if why == "it is locked"
        ));
    }
}
