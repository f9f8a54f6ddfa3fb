//! Which candidate comes next, and which is kept: delta debugging (ddmin; Zeller and Hildebrandt 2002) over the faults, then halving what is left.
//!
//! A cluster is not deterministic, so a candidate is tried several times before it counts as one that holds, and the first time that it fails is
//! enough to keep it. What is not proved either way counts as a try and never keeps a candidate.

use kchaos_core::PlannedFault;
use serde::Serialize;

use super::candidate::{Candidate, Dial};

/// What came of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Came {
    /// The same failure.
    Fails,
    /// Nothing was broken.
    Holds,
    /// Something was broken, and not what is looked for.
    Otherwise,
    /// Nothing was proved.
    Unproved,
}

/// Of the tries of one candidate, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) tries: u32,
    pub(super) failed: u32,
    pub(super) held: u32,
    pub(super) otherwise: u32,
    pub(super) unproved: u32,
}

impl Tally {
    pub(super) fn count(&mut self, came: Came) {
        self.tries += 1;
        match came {
            Came::Fails => self.failed += 1,
            Came::Holds => self.held += 1,
            Came::Otherwise => self.otherwise += 1,
            Came::Unproved => self.unproved += 1,
        }
    }
}

/// Who carries candidates out.
pub(super) trait Bench {
    /// One try, `what` in words; `None`: no more of them.
    fn attempt(&mut self, candidate: &Candidate, what: &str) -> Option<Came>;

    /// This is the smallest so far.
    fn kept(&mut self, candidate: &Candidate, tally: Tally);
}

pub(super) struct Reduced {
    /// `None`: not even the whole of it failed again.
    pub(super) smallest: Option<Candidate>,
    /// Of the smallest.
    pub(super) tally: Tally,
    /// All was tried that there was to try.
    pub(super) is_whole: bool,
}

/// From the whole to the smallest that still fails.
pub(super) fn reduce(whole: Candidate, tries: u32, bench: &mut impl Bench) -> Reduced {
    let mut reducer = Reducer { tries, smallest: whole, tried: Vec::new(), is_over: false, bench };
    let first = reducer.smallest.clone();
    if !reducer.fails(&first, "the whole plan") {
        let tally = reducer.tally(&first);
        return Reduced { smallest: None, tally, is_whole: !reducer.is_over };
    }
    reducer.faults();
    for group in 0..reducer.smallest.dials().len() {
        let (what, dials) = reducer.smallest.dials()[group].clone();
        reducer.halve(what, &dials);
    }
    reducer.confirm();
    let smallest = reducer.smallest.clone();
    Reduced { tally: reducer.tally(&smallest), is_whole: !reducer.is_over, smallest: Some(smallest) }
}

struct Reducer<'a, B: Bench> {
    tries: u32,
    smallest: Candidate,
    /// What was tried already: ddmin comes by the same subset more than once.
    tried: Vec<(Candidate, Tally)>,
    is_over: bool,
    bench: &'a mut B,
}

impl<B: Bench> Reducer<'_, B> {
    fn tally(&self, candidate: &Candidate) -> Tally {
        self.tried.iter().find(|(tried, _)| tried == candidate).map(|(_, tally)| *tally).unwrap_or_default()
    }

    fn attempt(&mut self, candidate: &Candidate, what: &str) -> Option<Came> {
        let came = self.bench.attempt(candidate, what);
        let Some(came) = came else {
            self.is_over = true;
            return None;
        };
        match self.tried.iter_mut().find(|(tried, _)| tried == candidate) {
            Some((_, tally)) => tally.count(came),
            None => {
                let mut tally = Tally::default();
                tally.count(came);
                self.tried.push((candidate.clone(), tally));
            }
        }
        Some(came)
    }

    /// Whether it fails within the tries; if so it is the smallest from now on.
    fn fails(&mut self, candidate: &Candidate, what: &str) -> bool {
        if self.is_over {
            return false;
        }
        let before = self.tally(candidate);
        let mut has_failed = before.failed > 0;
        for _ in before.tries..self.tries {
            if has_failed {
                break;
            }
            match self.attempt(candidate, what) {
                Some(came) => has_failed = came == Came::Fails,
                None => return false,
            }
        }
        if has_failed {
            self.smallest = candidate.clone();
            self.bench.kept(candidate, self.tally(candidate));
        }
        has_failed
    }

    /// ddmin, and before it whether any fault is needed at all.
    fn faults(&mut self) {
        let of = self.smallest.clone();
        if of.faults.is_empty() || self.fails(&of.with(&[]), "no fault at all") {
            return;
        }
        let mut parts = 2;
        while self.smallest.faults.len() >= 2 && !self.is_over {
            let faults = self.smallest.faults.clone();
            let subsets: Vec<&[PlannedFault]> = chunks(&faults, parts);
            if subsets.iter().any(|subset| self.fails(&of.with(subset), "fewer faults")) {
                parts = 2;
            } else if parts > 2 && (0..subsets.len()).any(|without| self.fails(&of.with(&complement(&subsets, without)), "fewer faults")) {
                parts = (parts - 1).max(2);
            } else if parts < faults.len() {
                parts = (parts * 2).min(faults.len());
            } else {
                break;
            }
        }
    }

    /// All of them at once as often as it goes, then each by itself.
    fn halve(&mut self, what: &str, dials: &[Dial]) {
        while let Some(smaller) = all_halved(&self.smallest, dials) {
            if !self.fails(&smaller, what) {
                break;
            }
        }
        for dial in dials.iter().filter(|_| dials.len() > 1) {
            while let Some(smaller) = self.smallest.halved(*dial) {
                if !self.fails(&smaller, what) {
                    break;
                }
            }
        }
    }

    /// One failure may be luck: the smallest gets all its tries, so that it can be told how often it fails.
    fn confirm(&mut self) {
        let smallest = self.smallest.clone();
        while !self.is_over && self.tally(&smallest).tries < self.tries {
            if self.attempt(&smallest, "the smallest once more").is_some() {
                self.bench.kept(&smallest, self.tally(&smallest));
            }
        }
    }
}

fn chunks(faults: &[PlannedFault], parts: usize) -> Vec<&[PlannedFault]> {
    let (count, parts) = (faults.len(), parts.max(1));
    (0..parts).map(|part| &faults[part * count / parts..(part + 1) * count / parts]).filter(|chunk| !chunk.is_empty()).collect()
}

fn complement(subsets: &[&[PlannedFault]], without: usize) -> Vec<PlannedFault> {
    let kept = subsets.iter().enumerate().filter(|(place, _)| *place != without);
    kept.flat_map(|(_, subset)| subset.iter().cloned()).collect()
}

fn all_halved(candidate: &Candidate, dials: &[Dial]) -> Option<Candidate> {
    let halved = dials.iter().fold(candidate.clone(), |now, dial| now.halved(*dial).unwrap_or(now));
    (halved != *candidate).then_some(halved)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::candidate::{RATE, fault};
    use super::*;

    /// A cluster that is made up.
    struct Fake<J> {
        judge: J,
        tries: Vec<String>,
        kept: Vec<Candidate>,
        budget: usize,
    }

    impl<J: FnMut(&Candidate, usize) -> Came> Bench for Fake<J> {
        fn attempt(&mut self, candidate: &Candidate, what: &str) -> Option<Came> {
            if self.tries.len() == self.budget {
                return None;
            }
            self.tries.push(format!("{what}: {}", candidate.told(&Candidate::default())));
            Some((self.judge)(candidate, self.tries.len()))
        }

        fn kept(&mut self, candidate: &Candidate, _: Tally) {
            self.kept.push(candidate.clone());
        }
    }

    fn bench<J: FnMut(&Candidate, usize) -> Came>(judge: J) -> Fake<J> {
        Fake { judge, tries: Vec::new(), kept: Vec::new(), budget: usize::MAX }
    }

    /// Faults f0, f1 and so on, 20 s apart, 8 s each.
    fn whole(count: u64) -> Candidate {
        let faults: Vec<PlannedFault> = (0..count).map(|n| fault(&format!("f{n}"), 4_000 + n * 20_000, 8_000)).collect();
        let clients = BTreeMap::from([("consumers", 2), ("producers", 4), (RATE, 500)]);
        let whole = Candidate { faults, clients, ..Candidate::default() };
        Candidate { time_limit_ms: whole.ends_ms(), ..whole }
    }

    fn has(candidate: &Candidate, names: &[&str]) -> bool {
        names.iter().all(|name| candidate.faults.iter().any(|fault| fault.nemesis == *name))
    }

    fn when(fails: bool) -> Came {
        if fails { Came::Fails } else { Came::Holds }
    }

    fn names(candidate: &Candidate) -> Vec<&str> {
        candidate.faults.iter().map(|fault| fault.nemesis.as_str()).collect()
    }

    #[test]
    fn of_eight_faults_the_two_that_matter_are_left() {
        let mut bench = bench(|candidate, _| when(has(candidate, &["f2", "f5"])));
        let reduced = reduce(whole(8), 1, &mut bench);
        let smallest = reduced.smallest.unwrap();
        assert_eq!(names(&smallest), ["f2", "f5"]);
        assert!(reduced.is_whole);
        assert!(smallest.faults.iter().all(|fault| fault.duration_ms == 500), "{smallest:?}");
        assert_eq!(smallest.clients, BTreeMap::from([("consumers", 1), ("producers", 1), (RATE, 10)]));
        assert_eq!(smallest.faults.iter().map(|fault| fault.at_ms).collect::<Vec<_>>(), [Some(0), Some(500)]);
    }

    #[test]
    fn whatever_pair_matters_is_found() {
        for (first, second) in (0..7).flat_map(|first| (first + 1..7).map(move |second| (first, second))) {
            let wanted = [format!("f{first}"), format!("f{second}")];
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let mut bench = bench(|candidate, _| when(has(candidate, &wanted)));
            let smallest = reduce(whole(7), 1, &mut bench).smallest.unwrap();
            assert_eq!(names(&smallest), wanted);
        }
    }

    #[test]
    fn what_needs_its_time_and_its_clients_keeps_them() {
        let needs = |candidate: &Candidate| {
            let long = candidate.faults.iter().any(|fault| fault.nemesis == "f1" && fault.duration_ms >= 3_000);
            long && candidate.clients["producers"] >= 2
        };
        let mut bench = bench(|candidate, _| when(needs(candidate)));
        let smallest = reduce(whole(4), 1, &mut bench).smallest.unwrap();
        assert_eq!((names(&smallest), smallest.faults[0].duration_ms), (vec!["f1"], 4_000));
        assert_eq!(smallest.clients, BTreeMap::from([("consumers", 1), ("producers", 2), (RATE, 10)]));
    }

    #[test]
    fn what_fails_without_any_fault_is_left_without_and_made_shorter() {
        let mut bench = bench(|_, _| Came::Fails);
        let smallest = reduce(whole(5), 3, &mut bench).smallest.unwrap();
        assert_eq!((smallest.faults.len(), smallest.time_limit_ms), (0, 2_000));
    }

    #[test]
    fn what_fails_one_time_in_three_is_tried_until_it_does() {
        let mut seen: Vec<(Candidate, u32)> = Vec::new();
        let mut bench = bench(|candidate: &Candidate, _| {
            let place = seen.iter().position(|(one, _)| one == candidate).unwrap_or_else(|| {
                seen.push((candidate.clone(), 0));
                seen.len() - 1
            });
            seen[place].1 += 1;
            when(has(candidate, &["f2"]) && seen[place].1.is_multiple_of(3))
        });
        let reduced = reduce(whole(4), 3, &mut bench);
        assert_eq!(names(&reduced.smallest.unwrap()), ["f2"]);
        assert_eq!((reduced.tally.tries, reduced.tally.failed, reduced.tally.held), (3, 1, 2));
    }

    #[test]
    fn a_run_that_does_not_fail_again_is_not_shrunk() {
        let mut bench = bench(|_, _| Came::Holds);
        let reduced = reduce(whole(4), 3, &mut bench);
        assert!(reduced.smallest.is_none() && reduced.is_whole);
        assert_eq!((bench.tries.len(), reduced.tally.held), (3, 3));
    }

    #[test]
    fn what_is_not_proved_or_fails_otherwise_never_keeps_a_candidate() {
        for other in [Came::Unproved, Came::Otherwise] {
            let mut bench = bench(|candidate, _| if candidate == &whole(3) { Came::Fails } else { other });
            let reduced = reduce(whole(3), 2, &mut bench);
            assert_eq!(reduced.smallest.unwrap(), whole(3));
            assert_eq!((reduced.tally.tries, reduced.tally.failed), (2, 2), "the smallest is confirmed");
        }
    }

    #[test]
    fn when_it_is_over_the_smallest_so_far_is_kept() {
        let mut bench = bench(|candidate, _| when(has(candidate, &["f0"])));
        bench.budget = 3;
        let reduced = reduce(whole(8), 1, &mut bench);
        assert_eq!(names(&reduced.smallest.unwrap()), ["f0", "f1", "f2", "f3"]);
        assert!(!reduced.is_whole);
        assert_eq!((bench.tries.len(), bench.kept.len()), (3, 2));
    }

    #[test]
    fn nothing_is_tried_more_often_than_asked() {
        let mut bench = bench(|candidate, _| when(has(candidate, &["f1", "f3"])));
        reduce(whole(6), 2, &mut bench);
        let tries = bench.tries.iter().map(|line| line.split_once(": ").map_or("", |(_, told)| told));
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        tries.for_each(|told| *counts.entry(told.to_owned()).or_default() += 1);
        assert!(counts.values().all(|count| *count <= 2), "{counts:?}");
    }
}
