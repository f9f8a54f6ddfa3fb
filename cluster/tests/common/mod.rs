//! An sshd of our own on loopback, with keys of its own, ended by its pid.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::known_hosts::KnownHosts;
use kchaos_cluster::ssh::{Endpoint, Key, SshRemote};

const SSHD: &str = "/usr/sbin/sshd";

pub(crate) struct Server {
    directory: tempfile::TempDir,
    child: Child,
    pub(crate) port: u16,
    pub(crate) user: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill_sessions();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `None`, and a word about it, where there is no sshd. `settings` are lines of its configuration.
    pub(crate) fn start(settings: &str) -> Option<Self> {
        Self::start_with(settings, &["ed25519", "ecdsa"])
    }

    /// With host keys of these types.
    pub(crate) fn start_with(settings: &str, key_types: &[&str]) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            eprintln!("skipped: no {SSHD} on this machine");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let user = text(&run(Command::new("id").arg("-un"))).trim().to_owned();
        if user == "root" {
            // sshd refuses to start without it; Debian's own unit makes it too.
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut host_keys = String::new();
        for key_type in key_types {
            keygen(&directory.path().join(format!("host_{key_type}")), key_type, "");
            host_keys += &format!("HostKey {}\n", path(&format!("host_{key_type}")));
        }
        keygen(&directory.path().join("client"), "ed25519", "");
        std::fs::copy(path("client.pub"), path("authorized_keys")).unwrap();
        // SHLVL keeps bash from reading a long .bashrc of this machine's for every command.
        let config = format!(
            "ListenAddress 127.0.0.1\n{host_keys}AuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nSetEnv SHLVL=5\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n{settings}\n",
            path("authorized_keys")
        );
        std::fs::write(path("sshd_config"), config).unwrap();
        let log = std::fs::File::create(path("sshd.log")).unwrap();
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-p", &port.to_string(), "-f", &path("sshd_config")]).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(log).spawn().unwrap();
        let server = Self { directory, child, port, user };
        server.wait_until_it_listens();
        server.know(&server.host_keys(key_types));
        Some(server)
    }

    fn wait_until_it_listens(&self) {
        for _ in 0..200 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("sshd does not listen: {}", std::fs::read_to_string(self.path("sshd.log")).unwrap_or_default());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `known_hosts` lines of the server's keys of these types.
    pub(crate) fn host_keys(&self, types: &[&str]) -> String {
        types.iter().map(|key_type| format!("[127.0.0.1]:{} {}\n", self.port, self.host_key(key_type))).collect()
    }

    /// `TYPE BASE64`
    pub(crate) fn host_key(&self, key_type: &str) -> String {
        public(&self.path(&format!("host_{key_type}.pub")))
    }

    /// Writes `known_hosts`.
    pub(crate) fn know(&self, text: &str) {
        std::fs::write(self.path("known_hosts"), text).unwrap();
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: "b1".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: self.port,
            user: self.user.clone(),
            key: Key::load(self.path("client"), None).unwrap(),
            known_hosts: Arc::new(KnownHosts::load(&self.path("known_hosts")).unwrap()),
            connect_timeout: Duration::from_secs(5),
            channels_max: 6,
            privilege: kchaos_cluster::inventory::Privilege::Root,
        }
    }

    pub(crate) fn remote(&self) -> SshRemote {
        SshRemote::new(self.endpoint())
    }

    /// What `ssh` itself says of the same `known_hosts`: `true` if it runs a command, and its words.
    pub(crate) fn ssh(&self) -> Option<(bool, String)> {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-p", &self.port.to_string(), "-i"]).arg(self.path("client"));
        for option in ["BatchMode=yes", "StrictHostKeyChecking=yes", "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no"] {
            command.args(["-o", option]);
        }
        command.arg("-o").arg(format!("UserKnownHostsFile={}", self.path("known_hosts").display()));
        let output = command.arg(format!("{}@127.0.0.1", self.user)).arg("true").stdin(Stdio::null()).output().ok()?;
        Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// The pids of sshd's processes for connections.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        children(self.child.id())
    }

    /// To every process that serves a connection, and to what runs there.
    pub(crate) fn signal_sessions(&self, signal: &str) {
        let mut pids = self.sessions();
        let mut next = 0;
        while let Some(pid) = pids.get(next).copied() {
            pids.extend(children(pid));
            next += 1;
        }
        pids.into_iter().for_each(|pid| self.kill(signal, pid));
    }

    /// Ends what runs there too: a command that was stopped would stay for ever, with nobody to end it.
    pub(crate) fn kill_sessions(&self) {
        self.signal_sessions("KILL");
    }

    /// To the listening sshd itself.
    pub(crate) fn signal(&self, signal: &str) {
        self.kill(signal, self.child.id());
    }

    fn kill(&self, signal: &str, pid: u32) {
        let _ = Command::new("kill").args(["-s", signal, &pid.to_string()]).stderr(Stdio::null()).status();
    }
}

fn children(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Makes a key pair at `path` and `path.pub`.
pub(crate) fn keygen(path: &Path, key_type: &str, passphrase: &str) {
    run(Command::new("ssh-keygen").args(["-q", "-t", key_type, "-N", passphrase, "-C", "", "-f"]).arg(path));
}

/// `TYPE BASE64` of a public key's file.
pub(crate) fn public(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
