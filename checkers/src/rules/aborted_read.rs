//! `G1a` (Adya's aborted read): an ok op read a value whose send failed.
//! `precommitted-read`: an op polled a value that it itself sent, which read_committed forbids.
//!
//! Both are legal of transactions under read_uncommitted. A value that several ops sent is not judged: which of them failed cannot be told.

use kchaos_core::{Key, Offset, Op, Value, Verdict};

use crate::facts::{Facts, polls};
use crate::hash::IntMap;
use crate::log::{Isolation, OpRef, Outcome};
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, hears};

pub(crate) const SPEC: Spec = Spec {
    name: "aborted-read",
    about: "nobody reads what failed, nor an op what it has not committed yet",
    anomalies: &["G1a", "precommitted-read"],
    stable: true,
    hears: hears::TXN_POLL_END,
    build: || Box::new(AbortedRead { own: Vec::new() }),
};

struct AbortedRead {
    own: Vec<OwnRead>,
}

struct OwnRead {
    key: Key,
    value: Value,
    offset: Offset,
    op: OpRef,
    isolation: Isolation,
}

impl Rule for AbortedRead {
    fn update(&mut self, op: &Op, facts: &Facts) {
        // Only a transaction both sends and polls.
        if !op.op_type.is_completion() || facts.sends().is_empty() || polls(&op.body).next().is_none() {
            return;
        }
        let mut unread: IntMap<Value, Vec<Key>> = IntMap::default();
        for send in facts.sends() {
            unread.entry(send.value).or_default().push(send.key);
        }
        for (key, records) in polls(&op.body).flat_map(|polled| &polled.0) {
            for (offset, value) in records {
                // A value counts once, however often the op polled it.
                let own = unread.get_mut(value).and_then(|keys| keys.iter().position(|one| one == key).map(|at| keys.swap_remove(at)));
                if let Some(key) = own {
                    let isolation = facts.isolation();
                    self.own.push(OwnRead { key, value: *value, offset: *offset, op: OpRef::new(op.index), isolation });
                }
            }
        }
    }

    fn verdict(&self, facts: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for (key, log) in facts.logs() {
            let aborted = log.written(|written| written.outcome == Outcome::Fail && written.is_read() && !written.is_sent_twice());
            for (_, written) in aborted {
                let legal = written.is_in_txn() && !written.is_read_committed();
                findings.add(if legal { "G1a/uncommitted" } else { "G1a" }, || {
                    let explanation = format!(
                        "value {} of key {key} was returned by an ok op{}, although its send failed{}: it should never be seen",
                        written.value,
                        cite(written.read),
                        cite(written.completed),
                    );
                    let offsets = if written.offset >= 0 { vec![written.offset] } else { Vec::new() };
                    example(key, vec![written.value], offsets, &[written.invoked, written.completed, written.read], explanation)
                });
            }
        }
        for own in &self.own {
            let rule = if own.isolation == Isolation::Uncommitted { "precommitted-read/uncommitted" } else { "precommitted-read" };
            findings.add(rule, || {
                let explanation = format!(
                    "one op{} polled value {} of key {}, which it sent itself and had not committed yet: it should not be seen before the commit",
                    cite(own.op),
                    own.value,
                    own.key,
                );
                example(own.key, vec![own.value], vec![own.offset], &[own.op], explanation)
            });
        }
        findings.verdict()
    }
}
