//! Racks: what fails together. All that stands in one goes at once.
//!
//! A host's rack is what the inventory says; where it says nothing, what its registered brokers say (`broker.rack`).

use std::collections::BTreeMap;

use kchaos_cluster::inventory::{DaemonEntry, DaemonKind, Host, Inventory};
use kchaos_cluster::view::View;
use kchaos_core::{Chosen, Target};
use rand::SeedableRng;
use rand::seq::IndexedRandom;

use crate::partition;
use crate::registry::Spec;
use crate::target::{Scene, chosen};

/// One rack.
pub(crate) struct Rack<'a> {
    pub(crate) name: String,
    /// In the order of the inventory.
    pub(crate) hosts: Vec<&'a Host>,
}

/// Every rack with its hosts, in the order of the inventory.
pub fn racks<'a>(inventory: &'a Inventory, view: &View) -> BTreeMap<String, Vec<&'a Host>> {
    let mut racks: BTreeMap<String, Vec<&'a Host>> = BTreeMap::new();
    for host in &inventory.hosts {
        let registered = |daemon: &DaemonEntry| view.brokers.get(&daemon.id)?.rack.clone();
        let rack = host.rack.clone().or_else(|| brokers(host).find_map(registered));
        if let Some(rack) = rack.filter(|rack| !rack.is_empty()) {
            racks.entry(rack).or_default().push(host);
        }
    }
    racks
}

/// What keeps the target from being found whatever else is going on: no such rack, or none at all.
pub fn refused_rack(inventory: &Inventory, view: &View, target: &Target) -> Option<String> {
    let known: Vec<String> = racks(inventory, view).into_keys().collect();
    match target {
        Target::Rack(name) if !known.contains(name) => Some(none_of(&known, &format!("there is no rack {name}"))),
        Target::RandomRack if known.is_empty() => Some(none_of(&known, "no rack can be drawn")),
        _ => None,
    }
}

/// The rack that is meant.
pub(crate) fn find<'a>(scene: &Scene<'a>, target: &Target, seed: u64) -> Result<Rack<'a>, String> {
    let mut racks = racks(scene.inventory, scene.view);
    let known: Vec<String> = racks.keys().cloned().collect();
    let name = match target {
        Target::Rack(name) => name.clone(),
        _ => {
            let serves = |name: &&String| racks[*name].iter().any(|host| brokers(host).any(|daemon| can_be_hit(scene, host, daemon)));
            let candidates: Vec<&String> = known.iter().filter(serves).collect();
            let drawn = candidates.choose(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
            (*drawn.ok_or_else(|| none_of(&known, "no rack has a broker that is registered and free of faults"))?).clone()
        }
    };
    let hosts = racks.remove(&name).ok_or_else(|| none_of(&known, &format!("there is no rack {name}")))?;
    Ok(Rack { name, hosts })
}

/// What is wrong, and what there is.
fn none_of(known: &[String], what: &str) -> String {
    if known.is_empty() {
        format!(
            "{what}: no host of the inventory has a rack (rack = \"NAME\" under [[host]]), and no registered broker says one (broker.rack)"
        )
    } else {
        format!("{what}; there are {}", known.join(", "))
    }
}

fn brokers(host: &Host) -> impl Iterator<Item = &DaemonEntry> {
    host.daemons.iter().filter(|daemon| daemon.kind == DaemonKind::Kafka)
}

fn can_be_hit(scene: &Scene<'_>, host: &Host, daemon: &DaemonEntry) -> bool {
    scene.is_up(host, daemon) && scene.is_free(host, daemon)
}

/// Every daemon of the rack that is up, or its hosts. One of them in the hands of another fault, and it is not the whole rack.
pub(crate) fn choose(scene: &Scene<'_>, spec: &Spec, target: &Target, seed: u64) -> Result<Vec<Chosen>, String> {
    if spec.targets.iter().any(Target::is_partition) {
        return partition::choose(scene, target, seed);
    }
    let rack = find(scene, target, seed)?;
    let drawn = if *target == Target::RandomRack { ", which was drawn" } else { "" };
    let mut all = Vec::new();
    for host in &rack.hosts {
        let whose = if host.rack.is_some() { "the inventory" } else { "its brokers' broker.rack" };
        let evidence = format!("in rack {}{drawn}, by {whose}", rack.name);
        let hit = |daemon: &&DaemonEntry| spec.takes_voters() || daemon.kind == DaemonKind::Kafka;
        let mut daemons: Vec<&DaemonEntry> = host.daemons.iter().filter(hit).filter(|daemon| scene.is_up(host, daemon)).collect();
        if let Some(held) = daemons.iter().find(|daemon| !scene.is_free(host, daemon)) {
            return Err(format!("{} on {}, in rack {}, is in the hands of another fault", held.label(), host.name, rack.name));
        }
        if spec.scope.is_of_host() {
            daemons.sort_by_key(|daemon| daemon.kind);
            daemons.truncate(1);
        }
        all.extend(daemons.into_iter().map(|daemon| chosen(scene, host, daemon, evidence.clone())));
    }
    if all.is_empty() {
        return Err(format!("nothing that {} can be done to is up in rack {}", spec.name, rack.name));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;
    use crate::target::Taken;
    use crate::target::guard;
    use crate::target::tests::{WHOLE, inventory, view};

    /// Hosts 1 and 4 are in rack `a` (4 by its broker's word), 2 in `b`, 3 in `c`, 5 in none.
    fn told(nemesis: &str, seed: u64, taken: &[Taken]) -> Result<Vec<String>, String> {
        let (mut inventory, mut view) = (inventory(5, 1), view(5, &[(1, WHOLE)]));
        for (host, rack) in inventory.hosts.iter_mut().zip(["a", "b", "c"]) {
            host.rack = Some(rack.to_owned());
        }
        view.brokers.get_mut(&4).unwrap().rack = Some("a".to_owned());
        let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken, coordinator: None };
        let name = registry::parse(nemesis).unwrap();
        let spec = registry::find(&name.fault).unwrap();
        let chosen = choose(&scene, spec, &name.target, seed)?;
        let next = |one: &Chosen| Taken { host: one.host.clone(), daemon: one.daemon.clone(), scope: spec.scope };
        guard(&scene, &name.target, &chosen.iter().map(next).collect::<Vec<_>>())?;
        Ok(chosen.into_iter().map(|one| one.daemon).collect())
    }

    #[test]
    fn all_that_stands_in_the_rack_goes_and_its_name_is_taken_at_its_word() {
        let all = vec!["zookeeper:1", "kafka:1", "zookeeper:4", "kafka:4"];
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        assert_eq!(told("kill-rack:a", 0, &[]), Ok(all));
        assert_eq!(told("isolate-rack:a", 0, &[]), Ok(vec!["kafka:1".to_owned(), "kafka:4".to_owned()]));
        assert_eq!(told("cut-zookeeper-rack:b", 0, &[]), Ok(vec!["kafka:2".to_owned()]));
        assert_eq!(told("partition-rack:a", 0, &[]), Ok(vec!["kafka:1".to_owned(), "kafka:4".to_owned()]));
    }

    #[test]
    fn a_rack_that_is_not_there_is_told_with_those_that_are() {
        assert_eq!(told("kill-rack:d", 0, &[]), Err("there is no rack d; there are a, b, c".to_owned()));
        let drawn: std::collections::BTreeSet<_> = (0..64).map(|seed| told("kill-random-rack", seed, &[]).unwrap()).collect();
        assert_eq!(drawn.len(), 3);
        let (inventory, view) = (inventory(3, 1), view(3, &[]));
        let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &[], coordinator: None };
        assert!(find(&scene, &Target::RandomRack, 0).err().unwrap().contains("no host of the inventory has a rack"));
    }

    #[test]
    fn a_rack_is_whole_or_it_is_another_faults() {
        let held = [Taken { host: "h4".into(), daemon: "kafka:4".into(), scope: crate::fault::Scope::Daemon }];
        assert!(told("kill-rack:a", 0, &held).unwrap_err().contains("kafka:4 on h4, in rack a, is in the hands of another fault"));
        assert_eq!(
            told("kill-rack:b", 0, &held).map(|all| all.len()),
            Ok(2),
            "its own host is named, and the other fault's is the one that may be down"
        );
    }

    #[test]
    fn a_rack_does_not_take_a_quorum_or_the_last_replica_with_it() {
        let (mut inventory, view) = (inventory(3, 1), view(3, &[(1, &[1, 2])]));
        for (host, rack) in inventory.hosts.iter_mut().zip(["a", "a", "b"]) {
            host.rack = Some(rack.to_owned());
        }
        let scene = Scene { inventory: &inventory, view: &view, topics: &[], taken: &[], coordinator: None };
        let of = |kind: &str| {
            [1, 2].map(|id| Taken { host: format!("h{id}"), daemon: format!("{kind}:{id}"), scope: crate::fault::Scope::Daemon })
        };
        let said = |next: &[Taken]| guard(&scene, &Target::Rack("a".to_owned()), next).unwrap_err();
        assert!(said(&of("zookeeper")).contains("would lose its quorum"));
        assert!(said(&of("kafka")).contains("last in-sync replica"));
    }
}
