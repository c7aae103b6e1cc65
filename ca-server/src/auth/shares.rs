//! Places that strangers compete for, shared out so that one network never takes them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// How many of the places one network may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// This many.
    AtMost(usize),
    /// As many as are still free: one network gets half, two get a third each, and there is always room for another (dynamic
    /// thresholds of Choudhury and Hahne, 1998).
    AsManyAsAreFree,
}

/// A bounded number of places.
#[derive(Debug)]
pub struct Shares {
    capacity: usize,
    share: Share,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_network: HashMap<String, usize>,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    shares: Arc<Shares>,
    network: String,
}

impl Shares {
    /// `capacity` places.
    #[must_use]
    pub fn new(capacity: usize, share: Share) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            share,
            held: Mutex::default(),
        })
    }

    /// A place for somebody from `network`, unless none is free or the network has its share.
    pub fn enter(self: &Arc<Self>, network: String) -> Option<Place> {
        let mut held = self.held.lock().expect("nobody panics while counting");
        let free = self.capacity.saturating_sub(held.all);
        let most = match self.share {
            Share::AtMost(most) => most.min(self.capacity),
            Share::AsManyAsAreFree => free,
        };
        let own = held.by_network.get(&network).copied().unwrap_or(0);
        if free == 0 || own >= most {
            return None;
        }
        held.all += 1;
        held.by_network.insert(network.clone(), own + 1);
        Some(Place {
            shares: Arc::clone(self),
            network,
        })
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        let held = self.held.lock().expect("nobody panics while counting");
        self.capacity - held.all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self
            .shares
            .held
            .lock()
            .expect("nobody panics while counting");
        held.all -= 1;
        if let Some(own) = held.by_network.get_mut(&self.network) {
            *own -= 1;
            if *own == 0 {
                held.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(shares: &Arc<Shares>, network: &str) -> Vec<Place> {
        std::iter::from_fn(|| shares.enter(network.to_owned())).collect()
    }

    #[test]
    fn a10_one_network_never_takes_every_place() {
        let shares = Shares::new(256, Share::AsManyAsAreFree);
        let first = fill(&shares, "192.0.2.0/24");
        assert_eq!(first.len(), 128);
        let second = fill(&shares, "198.51.100.0/24");
        assert_eq!(second.len(), 64);
        for stranger in 0..8 {
            assert!(shares.enter(format!("203.0.{stranger}.0/24")).is_some());
        }
        drop((first, second));
        assert_eq!(shares.free(), 256);
        assert!(shares.held.lock().unwrap().by_network.is_empty());
    }

    #[test]
    fn a10_many_networks_fill_what_there_is_and_no_more() {
        let shares = Shares::new(16, Share::AsManyAsAreFree);
        let all: Vec<_> = (0..100)
            .flat_map(|network| fill(&shares, &network.to_string()))
            .collect();
        assert_eq!((all.len(), shares.free()), (16, 0));
        assert!(shares.enter("another".to_owned()).is_none());
    }

    #[test]
    fn w2_a_fixed_share_is_kept() {
        let shares = Shares::new(10, Share::AtMost(3));
        let held = fill(&shares, "a");
        assert_eq!(held.len(), 3);
        assert_eq!(fill(&shares, "b").len(), 3);
        drop(held);
        assert_eq!(fill(&shares, "a").len(), 3);
    }
}
