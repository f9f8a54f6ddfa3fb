//! Transactions that may be part of cycles, as graphs: which tangles there are, of what name, and a shortest cycle of each in words.

use kchaos_core::{Evidence, Example};

use crate::graph::{Edge, Graph};
use crate::log::OpRef;
use crate::rule::{Findings, MAX_LISTED, cite, example};
use crate::txns::TxnId;

use super::{Dependency, Place};

/// Edges of a component from which the shortest cycle is looked for.
const MAX_STARTS: usize = 64;

pub(super) struct Window {
    /// By transaction. Their places in here are the vertices; barriers have the numbers after them.
    places: Vec<Place>,
    edges: Vec<Edge>,
    /// What the edges stand for, by their number.
    steps: Vec<Step>,
    vertices: u32,
}

#[derive(Clone, Copy)]
enum Step {
    Depends(Dependency),
    /// One process did one after the other.
    Process,
    /// From an ok transaction to the barrier after its end, and from barrier to barrier.
    Waits,
    /// From the last barrier before its invocation to a transaction.
    Begins,
}

/// Which edges of time a tangle needs. Each level has the edges of those before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Plain,
    Process,
    Realtime,
}

const LEVELS: [Level; 3] = [Level::Plain, Level::Process, Level::Realtime];

/// Which dependencies a tangle is made of, and what it is called at each level.
struct Family {
    names: [&'static str; 3],
    reads: bool,
    writes: bool,
}

const BY_READS: Family = Family { names: ["G1c", "G1c-process", "G1c-realtime"], reads: true, writes: false };
const BY_WRITES: Family = Family { names: ["G0", "G0-process", "G0-realtime"], reads: false, writes: true };
const BY_BOTH: Family = Family { names: ["G1c/with-ww", "G1c-process/with-ww", "G1c-realtime/with-ww"], reads: true, writes: true };

const NONE: u32 = u32::MAX;

/// The component of each vertex, or `NONE`.
fn component_of(vertices: u32, components: &[Vec<u32>]) -> Vec<u32> {
    let mut of = vec![NONE; vertices as usize];
    for (number, component) in (0..).zip(components) {
        component.iter().for_each(|vertex| of[*vertex as usize] = number);
    }
    of
}

impl Window {
    /// `places`: of all that depend on each other, by transaction.
    pub(super) fn new(places: &[Place], dependencies: &[Dependency]) -> Self {
        let vertices = u32::try_from(places.len()).unwrap_or(u32::MAX);
        let mut window = Self { places: places.to_vec(), edges: Vec::new(), steps: Vec::new(), vertices };
        for dependency in dependencies {
            let (from, to) = (window.vertex(dependency.from), window.vertex(dependency.to));
            window.add(from, to, Step::Depends(*dependency));
        }
        window.add_processes();
        window.add_time();
        window
    }

    fn vertex(&self, txn: TxnId) -> u32 {
        self.places.binary_search_by_key(&txn, |place| place.txn).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
    }

    fn add(&mut self, from: u32, to: u32, step: Step) {
        self.edges.push((from, to, u32::try_from(self.steps.len()).unwrap_or(u32::MAX)));
        self.steps.push(step);
    }

    fn add_processes(&mut self) {
        let start = |place: &Place| place.invoked.get().or(place.completed.get());
        let mut order: Vec<(u32, u64, u32)> =
            (0..).zip(&self.places).filter_map(|(vertex, place)| Some((place.process?, start(place)?, vertex))).collect();
        order.sort_unstable();
        let mut last: Option<(u32, u32)> = None;
        for (process, start, vertex) in order {
            if let Some((_, before)) = last.filter(|(of, _)| *of == process)
                && self.places[before as usize].completed.get().is_some_and(|ended| ended < start)
            {
                self.add(before, vertex, Step::Process);
            }
            if self.places[vertex as usize].ok {
                last = Some((process, vertex));
            }
        }
    }

    /// All that ended since the last barrier lead to a new one, as that one does; it leads to what begins before the next. So there are no
    /// more edges than ends and beginnings, and the way through barriers exists exactly for pairs of which one ended before the other began.
    fn add_time(&mut self) {
        let mut events: Vec<(u64, bool, u32)> = Vec::new();
        for (vertex, place) in (0..).zip(&self.places) {
            events.extend(place.completed.get().filter(|_| place.ok).map(|at| (at, false, vertex)));
            events.extend(place.invoked.get().map(|at| (at, true, vertex)));
        }
        events.sort_unstable();
        let (mut barrier, mut ended): (Option<u32>, Vec<u32>) = (None, Vec::new());
        for (_, begins, vertex) in events {
            if !begins {
                ended.push(vertex);
                continue;
            }
            if !ended.is_empty() {
                let next = self.vertices;
                self.vertices = self.vertices.saturating_add(1);
                for before in ended.drain(..).chain(barrier) {
                    self.add(before, next, Step::Waits);
                }
                barrier = Some(next);
            }
            if let Some(barrier) = barrier {
                self.add(barrier, vertex, Step::Begins);
            }
        }
    }

    /// The dependencies of each component, of whatever edges: what is tied at any level is tied inside one of these, and most are small.
    pub(super) fn tangled(&self) -> Vec<Vec<Dependency>> {
        let components = Graph::new(self.vertices, self.edges.clone()).components();
        let mut tangled = vec![Vec::new(); components.len()];
        if components.is_empty() {
            return tangled;
        }
        let of = component_of(self.vertices, &components);
        for (from, to, what) in &self.edges {
            let (from, to) = (of[*from as usize], of[*to as usize]);
            if let Some(Step::Depends(dependency)) = self.step(*what).filter(|_| from == to && from != NONE) {
                tangled[from as usize].push(*dependency);
            }
        }
        tangled
    }

    pub(super) fn judge(&self, findings: &mut Findings<'_>) {
        let (mut by_reads, mut by_writes) = (Vec::new(), Vec::new());
        self.judge_family(&BY_READS, &mut by_reads, findings);
        self.judge_family(&BY_WRITES, &mut by_writes, findings);
        // What reads alone tie is told already.
        self.judge_family(&BY_BOTH, &mut by_reads, findings);
    }

    /// One finding for each component that holds none of an earlier level, nor of those `known`.
    fn judge_family(&self, family: &Family, known: &mut Vec<(Level, Vec<u32>)>, findings: &mut Findings<'_>) {
        for level in LEVELS {
            let edges = self.edges.iter().filter(|edge| self.belongs(family, level, edge.2)).copied().collect();
            let graph = Graph::new(self.vertices, edges);
            let components = graph.components();
            let starts = self.starts(family, level, &components, known);
            for (component, starts) in components.into_iter().zip(starts).filter(|(_, starts)| !starts.is_empty()) {
                let cycle = |(from, to, what): &Edge| {
                    let mut cycle = graph.way(&component, *to, *from, |what| matches!(self.step(what), Some(Step::Waits)))?;
                    cycle.insert(0, *what);
                    Some(cycle)
                };
                let length = |cycle: &Vec<u32>| cycle.iter().filter(|what| !matches!(self.step(**what), Some(Step::Waits))).count();
                if let Some(cycle) = starts.iter().filter_map(cycle).min_by_key(length) {
                    findings.add(family.names[level as usize], || self.told(&cycle));
                }
                known.push((level, component));
            }
        }
    }

    /// Of each component the dependencies that its cycles need; none of one that holds what is known.
    fn starts(&self, family: &Family, level: Level, components: &[Vec<u32>], known: &[(Level, Vec<u32>)]) -> Vec<Vec<Edge>> {
        let mut starts = vec![Vec::new(); components.len()];
        if components.is_empty() {
            return starts;
        }
        let of = component_of(self.vertices, components);
        let mut is_known = vec![false; components.len()];
        for (_, other) in known.iter().filter(|(at, _)| *at <= level) {
            let number = other.first().map_or(NONE, |vertex| of[*vertex as usize]);
            if number != NONE && other.iter().all(|vertex| of[*vertex as usize] == number) {
                is_known[number as usize] = true;
            }
        }
        for edge in self.edges.iter().filter(|edge| self.is_start(family, level, edge.2)) {
            let (from, to) = (of[edge.0 as usize], of[edge.1 as usize]);
            if from == to && from != NONE && !is_known[from as usize] && starts[from as usize].len() < MAX_STARTS {
                starts[from as usize].push(*edge);
            }
        }
        starts
    }

    fn step(&self, what: u32) -> Option<&Step> {
        self.steps.get(what as usize)
    }

    fn belongs(&self, family: &Family, level: Level, what: u32) -> bool {
        match self.step(what) {
            Some(Step::Depends(dependency)) if dependency.later.is_none() => {
                family.reads && (level == Level::Plain || !dependency.impossible)
            }
            Some(Step::Depends(_)) => family.writes,
            Some(Step::Process) => level >= Level::Process,
            Some(Step::Waits | Step::Begins) => level == Level::Realtime,
            None => false,
        }
    }

    /// A dependency that the family's cycles cannot do without: a read, if it has reads.
    fn is_start(&self, family: &Family, level: Level, what: u32) -> bool {
        let needed = matches!(self.step(what), Some(Step::Depends(dependency)) if dependency.later.is_none() == family.reads);
        needed && self.belongs(family, level, what)
    }

    fn told(&self, cycle: &[u32]) -> Example {
        let txn = |vertex: u32| self.places.get(vertex as usize);
        let name = |vertex: u32| {
            let op = txn(vertex).map(|txn| if txn.completed.get().is_some() { txn.completed } else { txn.invoked });
            format!("the transaction{}", cite(op.unwrap_or_default()))
        };
        let invoked = |vertex: u32| txn(vertex).map_or(OpRef::default(), |txn| txn.invoked);
        let (mut steps, mut ops, mut values, mut key) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let mut waits_from = None;
        for (from, to, what) in cycle.iter().filter_map(|what| self.edges.get(*what as usize)) {
            let from = match self.step(*what) {
                Some(Step::Waits) => {
                    waits_from.get_or_insert(*from);
                    continue;
                }
                _ => waits_from.take().unwrap_or(*from),
            };
            ops.extend(txn(from).into_iter().flat_map(|txn| [txn.invoked, txn.completed]));
            steps.push(match self.step(*what) {
                Some(Step::Depends(Dependency { key: of, value, later, .. })) => {
                    key = if values.is_empty() { *of } else { key };
                    values.push(*value);
                    match later {
                        None => format!("{} wrote value {value} of key {of}, which {} polled", name(from), name(*to)),
                        Some(later) => format!("{} wrote value {value} of key {of} before value {later} of {}", name(from), name(*to)),
                    }
                }
                Some(Step::Process) => {
                    let process = self.places.get(from as usize).and_then(|place| place.process).unwrap_or_default();
                    format!("{} ended before process {process} invoked {}{}", name(from), name(*to), cite(invoked(*to)))
                }
                _ => format!("{} ended before {} was invoked{}", name(from), name(*to), cite(invoked(*to))),
            });
        }
        steps.truncate(MAX_LISTED);
        values.truncate(MAX_LISTED);
        let explanation = format!("{}: none of them can have come first, and one should", steps.join("; "));
        let evidence = Some(Box::new(Evidence { steps, ..Evidence::default() }));
        Example { evidence, ..example(key, values, Vec::new(), &ops, explanation) }
    }
}
