//! A cluster that is changed all the time: a change that somebody takes back behind the workload's back is found, and a run that nobody meddles with is
//! not accused.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Ask, Client, Timeouts};
use kchaos_core::{Body, OpType};

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const NETWORK: &str = "/run/netns/kchaos-net";
const SETTINGS: [&str; 3] = ["index.interval.bytes", "delete.retention.ms", "file.delete.delay.ms"];

#[test]
#[ignore = "needs root and the lab"]
fn a_change_taken_back_behind_its_back_is_found_and_a_changed_cluster_that_loses_its_leader_is_not_accused() {
    let lab = Lab::that_is_whole();
    let elections = |nemesis: &str, more: &[&str]| {
        a_run_with(nemesis, &["--workload", "elections", "--elections-topics", "4", "--elections-interval", "100ms"]).and(more)
    };

    let meddler = Meddler::at_work(&lab, take_back);
    let meddled = elections("none", &["--time-limit", "4s"]).finish().ends_with(1);
    let taken_back = meddler.ends();
    let lost = meddled.count_of("change-lost");
    assert!(lost > 0 && taken_back > 0, "{}", meddled.verdict()["anomalies"]);
    assert_eq!(meddled.verdict()["anomalies"].as_object().map(serde_json::Map::len), Some(1), "{}", meddled.verdict()["anomalies"]);

    let kill = ["--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "8s"];
    let safe = elections("kill-leader", &kill).finish().ends_with(0);
    safe.stands_offline();
    let done = safe.changes();
    assert!(done.ok > 10 && done.measured > 10 && done.looks == 3, "{done:?}");
    println!(
        "a cluster that is changed all the time: {lost} changes told that were taken back; with its leader killed none of {} lost, and none of {} writes; \
         {} measures of staleness; {:.0} s and {:.0} s",
        done.ok,
        safe.acknowledged(),
        done.measured,
        meddled.took.as_secs_f64(),
        safe.took.as_secs_f64()
    );
}

/// Somebody who does something to the cluster all the time, from where kchaos reaches it, and counts what was done.
pub(crate) struct Meddler {
    is_over: Arc<AtomicBool>,
    taken_back: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Meddler {
    pub(crate) fn at_work(lab: &Lab, meddle: impl AsyncFn(&Client) -> u64 + Send + 'static) -> Self {
        let inventory = Inventory::load(&lab.inventory).expect("the lab's inventory");
        let (is_over, taken_back) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&is_over), Arc::clone(&taken_back));
        let thread = std::thread::spawn(move || {
            let network = std::fs::File::open(NETWORK).expect("the lab's network");
            // SAFETY: the descriptor is open for the whole call; this thread alone moves.
            assert_eq!(unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let client = Client::new(&inventory, Timeouts::default()).expect("a client");
            while !over.load(Relaxed) {
                count.fetch_add(runtime.block_on(meddle(&client)), Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { is_over, taken_back, thread }
    }

    pub(crate) fn ends(self) -> u64 {
        self.is_over.store(true, Relaxed);
        self.thread.join().expect("the meddler");
        self.taken_back.load(Relaxed)
    }
}

/// Takes settings away from the run's topics.
async fn take_back(client: &Client) -> u64 {
    let Ok(metadata) = client.metadata_from_any(None).await else { return 0 };
    let mut taken = 0;
    for topic in metadata.topics.iter().map(|topic| topic.topic.as_str()).filter(|topic| topic.starts_with("kchaos-elections-")) {
        let Ok(settings) = client.topic_config(topic).await else { continue };
        for name in SETTINGS {
            let is_set = settings.get(name).is_some_and(|entry| entry.source == kchaos_cluster::protocol::ConfigSource::Topic);
            if is_set {
                taken += u64::from(client.ask_once(Ask::TopicSetting { topic, name, value: None }).await.is_ok_and(|code| code == 0));
            }
        }
    }
    taken
}

#[derive(Debug, Default)]
struct Done {
    ok: u64,
    measured: u64,
    looks: u64,
}

impl Finished {
    fn changes(&self) -> Done {
        let mut done = Done::default();
        self.each_op(|op| match &op.body {
            Body::Nemesis { f, .. } if f == "admin" && op.op_type == OpType::Ok => done.ok += 1,
            Body::Nemesis { f, .. } if f == "metadata-seen" => done.measured += 1,
            Body::Nemesis { f, .. } if f == "admin-final" => done.looks += 1,
            _ => {}
        });
        done
    }
}
