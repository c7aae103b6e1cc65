//! Keeps strangers from filling the disk: refusals are in the ledger one by one, until a network has too many; then they are summed.
//!
//! Nothing is let in because of it, and nobody who is refused hears another answer (A4): only the number of durable writes that
//! somebody without a name can cause is bounded.

use std::{collections::HashMap, net::IpAddr, sync::Mutex};

use super::attempts::network;

/// Refusals that a network may have one by one before they are summed.
const BURST: f64 = 300.0;

/// How many more each second.
const REFILL_PER_SEC: f64 = 1.0;

/// Networks that are remembered; beyond, all further ones share one count.
const NETWORKS: usize = 65_536;

/// What happens to the ledger entry of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It is written.
    Own,
    /// It is counted, and written with others once a minute.
    Summed,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at_ms: i64,
    summed: u64,
}

impl Bucket {
    fn refill(&mut self, now_ms: i64) {
        let secs = (now_ms.saturating_sub(self.at_ms).clamp(0, 3_600_000) as f64) / 1000.0;
        self.tokens = (self.tokens + secs * REFILL_PER_SEC).min(BURST);
        self.at_ms = now_ms;
    }
}

/// Refusals by network, since the start of the process.
#[derive(Default)]
pub struct Floods(Mutex<HashMap<String, Bucket>>);

impl Floods {
    /// A refusal for somebody at `from`: may it have an entry of its own?
    pub fn spend(&self, from: IpAddr, now_ms: i64) -> Entry {
        self.with(from, now_ms, |bucket| {
            if bucket.tokens >= 1.0 {
                bucket.tokens -= 1.0;
                Entry::Own
            } else {
                bucket.summed += 1;
                Entry::Summed
            }
        })
    }

    /// Has this network used up its refusals? Then a stranger's attempt is not even looked at.
    pub fn is_flooding(&self, from: IpAddr, now_ms: i64) -> bool {
        self.with(from, now_ms, |bucket| bucket.tokens < 1.0)
    }

    /// What was summed since the last call, by network.
    pub fn drain(&self) -> Vec<(String, u64)> {
        let mut held = self.0.lock().expect("nobody panics while counting");
        let summed = held
            .iter_mut()
            .filter(|(_, bucket)| bucket.summed > 0)
            .map(|(network, bucket)| (network.clone(), std::mem::take(&mut bucket.summed)))
            .collect();
        // A network that behaves is forgotten.
        held.retain(|_, bucket| bucket.tokens < BURST - 1.0);
        summed
    }

    fn with<T>(&self, from: IpAddr, now_ms: i64, look: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut held = self.0.lock().expect("nobody panics while counting");
        let mut key = network(from);
        if held.len() >= NETWORKS && !held.contains_key(&key) {
            key = "elsewhere".to_owned();
        }
        let bucket = held.entry(key).or_insert(Bucket {
            tokens: BURST,
            at_ms: now_ms,
            summed: 0,
        });
        bucket.refill(now_ms);
        look(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w2_a_flood_of_refusals_is_summed_and_no_other_network_suffers() {
        let floods = Floods::default();
        let (bad, good): (IpAddr, IpAddr) = (
            "192.0.2.1".parse().unwrap(),
            "198.51.100.1".parse().unwrap(),
        );
        let own = (0..1000)
            .filter(|_| floods.spend(bad, 1_000) == Entry::Own)
            .count();
        assert_eq!(own, 300);
        assert!(floods.is_flooding(bad, 1_000));
        assert!(!floods.is_flooding(good, 1_000));
        assert_eq!(floods.spend(good, 1_000), Entry::Own);
        assert_eq!(floods.drain(), vec![("192.0.2.0/24".to_owned(), 700)]);
        assert!(floods.drain().is_empty());
        // It ends by itself, also after the clock stepped back.
        assert!(!floods.is_flooding(bad, 3_000));
        assert_eq!(floods.spend(bad, 0), Entry::Own);
    }
}
