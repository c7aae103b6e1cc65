//! Signed objects: bytes with an SSHSIG by the fleet key, as `ssh-keygen -Y verify` on a machine reads them.

use ssh_key::{HashAlg, LineEnding, PublicKey, SigningKey, SshSig};

/// The identity under which a machine's allowed-signers file lists the fleet keys.
pub const FLEET_IDENTITY: &str = "fleet";

/// What a signature is for: one by the fleet key over a KRL parcel is worth nothing over a bundle (R9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// Configuration bundles.
    Bundle,
    /// KRL parcels.
    Krl,
    /// Orders: what is to be done once, such as the end of a session.
    Order,
    /// Successions: the fleet key that comes next.
    Succession,
}

impl Namespace {
    /// The SSHSIG namespace.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "bundle@ssh-ca",
            Self::Krl => "krl@ssh-ca",
            Self::Order => "order@ssh-ca",
            Self::Succession => "succession@ssh-ca",
        }
    }
}

/// Why an object could not be signed, or a signature does not hold.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The fleet key did not sign.
    #[error("the fleet key did not sign: {0}; check that it is loaded and that its signer answers")]
    Signer(#[source] ssh_key::Error),
    /// What came back is no signature by that key over these bytes.
    #[error("the signature does not verify with the fleet key: {0}; nothing was published")]
    Verify(#[source] ssh_key::Error),
}

/// An object and the signature that a machine asks for before it looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    namespace: Namespace,
    object: Vec<u8>,
    signature: String,
}

impl Signed {
    /// Signs `object` with the fleet key and checks what the signer returned.
    ///
    /// # Errors
    /// [`SignError::Signer`] if the key does not sign, [`SignError::Verify`] if its answer does not verify.
    pub fn sign<S: SigningKey>(
        key: &S,
        namespace: Namespace,
        object: Vec<u8>,
    ) -> Result<Self, SignError> {
        let signature = SshSig::sign(key, namespace.as_str(), HashAlg::Sha512, &object)
            .map_err(SignError::Signer)?;
        // A signer may be a device or an agent: release builds of ssh-key do not look at its answer.
        PublicKey::from(key.public_key())
            .verify(namespace.as_str(), &object, &signature)
            .map_err(SignError::Verify)?;
        let signature = signature
            .to_pem(LineEnding::LF)
            .map_err(SignError::Signer)?;
        Ok(Self {
            namespace,
            object,
            signature,
        })
    }

    /// Puts a stored object and its signature together again, if one of `fleet_keys` made it.
    ///
    /// # Errors
    /// [`SignError::Verify`] if none of the keys did.
    pub fn from_parts(
        namespace: Namespace,
        object: Vec<u8>,
        signature: String,
        fleet_keys: &[PublicKey],
    ) -> Result<Self, SignError> {
        let parsed = SshSig::from_pem(&signature).map_err(SignError::Verify)?;
        let mut verified = Err(ssh_key::Error::PublicKey);
        for key in fleet_keys {
            verified = verified.or_else(|_| key.verify(namespace.as_str(), &object, &parsed));
        }
        verified.map_err(SignError::Verify)?;
        Ok(Self {
            namespace,
            object,
            signature,
        })
    }

    /// What it was signed for.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The signed bytes.
    #[must_use]
    pub fn object(&self) -> &[u8] {
        &self.object
    }

    /// The signature: SSHSIG in PEM.
    #[must_use]
    pub fn signature(&self) -> &str {
        &self.signature
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::OsRng;
    use ssh_key::{Algorithm, PrivateKey};

    #[test]
    fn r9_a_signature_holds_for_its_bytes_its_namespace_and_its_key_only() {
        let key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let other = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let signed = Signed::sign(&key, Namespace::Krl, b"object".to_vec()).unwrap();
        let again = |namespace, object: &[u8], key: &PrivateKey| {
            Signed::from_parts(
                namespace,
                object.to_vec(),
                signed.signature().to_owned(),
                &[other.public_key().clone(), key.public_key().clone()],
            )
        };
        assert_eq!(again(Namespace::Krl, b"object", &key).unwrap(), signed);
        assert!(again(Namespace::Bundle, b"object", &key).is_err());
        assert!(again(Namespace::Krl, b"objecT", &key).is_err());
        assert!(again(Namespace::Krl, b"object", &other).is_err());
        assert!(
            Signed::from_parts(
                Namespace::Krl,
                b"object".to_vec(),
                signed.signature().into(),
                &[]
            )
            .is_err()
        );
    }
}
