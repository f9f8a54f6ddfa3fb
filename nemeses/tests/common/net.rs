//! Namespaces on a bridge in one more namespace, none with a way out: three hosts and a client.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Removed when dropped.
pub struct Net {
    prefix: String,
    pub hosts: Vec<String>,
    pub client: String,
}

pub const ADDRESSES: [&str; 3] = ["10.213.7.1", "10.213.7.2", "10.213.7.3"];
pub const CLIENT: &str = "10.213.7.9";

impl Net {
    pub fn new() -> Self {
        sweep();
        let prefix = format!("kchtest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let net = Self { hosts: (1..=3).map(|n| format!("{prefix}-b{n}")).collect(), client: format!("{prefix}-c"), prefix };
        let bridge = net.bridge();
        ip(&format!("netns add {bridge}"));
        ip(&format!("-n {bridge} link add br0 type bridge"));
        ip(&format!("-n {bridge} link set br0 up"));
        let all = net.hosts.iter().zip(ADDRESSES).chain([(&net.client, CLIENT)]);
        for (index, (name, address)) in all.enumerate() {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {bridge} link add p{index} type veth peer name eth0 netns {name}"));
            ip(&format!("-n {bridge} link set p{index} master br0 up"));
            ip(&format!("-n {name} addr add {address}/24 dev eth0"));
            ip(&format!("-n {name} addr add fd00:213::{}/64 dev eth0 nodad", index + 1));
            ip(&format!("-n {name} link set eth0 up"));
            ip(&format!("-n {name} link set lo up"));
        }
        for name in &net.hosts {
            for port in [22, 2181, 9092] {
                listen(name, port);
            }
        }
        net
    }

    fn bridge(&self) -> String {
        format!("{}-br", self.prefix)
    }

    /// Runs a command in a namespace; its output.
    pub fn run(namespace: &str, script: &str) -> String {
        let output = Command::new("nsenter").args([&format!("--net=/run/netns/{namespace}"), "sh", "-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What must be as before: without counters.
    pub fn rules(namespace: &str) -> String {
        let text = Self::run(namespace, "nft -s list ruleset; iptables-save; ip6tables-save; tc qdisc show");
        text.lines().filter(|line| !line.starts_with('#')).map(strip_counters).collect::<Vec<_>>().join("\n")
    }
}

/// A test that was killed could not remove its namespaces and its directory: whoever comes next does, if the process that they are named after is gone.
pub fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        for name in left_in("/run/netns".as_ref()) {
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
        for name in left_in(&std::env::temp_dir()) {
            let _ = std::fs::remove_dir_all(std::env::temp_dir().join(name));
        }
    });
}

fn left_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_dead_test_s(name)).collect()
}

/// `kchtest-PID-…`, and there is no such process.
fn is_dead_test_s(name: &str) -> bool {
    let pid = name.strip_prefix("kchtest-").and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

#[test]
fn only_what_a_dead_test_left_is_swept() {
    let mine = format!("kchtest-{}-0-b1", std::process::id());
    for (name, expect) in [("kchtest-4294967295-0-b1", true), (mine.as_str(), false), ("kchtest-net-x", false), ("kchaos-net", false)] {
        assert_eq!(is_dead_test_s(name), expect, "{name}");
    }
}

fn strip_counters(line: &str) -> String {
    match line.split_once("counter packets") {
        Some((head, tail)) => {
            let rest: Vec<&str> = tail.split_whitespace().skip(3).collect();
            format!("{head}counter {}", rest.join(" "))
        }
        None => line.split(" [").next().unwrap_or(line).to_owned(),
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in self.hosts.iter().chain([&self.client, &self.bridge()]) {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Runs on a thread of its own that is in the namespace.
pub fn inside<T: Send + 'static>(namespace: &str, work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    let path = format!("/run/netns/{namespace}");
    std::thread::spawn(move || {
        let file = std::fs::File::open(path).unwrap();
        // SAFETY: setns takes a descriptor that is open, and changes this thread alone.
        assert_eq!(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
        work()
    })
}

/// Accepts and echoes until the test's process ends.
fn listen(namespace: &str, port: u16) {
    let (tell, told) = std::sync::mpsc::channel();
    inside(namespace, move || {
        let listener = TcpListener::bind(("::", port)).unwrap();
        tell.send(()).unwrap();
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut buffer = [0; 64];
                while let Ok(n) = stream.read(&mut buffer) {
                    if n == 0 || std::io::Write::write_all(&mut stream, &buffer[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    told.recv().unwrap();
}

/// Whether a connection from there comes about within half a second.
pub fn reaches(from: &str, address: &str, port: u16) -> bool {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    inside(from, move || TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()).join().unwrap()
}

/// A connection that is there before a cut.
pub fn connect(from: &str, address: &str, port: u16) -> TcpStream {
    let address = SocketAddr::new(address.parse().unwrap(), port);
    inside(from, move || TcpStream::connect_timeout(&address, Duration::from_secs(1)).unwrap()).join().unwrap()
}

/// Whether what is sent comes back within half a second.
pub fn echoes(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut buffer = [0; 4];
    std::io::Write::write_all(stream, b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok()
}
