//! The clock of a whole host: `make test-clocks` boots a machine in an emulator and runs these here, against it, by SSH. It is the emulated machine's
//! clock that is set; this one's is only read. No Kafka runs there: its daemons sleep.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::daemon::Manager;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::remote::Remote;
use kchaos_cluster::view::{BrokerView, PartitionView, View, ZooKeeperView};
use kchaos_core::{Clock, FaultEvent, FaultMoment as M, KeyEntry};
use kchaos_nemeses::{
    DoorError, Doors, Engine, EngineOptions, HealOptions, HostPaths, HostReport, HostState, KillSemantics, LockOptions, heal_cluster,
    lock_hosts, parse, unbearable,
};

/// An emulated machine takes its time.
const LEASE: Duration = Duration::from_secs(60);
const SHORT_LEASE: Duration = Duration::from_secs(15);
const ASK: Duration = Duration::from_secs(60);
const CONSENT: &str = "[host.clock]\nallow = [\"bump\", \"skew\", \"strobe\"]\n";

struct TestClock(Instant);

impl Clock for TestClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap()
    }
}

/// The machine, with three brokers and three ZooKeepers that are none.
struct Emulated {
    cluster: Cluster,
    root: tempfile::TempDir,
    events: Arc<Mutex<Vec<FaultEvent>>>,
}

#[async_trait]
impl Doors for Emulated {
    fn inventory(&self) -> &Inventory {
        &self.cluster.inventory
    }

    fn remote(&self, host: &str) -> Arc<dyn Remote> {
        self.cluster.remote(host)
    }

    fn mending(&self, host: &str) -> Arc<dyn Remote> {
        self.cluster.mending(host)
    }

    fn manager(&self, host: &str, daemon: &str) -> Box<dyn Manager> {
        self.cluster.manager(host, daemon)
    }

    async fn reaches(&self, _address: &str, _port: u16) -> bool {
        true
    }

    async fn view(&self, _topics: &[String]) -> Result<View, DoorError> {
        let broker = BrokerView { host: Some("b1".into()), ..BrokerView::default() };
        Ok(View {
            cluster_id: "emulated".into(),
            brokers: (1..=3).map(|id| (id, broker.clone())).collect(),
            controller: Some(2),
            partitions: vec![PartitionView {
                topic: "kchaos-t".into(),
                partition: 0,
                leader: Some(1),
                leader_epoch: 0,
                replicas: vec![1, 2, 3],
                isr: vec![1, 2, 3],
            }],
            zookeepers: [("b1".to_owned(), ZooKeeperView { id: 1, mode: "leader".into(), ..ZooKeeperView::default() })].into(),
            ..View::default()
        })
    }
}

fn inventory(directory: &Path, port: &str, of_host: &str) -> String {
    let place = directory.display();
    let mut text = format!(
        "[cluster]\nname = \"emulated\"\nenvironment = \"staging\"\nexpect_cluster_id = \"emulated\"\n[ssh]\nuser = \"root\"\nport = {port}\n\
         key_file = \"{place}/id\"\nknown_hosts_file = \"{place}/known_hosts\"\nconnect_timeout_ms = 20000\ncommand_timeout_ms = 60000\n\
         [kafka]\nbootstrap = [\"127.0.0.1:9092\"]\n[zookeeper]\nconnect = [\"127.0.0.1:2181\"]\n[[host]]\nname = \"b1\"\naddress = \"127.0.0.1\"\n{of_host}"
    );
    for (kind, first) in [("kafka", 9092), ("zookeeper", 2181)] {
        for id in 1..=3 {
            let pid = format!("/run/{kind}-{id}.pid");
            text.push_str(&format!(
                "[[host.daemon]]\nkind = \"{kind}\"\nid = {id}\nport = {}\nlog_dir = \"/tmp\"\nfind = {{ pid-file = \"{pid}\" }}\nstop = \"true\"\n\
                 start = \"setsid sh -c 'echo $$ >{pid}; exec sleep 100000' </dev/null >/dev/null 2>&1 & sleep 0.5\"\n",
                first + id
            ));
        }
    }
    text
}

impl Emulated {
    /// Waits until the machine has booted, and starts its daemons.
    async fn new(of_host: &str) -> Arc<Self> {
        let directory = PathBuf::from(std::env::var_os("KCHAOS_EMULATED").expect("KCHAOS_EMULATED: make test-clocks"));
        let port = std::env::var("KCHAOS_EMULATED_PORT").expect("KCHAOS_EMULATED_PORT: make test-clocks");
        let text = inventory(&directory, &port, of_host);
        let inventory = Inventory::parse(Path::new("kchaos.toml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let cluster = Cluster::new(Arc::new(inventory)).unwrap();
        let this = Arc::new(Self { cluster, root: tempfile::tempdir().unwrap(), events: Arc::default() });
        let began = Instant::now();
        while let Err(error) = this.remote("b1").run("true", ASK).await {
            assert!(began.elapsed() < Duration::from_secs(180), "{error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let own = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert_ne!(this.asks("cat /proc/sys/kernel/random/boot_id").await.trim(), own.trim(), "this is this very machine");
        this.asks(
            "for d in kafka-1 kafka-2 kafka-3 zookeeper-1 zookeeper-2 zookeeper-3; do\n[ -e /run/$d.pid ] && kill -0 $(cat /run/$d.pid) || \
             { setsid sh -c \"echo \\$\\$ >/run/$d.pid; exec sleep 100000\" </dev/null >/dev/null 2>&1 & }\ndone\nsleep 1",
        )
        .await;
        this
    }

    async fn asks(&self, script: &str) -> String {
        self.remote("b1").run(script, ASK).await.unwrap().success("b1", "a look").unwrap()
    }

    /// By a yardstick of the test's own: what the machine's clock says against its time since boot, in seconds.
    async fn base_s(&self) -> f64 {
        let said = self.asks("read a b </proc/uptime; date +%s.%N; echo $a").await;
        let numbers: Vec<f64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        numbers[0] - numbers[1]
    }

    async fn time_daemon(&self) -> String {
        self.asks("systemctl show -p ActiveState chrony.service | sed s/.*=//").await.trim().to_owned()
    }

    async fn engine(self: &Arc<Self>, run: &str, lease: Duration) -> Engine {
        let lock = LockOptions { run_id: run.into(), holder: "the test".into(), lease: LEASE, paths: HostPaths::default() };
        lock_hosts(self.as_ref(), &lock).await.unwrap();
        let events = Arc::clone(&self.events);
        let options = EngineOptions {
            run_id: run.into(),
            holder: "the test".into(),
            lease,
            journal_dir: self.root.path().to_owned(),
            clock: Arc::new(TestClock(Instant::now())),
            sink: Arc::new(move |event| {
                eprintln!("{}", serde_json::to_string(&event).unwrap());
                events.lock().unwrap().push(event);
            }),
            topics: vec![KeyEntry { key: 0, topic: "kchaos-t".into(), partition: 0 }],
            groups: Vec::new(),
            transactional_ids: Vec::new(),
            kill: KillSemantics::HeldDown,
            paths: HostPaths::default(),
        };
        Engine::new(Arc::clone(self) as Arc<dyn Doors>, options).await.unwrap()
    }

    fn event(&self, moment: M) -> Option<FaultEvent> {
        self.events.lock().unwrap().iter().rev().find(|event| event.moment == moment).cloned()
    }

    fn proof(&self, moment: M) -> String {
        let proof = self.event(moment).unwrap_or_else(|| panic!("no {moment:?}")).proof.unwrap();
        assert!(proof.proved, "{}", proof.text);
        proof.text
    }

    /// As `kchaos heal --break-locks`.
    async fn sweep(self: &Arc<Self>) -> Vec<HostReport> {
        let sweep = HealOptions { break_locks: true, ..HealOptions::default() };
        let reports = heal_cluster(Arc::clone(self) as Arc<dyn Doors>, sweep).await;
        assert!(reports.iter().all(HostReport::is_whole), "{reports:?}");
        reports
    }

    /// Clean, unlocked, and the clock and its daemon as before.
    async fn is_as_before(self: &Arc<Self>, run: &str, base_s: f64) {
        let off_s = self.base_s().await - base_s;
        assert!(off_s.abs() < 1.0, "the clock is off by {off_s} s");
        assert_eq!(self.time_daemon().await, "active");
        assert_eq!(
            self.asks("ls /run/kchaos/clock /var/lib/kchaos/host/undo.d /run/kchaos/lease 2>/dev/null | grep -c '[.]sh$\\|^r' || :")
                .await
                .trim(),
            "0"
        );
        for round in 0..2 {
            let sweep = HealOptions { run_id: Some(run.into()), break_locks: true, ..HealOptions::default() };
            let reports = heal_cluster(Arc::clone(self) as Arc<dyn Doors>, sweep).await;
            assert!(reports.iter().all(HostReport::is_whole), "{reports:?}");
            assert!(round == 0 || reports.iter().all(|report| report.state == HostState::Clean), "{reports:?}");
        }
    }
}

/// By how much the test itself finds the clock wrong while the fault is in force.
fn is_wrong_as(name: &str, off_s: f64) -> bool {
    match name.split('-').next() {
        Some("bump") => (off_s - 90.0).abs() < 2.0,
        Some("skew") => (-90.5..-1.0).contains(&off_s),
        _ => off_s.abs() < 2.0 || (off_s - 30.0).abs() < 2.0,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a machine that is nobody's: make test-clocks"]
async fn a_host_s_clock_is_wrong_and_right_again() {
    let machine = Emulated::new(CONSENT).await;
    let engine = machine.engine("r", LEASE).await;
    let not: Vec<String> = unbearable(machine.as_ref()).await.iter().map(ToString::to_string).collect();
    assert!(!not.iter().any(|one| ["bump", "skew", "strobe"].iter().any(|fault| one.starts_with(fault))), "{not:?}");
    for name in ["bump-leader", "skew-leader", "strobe-leader", "bump-zk-leader", "skew-controller", "strobe-zk-leader"] {
        let base_s = machine.base_s().await;
        let fault = engine.inject(&parse(name).unwrap(), 1).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let off_s = machine.base_s().await - base_s;
        println!("{name}: {}", machine.proof(M::InEffect));
        println!("{name}: {off_s:+.2} s by the test's own look; the time daemon is {}", machine.time_daemon().await);
        assert!(is_wrong_as(name, off_s), "{name}: {off_s}");
        engine.heal(fault).await.unwrap();
        println!("{name}: {}", machine.proof(M::Healed));
        for (moment, what) in [(M::InEffect, "injected"), (M::Healed, "mended")] {
            let when = machine.event(moment).unwrap().when;
            println!("{name}: {what} within {:.2} s", (when.before_ns - when.after_ns) as f64 / 1e9);
        }
        machine.is_as_before("r", base_s).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a machine that is nobody's: make test-clocks"]
async fn without_consent_and_while_another_has_it_the_clock_is_left_alone() {
    let machine = Emulated::new("[host.clock]\nallow = [\"bump\"]\n").await;
    let engine = machine.engine("r", LEASE).await;
    let base_s = machine.base_s().await;
    let refused = engine.inject(&parse("skew-leader").unwrap(), 1).await.unwrap_err().to_string();
    assert!(refused.contains("allow = [\"skew\"] under the host's [host.clock]"), "{refused}");
    let fault = engine.inject(&parse("bump-leader").unwrap(), 1).await.unwrap();
    let refused = engine.inject(&parse("bump-zk-leader").unwrap(), 1).await.unwrap_err().to_string();
    println!("a second one: {refused}");
    // Whoever starts the time daemon ends the fault: that is told.
    machine.asks("systemctl start chrony.service").await;
    let began = Instant::now();
    while machine.event(M::LeaseLapsed).is_none() && began.elapsed() < LEASE {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("a time daemon that came back: {:?}", machine.event(M::LeaseLapsed).and_then(|event| event.text));
    assert!(engine.in_force()[0].lapsed, "{:?}", engine.in_force());
    engine.heal(fault).await.unwrap();
    machine.is_as_before("r", base_s).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a machine that is nobody's: make test-clocks"]
async fn kill_9_in_mid_fault_leaves_the_clock_right_within_the_lease() {
    let machine = Emulated::new(CONSENT).await;
    for name in ["bump-leader", "skew-leader", "strobe-leader"] {
        machine.sweep().await;
        let base_s = machine.base_s().await;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_one_that_is_killed", "--nocapture"])
            .env("KCHAOS_VICTIM", name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("\"moment\":\"in-effect\"")), "{name} did not come into effect");
        tokio::time::sleep(Duration::from_secs(2)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let killed = Instant::now();
        let off_s = machine.base_s().await - base_s;
        println!("{name}: kchaos is dead; {off_s:+.2} s, the time daemon is {}", machine.time_daemon().await);
        assert!(is_wrong_as(name, off_s), "{name}: {off_s}");
        // The time daemon comes last.
        while machine.time_daemon().await != "active" {
            assert!(killed.elapsed() < SHORT_LEASE + Duration::from_secs(30), "{:+.2} s", machine.base_s().await - base_s);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let off_s = machine.base_s().await - base_s;
        println!("{name}: right again ({off_s:+.2} s) {:.1} s after its death, with a lease of 15 s", killed.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(off_s.abs() < 1.0);
        let reports = machine.sweep().await;
        println!("{name}: kchaos heal says {reports:?}");
        machine.is_as_before("r", base_s).await;
    }
}

/// In a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "only where the test above starts it"]
async fn the_one_that_is_killed() {
    let Ok(name) = std::env::var("KCHAOS_VICTIM") else { return };
    let machine = Emulated::new(CONSENT).await;
    let engine = machine.engine("victim", SHORT_LEASE).await;
    engine.inject(&parse(&name).unwrap(), 1).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
}
