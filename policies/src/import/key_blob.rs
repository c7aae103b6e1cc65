//! A public key as its bytes stand in a file: type, size, fingerprint (RFC 4253 §6.6, PROTOCOL.certkeys, PROTOCOL.u2f).
//!
//! Only what a list of keys needs. Nothing read here is ever certified or trusted: that is what [`crate::acceptable_subject`] decides
//! on a key that was parsed in full.

use base64::{Engine, alphabet, engine};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What kind of key it is, as `ssh-keygen -l` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// `ssh-rsa`
    #[serde(rename = "RSA")]
    Rsa,
    /// `ssh-dss`, which current OpenSSH refuses.
    #[serde(rename = "DSA")]
    Dsa,
    /// `ecdsa-sha2-nistp256`, `…384`, `…521`
    #[serde(rename = "ECDSA")]
    Ecdsa,
    /// `ssh-ed25519`
    #[serde(rename = "ED25519")]
    Ed25519,
    /// `sk-ecdsa-sha2-nistp256@openssh.com`
    #[serde(rename = "ECDSA-SK")]
    EcdsaSk,
    /// `sk-ssh-ed25519@openssh.com`
    #[serde(rename = "ED25519-SK")]
    Ed25519Sk,
    /// A certificate for an RSA key.
    #[serde(rename = "RSA-CERT")]
    RsaCert,
    /// A certificate for a DSA key.
    #[serde(rename = "DSA-CERT")]
    DsaCert,
    /// A certificate for an ECDSA key.
    #[serde(rename = "ECDSA-CERT")]
    EcdsaCert,
    /// A certificate for an Ed25519 key.
    #[serde(rename = "ED25519-CERT")]
    Ed25519Cert,
    /// A certificate for an ECDSA security key.
    #[serde(rename = "ECDSA-SK-CERT")]
    EcdsaSkCert,
    /// A certificate for an Ed25519 security key.
    #[serde(rename = "ED25519-SK-CERT")]
    Ed25519SkCert,
}

impl KeyType {
    /// As `ssh-keygen -l` writes it: `ED25519`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Dsa => "DSA",
            Self::Ecdsa => "ECDSA",
            Self::Ed25519 => "ED25519",
            Self::EcdsaSk => "ECDSA-SK",
            Self::Ed25519Sk => "ED25519-SK",
            Self::RsaCert => "RSA-CERT",
            Self::DsaCert => "DSA-CERT",
            Self::EcdsaCert => "ECDSA-CERT",
            Self::Ed25519Cert => "ED25519-CERT",
            Self::EcdsaSkCert => "ECDSA-SK-CERT",
            Self::Ed25519SkCert => "ED25519-SK-CERT",
        }
    }

    /// Whether the private half is in a security key.
    #[must_use]
    pub fn is_security_key(self) -> bool {
        matches!(
            self,
            Self::EcdsaSk | Self::Ed25519Sk | Self::EcdsaSkCert | Self::Ed25519SkCert
        )
    }

    /// Whether it is a certificate, which no line of `authorized_keys` makes work by itself.
    #[must_use]
    pub fn is_certificate(self) -> bool {
        self.format().cert
    }

    fn format(self) -> &'static Format {
        FORMATS
            .iter()
            .find(|format| format.kind == self)
            .expect("every key type has a format")
    }
}

/// Why bytes are no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyBlobError {
    /// No type that OpenSSH knows.
    #[error("the type of the key is not one that OpenSSH knows")]
    UnknownType,
    /// Not base64.
    #[error("the key is not base64; it may be cut or broken over two lines")]
    NotBase64,
    /// The bytes say another type than the text before them.
    #[error("the key's bytes are of another type than the name before them")]
    OtherType,
    /// Cut, too long, or with a field that cannot be.
    #[error("the key's bytes are cut or damaged")]
    Damaged,
}

/// A public key that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyBlob {
    pub(super) kind: KeyType,
    pub(super) bits: u32,
    sha256: [u8; 32],
}

/// How a type of key is written.
struct Format {
    kind: KeyType,
    name: &'static str,
    plain: &'static str,
    cert: bool,
    fields: &'static [Field],
    /// Where the size comes from.
    bits: Bits,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    /// A multiple precision integer above 0.
    Number,
    /// Exactly 32 bytes.
    Bytes32,
    /// The curve's name.
    Curve(&'static str),
    /// A point on it, uncompressed, of that many bytes.
    Point(usize),
    /// Text.
    Text,
}

#[derive(Clone, Copy)]
enum Bits {
    Fixed(u32),
    OfField(usize),
}

const RSA: &[Field] = &[Field::Number, Field::Number];
const DSA: &[Field] = &[Field::Number, Field::Number, Field::Number, Field::Number];
const P256: &[Field] = &[Field::Curve("nistp256"), Field::Point(65)];
const P384: &[Field] = &[Field::Curve("nistp384"), Field::Point(97)];
const P521: &[Field] = &[Field::Curve("nistp521"), Field::Point(133)];
const ED25519: &[Field] = &[Field::Bytes32];
const SK_P256: &[Field] = &[Field::Curve("nistp256"), Field::Point(65), Field::Text];
const SK_ED25519: &[Field] = &[Field::Bytes32, Field::Text];

#[rustfmt::skip]
const FORMATS: &[Format] = &[
    Format { kind: KeyType::Rsa, name: "ssh-rsa", plain: "ssh-rsa", cert: false, fields: RSA, bits: Bits::OfField(1) },
    Format { kind: KeyType::Dsa, name: "ssh-dss", plain: "ssh-dss", cert: false, fields: DSA, bits: Bits::OfField(0) },
    Format { kind: KeyType::Ecdsa, name: "ecdsa-sha2-nistp256", plain: "ecdsa-sha2-nistp256", cert: false, fields: P256, bits: Bits::Fixed(256) },
    Format { kind: KeyType::Ecdsa, name: "ecdsa-sha2-nistp384", plain: "ecdsa-sha2-nistp384", cert: false, fields: P384, bits: Bits::Fixed(384) },
    Format { kind: KeyType::Ecdsa, name: "ecdsa-sha2-nistp521", plain: "ecdsa-sha2-nistp521", cert: false, fields: P521, bits: Bits::Fixed(521) },
    Format { kind: KeyType::Ed25519, name: "ssh-ed25519", plain: "ssh-ed25519", cert: false, fields: ED25519, bits: Bits::Fixed(256) },
    Format { kind: KeyType::EcdsaSk, name: "sk-ecdsa-sha2-nistp256@openssh.com", plain: "sk-ecdsa-sha2-nistp256@openssh.com", cert: false, fields: SK_P256, bits: Bits::Fixed(256) },
    Format { kind: KeyType::Ed25519Sk, name: "sk-ssh-ed25519@openssh.com", plain: "sk-ssh-ed25519@openssh.com", cert: false, fields: SK_ED25519, bits: Bits::Fixed(256) },
    Format { kind: KeyType::RsaCert, name: "ssh-rsa-cert-v01@openssh.com", plain: "ssh-rsa", cert: true, fields: RSA, bits: Bits::OfField(1) },
    Format { kind: KeyType::DsaCert, name: "ssh-dss-cert-v01@openssh.com", plain: "ssh-dss", cert: true, fields: DSA, bits: Bits::OfField(0) },
    Format { kind: KeyType::EcdsaCert, name: "ecdsa-sha2-nistp256-cert-v01@openssh.com", plain: "ecdsa-sha2-nistp256", cert: true, fields: P256, bits: Bits::Fixed(256) },
    Format { kind: KeyType::EcdsaCert, name: "ecdsa-sha2-nistp384-cert-v01@openssh.com", plain: "ecdsa-sha2-nistp384", cert: true, fields: P384, bits: Bits::Fixed(384) },
    Format { kind: KeyType::EcdsaCert, name: "ecdsa-sha2-nistp521-cert-v01@openssh.com", plain: "ecdsa-sha2-nistp521", cert: true, fields: P521, bits: Bits::Fixed(521) },
    Format { kind: KeyType::Ed25519Cert, name: "ssh-ed25519-cert-v01@openssh.com", plain: "ssh-ed25519", cert: true, fields: ED25519, bits: Bits::Fixed(256) },
    Format { kind: KeyType::EcdsaSkCert, name: "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", plain: "sk-ecdsa-sha2-nistp256@openssh.com", cert: true, fields: SK_P256, bits: Bits::Fixed(256) },
    Format { kind: KeyType::Ed25519SkCert, name: "sk-ssh-ed25519-cert-v01@openssh.com", plain: "sk-ssh-ed25519@openssh.com", cert: true, fields: SK_ED25519, bits: Bits::Fixed(256) },
];

/// Base64 as OpenSSH's `b64_pton` takes it: padded.
const BASE64: engine::GeneralPurpose =
    engine::GeneralPurpose::new(&alphabet::STANDARD, engine::general_purpose::PAD);

/// Whether `word` is the name of a key type.
pub(super) fn is_type_name(word: &[u8]) -> bool {
    FORMATS.iter().any(|format| format.name.as_bytes() == word)
}

impl KeyBlob {
    /// Reads a key from the name of its type and its base64.
    ///
    /// # Errors
    /// They are no public key.
    pub(super) fn read(name: &[u8], base64: &[u8]) -> Result<Self, KeyBlobError> {
        let format = FORMATS
            .iter()
            .find(|format| format.name.as_bytes() == name)
            .ok_or(KeyBlobError::UnknownType)?;
        let blob = BASE64.decode(base64).map_err(|_| KeyBlobError::NotBase64)?;
        let mut rest = blob.as_slice();
        if string(&mut rest).ok_or(KeyBlobError::Damaged)? != name {
            return Err(KeyBlobError::OtherType);
        }
        if format.cert {
            string(&mut rest).ok_or(KeyBlobError::Damaged)?; // nonce
        }
        let before = rest;
        let fields = format
            .fields
            .iter()
            .map(|field| {
                let value = string(&mut rest)?;
                field.fits(value).then_some(value)
            })
            .collect::<Option<Vec<&[u8]>>>()
            .ok_or(KeyBlobError::Damaged)?;
        if !format.cert && !rest.is_empty() {
            return Err(KeyBlobError::Damaged);
        }
        let bits = match format.bits {
            Bits::Fixed(bits) => bits,
            Bits::OfField(at) => bit_length(fields[at]),
        };
        // The fingerprint of a certificate is that of the key in it.
        let mut plain = Sha256::new();
        let length = u32::try_from(format.plain.len()).expect("the name of a type is short");
        plain.update(length.to_be_bytes());
        plain.update(format.plain.as_bytes());
        plain.update(&before[..before.len() - rest.len()]);
        Ok(Self {
            kind: format.kind,
            bits,
            sha256: plain.finalize().into(),
        })
    }

    /// `SHA256:` and 43 characters of base64, as `ssh-keygen -l` prints it.
    pub(super) fn fingerprint(&self) -> String {
        let text = engine::general_purpose::STANDARD_NO_PAD.encode(self.sha256);
        format!("SHA256:{text}")
    }
}

impl Field {
    fn fits(self, value: &[u8]) -> bool {
        match self {
            // A first bit that is set would be a sign.
            Self::Number => bit_length(value) > 0 && value[0] & 0x80 == 0,
            Self::Bytes32 => value.len() == 32,
            Self::Curve(name) => value == name.as_bytes(),
            Self::Point(length) => value.len() == length && value[0] == 4,
            Self::Text => std::str::from_utf8(value).is_ok(),
        }
    }
}

/// The next string (RFC 4251 §5), taken off `rest`.
fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

/// How many bits the number needs; 0 for none.
fn bit_length(number: &[u8]) -> u32 {
    let significant = number
        .iter()
        .position(|byte| *byte != 0)
        .map_or(&[][..], |first| &number[first..]);
    let Some(first) = significant.first() else {
        return 0;
    };
    u32::try_from(significant.len())
        .ok()
        .and_then(|bytes| bytes.checked_mul(8))
        .map_or(u32::MAX, |bits| bits - first.leading_zeros())
}
