//! What would be tried in which order, if nothing smaller failed: `kchaos shrink --dry-run`.

use std::fmt::Write;

use serde::Serialize;

use super::candidate::Candidate;
use super::judge::Symptoms;
use super::original::Original;
use super::reduce::{Bench, Came, Tally, reduce};

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Rehearsed {
    /// The run that failed.
    run: String,
    looked_for: Symptoms,
    tries_of_each: u32,
    /// In their order; the first is the whole.
    candidates: Vec<Rehearsal>,
    /// How many runs that would be.
    runs: u64,
    /// For all of them, if each took as long as the first; 0: that one did not tell.
    seconds: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Rehearsal {
    what: String,
    plan: Candidate,
}

/// Does nothing.
pub(crate) fn rehearse(original: &Original, tries: u32) -> Rehearsed {
    let mut tape = Tape::default();
    reduce(original.whole.clone(), 1, &mut tape);
    let runs = (tape.candidates.len() as u64 - 1) * u64::from(tries) + 1;
    Rehearsed {
        run: original.run.display().to_string(),
        looked_for: original.symptoms.clone(),
        tries_of_each: tries,
        candidates: tape.candidates,
        runs,
        seconds: runs as f64 * original.took_s,
    }
}

#[derive(Default)]
struct Tape {
    candidates: Vec<Rehearsal>,
}

impl Bench for Tape {
    fn attempt(&mut self, candidate: &Candidate, what: &str) -> Option<Came> {
        self.candidates.push(Rehearsal { what: what.to_owned(), plan: candidate.clone() });
        Some(if self.candidates.len() == 1 { Came::Fails } else { Came::Holds })
    }

    fn kept(&mut self, _: &Candidate, _: Tally) {}
}

impl Rehearsed {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.run, self.looked_for.told());
        let Some(whole) = self.candidates.first() else { return text };
        for (number, Rehearsal { what, plan }) in (1..).zip(&self.candidates) {
            let _ = writeln!(text, "{number:>4}  {what}: {}", plan.told(&whole.plan));
        }
        let (runs, tries, minutes) = (self.runs, self.tries_of_each, self.seconds / 60.0);
        let _ = writeln!(
            text,
            "Shown is the order if nothing smaller than the whole failed: {runs} runs ({tries} of each), some {minutes:.0} minutes as long as the first one. \
             What fails is kept, and what comes then begins from there."
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::candidate::{RATE, fault};
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_would_be_tried_conforms_and_is_told_in_its_order() {
        assert_conforms("shrink-dry-run", &json!(Rehearsed::default()));
        let faults = vec![fault("kill-leader", 4_000, 13_000), fault("pause-leader", 25_000, 900)];
        let whole = Candidate { faults, time_limit_ms: 25_900, clients: BTreeMap::from([(RATE, 500)]) };
        let mut tape = Tape::default();
        reduce(whole, 1, &mut tape);
        let runs = tape.candidates.len() as u64;
        let looked_for = Symptoms { exit_code: 1, anomalies: ["lost-write".to_owned()].into(), ..Symptoms::default() };
        let rehearsed =
            Rehearsed { run: "results/x".into(), looked_for, tries_of_each: 1, candidates: tape.candidates, runs, seconds: 120.0 };
        assert_conforms("shrink-dry-run", &json!(rehearsed));
        let text = rehearsed.text();
        assert!(
            text.starts_with("results/x: lost-write\n   1  the whole plan: kill-leader at 4 s for 13 s, pause-leader at 25 s"),
            "{text}"
        );
        assert!(text.contains("some 2 minutes as long as the first one"), "{text}");
    }
}
