//! The tables by name, and the groups whose changes are counted.

use std::fmt;

macro_rules! tables {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A table: keys and values are bytes, keys are in byte order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Table {
            $($(#[$doc])* $variant,)*
        }

        impl Table {
            /// Every table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The table's name on disk: never change one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

tables! {
    /// The store's own: the CA's id and the revisions. Written by the store alone.
    Internal = "internal",
    /// Single facts about the CA: instance epoch, counters, names.
    Meta = "meta",
    /// Employees by email.
    Employees = "employees",
    /// Tombstones of accounts, emails, pools and uids: never handed to somebody else (P9).
    Accounts = "accounts",
    /// Pools by name.
    Pools = "pools",
    /// Teams by name.
    Teams = "teams",
    /// Machines by name, as policy and fleet describe them; what was last seen of them belongs in [`Table::Seen`].
    Machines = "machines",
    /// Grants by number.
    Grants = "grants",
    /// The limits of sessions and lifetimes.
    Limits = "limits",
    /// Password hashes, TOTP secrets (encrypted) and last used steps by email.
    Credentials = "credentials",
    /// Hashes of enrolment and recovery codes.
    Invitations = "invitations",
    /// Login attempts, counted before the password is looked at (A5).
    Attempts = "attempts",
    /// Day sessions.
    Sessions = "sessions",
    /// Certificates by serial (u64, big endian).
    Certificates = "certificates",
    /// Index: `email NUL serial`.
    CertificatesByEmployee = "certificates_by_employee",
    /// Revocations in force.
    Revocations = "revocations",
    /// Built KRLs.
    Krl = "krl",
    /// Generations and bundles.
    Fleet = "fleet",
    /// The lives of the CA's own keys, by purpose and number; and what a replacement is to do.
    Keys = "keys",
    /// Devices that employees logged in from (A9).
    Devices = "devices",
    /// Short sessions of admins.
    AdminSessions = "admin_sessions",
    /// What was last seen of machines and the like: a cache that may be lost, so no ledger entry is owed for it.
    Seen = "seen",
    /// What the last check-up found, by machine: like [`Table::Seen`].
    Checks = "checks",
    /// The ledger by sequence number (u64, big endian). Written through [`super::Txn::record`] alone.
    Ledger = "ledger",
}

impl Table {
    /// How many tables there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The table's place in arrays of [`Self::COUNT`].
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// The group whose revision rises when this table is written.
    #[must_use]
    pub const fn group(self) -> Option<TableGroup> {
        match self {
            Self::Employees
            | Self::Pools
            | Self::Teams
            | Self::Machines
            | Self::Grants
            | Self::Limits => Some(TableGroup::Policy),
            Self::Revocations | Self::Krl => Some(TableGroup::Revocation),
            Self::Fleet => Some(TableGroup::Fleet),
            Self::Keys => Some(TableGroup::Keys),
            Self::Internal
            | Self::Meta
            | Self::Accounts
            | Self::Credentials
            | Self::Invitations
            | Self::Attempts
            | Self::Sessions
            | Self::Certificates
            | Self::CertificatesByEmployee
            | Self::Devices
            | Self::AdminSessions
            | Self::Seen
            | Self::Checks
            | Self::Ledger => None,
        }
    }

    /// Whether losing the last writes to this table would lose nothing that anybody decided.
    #[must_use]
    pub const fn is_cache(self) -> bool {
        matches!(self, Self::Seen | Self::Checks)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tables from which one thing is built that is worth keeping in memory; see [`super::Cached`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableGroup {
    /// Employees, pools, teams, machines, grants, limits.
    Policy,
    /// Revocations and KRLs.
    Revocation,
    /// Generations, bundles.
    Fleet,
    /// The lives of the CA's own keys.
    Keys,
}

impl TableGroup {
    pub(crate) const fn key(self) -> &'static [u8] {
        match self {
            Self::Policy => b"revision/policy",
            Self::Revocation => b"revision/revocation",
            Self::Fleet => b"revision/fleet",
            Self::Keys => b"revision/keys",
        }
    }
}

/// The content of a table group: equal revisions mean equal content, and nothing else follows from the number.
///
/// A revision is drawn anew at every write and never used again, also not by a change that failed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Revision(pub(crate) u64);
