//! Who is this? Password, second factor, the budget of attempts, single-use nonces.

pub mod attempts;
pub mod flood;
pub mod nonce;
pub mod password;
pub mod shares;
pub mod totp;
