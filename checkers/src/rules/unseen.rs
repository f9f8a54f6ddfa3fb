//! `unseen`: acknowledged values that no ok op ever returned.
//!
//! That alone proves nothing: readers may have stopped early. Evidence tells four cases apart:
//!
//! - **truncated**: its offset was given to another value, or the log ends below it at the current leader epoch. Invalid.
//! - **lost**: the final read was complete, and did not return it. Invalid.
//! - **expired**: it lies below the log's start, or a later one of its record key has superseded it in a compacted topic. Ignored.
//! - **late**, or nothing known: listed, and the run is unknown (`no-final-read`).
//!
//! The evidence comes from the run's own ops `final-offsets` and `final-reads`, whose replies were proved to come from the current leader
//! (a zombie leader answers with an old end), and from the log itself.

use std::collections::BTreeMap;

use kchaos_core::{Example, Key, Offset, Verdict};

use crate::facts::Facts;
use crate::log::{Id, KeyLog, OpRef};
use crate::rule::{FinalRead, Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "unseen",
    about: "every acknowledged value is read by the end",
    anomalies: &["unseen"],
    stable: false,
    hears: hears::NOTHING,
    build: || Box::new(Unseen),
};

struct Unseen;

/// What became of a value that was not read. Ordered as examples are shown: the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Truncated,
    Lost,
    Late,
    Unknown,
    Expired,
    Superseded,
}

impl Rule for Unseen {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut unseen = Vec::new();
        for (key, log) in facts.logs() {
            let complete = final_read_is_complete(facts, options, key);
            let unread = log.written(|written| written.is_acknowledged() && !written.is_read());
            // Two of those at an offset are enough to know of another one: thousands may share it.
            let mut two_at: BTreeMap<Offset, Vec<Id>> = BTreeMap::new();
            for (id, _) in unread {
                let offset = log.last_offset(id);
                let two = two_at.entry(offset).or_insert_with(|| log.contestants(offset).into_iter().map(|(id, _)| id).take(2).collect());
                let is_taken = two.iter().any(|other| *other != id);
                unseen.push((fate(facts, key, offset, is_taken, complete), key, log, id));
            }
        }
        // Stable: within a fate, keys and values stay in order.
        unseen.sort_by_key(|(fate, ..)| *fate);
        let count = |wanted| unseen.iter().filter(|(fate, ..)| *fate == wanted).count();
        let (late, unknown) = (count(Fate::Late), count(Fate::Unknown));
        let proved = count(Fate::Truncated) + count(Fate::Lost) > 0;
        let mut findings = Findings::new(options);
        for (fate, key, log, id) in unseen {
            match fate {
                Fate::Expired | Fate::Superseded => findings.ignore("unseen", || accuse(fate, facts, key, log, id)),
                _ => findings.add("unseen", || accuse(fate, facts, key, log, id)),
            }
        }
        if let Some(text) = unread_text(facts, late, unknown) {
            if proved { findings.reason("no-final-read", text) } else { findings.unproved("unseen", "no-final-read", text) }
        }
        findings.verdict()
    }
}

pub(crate) fn final_read_is_complete(facts: &Facts, options: &JudgeOptions, key: Key) -> bool {
    let told = facts.hints.reads_complete == Some(true) && !facts.hints.unfinished_keys.contains(&key);
    options.final_read == FinalRead::Complete || told
}

/// `is_taken`: another value was seen at its offset.
fn fate(facts: &Facts, key: Key, offset: Offset, is_taken: bool, complete: bool) -> Fate {
    let told = facts.hints.offsets.get(&key);
    if offset >= 0 {
        if told.is_some_and(|told| offset < told.start) {
            return Fate::Expired;
        }
        if told.is_some_and(|told| offset >= told.end) || is_taken {
            return Fate::Truncated;
        }
        if facts.is_superseded(key, offset) {
            return Fate::Superseded;
        }
    }
    match (complete, told) {
        (true, _) => Fate::Lost,
        (false, Some(_)) if offset >= 0 => Fate::Late,
        _ => Fate::Unknown,
    }
}

/// Another value that was seen at the offset of an unread one.
fn successor(log: &KeyLog, id: Id, offset: Offset) -> Option<(Id, OpRef)> {
    log.contestants(offset).into_iter().find(|(other, _)| *other != id)
}

fn accuse(fate: Fate, facts: &Facts, key: Key, log: &KeyLog, id: Id) -> Example {
    let written = log.of(id);
    let offset = log.last_offset(id);
    let told = facts.hints.offsets.get(&key);
    let mut ops = vec![written.invoked, written.completed];
    let place = if offset >= 0 { format!(" at offset {offset}") } else { " without an offset".to_owned() };
    let acknowledged = format!("value {} of key {key} was acknowledged{place}{}", written.value, cite(written.completed));
    let epoch = told.and_then(|told| told.leader_epoch).map_or_else(String::new, |epoch| format!(" at leader epoch {epoch}"));
    let rest = match (fate, told, successor(log, id, offset)) {
        (Fate::Truncated, Some(told), _) if offset >= told.end => {
            format!("but the log of key {key} ends at {}{epoch}: truncated", told.end)
        }
        (Fate::Truncated, _, Some((other, shown))) => {
            ops.push(shown);
            format!("but that offset holds value {}{}: truncated", log.of(other).value, cite(shown))
        }
        (Fate::Expired, Some(told), _) => format!("and the log of key {key} starts at {} now: expired", told.start),
        (Fate::Superseded, ..) => "and a later one of its record key has superseded it: compacted, or free to be".to_owned(),
        (Fate::Lost | Fate::Truncated | Fate::Expired, ..) => "and a complete final read did not return it: lost".to_owned(),
        (Fate::Late, Some(told), _) => {
            format!("and never read; the log of key {key} reaches from {} to {}{epoch}, so it may be late", told.start, told.end)
        }
        (Fate::Late | Fate::Unknown, ..) => "and no ok op returned it; nothing shows that the final read reached it".to_owned(),
    };
    let offsets = if offset >= 0 { vec![offset] } else { Vec::new() };
    let is_gone = matches!(fate, Fate::Truncated | Fate::Lost) && offset >= 0;
    let disks = if is_gone { facts.hints.replica_logs.at(key, offset) } else { String::new() };
    example(key, vec![written.value], offsets, &ops, format!("{acknowledged}, {rest}{disks}"))
}

/// Why nothing can be said of what was acknowledged and not read.
fn unread_text(facts: &Facts, late: usize, unknown: usize) -> Option<String> {
    let counts = &facts.counts;
    if counts.acknowledged_values > 0 && counts.ok_polls == 0 {
        return Some(format!("{} values were acknowledged and no poll was ok: nothing was read", counts.acknowledged_values));
    }
    let finished =
        if facts.hints.reads_complete == Some(false) { "the final read did not finish" } else { "no complete final read is proved" };
    match (late, unknown) {
        (0, 0) => None,
        (late, 0) => Some(format!("{late} acknowledged values are late: within the log's bounds, and not delivered; {finished}")),
        (0, unknown) => Some(format!("{unknown} acknowledged values were never read, and {finished}")),
        (late, unknown) => Some(format!("{} acknowledged values were never read ({late} of them late), and {finished}", late + unknown)),
    }
}
