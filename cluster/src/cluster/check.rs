//! Is a host ready: reached, proved, let in, root, willing, equipped, and are its daemons there? `kchaos inventory check`, `doctor` and the
//! preflight of a run ask this. It changes nothing on a host.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use futures_util::future::join_all;
use serde::Serialize;

use super::Cluster;
use crate::daemon::DaemonState;
use crate::inventory::{DaemonEntry, Firewall, Host, Privilege};
use crate::remote::{Means, Remote, RemoteError, quote};
use crate::ssh::ProvenKey;

/// The first word of the script's output: without it, what came is a refusal, of sudo say.
const MARK: &str = "kchaos-check";
/// What our scripts cannot do without.
const TOOLS: &[&str] = &["awk", "cat", "date", "find", "grep", "head", "ls", "readlink", "sed", "sleep", "stat", "tail", "tr", "wc"];
/// What some faults need, or use where it is there.
const TOOLS_WISHED: &[&str] = &["setsid", "nft", "iptables", "ip6tables", "ip", "tc", "systemd-run", "logger"];

/// All that was found about one host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HostCheck {
    pub host: String,
    /// `USER@ADDRESS port PORT`.
    pub way: String,
    /// What is wrong, each with what to do. Empty: the host is ready.
    pub problems: Vec<Problem>,
    /// Absent if the host was not reached.
    pub host_key: Option<ProvenKey>,
    pub is_root: bool,
    /// Its helper and that one's version, where there is one; whoever knows the helper fills it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<String>,
    pub opt_in: OptIn,
    pub boot_id: String,
    pub kernel: String,
    /// By name; `true` if it is there.
    pub tools: BTreeMap<String, bool>,
    /// `true` if `nft` can list tables, and is not merely installed.
    pub nftables_works: bool,
    pub daemons: Vec<DaemonCheck>,
}

/// One thing that is wrong with a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `ssh`, `root`, `consent`, `tools`, `firewall` or `daemons`.
    pub about: &'static str,
    pub text: String,
    /// What to do about it; empty where the text says all there is.
    pub mend: String,
}

impl Problem {
    pub fn new(about: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { about, text: text.into(), mend: mend.into() }
    }

    /// Of the way to the host.
    fn of(error: &RemoteError, way: &str) -> Self {
        match error {
            RemoteError::HostKey { host, address, reason, hint } => {
                Self::new("ssh", format!("host key of {host} ({address}) refused: {reason}"), hint)
            }
            RemoteError::Unreachable { .. } => {
                Self::new("ssh", error.to_string(), format!("see that sshd listens there ({way}) and that nothing stands between"))
            }
            RemoteError::Authentication { .. } => {
                Self::new("ssh", error.to_string(), "let ssh.key_file's public half stand in authorized_keys of that user")
            }
            RemoteError::PrivateKey { .. } => {
                Self::new("ssh", error.to_string(), "let ssh.key_file name a private key in OpenSSH's format")
            }
            _ => Self::new("ssh", error.to_string(), String::new()),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mend.is_empty() { f.write_str(&self.text) } else { write!(f, "{}: {}", self.text, self.mend) }
    }
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The administrator's consent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptIn {
    /// The host was not asked.
    #[default]
    Unknown,
    Given,
    NoFile,
    /// The file is there, and names other clusters.
    NamesOthers(Vec<String>),
}

#[derive(Clone, Debug, Serialize)]
pub struct DaemonCheck {
    /// `kafka:1`
    pub daemon: String,
    /// `running`, `stopped`, `gone` or `unknown`.
    pub state: &'static str,
    pub pid: Option<i32>,
    /// Clock ticks since boot.
    pub start_time: Option<u64>,
}

impl HostCheck {
    pub fn is_ready(&self) -> bool {
        self.problems.is_empty()
    }
}

impl Cluster {
    /// Every host, all at once, in the order of the inventory.
    pub async fn check_hosts(&self) -> Vec<HostCheck> {
        join_all(self.inventory.hosts.iter().map(|host| self.check(host))).await
    }

    /// `None` if there is no such host in the inventory.
    pub async fn check_host(&self, name: &str) -> Option<HostCheck> {
        match self.inventory.host(name) {
            Some(host) => Some(self.check(host).await),
            None => None,
        }
    }

    async fn check(&self, host: &Host) -> HostCheck {
        let inventory = &self.inventory;
        let way = format!("{}@{} port {}", host.ssh_user(inventory), host.ssh_address(), host.ssh_port(inventory));
        let mut check = HostCheck { host: host.name.clone(), way, ..HostCheck::default() };
        let Some(ways) = self.ways.get(&host.name) else {
            check.problems.push(Problem::new("ssh", "it is not in the inventory that this cluster was made from", ""));
            return check;
        };
        match &ways.ssh {
            None => check.way = format!("the engine at {} on this machine", host.docker_host.as_deref().unwrap_or("its usual place")),
            Some([ssh, _]) => match ssh.prove().await {
                Ok(key) => check.host_key = Some(key),
                Err(error) => {
                    check.problems.push(Problem::of(&error, &check.way));
                    return check;
                }
            },
        }
        if let Err(problem) = self.ask(host, ways.work.as_ref(), &mut check).await {
            check.problems.push(problem);
            return check;
        }
        self.judge(host, &mut check);
        for (daemon, found) in
            host.daemons.iter().zip(join_all(host.daemons.iter().map(|daemon| self.find(daemon, ways.work.as_ref()))).await)
        {
            check.daemons.push(daemon_check(daemon, &found));
            check.problems.extend(daemon_problem(daemon, &found));
        }
        check
    }

    async fn find(&self, daemon: &DaemonEntry, remote: &dyn Remote) -> Result<DaemonState, RemoteError> {
        super::manager_of(daemon, self.inventory.command_timeout()).state(remote).await
    }

    async fn ask(&self, host: &Host, remote: &dyn Remote, check: &mut HostCheck) -> Result<(), Problem> {
        let (timeout, means) = (self.inventory.command_timeout(), Means::helper(["check"]));
        let output = remote.run_as(&script(host), &means, timeout).await.map_err(|error| Problem::of(&error, &check.way))?;
        let text = output.stdout_text();
        if !text.lines().any(|line| line == MARK) {
            let said: String = output.stderr_text().trim().chars().take(300).collect();
            let hint = match self.inventory.ssh.privilege() {
                Privilege::SudoSh => "sudo -n must let this user run sh without a password and without a terminal (NOPASSWD, !requiretty)",
                Privilege::Helper => {
                    "the helper is not there, is another's, or this user may not run it: kchaos inventory install-helper (docs/least-privilege.md)"
                }
                Privilege::Root => "",
            };
            return Err(Problem::new(
                "root",
                format!("a first command ended with status {} and not as it should: {said}", output.status),
                hint,
            ));
        }
        check.tools = TOOLS.iter().chain(TOOLS_WISHED).map(|tool| ((*tool).to_owned(), false)).collect();
        check.opt_in = OptIn::NoFile;
        let mut named = Vec::new();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "uid" => check.is_root = value == "0",
                "boot-id" => value.clone_into(&mut check.boot_id),
                "kernel" => value.clone_into(&mut check.kernel),
                "tool" => drop(check.tools.insert(value.to_owned(), true)),
                "nft-works" => check.nftables_works = true,
                "opt-in-file" => check.opt_in = OptIn::NamesOthers(Vec::new()),
                "opt-in" => named.extend(Some(value.trim().to_owned()).filter(|name| !name.is_empty() && !name.starts_with('#'))),
                _ => {}
            }
        }
        if check.opt_in != OptIn::NoFile {
            let is_given = named.contains(&self.inventory.cluster.name);
            check.opt_in = if is_given { OptIn::Given } else { OptIn::NamesOthers(named) };
        }
        Ok(())
    }

    fn judge(&self, host: &Host, check: &mut HostCheck) {
        let name = &self.inventory.cluster.name;
        let file = host.opt_in_file.display();
        let mut problems = Vec::new();
        if !check.is_root {
            problems.push(Problem::new(
                "root",
                "commands do not run as root",
                "log in as root, or set ssh.privilege (docs/least-privilege.md)",
            ));
        }
        match &check.opt_in {
            OptIn::Given | OptIn::Unknown => {}
            OptIn::NoFile => problems.push(Problem::new(
                "consent",
                "it has not been opted in",
                format!("its administrator must write the cluster's name, {name}, into {file} on it"),
            )),
            OptIn::NamesOthers(others) => problems.push(Problem::new(
                "consent",
                format!("its opt-in file {file} does not name {name}, but {others:?}"),
                "its administrator must add a line with the cluster's name",
            )),
        }
        let missing: Vec<&str> = TOOLS.iter().copied().filter(|tool| !check.tools.get(*tool).is_some_and(|is_there| *is_there)).collect();
        if !missing.is_empty() {
            let mend = "install coreutils, findutils, grep, sed and an awk";
            problems.push(Problem::new("tools", format!("it lacks {}", missing.join(", ")), mend));
        }
        let has = |tool: &str| check.tools.get(tool).is_some_and(|is_there| *is_there);
        let iptables_is_there = has("iptables") && has("ip6tables");
        let (problem, mend) = match self.inventory.cluster.firewall {
            Firewall::Auto if !check.nftables_works && !iptables_is_there => {
                ("neither nft works there, nor are iptables and ip6tables", "install nftables")
            }
            Firewall::Nftables if !check.nftables_works => {
                ("nft does not work there, and cluster.firewall = \"nftables\"", "install nftables, or choose another")
            }
            Firewall::Iptables if !iptables_is_there => {
                ("it lacks iptables or ip6tables, and cluster.firewall = \"iptables\"", "install iptables, or choose another")
            }
            _ => ("", ""),
        };
        problems.extend((!problem.is_empty()).then(|| Problem::new("firewall", problem, mend)));
        check.problems.extend(problems);
    }
}

/// What a host is asked first, and what its helper answers to `check`.
pub(crate) fn script(host: &Host) -> String {
    let file = PathBuf::from(&host.opt_in_file);
    format!(
        r#"echo {MARK}
echo "uid $(id -u)"
echo "boot-id $(cat /proc/sys/kernel/random/boot_id)"
echo "kernel $(uname -r)"
file={file}
if [ -f "$file" ]; then
    echo opt-in-file
    head -n 100 "$file" | sed 's/^/opt-in /'
fi
for tool in {tools} {wished}; do
    if command -v $tool >/dev/null 2>&1; then echo "tool $tool"; fi
done
if nft list tables >/dev/null 2>&1; then echo nft-works; fi
"#,
        file = quote(&file.to_string_lossy()),
        tools = TOOLS.join(" "),
        wished = TOOLS_WISHED.join(" "),
    )
}

fn daemon_check(daemon: &DaemonEntry, found: &Result<DaemonState, RemoteError>) -> DaemonCheck {
    let state = match found {
        Ok(DaemonState::Running(_)) => "running",
        Ok(DaemonState::Stopped(_)) => "stopped",
        Ok(DaemonState::Gone) => "gone",
        Err(_) => "unknown",
    };
    let pid = found.as_ref().ok().and_then(|state| state.pid());
    DaemonCheck { daemon: daemon.label(), state, pid: pid.map(|pid| pid.pid), start_time: pid.map(|pid| pid.start_time) }
}

fn daemon_problem(daemon: &DaemonEntry, found: &Result<DaemonState, RemoteError>) -> Option<Problem> {
    let label = daemon.label();
    let (text, mend) = match found {
        Ok(DaemonState::Running(_)) => return None,
        Ok(DaemonState::Stopped(pid)) => {
            (format!("{label} is stopped by a signal (process {}, state T)", pid.pid), format!("kchaos heal, or kill -CONT {}", pid.pid))
        }
        Ok(DaemonState::Gone) if daemon.find.is_unset() => {
            let named = daemon.unit.as_ref().or(daemon.container.as_ref()).map_or("", String::as_str);
            (format!("{label} ({named}) is not running, according to its manager"), "kchaos heal, or start it".to_owned())
        }
        Ok(DaemonState::Gone) => (
            format!("{label} is not running, or its find = {:?} does not fit", daemon.find),
            "start it, or compare /proc/PID/cmdline".to_owned(),
        ),
        Err(error) => (format!("{label} cannot be told from others: {error}"), "let its find fit one process alone".to_owned()),
    };
    Some(Problem::new("daemons", text, mend))
}
