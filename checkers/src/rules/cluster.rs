//! The cluster's own state, as somebody looked at it.
//!
//! `two-controllers`: two active controllers for longer than a handover. Told by ops of the process "nemesis":
//!
//! - `controllers` `{"1": {"active": true, "epoch": 5}, "2": {"active": false}}`: by broker, what each says of itself at this time. `limit_ms`
//!   may stand beside: how long a handover may take (one minute where it is not told).
//!
//! A claim reaches from the look that first showed it to the last that did. One look between that shows the broker inactive, or another
//! epoch, ends it; so does one that leaves the broker out, unless its claims tell an epoch, which it holds once only. Two claims that
//! overlap for longer than the limit are accused. Counted: pairs of claims. A controller that is cut off cannot know that it was replaced,
//! and its acts are fenced by its epoch: who cuts it off should not look at it, or tell a longer limit.
//!
//! `config-reverted`: a setting in force at the start and not later, unasked. Told by:
//!
//! - `config` `{"broker:1": {"min.insync.replicas": "2"}, "topic:t": {"cleanup.policy": null}}`: settings by entity, as they are in force at
//!   this time; `null` is one that is not set. What a look leaves out it says nothing of.
//! - `config-asked` `{"topic:t": {"min.insync.replicas": "1"}}`: before somebody asks for a change. From then on, both are legal; once a look
//!   shows what was asked last, and nothing else was asked between, that alone is.
//!
//! Counted: settings of an entity. What this cannot see: a setting that came back between two looks, and one that nobody looked at early; of
//! claims to be the controller, those that were over before the last 64.

use std::collections::BTreeMap;
use std::time::Duration;

use kchaos_core::{Op, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example_of_no_key, hears};
use crate::told::{by_number, milliseconds, number, scalar, told};

pub(crate) const SPEC: Spec = Spec {
    name: "cluster",
    about: "one controller at a time, and settings stay as they were asked to be",
    anomalies: &["two-controllers", "config-reverted"],
    stable: true,
    hears: hears::NEMESIS,
    build: || Box::new(Cluster::default()),
};

const HANDOVER: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Cluster {
    /// By broker.
    claims: BTreeMap<i64, Claim>,
    /// The last that are over, newest first: another claim may yet turn out to have lasted as long.
    ended: Vec<(i64, Claim)>,
    /// By the brokers of the two, and since when they claim.
    two: BTreeMap<[(i64, OpRefKey); 2], Two>,
    settings: BTreeMap<(String, String), Setting>,
}

/// An op to sort by.
type OpRefKey = Option<u64>;

#[derive(Clone, Copy)]
struct Claim {
    epoch: Option<i64>,
    since_ns: u64,
    since: OpRef,
    until_ns: u64,
    until: OpRef,
}

struct Two {
    brokers: [i64; 2],
    epochs: [Option<i64>; 2],
    overlap_ns: u64,
    limit_ns: u64,
    ops: [OpRef; 3],
}

struct Setting {
    /// What may be in force; the first is what was at the start, or what was asked and then seen.
    legal: Vec<Option<String>>,
    /// What was asked since.
    asked: usize,
    seen: OpRef,
    reverted: Option<Reverted>,
}

struct Reverted {
    to: Option<String>,
    op: OpRef,
}

/// More brokers than any cluster has that would all be its controller.
const MAX_CLAIMS: usize = 64;
/// Settings of a history that asks for ever new values are not remembered without end.
const MAX_LEGAL: usize = 64;

impl Rule for Cluster {
    fn update(&mut self, op: &Op, _: &Facts) {
        if let Some(value) = told(op, "controllers") {
            self.controllers(op, value);
        } else if let Some(value) = told(op, "config") {
            each_setting(value, |entity, name, held| self.look(op, entity, name, held));
        } else if let Some(value) = told(op, "config-asked") {
            each_setting(value, |entity, name, held| self.ask(entity, name, held));
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for Two { brokers, epochs, overlap_ns, limit_ns, ops } in self.two.values() {
            findings.add("two-controllers", || {
                let name = |at: usize| {
                    format!("node {}{}", brokers[at], epochs[at].map_or_else(String::new, |epoch| format!(" (controller epoch {epoch})")))
                };
                let explanation = format!(
                    "{} and {} were both the active controller from one look{} to another{}, for {} ms: a handover should be over in {} ms",
                    name(0),
                    name(1),
                    cite(ops[1]),
                    cite(ops[2]),
                    overlap_ns / 1_000_000,
                    limit_ns / 1_000_000,
                );
                example_of_no_key(ops, explanation)
            });
        }
        for ((entity, name), setting) in &self.settings {
            let Some(Reverted { to, op }) = &setting.reverted else { continue };
            findings.add("config-reverted", || {
                let told = |held: &Option<String>| held.as_ref().map_or_else(|| "not set".to_owned(), |held| format!("\"{held}\""));
                let explanation = format!(
                    "the setting {name} of {entity} was {}{} and is {}{}, which nobody asked for: it should have stayed",
                    told(&setting.legal[0]),
                    cite(setting.seen),
                    told(to),
                    cite(*op),
                );
                example_of_no_key(&[setting.seen, *op], explanation)
            });
        }
        findings.verdict()
    }
}

/// Calls `each` with entity, name, and what is held, for all that is well-formed.
fn each_setting(value: &Json, mut each: impl FnMut(&str, &str, Option<String>)) {
    for (entity, settings) in value.as_object().into_iter().flatten() {
        for (name, held) in settings.as_object().into_iter().flatten() {
            match (scalar(held), held) {
                (Some(held), _) => each(entity, name, Some(held)),
                (None, Json::Null) => each(entity, name, None),
                (None, _) => {}
            }
        }
    }
}

fn is_active(look: &Json) -> bool {
    look.get("active").and_then(Json::as_bool) == Some(true)
}

impl Cluster {
    fn controllers(&mut self, op: &Op, value: &Json) {
        let now = OpRef::new(op.index);
        let limit_ns = milliseconds(value, "limit_ms", HANDOVER);
        let looks: BTreeMap<i64, &Json> = by_number(value).collect();
        let is_held = |broker: &i64, claim: &Claim| match looks.get(broker) {
            Some(look) => is_active(look) && number(look, "epoch") == claim.epoch,
            None => claim.epoch.is_some(),
        };
        let (held, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.claims).into_iter().partition(|(broker, claim)| is_held(broker, claim));
        (self.claims, self.ended) = (held, ended.into_iter().chain(self.ended.drain(..)).take(MAX_CLAIMS).collect());
        for (broker, look) in looks.iter().filter(|(_, look)| is_active(look)) {
            let new = Claim { epoch: number(look, "epoch"), since_ns: op.time_ns, since: now, until_ns: op.time_ns, until: now };
            if self.claims.len() < MAX_CLAIMS || self.claims.contains_key(broker) {
                let claim = self.claims.entry(*broker).or_insert(new);
                (claim.until_ns, claim.until) = (op.time_ns, now);
            }
        }
        let claims: Vec<(i64, Claim)> =
            self.claims.iter().map(|(broker, claim)| (*broker, *claim)).chain(self.ended.iter().copied()).collect();
        for one in claims.iter().filter(|(_, claim)| claim.until == now) {
            claims.iter().filter(|(broker, _)| *broker != one.0).for_each(|other| self.overlap(*one, *other, limit_ns));
        }
    }

    fn overlap(&mut self, one: (i64, Claim), other: (i64, Claim), limit_ns: u64) {
        let ((one, ours), (other, theirs)) = if one.0 <= other.0 { (one, other) } else { (other, one) };
        let (first, second) = if ours.since_ns <= theirs.since_ns { (ours, theirs) } else { (theirs, ours) };
        let (until_ns, until) =
            if ours.until_ns <= theirs.until_ns { (ours.until_ns, ours.until) } else { (theirs.until_ns, theirs.until) };
        let overlap_ns = until_ns.saturating_sub(second.since_ns);
        if overlap_ns > limit_ns {
            let (brokers, epochs, ops) = ([one, other], [ours.epoch, theirs.epoch], [first.since, second.since, until]);
            let two = Two { brokers, epochs, overlap_ns, limit_ns, ops };
            self.two.insert([(one, ours.since.get()), (other, theirs.since.get())], two);
        }
    }

    fn look(&mut self, op: &Op, entity: &str, name: &str, held: Option<String>) {
        let now = OpRef::new(op.index);
        let setting = self.settings.entry((entity.to_owned(), name.to_owned())).or_insert_with(|| Setting {
            legal: vec![held.clone()],
            asked: 0,
            seen: now,
            reverted: None,
        });
        if setting.legal.is_empty() {
            // Asked for before anybody looked: what it was before is not known.
            return;
        }
        if setting.asked == 1 && setting.legal.last() == Some(&held) {
            (setting.legal, setting.asked, setting.seen) = (vec![held], 0, now);
        } else if setting.reverted.is_none() && setting.legal.len() < MAX_LEGAL && !setting.legal.contains(&held) {
            setting.reverted = Some(Reverted { to: held, op: now });
        }
    }

    fn ask(&mut self, entity: &str, name: &str, held: Option<String>) {
        let unknown = || Setting { legal: Vec::new(), asked: 0, seen: OpRef::default(), reverted: None };
        let setting = self.settings.entry((entity.to_owned(), name.to_owned())).or_insert_with(unknown);
        if !setting.legal.is_empty() && setting.legal.len() < MAX_LEGAL {
            setting.legal.push(held);
            setting.asked += 1;
        }
    }
}
