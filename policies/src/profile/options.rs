//! Critical options and extensions: the allow-list (I9), and how conditions are written with it.

use std::collections::BTreeMap;

use crate::{Conditions, Extension, KeyDemand};

/// `source-address`: CIDR networks, comma-separated.
pub(super) const SOURCE_ADDRESS: &str = "source-address";
/// `force-command`: run instead of whatever the client asks for.
pub(super) const FORCE_COMMAND: &str = "force-command";

/// `verify-required`: a signature by the security key counts only if it says that the key checked its owner's PIN or finger. A flag.
pub(super) const VERIFY_REQUIRED: &str = "verify-required";

/// The critical options that a certificate of ours may carry. sshd refuses a certificate with one that it does not know, as one before
/// 8.4 does with `verify-required`.
pub(super) const CRITICAL_OPTIONS: [&str; 3] = [FORCE_COMMAND, SOURCE_ADDRESS, VERIFY_REQUIRED];

/// The extensions that a certificate of ours may carry.
pub(super) const EXTENSIONS: [Extension; 5] = [
    Extension::Pty,
    Extension::PortForwarding,
    Extension::AgentForwarding,
    Extension::X11Forwarding,
    Extension::UserRc,
];

impl Extension {
    /// The name in a certificate.
    #[must_use]
    pub fn openssh_name(self) -> &'static str {
        match self {
            Self::Pty => "permit-pty",
            Self::PortForwarding => "permit-port-forwarding",
            Self::AgentForwarding => "permit-agent-forwarding",
            Self::X11Forwarding => "permit-X11-forwarding",
            Self::UserRc => "permit-user-rc",
        }
    }
}

/// The critical options that `conditions` mean.
pub(super) fn critical_options(conditions: &Conditions) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if let Some(command) = &conditions.forced_command {
        options.insert(FORCE_COMMAND.to_owned(), command.clone());
    }
    if !conditions.sources.is_empty() {
        let networks: Vec<&str> = conditions.sources.iter().map(String::as_str).collect();
        options.insert(SOURCE_ADDRESS.to_owned(), networks.join(","));
    }
    match conditions.key {
        KeyDemand::Any => {}
        KeyDemand::SecurityKey => {
            options.insert(VERIFY_REQUIRED.to_owned(), String::new());
        }
    }
    options
}

/// The extensions that `conditions` allow; each is a flag without a value.
pub(super) fn extensions(conditions: &Conditions) -> BTreeMap<String, String> {
    conditions
        .extensions
        .iter()
        .map(|extension| (extension.openssh_name().to_owned(), String::new()))
        .collect()
}
