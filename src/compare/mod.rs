//! Two runs, or several of before and one: what became better and what worse.
//!
//! What is compared must be alike: another workload, other nemeses, another Kafka or another number of brokers make other figures, and a run whose verdict is
//! not valid measured who knows what. Of several runs of before the figures make a band, since no two nights are the same: what lies within it is noise.

mod fail_on;
mod html;
mod measure;
mod table;

use std::collections::BTreeSet;

use kchaos_core::Plan;
use serde_json::{Value, json};

pub(crate) use fail_on::{FailOn, Held};
pub(crate) use html::{fragment, page};
pub(crate) use measure::{Figure, Unit, of as figures};
pub(crate) use table::text;

use crate::exit;
use crate::runs::{Run, State};

/// So much is no difference, whatever the band; of one run alone nobody knows how much it would differ from another.
const SAME_SHARE: f64 = 0.05;

/// What a comparison came to.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) baseline: Vec<Run>,
    pub(crate) run: Run,
    /// Why they cannot be compared; empty if they can.
    pub(crate) unlike: Vec<String>,
    /// What differs and hinders nobody: options, versions of kchaos.
    pub(crate) notes: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) held: Vec<Held>,
}

/// One figure of both sides.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) figure: Figure,
    /// Of the runs of before, those that measured it, the smallest first.
    pub(crate) before: Vec<f64>,
    pub(crate) now: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Better,
    Worse,
    Same,
    /// On one side or on both.
    Unmeasured,
}

impl Judged {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unmeasured => "unmeasured",
        }
    }

    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Better => "✓",
            Self::Worse => "✗",
            Self::Same => "≈",
            Self::Unmeasured => "–",
        }
    }
}

impl Row {
    /// The median of the runs of before.
    pub(crate) fn reference(&self) -> Option<f64> {
        let n = self.before.len();
        match n {
            0 => None,
            n if n.is_multiple_of(2) => Some(f64::midpoint(self.before[n / 2 - 1], self.before[n / 2])),
            _ => Some(self.before[n / 2]),
        }
    }

    /// Between the least and the most of several runs.
    pub(crate) fn band(&self) -> Option<(f64, f64)> {
        (self.before.len() > 1).then(|| (self.before[0], self.before[self.before.len() - 1]))
    }

    /// As a share of the reference: 0.2 is a fifth more.
    pub(crate) fn change(&self) -> Option<f64> {
        let (before, now) = (self.reference()?, self.now?);
        (before > 0.0).then(|| now / before - 1.0)
    }

    pub(crate) fn judged(&self) -> Judged {
        let (Some(before), Some(now)) = (self.reference(), self.now) else { return Judged::Unmeasured };
        // Three nights may agree to a thousandth by chance.
        let (low, high) = (before * (1.0 - SAME_SHARE), before * (1.0 + SAME_SHARE));
        let (least, most) = self.band().map_or((low, high), |(least, most)| (least.min(low), most.max(high)));
        match (now < least, now > most, self.figure.is_more_worse) {
            (false, false, _) => Judged::Same,
            (true, _, true) | (_, true, false) => Judged::Better,
            _ => Judged::Worse,
        }
    }
}

impl Comparison {
    pub(crate) fn of(baseline: Vec<Run>, run: Run) -> Self {
        let mut unlike: Vec<String> = Vec::new();
        for run in baseline.iter().chain([&run]) {
            unlike.extend(measures_nothing(run));
        }
        let mut notes = Vec::new();
        for before in &baseline {
            unlike.extend(differences(before, &run));
            notes.extend(harmless(before, &run));
        }
        once(&mut unlike);
        once(&mut notes);
        let rows = rows(&baseline, &run);
        Self { baseline, run, unlike, notes, rows, held: Vec::new() }
    }

    /// Holds it to what must not become worse; an unknown name is an error.
    pub(crate) fn hold(&mut self, limits: &[FailOn]) -> Result<(), String> {
        self.held = limits.iter().map(|limit| limit.hold(&self.rows)).collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(crate) fn exit_code(&self) -> u8 {
        if self.held.iter().all(|held| held.is_met) { exit::VALID } else { exit::THRESHOLD }
    }

    /// One sentence: what a reader wants to know first.
    pub(crate) fn sentence(&self) -> String {
        let of = |judged| self.rows.iter().filter(|row| row.judged() == judged).count();
        let (worse, better, same) = (of(Judged::Worse), of(Judged::Better), of(Judged::Same));
        let measured = worse + better + same;
        if measured == 0 {
            return "Nothing was measured on both sides.".to_owned();
        }
        let within = if self.baseline.len() > 1 {
            "within what the earlier runs had".to_owned()
        } else {
            format!("within {:.0} %", SAME_SHARE * 100.0)
        };
        let mut sentence = match (worse, better) {
            (0, 0) => return format!("As before: all {measured} figures are {within}."),
            (0, better) => format!("{better} of {measured} figures are better, none is worse."),
            (worse, 0) => format!("{worse} of {measured} figures are worse, none is better."),
            (worse, better) => format!("{worse} of {measured} figures are worse, {better} better."),
        };
        let farthest = |judged| {
            let rows = self.rows.iter().filter(move |row| row.judged() == judged && row.figure.is_telling());
            rows.max_by(|a, b| a.distance().total_cmp(&b.distance()))
        };
        if let Some(row) = farthest(Judged::Worse).or_else(|| farthest(Judged::Better)) {
            let told = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| row.figure.unit.told(value));
            sentence.push_str(&format!(" Farthest: {}, {} → {}.", row.figure.words(), told(row.reference()), told(row.now)));
        }
        sentence
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "name": row.figure.name, "unit": row.figure.unit.name(), "baseline": row.reference(), "runs": row.before.len(),
                "band": row.band().map(|(least, most)| [least, most]), "value": row.now, "change": row.change(),
                "more_is_worse": row.figure.is_more_worse, "judged": row.judged().word(),
            })
        };
        json!({
            "baseline": self.baseline.iter().map(|run| &run.id).collect::<Vec<_>>(),
            "run": self.run.id,
            "sentence": self.sentence(),
            "unlike": self.unlike,
            "notes": self.notes,
            "figures": self.rows.iter().map(row).collect::<Vec<_>>(),
            "fail_on": self.held,
            "exit_code": self.exit_code(),
        })
    }
}

impl Row {
    /// How far it is from what it was, whichever way: twice and half are as far.
    fn distance(&self) -> f64 {
        self.change().map_or(0.0, |change| (1.0 + change).max(1e-3).ln().abs())
    }
}

fn once(lines: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    lines.retain(|line| seen.insert(line.clone()));
}

/// Every figure of either side, in the order of the first run that has it.
fn rows(baseline: &[Run], run: &Run) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for before in baseline {
        for (figure, value) in measure::of(before) {
            match rows.iter_mut().find(|row| row.figure.name == figure.name) {
                Some(row) => row.before.push(value),
                None => rows.push(Row { figure, before: vec![value], now: None }),
            }
        }
    }
    for (figure, value) in measure::of(run) {
        match rows.iter_mut().find(|row| row.figure.name == figure.name) {
            Some(row) => row.now = Some(value),
            None => rows.push(Row { figure, before: Vec::new(), now: Some(value) }),
        }
    }
    for row in &mut rows {
        row.before.sort_by(f64::total_cmp);
    }
    rows.sort_by_key(|row| row.figure.order);
    rows
}

/// A run of which figures mean nothing.
fn measures_nothing(run: &Run) -> Option<String> {
    if run.state != State::Ended {
        return Some(format!("{} is {}: {}", run.id, run.state.word(), run.sentence()));
    }
    let code = run.brief.as_ref().map_or(exit::UNKNOWN, |brief| brief.exit_code);
    let is_measured = matches!(code, exit::VALID | exit::THRESHOLD);
    (!is_measured).then(|| format!("{} is {}: {}", run.id, run.verdict(), run.sentence()))
}

/// What makes other figures.
pub(crate) fn differences(before: &Run, run: &Run) -> Vec<String> {
    let (a, b) = (&before.plan, &run.plan);
    let nemeses = |plan: &Plan| {
        let set: BTreeSet<&str> = plan.nemeses.iter().map(String::as_str).collect();
        let named: Vec<&str> = set.into_iter().collect();
        if named.is_empty() { "none".to_owned() } else { named.join(", ") }
    };
    let steps = |plan: &Plan| plan.steps.iter().map(|step| step.step.clone()).collect::<Vec<_>>().join(", ");
    let or_none = |value: Option<String>| value.filter(|value| !value.is_empty()).unwrap_or_else(|| "not known".to_owned());
    let mut differences = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            differences.push(format!("{what}: {a} in {}, {b} in {}", before.id, run.id));
        }
    };
    differ("another workload", a.workload.clone(), b.workload.clone());
    differ("other nemeses", nemeses(a), nemeses(b));
    differ("other steps of a plan", or_none(Some(steps(a))), or_none(Some(steps(b))));
    // What one of them does not tell cannot differ.
    if let (Some(a), Some(b)) = (kafka_version(a), kafka_version(b)) {
        differ("another Kafka", a, b);
    }
    if let (Some(a), Some(b)) = (brokers(a), brokers(b)) {
        differ("another number of brokers", a.to_string(), b.to_string());
    }
    differences
}

/// What is worth knowing beside it.
fn harmless(before: &Run, run: &Run) -> Vec<String> {
    let (a, b) = (&before.plan, &run.plan);
    let mut notes = Vec::new();
    let keys: BTreeSet<&String> = a.options.keys().chain(b.options.keys()).collect();
    for key in keys {
        let told = |plan: &Plan| plan.options.get(key).map_or_else(|| "not given".to_owned(), ToString::to_string);
        if a.options.get(key) != b.options.get(key) {
            notes.push(format!("the option {key} differs: {} in {}, {} in {}", told(a), before.id, told(b), run.id));
        }
    }
    if a.kchaos_version != b.kchaos_version {
        notes.push(format!("another kchaos: {} in {}, {} in {}", a.kchaos_version, before.id, b.kchaos_version, run.id));
    }
    if a.facts.get("cluster") != b.facts.get("cluster") {
        let told = |plan: &Plan| plan.facts.get("cluster").cloned().unwrap_or_else(|| "not named".to_owned());
        notes.push(format!("another cluster: {} in {}, {} in {}", told(a), before.id, told(b), run.id));
    }
    notes
}

/// As the run's facts or the notes of its inventory tell it; else by the protocol that its brokers speak among each other.
pub(crate) fn kafka_version(plan: &Plan) -> Option<String> {
    if let Some(version) = plan.facts.get("kafka") {
        return Some(version.clone());
    }
    let notes = plan.facts.iter().filter(|(name, _)| name.starts_with("note_"));
    let in_notes = notes.filter_map(|(_, note)| {
        let version = note.split_once("Kafka ")?.1;
        let version: String = version.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        version.contains('.').then(|| version.trim_end_matches('.').to_owned())
    });
    let protocols = plan.effective.iter().filter(|(name, _)| name.starts_with("broker "));
    let protocol = protocols.filter_map(|(_, settings)| settings.get("inter.broker.protocol.version"));
    in_notes.chain(protocol.map(|version| format!("protocol {version}"))).next()
}

fn brokers(plan: &Plan) -> Option<usize> {
    Some(plan.effective.keys().filter(|name| name.starts_with("broker ")).count()).filter(|n| *n > 0)
}

#[cfg(test)]
mod tests;
