//! One look at the cluster, or looks until it is as it is to be.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kchaos_cluster::view::{self, View};
use serde::Deserialize;

use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step, own, seconds};
use crate::cli::Time;
use crate::exit::{self, Failure};

pub(super) const KIND: Kind =
    Kind { name: "status", about: "Brokers, controller, partitions and ZooKeeper modes", role: Role::Looks, read: own::<Status> };

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Beyond twice the promised time, for what comes late to be told from what never comes.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Status {
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    expect: Expect,
    within: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Expect {
    brokers: Option<Brokers>,
    zookeepers: Option<usize>,
    controller: Option<Who>,
    zookeeper_leader: Option<Who>,
    leader: Option<Who>,
    isr: Option<Isr>,
    partitions: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "how many brokers there are to be, or a list of their ids")]
enum Brokers {
    Count(usize),
    Ids(Vec<i32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Any,
    /// Not one that the last fault hit.
    Other,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged, expecting = "isr is \"full\", or how many replicas are to be in sync")]
enum Isr {
    Count(usize),
    Word(IsrWord),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum IsrWord {
    Full,
}

#[async_trait]
impl Step for Status {
    fn command(&self, _scene: &Scene) -> String {
        "kchaos status".to_owned()
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let topics = Some(self.topics.as_slice()).filter(|topics| !topics.is_empty());
        let began = Instant::now();
        let (since_what, since) = match &scene.past.since {
            Some((what, since)) if self.within.is_some() => (what.clone(), *since),
            _ => ("this step began".to_owned(), began),
        };
        let patience = self.within.map_or(Duration::ZERO, |Time(within)| 2 * within + PATIENCE);
        let mut not_before = None;
        loop {
            let look_began = Instant::now();
            let looked = scene.viewer.look(topics).await;
            let lacking = match &looked {
                Ok(view) => lacking(&self.expect, view, &self.topics, &scene.past.hit),
                Err(error) => vec![error.to_string()],
            };
            let is_over = since.elapsed() >= patience;
            if lacking.is_empty() || is_over || scene.abort.reason().is_some() {
                if let Ok(view) = &looked {
                    scene.transcript.say(&view::render_text(view));
                }
                let held = Held { after: since.elapsed(), not_before };
                let outcome = if lacking.is_empty() || is_over {
                    self.outcome(&lacking, held, &since_what)
                } else {
                    Outcome::of(exit::ABORTED, format!("ended while it was waited for: {}", lacking.join("; ")))
                };
                return Ok(outcome.with("view", looked.ok().map_or(serde_json::Value::Null, |view| serde_json::json!(view))));
            }
            not_before = Some(look_began.saturating_duration_since(since));
            scene.abort.sleep(LOOK_EVERY).await;
        }
    }
}

/// When it was first seen to be so, and when it was last seen not to be.
#[derive(Clone, Copy)]
struct Held {
    after: Duration,
    not_before: Option<Duration>,
}

impl Status {
    fn outcome(&self, lacking: &[String], held: Held, since: &str) -> Outcome {
        if !lacking.is_empty() {
            return Outcome::of(exit::INVALID, format!("not as expected {} after {since}: {}", seconds(held.after), lacking.join("; ")));
        }
        let Some(Time(within)) = self.within else { return Outcome::valid("as expected") };
        let waited = held.not_before.is_some();
        let when = match held.not_before {
            Some(not_before) => format!("{} to {} after {since}", seconds(not_before), seconds(held.after)),
            None => format!("seen {} after {since}", seconds(held.after)),
        };
        let outcome = match held.not_before {
            _ if held.after <= within => Outcome::valid(format!("as expected, {when}; at most {} was allowed", seconds(within))),
            Some(not_before) if not_before >= within => {
                Outcome::of(exit::THRESHOLD, format!("as expected, but late: {when}, and at most {} was allowed", seconds(within)))
            }
            // Nobody looked in time.
            _ => Outcome::of(exit::UNKNOWN, format!("as expected, {when}; whether within {} was not seen", seconds(within))),
        };
        let outcome = outcome.with("held_after_ms", crate::run::millis(held.after)).with("within_ms", crate::run::millis(within));
        if waited { outcome.with("not_before_ms", held.not_before.map_or(0, crate::run::millis)) } else { outcome }
    }
}

/// What keeps the cluster from being as it is to be.
fn lacking(expect: &Expect, view: &View, topics: &[String], hit: &[String]) -> Vec<String> {
    let mut lacks = Vec::new();
    let registered: BTreeSet<i32> = view.brokers.keys().copied().collect();
    match &expect.brokers {
        Some(Brokers::Count(count)) if registered.len() != *count => {
            lacks.push(format!("brokers {registered:?} are registered, not {count}"));
        }
        Some(Brokers::Ids(ids)) if registered != ids.iter().copied().collect() => {
            lacks.push(format!("brokers {registered:?} are registered, not {ids:?}"));
        }
        _ => {}
    }
    let serving: Vec<&str> = view.zookeepers.values().map(|one| one.mode.as_str()).filter(|mode| *mode != "none").collect();
    if let Some(count) = expect.zookeepers {
        let leaders = serving.iter().filter(|mode| matches!(**mode, "leader" | "standalone")).count();
        if serving.len() != count || leaders != 1 {
            lacks.push(format!("{} ZooKeepers serve, {leaders} of them as leader, not {count} with one", serving.len()));
        }
    }
    let was_hit = |kind: &str, id: i32| hit.iter().any(|daemon| *daemon == format!("{kind}:{id}"));
    if let Some(who) = expect.controller {
        lacks.extend(who.lacks("controller", view.controller, |id| was_hit("kafka", id)));
    }
    if let Some(who) = expect.zookeeper_leader {
        let leader = view.zookeepers.values().find(|one| one.mode == "leader").map(|one| one.id);
        lacks.extend(who.lacks("ZooKeeper leader", leader, |id| was_hit("zookeeper", id)));
    }
    lacks.extend(
        topics
            .iter()
            .filter(|topic| !view.partitions.iter().any(|seen| seen.topic == **topic))
            .map(|topic| format!("there is no topic {topic}")),
    );
    if let Some(count) = expect.partitions.filter(|count| *count != view.partitions.len()) {
        lacks.push(format!("there are {} partitions, not {count}", view.partitions.len()));
    }
    for seen in &view.partitions {
        let place = format!("{}:{}", seen.topic, seen.partition);
        if let Some(who) = expect.leader {
            lacks.extend(who.lacks(&format!("leader of {place}"), seen.leader, |id| was_hit("kafka", id)));
        }
        let (isr, replicas) = (seen.isr.len(), seen.replicas.len());
        match expect.isr {
            Some(Isr::Word(IsrWord::Full)) if isr != replicas => {
                lacks.push(format!("{place} has ISR {:?} of {:?}", seen.isr, seen.replicas));
            }
            Some(Isr::Count(count)) if isr != count => lacks.push(format!("{place} has ISR {:?}, not {count} replicas", seen.isr)),
            _ => {}
        }
    }
    lacks
}

impl Who {
    fn lacks(self, what: &str, id: Option<i32>, was_hit: impl Fn(i32) -> bool) -> Option<String> {
        match id {
            None => Some(format!("there is no {what}")),
            Some(id) if self == Who::Other && was_hit(id) => Some(format!("the {what} is still {id}, which the fault hit")),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use kchaos_cluster::view::{BrokerView, PartitionView, ZooKeeperView};

    use super::*;

    fn view() -> View {
        let server = |id, mode: &str| ZooKeeperView { id, mode: mode.to_owned(), ..ZooKeeperView::default() };
        View {
            brokers: [1, 2, 3].into_iter().map(|id| (id, BrokerView::default())).collect(),
            controller: Some(2),
            partitions: vec![PartitionView {
                topic: "channel".to_owned(),
                partition: 0,
                leader: Some(2),
                leader_epoch: 1,
                replicas: vec![2, 1, 3],
                isr: vec![2, 1],
            }],
            zookeepers: [
                ("a".to_owned(), server(1, "leader")),
                ("b".to_owned(), server(2, "follower")),
                ("c".to_owned(), server(3, "none")),
            ]
            .into(),
            ..View::default()
        }
    }

    fn check(expect: &str, hit: &[&str], lacks: &[&str]) {
        let expect: Expect = toml::from_str(expect).unwrap();
        let hit: Vec<String> = hit.iter().map(|one| (*one).to_owned()).collect();
        let found = lacking(&expect, &view(), &["channel".to_owned()], &hit);
        assert_eq!(found.len(), lacks.len(), "{found:?}");
        for (found, part) in found.iter().zip(lacks) {
            assert!(found.contains(part), "{found}");
        }
    }

    #[test]
    fn what_is_expected_is_held_against_the_view() {
        check(
            "brokers = 3\nzookeepers = 2\ncontroller = 'any'\nleader = 'any'\nisr = 2\npartitions = 1\nzookeeper-leader = 'any'",
            &[],
            &[],
        );
        check("brokers = [1, 2, 3]", &[], &[]);
        check("brokers = [1, 2]", &[], &["{1, 2, 3} are registered, not [1, 2]"]);
        check("brokers = 4\nisr = 'full'\nzookeepers = 3", &[], &["not 4", "2 ZooKeepers serve", "ISR [2, 1] of [2, 1, 3]"]);
        check("isr = 3\npartitions = 2", &[], &["there are 1 partitions", "not 3 replicas"]);
    }

    #[test]
    fn another_leader_is_one_that_the_last_fault_did_not_hit() {
        let all = "controller = 'other'\nleader = 'other'\nzookeeper-leader = 'other'";
        check(all, &["kafka:1"], &[]);
        check(all, &["kafka:2"], &["controller is still 2", "leader of channel:0 is still 2"]);
        check(all, &["zookeeper:1"], &["ZooKeeper leader is still 1"]);
    }

    #[test]
    fn what_is_seen_too_late_is_a_missed_promise_and_what_was_not_looked_at_in_time_is_unknown() {
        let step = Status { topics: Vec::new(), expect: Expect::default(), within: Some(Time(Duration::from_secs(21))) };
        let code = |not_before: Option<u64>, after: u64| {
            step.outcome(&[], Held { after: Duration::from_secs(after), not_before: not_before.map(Duration::from_secs) }, "the fault").code
        };
        assert_eq!((code(Some(18), 19), code(None, 5)), (exit::VALID, exit::VALID));
        assert_eq!((code(Some(22), 23), code(Some(20), 22), code(None, 30)), (exit::THRESHOLD, exit::UNKNOWN, exit::UNKNOWN));
        assert_eq!(step.outcome(&["no".to_owned()], Held { after: Duration::ZERO, not_before: None }, "it").code, exit::INVALID);
    }
}
