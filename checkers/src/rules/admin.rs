//! `change-lost`: a change of the cluster that was acknowledged and never changed again, and that a broker does not tell at the end.
//!
//! The changes are ops `admin` of clients, invoked and completed with the same value:
//!
//! - `{"change": "create", "topic": "t", "partitions": 3}`, `{"change": "grow", …}` (to this number), `{"change": "delete", "topic": "t"}`,
//!   `{"change": "setting", "topic": "t", "name": "n", "to": "v"}` (`null` takes it away). Others (`elect`, `reassign`) are not judged here.
//!
//! and what a broker tells is an op of the process "nemesis":
//!
//! - `admin-final` `{"broker": 1, "topics": {"t": {"partitions": 3, "settings": {"n": "v"}}, "gone": null}}`: `settings` are all that are set on the
//!   topic itself; `null` is a topic that this broker does not know. What a look leaves out it says nothing of.
//!
//! What was acknowledged last must be told. So may be what is still under way, and for good what ended in info: nobody knows when it takes effect.
//! The last look at each broker counts. Counted: topics, partition counts and settings, for each broker.
//!
//! What this cannot see: a change that was lost and came back between; who else changes the same thing, who should not.

use std::collections::BTreeMap;

use kchaos_core::{Body, Op, OpType, Process, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example_of_no_key, hears};
use crate::told::{number, scalar, text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "admin",
    about: "a change of topics or settings that was acknowledged is what every broker tells at the end",
    anomalies: &["change-lost"],
    stable: false,
    hears: hears::NEMESIS,
    build: || Box::new(Admin::default()),
};

/// What may be true of one thing at a time; more than so many values of unknown outcome, and nothing is said of it.
const MAX_POSSIBLE: usize = 64;

#[derive(Default)]
struct Admin {
    held: BTreeMap<Thing, Held>,
    /// By process.
    open: BTreeMap<u32, Vec<(Thing, State)>>,
    /// By broker: what its last look shows that it should not.
    lost: BTreeMap<i64, Vec<Lost>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Topic(String),
    Partitions(String),
    Setting(String, String),
}

/// A topic is there ("there"), or not (`None`); a number of partitions; a setting, or none.
type State = Option<String>;

#[derive(Default)]
struct Held {
    acknowledged: Option<(State, OpRef)>,
    /// Under way, or of unknown outcome.
    possible: Vec<State>,
}

struct Lost {
    thing: Thing,
    should: State,
    by: OpRef,
    is: State,
    op: OpRef,
}

impl Rule for Admin {
    fn update(&mut self, op: &Op, _: &Facts) {
        if let Some(look) = told(op, "admin-final") {
            self.look(OpRef::new(op.index), look);
        } else if let (Process::Client(process), Body::Nemesis { f, value }) = (op.process, &op.body)
            && f == "admin"
        {
            match op.op_type {
                OpType::Invoke => self.begin(process, value),
                op_type => self.end(process, op_type, OpRef::new(op.index)),
            }
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (broker, lost) in &self.lost {
            for Lost { thing, should, by, is, op } in lost {
                findings.add("change-lost", || {
                    let explanation = format!(
                        "broker {broker} tells{} that {}: it should be {}, as was acknowledged{} and never changed again",
                        cite(*op),
                        thing.is(is),
                        thing.word(should),
                        cite(*by),
                    );
                    example_of_no_key(&[*by, *op], explanation)
                });
            }
        }
        findings.verdict()
    }
}

impl Admin {
    fn begin(&mut self, process: u32, value: &Json) {
        // One that never ended is of unknown outcome.
        self.open.remove(&process);
        let changes = changes(value);
        for (thing, state) in &changes {
            let held = self.held.entry(thing.clone()).or_default();
            if held.possible.len() < MAX_POSSIBLE {
                held.possible.push(state.clone());
            }
        }
        if !changes.is_empty() {
            self.open.insert(process, changes);
        }
    }

    fn end(&mut self, process: u32, op_type: OpType, op: OpRef) {
        for (thing, state) in self.open.remove(&process).unwrap_or_default() {
            let Some(held) = self.held.get_mut(&thing).filter(|_| op_type != OpType::Info) else { continue };
            // Where so many are possible, not even which this is can be told.
            if held.possible.len() >= MAX_POSSIBLE {
                continue;
            }
            if let Some(at) = held.possible.iter().rposition(|possible| *possible == state) {
                held.possible.remove(at);
            }
            if op_type == OpType::Ok {
                held.acknowledged = Some((state, op));
            }
        }
    }

    fn look(&mut self, op: OpRef, look: &Json) {
        let Some(broker) = number(look, "broker") else { return };
        let mut lost = Vec::new();
        for (topic, seen) in look.get("topics").and_then(Json::as_object).into_iter().flatten() {
            if !seen.is_null() && !seen.is_object() {
                continue;
            }
            let is_there = seen.is_object();
            self.compare(Thing::Topic(topic.clone()), is_there.then(|| THERE.to_owned()), op, &mut lost);
            if !is_there {
                continue;
            }
            if let Some(partitions) = number(seen, "partitions") {
                self.compare(Thing::Partitions(topic.clone()), Some(partitions.to_string()), op, &mut lost);
            }
            let Some(settings) = seen.get("settings").and_then(Json::as_object) else { continue };
            let changed = self.held.range(Thing::Setting(topic.clone(), String::new())..);
            let changed = changed.map_while(|(thing, _)| match thing {
                Thing::Setting(of, name) if of == topic => Some(name),
                _ => None,
            });
            for name in changed {
                self.compare(Thing::Setting(topic.clone(), name.clone()), settings.get(name).and_then(scalar), op, &mut lost);
            }
        }
        self.lost.insert(broker, lost);
    }

    fn compare(&self, thing: Thing, is: State, op: OpRef, lost: &mut Vec<Lost>) {
        let Some(held) = self.held.get(&thing).filter(|held| held.possible.len() < MAX_POSSIBLE) else { return };
        let Some((should, by)) = &held.acknowledged else { return };
        if is != *should && !held.possible.contains(&is) {
            lost.push(Lost { thing, should: should.clone(), by: *by, is, op });
        }
    }
}

const THERE: &str = "there";

/// What a change says, of which things.
fn changes(value: &Json) -> Vec<(Thing, State)> {
    let (Some(change), Some(topic)) = (text(value, "change"), text(value, "topic")) else { return Vec::new() };
    let topic = topic.to_owned();
    let partitions = || number(value, "partitions").map(|count| (Thing::Partitions(topic.clone()), Some(count.to_string())));
    let there = || (Thing::Topic(topic.clone()), Some(THERE.to_owned()));
    match change {
        "create" => std::iter::once(there()).chain(partitions()).collect(),
        // A topic that grew is there.
        "grow" => partitions().map_or_else(Vec::new, |partitions| vec![there(), partitions]),
        "delete" => vec![(Thing::Topic(topic), None)],
        "setting" => match (text(value, "name"), value.get("to")) {
            (Some(name), Some(to)) if to.is_null() || scalar(to).is_some() => {
                vec![there(), (Thing::Setting(topic.clone(), name.to_owned()), scalar(to))]
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

impl Thing {
    fn is(&self, state: &State) -> String {
        match self {
            Thing::Topic(topic) => format!("topic {topic} is {}", self.word(state)),
            Thing::Partitions(topic) => format!("the number of partitions of topic {topic} is {}", self.word(state)),
            Thing::Setting(topic, name) => format!("{name} of topic {topic} is {}", self.word(state)),
        }
    }

    fn word(&self, state: &State) -> String {
        match (self, state) {
            (Thing::Topic(_), None) => "not there".to_owned(),
            (Thing::Topic(_) | Thing::Partitions(_), Some(state)) => state.clone(),
            (Thing::Partitions(_), None) => "unknown".to_owned(),
            (Thing::Setting(..), None) => "not set".to_owned(),
            (Thing::Setting(..), Some(state)) => format!("\"{state}\""),
        }
    }
}
