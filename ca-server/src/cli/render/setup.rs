//! What `init` made, for people.

use std::path::Path;

use super::table::Fields;
use crate::cli::{args::DEFAULT_DATA, text::shell_word};

/// What `init` made.
#[derive(Debug, Clone, Copy)]
pub struct Made<'a> {
    /// The data folder.
    pub data: &'a Path,
    /// The URL that stands in invitations.
    pub url: &'a str,
    /// `SHA256:…` that employees pin.
    pub tls_fingerprint: &'a str,
    /// `SHA256:…` of the user CA key.
    pub user_ca: &'a str,
    /// `SHA256:…` of the host CA key.
    pub host_ca: &'a str,
}

/// The facts, and the next commands.
#[must_use]
pub fn made(made: &Made<'_>) -> String {
    let data = made.data.display().to_string();
    let option = if data == DEFAULT_DATA {
        String::new()
    } else {
        format!(" --data {}", shell_word(&data))
    };
    let facts = Fields::new(&format!("The CA is made in {data}"))
        .field("URL", made.url)
        .field("fingerprint", made.tls_fingerprint)
        .field("user CA", made.user_ca)
        .field("host CA", made.host_ca)
        .render();
    format!(
        "{facts}\n\
         Keep the passphrase where it is safe and can be found: without it the keys are lost for good.\n\n\
         Next:\n  \
         ca-server serve{option}\n  \
         ca-server pool add POOL{option}\n  \
         ca-server employee add EMAIL --pool POOL{option}\n  \
         bootstrap add-machine NAME --pool POOL\n"
    )
}
