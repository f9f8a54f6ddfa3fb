//! What a group that consumes, transforms and produces has made of its inputs: each acknowledged input owes one committed output.
//!
//! Told by an op of the process "nemesis", before or after, since it is looked at in the end:
//!
//! - `outputs` `{"group": "g", "keys": {"0": 3}, "modulus": 1000000000000}`: what the group makes of the values of key 0 stands in key 3. The
//!   remainder of an output by the modulus is its input, and the quotient numbers the attempt, from 1: so each attempt has a value of its own, and
//!   what is smaller than the modulus is no output. What is told first of a key holds.
//!
//! An output is committed if its send was acknowledged (of a transaction: if that was committed), if its transaction is known to have been, or if an
//! ok op that reads what is committed returned it.
//!
//! - `processed-twice`: two committed outputs of one input. Counted: inputs.
//! - `unprocessed` (in `delivery.rs`): none, although the group committed past the input, and the key of the outputs was read to its end.
//!
//! Memory: nothing while the history goes by; for the verdict, 24 bytes for each committed output of a key.

use std::collections::BTreeMap;

use kchaos_core::{Key, Offset, Op, Value};

use crate::facts::Facts;
use crate::log::{Isolation, KeyLog, OpRef, Written};
use crate::rule::{Findings, JudgeOptions, cite, example};
use crate::rules::unseen::final_read_is_complete;
use crate::told::{by_number, number, text, told};

/// By group and key of the inputs.
#[derive(Default)]
pub(super) struct Outputs(BTreeMap<String, BTreeMap<Key, Told>>);

#[derive(Clone, Copy)]
struct Told {
    /// Where the outputs stand.
    key: Key,
    modulus: Value,
    op: OpRef,
}

/// The committed outputs of one key of inputs.
pub(super) struct Committed {
    pub(super) key: Key,
    /// Nothing that was committed can have been left unread.
    pub(super) is_complete: bool,
    /// By input, then output.
    all: Vec<Output>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Output {
    input: Value,
    value: Value,
    offset: Offset,
}

impl Outputs {
    pub(super) fn hear(&mut self, op: &Op) {
        let Some(value) = told(op, "outputs") else { return };
        let (Some(group), Some(modulus), Some(keys)) = (text(value, "group"), number(value, "modulus"), value.get("keys")) else { return };
        if modulus < 1 {
            return;
        }
        let group = self.0.entry(group.to_owned()).or_default();
        for (input, key) in by_number(keys) {
            if let Some(key) = key.as_i64() {
                group.entry(input).or_insert(Told { key, modulus, op: OpRef::new(op.index) });
            }
        }
    }

    /// `None` if nothing was told of what the group makes of this key.
    pub(super) fn of(&self, group: &str, input: Key, facts: &Facts, options: &JudgeOptions) -> Option<Committed> {
        let told = self.0.get(group)?.get(&input)?;
        let mut all = facts.log(told.key).map(|log| told.committed(log, options)).unwrap_or_default();
        all.sort_unstable();
        Some(Committed { key: told.key, is_complete: final_read_is_complete(facts, options, told.key), all })
    }

    pub(super) fn accuse(&self, facts: &Facts, options: &JudgeOptions, findings: &mut Findings<'_>) {
        // Each key of outputs once, whoever told of it.
        let mut keys = BTreeMap::new();
        for (group, inputs) in &self.0 {
            for (input, told) in inputs {
                keys.entry(told.key).or_insert((group, *input, told.op));
            }
        }
        for (key, (group, input, told)) in keys {
            let (Some(committed), Some(log)) = (self.of(group, input, facts, options), facts.log(key)) else { continue };
            for outputs in committed.all.chunk_by(|one, other| one.input == other.input).filter(|outputs| outputs.len() > 1) {
                findings.add("processed-twice", || {
                    let found: Vec<Written> = outputs.iter().filter_map(|output| log.find(output.value)).collect();
                    let ops: Vec<OpRef> = found.iter().flat_map(|found| [found.invoked, found.completed, found.read]).chain([told]).collect();
                    let each = outputs.iter().zip(&found).map(|(output, found)| {
                        format!("value {} at offset {}{}{}", output.value, output.offset, cite(found.completed), cite(found.read))
                    });
                    let explanation = format!(
                        "group \"{group}\" has {} committed outputs of value {} of key {input} in key {key}: {}; a transaction commits the offset \
                         of an input together with its output, so there should be one",
                        outputs.len(),
                        outputs[0].input,
                        each.collect::<Vec<_>>().join(", and "),
                    );
                    let of = |part: fn(&Output) -> i64| outputs.iter().map(part).collect();
                    example(key, of(|output| output.value), of(|output| output.offset), &ops, explanation)
                });
            }
        }
    }
}

impl Told {
    fn committed(self, log: &KeyLog, options: &JudgeOptions) -> Vec<Output> {
        // Of what is packed, it is known that it was read; of what has no outcome, not by whom.
        let reads_committed = options.profile.default_isolation == Isolation::Committed;
        let live = log.all().filter(|written| written.is_sent() && (written.is_committed() || written.is_read_committed()));
        let packed = log.packed().filter(|(_, _, acknowledged)| *acknowledged || reads_committed);
        let all = live.map(|written| (written.offset, written.value)).chain(packed.map(|(offset, value, _)| (offset, value)));
        let outputs = all.filter(|(_, value)| *value >= self.modulus);
        outputs.map(|(offset, value)| Output { input: value % self.modulus, value, offset }).collect()
    }
}

impl Committed {
    pub(super) fn has(&self, input: Value) -> bool {
        self.all.binary_search_by_key(&input, |output| output.input).is_ok()
    }
}
