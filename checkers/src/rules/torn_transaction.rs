//! `torn-transaction`: a committed transaction of which some values are in the log and others never, with readers past both.
//!
//! In the log: some poll returned it, of whatever completion. Never: none did, although a reader got beyond its offset, or the final read
//! of its key was complete. Counted by transaction. A value that is missing so is a `lost-write` or `unseen` as well.
//!
//! What this cannot see: a missing value without a known offset, unless the final read was complete. Offsets below the log's start, and
//! superseded ones of a compacted topic, are exempt.

use kchaos_core::{Example, Key, Verdict};

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::{Bound, Id, Written};
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};
use crate::rules::unseen::final_read_is_complete;
use crate::txns::{Txn, TxnId};

pub(crate) const SPEC: Spec = Spec {
    name: "torn-transaction",
    about: "a committed transaction is in the log with all its values or with none",
    anomalies: &["torn-transaction"],
    stable: false,
    hears: hears::NOTHING,
    build: || Box::new(TornTransaction),
};

struct TornTransaction;

/// How far readers of each key got.
type Bounds = IntMap<Key, Option<Bound>>;

impl Rule for TornTransaction {
    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let mut bounds = Bounds::default();
        for (id, txn) in facts.txns().iter() {
            if !facts.is_txn_committed(id) || facts.txns().sent(id).len() < 2 {
                continue;
            }
            let there = facts.sent(id).find(|(_, _, written)| written.is_polled() && !written.is_sent_twice());
            let Some((there_key, _, there)) = there else { continue };
            let missing = missing(facts, options, id, &mut bounds);
            if !missing.is_empty() {
                findings.add("torn-transaction", || torn(facts, txn, (there_key, there), &missing, &bounds));
            }
        }
        findings.verdict()
    }
}

fn missing<'a>(facts: &'a Facts, options: &JudgeOptions, txn: TxnId, bounds: &mut Bounds) -> Vec<(Key, Id, &'a Written)> {
    let unseen = facts.sent(txn).filter(|(_, _, written)| !written.is_polled() && !written.is_sent_twice());
    let passed = unseen.filter(|(key, id, _)| {
        let Some(log) = facts.log(*key) else { return false };
        let bound = *bounds.entry(*key).or_insert_with(|| log.bound());
        let offset = log.last_offset(*id);
        if offset >= 0 && (offset < facts.log_start(*key) || facts.is_superseded(*key, offset)) {
            return false;
        }
        final_read_is_complete(facts, options, *key) || (offset >= 0 && bound.is_some_and(|bound| offset <= bound.offset))
    });
    passed.collect()
}

fn torn(facts: &Facts, txn: &Txn, (there_key, there): (Key, &Written), missing: &[(Key, Id, &Written)], bounds: &Bounds) -> Example {
    let shown = if there.read.get().is_some() { there.read } else { there.placed };
    let mut ops = vec![txn.invoked, txn.completed, shown];
    let mut told = Vec::new();
    for (key, id, written) in missing.iter().take(MAX_LISTED) {
        let passed = match bounds.get(key).copied().flatten() {
            Some(bound) if written.offset >= 0 && bound.offset >= written.offset => {
                ops.push(bound.read);
                format!(" though a reader got as far as offset {}{}", bound.offset, cite(bound.read))
            }
            _ => " though the final read was complete".to_owned(),
        };
        let place = facts.log(*key).map_or(-1, |log| log.last_offset(*id));
        let place = if place >= 0 { format!(" at offset {place}") } else { String::new() };
        told.push(format!("value {} of key {key}{place}{passed}", written.value));
    }
    let explanation = format!(
        "of one committed transaction{}, value {} of key {there_key} is in the log{}, and no poll ever returned {}: all of its values should \
         be there",
        cite(txn.completed),
        there.value,
        cite(shown),
        told.join(", "),
    );
    let listed = missing.iter().take(MAX_LISTED);
    let offsets = listed.clone().map(|(_, _, written)| written.offset).filter(|offset| *offset >= 0).collect();
    let key = missing.first().map_or(there_key, |(key, ..)| *key);
    example(key, listed.map(|(_, _, written)| written.value).collect(), offsets, &ops, explanation)
}
