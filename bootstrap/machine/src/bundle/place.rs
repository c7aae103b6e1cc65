//! The closed list of places on a machine that a bundle may write.

use policies::AccountName;

/// A file that a bundle may write: its path and mode follow from what it is, so a bundle cannot name another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The user CA public keys that sshd trusts.
    UserCa,
    /// The fleet public keys (an allowed-signers file) that verify the next bundle.
    Fleet,
    /// An empty KRL for `ssh-admin` and `ssh-ca-sync`: no KRL can shut the repair door (R11).
    AdminRevoked,
    /// An empty list of CAs for the same two: the user CA is never trusted for them.
    AdminUserCa,
    /// The break-glass CA public keys, trusted for the break-glass account alone.
    BreakGlassCa,
    /// The machine's host certificate.
    HostCertificate,
    /// The root-owned `authorized_keys` of `ssh-ca-sync`.
    SyncKeys,
    /// The principals of one account.
    Principals(AccountName),
    /// The sshd drop-in.
    SshdDropIn,
    /// The sudo rules.
    Sudoers,
    /// The applier itself.
    Applier,
    /// The script that pam_exec runs at session start.
    SessionRecord,
    /// The script that fetches what the CA wants.
    Puller,
    /// How it does that.
    PullSettings,
    /// What the CA's TLS is checked with when it does.
    PullTrust,
}

/// The root-owned `authorized_keys` that a machine makes itself, for the login from itself to itself that confirms what it fetched. No bundle
/// writes it.
pub const LOOPBACK_KEYS: &str = "/etc/ssh/ca/loopback_authorized_keys";

const PRINCIPALS: &str = "/etc/ssh/ca/principals/";

impl Place {
    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::UserCa => "/etc/ssh/ca/user_ca.pub",
            Self::Fleet => "/etc/ssh/ca/fleet.pub",
            Self::AdminRevoked => "/etc/ssh/ca/admin_revoked.krl",
            Self::AdminUserCa => "/etc/ssh/ca/admin_user_ca.pub",
            Self::BreakGlassCa => "/etc/ssh/ca/break_glass_ca.pub",
            Self::HostCertificate => "/etc/ssh/ca/host-cert.pub",
            Self::SyncKeys => "/etc/ssh/ca/sync_authorized_keys",
            Self::Principals(account) => return format!("{PRINCIPALS}{account}"),
            Self::SshdDropIn => "/etc/ssh/sshd_config.d/00-ssh-ca.conf",
            Self::Sudoers => "/etc/sudoers.d/ssh-ca",
            Self::Applier => "/var/lib/ssh-ca/applier",
            Self::SessionRecord => "/var/lib/ssh-ca/session-record",
            Self::Puller => "/var/lib/ssh-ca/puller",
            Self::PullSettings => "/var/lib/ssh-ca/pull.conf",
            Self::PullTrust => "/var/lib/ssh-ca/pull-ca.pem",
        }
        .to_owned()
    }

    /// Its mode, as the four octal digits of the manifest.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::Sudoers => "0440",
            Self::Applier | Self::SessionRecord | Self::Puller => "0700",
            Self::PullSettings | Self::PullTrust => "0600",
            // sshd reads principals as the account itself, and public keys are public: 0600 would refuse everybody.
            _ => "0644",
        }
    }

    /// The place with this path, if it is on the list.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        if let Some(name) = path.strip_prefix(PRINCIPALS) {
            return name.parse().ok().map(Self::Principals);
        }
        [
            Self::UserCa,
            Self::Fleet,
            Self::AdminRevoked,
            Self::AdminUserCa,
            Self::BreakGlassCa,
            Self::HostCertificate,
            Self::SyncKeys,
            Self::SshdDropIn,
            Self::Sudoers,
            Self::Applier,
            Self::SessionRecord,
            Self::Puller,
            Self::PullSettings,
            Self::PullTrust,
        ]
        .into_iter()
        .find(|place| place.path() == path)
    }
}
