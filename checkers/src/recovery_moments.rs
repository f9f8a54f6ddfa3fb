//! The moments of one fault, found in the timeline and in the clients' acks. Their definitions stand in [`crate::recovery`].

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Chosen, FaultEvent, FaultMoment, Interval, Key, Observation, Observed};

use crate::recovery::{FaultRecovery, Found, KeyRecovery, Moment, Phase, Span};
use crate::recovery_acks::{Acks, First};

/// What `faults.jsonl` says of one fault.
#[derive(Clone, Debug)]
pub(crate) struct FaultLife {
    pub(crate) fault_id: u32,
    pub(crate) nemesis: String,
    pub(crate) asked_ns: u64,
    pub(crate) chosen: Vec<Chosen>,
    pub(crate) in_effect: Option<Interval>,
    pub(crate) proved: bool,
    pub(crate) failed: bool,
    lapsed: Option<Interval>,
    healed: Option<Interval>,
}

impl FaultLife {
    pub(crate) fn new(event: &FaultEvent) -> Self {
        Self {
            fault_id: event.fault_id,
            nemesis: event.nemesis.clone(),
            asked_ns: event.when.after_ns,
            chosen: Vec::new(),
            in_effect: None,
            proved: false,
            failed: false,
            lapsed: None,
            healed: None,
        }
    }

    pub(crate) fn update(&mut self, event: &FaultEvent) {
        if self.chosen.is_empty() {
            self.chosen.clone_from(&event.chosen);
        }
        match event.moment {
            FaultMoment::InEffect if self.in_effect.is_none() => {
                self.in_effect = Some(event.when);
                self.proved = event.proof.as_ref().is_some_and(|proof| proof.proved);
            }
            FaultMoment::LeaseLapsed if self.lapsed.is_none() => self.lapsed = Some(event.when),
            FaultMoment::Healed => self.healed = Some(event.when),
            FaultMoment::Failed => self.failed = true,
            _ => {}
        }
    }

    /// When the fault ended: a lease that lapsed ended it before we did.
    pub(crate) fn mended(&self) -> Option<Interval> {
        self.lapsed.or(self.healed)
    }

    /// From when replicas can come back: our mend was begun, or the lease ended the fault.
    fn mend_begun(&self) -> Option<Interval> {
        self.lapsed.or(self.healed.map(|healed| Interval::at(healed.after_ns)))
    }

    pub(crate) fn keys_led(&self) -> impl Iterator<Item = Key> + '_ {
        self.chosen.iter().flat_map(|chosen| chosen.keys_led.iter().copied())
    }
}

/// One fault against the timeline: what was so when it began, and what changed until the next one.
struct Scene<'a> {
    life: &'a FaultLife,
    in_effect: Interval,
    timeline: &'a [Observation],
    /// Where the next fault begins, or the end of time.
    end_ns: u64,
}

#[derive(Clone)]
struct State {
    leader: Option<i32>,
    leader_epoch: i32,
    isr_len: usize,
}

pub(crate) fn fault_recovery(life: &FaultLife, all: &[&FaultLife], timeline: &[Observation], acks: &Acks) -> FaultRecovery {
    let in_effect = life.in_effect.unwrap_or(Interval::at(life.asked_ns));
    let end_of = |concerns: &dyn Fn(&FaultLife) -> bool| {
        all.iter().filter(|other| other.asked_ns > life.asked_ns && concerns(other)).map(|other| other.asked_ns).min().unwrap_or(u64::MAX)
    };
    let scene = Scene { life, in_effect, timeline, end_ns: end_of(&|_| true) };
    let session_gone = scene.session_gone();
    let (controller, controller_phase) = scene.controller(&session_gone);
    let (zookeeper_leader_gone, zookeeper_leader) = scene.zookeeper();
    let mut phases = BTreeMap::new();
    let mut insert = |phase, span: Option<Found<Span>>| span.map(|span| phases.insert(phase, span));
    insert(Phase::Controller, controller_phase);
    if !matches!(zookeeper_leader, Found::NotApplicable { .. }) {
        insert(Phase::ZookeeperElection, Some(zookeeper_election(&zookeeper_leader_gone, &zookeeper_leader)));
    }
    if life.keys_led().next().is_none() && session_gone.seen().is_some() {
        insert(Phase::Detection, Some(between(&Found::Seen(in_effect), &session_gone)));
    }
    let keys = life
        .chosen
        .iter()
        .filter_map(|chosen| Some((broker_id(chosen)?, chosen)))
        .flat_map(|(broker, chosen)| chosen.keys_led.iter().map(move |key| (broker, *key)))
        .map(|(broker, key)| {
            // A partition comes back from this fault until another takes its leader; its replicas, until another takes any of them.
            let own = Scene { life, in_effect, timeline, end_ns: end_of(&|other| other.keys_led().any(|theirs| theirs == key)) };
            key_recovery(&own, &scene, broker, key, &session_gone, acks)
        })
        .collect();
    FaultRecovery {
        fault_id: life.fault_id,
        nemesis: life.nemesis.clone(),
        daemons: life.chosen.iter().map(|chosen| format!("{} on {}", chosen.daemon, chosen.host)).collect(),
        proved: life.proved,
        in_effect: Found::Seen(in_effect),
        mended: life.mended().map_or_else(|| Found::unseen("nobody has seen it mended"), Found::Seen),
        session_gone,
        controller,
        zookeeper_leader_gone,
        zookeeper_leader,
        phases,
        keys,
    }
}

fn key_recovery(scene: &Scene<'_>, until_next: &Scene<'_>, broker: i32, key: Key, session_gone: &Moment, acks: &Acks) -> KeyRecovery {
    let base = scene.base(key);
    let elected = scene.elected(key, base.as_ref(), session_gone);
    let (new_leader, leader_epoch) = match &elected {
        Ok((_, state)) => (state.leader, Some(state.leader_epoch)),
        Err(_) => (None, None),
    };
    let elected: Moment = elected.map_or_else(|missing| missing, |(when, _)| Found::Seen(when));
    let orderly = scene.is_orderly(&elected, session_gone);
    let start = if orderly { Interval::at(scene.in_effect.after_ns) } else { scene.in_effect };
    let (metadata_first, metadata_last) = scene.metadata(key, broker, &elected, leader_epoch);
    let (acked, first) = scene.acked(key, &elected, acks);
    let read = scene.read(&first);
    let isr_whole = until_next.isr_whole(key);
    let preferred_leader = scene.preferred_leader(key, base.as_ref().and_then(|base| base.leader), new_leader, leader_epoch);

    let start = Found::Seen(start);
    let mended = scene.life.mend_begun().map_or_else(|| Found::unseen("nobody has seen it mended"), Found::Seen);
    let detection = if orderly {
        Found::not_applicable("an orderly stop: the leader moved before the daemon was gone")
    } else {
        between(&start, session_gone)
    };
    let election = if orderly { between(&start, &elected) } else { between(session_gone, &elected) };
    let phases = BTreeMap::from([
        (Phase::Detection, detection),
        (Phase::Election, election),
        (Phase::Propagation, between(&elected, &metadata_first)),
        (Phase::PropagationAll, between(&elected, &metadata_last)),
        (Phase::Client, between(&metadata_first, &acked)),
        (Phase::Recovery, between(&start, &acked)),
        (Phase::Read, between(&acked, &read)),
        (Phase::Isr, between(&mended, &isr_whole)),
        (Phase::PreferredLeader, between(&mended, &preferred_leader)),
    ]);
    KeyRecovery {
        key,
        start,
        old_leader: Some(broker),
        new_leader,
        leader_epoch,
        elected,
        metadata_first,
        metadata_last,
        acked,
        acked_op: first.certain.map(|ack| ack.op),
        read,
        isr_whole,
        preferred_leader,
        phases,
    }
}

/// The span between two moments; why the earlier (else the later) is missing, if one is.
fn between(from: &Moment, to: &Moment) -> Found<Span> {
    match (from, to) {
        (Found::Seen(from), Found::Seen(to)) => Found::Seen(Span::between(*from, *to)),
        // What was never owed cannot be owed from a moment that was missed, nor the other way round.
        (Found::NotApplicable { not_applicable }, _) | (_, Found::NotApplicable { not_applicable }) => {
            Found::not_applicable(not_applicable.as_str())
        }
        (Found::Unseen { unseen }, _) | (_, Found::Unseen { unseen }) => Found::unseen(unseen.as_str()),
    }
}

/// One that is cut off leads nobody for a while before it gives up: then the others have elected already, and how long they took cannot be told from
/// when they noticed.
fn zookeeper_election(gone: &Moment, new: &Moment) -> Found<Span> {
    match (gone, new) {
        (Found::Seen(gone), Found::Seen(new)) if new.before_ns <= gone.after_ns => {
            Found::not_applicable("the new ZooKeeper leader was there before the old one had given up")
        }
        _ => between(gone, new),
    }
}

fn broker_id(chosen: &Chosen) -> Option<i32> {
    chosen.daemon.strip_prefix("kafka:")?.parse().ok()
}

fn node_id(chosen: &Chosen) -> Option<i32> {
    chosen.daemon.strip_prefix("controller:").and_then(|id| id.parse().ok()).or_else(|| broker_id(chosen))
}

impl Scene<'_> {
    fn start_ns(&self) -> u64 {
        self.in_effect.after_ns
    }

    /// Everything seen to have happened before the fault, newest first.
    fn before(&self) -> impl Iterator<Item = &Observation> {
        self.timeline.iter().rev().filter(|observation| observation.when.before_ns <= self.start_ns())
    }

    /// Everything that may have happened from the fault on, until the next.
    fn since(&self) -> impl Iterator<Item = &Observation> {
        let (start_ns, end_ns) = (self.start_ns(), self.end_ns);
        self.timeline.iter().filter(move |observation| observation.when.before_ns > start_ns && observation.when.after_ns < end_ns)
    }

    fn until(&self) -> &'static str {
        if self.end_ns == u64::MAX { "by the end of the run" } else { "before the next fault" }
    }

    fn brokers(&self) -> BTreeSet<i32> {
        self.life.chosen.iter().filter_map(broker_id).collect()
    }

    /// Brokers, and controllers of KRaft, whose ids are one space.
    fn nodes(&self) -> BTreeSet<i32> {
        self.life.chosen.iter().filter_map(node_id).collect()
    }

    fn base(&self, key: Key) -> Option<State> {
        self.before().find_map(|observation| state_of(observation, key))
    }

    fn session_gone(&self) -> Moment {
        let brokers = self.brokers();
        if brokers.is_empty() {
            return Found::not_applicable("no broker was hit");
        }
        let gone =
            self.since().find(|observation| matches!(observation.what, Observed::BrokerGone { broker } if brokers.contains(&broker)));
        gone.map_or_else(
            || Found::not_applicable("the broker kept its session (with ZooKeeper, or with the controller)"),
            |observation| Found::Seen(observation.when),
        )
    }

    /// The next controller, and the phase, if the controller was hit.
    fn controller(&self, session_gone: &Moment) -> (Moment, Option<Found<Span>>) {
        let controller_of = |observation: &Observation| match observation.what {
            Observed::Controller { broker, epoch } => Some((broker, epoch)),
            _ => None,
        };
        let before = self.before().find_map(controller_of);
        let Some((Some(old), epoch)) = before else {
            return (Found::not_applicable("nobody had seen a controller before the fault"), None);
        };
        if !self.nodes().contains(&old) {
            return (Found::not_applicable(format!("node {old} was controller and was not hit")), None);
        }
        let is_new = |observation: &&Observation| match controller_of(observation) {
            Some((Some(broker), new_epoch)) => broker != old || new_epoch > epoch,
            _ => false,
        };
        match self.since().find(is_new) {
            Some(observation) => {
                let moment = Found::Seen(observation.when);
                // The controller may have resigned in good order, before its session went.
                let start = match session_gone {
                    Found::Seen(gone) if gone.after_ns <= observation.when.before_ns => Found::Seen(*gone),
                    _ => Found::Seen(self.in_effect),
                };
                let phase = between(&start, &moment);
                (moment, Some(phase))
            }
            None if session_gone.seen().is_none() => (Found::not_applicable(format!("node {old} stayed controller")), None),
            None => {
                let missing = format!("no new controller was seen {}", self.until());
                (Found::unseen(missing.as_str()), Some(Found::unseen(missing)))
            }
        }
    }

    /// Leader gone and new leader of ZooKeeper, if its leader was hit.
    fn zookeeper(&self) -> (Moment, Moment) {
        let hosts: Vec<&str> =
            self.life.chosen.iter().filter(|chosen| chosen.daemon.starts_with("zookeeper:")).map(|chosen| chosen.host.as_str()).collect();
        let mut modes: BTreeMap<&str, &str> = BTreeMap::new();
        for observation in self.timeline.iter().filter(|observation| observation.when.before_ns <= self.start_ns()) {
            if let Observed::ZooKeeperMode { host, mode, .. } = &observation.what {
                modes.insert(host, mode);
            }
        }
        let Some(old) = modes.iter().find(|(_, mode)| **mode == "leader").map(|(host, _)| *host) else {
            return not_zookeeper("nobody had seen a ZooKeeper leader before the fault");
        };
        if !hosts.contains(&old) {
            return not_zookeeper("ZooKeeper's leader was not hit");
        }
        let gone = self
            .since()
            .find(|observation| matches!(&observation.what, Observed::ZooKeeperMode { host, mode, .. } if host == old && mode != "leader"));
        let new = self.since().find(|observation| {
            let Observed::ZooKeeperMode { host, mode, .. } = &observation.what else { return false };
            mode == "leader" && (host != old || gone.is_some_and(|gone| observation.when.before_ns > gone.when.before_ns))
        });
        match (gone, new) {
            // Polled too seldom to see the old one go: it was gone when the fault was in effect, at the earliest.
            (None, Some(new)) => {
                (Found::Seen(Interval { after_ns: self.start_ns(), before_ns: new.when.before_ns }), Found::Seen(new.when))
            }
            (Some(gone), Some(new)) => (Found::Seen(gone.when), Found::Seen(new.when)),
            (Some(gone), None) => (Found::Seen(gone.when), Found::unseen(format!("no new ZooKeeper leader was seen {}", self.until()))),
            (None, None) => not_zookeeper("ZooKeeper's leader stayed"),
        }
    }

    /// The election, with the state that it made.
    fn elected(&self, key: Key, base: Option<&State>, session_gone: &Moment) -> Result<(Interval, State), Moment> {
        let Some(base) = base else {
            return Err(Found::unseen(format!("nobody had seen the state of partition {key} before the fault")));
        };
        let election = self.since().find_map(|observation| {
            let state = state_of(observation, key)?;
            (state.leader.is_some() && state.leader_epoch > base.leader_epoch).then_some((observation.when, state))
        });
        election.ok_or_else(|| match session_gone {
            Found::Seen(_) => Found::unseen(format!("no new leader was seen {}", self.until())),
            _ => Found::not_applicable(format!("no election: the leader epoch stayed {}", base.leader_epoch)),
        })
    }

    /// The leader moved while the command ran, and not because the session had gone.
    fn is_orderly(&self, elected: &Moment, session_gone: &Moment) -> bool {
        let Found::Seen(elected) = elected else { return false };
        elected.before_ns <= self.in_effect.before_ns && session_gone.seen().is_none_or(|gone| gone.before_ns > elected.after_ns)
    }

    /// When the first and the last of the brokers that were not hit answered with the new leader.
    fn metadata(&self, key: Key, hit: i32, elected: &Moment, leader_epoch: Option<i32>) -> (Moment, Moment) {
        let (Found::Seen(elected), Some(leader_epoch)) = (elected, leader_epoch) else {
            return (elected.clone(), elected.clone());
        };
        let mut brokers: BTreeMap<i32, Option<Interval>> = BTreeMap::new();
        let mut silent: BTreeSet<i32> = BTreeSet::new();
        for observation in self.timeline.iter().filter(|observation| observation.when.after_ns < self.end_ns) {
            if let Observed::BrokerAnswers { broker, answers } = observation.what
                && observation.when.before_ns <= elected.before_ns
            {
                if answers {
                    silent.remove(&broker)
                } else {
                    silent.insert(broker)
                };
            }
            let Observed::PartitionMetadata { key: of, leader, leader_epoch: epoch, .. } = observation.what else { continue };
            let Some(broker) = observation.source.strip_prefix("broker:").and_then(|id| id.parse().ok()) else { continue };
            if of != key || broker == hit {
                continue;
            }
            let first = brokers.entry(broker).or_default();
            if first.is_none() && leader.is_some() && epoch >= leader_epoch && observation.when.before_ns > self.start_ns() {
                *first = Some(observation.when);
            }
        }
        brokers.retain(|broker, seen| seen.is_some() || !silent.contains(broker));
        let missing = |text: String| (Found::unseen(text.as_str()), Found::unseen(text));
        let Some(first) = brokers.values().flatten().min_by_key(|when| when.before_ns) else {
            return missing(format!("no broker that was not hit answered with epoch {leader_epoch} {}", self.until()));
        };
        let last = match brokers.iter().find(|(_, seen)| seen.is_none()) {
            Some((broker, _)) => Found::unseen(format!("broker {broker} did not answer with epoch {leader_epoch} {}", self.until())),
            None => brokers
                .values()
                .flatten()
                .max_by_key(|when| when.before_ns)
                .map_or_else(|| Found::unseen("none"), |when| Found::Seen(*when)),
        };
        (Found::Seen(*first), last)
    }

    fn acked(&self, key: Key, elected: &Moment, acks: &Acks) -> (Moment, First) {
        let first = match elected {
            Found::Seen(elected) => acks.after_election(key, *elected),
            _ => acks.after_fault(key, self.in_effect),
        };
        match (first.possible, first.certain) {
            (Some(possible), Some(certain)) if certain.acked_ns < self.end_ns => {
                (Found::Seen(Interval { after_ns: possible.acked_ns, before_ns: certain.acked_ns }), first)
            }
            _ => (Found::unseen(format!("no write was acknowledged {}", self.until())), First::default()),
        }
    }

    fn read(&self, first: &First) -> Moment {
        match (first.with_offset, first.read_ns) {
            // Its poll may return before its ack does: the phase is then nothing, and known to be nothing.
            (Some(_), Some(read_ns)) => Found::Seen(Interval::at(read_ns)),
            (None, _) => Found::unseen("no acknowledged write had an offset to look for"),
            (Some(_), None) => Found::unseen("nobody read it"),
        }
    }

    fn isr_whole(&self, key: Key) -> Moment {
        let Some(mended) = self.life.mended() else { return Found::unseen("nobody has seen the fault mended") };
        let whole = self.before().filter_map(|observation| state_of(observation, key)).map(|state| state.isr_len).max();
        let Some(whole) = whole else {
            return Found::unseen(format!("nobody had seen the ISR of partition {key} before the fault"));
        };
        let mut shrank = false;
        let mut whole_at = None;
        for observation in self.since() {
            let Some(state) = state_of(observation, key) else { continue };
            if state.isr_len < whole {
                shrank = true;
                whole_at = None;
            } else if shrank && whole_at.is_none() {
                whole_at = Some(observation.when);
            }
        }
        match whole_at {
            Some(when) if when.before_ns <= mended.after_ns => Found::not_applicable("the ISR was whole before the fault was mended"),
            Some(when) => Found::Seen(when),
            None if !shrank => Found::not_applicable("the ISR never shrank"),
            None => Found::unseen(format!("the ISR was not whole {}", self.until())),
        }
    }

    fn preferred_leader(&self, key: Key, old: Option<i32>, new: Option<i32>, leader_epoch: Option<i32>) -> Moment {
        let (Some(old), Some(new), Some(leader_epoch)) = (old, new, leader_epoch) else {
            return Found::not_applicable("the leader did not move");
        };
        if old == new {
            return Found::not_applicable("the leader did not move");
        }
        let back = self.since().find(|observation| {
            state_of(observation, key).is_some_and(|state| state.leader == Some(old) && state.leader_epoch > leader_epoch)
        });
        // Nobody promised that it moves back within a run (auto.leader.rebalance looks every 300 s).
        back.map_or_else(
            || Found::not_applicable(format!("broker {old} did not lead again {}", self.until())),
            |back| Found::Seen(back.when),
        )
    }
}

fn not_zookeeper(why: &str) -> (Moment, Moment) {
    (Found::not_applicable(why), Found::not_applicable(why))
}

fn state_of(observation: &Observation, key: Key) -> Option<State> {
    match &observation.what {
        Observed::PartitionState { key: of, leader, leader_epoch, isr, .. } if *of == key => {
            Some(State { leader: *leader, leader_epoch: *leader_epoch, isr_len: isr.len() })
        }
        _ => None,
    }
}
