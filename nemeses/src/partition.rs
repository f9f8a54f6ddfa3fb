//! Partitions: who is cut from whom, in halves, in a ring, or with a bridge between the halves.
//!
//! The grudge is drawn from the seed, again and again until the guards have nothing against it. Minorities are counted for brokers and for
//! ZooKeepers apart, so that the side that is cut off is the smaller one on both counts, wherever the daemons stand.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_cluster::inventory::{DaemonKind, Host};
use kchaos_core::{Chosen, Target};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::fault::Scope;
use crate::rack;
use crate::target::{Scene, Taken, guard};

/// By host: the hosts from which it is cut, on its own side. The others drop nothing.
pub(crate) type Grudge = BTreeMap<String, BTreeSet<String>>;

const DRAWS: u32 = 64;

/// Nothing if the target is no partition, or none can be drawn: [`choose`] says why.
pub(crate) fn grudge(scene: &Scene<'_>, target: &Target, seed: u64) -> Grudge {
    draw(scene, target, seed).unwrap_or_default()
}

/// The hosts that drop packets, each by one of its daemons.
pub(crate) fn choose(scene: &Scene<'_>, target: &Target, seed: u64) -> Result<Vec<Chosen>, String> {
    let grudge = draw(scene, target, seed)?;
    let hosts = scene.inventory.hosts.iter().filter_map(|host| Some((host, grudge.get(&host.name)?)));
    hosts
        .map(|(host, from)| {
            let daemon = host.daemons.iter().min_by_key(|daemon| daemon.kind).ok_or_else(|| format!("host {} has no daemon", host.name))?;
            if !scene.is_free(host, daemon) {
                return Err(format!("{} on {} is in the hands of another fault", daemon.label(), host.name));
            }
            let from = from.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            Ok(Chosen {
                host: host.name.clone(),
                daemon: daemon.label(),
                evidence: format!("drawn: {} is cut from {from}", host.name),
                keys_led: if daemon.kind == DaemonKind::Kafka { scene.keys_led(daemon.id) } else { Vec::new() },
            })
        })
        .collect()
}

/// The first draw to which the guards agree, or what they had against the last.
fn draw(scene: &Scene<'_>, target: &Target, seed: u64) -> Result<Grudge, String> {
    if target.is_rack() {
        return around_rack(scene, target, seed);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut hosts: Vec<&Host> = scene.inventory.hosts.iter().filter(|host| !host.daemons.is_empty()).collect();
    let mut against = String::new();
    for _ in 0..DRAWS {
        hosts.shuffle(&mut random);
        let grudge = match target {
            Target::Ring => ring(&hosts)?,
            Target::Bridge => halves(&hosts, &bridge(&hosts))?,
            _ => halves(&hosts, &BTreeSet::new())?,
        };
        let all = if *target == Target::Ring { keeps_quorums(&hosts, &grudge) } else { may(scene, &hosts, &grudge) };
        match all.and_then(|()| are_told_apart(&hosts, &grudge)) {
            Ok(()) => return Ok(grudge),
            Err(why) => against = why,
        }
    }
    Err(against)
}

/// A rack that lost its line: its hosts see one another and nobody else.
fn around_rack(scene: &Scene<'_>, target: &Target, seed: u64) -> Result<Grudge, String> {
    let inside: BTreeSet<String> = rack::find(scene, target, seed)?.hosts.iter().map(|host| host.name.clone()).collect();
    let hosts: Vec<&Host> = scene.inventory.hosts.iter().filter(|host| !host.daemons.is_empty()).collect();
    let outside: BTreeSet<String> = hosts.iter().map(|host| host.name.clone()).filter(|name| !inside.contains(name)).collect();
    if outside.is_empty() {
        return Err("every host is in this rack: there is nobody to cut it from".to_owned());
    }
    let grudge = inside.into_iter().map(|host| (host, outside.clone())).collect();
    are_told_apart(&hosts, &grudge)?;
    Ok(grudge)
}

/// Who is cut is told by address: of containers that one engine publishes at the same one, some cannot be cut and others not.
fn are_told_apart(hosts: &[&Host], grudge: &Grudge) -> Result<(), String> {
    for (name, from) in grudge {
        let (cut, kept): (Vec<&Host>, Vec<&Host>) =
            hosts.iter().copied().filter(|host| host.name != *name).partition(|host| from.contains(&host.name));
        let same = |cut: &&Host| kept.iter().find(|kept| kept.address == cut.address).copied();
        if let Some((cut, kept)) = cut.iter().find_map(|cut| Some((*cut, same(cut)?))) {
            return Err(format!(
                "{name} would be cut from {} and not from {}, and both are reached at {}: a partition tells hosts by their addresses",
                cut.name, kept.name, kept.address
            ));
        }
    }
    Ok(())
}

fn count(hosts: &[&Host], kind: DaemonKind) -> usize {
    hosts.iter().flat_map(|host| &host.daemons).filter(|daemon| daemon.kind == kind).count()
}

/// ZooKeepers, or controllers of KRaft (where brokers may be that too).
fn count_voters(hosts: &[&Host]) -> usize {
    hosts.iter().flat_map(|host| &host.daemons).filter(|daemon| daemon.is_voter()).count()
}

fn carries_brokers(host: &Host) -> usize {
    count(&[host], DaemonKind::Kafka)
}

fn carries_voters(host: &Host) -> usize {
    count_voters(&[host])
}

/// What keeps the cluster's state, by its name.
fn spoken(hosts: &[&Host]) -> &'static str {
    if hosts.iter().flat_map(|host| &host.daemons).any(|daemon| daemon.as_controller().is_some()) { "controllers" } else { "ZooKeepers" }
}

/// One broker's host and one ZooKeeper's, or one that carries both.
fn bridge(hosts: &[&Host]) -> BTreeSet<String> {
    let Some(broker) = hosts.iter().find(|host| carries_brokers(host) > 0) else { return BTreeSet::new() };
    let mut between = BTreeSet::from([broker.name.clone()]);
    if carries_voters(broker) == 0 {
        between.extend(hosts.iter().find(|host| carries_voters(host) > 0).map(|host| host.name.clone()));
    }
    between
}

/// Half of the brokers and the smaller half of the ZooKeepers, cut from all others but those `between`.
fn halves(hosts: &[&Host], between: &BTreeSet<String>) -> Result<Grudge, String> {
    let divided: Vec<&Host> = hosts.iter().copied().filter(|host| !between.contains(&host.name)).collect();
    let (brokers_max, zookeepers_max) = (count(&divided, DaemonKind::Kafka) / 2, (count_voters(hosts).max(1) - 1) / 2);
    let (mut brokers, mut zookeepers, mut side) = (0, 0, BTreeSet::new());
    for host in &divided {
        let (of_brokers, of_zookeepers) = (carries_brokers(host), carries_voters(host));
        // A bridge's halves leave somebody on either side.
        let leaves = between.is_empty() || of_zookeepers == 0 || zookeepers + of_zookeepers < count_voters(&divided);
        if brokers + of_brokers <= brokers_max && zookeepers + of_zookeepers <= zookeepers_max && leaves {
            (brokers, zookeepers) = (brokers + of_brokers, zookeepers + of_zookeepers);
            side.insert(host.name.clone());
        }
    }
    let rest: BTreeSet<String> = divided.iter().map(|host| host.name.clone()).filter(|name| !side.contains(name)).collect();
    if side.is_empty() || rest.is_empty() {
        let who = spoken(hosts);
        return Err(format!(
            "{} brokers and {} {who} on {} hosts cannot be divided so that the greater part keeps the {who}' quorum",
            count(hosts, DaemonKind::Kafka),
            count_voters(hosts),
            hosts.len()
        ));
    }
    Ok(side.into_iter().map(|host| (host, rest.clone())).collect())
}

/// Each sees itself and, on either side of a ring, as many as make a majority.
fn ring(hosts: &[&Host]) -> Result<Grudge, String> {
    let n = hosts.len();
    let reach = (n / 2).div_ceil(2);
    if n < 4 {
        return Err(format!("a ring of majorities needs four hosts, and there are {n}: on fewer, all see all"));
    }
    let distance = |a: usize, b: usize| a.abs_diff(b).min(n - a.abs_diff(b));
    let cut = |a: usize| (0..n).filter(|b| distance(a, *b) > reach).map(|b| hosts[b].name.clone()).collect::<BTreeSet<String>>();
    Ok((0..n).map(|a| (hosts[a].name.clone(), cut(a))).filter(|(_, from)| !from.is_empty()).collect())
}

/// In a ring nobody is taken away: each ZooKeeper goes on seeing a quorum.
fn keeps_quorums(hosts: &[&Host], grudge: &Grudge) -> Result<(), String> {
    let ensemble = count_voters(hosts);
    for host in hosts.iter().filter(|host| carries_voters(host) > 0) {
        let from = grudge.get(&host.name);
        let seen: Vec<&Host> = hosts.iter().copied().filter(|other| !from.is_some_and(|from| from.contains(&other.name))).collect();
        let seen = count_voters(&seen);
        if seen < ensemble / 2 + 1 {
            return Err(format!(
                "{} on {} would see {seen} of {ensemble} of its {}, which is no quorum",
                spoken(hosts).trim_end_matches('s'),
                host.name,
                spoken(hosts)
            ));
        }
    }
    Ok(())
}

/// The smaller side counts as taken away.
fn may(scene: &Scene<'_>, hosts: &[&Host], grudge: &Grudge) -> Result<(), String> {
    let side = hosts.iter().filter(|host| grudge.contains_key(&host.name));
    let next: Vec<Taken> = side.map(|host| Taken { host: host.name.clone(), daemon: String::new(), scope: Scope::Host }).collect();
    guard(scene, &Target::Halves, &next)
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
