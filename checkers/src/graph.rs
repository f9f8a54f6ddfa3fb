//! A directed graph, its strongly connected components (Tarjan's, without recursion) and a short cycle of one.

use std::collections::VecDeque;

/// An edge, and the caller's own number of what it stands for.
pub(crate) type Edge = (u32, u32, u32);

pub(crate) struct Graph {
    /// Where each vertex's edges begin; one more at the end.
    first: Vec<u32>,
    /// (to, what).
    edges: Vec<(u32, u32)>,
}

impl Graph {
    /// Vertices are `0..vertices`; edges that lead elsewhere are left out.
    pub(crate) fn new(vertices: u32, mut edges: Vec<Edge>) -> Self {
        edges.retain(|(from, to, _)| *from < vertices && *to < vertices && from != to);
        edges.sort_unstable();
        edges.dedup_by_key(|(from, to, _)| (*from, *to));
        let mut first = vec![0_u32; vertices as usize + 1];
        for (from, ..) in &edges {
            first[*from as usize + 1] += 1;
        }
        for at in 1..first.len() {
            first[at] += first[at - 1];
        }
        Self { first, edges: edges.into_iter().map(|(_, to, what)| (to, what)).collect() }
    }

    fn of(&self, vertex: u32) -> &[(u32, u32)] {
        &self.edges[self.first[vertex as usize] as usize..self.first[vertex as usize + 1] as usize]
    }

    /// Components of two vertices or more, each sorted, in the order of their first vertex.
    pub(crate) fn components(&self) -> Vec<Vec<u32>> {
        const NEW: u32 = u32::MAX;
        let vertices = self.first.len() - 1;
        let (mut number, mut low, mut on_stack) = (vec![NEW; vertices], vec![0_u32; vertices], vec![false; vertices]);
        let (mut stack, mut calls, mut next) = (Vec::new(), Vec::new(), 0_u32);
        let mut components = Vec::new();
        for root in 0..vertices as u32 {
            if number[root as usize] == NEW {
                calls.push((root, 0_usize));
            }
            while let Some((vertex, taken)) = calls.pop() {
                let at = vertex as usize;
                if taken == 0 {
                    (number[at], low[at], on_stack[at]) = (next, next, true);
                    next += 1;
                    stack.push(vertex);
                } else {
                    let child = self.of(vertex)[taken - 1].0 as usize;
                    if on_stack[child] {
                        low[at] = low[at].min(low[child]);
                    }
                }
                if let Some((child, _)) = self.of(vertex).get(taken) {
                    calls.push((vertex, taken + 1));
                    if number[*child as usize] == NEW {
                        calls.push((*child, 0));
                    }
                    continue;
                }
                if low[at] == number[at] {
                    let from = stack.iter().rposition(|member| *member == vertex).unwrap_or(0);
                    let mut component = stack.split_off(from);
                    component.iter().for_each(|member| on_stack[*member as usize] = false);
                    if component.len() > 1 {
                        component.sort_unstable();
                        components.push(component);
                    }
                }
            }
        }
        components.sort_unstable();
        components
    }

    /// The shortest way from one vertex to another inside a (sorted) component: what its edges stand for.
    pub(crate) fn way(&self, component: &[u32], from: u32, to: u32) -> Option<Vec<u32>> {
        let place = |vertex: u32| component.binary_search(&vertex).ok();
        let mut came: Vec<Option<(u32, u32)>> = vec![None; component.len()];
        let mut queue = VecDeque::from([from]);
        while let Some(vertex) = queue.pop_front() {
            for (next, what) in self.of(vertex) {
                let Some(at) = place(*next).filter(|at| came[*at].is_none()) else { continue };
                came[at] = Some((vertex, *what));
                if *next != to {
                    queue.push_back(*next);
                    continue;
                }
                let (mut way, mut here) = (Vec::new(), to);
                while way.is_empty() || here != from {
                    let (before, what) = came[place(here)?]?;
                    way.push(what);
                    here = before;
                }
                way.reverse();
                return Some(way);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_those_of_mutual_reach_and_ways_are_shortest() {
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 4), (1, 0), (6, 6), (9, 1)];
        let graph = Graph::new(7, (0..).zip(edges).map(|(what, (from, to))| (from, to, what)).collect());
        assert_eq!(graph.components(), [vec![0, 1, 2], vec![4, 5]]);
        assert_eq!(graph.way(&[0, 1, 2], 0, 0), Some(vec![0, 7]));
        assert_eq!(graph.way(&[0, 1, 2], 2, 1), Some(vec![2, 0]));
        assert_eq!(graph.way(&[0, 1, 2], 0, 3), None);
    }

    #[test]
    fn they_agree_with_reachability_in_small_random_graphs() {
        let mut seed = 1_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % below) as u32
        };
        for _ in 0..500 {
            let edges: Vec<Edge> = (0..random(14)).map(|what| (random(7), random(7), what)).collect();
            let graph = Graph::new(7, edges);
            let all: Vec<u32> = (0..7).collect();
            let found = graph.components();
            for vertex in 0..7 {
                let in_cycle = graph.way(&all, vertex, vertex).is_some();
                assert_eq!(in_cycle, found.iter().any(|component| component.contains(&vertex)));
            }
            for component in found {
                assert!(component.iter().all(|other| graph.way(&component, component[0], *other).is_some()));
            }
        }
    }
}
