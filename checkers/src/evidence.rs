//! The evidence of what was found: the ops that an example cites with those around them, in words, who led the partition meanwhile,
//! and its part of the log, offset by offset.
//!
//! A judge keeps indexes and not ops, so the history is told again, once, or twice where a value in the drawn part of a log was not
//! acknowledged there and its writer has to be looked for. Only what was found costs this: a clean history is read once.
//!
//! **Bounds:** of each anomaly the first [`EXAMPLES_MAX`] examples get evidence, of an example the first [`ops::CITED_MAX`] ops and
//! [`line::ACCUSED_MAX`] offsets. What is left out is counted.

mod drawing;
mod leaders;
mod line;
mod log_parts;
mod ops;
mod words;

use std::collections::BTreeMap;

use kchaos_core::{Example, Finding, Op};

pub use drawing::render_evidence;
use leaders::Leaders;
use log_parts::Logs;
use ops::ShownOps;

/// More than anybody reads; `--all` may list millions of examples.
const EXAMPLES_MAX: usize = 1_000;

/// Fills in the evidence. `tell` is asked to tell the whole history, every op in order, once or twice.
pub fn add_evidence<E>(
    anomalies: &mut BTreeMap<String, Finding>,
    mut tell: impl FnMut(&mut dyn FnMut(&Op)) -> Result<(), E>,
) -> Result<(), E> {
    let mut examples: Vec<&mut Example> = anomalies
        .values_mut()
        .flat_map(|finding| finding.examples.iter_mut().take(EXAMPLES_MAX))
        .filter(|example| !example.ops.is_empty())
        .collect();
    if examples.is_empty() {
        return Ok(());
    }
    let mut shown = ShownOps::new(examples.iter().map(|example| &**example));
    let mut logs = Logs::new(examples.iter().flat_map(|example| line::accused(example).map(|offset| (line::key(example), offset))));
    let mut leaders = Leaders::default();
    tell(&mut |op| {
        leaders.update(op);
        shown.update(op);
        logs.update(op);
    })?;
    let mut lines: Vec<_> = examples.iter().map(|example| line::draw(example, &logs)).collect();
    let mut senders = logs.senders(lines.iter().flatten());
    if senders.is_wanting() {
        tell(&mut |op| senders.update(op))?;
    }
    for ((example, line), (ops, more_ops)) in examples.iter_mut().zip(&mut lines).zip(shown.finish()) {
        if let Some(line) = line {
            senders.name(line);
        }
        let (seen, more_leaders) = leaders.of(example);
        let evidence = example.evidence.get_or_insert_default();
        (evidence.leaders, evidence.more_leaders) = (seen, more_leaders);
        (evidence.ops, evidence.more_ops, evidence.line) = (ops, more_ops, line.take());
    }
    Ok(())
}
