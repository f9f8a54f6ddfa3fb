//! Judgement: a history in, a verdict out.
//!
//! Why it can be fast: a partition's offsets order its values, and values are unique for their key, so what makes checking hard elsewhere
//! (an unknown order of writes, unknown reads-from) is given here. What is left are statements about a log, each provable in linear time.
//!
//! How it is built: [`Judge`] takes ops in file order, once. `facts` turns them into the log of each key; the rules in `rules` look at it.
//! The same object judges online and offline. [`check_reader`] reads a history and judges it; [`render_text`] tells a person.
//!
//! **Invariants of absence:** no IO but the reader that is handed in, no clock, no Kafka, no cluster. No history makes a checker panic, and
//! no offset, however large, makes it allocate.
//!
//! To add a checker: a file in `rules/`, a `mod` line there, a line in [`ALL`], and a good and a bad history for each of its anomalies.

// What a run says afterwards: measurements, not judgements of safety.
pub mod latency;
mod latency_log;
pub mod latency_series;
#[cfg(test)]
mod latency_tests;
pub mod recovery;
mod recovery_acks;
mod recovery_brief;
mod recovery_due;
mod recovery_moments;
pub mod recovery_summary;
#[cfg(test)]
mod recovery_tests;
pub mod recovery_windows;

// Judgement.
mod by_id;
mod edn;
mod evidence;
mod facts;
mod gaps;
mod graph;
mod hash;
mod input;
mod judge;
mod load;
mod log;
mod mutants;
mod pages;
mod profile;
mod replica_logs;
mod report;
mod rule;
mod rules;
mod search;
mod text;
mod told;
mod txns;
mod undecided;
mod values;

pub use evidence::{add_evidence, render_evidence};
pub use input::{Input, InputError, Lines, Reading, check, check_reader, read, read_ops, tell};
pub use judge::{Judge, SuspectValue, Suspects};
pub use load::PhaseLoad;
#[cfg(feature = "mutants")]
pub use mutants::mutants;
pub use profile::{NamedProfile, PROFILES, Profile, Ruling, UnknownProfile};
pub use report::{CheckReport, CheckerVerdict};
pub use rule::{FinalRead, JudgeOptions, Spec};
pub use text::{render_text, render_text_of};

/// Every checker, in reading order.
pub const ALL: &[Spec] = &[
    rules::lost_write::SPEC,
    rules::unseen::SPEC,
    rules::duplicate::SPEC,
    rules::inconsistent_offsets::SPEC,
    rules::phantom::SPEC,
    rules::aborted_read::SPEC,
    rules::dirty_read::SPEC,
    rules::lso_passed::SPEC,
    rules::torn_transaction::SPEC,
    rules::intermediate_read::SPEC,
    rules::cycles::SPEC,
    rules::poll_order::SPEC,
    rules::total_order::SPEC,
    rules::commit_regression::SPEC,
    rules::delivery::SPEC,
    rules::send_order::SPEC,
    rules::reordered::SPEC,
    rules::registers::SPEC,
    rules::zookeeper::SPEC,
    rules::sequence::SPEC,
    rules::bank::SPEC,
    rules::compaction::SPEC,
    rules::lso_stall::SPEC,
    rules::replicas::SPEC,
    rules::stale_leader::SPEC,
    rules::cluster::SPEC,
    rules::admin::SPEC,
    rules::offsets::SPEC,
    rules::experiment::SPEC,
    rules::group_end::SPEC,
];
