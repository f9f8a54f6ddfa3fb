//! How long each broker still told the old state after a change was acknowledged: asked of every broker by itself, on a thread of its own.
//!
//! What is measured reaches from the acknowledgement to the first answer that shows the change (its request left at most [`EVERY`] and an answer's time
//! after the last one that did not). A look ends without a measure when the same thing is changed again, or when the broker does not answer.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Draft, Recorder};
use serde_json::json;

use crate::admin::Admin;

const EVERY: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(50);
/// Who tells the old state for longer is told of as it is then.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a broker should tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// This leader, or a later one than that of `epoch`.
    Leader {
        partition: i32,
        leader: i32,
        epoch: i32,
    },
    Replicas {
        partition: i32,
        replicas: Vec<i32>,
    },
    Setting {
        name: String,
        value: Option<String>,
    },
    /// With so many partitions, or more.
    There {
        partitions: i32,
    },
    Gone,
    Unmeasured,
}

#[derive(Clone)]
struct Look {
    admin_op: u64,
    change: &'static str,
    topic: String,
    state: State,
    generation: u64,
    since: Instant,
}

/// One measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stale {
    pub(super) change: &'static str,
    pub(super) ms: f64,
    /// `false`: it still told the old state after so long.
    pub(super) is_seen: bool,
}

#[derive(Default)]
struct Board {
    /// By broker.
    open: BTreeMap<i32, Vec<Look>>,
    /// By topic and what is changed of it: how often it was.
    generations: BTreeMap<(String, String), u64>,
    measured: Vec<Stale>,
}

pub(super) struct Looks {
    admin: Arc<dyn Admin>,
    recorder: Arc<dyn Recorder>,
    board: Mutex<Board>,
    is_over: AtomicBool,
}

impl Looks {
    pub(super) fn new(admin: Arc<dyn Admin>, recorder: Arc<dyn Recorder>) -> Self {
        let open = admin.brokers().into_iter().map(|broker| (broker, Vec::new())).collect();
        Self { admin, recorder, board: Mutex::new(Board { open, ..Board::default() }), is_over: AtomicBool::new(false) }
    }

    pub(super) fn spawn(self: &Arc<Self>) -> std::io::Result<Vec<JoinHandle<()>>> {
        let brokers: Vec<i32> = self.board().open.keys().copied().collect();
        let start = |broker: i32| {
            let looks = Arc::clone(self);
            std::thread::Builder::new().name(format!("looks-{broker}")).spawn(move || looks.run(broker))
        };
        brokers.into_iter().map(start).collect()
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    pub(super) fn measured(&self) -> Vec<Stale> {
        self.board().measured.clone()
    }

    /// The same is about to be changed again: what it was is not looked for any more.
    pub(super) fn supersede(&self, topic: &str, state: &State) {
        *self.board().generations.entry((topic.to_owned(), aspect(state))).or_default() += 1;
    }

    /// It was acknowledged just now.
    pub(super) fn begin(&self, admin_op: u64, change: &'static str, topic: String, state: State) {
        if state == State::Unmeasured {
            return;
        }
        let mut board = self.board();
        let generation = board.generations.get(&(topic.clone(), aspect(&state))).copied().unwrap_or(0);
        let look = Look { admin_op, change, topic, state, generation, since: Instant::now() };
        board.open.values_mut().for_each(|open| open.push(look.clone()));
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is still to be seen of this broker.
    fn open(&self, broker: i32) -> Vec<Look> {
        let mut board = self.board();
        let Board { open, generations, .. } = &mut *board;
        let Some(looks) = open.get_mut(&broker) else { return Vec::new() };
        looks.retain(|look| generations.get(&(look.topic.clone(), aspect(&look.state))).copied().unwrap_or(0) == look.generation);
        looks.clone()
    }

    fn run(&self, broker: i32) {
        while !self.is_over.load(Relaxed) {
            let open = self.open(broker);
            if open.is_empty() {
                std::thread::sleep(IDLE);
                continue;
            }
            for look in open {
                let seen = is_seen(self.admin.as_ref(), broker, &look.topic, &look.state);
                let since = look.since.elapsed();
                match seen {
                    Ok(false) if since < PATIENCE => continue,
                    Ok(is_seen) => self.tell(broker, &look, since, is_seen),
                    Err(_) => {}
                }
                if let Some(looks) = self.board().open.get_mut(&broker) {
                    looks.retain(|other| other.admin_op != look.admin_op);
                }
            }
            std::thread::sleep(EVERY);
        }
    }

    fn tell(&self, broker: i32, look: &Look, since: Duration, is_seen: bool) {
        let ms = (since.as_secs_f64() * 10_000.0).round() / 10.0;
        let value =
            json!({"admin": look.admin_op, "change": look.change, "topic": look.topic, "broker": broker, "stale_ms": ms, "seen": is_seen});
        self.recorder.record(Draft::told("metadata-seen", value));
        self.board().measured.push(Stale { change: look.change, ms, is_seen });
    }
}

/// What is changed, by name.
fn aspect(state: &State) -> String {
    match state {
        State::Leader { partition, .. } => format!("leader {partition}"),
        State::Replicas { partition, .. } => format!("replicas {partition}"),
        State::Setting { name, .. } => name.clone(),
        State::There { .. } | State::Gone => "topic".to_owned(),
        State::Unmeasured => String::new(),
    }
}

pub(super) fn is_seen(admin: &dyn Admin, broker: i32, topic: &str, state: &State) -> Result<bool, String> {
    if let State::Setting { name, value } = state {
        return Ok(admin.settings(broker, topic)?.is_some_and(|settings| settings.get(name) == value.as_ref()));
    }
    let seen = admin.topics(Some(broker), &[topic.to_owned()])?;
    let seen = seen.into_iter().find(|seen| seen.topic == topic);
    let partition_is = |partition: i32, is: &dyn Fn(&crate::admin::SeenPartition) -> bool| {
        seen.as_ref().is_some_and(|seen| seen.partitions.iter().any(|seen| seen.partition == partition && is(seen)))
    };
    Ok(match state {
        State::Leader { partition, leader, epoch } => {
            partition_is(*partition, &|seen| seen.leader == Some(*leader) || seen.leader_epoch > *epoch)
        }
        State::Replicas { partition, replicas } => partition_is(*partition, &|seen| seen.replicas == *replicas),
        State::There { partitions } => {
            seen.is_some_and(|seen| i32::try_from(seen.partitions.len()).is_ok_and(|count| count >= *partitions))
        }
        State::Gone => seen.is_none(),
        State::Setting { .. } | State::Unmeasured => true,
    })
}

/// `n 120, p50 8 ms, p95 31 ms, max 60 ms`.
pub(super) fn quantiles(mut ms: Vec<f64>) -> String {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied().unwrap_or(0.0);
    format!("n {}, p50 {:.1} ms, p95 {:.1} ms, max {:.1} ms", ms.len(), at(0.5), at(0.95), at(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        assert_eq!(quantiles((1..=20).rev().map(f64::from).collect()), "n 20, p50 10.0 ms, p95 19.0 ms, max 20.0 ms");
        assert_eq!(quantiles(vec![]), "n 0, p50 0.0 ms, p95 0.0 ms, max 0.0 ms");
    }
}
