//! Racks, where a run names some: are they there, can writes go on without one, and would a follower serve its readers?

use std::collections::BTreeSet;
use std::time::Duration;

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_cluster::protocol::ConfigMap;
use kchaos_cluster::view::{self, View};
use kchaos_core::{NemesisName, Target};

use super::{CLUSTER, Line};
use crate::run::Setup;

pub(crate) const CHECK: &str = "racks";
const TIMEOUT: Duration = Duration::from_secs(20);
const SELECTOR: &str = "replica.selector.class";
const RACK_AWARE: &str = "org.apache.kafka.common.replica.RackAwareReplicaSelector";
/// Partitions that are named.
const NAMED_MAX: usize = 3;

pub(super) async fn examine(setup: &Setup) -> Vec<Line> {
    let aimed: Vec<&NemesisName> = setup.nemeses.iter().filter(|name| name.target.is_rack()).collect();
    let readers = &setup.options.client_racks;
    if aimed.is_empty() && readers.is_empty() {
        return Vec::new();
    }
    let cannot = |why: String| vec![Line::fails(CHECK, CLUSTER, format!("the brokers' racks cannot be looked at: {why}"), "")];
    let view = match tokio::time::timeout(TIMEOUT, view::look(&setup.inventory, None)).await {
        Ok(Ok(view)) => view,
        Ok(Err(error)) => return cannot(format!("{:#}", anyhow::Error::from(error))),
        Err(_) => return cannot(format!("not within {} s", TIMEOUT.as_secs())),
    };
    let mut lines: Vec<Line> = contradictions(&setup.inventory, &view);
    for name in &aimed {
        if let Some(why) = kchaos_nemeses::refused_rack(&setup.inventory, &view, &name.target) {
            lines.push(Line::fails(CHECK, CLUSTER, format!("nemesis \"{name}\": {why}"), ""));
        }
    }
    let settings = settings(&setup.inventory, &view).await;
    if !readers.is_empty() {
        lines.extend(unserved(readers, &view, &settings));
    }
    let least = settings.first().and_then(|(_, settings)| settings.get("min.insync.replicas")?.value.as_ref()?.parse().ok());
    for rack in whole(setup, &aimed, &view) {
        lines.extend(least.and_then(|least| below(&rack, &setup.inventory, &view, least)));
        lines.extend(own(&rack, setup, &view));
    }
    if lines.is_empty() {
        let racks: Vec<String> = kchaos_nemeses::racks(&setup.inventory, &view).into_keys().collect();
        lines.push(Line::ok(CHECK, CLUSTER, format!("the racks are {}, and every one can be missed", racks.join(", "))));
    }
    lines
}

/// The racks that may go.
fn whole(setup: &Setup, aimed: &[&NemesisName], view: &View) -> Vec<String> {
    let known: Vec<String> = kchaos_nemeses::racks(&setup.inventory, view).into_keys().collect();
    let may_go = |rack: &String| aimed.iter().any(|name| name.target == Target::RandomRack || name.target == Target::Rack(rack.clone()));
    known.into_iter().filter(may_go).collect()
}

/// Who is in the rack by the word that faults go by.
fn brokers_in(rack: &str, inventory: &Inventory, view: &View) -> BTreeSet<i32> {
    let racks = kchaos_nemeses::racks(inventory, view);
    let hosts = racks.get(rack).into_iter().flatten();
    hosts.flat_map(|host| &host.daemons).filter(|daemon| daemon.kind == DaemonKind::Kafka).map(|daemon| daemon.id).collect()
}

/// Replicas are dealt by what brokers say, faults by what the inventory says: two words for one host are a mistake in one of them.
fn contradictions(inventory: &Inventory, view: &View) -> Vec<Line> {
    let told = |id: i32| view.brokers.get(&id).and_then(|broker| broker.rack.as_deref());
    let mut lines = Vec::new();
    for (host, daemon) in inventory.daemons_of(DaemonKind::Kafka) {
        if let (Some(here), Some(there)) = (host.rack.as_deref(), told(daemon.id))
            && here != there
        {
            let text = format!("{} is in rack {here} by the inventory, and broker {} says {there} (broker.rack)", host.name, daemon.id);
            lines.push(Line::warning(CHECK, CLUSTER, text, "correct rack under [[host]]"));
        }
    }
    lines
}

/// Of each broker that tells them.
async fn settings(inventory: &Inventory, view: &View) -> Vec<(i32, ConfigMap)> {
    let asked = view.brokers.keys().map(|id| async move { Some((*id, view::effective_config(inventory, *id).await.ok()?)) });
    futures_util::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Readers whom every broker would leave with the leaders.
fn unserved(readers: &[String], view: &View, settings: &[(i32, ConfigMap)]) -> Vec<Line> {
    let known: BTreeSet<&str> = view.brokers.values().filter_map(|broker| broker.rack.as_deref()).collect();
    let mut lines = Vec::new();
    for rack in readers.iter().filter(|rack| !known.contains(rack.as_str())) {
        let there_are = if known.is_empty() {
            "no broker says one (broker.rack)".to_owned()
        } else {
            format!("there are {}", known.iter().copied().collect::<Vec<_>>().join(", "))
        };
        lines.push(Line::fails(CHECK, CLUSTER, format!("--client-rack {rack}: no broker is in it; {there_are}"), ""));
    }
    let is_unset = |settings: &ConfigMap| settings.get(SELECTOR).and_then(|entry| entry.value.as_deref()).unwrap_or_default().is_empty();
    let without: Vec<String> = settings.iter().filter(|(_, settings)| is_unset(settings)).map(|(id, _)| id.to_string()).collect();
    if !without.is_empty() {
        let text = format!(
            "--client-rack: {SELECTOR} is not set on the brokers {}, so that all readers would be served by leaders",
            without.join(", ")
        );
        lines.push(Line::fails(CHECK, CLUSTER, text, format!("set it to {RACK_AWARE} (a lab: --set {SELECTOR}={RACK_AWARE})")));
    }
    lines
}

/// Partitions that are there and would have fewer replicas than the brokers' `min.insync.replicas` without the rack.
fn below(rack: &str, inventory: &Inventory, view: &View, least: usize) -> Option<Line> {
    let gone = brokers_in(rack, inventory, view);
    let left = |replicas: &[i32]| replicas.iter().filter(|id| !gone.contains(id)).count();
    let low = view.partitions.iter().filter(|seen| seen.replicas.len() >= least && left(&seen.replicas) < least);
    let low: Vec<String> = low.map(|seen| format!("{}-{}", seen.topic, seen.partition)).collect();
    if low.is_empty() {
        return None;
    }
    let more = if low.len() > NAMED_MAX { ", …" } else { "" };
    let text = format!(
        "without rack {rack} {} of {} partitions ({}{more}) have fewer replicas than the brokers' min.insync.replicas={least}: sends with acks=all \
         to them are refused until it is back",
        low.len(),
        view.partitions.len(),
        low.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ")
    );
    Some(Line::warning(CHECK, CLUSTER, text, "spread their replicas over the racks (kafka-reassign-partitions.sh)"))
}

/// The same of the run's topics, which are not there yet: brokers that all say their racks spread replicas evenly over them.
fn own(rack: &str, setup: &Setup, view: &View) -> Option<Line> {
    if setup.workload.topics("").is_empty() {
        return None;
    }
    let told: BTreeSet<&str> = view.brokers.values().filter_map(|broker| broker.rack.as_deref()).collect();
    let all_tell = view.brokers.values().all(|broker| broker.rack.is_some());
    let gone = brokers_in(rack, &setup.inventory, view).len();
    let (replicas, least) = (setup.options.replication_factor as usize, setup.options.min_insync_replicas as usize);
    let in_rack = if all_tell && !told.is_empty() { replicas.div_ceil(told.len()).min(gone) } else { replicas.min(gone) };
    if replicas < least || replicas - in_rack >= least {
        return None;
    }
    let text = format!(
        "without rack {rack} partitions of the run's topics may have {} of {replicas} replicas, and min.insync.replicas={least}: sends with acks=all are refused \
         until it is back",
        replicas - in_rack
    );
    let mend = "give every broker a broker.rack, or choose --replication-factor and --min-insync-replicas for as many racks as there are";
    Some(Line::warning(CHECK, CLUSTER, text, mend))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kchaos_cluster::protocol::{ConfigEntry, ConfigSource};
    use kchaos_cluster::view::{BrokerView, PartitionView};

    use super::*;

    fn scene(racks: [&str; 3], replicas: &[i32]) -> (Inventory, View) {
        let host = |id: i32| {
            format!(
                "[[host]]\nname = \"b{id}\"\naddress = \"b{id}\"\nrack = \"{}\"\n[[host.daemon]]\nkind = \"kafka\"\nid = {id}\nport = 9092\ncontroller_port = 9093\n\
                 start = \"a\"\nstop = \"b\"\nfind = {{ port = 9092 }}\nlog_dir = \"/l\"\n",
                ["a", "b", "c"][id as usize - 1]
            )
        };
        let head = "[cluster]\nname = \"a\"\nenvironment = \"lab\"\nexpect_cluster_id = \"x\"\n[ssh]\nuser = \"root\"\nkey_file = \"k\"\n\
                    known_hosts_file = \"h\"\n[kafka]\nbootstrap = [\"b1:9092\"]\n";
        let text = format!("{head}{}{}{}", host(1), host(2), host(3));
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &text).unwrap();
        let broker = |(id, rack): (i32, &str)| (id, BrokerView { rack: Some(rack.to_owned()), ..BrokerView::default() });
        let seen = PartitionView {
            topic: "t".into(),
            partition: 0,
            leader: Some(1),
            leader_epoch: 0,
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        (inventory, View { brokers: (1..).zip(racks).map(broker).collect(), partitions: vec![seen], ..View::default() })
    }

    #[test]
    fn a_partition_that_could_not_be_written_to_without_the_rack_is_named() {
        let (inventory, view) = scene(["a", "b", "c"], &[1, 2]);
        assert!(below("a", &inventory, &view, 2).unwrap().text.contains("1 of 1 partitions (t-0)"));
        assert_eq!((below("c", &inventory, &view, 2), below("a", &inventory, &view, 1)), (None, None));
    }

    #[test]
    fn the_inventory_and_the_brokers_say_the_same() {
        let (inventory, view) = scene(["a", "b", "b"], &[1, 2, 3]);
        let lines = contradictions(&inventory, &view);
        assert!(lines.len() == 1 && lines[0].text.contains("b3 is in rack c by the inventory, and broker 3 says b"), "{lines:?}");
    }

    #[test]
    fn a_reader_whom_no_follower_would_serve_is_refused() {
        let (_, view) = scene(["a", "b", "c"], &[1, 2, 3]);
        let of = |value: Option<&str>| ConfigMap::from([(SELECTOR.to_owned(), entry(value))]);
        let readers = |rack: &str| vec![rack.to_owned()];
        assert_eq!(unserved(&readers("a"), &view, &[(1, of(Some(RACK_AWARE)))]), []);
        let unset = unserved(&readers("a"), &view, &[(1, of(Some(RACK_AWARE))), (2, of(None))]);
        assert!(unset[0].text.contains("is not set on the brokers 2,"), "{unset:?}");
        assert!(unserved(&readers("d"), &view, &[])[0].text.contains("there are a, b, c"));
    }

    fn entry(value: Option<&str>) -> ConfigEntry {
        ConfigEntry {
            value: value.map(str::to_owned),
            source: ConfigSource::StaticBroker,
            is_default: value.is_none(),
            is_sensitive: false,
            is_read_only: true,
        }
    }
}
