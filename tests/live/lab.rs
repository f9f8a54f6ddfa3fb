//! The cluster under test, and what its hosts look like from outside kchaos' runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::kchaos;

/// A lab that is up. A test that finds none fails here, and says what to do.
pub(crate) struct Lab {
    pub(crate) inventory: PathBuf,
    pub(crate) hosts: Vec<String>,
}

impl Lab {
    pub(crate) fn that_is_up() -> Self {
        // SAFETY: geteuid has no preconditions.
        assert_eq!(unsafe { libc::geteuid() }, 0, "the tests against a real cluster need root (namespaces): sudo scripts/test-live.sh");
        let Some(inventory) = kchaos_lab::inventory_path() else {
            panic!("no lab is up: run scripts/test-live.sh, or first target/debug/kchaos lab up --zookeeper-session-timeout 6s");
        };
        let status = kchaos_lab::status().expect("the lab's status");
        assert!(
            status.kraft.is_some() || status.zookeeper_session_timeout_ms <= 6_000,
            "these tests are timed for a ZooKeeper session of 6 s, the lab that is up has {} ms: take it down (kchaos lab down), then scripts/test-live.sh",
            status.zookeeper_session_timeout_ms
        );
        let hosts = status.hosts.into_iter().map(|host| host.name).collect();
        Self { inventory, hosts }
    }

    /// The same, once everything is registered and in sync again, and no lock of a killed run is left.
    pub(crate) fn that_is_whole() -> Self {
        let lab = Self::that_is_up();
        let deadline = Instant::now() + Duration::from_secs(120);
        while let Some(missing) = lab.what_is_missing() {
            assert!(Instant::now() < deadline, "the lab did not become whole within 120 s: {missing}");
            std::thread::sleep(Duration::from_millis(500));
        }
        lab
    }

    pub(crate) fn what_is_missing(&self) -> Option<String> {
        let seen = kchaos(&["status", "--format", "json"]).run();
        if seen.code != 0 {
            return Some(seen.stderr);
        }
        let view = seen.json();
        let partitions = view["partitions"].as_array().cloned().unwrap_or_default();
        let shrunk =
            partitions.iter().find(|partition| length(&partition["isr"]) < length(&partition["replicas"]) || partition["leader"].is_null());
        let mute = view["zookeepers"].as_object().is_some_and(|servers| servers.values().any(|server| server["mode"] == "none"));
        if let Some(shrunk) = shrunk {
            Some(format!("not in sync: {shrunk}"))
        } else if mute {
            Some(format!("a ZooKeeper does not serve: {}", view["zookeepers"]))
        } else if view["brokers"].as_object().map_or(0, serde_json::Map::len) < 3 || view["controller"].is_null() {
            Some(format!("brokers {}, controller {}", view["brokers"], view["controller"]))
        } else {
            self.locked_by()
        }
    }

    /// Every run of the tests before this one has ended, so a lock that is left is a dead run's.
    fn locked_by(&self) -> Option<String> {
        let healed = kchaos(&["heal", "--format", "json", "--break-locks"]).run();
        healed.json().as_array()?.iter().flat_map(|host| host["notes"].as_array().cloned().unwrap_or_default()).find_map(|note| {
            let note = note.as_str()?;
            note.contains("locked by run").then(|| note.to_owned())
        })
    }

    /// What a command prints on a host.
    pub(crate) fn on(&self, host: &str, script: &str) -> String {
        let said = kchaos(&["lab", "shell", host, "--", "sh", "-c", script]).run();
        assert_eq!(said.code, 0, "on {host}: {script}: {}", said.stderr);
        said.stdout
    }

    /// A host's packet filter, without what changes by itself: counters and stamps.
    pub(crate) fn rules(&self, host: &str) -> String {
        crate::rules::without_counters(&self.on(host, "nft list ruleset; echo; echo iptables; iptables-save; ip6tables-save"))
    }

    /// All that kchaos could have left on the hosts: files, rules.
    pub(crate) fn footprint(&self) -> BTreeMap<String, String> {
        // What was done to a host is kept there, and meant to stay.
        let files = "find /run/kchaos /var/lib/kchaos -type f ! -name 'audit.log*' -printf '%p %s\\n' 2>/dev/null | sort; true";
        self.hosts.iter().map(|host| (host.clone(), format!("{}\n{}", self.on(host, files), self.rules(host)))).collect()
    }

    /// The state letter of a process on a host, as the kernel tells it: `T` is stopped.
    pub(crate) fn process_state(&self, host: &str, pid: i64) -> String {
        self.on(host, &format!("sed 's/.*) \\(.\\).*/\\1/' /proc/{pid}/stat")).trim().to_owned()
    }

    /// A copy of the inventory in which this text stands instead of that.
    pub(crate) fn inventory_where(&self, into: &Path, from: &str, to: &str) -> PathBuf {
        let text = std::fs::read_to_string(&self.inventory).expect("the lab's inventory");
        assert!(text.contains(from), "{from:?} is not in {}", self.inventory.display());
        let copy = into.join("kchaos.toml");
        std::fs::write(&copy, text.replacen(from, to, 1)).expect("write a copy of the inventory");
        copy
    }

    /// A copy in which SSH to one host goes where nobody is.
    pub(crate) fn inventory_without_a_way_to(&self, into: &Path, host: &str) -> PathBuf {
        let text = std::fs::read_to_string(&self.inventory).expect("the lab's inventory");
        let (before, of_host) = text.split_once(&format!("name = \"{host}\"")).expect("the host is in the inventory");
        let of_host = of_host.replacen("[host.ssh]", "[host.ssh]\naddress = \"10.99.0.250\"", 1);
        let copy = into.join("kchaos.toml");
        std::fs::write(&copy, format!("{before}name = \"{host}\"{of_host}")).expect("write a copy of the inventory");
        copy
    }
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}
