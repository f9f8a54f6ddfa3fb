//! A cluster made of processes and network namespaces of this machine: real `sh`, real signals, real packet filters, and no Kafka.
//!
//! Hosts share this machine's file system, so `@HOST@` in a script stands for the host's own directory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod net;
pub mod scene;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kchaos_cluster::daemon::{DaemonState, Manager, Pid};
use kchaos_cluster::inventory::{
    ClusterSection, DaemonEntry, DaemonKind, Environment, Find, Firewall, Host, Inventory, KafkaSection, Limits, ManagerKind, SshOverride,
    SshSection, ZooKeeperSection,
};
use kchaos_cluster::remote::{Output, Remote, RemoteError};
use kchaos_cluster::view::{BrokerView, PartitionView, View, ZooKeeperView};
use kchaos_core::{Clock, FaultEvent, FaultMoment, KeyEntry, NemesisName};
use kchaos_nemeses::{DoorError, Doors, Engine, EngineOptions, HostPaths, KillSemantics, LockOptions, lock_hosts, parse};
use tokio::io::AsyncWriteExt;

pub struct TestClock(Instant);

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap()
    }
}

/// One host: a directory, and a network namespace if the test is about the network.
#[derive(Clone)]
pub struct Local {
    pub name: String,
    pub directory: PathBuf,
    pub namespace: Option<String>,
    pub ssh_connection: String,
    pub unreachable: Arc<Mutex<bool>>,
    /// Scripts whose last lines hold this word arrive that much later, whether or not somebody still waits for their answer.
    pub hold_up: Arc<Mutex<Vec<(String, Duration)>>>,
}

#[async_trait]
impl Remote for Local {
    fn host(&self) -> &str {
        &self.name
    }

    async fn run(&self, script: &str, timeout: Duration) -> Result<Output, RemoteError> {
        if *self.unreachable.lock().unwrap() {
            return Err(RemoteError::Unreachable {
                host: self.name.clone(),
                address: "nowhere".into(),
                reason: "by order of the test".into(),
            });
        }
        let call = script.split("k_main() {").nth(1).unwrap_or_default();
        let held = self.hold_up.lock().unwrap().iter().find(|(word, _)| call.contains(word)).map(|(_, time)| *time);
        let held = held.map_or(String::new(), |time| format!("sleep {}\n", time.as_secs_f64()));
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = tokio::process::Command::new("nsenter");
                command.args([format!("--net=/run/netns/{namespace}").as_str(), "sh", "-s"]);
                command
            }
            None => {
                let mut command = tokio::process::Command::new("sh");
                command.arg("-s");
                command
            }
        };
        command.env("LC_ALL", "C").env("SSH_CONNECTION", &self.ssh_connection);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let text = held + &script.replace("@HOST@", self.directory.to_str().unwrap());
        let mut stdin = child.stdin.take().unwrap();
        let feed = tokio::spawn(async move {
            let _ = stdin.write_all(text.as_bytes()).await;
        });
        let output = tokio::time::timeout(timeout, child.wait_with_output()).await;
        feed.abort();
        match output {
            Ok(output) => {
                let output = output.unwrap();
                Ok(Output { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: output.stderr })
            }
            Err(_) => Err(RemoteError::Timeout { host: self.name.clone(), timeout_ms: u64::try_from(timeout.as_millis()).unwrap() }),
        }
    }
}

/// A daemon that is a `sleep`, with its pid in a file. While the file `doomed` is there a start ends after a moment, as a broker's does
/// that finds its old registration.
pub struct Sleeper {
    pub directory: PathBuf,
    pub label: String,
}

impl Sleeper {
    fn file(&self, what: &str) -> String {
        format!("{}/{}.{what}", self.directory.display(), self.label.replace(':', "-"))
    }

    pub fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.file("pid")).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (fields[0] != "Z").then(|| Pid { pid, start_time: fields[19].parse().unwrap() })
    }

    pub fn state_letter(&self) -> Option<String> {
        let pid = self.pid()?;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.pid)).ok()?;
        Some(stat.rsplit_once(") ")?.1.split(' ').next()?.to_owned())
    }

    pub fn doom(&self) {
        std::fs::write(self.file("doomed"), "").unwrap();
    }
}

#[async_trait]
impl Manager for Sleeper {
    async fn start(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        remote.run(&self.start_script(), Duration::from_secs(5)).await.map(|_| ())
    }

    async fn stop(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        let script = format!("kill -TERM $(cat {})\n", self.file("pid"));
        remote.run(&script, Duration::from_secs(5)).await.map(|_| ())
    }

    async fn state(&self, _remote: &dyn Remote) -> Result<DaemonState, RemoteError> {
        Ok(match (self.pid(), self.state_letter().as_deref()) {
            (Some(pid), Some("T")) => DaemonState::Stopped(pid),
            (Some(pid), Some(_)) => DaemonState::Running(pid),
            _ => DaemonState::Gone,
        })
    }

    fn start_script(&self) -> String {
        let (pid, doomed) = (self.file("pid"), self.file("doomed"));
        format!(
            "if [ -e {doomed} ]; then rm -f {doomed}; time=0.3; else time=1000; fi\n\
             setsid sh -c 'echo $$ >{pid}; exec sleep '$time </dev/null >/dev/null 2>&1 &\nsleep 0.1\n"
        )
    }

    fn find_script(&self) -> String {
        let pid = self.file("pid");
        format!("read -r p <{pid} 2>/dev/null && k_proc_stat $p && [ $P_STATE != Z ] && echo $p $P_START $P_STATE\n")
    }
}

pub struct Fake {
    pub inventory: Inventory,
    pub hosts: BTreeMap<String, Local>,
    /// Where clients are: no probe of a test leaves the namespaces that it made.
    pub client: Option<String>,
    pub view: Mutex<View>,
    pub root: tempfile::TempDir,
    pub events: Arc<Mutex<Vec<FaultEvent>>>,
}

#[async_trait]
impl Doors for Fake {
    fn inventory(&self) -> &Inventory {
        &self.inventory
    }

    fn remote(&self, host: &str) -> Arc<dyn Remote> {
        Arc::new(self.hosts[host].clone())
    }

    fn mending(&self, host: &str) -> Arc<dyn Remote> {
        Arc::new(self.hosts[host].clone())
    }

    fn manager(&self, host: &str, daemon: &str) -> Box<dyn Manager> {
        Box::new(self.sleeper(host, daemon))
    }

    async fn reaches(&self, address: &str, port: u16) -> bool {
        let Some(client) = self.client.clone() else { return false };
        let address = address.to_owned();
        tokio::task::spawn_blocking(move || net::reaches(&client, &address, port)).await.unwrap()
    }

    /// Registered is whose process lives.
    async fn view(&self, _topics: &[String]) -> Result<View, DoorError> {
        let mut view = self.view.lock().unwrap().clone();
        for host in &self.inventory.hosts {
            for daemon in &host.daemons {
                let lives = self.hosts[&host.name].namespace.is_some() || self.sleeper(&host.name, &daemon.label()).pid().is_some();
                match daemon.kind {
                    DaemonKind::Kafka if !lives => drop(view.brokers.remove(&daemon.id)),
                    DaemonKind::Zookeeper if !lives => {
                        if let Some(seen) = view.zookeepers.get_mut(&host.name) {
                            seen.mode = "none".into();
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(view)
    }
}

/// A test that fails leaves no process either.
impl Drop for Fake {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl Fake {
    /// Hosts `b1`, `b2`, `b3`, each with a broker and a ZooKeeper; broker 1 leads keys 0 and 1, broker 2 key 2; ZooKeeper 2 leads.
    pub fn new(name: &str, firewall: Firewall, addresses: &[&str], net: Option<&net::Net>) -> Arc<Self> {
        net::sweep();
        let root = tempfile::Builder::new().prefix(&format!("kchtest-{}-{name}-", std::process::id())).tempdir().unwrap();
        let mut hosts = BTreeMap::new();
        let mut entries = Vec::new();
        let mut view = View { cluster_id: "test".into(), controller: Some(3), ..View::default() };
        for (index, address) in addresses.iter().enumerate() {
            let id = i32::try_from(index).unwrap() + 1;
            let name = format!("b{id}");
            let directory = root.path().join(&name);
            std::fs::create_dir(&directory).unwrap();
            let local = Local {
                name: name.clone(),
                directory,
                namespace: net.map(|net| net.hosts[index].clone()),
                ssh_connection: String::new(),
                unreachable: Arc::default(),
                hold_up: Arc::default(),
            };
            hosts.insert(name.clone(), local);
            let daemon = |kind, port, peer_ports: &[u16]| DaemonEntry {
                kind,
                id,
                port,
                peer_ports: peer_ports.to_vec(),
                controller_port: None,
                manager: ManagerKind::Scripts,
                unit: None,
                container: None,
                start: "true".into(),
                stop: "true".into(),
                find: Find::Port(port),
                log_dir: PathBuf::from("/nonexistent"),
                disk: None,
                clock: None,
            };
            entries.push(Host {
                name: name.clone(),
                address: (*address).to_owned(),
                ssh: SshOverride::default(),
                rack: None,
                opt_in_file: PathBuf::from("/etc/kchaos/allow"),
                docker_host: None,
                clock: None,
                daemons: vec![daemon(DaemonKind::Zookeeper, 2181, &[2888, 3888]), daemon(DaemonKind::Kafka, 9092, &[])],
            });
            view.brokers.insert(id, BrokerView { host: Some(name.clone()), ..BrokerView::default() });
            let mode = if id == 2 { "leader" } else { "follower" };
            view.zookeepers.insert(name, ZooKeeperView { id, mode: mode.into(), ..ZooKeeperView::default() });
        }
        for (partition, leader) in [(0, 1), (1, 1), (2, 2)] {
            view.partitions.push(PartitionView {
                topic: "kchaos-t".into(),
                partition,
                leader: Some(leader),
                leader_epoch: 0,
                replicas: vec![1, 2, 3],
                isr: vec![1, 2, 3],
            });
        }
        let client = net.map(|net| net.client.clone());
        Arc::new(Self { client, inventory: inventory(firewall, entries), hosts, view: Mutex::new(view), root, events: Arc::default() })
    }

    pub fn sleeper(&self, host: &str, label: &str) -> Sleeper {
        Sleeper { directory: self.hosts[host].directory.clone(), label: label.to_owned() }
    }

    pub async fn start_all(&self) {
        for host in &self.inventory.hosts {
            for daemon in &host.daemons {
                self.sleeper(&host.name, &daemon.label()).start(&self.hosts[&host.name]).await.unwrap();
            }
        }
    }

    pub fn kill_all(&self) {
        for host in &self.inventory.hosts {
            for daemon in &host.daemons {
                if let Some(pid) = self.sleeper(&host.name, &daemon.label()).pid() {
                    // SAFETY: kill has no memory effects; the pid is that of a process this test started.
                    unsafe { libc::kill(pid.pid, libc::SIGKILL) };
                }
            }
        }
    }

    pub fn paths() -> HostPaths {
        HostPaths { state: "@HOST@/state".into(), volatile: "@HOST@/run".into() }
    }

    pub fn lock_options(run: &str, lease: Duration) -> LockOptions {
        LockOptions { run_id: run.into(), holder: "the test".into(), lease, paths: Self::paths() }
    }

    pub async fn engine(self: &Arc<Self>, run: &str, lease: Duration, kill: KillSemantics) -> Engine {
        lock_hosts(self.as_ref(), &Self::lock_options(run, Duration::from_secs(60))).await.unwrap();
        Engine::new(Arc::clone(self) as Arc<dyn Doors>, self.engine_options(run, lease, kill)).await.unwrap()
    }

    pub fn engine_options(&self, run: &str, lease: Duration, kill: KillSemantics) -> EngineOptions {
        let events = Arc::clone(&self.events);
        let topics = (0..3).map(|n| KeyEntry { key: i64::from(n), topic: "kchaos-t".into(), partition: n }).collect();
        EngineOptions {
            run_id: run.into(),
            holder: "the test".into(),
            lease,
            journal_dir: self.root.path().to_owned(),
            clock: Arc::new(TestClock(Instant::now())),
            sink: Arc::new(move |event| {
                eprintln!("{}", serde_json::to_string(&event).unwrap());
                events.lock().unwrap().push(event);
            }),
            topics,
            groups: Vec::new(),
            transactional_ids: Vec::new(),
            kill,
            paths: Self::paths(),
        }
    }

    pub fn moments(&self) -> Vec<FaultMoment> {
        self.events.lock().unwrap().iter().map(|event| event.moment).filter(|moment| *moment != FaultMoment::Note).collect()
    }

    pub fn event(&self, moment: FaultMoment) -> Option<FaultEvent> {
        self.events.lock().unwrap().iter().find(|event| event.moment == moment).cloned()
    }

    pub fn notes(&self) -> String {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|event| event.moment == FaultMoment::Note)
            .filter_map(|event| event.text.clone())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Files that kchaos left on a host.
    pub fn left(&self, host: &str) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for part in ["state", "run"] {
            files(&self.hosts[host].directory.join(part), &mut all);
        }
        all.retain(|path| !path.ends_with("lock/owner") && !path.ends_with("audit.log"));
        all
    }

    pub fn journal(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.root.path().join("undo-journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn files(directory: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().is_dir() { files(&entry.path(), all) } else { all.push(entry.path()) }
    }
}

fn inventory(firewall: Firewall, hosts: Vec<Host>) -> Inventory {
    Inventory {
        cluster: ClusterSection {
            name: "test".into(),
            environment: Environment::Lab,
            expect_cluster_id: "test".into(),
            firewall,
            network_namespace: None,
            notes: Vec::new(),
        },
        limits: Limits::default(),
        ssh: SshSection {
            user: "root".into(),
            port: 22,
            key_file: PathBuf::new(),
            key_passphrase: None,
            known_hosts_file: PathBuf::new(),
            connect_timeout_ms: 1,
            command_timeout_ms: 1,
            channels_max: 1,
            sudo: false,
            privilege: None,
        },
        kafka: KafkaSection { bootstrap: Vec::new(), properties: BTreeMap::new(), replace_version: None },
        zookeeper: ZooKeeperSection {
            connect: Vec::new(),
            chroot: String::new(),
            session_timeout_ms: 1,
            user: None,
            password: None,
            tls: None,
        },
        hosts,
    }
}

pub fn nemesis(name: &str) -> NemesisName {
    parse(name).unwrap()
}

/// Waits until it holds; how long that took.
pub async fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> Option<Duration> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if holds() {
            return Some(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}
