//! Who is meant: targets are found at the moment of the fault, from the cluster itself, and guards say who may not be touched.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_cluster::inventory::{DaemonEntry, DaemonKind, Environment, Host, Inventory};
use kchaos_cluster::view::{PartitionView, View};
use kchaos_core::{Chosen, Key, KeyEntry, Target};
use rand::SeedableRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::fault::Scope;
use crate::partition;

/// A daemon that a fault of ours has taken away, or is about to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) host: String,
    pub(crate) daemon: String,
    pub(crate) scope: Scope,
}

/// What a choice is made from.
pub(crate) struct Scene<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) view: &'a View,
    pub(crate) topics: &'a [KeyEntry],
    pub(crate) taken: &'a [Taken],
    /// Where the target is a coordinator: which broker, and who said so.
    pub(crate) coordinator: Option<(i32, String)>,
}

impl Scene<'_> {
    pub(crate) fn daemons(&self, kind: DaemonKind) -> impl Iterator<Item = (&Host, &DaemonEntry)> {
        let all = self.inventory.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
        all.filter(move |(_, daemon)| daemon.kind == kind)
    }

    /// Who keeps the cluster's state.
    fn voters(&self) -> impl Iterator<Item = (&Host, &DaemonEntry)> {
        let all = self.inventory.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| (host, daemon)));
        all.filter(|(_, daemon)| daemon.is_voter())
    }

    fn broker(&self, id: i32) -> Option<(&Host, &DaemonEntry)> {
        self.daemons(DaemonKind::Kafka).find(|(_, daemon)| daemon.id == id)
    }

    /// The partitions that count: the run's own; of a run without topics, all.
    fn partitions(&self) -> impl Iterator<Item = &PartitionView> {
        self.view.partitions.iter().filter(|seen| self.topics.is_empty() || self.key(seen).is_some())
    }

    fn key(&self, seen: &PartitionView) -> Option<Key> {
        self.topics.iter().find(|entry| entry.topic == seen.topic && entry.partition == seen.partition).map(|entry| entry.key)
    }

    pub(crate) fn keys_led(&self, broker: i32) -> Vec<Key> {
        self.view.partitions.iter().filter(|seen| seen.leader == Some(broker)).filter_map(|seen| self.key(seen)).collect()
    }

    /// Registered, or serving.
    pub(crate) fn is_up(&self, host: &Host, daemon: &DaemonEntry) -> bool {
        match daemon.kind {
            DaemonKind::Kafka => self.view.brokers.contains_key(&daemon.id),
            DaemonKind::Zookeeper | DaemonKind::Controller => self.serves(host, daemon),
        }
    }

    /// Of those who keep the cluster's state: a ZooKeeper, or a controller of KRaft.
    fn serves(&self, host: &Host, daemon: &DaemonEntry) -> bool {
        if daemon.as_controller().is_some() {
            let seen = self.view.quorum.as_ref().and_then(|quorum| quorum.controllers.get(&daemon.id));
            return seen.is_some_and(|seen| !matches!(seen.mode.as_str(), "" | "none"));
        }
        self.view.zookeepers.get(&host.name).is_some_and(|seen| !matches!(seen.mode.as_str(), "" | "none"))
    }

    /// Who tells of partitions, in words.
    fn authority(&self) -> &'static str {
        if self.view.quorum.is_some() { "the brokers' metadata" } else { "ZooKeeper" }
    }

    pub(crate) fn is_free(&self, host: &Host, daemon: &DaemonEntry) -> bool {
        let is_held = |taken: &&Taken| taken.scope != Scope::Cluster && taken.host == host.name;
        !self.taken.iter().filter(is_held).any(|taken| taken.scope.is_of_host() || taken.daemon == daemon.label())
    }
}

/// Finds the daemons that the target means, in the order of the inventory. Among equals the seed decides.
pub(crate) fn choose(scene: &Scene<'_>, target: &Target, scope: Scope, seed: u64) -> Result<Vec<Chosen>, String> {
    if target.is_partition() {
        return partition::choose(scene, target, seed);
    }
    let mut all = match (target, scope) {
        (Target::Minority | Target::Majority | Target::All | Target::Rest, _) => several(scene, DaemonKind::Kafka, target, seed)?,
        (Target::ZooKeeperMinority | Target::ZooKeeperMajority | Target::ZooKeeperAll, _) => {
            several(scene, DaemonKind::Zookeeper, target, seed)?
        }
        (Target::Cluster, Scope::OneByOne) => several(scene, DaemonKind::Kafka, &Target::All, seed)?,
        // Whoever is asked to change the cluster is a broker.
        (Target::Cluster, _) if scene.view.quorum.is_some() => vec![choose_one(scene, &Target::Random, seed)?],
        (Target::Cluster, _) => vec![choose_one(scene, &Target::Controller, seed)?],
        _ => vec![choose_one(scene, target, seed)?],
    };
    if scope == Scope::Host {
        let mut hosts = BTreeSet::new();
        all.retain(|one| hosts.insert(one.host.clone()));
    }
    Ok(all)
}

pub(crate) fn chosen(scene: &Scene<'_>, host: &Host, daemon: &DaemonEntry, evidence: String) -> Chosen {
    let keys_led = if daemon.kind == DaemonKind::Kafka { scene.keys_led(daemon.id) } else { Vec::new() };
    Chosen { host: host.name.clone(), daemon: daemon.label(), evidence, keys_led }
}

/// So many of those that are up; who is in the hands of another fault is not drawn.
fn several(scene: &Scene<'_>, kind: DaemonKind, target: &Target, seed: u64) -> Result<Vec<Chosen>, String> {
    let (who, up) = match kind {
        DaemonKind::Kafka => ("brokers", "registered"),
        DaemonKind::Zookeeper => ("ZooKeepers", "serving"),
        DaemonKind::Controller => ("controllers", "serving"),
    };
    let total = scene.daemons(kind).count();
    let alive: Vec<_> = scene.daemons(kind).filter(|(host, daemon)| scene.is_up(host, daemon)).collect();
    let mut free: Vec<usize> = (0..alive.len()).filter(|place| scene.is_free(alive[*place].0, alive[*place].1)).collect();
    let (wanted, share) = match target {
        Target::Minority | Target::ZooKeeperMinority => (total.saturating_sub(1) / 2, "a minority"),
        Target::Majority | Target::ZooKeeperMajority => (total / 2 + 1, "a majority"),
        Target::Rest => (free.len(), "the rest"),
        _ => (alive.len(), "all"),
    };
    if wanted == 0 && *target == Target::Rest {
        return Err(format!("no broker of {total} is {up} and free of faults"));
    }
    if total == 0 || (wanted == 0 && alive.len() == total) {
        return Err(format!("{share} of {total} {who} is nobody"));
    }
    if wanted == 0 || free.len() < wanted {
        return Err(format!("{share} of {total} {who} are {wanted}, and {} are {up} and free of faults", free.len()));
    }
    free.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
    free.truncate(wanted);
    free.sort_unstable();
    let evidence = format!("{share}: {wanted} of the {} {up} {who} (of {total} in the inventory)", alive.len());
    Ok(free.into_iter().map(|place| chosen(scene, alive[place].0, alive[place].1, evidence.clone())).collect())
}

fn choose_one(scene: &Scene<'_>, target: &Target, seed: u64) -> Result<Chosen, String> {
    let (host, daemon, evidence) = match target {
        Target::Leader => leader(scene, seed)?,
        Target::QuorumLeader if scene.view.quorum.is_some() => quorum_leader(scene)?,
        // On the way to KRaft it is a broker as long as ZooKeeper has the word.
        Target::Controller
            if scene.view.quorum.is_some()
                && scene.view.controller.is_none_or(|id| scene.broker(id).is_none_or(|(_, daemon)| daemon.as_controller().is_some())) =>
        {
            quorum_leader(scene)?
        }
        Target::QuorumFollower => quorum_follower(scene, seed)?,
        Target::QuorumLeader => return Err("the cluster has no quorum of controllers, but ZooKeeper: zk-leader is its leader".to_owned()),
        Target::Controller => {
            let id = scene.view.controller.ok_or("the cluster has no controller at this moment")?;
            let (host, daemon) = scene.broker(id).ok_or_else(|| format!("the controller, broker {id}, is not in the inventory"))?;
            (host, daemon, "/controller in ZooKeeper names it".to_owned())
        }
        Target::Follower => follower(scene, seed)?,
        Target::LastIsr => last_isr(scene, seed)?,
        Target::GroupCoordinator | Target::TxnCoordinator => {
            let (id, evidence) = scene.coordinator.as_ref().ok_or("nobody was asked who coordinates")?;
            let (host, daemon) = scene.broker(*id).ok_or_else(|| format!("the coordinator, broker {id}, is not in the inventory"))?;
            (host, daemon, evidence.clone())
        }
        Target::Random => {
            let alive: Vec<_> = scene
                .daemons(DaemonKind::Kafka)
                .filter(|(host, daemon)| scene.view.brokers.contains_key(&daemon.id) && scene.is_free(host, daemon))
                .collect();
            let (host, daemon) = pick(&alive, seed).ok_or("no broker of the inventory is registered and free of faults")?;
            (host, daemon, format!("drawn from {} registered brokers", alive.len()))
        }
        Target::ZooKeeperLeader => zookeeper(scene, "leader", seed)?,
        Target::ZooKeeperFollower => zookeeper(scene, "follower", seed)?,
        Target::Halves | Target::Ring | Target::Bridge => return Err(format!("{target} is not one daemon")),
        Target::Host(name) => {
            let host = scene.inventory.hosts.iter().find(|host| host.name == *name).ok_or_else(|| {
                let known: Vec<&str> = scene.inventory.hosts.iter().map(|host| host.name.as_str()).collect();
                format!("the inventory has no host {name}; it has {}", known.join(", "))
            })?;
            // Of a host that carries both, the broker is meant.
            let daemon = host.daemons.iter().min_by_key(|daemon| daemon.kind).ok_or_else(|| format!("host {name} has no daemon"))?;
            (host, daemon, "named".to_owned())
        }
        other => return Err(format!("{other} is not one daemon")),
    };
    if !scene.is_free(host, daemon) {
        return Err(format!("{} on {} is in the hands of another fault", daemon.label(), host.name));
    }
    Ok(chosen(scene, host, daemon, evidence))
}

/// The daemon of this label (`kafka:1`), which is in nobody's hands.
pub(crate) fn named(scene: &Scene<'_>, label: &str) -> Result<Chosen, String> {
    let (host, daemon) = scene.inventory.daemon_by_label(label).ok_or_else(|| format!("{label} is not in the inventory"))?;
    if !scene.is_free(host, daemon) {
        return Err(format!("{label} on {} is in the hands of another fault", host.name));
    }
    Ok(chosen(scene, host, daemon, "named by a step".to_owned()))
}

fn pick<'a>(candidates: &[(&'a Host, &'a DaemonEntry)], seed: u64) -> Option<(&'a Host, &'a DaemonEntry)> {
    candidates.choose(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed)).copied()
}

/// The same among those in nobody's hands, if there are any.
fn pick_free<'a>(scene: &Scene<'_>, candidates: &[(&'a Host, &'a DaemonEntry)], seed: u64) -> Option<(&'a Host, &'a DaemonEntry)> {
    let free: Vec<_> = candidates.iter().copied().filter(|(host, daemon)| scene.is_free(host, daemon)).collect();
    pick(if free.is_empty() { candidates } else { &free }, seed)
}

fn quorum_leader<'a>(scene: &'a Scene<'_>) -> Found<'a> {
    let leader = scene.view.quorum.as_ref().and_then(|quorum| quorum.leader);
    let id = leader.ok_or("the quorum of controllers has no leader at this moment")?;
    let (host, daemon) =
        scene.inventory.controller(id).ok_or_else(|| format!("the active controller, node {id}, is not in the inventory"))?;
    let epoch =
        scene.view.quorum.as_ref().and_then(|quorum| quorum.leader_epoch).map_or_else(String::new, |epoch| format!(" at epoch {epoch}"));
    Ok((host, daemon, format!("says that it leads the quorum{epoch} (DescribeQuorum)")))
}

fn quorum_follower<'a>(scene: &'a Scene<'_>, seed: u64) -> Found<'a> {
    let quorum =
        scene.view.quorum.as_ref().ok_or("the cluster has no quorum of controllers, but ZooKeeper: zk-follower is one of its followers")?;
    let follows = |daemon: &DaemonEntry| quorum.controllers.get(&daemon.id).is_some_and(|seen| seen.mode == "follower");
    let candidates: Vec<_> = scene.voters().filter(|(_, daemon)| follows(daemon)).collect();
    let (host, daemon) = pick_free(scene, &candidates, seed).ok_or("no controller of the inventory says that it follows")?;
    Ok((host, daemon, "answers and does not lead the quorum (DescribeQuorum)".to_owned()))
}

type Found<'a> = Result<(&'a Host, &'a DaemonEntry, String), String>;

fn leader<'a>(scene: &'a Scene<'_>, seed: u64) -> Found<'a> {
    let mut led: BTreeMap<i32, usize> = BTreeMap::new();
    for leader in scene.partitions().filter_map(|seen| seen.leader) {
        *led.entry(leader).or_default() += 1;
    }
    let most = led.values().copied().max().ok_or("no partition has a leader at this moment")?;
    let candidates: Vec<_> = led.iter().filter(|(_, count)| **count == most).filter_map(|(id, _)| scene.broker(*id)).collect();
    let (host, daemon) = pick_free(scene, &candidates, seed).ok_or("the leaders are not in the inventory")?;
    let whose = if scene.topics.is_empty() { "of all topics" } else { "of the run's topics" };
    Ok((host, daemon, format!("leads {most} of {} partitions {whose}, according to {}", scene.partitions().count(), scene.authority())))
}

fn follower<'a>(scene: &'a Scene<'_>, seed: u64) -> Found<'a> {
    if scene.partitions().next().is_none() {
        return Err("there is no partition of which a broker could be a follower: a run makes its own topics".into());
    }
    let in_sync: BTreeSet<i32> = scene.partitions().flat_map(|seen| seen.isr.iter().copied()).collect();
    let led = |id: i32| scene.partitions().filter(|seen| seen.leader == Some(id)).count();
    let free: Vec<_> = in_sync.iter().filter_map(|id| scene.broker(*id)).filter(|(host, daemon)| scene.is_free(host, daemon)).collect();
    let fewest = free.iter().map(|(_, daemon)| led(daemon.id)).min().ok_or("no broker is in sync and free of faults")?;
    let candidates: Vec<_> = free.into_iter().filter(|(_, daemon)| led(daemon.id) == fewest).collect();
    let (host, daemon) = pick(&candidates, seed).ok_or("no broker is in sync and free of faults")?;
    Ok((
        host,
        daemon,
        format!("in sync, and leads {fewest} of {} partitions, according to {}", scene.partitions().count(), scene.authority()),
    ))
}

fn last_isr<'a>(scene: &'a Scene<'_>, seed: u64) -> Found<'a> {
    let mut alone: BTreeMap<i32, usize> = BTreeMap::new();
    for seen in scene.partitions() {
        if let [one] = seen.isr.as_slice() {
            *alone.entry(*one).or_default() += 1;
        }
    }
    let most = alone.values().copied().max().ok_or(
        "no partition has a single in-sync replica at this moment: take the others away first, by a plan file in which another fault still \
         lasts, or let the topic have one replica",
    )?;
    let candidates: Vec<_> = alone.iter().filter(|(_, count)| **count == most).filter_map(|(id, _)| scene.broker(*id)).collect();
    let (host, daemon) = pick_free(scene, &candidates, seed).ok_or("the last in-sync replica is not in the inventory")?;
    Ok((
        host,
        daemon,
        format!("alone in the ISR of {most} of {} partitions, according to {}", scene.partitions().count(), scene.authority()),
    ))
}

fn zookeeper<'a>(scene: &'a Scene<'_>, mode: &str, seed: u64) -> Found<'a> {
    let serving = |host: &Host| scene.view.zookeepers.get(&host.name).is_some_and(|seen| seen.mode == mode);
    let candidates: Vec<_> = scene.daemons(DaemonKind::Zookeeper).filter(|(host, _)| serving(host)).collect();
    let (host, daemon) =
        pick_free(scene, &candidates, seed).ok_or_else(|| format!("no ZooKeeper of the inventory says that it is {mode}"))?;
    Ok((host, daemon, format!("answers srvr with mode {mode}")))
}

/// Whether taking `next` away, with what is taken already, leaves the cluster able to recover. A target whose own name says how many go
/// (`kill-all`) is taken at its word, and one that means a rack for its hosts, but not where people depend on the cluster.
pub(crate) fn guard(scene: &Scene<'_>, target: &Target, next: &[Taken]) -> Result<(), String> {
    if next.len() > 1 && next.iter().all(|taken| taken.scope == Scope::OneByOne) {
        return next.iter().try_for_each(|one| guard(scene, &Target::Random, std::slice::from_ref(one)));
    }
    // What is put back at the end is what was found at the beginning: two of them would put back one another's doing.
    let is_change = |taken: &Taken| taken.scope.is_change();
    if next.iter().any(is_change) && scene.taken.iter().any(is_change) {
        return Err("another change of the cluster is still to be put back".to_owned());
    }
    let all: Vec<&Taken> = scene.taken.iter().chain(next).filter(|taken| taken.scope.takes_away()).collect();
    let is_production = scene.inventory.cluster.environment == Environment::Production;
    let by_name = target.takes_most() && !is_production;
    let names_hosts = target.takes_most() || target.is_rack();
    let named: BTreeSet<&str> = next.iter().filter(|_| names_hosts && !is_production).map(|taken| taken.host.as_str()).collect();
    // The rest is what others have left: who says it means them too.
    let counts = |host: &&str| !named.contains(host) && (is_production || *target != Target::Rest);
    let hosts: BTreeSet<&str> = all.iter().map(|taken| taken.host.as_str()).filter(counts).collect();
    let max = scene.inventory.limits.hosts_down_max;
    if hosts.len() > max {
        let why = if names_hosts && is_production { ", which no name overrides in a production cluster" } else { "" };
        return Err(format!("{} hosts would be down at once, and limits.hosts_down_max is {max}{why}", hosts.len()));
    }
    let hit = |taken: &Taken, host: &Host, daemon: &DaemonEntry| {
        taken.host == host.name && (taken.scope == Scope::Host || taken.daemon == daemon.label())
    };
    let is_hit = |host: &Host, daemon: &DaemonEntry| all.iter().any(|taken| hit(taken, host, daemon));
    let newly = |host: &Host, daemon: &DaemonEntry| next.iter().any(|taken| taken.scope.takes_away() && hit(taken, host, daemon));

    // Where brokers are controllers too, who asks for all brokers asks for the quorum.
    let asks_for_voters = by_name && (target.is_zookeeper() || scene.voters().any(|(_, daemon)| daemon.kind == DaemonKind::Kafka));
    if !asks_for_voters && scene.voters().any(|(host, daemon)| newly(host, daemon)) {
        let ensemble = scene.voters().count();
        let left = scene.voters().filter(|(host, daemon)| scene.serves(host, daemon) && !is_hit(host, daemon)).count();
        if left < ensemble / 2 + 1 {
            let (whose, who) = if scene.inventory.is_kraft() { ("the controllers", "them") } else { ("ZooKeeper", "servers") };
            let its = if scene.inventory.is_kraft() { "their" } else { "its" };
            return Err(format!("{whose} would lose {its} quorum: {left} of {ensemble} {who} would be left"));
        }
    }
    if *target == Target::LastIsr || (by_name && !target.is_zookeeper()) {
        return Ok(());
    }
    let down: BTreeSet<i32> =
        scene.daemons(DaemonKind::Kafka).filter(|(host, daemon)| is_hit(host, daemon)).map(|(_, daemon)| daemon.id).collect();
    let touched: BTreeSet<i32> =
        scene.daemons(DaemonKind::Kafka).filter(|(host, daemon)| newly(host, daemon)).map(|(_, daemon)| daemon.id).collect();
    // A topic with one replica is its owner's choice.
    for seen in scene.view.partitions.iter().filter(|seen| seen.replicas.len() > 1) {
        if seen.isr.iter().any(|id| touched.contains(id)) && seen.isr.iter().all(|id| down.contains(id)) {
            return Err(format!("{}-{} would lose its last in-sync replica (ISR {:?})", seen.topic, seen.partition, seen.isr));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "target_tests.rs"]
pub(crate) mod tests;
