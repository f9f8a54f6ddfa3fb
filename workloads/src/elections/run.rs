//! The clients of `append`, the lane that changes the cluster beside them, and the last look at every broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kchaos_core::{Draft, KeyEntry};
use serde_json::{Map, Value as Json, json};

use super::lane::{Book, Lane, Ledger};
use super::looks::{Looks, State, is_seen, quantiles};
use crate::admin::{Admin, Change};
use crate::aside::{self, Aside};
use crate::counts::Counts;
use crate::options::Options;
use crate::run::{ClientsRun, join};
use crate::{Context, FinalTarget, FinaleOutcome, Outstanding, Running, SizeClass, Stopped, WorkloadError};

/// How long brokers get to tell what was acknowledged, once all is mended.
const SETTLED: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Topics that are looked for though they were deleted.
const DELETED_MAX: usize = 50;

pub(super) struct ElectionsRun {
    clients: ClientsRun,
    admin: Arc<dyn Admin>,
    ledger: Arc<Ledger>,
    looks: Arc<Looks>,
    lane: Aside,
    lookers: Vec<JoinHandle<()>>,
}

impl ElectionsRun {
    pub(super) fn start(options: Options, keys: Vec<KeyEntry>, context: Context) -> Result<Self, WorkloadError> {
        let admin = aside::admin("elections", &context)?;
        let (interval, replication_factor) = (Duration::from_millis(options.elections.interval_ms), options.replication_factor as usize);
        let clients = ClientsRun::start(options, keys, context)?;
        let ledger = Arc::new(Ledger::default());
        let looks = Arc::new(Looks::new(Arc::clone(&admin), Arc::clone(&clients.shared.recorder)));
        let lookers = looks.spawn().map_err(|source| WorkloadError::Thread { name: "elections".into(), source })?;
        let lane = Lane {
            shared: Arc::clone(&clients.shared),
            admin: Arc::clone(&admin),
            looks: Arc::clone(&looks),
            ledger: Arc::clone(&ledger),
            interval,
            replication_factor,
        };
        let lane = Aside::spawn("elections", move |over| lane.run(&over))?;
        Ok(Self { clients, admin, ledger, looks, lane, lookers })
    }

    /// Waits until every broker tells what was acknowledged, and records what each tells then.
    fn look_at_all(&self) -> Vec<String> {
        let book = self.ledger.book().clone();
        let mut errors = Vec::new();
        let until = Instant::now() + SETTLED;
        for broker in self.admin.brokers() {
            while Instant::now() < until && !self.is_settled(broker, &book) {
                std::thread::sleep(LOOK_EVERY);
            }
            match self.told(broker, &book) {
                Ok(topics) => {
                    let value = json!({"broker": broker, "topics": topics});
                    self.clients.shared.record(Draft::told("admin-final", value));
                }
                Err(error) => errors.push(format!("broker {broker} did not tell topics and settings at the end: {error}")),
            }
        }
        errors
    }

    fn is_settled(&self, broker: i32, book: &Book) -> bool {
        let is = |topic: &str, state: &State| is_seen(self.admin.as_ref(), broker, topic, state).unwrap_or(false);
        let setting = |((topic, name), value): (&(String, String), &Option<String>)| {
            is(topic, &State::Setting { name: name.clone(), value: value.clone() })
        };
        book.topics.iter().all(|(topic, partitions)| is(topic, &State::There { partitions: *partitions }))
            && book.deleted.iter().rev().take(DELETED_MAX).all(|topic| is(topic, &State::Gone))
            && book.settings.iter().all(setting)
    }

    fn told(&self, broker: i32, book: &Book) -> Result<Map<String, Json>, String> {
        let of_keys = self.clients.shared.keys.iter().map(|entry| entry.topic.clone());
        let mut names: Vec<String> = of_keys.chain(book.topics.keys().cloned()).collect();
        names.extend(book.deleted.iter().rev().take(DELETED_MAX).cloned());
        names.sort();
        names.dedup();
        let seen = self.admin.topics(Some(broker), &names)?;
        let counts: BTreeMap<String, usize> = seen.into_iter().map(|topic| (topic.topic, topic.partitions.len())).collect();
        let mut told = Map::new();
        for name in names {
            let json = match counts.get(&name) {
                None => Json::Null,
                Some(partitions) => {
                    let settings = self.admin.settings(broker, &name)?.unwrap_or_default();
                    json!({"partitions": partitions, "settings": settings})
                }
            };
            told.insert(name, json);
        }
        Ok(told)
    }

    /// In sentences: what was done, and how old what brokers told was.
    fn report(&self) -> Vec<String> {
        let book = self.ledger.book();
        let kinds: Vec<String> = book
            .done
            .iter()
            .map(|(kind, [ok, fail, info])| match (fail, info) {
                (0, 0) => format!("{ok} {kind}"),
                _ => format!("{ok} {kind} ({fail} refused, {info} unknown)"),
            })
            .collect();
        let measured = self.looks.measured();
        let unseen = measured.iter().filter(|stale| !stale.is_seen).count();
        let unseen = if unseen > 0 {
            format!("; {unseen} more were not told within 30 s, as a reassignment that waits for a replica")
        } else {
            String::new()
        };
        let mut told = vec![
            format!("changes of the cluster that were acknowledged: {}", kinds.join(", ")),
            format!(
                "metadata staleness (from a change's acknowledgement until each broker told it): {}{unseen}",
                quantiles(all(&measured, None))
            ),
        ];
        let by_kind: Vec<String> = book
            .done
            .keys()
            .map(|kind| (kind, all(&measured, Some(kind))))
            .filter(|(_, ms)| !ms.is_empty())
            .map(|(kind, ms)| format!("{kind} {}", quantiles(ms)))
            .collect();
        told.push(format!("the same by kind: {}", by_kind.join("; ")));
        told
    }

    /// The topics that came, and did not go.
    fn sweep(&self) {
        let names: Vec<String> = self.ledger.book().topics.keys().cloned().collect();
        let is_key = |topic: &String| self.clients.shared.keys.iter().any(|entry| entry.topic == *topic);
        for topic in names.into_iter().filter(|topic| !is_key(topic) && crate::topics::is_ours(topic, self.clients.shared.run_id())) {
            if let Err(error) = self.admin.change(&Change::Delete { topic: topic.clone() })
                && error.code != Some(UNKNOWN_TOPIC_OR_PARTITION)
            {
                self.clients.shared.log("elections").say("warning", "KCHAOS", &format!("{topic} was not deleted: {}", error.text));
            }
        }
    }
}

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

fn all(measured: &[super::looks::Stale], kind: Option<&str>) -> Vec<f64> {
    measured.iter().filter(|stale| stale.is_seen && kind.is_none_or(|kind| stale.change == kind)).map(|stale| stale.ms).collect()
}

impl Running for ElectionsRun {
    fn counts(&self) -> Counts {
        self.clients.counts()
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.clients.latency_by_size()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        self.lane.end();
        let mut outstanding = self.clients.stop_writes(deadline);
        outstanding.left_behind.extend(self.lane.left_behind.iter().cloned());
        outstanding
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        self.lane.end();
        let mut outcome = self.clients.finale(targets, deadline);
        outcome.unproved = self.look_at_all();
        self.looks.end();
        outcome.told = self.report();
        outcome
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Stopped {
        self.lane.end();
        self.looks.end();
        let until = Instant::now() + deadline;
        for looker in std::mem::take(&mut self.lookers) {
            let _ = join(looker, until);
        }
        self.sweep();
        let Self { clients, mut lane, .. } = *self;
        let mut stopped = Box::new(clients).stop(deadline);
        stopped.left_behind.append(&mut lane.left_behind);
        stopped
    }
}
