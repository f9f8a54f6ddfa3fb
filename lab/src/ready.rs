//! Waiting until the lab serves: sshd greets, every ZooKeeper has a mode, every broker is registered in ZooKeeper and answers. Of KRaft: every
//! controller answers, and every broker tells its clients of all brokers, itself among them, so it is fenced no more.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kchaos_cluster::inventory::{DaemonKind, ZooKeeperTls};
use kchaos_cluster::protocol::messages::{MetadataRequest, Request as _};
use kchaos_cluster::protocol::wire::{Decoder, Encoder};

use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslStream};

use crate::LabError;
use crate::commands;
use crate::inventory_file;
use crate::layout::{DaemonPlan, HostPlan, NETWORK_NAMESPACE};
use crate::network;
use crate::options::{LabManager, LabOptions};
use crate::security;
use crate::state::State;
use crate::status;
use crate::users::{self, Answering};

const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// A start script that returned has started its JVM; the process shows within milliseconds.
const APPEARS_WITHIN: Duration = Duration::from_secs(5);
/// A systemd has to boot before it starts anything.
const BOOTS_WITHIN: Duration = Duration::from_secs(60);
const LAST_LINES: usize = 15;
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// ApiVersions, version 0, correlation id 7, no client id: the one request that every broker answers to everybody.
const API_VERSIONS_REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff];

struct Waiting<'a> {
    host: &'a HostPlan,
    daemon: &'a DaemonPlan,
    seen: bool,
}

/// Returns when everything serves, or says which daemon died or is late, with the end of its log.
pub(crate) fn wait(options: &LabOptions, state: &State, progress: &mut dyn FnMut(&str)) -> Result<(), LabError> {
    let started = Instant::now();
    let admin = inventory_file::of_admin(options, state);
    let mut waiting: Vec<Waiting> =
        state.layout.hosts.iter().flat_map(|host| host.daemons.iter().map(move |daemon| Waiting { host, daemon, seen: false })).collect();
    let mut sshd_silent: Vec<&HostPlan> = state.layout.hosts.iter().collect();
    while !waiting.is_empty() || !sshd_silent.is_empty() {
        for one in &mut waiting {
            check_alive(state, one, started.elapsed())?;
        }
        let nodes: Vec<i32> = waiting.iter().filter(|one| one.daemon.kind != DaemonKind::Zookeeper).map(|one| one.daemon.id).collect();
        let let_in = if state.security.is_on() { Some(users::answering(&admin, &nodes)?) } else { None };
        let (served, silent) = network::inside(NETWORK_NAMESPACE, || {
            let registered = registered(state);
            let served: Vec<Option<String>> = waiting.iter().map(|one| serves(state, one, &registered, let_in.as_ref())).collect();
            let silent: Vec<&HostPlan> = sshd_silent.iter().copied().filter(|host| !greets(host)).collect();
            (served, silent)
        })?;
        sshd_silent = silent;
        let mut news = served.iter();
        waiting.retain(|_| news.next().is_some_and(Option::is_none));
        served.iter().flatten().for_each(|line| progress(line));
        if started.elapsed() > PATIENCE {
            return Err(late(state, &waiting, &sshd_silent));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// `Some(what to tell)` once the daemon serves.
fn serves(state: &State, one: &Waiting, registered: &BTreeSet<i32>, let_in: Option<&Answering>) -> Option<String> {
    let address = SocketAddr::from((one.host.address, one.daemon.port()));
    match one.daemon.kind {
        DaemonKind::Zookeeper => mode(&four_letters(state, address, "srvr")?).map(|mode| format!("{}: {mode}", one.daemon.spoken())),
        DaemonKind::Controller => let_in
            .map_or_else(|| answers(address), |let_in| let_in.controllers.contains(&one.daemon.id))
            .then(|| format!("{}: answers on {address}", one.daemon.spoken())),
        DaemonKind::Kafka if state.kraft.is_some() => {
            let brokers = match let_in {
                None => known_brokers(address)?,
                Some(let_in) => let_in.brokers.get(&one.daemon.id)?.clone(),
            };
            let all = state.layout.daemons(DaemonKind::Kafka).iter().all(|(_, daemon)| brokers.contains(&daemon.id));
            all.then(|| format!("{}: unfenced, answers on {address}", one.daemon.spoken()))
        }
        DaemonKind::Kafka => (registered.contains(&one.daemon.id)
            && let_in.map_or_else(|| answers(address), |let_in| let_in.brokers.contains_key(&one.daemon.id)))
        .then(|| format!("{}: registered, answers on {address}", one.daemon.spoken())),
    }
}

fn mode(srvr: &str) -> Option<&str> {
    srvr.lines().find_map(|line| line.strip_prefix("Mode: "))
}

/// The brokers of which some ZooKeeper says that their ephemeral node is there.
fn registered(state: &State) -> BTreeSet<i32> {
    let mut ids = BTreeSet::new();
    for (host, daemon) in state.layout.daemons(DaemonKind::Zookeeper) {
        let dump = four_letters(state, SocketAddr::from((host.address, daemon.port())), "dump").unwrap_or_default();
        ids.extend(brokers_in_dump(&dump));
        if !ids.is_empty() {
            break;
        }
    }
    ids
}

fn brokers_in_dump(dump: &str) -> impl Iterator<Item = i32> {
    dump.lines().filter_map(|line| line.trim().strip_prefix("/brokers/ids/")?.parse().ok())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(stream)
}

/// What a ZooKeeper answers to a four letter word; `None` if it does not (yet).
pub(crate) fn four_letters(state: &State, address: SocketAddr, word: &str) -> Option<String> {
    let stream = connect(address).ok()?;
    match security::zookeeper_tls(state, security::ADMIN) {
        None => talk(stream, word),
        Some(tls) => talk(under_tls(&tls, address, stream)?, word),
    }
}

fn talk(mut stream: impl Read + Write, word: &str) -> Option<String> {
    stream.write_all(word.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // Not every server ends TLS before it hangs up.
    stream.read_to_end(&mut answer).ok().or((!answer.is_empty()).then_some(0))?;
    String::from_utf8(answer).ok()
}

fn under_tls(tls: &ZooKeeperTls, address: SocketAddr, stream: TcpStream) -> Option<SslStream<TcpStream>> {
    let mut builder = SslConnector::builder(SslMethod::tls_client()).ok()?;
    builder.set_ca_file(&tls.ca_file).ok()?;
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        builder.set_certificate_file(certificate, SslFiletype::PEM).ok()?;
        builder.set_private_key_file(key, SslFiletype::PEM).ok()?;
    }
    builder.build().connect(&address.ip().to_string(), stream).ok()
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> io::Result<[u8; 10]> {
        let mut stream = connect(address)?;
        stream.write_all(&API_VERSIONS_REQUEST)?;
        // Length, correlation id, error code.
        let mut head = [0; 10];
        stream.read_exact(&mut head)?;
        Ok(head)
    };
    ask().is_ok_and(|head| head[4..] == [0, 0, 0, 7, 0, 0])
}

/// The brokers of which this one tells its clients.
fn known_brokers(address: SocketAddr) -> Option<BTreeSet<i32>> {
    let request = MetadataRequest { topics: Some(&[]) };
    let mut frame = Encoder::default();
    for word in [MetadataRequest::KEY, MetadataRequest::VERSION] {
        frame.i16(word);
    }
    frame.i32(7);
    frame.nullable_string(None);
    request.encode(&mut frame);
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = connect(address)?;
        stream.write_all(&(frame.bytes.len() as u32).to_be_bytes())?;
        stream.write_all(&frame.bytes)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; (u32::from_be_bytes(length) as usize).min(ANSWER_BYTES_MAX)];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().ok()?;
    let mut decoder = Decoder::new(&answer);
    let _correlation = decoder.i32().ok()?;
    let metadata = MetadataRequest::decode(&mut decoder).ok()?;
    Some(metadata.brokers.into_iter().map(|endpoint| endpoint.broker).collect())
}

fn greets(host: &HostPlan) -> bool {
    let ask = || -> io::Result<[u8; 8]> {
        let mut banner = [0; 8];
        connect(SocketAddr::from((host.address, 22)))?.read_exact(&mut banner)?;
        Ok(banner)
    };
    ask().is_ok_and(|banner| &banner == b"SSH-2.0-")
}

/// A daemon that was seen and is gone, or that never showed, will not serve any more.
fn check_alive(state: &State, one: &mut Waiting, elapsed: Duration) -> Result<(), LabError> {
    let Some(init) = state.first_process(&one.host.name) else {
        let log = state.host_dir(&one.host.name).join("init.log");
        return Err(LabError::Host {
            host: one.host.name.clone(),
            reason: format!("its first process ended; the end of {}: {}", log.display(), commands::tail(&log, LAST_LINES)),
        });
    };
    if status::find_daemon(init, one.daemon).is_some() {
        one.seen = true;
        return Ok(());
    }
    if !one.seen && elapsed < if state.manager == LabManager::Scripts { APPEARS_WITHIN } else { BOOTS_WITHIN } {
        return Ok(());
    }
    let log = telling_log(state, one);
    let last_lines = commands::tail(&log, LAST_LINES);
    Err(LabError::DaemonDied { daemon: one.daemon.spoken(), host: one.host.name.clone(), log, last_lines })
}

/// The daemon's main log, or what its JVM said if it never came to write one.
fn telling_log(state: &State, one: &Waiting) -> PathBuf {
    let directory = DaemonPlan::on_machine(&state.host_dir(&one.host.name), &one.daemon.log_dir());
    let main = directory.join(one.daemon.main_log());
    let is_empty = main.metadata().map_or(true, |metadata| metadata.len() == 0);
    if is_empty { directory.join(one.daemon.console_log()) } else { main }
}

fn late(state: &State, waiting: &[Waiting], sshd_silent: &[&HostPlan]) -> LabError {
    let mut names: Vec<String> = waiting.iter().map(|one| format!("{} on {}", one.daemon.spoken(), one.host.name)).collect();
    names.extend(sshd_silent.iter().map(|host| format!("sshd on {}", host.name)));
    let log = match (waiting.first(), sshd_silent.first()) {
        (Some(one), _) => telling_log(state, one),
        (None, Some(host)) => state.host_dir(&host.name).join("var/log/sshd.log"),
        (None, None) => state.inventory_path(),
    };
    let last_lines = commands::tail(&log, LAST_LINES);
    LabError::NotReady { what: names.join(", "), waited_s: PATIENCE.as_secs(), log, last_lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read_from_srvr() {
        assert_eq!(mode("Zookeeper version: 3.8.4\nLatency min/avg/max: 0/0.0/0\nMode: follower\nNode count: 5\n"), Some("follower"));
        assert_eq!(mode("This ZooKeeper instance is not currently serving requests\n"), None);
    }

    #[test]
    fn registered_brokers_are_read_from_dump() {
        let dump =
            "Sessions with Ephemerals (2):\n0x1000:\n\t/controller\n\t/brokers/ids/1\n0x2000:\n\t/brokers/ids/12\n\t/brokers/ids/x\n";
        assert_eq!(brokers_in_dump(dump).collect::<Vec<_>>(), [1, 12]);
    }
}
