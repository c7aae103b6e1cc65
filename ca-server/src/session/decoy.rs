//! Nobody's rows: what an unknown email is judged by, so that it costs the same work as a known one (A7).

use policies::{Employee, Status};

use super::login::totp_purpose;
use crate::{keys::Keys, records::Credentials};

/// An employee who is nobody, with credentials that open nothing, as they would lie in the store.
pub struct Decoy {
    employee: Vec<u8>,
    credentials: Vec<u8>,
}

impl Decoy {
    /// Sealed with the CA's own key: opening it is the same work too.
    #[must_use]
    pub fn new(keys: &Keys) -> Self {
        let email: policies::Email = "nobody@nowhere.invalid".parse().expect("well formed");
        let sealed = keys.seal.seal(&totp_purpose(&email), &[0; 20]);
        let credentials = Credentials {
            // As long as a real one; it is never compared with.
            password: Some("$".repeat(97)),
            totp: Some(sealed),
            ..Credentials::default()
        };
        let employee = Employee {
            email,
            name: "Nobody Nowhere".to_owned(),
            account: "nobody".parse().expect("well formed"),
            uid: u32::MAX,
            status: Status::Removed,
            roles: std::collections::BTreeSet::new(),
            epoch: 1,
        };
        Self {
            employee: serde_json::to_vec(&employee).expect("a row becomes JSON"),
            credentials: serde_json::to_vec(&credentials).expect("a row becomes JSON"),
        }
    }

    /// Reads the rows, as those of somebody known are read.
    #[must_use]
    pub fn rows(&self) -> (Employee, Credentials) {
        (
            serde_json::from_slice(&self.employee).expect("written above"),
            serde_json::from_slice(&self.credentials).expect("written above"),
        )
    }
}
