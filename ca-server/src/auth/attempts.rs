//! The budget of login attempts (A5, A9): each attempt is counted, durably, before the password is looked at.
//!
//! An attempt is reserved as if it had failed; success gives the reservation back in the transaction that records it.
//! So neither a crash nor parallel requests win a guess. Lock-out is temporary: one second, doubling to fifteen minutes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest lock-out, in milliseconds.
const LONGEST_MS: i64 = 15 * 60 * 1000;

/// Failures of strangers to one account, over all networks, before they are slowed down together: a person's own
/// network is slowed after one, but a botnet must not get a fresh budget from each address.
const STRANGERS_FREE: u32 = 20;

/// One counter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Attempts since the last success.
    pub failures: u32,
    /// Nothing is looked at before this time (Unix, milliseconds).
    pub blocked_until_ms: i64,
    /// When the last attempt was (Unix, milliseconds).
    pub last_ms: i64,
}

/// What a reservation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// The attempt may go on.
    Reserved,
    /// Not now. The caller is told nothing but a refusal (A4).
    Blocked,
}

impl Counter {
    /// Counts an attempt at `now_ms`; the first `free` failures do not block.
    #[must_use]
    pub fn reserve(mut self, now_ms: i64, free: u32) -> (Self, Reservation) {
        // No block is longer than the longest: one that seems so was set by a clock that has stepped back since, and would
        // otherwise last until the clock is there again.
        let stepped_back = self.blocked_until_ms.saturating_sub(now_ms) > LONGEST_MS;
        if now_ms < self.blocked_until_ms && !stepped_back {
            return (self, Reservation::Blocked);
        }
        // A day without an attempt forgets the history.
        if now_ms.saturating_sub(self.last_ms) > 24 * 3600 * 1000 {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last_ms = now_ms;
        let over = self.failures.saturating_sub(free);
        self.blocked_until_ms = if over == 0 {
            now_ms
        } else {
            now_ms.saturating_add(
                1000_i64
                    .saturating_mul(1 << (over - 1).min(20))
                    .min(LONGEST_MS),
            )
        };
        (self, Reservation::Reserved)
    }
}

/// What is known of whoever attempts, before their password is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// They hold the token of a device from which the employee logged in before; by its id.
    Device(String),
    /// They come from a network from which the employee logged in before.
    Network,
    /// Nothing.
    Stranger,
}

/// The counters that one attempt goes through: key in the store, and how many failures are free.
///
/// A known device has a counter of its own, so that no stranger can lock it out (A9). A known network has one too, so that
/// doors without a device's token (an admin's, a changed password) stay open to their owner while a botnet guesses
/// elsewhere. Strangers go through one for the account and their network, and one for the account from everywhere.
#[must_use]
pub fn buckets(email: &str, from: IpAddr, standing: &Standing) -> Vec<(String, u32)> {
    let net = || (format!("{email}\0net\0{}", network(from)), 0);
    match standing {
        Standing::Device(device) => vec![(format!("{email}\0device\0{device}"), 0)],
        Standing::Network => vec![net()],
        Standing::Stranger => vec![net(), (format!("{email}\0strangers"), STRANGERS_FREE)],
    }
}

/// The network that shares a budget: /24 of IPv4, /64 of IPv6.
#[must_use]
pub fn network(from: IpAddr) -> String {
    match from.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a9_lockout_doubles_from_one_second_to_fifteen_minutes_and_ends() {
        let mut counter = Counter::default();
        let mut now = 1_800_000_000_000;
        let mut waits = Vec::new();
        for _ in 0..15 {
            let (next, verdict) = counter.reserve(now, 0);
            assert_eq!(verdict, Reservation::Reserved);
            assert_eq!(
                next.reserve(next.blocked_until_ms - 1, 0).1,
                Reservation::Blocked
            );
            waits.push((next.blocked_until_ms - now) / 1000);
            now = next.blocked_until_ms;
            counter = next;
        }
        assert_eq!(&waits[..4], &[1, 2, 4, 8]);
        assert_eq!(waits.last(), Some(&900));
    }

    #[test]
    fn a5_a_blocked_attempt_is_not_counted_again_and_parallel_ones_see_the_first() {
        let (counter, first) = Counter::default().reserve(1000, 0);
        assert_eq!(first, Reservation::Reserved);
        let (after, second) = counter.reserve(1001, 0);
        assert_eq!((after, second), (counter, Reservation::Blocked));
    }

    #[test]
    fn a9_a_clock_that_stepped_back_locks_nobody_out_for_long() {
        let (counter, _) = Counter::default().reserve(2_000_000_000_000, 0);
        // A year ahead, then right again: a block of one second does not last a year.
        let right = 1_970_000_000_000;
        let (counter, verdict) = counter.reserve(right, 0);
        assert_eq!(verdict, Reservation::Reserved);
        // And it buys one attempt, not many: the next block counts by the right clock.
        assert_eq!(counter.failures, 2);
        assert_eq!(counter.reserve(right + 1, 0).1, Reservation::Blocked);
        assert_eq!(counter.reserve(right + 2000, 0).1, Reservation::Reserved);
    }

    #[test]
    fn a9_a_known_device_shares_no_counter_with_strangers() {
        let home: IpAddr = "10.0.0.7".parse().unwrap();
        let known = buckets("a@b", home, &Standing::Device("d1".to_owned()));
        let stranger = buckets("a@b", home, &Standing::Stranger);
        assert!(
            known
                .iter()
                .all(|(key, _)| stranger.iter().all(|(other, _)| key != other))
        );
    }

    #[test]
    fn a9_a_known_network_shares_no_counter_with_strangers_elsewhere() {
        let (home, abroad): (IpAddr, IpAddr) =
            ("10.0.0.7".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let known = buckets("a@b", home, &Standing::Network);
        let stranger = buckets("a@b", abroad, &Standing::Stranger);
        assert!(
            known
                .iter()
                .all(|(key, _)| stranger.iter().all(|(other, _)| key != other))
        );
    }

    #[test]
    fn one_network_shares_a_budget() {
        let net = |text: &str| network(text.parse().unwrap());
        assert_eq!(net("192.0.2.1"), net("192.0.2.200"));
        assert_eq!(net("::ffff:192.0.2.1"), net("192.0.2.200"));
        assert_ne!(net("192.0.2.1"), net("192.0.3.1"));
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
    }
}
