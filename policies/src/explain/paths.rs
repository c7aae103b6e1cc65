//! Ways up through nested teams or pools: the shortest that counts, and the circle where only one that does not count is there.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    graph::{Graph, number},
    index::{find, numbers},
};

/// Who contains whom, upwards.
pub(super) struct Ways<N> {
    names: Vec<N>,
    /// For each node those that contain it, with whether the containment counts.
    above: Vec<Vec<(u32, Counts)>>,
    circles: Vec<Vec<u32>>,
}

/// Whether a containment counts: one on a circle does not (see `Graph::without_cycles`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Yes,
    No,
}

/// How something gets to a node above it.
pub(super) enum Way<N> {
    /// Over these, from the one that it is in itself to the one asked about.
    Counts(Vec<N>),
    /// Only over a circle, which is this.
    Circle(Vec<N>),
    /// Not at all.
    None,
}

impl<N: Ord + Clone> Ways<N> {
    /// `contains` gives for each name, sorted, what it contains itself; unknown names are left out.
    pub(super) fn of<'n>(contains: impl Iterator<Item = (&'n N, &'n BTreeSet<N>)>) -> Self
    where
        N: 'n,
    {
        let (names, sets): (Vec<N>, Vec<&BTreeSet<N>>) = contains
            .map(|(name, inner)| (name.clone(), inner))
            .collect();
        let edges: Vec<Vec<u32>> = sets.iter().map(|inner| numbers(&names, inner)).collect();
        let written = Graph::new(edges.clone());
        let below = written.closure();
        let mut above = vec![Vec::new(); names.len()];
        for (outer, inner) in edges.iter().enumerate() {
            let outer = number(outer);
            for &inner in inner {
                let back = below[inner as usize].binary_search(&outer).is_ok();
                let counts = if back { Counts::No } else { Counts::Yes };
                above[inner as usize].push((outer, counts));
            }
        }
        Self {
            names,
            above,
            circles: written.cycles(),
        }
    }

    /// The shortest way from any of `from` to `to`.
    pub(super) fn way<'n>(&self, from: impl Iterator<Item = &'n N> + Clone, to: &N) -> Way<N>
    where
        N: 'n,
    {
        let Some(to) = find(&self.names, to) else {
            return Way::None;
        };
        let from: Vec<u32> = from.filter_map(|name| find(&self.names, name)).collect();
        if let Some(path) = self.shortest(&from, to, &|counts| counts == Counts::Yes) {
            return Way::Counts(self.named(&path));
        }
        let Some(path) = self.shortest(&from, to, &|_| true) else {
            return Way::None;
        };
        let circle = self
            .circles
            .iter()
            .find(|circle| path.iter().filter(|node| circle.contains(node)).count() > 1)
            .or_else(|| {
                let touches = |circle: &&Vec<u32>| path.iter().any(|node| circle.contains(node));
                self.circles.iter().find(touches)
            });
        let circle = circle.map_or(path.clone(), |circle| {
            circle.iter().chain(circle.first()).copied().collect()
        });
        Way::Circle(self.named(&circle))
    }

    /// Everything above `from`, itself too, as far as it counts.
    pub(super) fn all_above<'n>(&self, from: impl Iterator<Item = &'n N>) -> BTreeSet<N>
    where
        N: 'n,
    {
        let mut seen: BTreeSet<u32> = from.filter_map(|name| find(&self.names, name)).collect();
        let mut queue: Vec<u32> = seen.iter().copied().collect();
        while let Some(node) = queue.pop() {
            for &(outer, counts) in &self.above[node as usize] {
                if counts == Counts::Yes && seen.insert(outer) {
                    queue.push(outer);
                }
            }
        }
        seen.into_iter()
            .map(|node| self.names[node as usize].clone())
            .collect()
    }

    fn shortest(&self, from: &[u32], to: u32, may: &dyn Fn(Counts) -> bool) -> Option<Vec<u32>> {
        let mut came_from: Vec<Option<u32>> = vec![None; self.names.len()];
        let mut seen = vec![false; self.names.len()];
        let mut queue: VecDeque<u32> = VecDeque::new();
        for &start in from {
            if !seen[start as usize] {
                seen[start as usize] = true;
                queue.push_back(start);
            }
        }
        while let Some(node) = queue.pop_front() {
            if node == to {
                let mut path = vec![node];
                let mut at = node;
                while let Some(before) = came_from[at as usize] {
                    path.push(before);
                    at = before;
                }
                path.reverse();
                return Some(path);
            }
            for &(outer, counts) in &self.above[node as usize] {
                if may(counts) && !seen[outer as usize] {
                    seen[outer as usize] = true;
                    came_from[outer as usize] = Some(node);
                    queue.push_back(outer);
                }
            }
        }
        None
    }

    fn named(&self, path: &[u32]) -> Vec<N> {
        path.iter()
            .map(|&node| self.names[node as usize].clone())
            .collect()
    }
}
