//! A door that is shut for a moment: sshd closes its listener while it reads its configuration again.

use std::time::Duration;

use super::OpenError;

/// Between tries, one after the other: about four seconds in all.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(150),
    Duration::from_millis(350),
    Duration::from_millis(700),
    Duration::from_millis(1200),
    Duration::from_millis(1600),
];

/// What is left of the patience with one machine.
pub(super) struct Patience {
    left: std::array::IntoIter<Duration, 5>,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            left: PAUSES.into_iter(),
        }
    }

    /// Waits a little, longer each time; false once it is enough.
    pub(super) async fn another_try(&mut self) -> bool {
        match self.left.next() {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                true
            }
            None => false,
        }
    }
}

impl OpenError {
    /// Whether nobody listened, or the line was closed before anything was said, as while sshd reads its configuration again or has too many
    /// logins at once: another try in a moment may well succeed, and nothing was sent yet.
    #[must_use]
    pub fn is_momentary(&self) -> bool {
        // The client's own words: OpenSSH has no other language.
        matches!(self, Self::Unreachable { detail, .. }
            if detail.contains("Connection refused") || detail.contains("kex_exchange_identification"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_only_a_shut_door_is_tried_again() {
        let unreachable = |detail: &str| OpenError::Unreachable {
            address: "10.77.1.1".to_owned(),
            detail: detail.to_owned(),
        };
        for momentary in [
            "ssh: connect to host 10.77.1.1 port 22: Connection refused",
            "kex_exchange_identification: read: Connection reset by peer Connection reset by 10.77.1.1 port 22",
            "kex_exchange_identification: Connection closed by remote host Connection closed by 10.77.1.1 port 22",
        ] {
            assert!(unreachable(momentary).is_momentary(), "{momentary}");
        }
        for lasting in [
            "ssh: connect to host 10.77.1.1 port 22: No route to host",
            "ssh: connect to host 10.77.1.1 port 22: Connection timed out",
            "Connection closed by 10.77.1.1 port 22",
            "",
        ] {
            assert!(!unreachable(lasting).is_momentary(), "{lasting}");
        }
        let refused = OpenError::Refused {
            address: "10.77.1.1".to_owned(),
            user: "ssh-ca-sync".to_owned(),
            detail: "Permission denied (publickey).".to_owned(),
        };
        assert!(!refused.is_momentary());
        assert!(PAUSES.iter().sum::<Duration>() < Duration::from_secs(5));
    }
}
