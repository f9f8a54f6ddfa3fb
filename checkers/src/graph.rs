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

    /// The shortest way from one vertex to another inside a (sorted) component: what its edges stand for. Edges that are free count nothing.
    pub(crate) fn way(&self, component: &[u32], from: u32, to: u32, is_free: impl Fn(u32) -> bool) -> Option<Vec<u32>> {
        let place = |vertex: u32| component.binary_search(&vertex).ok();
        // How far each vertex is, and the edge that came there.
        let mut came: Vec<Option<(u32, u32, u32)>> = vec![None; component.len()];
        let mut arrived: Option<(u32, u32, u32)> = None;
        let mut queue = VecDeque::from([(0, from)]);
        while let Some((length, vertex)) = queue.pop_front() {
            if arrived.is_some_and(|(shortest, ..)| shortest <= length) {
                break;
            }
            let overtaken = vertex != from && came[place(vertex)?].is_some_and(|(known, ..)| known < length);
            for (next, what) in self.of(vertex).iter().filter(|_| !overtaken) {
                let Some(at) = place(*next) else { continue };
                let free = is_free(*what);
                let length = length + u32::from(!free);
                let known = if *next == to { &mut arrived } else { &mut came[at] };
                if *next == from && from != to || known.is_some_and(|(known, ..)| known <= length) {
                    continue;
                }
                *known = Some((length, vertex, *what));
                match (*next == to, free) {
                    (true, _) => {}
                    (false, true) => queue.push_front((length, *next)),
                    (false, false) => queue.push_back((length, *next)),
                }
            }
        }
        let (_, mut here, what) = arrived?;
        let mut way = vec![what];
        while here != from {
            let (_, before, what) = came[place(here)?]?;
            way.push(what);
            here = before;
        }
        way.reverse();
        Some(way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_those_of_mutual_reach_and_ways_are_shortest() {
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 4), (1, 0), (6, 6), (9, 1)];
        let no = |_| false;
        let graph = Graph::new(7, (0..).zip(edges).map(|(what, (from, to))| (from, to, what)).collect());
        assert_eq!(graph.components(), [vec![0, 1, 2], vec![4, 5]]);
        assert_eq!(graph.way(&[0, 1, 2], 0, 0, no), Some(vec![0, 7]));
        assert_eq!(graph.way(&[0, 1, 2], 2, 1, no), Some(vec![2, 0]));
        assert_eq!(graph.way(&[0, 1, 2], 0, 3, no), None);
    }

    #[test]
    fn what_is_free_makes_no_way_longer() {
        let edges = [(0, 1, 10), (1, 2, 11), (2, 3, 12), (0, 4, 20), (4, 3, 21), (3, 0, 30)];
        let graph = Graph::new(5, edges.to_vec());
        let all = [0, 1, 2, 3, 4];
        assert_eq!(graph.way(&all, 0, 3, |_| false), Some(vec![20, 21]));
        assert_eq!(graph.way(&all, 0, 3, |what| what == 11 || what == 12), Some(vec![10, 11, 12]));
        assert_eq!(graph.way(&all, 0, 0, |what| what < 20), Some(vec![10, 11, 12, 30]));
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
                let in_cycle = graph.way(&all, vertex, vertex, |what| what % 3 == 0).is_some();
                assert_eq!(in_cycle, found.iter().any(|component| component.contains(&vertex)));
            }
            for component in found {
                assert!(component.iter().all(|other| graph.way(&component, component[0], *other, |_| false).is_some()));
            }
        }
    }

    #[test]
    fn components_are_those_that_petgraph_finds() {
        let mut seed = 5_u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 33) % below) as u32
        };
        for round in 0..1000 {
            let vertices = 1 + random(40);
            let edges: Vec<Edge> =
                (0..random(u64::from(vertices) * 3)).map(|_| (random(vertices.into()), random(vertices.into()), round)).collect();
            let mut theirs = petgraph::graph::DiGraph::<(), ()>::new();
            let nodes: Vec<_> = (0..vertices).map(|_| theirs.add_node(())).collect();
            for (from, to, _) in &edges {
                theirs.add_edge(nodes[*from as usize], nodes[*to as usize], ());
            }
            let components = petgraph::algo::tarjan_scc(&theirs).into_iter().filter(|component| component.len() > 1);
            let mut expected: Vec<Vec<u32>> =
                components.map(|component| component.iter().map(|node| node.index() as u32).collect()).collect();
            expected.iter_mut().for_each(|component| component.sort_unstable());
            expected.sort_unstable();
            assert_eq!(Graph::new(vertices, edges).components(), expected);
        }
    }
}
