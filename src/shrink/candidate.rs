//! What is made smaller: the faults, how long each is held, the quiet between them, and how much the clients do.

use std::collections::BTreeMap;
use std::fmt::Write;

use kchaos_core::PlannedFault;
use serde::Serialize;

/// A fault that is held for less may end before it is proved.
const DURATION_MS_MIN: u64 = 500;
/// Below this a quiet time is none.
const QUIET_MS_MIN: u64 = 1_000;
const TIME_LIMIT_MS_MIN: u64 = 2_000;
/// With less, phases of a few seconds may acknowledge nothing, which proves nothing.
const RATE_MIN: u64 = 10;
pub(super) const RATE: &str = "rate";

/// A run that could be tried.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Candidate {
    /// At their times, the first one first.
    pub(super) faults: Vec<PlannedFault>,
    /// How long the trouble lasts where there is no fault to tell it.
    pub(super) time_limit_ms: u64,
    /// By their option of `kchaos test`: producers, consumers, members, rate.
    pub(super) clients: BTreeMap<&'static str, u64>,
}

/// One thing that can be halved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dial {
    /// How long the fault at this place is held.
    Duration(usize),
    /// The quiet before it; what comes later moves with it.
    Quiet(usize),
    TimeLimit,
    Clients(&'static str),
}

impl Candidate {
    /// With these of its faults alone, each at its time.
    pub(super) fn with(&self, faults: &[PlannedFault]) -> Self {
        Self { faults: faults.to_vec(), ..self.clone() }
    }

    /// What can be halved, those that belong together in one group, in the order in which they are tried.
    pub(super) fn dials(&self) -> Vec<(&'static str, Vec<Dial>)> {
        let places = 0..self.faults.len();
        let time = if self.faults.is_empty() { vec![Dial::TimeLimit] } else { places.clone().map(Dial::Quiet).collect() };
        let mut groups = vec![("shorter faults", places.map(Dial::Duration).collect()), ("less time", time)];
        groups.extend(
            self.clients.keys().map(|name| (if *name == RATE { "a lower rate" } else { "fewer clients" }, vec![Dial::Clients(name)])),
        );
        groups.retain(|(_, dials)| !dials.is_empty());
        groups
    }

    /// The same with this halved; `None` if it is as small as it may be.
    pub(super) fn halved(&self, dial: Dial) -> Option<Self> {
        let mut smaller = self.clone();
        match dial {
            Dial::Duration(place) => {
                let duration = &mut smaller.faults.get_mut(place)?.duration_ms;
                *duration = half(*duration, DURATION_MS_MIN)?;
            }
            Dial::Quiet(place) => {
                let quiet = self.quiet_ms(place)?;
                let less = if quiet < QUIET_MS_MIN { 0 } else { tenths(quiet / 2) };
                for fault in smaller.faults.iter_mut().skip(place) {
                    fault.at_ms = fault.at_ms.map(|at| at.saturating_sub(quiet - less));
                }
            }
            Dial::TimeLimit => smaller.time_limit_ms = half(self.time_limit_ms, TIME_LIMIT_MS_MIN)?,
            Dial::Clients(name) => {
                let least = if name == RATE { RATE_MIN } else { 1 };
                let now = *self.clients.get(name)?;
                let less = (now / 2).max(least);
                (less < now).then(|| smaller.clients.insert(name, less))?;
            }
        }
        Some(smaller)
    }

    /// From the end of whatever went on before it; `None` if there is none.
    fn quiet_ms(&self, place: usize) -> Option<u64> {
        let at = self.faults.get(place)?.at_ms?;
        let ends = self.faults[..place].iter().map(ends_ms).max().unwrap_or(0);
        at.checked_sub(ends).filter(|quiet| *quiet > 0)
    }

    /// When the last fault ends.
    pub(super) fn ends_ms(&self) -> u64 {
        self.faults.iter().map(ends_ms).max().unwrap_or(0)
    }

    /// For people.
    pub(super) fn told(&self, whole: &Self) -> String {
        let mut text = match self.faults.as_slice() {
            [] => format!("no fault, for {}", seconds(self.time_limit_ms)),
            faults => {
                let each = faults
                    .iter()
                    .map(|fault| format!("{} at {} for {}", fault.nemesis, seconds(fault.at_ms.unwrap_or(0)), seconds(fault.duration_ms)));
                each.collect::<Vec<_>>().join(", ")
            }
        };
        for (name, count) in self.clients.iter().filter(|(name, count)| whole.clients.get(*name) != Some(count)) {
            let _ = write!(text, "; {name} {count}");
        }
        text
    }

    /// As `kchaos test --plan` takes it.
    pub(super) fn plan_file(&self, seed: u64, command: &str) -> String {
        let mut text = format!("# {command}\nseed = {seed}\n");
        for fault in &self.faults {
            // Names of nemeses have no quotes.
            let _ = write!(
                text,
                "\n[[fault]]\nnemesis = \"{}\"\nat = \"{}\"\nduration = \"{}\"\nseed = {}\n",
                fault.nemesis,
                seconds(fault.at_ms.unwrap_or(0)).replace(' ', ""),
                seconds(fault.duration_ms).replace(' ', ""),
                fault.seed
            );
        }
        text
    }
}

fn ends_ms(fault: &PlannedFault) -> u64 {
    fault.at_ms.unwrap_or(0).saturating_add(fault.duration_ms)
}

fn half(now: u64, least: u64) -> Option<u64> {
    let less = tenths(now / 2).max(least);
    (less < now).then_some(less)
}

/// Of a second: nobody wants to read 1,837 ms.
fn tenths(ms: u64) -> u64 {
    if ms < 1_000 { ms } else { ms / 100 * 100 }
}

/// `6.5 s`, exactly.
pub(super) fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
pub(super) fn fault(nemesis: &str, at_ms: u64, duration_ms: u64) -> PlannedFault {
    PlannedFault { nemesis: nemesis.to_owned(), at_ms: Some(at_ms), duration_ms, seed: 7, ..PlannedFault::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Candidate {
        let faults = vec![fault("kill-leader", 4_000, 13_000), fault("pause-leader", 25_000, 900)];
        Candidate { faults, time_limit_ms: 25_900, clients: BTreeMap::from([("producers", 3), (RATE, 500)]) }
    }

    #[test]
    fn halving_a_fault_leaves_the_others_where_they_are() {
        let smaller = two().halved(Dial::Duration(0)).unwrap();
        assert_eq!(smaller.faults, [fault("kill-leader", 4_000, 6_500), fault("pause-leader", 25_000, 900)]);
        assert_eq!(smaller.halved(Dial::Duration(1)).unwrap().faults[1].duration_ms, 500);
        assert_eq!(smaller.halved(Dial::Duration(1)).unwrap().halved(Dial::Duration(1)), None, "no shorter than can be proved");
    }

    #[test]
    fn less_quiet_moves_all_that_comes_later() {
        let smaller = two().halved(Dial::Quiet(0)).unwrap();
        assert_eq!(smaller.faults, [fault("kill-leader", 2_000, 13_000), fault("pause-leader", 23_000, 900)]);
        let mut now = two();
        while let Some(smaller) = now.halved(Dial::Quiet(1)) {
            now = smaller;
        }
        assert_eq!(now.faults[1].at_ms, Some(17_000), "the second begins when the first has ended");
    }

    #[test]
    fn clients_become_fewer_down_to_one_and_the_rate_lower_down_to_what_still_proves_something() {
        let mut now = two();
        for dial in [Dial::Clients("producers"), Dial::Clients(RATE)] {
            while let Some(smaller) = now.halved(dial) {
                now = smaller;
            }
        }
        assert_eq!(now.clients, BTreeMap::from([("producers", 1), (RATE, RATE_MIN)]));
        assert_eq!(now.halved(Dial::Clients("consumers")), None, "a workload may lack them");
    }

    #[test]
    fn times_are_told_exactly() {
        assert_eq!([0, 500, 6_500, 13_000, 1_237].map(seconds), ["0 s", "0.5 s", "6.5 s", "13 s", "1.237 s"]);
    }
}
