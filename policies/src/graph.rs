//! Who includes whom: reachability and cycles in a graph of numbered nodes.

use std::collections::VecDeque;

/// Nodes `0..n`, each with the nodes it includes.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    edges: Vec<Vec<u32>>,
}

impl Graph {
    /// A graph from the list of what each node includes.
    pub(crate) fn new(mut edges: Vec<Vec<u32>>) -> Self {
        for list in &mut edges {
            list.sort_unstable();
            list.dedup();
        }
        Self { edges }
    }

    /// For each node: itself and everything below it, sorted.
    pub(crate) fn closure(&self) -> Vec<Vec<u32>> {
        let mut seen_by = vec![u32::MAX; self.edges.len()];
        (0..number(self.edges.len()))
            .map(|start| {
                let mut below = vec![start];
                seen_by[start as usize] = start;
                let mut next = 0;
                while next < below.len() {
                    for &to in &self.edges[below[next] as usize] {
                        if seen_by[to as usize] != start {
                            seen_by[to as usize] = start;
                            below.push(to);
                        }
                    }
                    next += 1;
                }
                below.sort_unstable();
                below
            })
            .collect()
    }

    /// The same graph without the edges that are part of a cycle.
    ///
    /// A cycle is an error which `check` reports. Until it is mended nothing is reached through it: whoever cut the cycle
    /// somewhere else would guess which inclusion was meant.
    pub(crate) fn without_cycles(&self) -> Self {
        let closure = self.closure();
        let edges = self
            .edges
            .iter()
            .enumerate()
            .map(|(from, list)| {
                list.iter()
                    .copied()
                    .filter(|&to| closure[to as usize].binary_search(&number(from)).is_err())
                    .collect()
            })
            .collect();
        Self { edges }
    }

    /// The same nodes with every edge turned round.
    pub(crate) fn reversed(&self) -> Self {
        let mut edges = vec![Vec::new(); self.edges.len()];
        for (from, list) in self.edges.iter().enumerate() {
            for &to in list {
                edges[to as usize].push(number(from));
            }
        }
        Self::new(edges)
    }

    /// Cycles, each as a path whose last node includes its first; every node that is on a cycle is on one of these.
    pub(crate) fn cycles(&self) -> Vec<Vec<u32>> {
        let mut told = vec![false; self.edges.len()];
        let mut cycles = Vec::new();
        for start in 0..number(self.edges.len()) {
            if told[start as usize] {
                continue;
            }
            if let Some(path) = self.way_back(start) {
                for &node in &path {
                    told[node as usize] = true;
                }
                cycles.push(path);
            }
        }
        cycles
    }

    /// The shortest path from `start` back to itself.
    fn way_back(&self, start: u32) -> Option<Vec<u32>> {
        let mut came_from = vec![None; self.edges.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &to in &self.edges[node as usize] {
                if to == start {
                    let mut path = vec![node];
                    let mut at = node;
                    while at != start {
                        at = came_from[at as usize]
                            .expect("every queued node but the start came from one");
                        path.push(at);
                    }
                    path.reverse();
                    return Some(path);
                }
                if came_from[to as usize].is_none() {
                    came_from[to as usize] = Some(node);
                    queue.push_back(to);
                }
            }
        }
        None
    }
}

/// A position as a node number.
pub(crate) fn number(position: usize) -> u32 {
    u32::try_from(position).expect("a policy has fewer than 2^32 names of a kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reaches_down_and_its_reverse_up() {
        let chain = Graph::new(vec![vec![1], vec![2], vec![]]);
        assert_eq!(chain.closure(), [vec![0, 1, 2], vec![1, 2], vec![2]]);
        assert_eq!(
            chain.reversed().closure(),
            [vec![0], vec![0, 1], vec![0, 1, 2]]
        );
        assert!(chain.cycles().is_empty());
    }

    #[test]
    fn a_cycle_is_shown_and_cut_whole_but_its_neighbours_stay() {
        // 0 -> 1 -> 2 -> 1, 2 -> 3, 4 -> 4
        let graph = Graph::new(vec![vec![1], vec![2], vec![1, 3], vec![], vec![4]]);
        assert_eq!(graph.cycles(), [vec![1, 2], vec![4]]);
        assert_eq!(
            graph.without_cycles().closure(),
            [vec![0, 1], vec![1], vec![2, 3], vec![3], vec![4]]
        );
    }

    #[test]
    fn a_diamond_is_no_cycle() {
        let graph = Graph::new(vec![vec![1, 2], vec![3], vec![3], vec![]]);
        assert!(graph.cycles().is_empty());
        assert_eq!(graph.closure()[0], [0, 1, 2, 3]);
    }
}
