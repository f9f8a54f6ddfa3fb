//! `append --rotate-keys`: the keys of a run in generations, each a topic of its own that is made when its time comes and is no longer written to when
//! the next one's has come.
//!
//! Why: a topic's first seconds are a time of its own. Its leaders are being chosen, its replicas are empty, clients do not know it yet; a fault that
//! hits then meets code that no long-lived topic runs through, and a cluster that makes topics all day is what many people have. Keys that are retired
//! are read to the end as all others are, so what a later fault does to records that have been at rest is seen as well.
//!
//! A generation begins once its topic is there and each partition has a leader; the one before is written to until then, since a cluster may refuse to
//! make topics for as long as a fault is in force (as many replicas as brokers, one of them down: INVALID_REPLICATION_FACTOR). The first stands among
//! the topics that the run makes before it begins.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use kchaos_core::{Draft, KeyEntry};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::admin::{Admin, Change, NotDone};
use crate::aside::Over;
use crate::shared::Shared;
use crate::topics::TopicSpec;

pub(crate) const EVERY_MS_MIN: u64 = 5_000;
/// Of a run: more topics than that would be a test of the controller.
pub(crate) const GENERATIONS_MAX: u32 = 200;
const NAP: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(200);
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// How often keys are replaced, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    pub every_ms: u64,
    /// The last one is written to until the end.
    pub generations: u32,
}

impl Rotation {
    /// So many as a run of this length needs.
    pub fn over(every: Duration, time_limit: Duration) -> Self {
        let generations = time_limit.as_secs_f64() / every.as_secs_f64().max(0.001);
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        Self { every_ms, generations: (generations.ceil().min(f64::from(u32::MAX)) as u32).max(2) }
    }
}

/// Where the generations of a run stand. Keys are positions in the run's keys.
pub(crate) struct Generations {
    /// Of each generation.
    keys: usize,
    /// Keys, the first ones, whose topics are there.
    begun: AtomicUsize,
}

impl Generations {
    /// Of a run that replaces no keys, all are there.
    pub(crate) fn new(rotation: Option<Rotation>, keys: usize) -> Self {
        let count = rotation.map_or(1, |rotation| rotation.generations as usize).max(1);
        Self { keys: keys / count, begun: AtomicUsize::new(keys / count) }
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(SeqCst)
    }

    /// The first that is written to; those before it are retired.
    pub(crate) fn first(&self) -> usize {
        self.begun() - self.keys
    }

    /// That are written to at a time.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    fn begin_next(&self) {
        self.begun.fetch_add(self.keys, SeqCst);
    }
}

/// Makes the topics when their times come: each is written to for so long at least, however late the one before it was.
pub(crate) fn make_topics(shared: &Shared, admin: &dyn Admin, topics: &[TopicSpec], over: &Over) {
    let every = Duration::from_millis(shared.options.rotation.map_or(0, |rotation| rotation.every_ms));
    for topic in topics {
        let began = Instant::now();
        while began.elapsed() < every {
            if over.is_over() {
                return;
            }
            std::thread::sleep(NAP);
        }
        make(shared, admin, topic, over);
    }
}

/// Asks until the topic is there and is led, or the run is over.
fn make(shared: &Shared, admin: &dyn Admin, topic: &TopicSpec, over: &Over) {
    let began = Instant::now();
    let names = [topic.name.clone()];
    let (mut is_made, mut asked, mut last) = (false, 0_u32, None);
    while !over.is_over() {
        if !is_made {
            asked += 1;
            let answer = admin.change(&Change::Create {
                topic: topic.name.clone(),
                partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
                replication_factor: i16::try_from(topic.replication_factor).unwrap_or(i16::MAX),
                settings: topic.settings.clone(),
            });
            is_made = match answer {
                // Nobody else makes topics of this run's name: an earlier request of ours was done and not answered.
                Ok(()) | Err(NotDone { code: Some(TOPIC_ALREADY_EXISTS), .. }) => true,
                Err(NotDone { text, .. }) => {
                    last = Some(text);
                    false
                }
            };
        }
        if is_made && is_led(admin, &names, topic.partitions) {
            let (begun, keys) = (shared.generations.begun(), shared.generations.keys());
            let told: Vec<_> = shared.keys[begun..begun + keys].iter().map(|entry: &KeyEntry| entry.key).collect();
            let took_ms = began.elapsed().as_millis() as u64;
            let value = json!({"topic": topic.name, "keys": told, "took_ms": took_ms, "asked": asked, "error": last});
            shared.record(Draft::told("topic-made", value));
            shared.generations.begin_next();
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether each partition has a leader, as some broker tells it.
fn is_led(admin: &dyn Admin, names: &[String], partitions: u32) -> bool {
    let seen = admin.topics(None, names).unwrap_or_default();
    seen.iter().any(|topic| topic.partitions.iter().filter(|partition| partition.leader.is_some()).count() == partitions as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_as_many_generations_as_its_time_needs_and_two_at_least() {
        let over = |every, limit| Rotation::over(Duration::from_secs(every), Duration::from_secs(limit)).generations;
        assert_eq!([over(10, 60), over(10, 61), over(60, 10)], [6, 7, 2]);
    }

    #[test]
    fn the_keys_of_the_latest_generation_are_written_to_and_those_before_are_retired() {
        let generations = Generations::new(Some(Rotation { every_ms: 10_000, generations: 3 }), 6);
        assert_eq!((generations.keys(), generations.begun(), generations.first()), (2, 2, 0));
        generations.begin_next();
        assert_eq!((generations.keys(), generations.begun(), generations.first()), (2, 4, 2));
        let one = Generations::new(None, 6);
        assert_eq!((one.keys(), one.begun(), one.first()), (6, 6, 0));
    }
}
