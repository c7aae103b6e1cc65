//! The bytes that a proof of possession signs: SSHSIG in a fixed namespace over a text that names the purpose, the
//! CA, the single-use nonce, who asks, and the key itself.
//!
//! A signature made for one purpose cannot serve another (the namespace differs), another CA (its name is inside),
//! another person or key, or twice (the nonce is single-use).

/// SSHSIG namespace of the proof that opens a session.
pub const LOGIN_NAMESPACE: &str = "login@ssh-ca";

/// SSHSIG namespace of the proof that renews within a session.
pub const RENEW_NAMESPACE: &str = "renew@ssh-ca";

/// The message a login's proof signs. `ca_id` is [`crate::ServerInfo::ca_id`], `email` the canonical email,
/// `public_key` the base64 blob of the OpenSSH public key (without type and comment).
#[must_use]
pub fn login_message(ca_id: &str, nonce: &str, email: &str, public_key: &str) -> Vec<u8> {
    format!("ssh-ca login v1\nca {ca_id}\nnonce {nonce}\nemail {email}\nkey {public_key}\n")
        .into_bytes()
}

/// The message a renewal's proof signs.
#[must_use]
pub fn renew_message(ca_id: &str, nonce: &str, session_id: &str, public_key: &str) -> Vec<u8> {
    format!("ssh-ca renew v1\nca {ca_id}\nnonce {nonce}\nsession {session_id}\nkey {public_key}\n")
        .into_bytes()
}
