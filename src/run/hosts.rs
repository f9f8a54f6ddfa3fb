//! Clients on hosts of the cluster (`--client-hosts`): the program is put there by SSH, started for each client, and taken away at the end.
//!
//! Why this very program: it holds the same librdkafka with the same patches, so a client there is what a client here is. That it runs on a host
//! (its C library, its machine) is seen before anything is broken.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use flate2::Compression;
use flate2::write::GzEncoder;
use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::helper::checksum_of_bytes;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::ssh::{Heard, Talk};
use kchaos_core::{FaultEvent, FaultMoment};
use kchaos_nemeses::{Doors, HostPaths, HostReport, HostState, WorkerOptions, WorkerPlace, make_worker_place, remove_worker_place};
use kchaos_workloads::{ClientHost, Lost, Pipes, WorkerEnd};
use tokio::runtime::{Handle, Runtime};
use tokio::time::timeout;

use super::{Display, Setup, lock};
use crate::cli::LoadArgs;
use crate::exit::Failure;

/// A host that takes the program at less than a megabyte a second is too far for clients.
const UPLOAD: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);
const PIECE_BYTES: usize = 32 * 1024;

/// The hosts of a run's clients, with the program in its place on each.
pub(super) struct ClientHosts {
    hosts: Vec<Arc<Host>>,
    doors: Arc<dyn Doors>,
    options: WorkerOptions,
    /// Of their own: what many lines keep busy delays neither looking nor mending.
    runtime: Option<Runtime>,
}

struct Host {
    name: String,
    cluster: Arc<Cluster>,
    place: WorkerPlace,
    runtime: Handle,
}

impl Drop for ClientHosts {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ClientHosts {
    /// Puts the program on each host that was asked for, or on none. The hosts have been locked for this run.
    pub(super) async fn prepare(setup: &Setup, cluster: &Arc<Cluster>, doors: &Arc<dyn Doors>, display: &Display) -> Result<Self, Failure> {
        let names = setup.options.client_hosts.as_slice();
        let mut hosts = Self { hosts: Vec::new(), doors: Arc::clone(doors), options: options(setup), runtime: None };
        if names.is_empty() {
            return Ok(hosts);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("client-hosts").build();
        let runtime = hosts.runtime.insert(runtime.context("start the runtime of client hosts")?).handle().clone();
        let program = Program::of_ours().map_err(Failure::environment)?;
        for name in names {
            let started = Instant::now();
            match put(&program, cluster, doors, &hosts.options, name, &runtime).await {
                Ok(host) => hosts.hosts.push(Arc::new(host)),
                Err(why) => {
                    let left = remove(doors, &hosts.options, names).await;
                    let left: String = left.iter().map(|(host, why)| format!("; and {host}: {why}")).collect();
                    return Err(Failure::environment(anyhow!("--client-hosts: clients cannot be had on {name}: {why}{left}")));
                }
            }
            display.event(&format!(
                "{name}: this program is there for clients ({:.1} MiB as {:.1} MiB, {:.1} s)",
                mib(program.size_bytes),
                mib(program.packed.len()),
                started.elapsed().as_secs_f64()
            ));
        }
        Ok(hosts)
    }

    pub(super) fn all(&self) -> Vec<Arc<dyn ClientHost>> {
        self.hosts.iter().map(|host| Arc::clone(host) as Arc<dyn ClientHost>).collect()
    }

    /// Takes it away again, with whatever still runs of it; what could not be taken away goes into the report of its host.
    pub(super) async fn remove(self, reports: Option<&mut Vec<HostReport>>) {
        let names: Vec<String> = self.hosts.iter().map(|host| host.name.clone()).collect();
        let left = remove(&self.doors, &self.options, &names).await;
        let Some(reports) = reports else { return };
        for (host, why) in left {
            if let Some(report) = reports.iter_mut().find(|report| report.host == host) {
                report.state = match std::mem::replace(&mut report.state, HostState::Clean) {
                    HostState::Unhealed(mut what) => {
                        what.push(why);
                        HostState::Unhealed(what)
                    }
                    HostState::Unreachable(what) => HostState::Unreachable(what),
                    HostState::Clean | HostState::Healed(_) => HostState::Unhealed(vec![why]),
                };
            }
        }
    }
}

fn options(setup: &Setup) -> WorkerOptions {
    WorkerOptions { run_id: setup.run_id.clone(), holder: super::holder(), paths: HostPaths::default() }
}

/// Of a run that was cut off: its clients have ended with it, and what they left is taken away.
pub(super) async fn remove_left(setup: &Setup, doors: &Arc<dyn Doors>) -> Vec<String> {
    let left = remove(doors, &options(setup), &setup.options.client_hosts).await;
    left.into_iter().map(|(host, why)| format!("{host}: {why}")).collect()
}

async fn remove(doors: &Arc<dyn Doors>, options: &WorkerOptions, names: &[String]) -> Vec<(String, String)> {
    let ask = |name: &String| {
        let name = name.clone();
        async move { remove_worker_place(doors.as_ref(), options, &name).await.err().map(|why| (name, why)) }
    };
    futures_util::future::join_all(names.iter().map(ask)).await.into_iter().flatten().collect()
}

/// What has no clients on other hosts says so.
pub(super) fn refuse(load: &LoadArgs, workload: &str) -> Result<(), Failure> {
    let why = match load.client_hosts.as_slice() {
        [] => return Ok(()),
        _ if workload != "append" => format!("--client-hosts is of the workload append, not of {workload}: leave it out"),
        _ if load.client != "librdkafka" => {
            format!("--client-hosts has librdkafka's clients, and none of --client {}: leave out one of the two", load.client)
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(anyhow!("{why}")))
}

/// A client's host must be of the inventory, and told once.
pub(super) fn refuse_unknown(names: &[String], inventory: &Inventory) -> Result<(), Failure> {
    for (position, name) in names.iter().enumerate() {
        if inventory.host(name).is_none() {
            let known = inventory.hosts.iter().map(|host| host.name.as_str());
            return Err(Failure::usage(anyhow!("--client-hosts: the inventory has no host \"{name}\"{}", super::nearest(name, known))));
        }
        if names[..position].contains(name) {
            return Err(Failure::usage(anyhow!("--client-hosts: {name} is named twice; clients are spread over the hosts in turn")));
        }
    }
    Ok(())
}

/// What is in a PEM file goes to a client on a host with its properties; a key store is a file, and librdkafka takes it by its path alone.
pub(super) fn refuse_key_store(options: &kchaos_workloads::Options, inventory: &Inventory) -> Result<(), Failure> {
    const KEY_STORE: &str = "ssl.keystore.location";
    let is_named = inventory.kafka.properties.contains_key(KEY_STORE) || options.properties.iter().any(|(name, _)| name == KEY_STORE);
    if options.client_hosts.is_empty() || !is_named {
        return Ok(());
    }
    Err(Failure::usage(anyhow!(
        "--client-hosts: a client on another host cannot be given {KEY_STORE}: name the same certificate by ssl.certificate.location and \
         ssl.key.location (PEM)"
    )))
}

/// What of the lost clients nobody wanted, in sentences: those of a host that a fault had cut off at that time are told together.
pub(super) fn told_of_lost(lost: &[Lost], faults: &[FaultEvent]) -> Vec<String> {
    let (expected, others): (Vec<&Lost>, Vec<&Lost>) = lost.iter().partition(|lost| is_expected(lost, faults));
    let one = |lost: &&Lost| {
        format!("the client {} was lost on {} at {:.1} s and replaced: {}", lost.client, lost.host, lost.time_ns as f64 / 1e9, lost.why)
    };
    let mut told: Vec<String> = others.iter().take(8).map(one).collect();
    if others.len() > 8 {
        told.push(format!("and {} more clients were lost", others.len() - 8));
    }
    if !expected.is_empty() {
        told.push(format!(
            "{} clients were lost while a fault was at work on their host, as was to be expected, and replaced",
            expected.len()
        ));
    }
    told
}

/// A lost connection is noticed by keepalives, so the fault may be over by then.
fn is_expected(lost: &Lost, faults: &[FaultEvent]) -> bool {
    const NOTICED_WITHIN_NS: u64 = 30_000_000_000;
    let is_there = |event: &&FaultEvent| event.chosen.iter().any(|chosen| chosen.host == lost.host);
    faults.iter().filter(is_there).filter(|event| event.moment == FaultMoment::InEffect && event.when.after_ns <= lost.time_ns).any(
        |begun| {
            let end = faults.iter().find(|event| event.fault_id == begun.fault_id && event.moment == FaultMoment::Healed);
            end.is_none_or(|end| lost.time_ns <= end.when.before_ns + NOTICED_WITHIN_NS)
        },
    )
}

/// This program, as it is sent.
struct Program {
    packed: Vec<u8>,
    sha256: String,
    size_bytes: usize,
    machine: String,
}

impl Program {
    fn of_ours() -> anyhow::Result<Self> {
        let bytes = std::fs::read("/proc/self/exe").context("read this program")?;
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&bytes).context("pack this program")?;
        let packed = packed.finish().context("pack this program")?;
        Ok(Self { packed, sha256: checksum_of_bytes(&bytes), size_bytes: bytes.len(), machine: std::env::consts::ARCH.to_owned() })
    }
}

async fn put(
    program: &Program,
    cluster: &Arc<Cluster>,
    doors: &Arc<dyn Doors>,
    options: &WorkerOptions,
    name: &str,
    runtime: &Handle,
) -> Result<Host, String> {
    let way = cluster.beside(name).map_err(|error| error.to_string())?;
    let place = make_worker_place(doors.as_ref(), options, name).await?;
    if !place.machine.replace("arm64", "aarch64").starts_with(&program.machine) {
        return Err(format!("it is of another kind ({}) than this machine ({})", place.machine, program.machine));
    }
    let (command, packed) = (place.put_command(&program.sha256), program.packed.clone());
    let upload = runtime.spawn(async move {
        let Talk { says, mut hears } =
            timeout(CONNECT, way.talk(&command)).await.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())?;
        let send = async move {
            for piece in packed.chunks(PIECE_BYTES) {
                if says.send(piece.to_vec()).await.is_err() {
                    return;
                }
            }
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let hear = async {
            while let Some(heard) = hears.recv().await {
                match heard {
                    Heard::Output(bytes) => output.extend(bytes),
                    Heard::Errors(bytes) => errors.extend(bytes),
                    Heard::Ended { status, how } => return (status, how),
                }
            }
            (None, "nothing more was heard".to_owned())
        };
        let ((), (status, how)) = tokio::join!(send, hear);
        Ok::<_, String>((status, how, text(&output), text(&errors)))
    });
    let (status, how, output, errors) = match timeout(UPLOAD, upload).await {
        Ok(Ok(uploaded)) => uploaded?,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("the program ({:.1} MiB) was not there after {} s", mib(program.packed.len()), UPLOAD.as_secs())),
    };
    let expected = format!("kchaos {}", env!("CARGO_PKG_VERSION"));
    if status != Some(0) || output != expected {
        let why = if errors.is_empty() { how } else { errors };
        return Err(format!(
            "this program does not run there ({why}): it needs the C library and libssl that it was built with, and a place that allows it"
        ));
    }
    Ok(Host { name: name.to_owned(), cluster: Arc::clone(cluster), place, runtime: runtime.clone() })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().take(400).collect()
}

fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl ClientHost for Host {
    fn name(&self) -> &str {
        &self.name
    }

    /// Called on a client's own thread.
    fn start(&self) -> Result<Pipes, String> {
        let way = self.cluster.beside(&self.name).map_err(|error| error.to_string())?;
        let command = self.place.start_command();
        let talk = self.runtime.block_on(async { timeout(CONNECT, way.talk(&command)).await });
        let Talk { says, mut hears } = talk.map_err(|_| format!("{} does not answer", self.name))?.map_err(|error| error.to_string())?;
        let ((out, output), (err, errors)) = (channel(), channel());
        let end = Arc::new(Far::default());
        let far = Arc::clone(&end);
        let task = self.runtime.spawn(async move {
            while let Some(heard) = hears.recv().await {
                match heard {
                    Heard::Output(bytes) => drop(out.send(bytes)),
                    Heard::Errors(bytes) => drop(err.send(bytes)),
                    Heard::Ended { how, .. } => far.ended(how),
                }
            }
            // With these the readers come to their end, and how it ended is known by then.
            far.ended("the connection was closed".to_owned());
        });
        *lock(&end.task) = Some(task);
        Ok(Pipes { input: Box::new(Says(says)), output: Box::new(Hears::of(output)), errors: Box::new(Hears::of(errors)), end })
    }
}

/// How a worker on a host ended.
#[derive(Default)]
struct Far {
    how: Mutex<Option<String>>,
    changed: Condvar,
    task: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Far {
    fn ended(&self, how: String) {
        lock(&self.how).get_or_insert(how);
        self.changed.notify_all();
    }
}

impl WorkerEnd for Far {
    fn how(&self) -> Option<String> {
        lock(&self.how).clone()
    }

    /// What does not end is cut off: the connection ends with the task that listens, and sshd ends the worker's input. What still runs there after all is
    /// ended by its pid when the run's place on the host is taken away.
    fn finish(&self, patience: Duration) {
        let waited = self.changed.wait_timeout_while(lock(&self.how), patience, |how| how.is_none());
        drop(waited);
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

struct Says(tokio::sync::mpsc::Sender<Vec<u8>>);

impl Write for Says {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(bytes.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was heard, as a stream that ends when nobody tells any more.
struct Hears {
    from: Receiver<Vec<u8>>,
    piece: io::Cursor<Vec<u8>>,
}

impl Hears {
    fn of(from: Receiver<Vec<u8>>) -> Self {
        Self { from, piece: io::Cursor::default() }
    }
}

impl Read for Hears {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(into)?;
            if count > 0 || into.is_empty() {
                return Ok(count);
            }
            match self.from.recv() {
                Ok(piece) => self.piece = io::Cursor::new(piece),
                Err(_) => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kchaos_core::{Chosen, Interval};

    use super::*;

    #[test]
    fn a_stream_of_pieces_reads_as_one_and_ends_when_nobody_tells_any_more() {
        let (tell, from) = channel();
        for piece in [&b"ab"[..], b"", b"cde"] {
            tell.send(piece.to_vec()).unwrap();
        }
        drop(tell);
        let mut text = String::new();
        Hears::of(from).read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcde");
    }

    #[test]
    fn a_client_that_was_lost_on_a_host_at_which_a_fault_was_at_work_is_expected_and_another_is_told() {
        let chosen = Chosen { host: "zoo1".into(), daemon: "zookeeper:1".into(), evidence: String::new(), keys_led: Vec::new() };
        let event = |moment, at_ns| FaultEvent {
            fault_id: 1,
            moment,
            when: Interval::at(at_ns),
            nemesis: "isolate-zk-leader".into(),
            chosen: vec![chosen.clone()],
            effect: None,
            proof: None,
            text: None,
        };
        let faults = [event(FaultMoment::InEffect, 10_000_000_000), event(FaultMoment::Healed, 20_000_000_000)];
        let lost = |host: &str, at_s: u64| Lost {
            host: host.into(),
            client: "producer-1".into(),
            time_ns: at_s * 1_000_000_000,
            why: "signal KILL".into(),
        };
        assert!(is_expected(&lost("zoo1", 15), &faults) && is_expected(&lost("zoo1", 40), &faults));
        assert!(
            !is_expected(&lost("zoo1", 5), &faults) && !is_expected(&lost("zoo1", 60), &faults) && !is_expected(&lost("zoo2", 15), &faults)
        );
        let told = told_of_lost(&[lost("zoo1", 15), lost("zoo2", 15)], &faults);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], "the client producer-1 was lost on zoo2 at 15.0 s and replaced: signal KILL");
    }
}
