//! Wire types of the certificate authority's `/v1` API, and the bytes that a proof of possession signs.
//!
//! Every request refuses unknown fields (W2): a field that one side means and the other ignores is how a restriction
//! gets lost. Replies may gain fields. Times are Unix seconds; binary values are standard base64 unless said otherwise;
//! keys and certificates are OpenSSH text.
//!
//! | door | method and path | body | answer |
//! |---|---|---|---|
//! | anybody | `GET /v1/ca` | | [`ServerInfo`] |
//! | anybody | `GET /v1/nonce` | | [`Nonce`] |
//! | an invitation | `POST /v1/enrol/start` | [`EnrolStart`] | [`EnrolStarted`] |
//! | an invitation | `POST /v1/enrol/finish` | [`EnrolFinish`] | [`Enrolled`] |
//! | password and TOTP | `POST /v1/login` | [`LoginRequest`] | [`Issued`] |
//! | a day session | `POST /v1/renew` | [`RenewRequest`] | [`Issued`] |
//! | a day session | `POST /v1/logout` | [`LogoutRequest`] | [`LoggedOut`] |
//! | password and TOTP | `POST /v1/password` | [`PasswordRequest`] | [`PasswordChanged`] |
//! | password, TOTP, admin role | `POST /v1/admin/login` | [`AdminLogin`] | [`AdminSession`] |
//! | an admin session, or the Unix socket | `POST /v1/admin` | [`admin::AdminRequest`] | lines of [`admin::AdminEvent`] |

pub mod admin;
pub mod employee;
pub mod error;
pub mod proof;
pub mod secret;

pub use employee::*;
pub use error::{ApiError, ErrorCode};
pub use secret::Secret;

/// Media type of the admin API's answer: one JSON object a line.
pub const NDJSON: &str = "application/x-ndjson";

/// The largest request body that the server reads, in bytes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// The largest one that it reads of an admin, in bytes: the policy of 10,000 people on 10,000 machines is 2 MB of text.
pub const MAX_ADMIN_BODY_BYTES: usize = 16 * 1024 * 1024;
