//! A fault in force in a network of our own.

use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::inventory::{Firewall, Inventory};
use kchaos_core::FaultMoment as M;
use kchaos_nemeses::{Engine, HostState, KillSemantics};

use super::net::{ADDRESSES, CLIENT, Net, reaches};
use super::{Fake, nemesis};

pub const LEASE: Duration = Duration::from_secs(3);

/// A fault in force in a network of three hosts, each with a broker and a ZooKeeper.
pub struct Scene {
    pub net: Net,
    pub fake: Arc<Fake>,
    pub engine: Engine,
    pub rules: Vec<String>,
    pub id: u32,
}

impl Scene {
    pub async fn with(name: &str, firewall: Firewall) -> Self {
        Self::after(name, firewall, LEASE, |_| ()).await.0
    }

    /// With another inventory than usual.
    pub async fn where_(name: &str, firewall: Firewall, change: impl FnOnce(&mut Inventory)) -> Self {
        Self::made(name, firewall, LEASE, change, |_| ()).await.0
    }

    /// What `before` makes is kept until the fault is in force.
    pub async fn after<T>(name: &str, firewall: Firewall, lease: Duration, before: impl FnOnce(&Net) -> T) -> (Self, T) {
        Self::made(name, firewall, lease, |_| (), before).await
    }

    async fn made<T>(
        name: &str,
        firewall: Firewall,
        lease: Duration,
        change: impl FnOnce(&mut Inventory),
        before: impl FnOnce(&Net) -> T,
    ) -> (Self, T) {
        let net = Net::new();
        let mut fake = Fake::new("net", firewall, &ADDRESSES, Some(&net));
        change(&mut Arc::get_mut(&mut fake).unwrap().inventory);
        for host in Arc::get_mut(&mut fake).unwrap().hosts.values_mut() {
            host.ssh_connection = format!("{CLIENT} 40000 10.213.7.1 22");
        }
        let rules = net.hosts.iter().map(|host| Net::rules(host)).collect();
        let made = before(&net);
        let engine = fake.engine("r", lease, KillSemantics::HeldDown).await;
        let id = engine.inject(&nemesis(name), 1).await.unwrap_or_else(|error| panic!("{name} {firewall:?}: {error}"));
        (Self { net, fake, engine, rules, id }, made)
    }

    pub fn host(&self, number: usize) -> &str {
        &self.net.hosts[number - 1]
    }

    /// Between two hosts, by a broker's port.
    pub fn see(&self, from: usize, to: usize) -> bool {
        reaches(self.host(from), ADDRESSES[to - 1], 9092)
    }

    pub fn proof(&self, moment: M) -> String {
        let proof = self.fake.event(moment).unwrap().proof.unwrap();
        assert!(proof.proved, "{}", proof.text);
        proof.text
    }

    /// Healed, as before, and nothing left; what the proof of mending says.
    pub async fn mended(&self) -> String {
        self.engine.heal(self.id).await.unwrap();
        self.is_as_before();
        for host in self.fake.hosts.keys() {
            assert_eq!((self.fake.left(host), self.fake.notes().as_str()), (Vec::new(), ""), "{host}");
        }
        let reports = self.engine.heal_all().await;
        assert!(reports.iter().all(|report| report.state == HostState::Clean), "{reports:?}");
        self.proof(M::Healed)
    }

    pub fn is_as_before(&self) {
        for (host, rules) in self.net.hosts.iter().zip(&self.rules) {
            assert_eq!(&Net::rules(host), rules);
        }
    }
}
