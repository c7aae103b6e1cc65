//! A security key in software, as its proofs look.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand_core::OsRng;
use sha2::{Digest, Sha256};
use signature::Signer;
use ssh_key::{
    Algorithm, EcdsaCurve, HashAlg, PrivateKey, PublicKey, SshSig,
    public::{KeyData, SkEcdsaSha2NistP256, SkEd25519},
};

pub const TOUCHED: u8 = 0x01;

pub const VERIFIED: u8 = 0x05;

/// A security key in software: the key that is inside, and the public key that it shows.
#[derive(Clone)]
pub struct Token {
    pub inside: PrivateKey,
    pub public: PublicKey,
    pub application: String,
}

/// What one signature of a security key says.
#[derive(Clone)]
pub struct Said {
    pub namespace: &'static str,
    pub flags: u8,
    pub counter: u32,
    /// The application that is hashed; the key's own unless it lies.
    pub application: String,
    /// The name that the signature bears.
    pub name: &'static str,
}

pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend(bytes);
}

impl Token {
    pub fn ed25519() -> Self {
        Self::with_application("ssh:")
    }

    pub fn with_application(application: &str) -> Self {
        let inside = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap();
        let KeyData::Ed25519(public) = *inside.public_key().key_data() else {
            unreachable!()
        };
        Self {
            public: KeyData::SkEd25519(SkEd25519::new(public, application)).into(),
            inside,
            application: application.to_owned(),
        }
    }

    pub fn ecdsa() -> Self {
        let curve = EcdsaCurve::NistP256;
        let inside = PrivateKey::random(&mut OsRng, Algorithm::Ecdsa { curve }).unwrap();
        let KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(public)) =
            *inside.public_key().key_data()
        else {
            unreachable!()
        };
        Self {
            public: KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(public, "ssh:")).into(),
            inside,
            application: "ssh:".to_owned(),
        }
    }

    fn name(&self) -> &'static str {
        match self.public.key_data() {
            KeyData::SkEd25519(_) => "sk-ssh-ed25519@openssh.com",
            _ => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    pub fn says(&self, namespace: &'static str, flags: u8) -> Said {
        Said {
            namespace,
            flags,
            counter: 7,
            application: self.application.clone(),
            name: self.name(),
        }
    }

    pub fn blob(&self) -> String {
        STANDARD.encode(self.public.to_bytes().unwrap())
    }

    /// PROTOCOL.u2f "SSH U2F Signatures" inside PROTOCOL.sshsig, byte by byte: nothing of the server's own is used.
    pub fn prove(&self, message: &[u8], said: &Said) -> String {
        let data = SshSig::signed_data(said.namespace, HashAlg::Sha512, message).unwrap();
        let mut signed = Sha256::digest(&said.application).to_vec();
        signed.push(said.flags);
        signed.extend(said.counter.to_be_bytes());
        signed.extend(Sha256::digest(&data));
        let raw = self.inside.try_sign(&signed).unwrap();
        let mut signature = Vec::new();
        string(&mut signature, said.name.as_bytes());
        let mut trailer = vec![said.flags];
        trailer.extend(said.counter.to_be_bytes());
        if said.name == self.name() {
            string(&mut signature, raw.as_bytes());
            signature.extend(trailer);
        } else {
            // Under another name the parser takes one string: so the bytes of it are still those of a right signature.
            string(&mut signature, &[raw.as_bytes(), &trailer[..]].concat());
        }
        armoured(&self.public, said.namespace, &signature)
    }

    /// What somebody sends who has the bytes inside and no idea of security keys: a plain signature.
    pub fn prove_plainly(&self, message: &[u8], namespace: &str) -> String {
        let data = SshSig::signed_data(namespace, HashAlg::Sha512, message).unwrap();
        let raw = self.inside.try_sign(&data).unwrap();
        let mut signature = Vec::new();
        string(&mut signature, raw.algorithm().as_str().as_bytes());
        string(&mut signature, raw.as_bytes());
        armoured(&self.public, namespace, &signature)
    }
}

pub fn armoured(key: &PublicKey, namespace: &str, signature: &[u8]) -> String {
    let mut blob = b"SSHSIG\0\0\0\x01".to_vec();
    for part in [
        &key.to_bytes().unwrap()[..],
        namespace.as_bytes(),
        b"",
        b"sha512",
        signature,
    ] {
        string(&mut blob, part);
    }
    pem(&blob)
}

pub fn pem(blob: &[u8]) -> String {
    let text = STANDARD.encode(blob);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(70)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n",
        lines.join("\n")
    )
}

/// The same proof with one bit changed in the byte that is so far from its end.
pub fn tampered(proof: &str, from_end: usize, bit: u8) -> String {
    let base64: String = proof
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let mut bytes = STANDARD.decode(base64).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 1 << bit;
    pem(&bytes)
}
