//! The principals of one certificate: never none, never more than sshd reads (I1).

use std::collections::BTreeSet;

use crate::Principal;

/// The most principals that sshd accepts in one certificate (`SSHKEY_CERT_MAX_PRINCIPALS`).
pub const MAX_PRINCIPALS: usize = 256;

/// 1 to 256 principals.
///
/// An empty list means "any user" to many readers of certificates, so that such a value cannot be made (I1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principals(BTreeSet<Principal>);

/// A set of principals that no certificate may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalsError {
    /// None at all.
    #[error("a certificate needs at least one principal")]
    None,
    /// More than sshd reads.
    #[error(
        "{count} principals are more than the {MAX_PRINCIPALS} that sshd reads in one certificate"
    )]
    TooMany {
        /// How many there were.
        count: usize,
    },
}

impl Principals {
    /// The set, if a certificate may carry it.
    ///
    /// # Errors
    /// None, or more than [`MAX_PRINCIPALS`].
    pub fn new(set: BTreeSet<Principal>) -> Result<Self, PrincipalsError> {
        match set.len() {
            0 => Err(PrincipalsError::None),
            1..=MAX_PRINCIPALS => Ok(Self(set)),
            count => Err(PrincipalsError::TooMany { count }),
        }
    }

    /// The set cut into as few certificates' worth as possible, in order.
    pub(crate) fn split(set: BTreeSet<Principal>) -> Vec<Self> {
        let mut parts = Vec::with_capacity(set.len().div_ceil(MAX_PRINCIPALS));
        let mut part = BTreeSet::new();
        for principal in set {
            part.insert(principal);
            if part.len() == MAX_PRINCIPALS {
                parts.push(Self(std::mem::take(&mut part)));
            }
        }
        if !part.is_empty() {
            parts.push(Self(part));
        }
        parts
    }

    /// As a plain set.
    #[must_use]
    pub fn as_set(&self) -> &BTreeSet<Principal> {
        &self.0
    }

    /// One after the other, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Principal> {
        self.0.iter()
    }

    /// How many, 1 to 256.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether `principal` is one of them.
    #[must_use]
    pub fn contains(&self, principal: &Principal) -> bool {
        self.0.contains(principal)
    }
}

impl From<Principal> for Principals {
    fn from(principal: Principal) -> Self {
        Self(BTreeSet::from([principal]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn many(count: usize) -> BTreeSet<Principal> {
        (0..count)
            .map(|n| format!("alice@p{n}").parse().unwrap())
            .collect()
    }

    #[test]
    fn i1_one_to_256_and_nothing_else() {
        assert_eq!(Principals::new(many(0)), Err(PrincipalsError::None));
        assert_eq!(Principals::new(many(1)).unwrap().len(), 1);
        assert_eq!(Principals::new(many(256)).unwrap().len(), 256);
        assert_eq!(
            Principals::new(many(257)),
            Err(PrincipalsError::TooMany { count: 257 })
        );
    }

    #[test]
    fn i1_split_loses_none_and_makes_no_empty_part() {
        for count in [0, 1, 255, 256, 257, 512, 513] {
            let parts = Principals::split(many(count));
            assert_eq!(parts.len(), count.div_ceil(256));
            assert!(parts.iter().all(|part| (1..=256).contains(&part.len())));
            let again: BTreeSet<_> = parts.iter().flat_map(Principals::iter).cloned().collect();
            assert_eq!(again, many(count));
        }
    }
}
