//! One fault by hand: `fault INVENTORY NEMESIS HOLD_SECONDS [--lease SECONDS] [--firewall nftables|iptables] [--topic TOPIC:PARTITIONS]`,
//! or `fault INVENTORY heal`.
//!
//! Locks the hosts, sweeps, injects, holds, heals, unlocks, and prints every event as a line of JSON. Killed in the middle it leaves the
//! hosts to their leases, which is what it is good for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::{Firewall, Inventory};
use kchaos_core::{Clock, KeyEntry};
use kchaos_nemeses::{
    Doors, Engine, EngineOptions, HealOptions, HostPaths, HostReport, KillSemantics, LockOptions, heal_cluster, lock_hosts, parse,
    unlock_hosts,
};

type Failure = Box<dyn std::error::Error>;

struct Started(Instant);

impl Clock for Started {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

struct Wish {
    inventory: PathBuf,
    nemesis: String,
    hold: Duration,
    lease: Duration,
    firewall: Option<Firewall>,
    topics: Vec<KeyEntry>,
}

fn wish() -> Result<Wish, Failure> {
    let mut words = std::env::args().skip(1);
    let usage = "fault INVENTORY NEMESIS|heal HOLD_SECONDS [--lease SECONDS] [--firewall NAME] [--topic TOPIC:PARTITIONS]";
    let mut wish = Wish {
        inventory: words.next().ok_or(usage)?.into(),
        nemesis: words.next().ok_or(usage)?,
        hold: Duration::from_secs(5),
        lease: Duration::from_secs(30),
        firewall: None,
        topics: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(usage);
        match word.as_str() {
            "--lease" => wish.lease = Duration::from_secs_f64(value()?.parse()?),
            "--firewall" => wish.firewall = Some(if value()? == "iptables" { Firewall::Iptables } else { Firewall::Nftables }),
            "--topic" => {
                let text = value()?;
                let (topic, count) = text.rsplit_once(':').ok_or(usage)?;
                let entry = |partition: i32| KeyEntry { key: i64::from(partition), topic: topic.to_owned(), partition };
                wish.topics = (0..count.parse()?).map(entry).collect();
            }
            seconds => wish.hold = Duration::from_secs_f64(seconds.parse()?),
        }
    }
    Ok(wish)
}

async fn act(doors: Arc<dyn Doors>, wish: Wish) -> Result<bool, Failure> {
    let run_id = format!("fault-{}", std::process::id());
    if wish.nemesis == "heal" {
        return Ok(report(&heal_cluster(doors, HealOptions::default()).await));
    }
    let name = parse(&wish.nemesis)?;
    let holder = format!("the example, pid {}", std::process::id());
    let lock = LockOptions { run_id: run_id.clone(), holder: holder.clone(), lease: Duration::from_secs(60), paths: HostPaths::default() };
    for said in lock_hosts(doors.as_ref(), &lock).await? {
        println!("{said}");
    }
    report(&heal_cluster(Arc::clone(&doors), HealOptions { run_id: Some(run_id.clone()), ..HealOptions::default() }).await);
    let journal_dir = std::env::temp_dir().join(&run_id);
    std::fs::create_dir_all(&journal_dir)?;
    let options = EngineOptions {
        run_id,
        holder,
        lease: wish.lease,
        journal_dir: journal_dir.clone(),
        clock: Arc::new(Started(Instant::now())),
        sink: Arc::new(|event| println!("{}", serde_json::to_string(&event).unwrap_or_default())),
        topics: wish.topics,
        groups: Vec::new(),
        transactional_ids: Vec::new(),
        kill: KillSemantics::HeldDown,
        paths: HostPaths::default(),
    };
    let engine = Engine::new(Arc::clone(&doors), options).await?;
    let injected = engine.inject(&name, 1).await;
    if injected.is_ok() {
        tokio::time::sleep(wish.hold).await;
    }
    let whole = report(&engine.heal_all().await);
    drop(engine);
    for (host, error) in unlock_hosts(doors.as_ref(), &lock).await {
        println!("{host} is still locked: {error}");
    }
    std::fs::remove_dir_all(&journal_dir)?;
    injected?;
    Ok(whole)
}

fn report(reports: &[HostReport]) -> bool {
    for one in reports.iter().filter(|one| !one.notes.is_empty() || one.state != kchaos_nemeses::HostState::Clean) {
        println!("{}", serde_json::to_string(one).unwrap_or_default());
    }
    println!("{} of {} hosts are whole", reports.iter().filter(|one| one.is_whole()).count(), reports.len());
    reports.iter().all(HostReport::is_whole)
}

fn doors(path: &Path, firewall: Option<Firewall>) -> Result<(Arc<dyn Doors>, tokio::runtime::Runtime), Failure> {
    let mut inventory = Inventory::load(path)?;
    if let Some(firewall) = firewall {
        inventory.cluster.firewall = firewall;
    }
    // Before anything starts a thread.
    if let Some(namespace) = &inventory.cluster.network_namespace {
        kchaos_cluster::netns::enter(namespace)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    Ok((kchaos_nemeses::doors(Arc::new(Cluster::new(Arc::new(inventory))?)), runtime))
}

fn main() -> ExitCode {
    let outcome = wish().and_then(|wish| {
        let (doors, runtime) = doors(&wish.inventory, wish.firewall)?;
        runtime.block_on(act(doors, wish))
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(5),
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            eprintln!("{text}");
            ExitCode::from(3)
        }
    }
}
