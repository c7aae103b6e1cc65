//! Encode, decode and query OpenSSH key revocation lists (KRLs): the file behind sshd's `RevokedKeys`.
//!
//! A KRL names certificates that must no longer be accepted (by serial number or key ID, filed under
//! the CA key that signed them) and plain keys (in full, or by hash). The format is OpenSSH's
//! `PROTOCOL.krl`; its sentences are quoted at the code that implements them. The crate is pure: no
//! clock, file, socket or randomness, no `unsafe`, and keys are raw SSH wire blobs, so that it goes
//! with any SSH library.
//!
//! # Write one
//!
//! ```
//! use ssh_krl::{CaScope, KrlBuilder, PlainKey};
//!
//! # fn blob(last: u8) -> Vec<u8> {
//! #     let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
//! #     blob.extend([last; 32]);
//! #     blob
//! # }
//! # let (ca_key_blob, stolen_key_blob) = (blob(1), blob(2));
//! let ca = CaScope::key(ca_key_blob)?;
//!
//! let mut builder = KrlBuilder::new(7, 1_795_305_600);
//! builder.comment("corp.example")?;
//! builder.revoke_serial(&ca, 4711)?;
//! builder.revoke_serials(&ca, 1..=999)?; // everything before the restore
//! builder.revoke_key_id(&ca, "alice@corp.example/7")?;
//! builder.revoke_key(PlainKey::new(&stolen_key_blob)?);
//! builder.revoke_key_sha256([0x5a; 32]);
//! let file: Vec<u8> = builder.build().encode()?;
//! # assert_eq!(&file[..8], b"SSHKRL\n\0");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Read one, and ask it
//!
//! ```
//! use ssh_krl::{CaScope, CertificateFacts, Krl, KrlBuilder, PlainKey, Reason, ScopeKind, Verdict};
//!
//! # fn blob(last: u8) -> Vec<u8> {
//! #     let mut blob = b"\0\0\0\x0bssh-ed25519\0\0\0\x20".to_vec();
//! #     blob.extend([last; 32]);
//! #     blob
//! # }
//! # let (ca_key_blob, employee_key_blob) = (blob(1), blob(3));
//! # let mut builder = KrlBuilder::new(7, 1_795_305_600);
//! # builder.revoke_key_id(&CaScope::key(&*ca_key_blob)?, "alice@corp.example/7")?;
//! # let file = builder.build().encode()?;
//! let krl = Krl::decode(&file)?;
//! let verdict = krl.judge_certificate(&CertificateFacts {
//!     ca_key: PlainKey::new(&ca_key_blob)?,
//!     subject_key: PlainKey::new(&employee_key_blob)?,
//!     serial: 4711,
//!     key_id: b"alice@corp.example/7",
//! });
//! assert_eq!(verdict, Verdict::Revoked(Reason::KeyId(ScopeKind::ThisCa)));
//!
//! for entry in krl.entries() {
//!     println!("{entry:?}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where it is stricter than `ssh-keygen -k`, and why
//!
//! - **No serial bitmap is ever written.** `ssh-keygen -k` writes bitmap sections of any size, and sshd
//!   then refuses those over 16,384 bits ("bignum is too large"): nobody can log in, because sshd
//!   treats an unreadable KRL as "everything is revoked". Lists and ranges have no such limit.
//! - **Serial 0 is an error** at the builder. OpenSSH ignores serial 0 when it looks certificates up, and
//!   refuses a whole KRL that names it: such certificates can be revoked by key ID or by key only.
//! - **A CA key that sshd could not parse is an error** ([`CaScope::key`]): it would make the whole file
//!   unreadable. So are NUL bytes in key IDs and in the comment.
//! - **Signed KRLs are refused** by the decoder. OpenSSH 9.2 checks that such a signature is
//!   valid but not *whose* it is, and from 9.4 on it skips it; sign the file from outside (`ssh-keygen -Y sign`).
//!
//! Duplicate and adjoining entries are merged and everything is sorted: equal content gives equal bytes.

mod builder;
mod decode;
mod encode;
mod key;
mod model;
mod query;
mod serials;
mod wire;

pub use builder::{KrlBuilder, RevokeError};
pub use decode::{CertificatesError, DecodeError, DecodeErrorKind, Limits};
pub use encode::{EncodeError, MAX_KRL_BYTES};
pub use key::{CaScope, KeyBlobError, PlainKey};
pub use model::{CertificateSection, Entry, Krl};
pub use query::{CertificateFacts, KeyMatch, Reason, ScopeKind, Verdict};
pub use serials::SerialRun;

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
