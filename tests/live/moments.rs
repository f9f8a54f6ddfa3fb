//! The moments that kchaos measures from outside agree with what the brokers and ZooKeepers wrote down themselves.
//!
//! A moment of ours is an interval; a line of theirs is a stamp in milliseconds, from the same machine's clock. One kind of line is later than what it
//! tells: the controller writes "Changed partition … to OnlinePartition" when its whole batch of writes to ZooKeeper is through. What it tells
//! happened before this line, and after the one that called the partition offline (or, if a new controller found it offline, after the one by which
//! that controller began to elect): there the two lines together are taken as the log's word.

use std::collections::BTreeMap;

use kchaos_core::{Interval, Key, Observation, Observed, Plan};

use crate::daemon_log::{Line, PartitionLine, lines, lines_of};
use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

/// The logs' own rounding, and the way from an event to the line about it.
const WIDENED_NS: u64 = 20_000_000;
const WIDTH_P95_MAX_NS: u64 = 150_000_000;
/// Below this there is nothing to compare.
const MATCHED_MIN: usize = 20;
/// A line further from our interval than this is about something else.
const SAME_EVENT_NS: u64 = 5_000_000_000;

/// One moment of ours with the log's word about it, both since the run's start.
#[derive(Debug)]
struct Matched {
    kind: &'static str,
    ours: Interval,
    log: Interval,
}

#[test]
#[ignore = "needs root and the lab"]
fn measured_moments_agree_with_the_brokers_own_logs() {
    let lab = Lab::that_is_whole();
    let run = a_run_with("kill-leader", &["--faults", "3", "--nemesis-interval", "1s", "--nemesis-duration", "8s"]).finish().ends_with(0);
    run.stands_offline();

    let logs = Logs::of(&lab, &run);
    let matched: Vec<_> = run.timeline().iter().filter_map(|observation| logs.about(observation)).collect();
    for kind in ["partition-metadata", "partition-state", "broker-gone", "controller"] {
        print_kind(kind, &matched);
    }
    let outside: Vec<_> = matched.iter().filter(|one| !one.agrees()).collect();
    let share = 1.0 - outside.len() as f64 / matched.len().max(1) as f64;
    let width = p95(matched.iter().map(|one| one.ours.width_ns()).collect());
    println!(
        "moments against the daemon logs: {} matched, {:.1} % agree, widths p95 {:.0} ms",
        matched.len(),
        share * 100.0,
        width as f64 / 1e6
    );
    for one in &outside {
        println!("  outside: a {} of {:?}, {:.0} ms from the log's {:?}", one.kind, one.ours, one.apart_ns() as f64 / 1e6, one.log);
    }
    assert!(matched.len() >= MATCHED_MIN, "only {} moments have a line: {matched:?}", matched.len());
    assert!(matched.iter().any(|one| one.kind == "broker-gone"), "no session's end was compared");
    assert!(share >= 0.95, "outside: {outside:#?}");
    assert!(width <= WIDTH_P95_MAX_NS, "the intervals' width at p95 is {width} ns");
}

fn print_kind(kind: &str, matched: &[Matched]) {
    let of_kind: Vec<_> = matched.iter().filter(|one| one.kind == kind).collect();
    let agree = of_kind.iter().filter(|one| one.agrees()).count();
    let width = p95(of_kind.iter().map(|one| one.ours.width_ns()).collect());
    let log_width = of_kind.iter().map(|one| one.log.width_ns()).max().unwrap_or(0);
    println!(
        "  {kind}: {agree} of {} agree, widths p95 {:.0} ms; the log's word is up to {:.0} ms wide",
        of_kind.len(),
        width as f64 / 1e6,
        log_width as f64 / 1e6
    );
}

fn p95(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    let nth = (values.len() * 95).div_ceil(100).max(1) - 1;
    values.get(nth).copied().unwrap_or(0)
}

impl Matched {
    fn agrees(&self) -> bool {
        self.log.after_ns <= self.ours.before_ns + WIDENED_NS && self.log.before_ns + WIDENED_NS >= self.ours.after_ns
    }

    fn apart_ns(&self) -> u64 {
        self.log.after_ns.saturating_sub(self.ours.before_ns).max(self.ours.after_ns.saturating_sub(self.log.before_ns))
    }
}

/// What the daemons wrote, by what it is about. Stamps are since the run's start.
struct Logs {
    plan: Plan,
    learned: BTreeMap<(i32, PartitionLine), Vec<u64>>,
    elected: BTreeMap<PartitionLine, Vec<Interval>>,
    controllers: BTreeMap<(i32, i32), u64>,
    expired: BTreeMap<i32, Vec<u64>>,
}

impl Logs {
    fn of(lab: &Lab, run: &Finished) -> Self {
        let plan = run.plan();
        let mut logs =
            Self { plan, learned: BTreeMap::new(), elected: BTreeMap::new(), controllers: BTreeMap::new(), expired: BTreeMap::new() };
        let of_host = |host: &str| run.directory.join("logs").join(host);
        let mut sessions = BTreeMap::new();
        for broker in 1..=3 {
            let host = format!("kafka{broker}");
            let mut began = Vec::new();
            for line in lines_of(&of_host(&host), "controller.log") {
                began.extend(logs.since_start(&line).filter(|_| line.begins_to_elect()));
                if let (Some(elected), Some(at_ns)) = (line.became_controller(), logs.since_start(&line)) {
                    logs.controllers.insert(elected, at_ns);
                }
            }
            logs.read_state_changes(broker, &lines_of(&of_host(&host), "state-change.log"), &began);
            // The whole file: a session that ended in the run may have begun before it.
            for line in lines(&lab.on(&host, "grep -h 'session id = ' /var/log/kafka/server.log*")) {
                sessions.extend(line.own_session().map(|session| (session.to_owned(), broker)));
            }
        }
        for host in ["zoo1", "zoo2", "zoo3"] {
            for line in lines_of(&of_host(host), "zookeeper.log") {
                let broker = line.expired_session().and_then(|session| sessions.get(session));
                if let (Some(broker), Some(at_ns)) = (broker, logs.since_start(&line)) {
                    logs.expired.entry(*broker).or_default().push(at_ns);
                }
            }
        }
        logs
    }

    fn since_start(&self, line: &Line) -> Option<u64> {
        line.at_ns.checked_sub(self.plan.started_at_unix_ns)
    }

    /// Only what is new to a broker: the controller tells many things more than once.
    fn read_state_changes(&mut self, broker: i32, lines: &[Line], began_to_elect: &[u64]) {
        let mut known = BTreeMap::new();
        let mut offline_ns = BTreeMap::new();
        for line in lines {
            let Some(at_ns) = self.since_start(line) else { continue };
            if let Some(state) = line.cached() {
                let partition = (state.topic.clone(), state.partition);
                if known.insert(partition, state.clone()).as_ref() != Some(&state) {
                    self.learned.entry((broker, state)).or_default().push(at_ns);
                }
            } else if let Some(partition) = line.went_offline() {
                offline_ns.insert(partition, at_ns);
            } else if let Some(state) = line.brought_online() {
                let offline = offline_ns.remove(&(state.topic.clone(), state.partition));
                let took_over = || began_to_elect.iter().copied().filter(|began_ns| *began_ns <= at_ns).max();
                let after_ns = offline.or_else(took_over).unwrap_or(at_ns);
                self.elected.entry(state).or_default().push(Interval { after_ns, before_ns: at_ns });
            }
        }
    }

    /// The line about what was observed, if there is one. What held when the observer began has no moment.
    fn about(&self, observation: &Observation) -> Option<Matched> {
        if observation.when.after_ns == 0 {
            return None;
        }
        let (kind, stamps): (_, Vec<Interval>) = match &observation.what {
            Observed::PartitionMetadata { key, leader, leader_epoch, isr } => {
                let broker = observation.source.strip_prefix("broker:")?.parse().ok()?;
                let state = self.state(*key, *leader, *leader_epoch, isr)?;
                ("partition-metadata", self.learned.get(&(broker, state))?.iter().copied().map(Interval::at).collect())
            }
            Observed::PartitionState { key, leader, leader_epoch, isr, .. } => {
                ("partition-state", self.elected.get(&self.state(*key, *leader, *leader_epoch, isr)?)?.clone())
            }
            Observed::BrokerGone { broker } => ("broker-gone", self.expired.get(broker)?.iter().copied().map(Interval::at).collect()),
            Observed::Controller { broker: Some(broker), epoch: Some(epoch) } => {
                ("controller", vec![Interval::at(*self.controllers.get(&(*broker, *epoch))?)])
            }
            _ => return None,
        };
        let candidates = stamps.into_iter().map(|log| Matched { kind, ours: observation.when, log });
        candidates.min_by_key(Matched::apart_ns).filter(|nearest| nearest.apart_ns() < SAME_EVENT_NS)
    }

    fn state(&self, key: Key, leader: Option<i32>, leader_epoch: i32, isr: &[i32]) -> Option<PartitionLine> {
        let entry = self.plan.keys.iter().find(|entry| entry.key == key)?;
        let leader = leader.unwrap_or(-1);
        Some(PartitionLine { topic: entry.topic.clone(), partition: entry.partition, leader, leader_epoch, isr: isr.to_vec() })
    }
}
