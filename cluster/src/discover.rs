//! An inventory from what a cluster, its ZooKeeper or controllers, and its hosts tell.
//!
//! Why: an inventory written by hand is an hour's work and wrong in one place. Who is asked: a broker for all brokers and the cluster's id (Metadata),
//! each for where its ZooKeeper or its controllers are (DescribeConfigs), and by SSH each host for what runs there, by whom it is run, and which
//! ports it has ([`found`]). Nothing is changed anywhere, and no secret leaves a host: of settings files a few lines are read.
//!
//! Limits: what a cluster does not tell (whether it is production, how many hosts may be down, the consent on the hosts) stays with its owner;
//! what is guessed is said in the notes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{Cluster, ClusterError};
use crate::inventory::{
    ClusterSection, DaemonKind, Environment, Firewall, Host, Inventory, KafkaSection, Limits, Privilege, SshOverride, SshSection,
    ZooKeeperSection,
};
use crate::protocol::{BrokerEndpoint, Client, ConfigMap, ProtocolError, Timeouts, join_address};
use crate::remote::Means;

mod found;

pub use found::Found;

const SCRIPT: &str = include_str!("discover/processes.sh");
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Where to begin.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: String,
    pub kafka: KafkaSection,
    /// Without it hosts are not asked, and only what the cluster itself tells is known.
    pub ssh: Option<SshSection>,
    /// Addresses of hosts that the cluster does not tell of.
    pub hosts: Vec<String>,
    pub network_namespace: Option<std::path::PathBuf>,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Discovered {
    pub inventory: Inventory,
    /// What is guessed, and what its owner has to say: a sentence each, with the host's name where it is about one.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    #[error("the brokers cannot be asked: {0}")]
    Brokers(#[from] ProtocolError),
    #[error(transparent)]
    Hosts(#[from] ClusterError),
}

/// Asks everybody.
pub async fn discover(wish: Wish) -> Result<Discovered, DiscoverError> {
    let mut notes = Vec::new();
    let mut inventory = wish.inventory();
    let client = Client::new(&inventory, Timeouts::default())?;
    let metadata = client.metadata_from_any(Some(&[])).await?;
    inventory.cluster.expect_cluster_id = metadata.cluster_id.unwrap_or_default();
    inventory.kafka.bootstrap = metadata.brokers.iter().map(|broker| join_address(&broker.host, broker.port)).collect();
    let mut addresses: Vec<String> = metadata.brokers.iter().map(|broker| broker.host.clone()).collect();
    let mut settings = ConfigMap::new();
    for broker in &metadata.brokers {
        match client.broker_config(broker.broker).await {
            // Where these are, all say alike.
            Ok(found) => {
                settings = found;
                break;
            }
            Err(error) => notes.push(format!("broker {} does not tell its settings: {error}", broker.broker)),
        }
    }
    let setting = |name: &str| settings.get(name).and_then(|entry| entry.value.clone()).filter(|value| !value.is_empty());
    if let Some(voters) = setting("controller.quorum.voters") {
        addresses.extend(voters.split(',').filter_map(|voter| host_of(voter.split_once('@')?.1)));
    } else if let Some(connect) = setting("zookeeper.connect") {
        (inventory.zookeeper.connect, inventory.zookeeper.chroot) = zookeepers(&connect);
        if setting("zookeeper.ssl.client.enable").as_deref() == Some("true") {
            notes.push("brokers come to ZooKeeper by TLS: fill in [zookeeper.tls] (docs/security.md)".to_owned());
        }
        addresses.extend(inventory.zookeeper.connect.iter().filter_map(|entry| host_of(entry)));
    } else {
        notes.push("no broker tells where its ZooKeeper or its controllers are: fill in [zookeeper], or add hosts with --host".to_owned());
    }
    addresses.extend(wish.hosts.iter().cloned());
    inventory.hosts = hosts(addresses);
    if wish.ssh.is_some() {
        ask_hosts(&mut inventory, &mut notes).await?;
    } else {
        notes.push("hosts were not asked (--ssh-key and --known-hosts do): each needs its daemons".to_owned());
    }
    take_racks(&mut inventory, &metadata.brokers, &mut notes);
    for broker in &metadata.brokers {
        let is_known = inventory.daemons_of(DaemonKind::Kafka).any(|(_, daemon)| daemon.id == broker.broker);
        if wish.ssh.is_some() && !is_known {
            notes.push(format!("broker {} at {}:{} was found on no host", broker.broker, broker.host, broker.port));
        }
    }
    Ok(Discovered { inventory, notes })
}

impl Wish {
    /// What is known before anybody is asked.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            cluster: ClusterSection {
                name: self.name.clone(),
                environment: Environment::Staging,
                expect_cluster_id: String::new(),
                firewall: Firewall::Auto,
                network_namespace: self.network_namespace.clone(),
                notes: Vec::new(),
            },
            limits: Limits::default(),
            ssh: self.ssh.clone().unwrap_or_default(),
            kafka: self.kafka.clone(),
            zookeeper: ZooKeeperSection::default(),
            hosts: Vec::new(),
        }
    }
}

/// `a:2181,b:2181/kafka`: the servers, and where Kafka's nodes are.
fn zookeepers(connect: &str) -> (Vec<String>, String) {
    let (servers, chroot) = connect.split_once('/').map_or((connect, String::new()), |(servers, path)| (servers, format!("/{path}")));
    let with_port = |server: &str| if host_of(server).is_some() { server.to_owned() } else { format!("{server}:2181") };
    (servers.split(',').map(str::trim).filter(|server| !server.is_empty()).map(with_port).collect(), chroot)
}

fn host_of(address: &str) -> Option<String> {
    let (host, port) = address.trim().rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    Some(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// Each address once, in the order in which they came, named after it until the host says its own name.
fn hosts(addresses: Vec<String>) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for address in addresses {
        if !hosts.iter().any(|host| host.address == address) {
            let is_number = address.parse::<std::net::IpAddr>().is_ok();
            let name = if is_number { address.clone() } else { address.split('.').next().unwrap_or(&address).to_owned() };
            let (ssh, opt_in_file) = (SshOverride::default(), "/etc/kchaos/allow".into());
            hosts.push(Host { name, address, ssh, rack: None, opt_in_file, docker_host: None, clock: None, daemons: Vec::new() });
        }
    }
    hosts
}

/// A host is in the rack of its brokers (`broker.rack`); one that tells of two is its owner's to say.
fn take_racks(inventory: &mut Inventory, brokers: &[BrokerEndpoint], notes: &mut Vec<String>) {
    for host in &mut inventory.hosts {
        let has = |id: i32| host.daemons.iter().any(|daemon| daemon.kind == DaemonKind::Kafka && daemon.id == id);
        let here = brokers.iter().filter(|broker| has(broker.broker) || (host.daemons.is_empty() && broker.host == host.address));
        let racks: BTreeSet<&String> = here.filter_map(|broker| broker.rack.as_ref()).collect();
        match racks.into_iter().collect::<Vec<_>>().as_slice() {
            [] => {}
            [one] => host.rack = Some((*one).clone()),
            several => notes.push(format!("{}: its brokers are in several racks ({several:?}): fill in rack", host.name)),
        }
    }
}

async fn ask_hosts(inventory: &mut Inventory, notes: &mut Vec<String>) -> Result<(), ClusterError> {
    let cluster = Cluster::new(Arc::new(inventory.clone()))?;
    let means = if inventory.ssh.privilege() == Privilege::Helper { Means::Anybody } else { Means::Root };
    let asked = inventory.hosts.iter().map(async |host| {
        let output = cluster.remote(&host.name).run_as(SCRIPT, &means, SCRIPT_TIMEOUT).await?;
        output.success(&host.name, "looking for daemons").map(|text| found::parse(&text))
    });
    let answers = futures_util::future::join_all(asked).await;
    cluster.disconnect().await;
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers.iter().flatten() {
        *names.entry(answer.name.clone()).or_default() += 1;
    }
    for (host, answer) in inventory.hosts.iter_mut().zip(answers) {
        match answer {
            Err(error) => notes.push(format!("{}: was not asked: {error}", host.name)),
            Ok(found) => {
                // Machines that were copied may all have one name.
                if names.get(&found.name) == Some(&1) && !found.name.is_empty() {
                    host.name.clone_from(&found.name);
                }
                if found.daemons.is_empty() {
                    notes.push(format!("{}: nothing of Kafka or ZooKeeper runs there", host.name));
                }
                notes.extend(found.notes.into_iter().map(|note| format!("{}: {note}", host.name)));
                host.daemons = found.daemons;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_zookeeper_connect_are_servers_and_a_path() {
        assert_eq!(zookeepers("a:2181,b:2182/kafka"), (vec!["a:2181".to_owned(), "b:2182".to_owned()], "/kafka".to_owned()));
        assert_eq!(zookeepers("a, b"), (vec!["a:2181".to_owned(), "b:2181".to_owned()], String::new()));
    }

    #[test]
    fn a_host_is_in_the_rack_that_its_brokers_tell() {
        let wish = Wish {
            name: "t".into(),
            kafka: KafkaSection { bootstrap: Vec::new(), properties: BTreeMap::new(), replace_version: None },
            ssh: None,
            hosts: Vec::new(),
            network_namespace: None,
        };
        let mut inventory = wish.inventory();
        inventory.hosts = hosts(["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(str::to_owned).to_vec());
        let broker = |broker: i32, host: &str, rack: Option<&str>| BrokerEndpoint {
            broker,
            host: host.into(),
            port: 9092,
            rack: rack.map(str::to_owned),
        };
        let brokers = [
            broker(1, "10.0.0.1", Some("a")),
            broker(2, "10.0.0.2", None),
            broker(3, "10.0.0.3", Some("a")),
            broker(4, "10.0.0.3", Some("b")),
        ];
        let mut notes = Vec::new();
        take_racks(&mut inventory, &brokers, &mut notes);
        let racks: Vec<Option<&str>> = inventory.hosts.iter().map(|host| host.rack.as_deref()).collect();
        assert_eq!(racks, [Some("a"), None, None]);
        assert!(notes.len() == 1 && notes[0].contains("10.0.0.3: its brokers are in several racks"), "{notes:?}");
    }

    #[test]
    fn an_address_that_comes_twice_is_one_host() {
        let names: Vec<String> = hosts(["b1.example", "b2.example", "b1.example", "10.0.0.1"].map(str::to_owned).to_vec())
            .into_iter()
            .map(|host| host.name)
            .collect();
        assert_eq!(names, ["b1", "b2", "10.0.0.1"]);
        assert_eq!(host_of("[::1]:2181").as_deref(), Some("::1"));
    }
}
