//! Before anything is broken: is it the right cluster, is it healthy, may we, and are its settings those that were meant?
//!
//! Refusals come before the first write. Leftovers of an earlier run are mended first, and said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::daemon::DaemonState;
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::protocol::ConfigMap;
use kchaos_cluster::view::{self, ViewError};
use kchaos_core::{FaultEvent, Plan};
use kchaos_nemeses::{Doors, HealOptions, HostPaths, HostReport, HostState, LockOptions};

use kchaos_workloads::Context;
use serde_json::{Value, json};

use super::abort::Abort;
use super::{Books, Display, Live, Setup, whole};
use super::{rights, steps};
use crate::doctor;
use crate::exit::Failure;

/// What was changed back a moment ago is known to all brokers by then.
const HEARD_TIMEOUT: Duration = Duration::from_secs(5);
const TOPIC_TIMEOUT: Duration = Duration::from_secs(30);

/// Settings that no cluster keeps its promises without, read back from the brokers and the topic, and shown in the report.
const BROKER_SETTINGS: &[&str] = &[
    "auto.leader.rebalance.enable",
    "broker.session.timeout.ms",
    "default.replication.factor",
    "inter.broker.protocol.version",
    "log.flush.interval.messages",
    "min.insync.replicas",
    "replica.lag.time.max.ms",
    "unclean.leader.election.enable",
    "zookeeper.session.timeout.ms",
];
const TOPIC_SETTINGS: &[&str] =
    &["cleanup.policy", "flush.messages", "min.insync.replicas", "retention.ms", "unclean.leader.election.enable"];

/// A cluster that was reached, is the one that was meant, is whole, and may be broken.
pub(super) struct Ready {
    pub(super) cluster: Arc<Cluster>,
    pub(super) doors: Arc<dyn Doors>,
}

/// The checks of `kchaos doctor`; whether the cluster is whole is asked later, when what an earlier run left has been mended.
pub(super) async fn check(setup: &Arc<Setup>, display: &Display) -> Result<Ready, Failure> {
    let examined = doctor::examine(setup, false).await;
    let failing = examined.failing();
    examined.warnings_of(doctor::racks::CHECK).iter().for_each(|warning| display.event(&format!("warning: {warning}")));
    let Some((cluster, doors)) = examined.ways.filter(|_| failing.is_empty()) else {
        return Err(Failure::environment(anyhow!("{}", failing.join("\n  "))));
    };
    let left_out = setup.leave_out(&examined.unbearable);
    if !left_out.is_empty() {
        display.event(&format!("left out, since this cluster cannot bear them (kchaos list nemeses says why): {}", left_out.join(", ")));
    }
    Ok(Ready { doors, cluster })
}

/// A cluster that is already broken proves nothing about what breaks it.
pub(super) async fn refuse_unhealthy(setup: &Setup) -> Result<(), Failure> {
    let now = view::look(&setup.inventory, None).await.context("look at the cluster")?;
    match whole::what_is_missing(&setup.inventory, &now) {
        Some(missing) => Err(Failure::environment(anyhow!("the cluster is not healthy to begin with: {missing}"))),
        None => Ok(()),
    }
}

/// Mends what an earlier run may have left. The hosts are locked for this run by now, so it cannot be another's fault at work.
pub(super) async fn sweep(doors: &Arc<dyn Doors>, setup: &Setup, display: &Display) -> Result<Vec<HostReport>, Failure> {
    let options = HealOptions { run_id: Some(setup.run_id.clone()), holder: super::holder(), ..HealOptions::default() };
    let hosts = kchaos_nemeses::heal_cluster(Arc::clone(doors), options).await;
    for host in &hosts {
        match &host.state {
            HostState::Clean => {}
            HostState::Healed(what) => display.event(&format!("{}: mended what an earlier run had left: {}", host.host, what.join(", "))),
            HostState::Unhealed(what) => {
                let error = anyhow!("{} could not be swept: {} (mend it: kchaos heal)", host.host, what.join(", "));
                return Err(Failure { code: crate::exit::UNHEALED, error });
            }
            HostState::Unreachable(why) => return Err(Failure::environment(anyhow!("{} could not be swept: {why}", host.host))),
        }
    }
    Ok(hosts)
}

/// The locks on every host, held for the run.
pub(super) struct Locks {
    doors: Arc<dyn Doors>,
    options: LockOptions,
}

impl Locks {
    /// Of a run that was cut off: its own, if they have not lapsed yet, are given up first. That nobody holds them was seen by its history, which
    /// is locked as long as it is written.
    pub(super) async fn take_over(doors: &Arc<dyn Doors>, setup: &Setup) -> Result<Self, Failure> {
        kchaos_nemeses::unlock_hosts(doors.as_ref(), &Self::options(setup)).await;
        Self::take(doors, setup).await
    }

    fn options(setup: &Setup) -> LockOptions {
        let lease = kchaos_nemeses::lock_lease(setup.args.lease);
        LockOptions { run_id: setup.run_id.clone(), holder: super::holder(), lease, paths: HostPaths::default() }
    }

    pub(super) async fn take(doors: &Arc<dyn Doors>, setup: &Setup) -> Result<Self, Failure> {
        let options = Self::options(setup);
        kchaos_nemeses::lock_hosts(doors.as_ref(), &options).await.map_err(Failure::environment)?;
        Ok(Self { doors: Arc::clone(doors), options })
    }

    /// A lock that cannot be given up lapses by itself.
    pub(super) async fn release(self) {
        kchaos_nemeses::unlock_hosts(self.doors.as_ref(), &self.options).await;
    }
}

pub(super) async fn make_topics(setup: &Arc<Setup>, context: Context) -> Result<(), Failure> {
    let (topics, setup) = (setup.workload.topics(&setup.run_id), Arc::clone(setup));
    let made = tokio::task::spawn_blocking(move || {
        setup.workload.refuse_cluster(&context).map_err(Failure::environment)?;
        kchaos_workloads::create_topics(&context, &topics, TOPIC_TIMEOUT).map_err(Failure::environment)
    });
    made.await.map_err(|error| Failure { code: crate::exit::INTERNAL, error: error.into() })?
}

pub(super) async fn delete_topics(setup: &Arc<Setup>, live: &Live, context: Context) {
    if setup.args.keep_topic || setup.options.topic.is_some() {
        return;
    }
    let (first, later) = (setup.workload.topics(&setup.run_id), setup.workload.later_topics(&setup.run_id));
    let names: Vec<_> = first.into_iter().chain(later).map(|topic| topic.name).collect();
    let deleted = tokio::task::spawn_blocking(move || kchaos_workloads::delete_topics(&context, &names, TOPIC_TIMEOUT));
    if let Ok(Err(error)) = deleted.await {
        live.display.event(&format!("the run's topic is still on the cluster: {error}"));
    }
}

/// Reads the effective settings back into the plan, refuses a topic that is not as it was asked for, and draws the schedule.
pub(super) async fn read_back(setup: &Arc<Setup>, plan: &mut Plan) -> Result<(), Failure> {
    plan.effective = effective_of_new_topics(setup).await.context("read the effective settings back")?;
    for topic in setup.workload.topics(&setup.run_id) {
        let found = plan.effective.get(&format!("topic {}", topic.name));
        for (name, wanted) in &topic.settings {
            let is = found.and_then(|settings| settings.get(name));
            if is.is_some_and(|is| is != wanted) {
                return Err(Failure::environment(anyhow!(
                    "the setting {name}={wanted} of topic {} is not in force: the cluster says {}",
                    topic.name,
                    is.map_or("nothing", String::as_str)
                )));
            }
        }
    }
    setup.schedule(plan, session_timeout_ms(&plan.effective, setup.inventory.is_kraft()));
    let topics: Vec<_> = setup.workload.topics(&setup.run_id).into_iter().map(|topic| topic.name).collect();
    whole_topics(setup, &topics).await?;
    rights::refuse_lacking(setup).await
}

/// The longest of the brokers': how long a fault is held depends on it. Of KRaft it is how long the controller hears nothing until it fences a
/// broker, which brokers know as well if they are set up alike.
fn session_timeout_ms(settings: &Settings, is_kraft: bool) -> Option<u64> {
    let name = if is_kraft { "broker.session.timeout.ms" } else { "zookeeper.session.timeout.ms" };
    let brokers = settings.iter().filter(|(name, _)| name.starts_with("broker "));
    brokers.filter_map(|(_, settings)| settings.get(name)?.parse().ok()).max()
}

/// The schedule that a run with this seed draws, without its topic.
pub(crate) async fn schedule_of(setup: &Setup) -> Result<Plan, Failure> {
    let mut plan = setup.plan();
    plan.effective = of_brokers(setup).await.context("read the brokers' settings")?;
    let session = session_timeout_ms(&plan.effective, setup.inventory.is_kraft());
    setup.schedule(&mut plan, session);
    Ok(plan)
}

/// A fresh topic needs a moment until every replica is in sync.
async fn whole_topics(setup: &Setup, topics: &[String]) -> Result<(), Failure> {
    let deadline = std::time::Instant::now() + TOPIC_TIMEOUT;
    loop {
        let missing = match view::look(&setup.inventory, Some(topics)).await {
            Ok(view) if view.partitions.is_empty() && !topics.is_empty() => Some("the run's topic is not there yet".to_owned()),
            Ok(view) => whole::what_is_missing(&setup.inventory, &view),
            Err(error) => Some(error.to_string()),
        };
        let Some(missing) = missing else { return Ok(()) };
        if std::time::Instant::now() > deadline {
            return Err(Failure::environment(anyhow!("the run's topic did not become whole within 30 s: {missing}")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The settings in force by whose they are: `broker 1`, `topic t`.
type Settings = BTreeMap<String, BTreeMap<String, String>>;

async fn of_brokers(setup: &Setup) -> Result<Settings, anyhow::Error> {
    let mut all = BTreeMap::new();
    for (_, daemon) in setup.inventory.daemons_of(DaemonKind::Kafka) {
        let settings = view::effective_config(&setup.inventory, daemon.id).await?;
        all.insert(format!("broker {}", daemon.id), pick(settings, BROKER_SETTINGS));
    }
    Ok(all)
}

async fn effective(setup: &Setup) -> Result<Settings, anyhow::Error> {
    let mut all = of_brokers(setup).await?;
    for topic in setup.workload.topics(&setup.run_id) {
        let settings = view::topic_config(&setup.inventory, &topic.name).await?;
        let asked = topic.settings.iter().map(|(name, _)| name.as_str());
        let names: Vec<_> = TOPIC_SETTINGS.iter().copied().chain(asked).collect();
        all.insert(format!("topic {}", topic.name), pick(settings, &names));
    }
    Ok(all)
}

/// A broker that has just come back, or has much to do, hears of a new topic later than others.
async fn effective_of_new_topics(setup: &Setup) -> Result<Settings, anyhow::Error> {
    let deadline = std::time::Instant::now() + TOPIC_TIMEOUT;
    loop {
        let answer = effective(setup).await;
        let is_early = answer.as_ref().is_err_and(is_unknown_topic) && std::time::Instant::now() < deadline;
        if !is_early {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn is_unknown_topic(error: &anyhow::Error) -> bool {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    matches!(error.downcast_ref::<ViewError>(), Some(ViewError::Protocol(error)) if error.code() == Some(UNKNOWN_TOPIC_OR_PARTITION))
}

fn pick(settings: ConfigMap, names: &[&str]) -> BTreeMap<String, String> {
    settings.into_iter().filter(|(name, _)| names.contains(&name.as_str())).filter_map(|(name, entry)| Some((name, entry.value?))).collect()
}

/// At the end of a run, without what its steps were to change, and what is not as it was, unasked. Brokers hear of a change after the one that took
/// it (of KRaft's always): what seems to have changed is asked for again before it is called so. What the cluster does not say is no answer.
pub(super) async fn settings_at_the_end(setup: &Setup, plan: &Plan) -> (Settings, Vec<String>) {
    let deadline = std::time::Instant::now() + HEARD_TIMEOUT;
    loop {
        let mut now = effective(setup).await.unwrap_or_default();
        steps::without(&steps::changed_settings(plan), &mut now);
        let changed = settings_changed(plan, &now);
        if changed.is_empty() || std::time::Instant::now() >= deadline {
            return (now, changed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// As the history tells them (docs/history.md). What the cluster did not say is left out.
pub(super) fn told(settings: &Settings) -> Value {
    let entity = |whose: &String| whose.replacen(' ', ":", 1);
    Value::Object(settings.iter().map(|(whose, settings)| (entity(whose), json!(settings))).collect())
}

/// Settings that were in force at the start and are not any more, unasked.
fn settings_changed(plan: &Plan, now: &Settings) -> Vec<String> {
    if now.is_empty() {
        return Vec::new();
    }
    let (mut changed, meant) = (Vec::new(), steps::changed_settings(plan));
    for (whose, before) in &plan.effective {
        for (name, was) in before.iter().filter(|(name, _)| !meant.contains(*name)) {
            let is = now.get(whose).and_then(|settings| settings.get(name));
            if is != Some(was) {
                changed.push(format!("{whose}: {name} was {was} and is {}", is.map_or("gone", String::as_str)));
            }
        }
    }
    changed
}

/// Which keys' records nobody may delete, as the history tells it (`log-retention`): those of topics that are set to keep all, in a run that deletes
/// nothing itself. A topic that loses its settings (KAFKA-9254) deletes in silence, and what was read before that would never be missed.
pub(super) fn kept_for_good(plan: &Plan) -> Option<Value> {
    const OF_RETENTION: &[&str] = &["retention", "cleanup.policy"];
    let deletes = plan.schedule.iter().any(|fault| fault.nemesis == "delete-records");
    if deletes || steps::changed_settings(plan).iter().any(|name| OF_RETENTION.iter().any(|word| name.contains(word))) {
        return None;
    }
    let keeps_all = |topic: &str| {
        let settings = plan.effective.get(&format!("topic {topic}"));
        let is = |name: &str, value: &str| settings.and_then(|settings| settings.get(name)).is_some_and(|held| held == value);
        is("retention.ms", "-1") && is("retention.bytes", "-1") && is("cleanup.policy", "delete")
    };
    let kept = plan.keys.iter().filter(|entry| keeps_all(&entry.topic));
    let kept: serde_json::Map<_, _> = kept.map(|entry| (entry.key.to_string(), json!({"retention_ms": null}))).collect();
    (!kept.is_empty()).then_some(Value::Object(kept))
}

/// By host and daemon.
pub(super) type Daemons = BTreeMap<(String, String), DaemonState>;

/// How every daemon is; one that cannot be seen is left out.
pub(super) async fn daemons(cluster: &Arc<Cluster>) -> Daemons {
    let mut found = BTreeMap::new();
    for host in &cluster.inventory.hosts {
        for daemon in &host.daemons {
            let remote = cluster.remote(&host.name);
            if let Ok(state) = cluster.manager(&host.name, &daemon.label()).state(&*remote).await {
                found.insert((host.name.clone(), daemon.label()), state);
            }
        }
    }
    found
}

/// Daemons that are not the process they were, although no fault of ours was aimed at them.
pub(super) async fn unexpected_exits(cluster: &Arc<Cluster>, before: &Daemons, faults: &[FaultEvent]) -> Vec<String> {
    exits(before, &daemons(cluster).await, faults)
}

/// What cannot be seen in the end has not ended: its host is told of by the sweep, with an exit code of its own.
fn exits(before: &Daemons, after: &Daemons, faults: &[FaultEvent]) -> Vec<String> {
    let is_ours = |daemon: &str| faults.iter().flat_map(|event| &event.chosen).any(|chosen| chosen.daemon == daemon);
    let mut ended = Vec::new();
    for (place @ (host, daemon), state) in before.iter().filter(|((_, daemon), _)| !is_ours(daemon)) {
        let DaemonState::Running(was) = state else { continue };
        match after.get(place) {
            Some(DaemonState::Running(now) | DaemonState::Stopped(now)) if now != was => {
                ended.push(format!("{daemon} on {host} was process {} and is process {} now; no fault was aimed at it", was.pid, now.pid));
            }
            Some(DaemonState::Gone) => ended.push(format!("{daemon} on {host} (process {}) is gone; no fault was aimed at it", was.pid)),
            Some(DaemonState::Running(_) | DaemonState::Stopped(_)) | None => {}
        }
    }
    ended
}

impl Ready {
    pub(super) fn live(&self, setup: &Arc<Setup>, books: &Books, abort: Abort, display: Arc<Display>) -> Live {
        let keys = setup.workload.keys(&setup.run_id);
        Live {
            setup: Arc::clone(setup),
            inventory: Arc::clone(&setup.inventory),
            cluster: Arc::clone(&self.cluster),
            doors: Arc::clone(&self.doors),
            clock: Arc::clone(&setup.clock),
            recorder: Arc::clone(&books.recorder),
            client_log: Arc::clone(&books.client_log),
            witness: Arc::clone(&books.witness),
            vitals: Arc::clone(&books.vitals),
            display,
            abort,
            begun: AtomicUsize::new(keys.len()),
            keys,
            client_hosts: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kchaos_checkers::{Judge, JudgeOptions};
    use kchaos_cluster::daemon::Pid;
    use kchaos_core::{Body, KeyEntry, Op, PlannedFault};

    use super::*;

    #[test]
    fn a_daemon_ended_when_its_host_says_so_and_not_when_nobody_can_ask() {
        let pid = |pid| Pid { pid, start_time: 7 };
        let daemons =
            |state: Option<DaemonState>| state.map(|state| (("zoo1".to_owned(), "zookeeper:1".to_owned()), state)).into_iter().collect();
        let before: Daemons = daemons(Some(DaemonState::Running(pid(4))));
        for (after, expect) in [
            (Some(DaemonState::Running(pid(4))), None),
            (Some(DaemonState::Stopped(pid(4))), None),
            (None, None),
            (Some(DaemonState::Gone), Some("is gone")),
            (Some(DaemonState::Running(pid(5))), Some("is process 5 now")),
        ] {
            let found = exits(&before, &daemons(after), &[]);
            let is_as_expected = expect.map_or(found.is_empty(), |words| found.len() == 1 && found[0].contains(words));
            assert!(is_as_expected, "{after:?}: {found:?}");
        }
    }

    fn settings(whose: &str, name: &str, value: &str) -> Settings {
        BTreeMap::from([(whose.to_owned(), BTreeMap::from([(name.to_owned(), value.to_owned())]))])
    }

    fn found(looks: &[&Settings]) -> Vec<String> {
        let mut judge = Judge::new(JudgeOptions::default());
        for (index, settings) in (0..).zip(looks) {
            let body = Body::Nemesis { f: "config".into(), value: told(settings) };
            judge.update(&Op { index, time_ns: index, body, ..Op::default() });
        }
        judge.finish().anomalies.into_keys().collect()
    }

    #[test]
    fn a_setting_that_went_back_by_itself_is_found_in_the_history_and_one_that_nobody_told_is_not() {
        let before = settings("topic t", "min.insync.replicas", "2");
        assert_eq!(told(&before), json!({"topic:t": {"min.insync.replicas": "2"}}));
        assert_eq!(found(&[&before, &settings("topic t", "min.insync.replicas", "1")]), ["config-reverted"]);
        for unknown in [Settings::new(), settings("broker 1", "min.insync.replicas", "1"), settings("topic t", "flush.messages", "1")] {
            assert!(found(&[&before, &unknown]).is_empty());
        }
        assert!(settings_changed(&Plan { effective: before, ..Plan::default() }, &Settings::new()).is_empty());
    }

    #[test]
    fn a_log_that_begins_beyond_what_it_was_to_keep_is_found_unless_the_run_deletes() {
        let held = [("retention.ms", "-1"), ("retention.bytes", "-1"), ("cleanup.policy", "delete")];
        let held: BTreeMap<_, _> = held.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let keys = vec![KeyEntry { key: 4, topic: "t".into(), partition: 0 }];
        let plan = Plan { effective: Settings::from([("topic t".to_owned(), held)]), keys, ..Plan::default() };
        assert_eq!(kept_for_good(&plan), Some(json!({"4": {"retention_ms": null}})));
        let found = |start: i64| {
            let mut judge = Judge::new(JudgeOptions::default());
            let end = json!({"4": {"start": start, "end": 9, "leader": 1, "leader_epoch": 0}});
            let told = [("log-retention", kept_for_good(&plan).unwrap()), ("final-offsets", end)];
            for (index, (f, value)) in (0..).zip(told) {
                judge.update(&Op { index, time_ns: index, body: Body::Nemesis { f: f.into(), value }, ..Op::default() });
            }
            judge.finish().anomalies.into_keys().collect::<Vec<_>>()
        };
        assert_eq!((found(3), found(0)), (vec!["expired-early".to_owned()], Vec::new()));
        let fault = |nemesis: &str| PlannedFault { nemesis: nemesis.into(), ..PlannedFault::default() };
        assert_eq!(kept_for_good(&Plan { schedule: vec![fault("delete-records")], ..plan.clone() }), None);
        assert!(kept_for_good(&Plan { schedule: vec![fault("kill-leader")], ..plan }).is_some());
    }
}
