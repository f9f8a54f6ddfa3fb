//! `sequence-violation`: sequential nodes whose numbers are no sequence.
//!
//! Why: locks and queues in ZooKeeper stand on it (the least number holds the lock; the next one waits for it). A sequential node's number is one that
//! its parent never gave before, and greater than all that it gave
//! (<https://zookeeper.apache.org/doc/r3.8.4/zookeeperProgrammers.html#Sequence+Nodes+--+Unique+Naming>); what was acknowledged is there until it is
//! deleted.
//!
//! What is told, as ops of the process `nemesis`:
//!
//! - `sequential` `{"parent": "/s", "event": "asked", "ask": 7}`, before it is asked for;
//! - `{"parent": "/s", "event": "created", "ask": 7, "number": 5, "zxid": 50}`: it was acknowledged, with the node's own zxid of creation;
//! - `{"parent": "/s", "event": "listed", "zxid": 90, "numbers": [4, 5]}`: all that were there as of this zxid (the parent's `pzxid` will do). Parents
//!   from which somebody deletes are not to be listed.
//!
//! **doubled**: two have one number. **against zxids**: of two, the one with the greater number was created by an earlier transaction. **late**: its
//! number is no greater than one that had been acknowledged before it was asked for. **gone**: created at or before a zxid at which it was not listed.
//! Counted: nodes, each once.
//!
//! What this cannot see: nodes whose creation was not answered, and numbers that were given to nobody.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Example, Op, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example_of_no_key, hears};
use crate::told::{number, text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "sequence",
    about: "numbers of sequential nodes are given once, in the order of their transactions and of real time",
    anomalies: &["sequence-violation"],
    stable: true,
    hears: hears::NEMESIS,
    build: || Box::new(Sequence::default()),
};

#[derive(Default)]
struct Sequence {
    parents: BTreeMap<String, Parent>,
}

#[derive(Default)]
struct Parent {
    /// By what was asked: the greatest number that had been acknowledged by then, and by which op.
    asked: BTreeMap<i64, Option<(i64, OpRef)>>,
    greatest: Option<(i64, OpRef)>,
    /// By number.
    created: BTreeMap<i64, Created>,
    listed: Vec<Listed>,
    broken: Vec<Broken>,
}

struct Created {
    zxid: i64,
    op: OpRef,
}

struct Listed {
    zxid: i64,
    numbers: BTreeSet<i64>,
    op: OpRef,
}

struct Broken {
    number: i64,
    how: &'static str,
    other: OpRef,
    op: OpRef,
}

impl Rule for Sequence {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Some(value) = told(op, "sequential") else { return };
        let Some(parent) = text(value, "parent") else { return };
        if !self.parents.contains_key(parent) {
            self.parents.insert(parent.to_owned(), Parent::default());
        }
        if let Some(parent) = self.parents.get_mut(parent) {
            parent.hear(value, OpRef::new(op.index));
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (name, parent) in &self.parents {
            let mut accused = BTreeSet::new();
            for broken in parent.broken.iter().chain(&parent.against_zxids()).chain(&parent.gone()) {
                if accused.insert((broken.number, broken.op.get())) {
                    findings.add("sequence-violation", || broken.told(name));
                }
            }
        }
        findings.verdict()
    }
}

impl Parent {
    fn hear(&mut self, value: &Json, op: OpRef) {
        let zxid = number(value, "zxid");
        match (text(value, "event"), number(value, "ask"), zxid) {
            (Some("asked"), Some(ask), _) => {
                self.asked.entry(ask).or_insert(self.greatest);
            }
            (Some("created"), Some(ask), Some(zxid)) => {
                if let Some(number) = number(value, "number") {
                    self.create(ask, number, zxid, op);
                }
            }
            (Some("listed"), _, Some(zxid)) => {
                let Some(numbers) = value.get("numbers").and_then(Json::as_array) else { return };
                let numbers = numbers.iter().filter_map(Json::as_i64).collect();
                self.listed.push(Listed { zxid, numbers, op });
            }
            _ => {}
        }
    }

    fn create(&mut self, ask: i64, number: i64, zxid: i64, op: OpRef) {
        if let Some(first) = self.created.get(&number) {
            self.broken.push(Broken { number, how: "has the number of another", other: first.op, op });
            return;
        }
        if let Some((_, before)) = self.asked.remove(&ask).flatten().filter(|(before, _)| *before >= number) {
            self.broken.push(Broken {
                number,
                how: "has a lesser number than one that was acknowledged before it was asked for",
                other: before,
                op,
            });
        }
        if self.greatest.is_none_or(|(greatest, _)| greatest < number) {
            self.greatest = Some((number, op));
        }
        self.created.insert(number, Created { zxid, op });
    }

    fn against_zxids(&self) -> Vec<Broken> {
        let mut latest: Option<&Created> = None;
        let mut broken = Vec::new();
        for (number, created) in &self.created {
            match latest.filter(|latest| latest.zxid > created.zxid) {
                Some(latest) => broken.push(Broken {
                    number: *number,
                    how: "has a greater number than one that a later transaction created",
                    other: latest.op,
                    op: created.op,
                }),
                None => latest = Some(created),
            }
        }
        broken
    }

    fn gone(&self) -> Vec<Broken> {
        let missing = |listed: &Listed| {
            let there = self.created.iter().filter(|(number, created)| created.zxid <= listed.zxid && !listed.numbers.contains(number));
            let broken = |(number, created): (&i64, &Created)| Broken {
                number: *number,
                how: "is not there any more",
                other: listed.op,
                op: created.op,
            };
            there.map(broken).collect::<Vec<_>>()
        };
        self.listed.iter().flat_map(missing).collect()
    }
}

impl Broken {
    fn told(&self, parent: &str) -> Example {
        let Broken { number, how, other, op } = self;
        let explanation = format!("the sequential node {number} of {parent}{} {how}{}", cite(*op), cite(*other));
        example_of_no_key(&[*other, *op], explanation)
    }
}
