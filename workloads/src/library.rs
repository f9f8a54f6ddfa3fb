//! What producers and readers need of a client library, so that a run can be had with one or another of them.
//!
//! Why two: what is found with one may be the broker's fault or that client's own, and what is found with both is hardly the client's. All
//! that makes a history what it is (when an op is recorded, by whom, what an end of a client means) is the same for both, and is not here.

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{KeyEntry, Offset};
use rdkafka::config::FromClientConfigAndContext;

use crate::instance::Instance;
use crate::librdkafka::Librdkafka;
use crate::options::Isolation;
use crate::shared::Shared;
use crate::writer::Writer;

/// A client library.
pub(crate) trait Library: Send + Sync {
    /// Whether sends wait at a gate for idempotence's sake (`lanes.rs`).
    fn has_gate(&self) -> bool {
        false
    }

    /// A producer, whose answers go to `instance`.
    fn producer(&self, writer: &Writer, instance: &Arc<Instance>) -> Result<Box<dyn Sending>, String>;

    /// `rack`: where it says that it is, so that a follower there may serve it.
    fn consumer(&self, shared: &Arc<Shared>, name: &str, isolation: Isolation, rack: Option<&str>) -> Result<Box<dyn Reading>, String>;
}

/// The library of all clients, but where another is asked for.
pub(crate) fn librdkafka() -> Arc<dyn Library> {
    Arc::new(Librdkafka)
}

/// A record to be sent.
pub(crate) struct Outgoing<'a> {
    pub(crate) lane: usize,
    /// Of this client, never used twice.
    pub(crate) sequence: u64,
    /// Position in the run's keys, and what stands there.
    pub(crate) key: usize,
    pub(crate) entry: &'a KeyEntry,
    pub(crate) record_key: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// One producer. Dropping it ends it; what had no answer by then may get one while it is dropped.
pub(crate) trait Sending {
    /// Sends, or completes the send with a refusal; `false` then, and the sender pauses.
    fn send(&mut self, record: &Outgoing<'_>) -> bool;

    /// Why the client is dead, if it is.
    fn fatal(&self) -> Option<String>;

    /// A send has been open for long: whether anything was done about it.
    fn is_stalled(&self, bootstrap: &str) -> bool;
}

/// A record that was read.
pub(crate) struct Incoming<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
    pub(crate) record_key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) leader_epoch: Option<i32>,
}

/// What a poll or an assignment ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// As the library names it.
    pub(crate) name: String,
    pub(crate) is_out_of_range: bool,
    /// The client is dead.
    pub(crate) is_fatal: bool,
}

/// One consumer, which is told what to read and keeps no place of its own.
pub(crate) trait Reading {
    /// How long a position may still be of an earlier assignment.
    fn settles_in(&self) -> Duration;

    fn assign(&mut self, places: &[(&KeyEntry, Offset)]) -> Result<(), String>;

    /// One record to `take`, if there is one within the time.
    fn poll(&mut self, timeout: Duration, take: &mut dyn FnMut(&Incoming<'_>)) -> Result<bool, ReadError>;

    /// Of each that is assigned, when a poll has just found nothing: where it goes on, beyond markers as well. `None` where nobody can say.
    fn positions(&mut self, entries: &[&KeyEntry]) -> Vec<Option<Offset>>;

    /// Where a log starts now.
    fn start_of(&mut self, entry: &KeyEntry, timeout: Duration) -> Option<Offset>;

    /// Nothing has come for long although there is more.
    fn is_stalled(&self, bootstrap: &str);
}

/// A client of librdkafka, or why there is none.
pub(crate) fn made<C, T: FromClientConfigAndContext<C>>(config: &rdkafka::ClientConfig, context: C) -> Result<T, String>
where
    C: rdkafka::ClientContext,
{
    T::from_config_and_context(config, context).map_err(|error| error.to_string())
}
