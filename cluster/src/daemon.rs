//! Daemons: how the programs under test are started, stopped and found on their hosts.

use async_trait::async_trait;

use crate::remote::{Means, Remote, RemoteError};

mod docker;
mod evidence;
mod find;
mod process;
mod scripts;
mod systemd;

#[cfg(test)]
mod tests;

pub use docker::DockerManager;
pub use evidence::{Evidence, Hold};
pub use process::{NOT_THAT_PROCESS, Signalled, process_state, process_state_script, signal, signal_script};
pub use scripts::ScriptsManager;
pub use systemd::SystemdManager;

/// A process of a host that cannot be confused with another: a reused pid has another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pid {
    pub pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since the host's boot.
    pub start_time: u64,
}

/// What the host says of one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonState {
    /// Runs (or sleeps, as daemons do).
    Running(Pid),
    /// State T: stopped by a signal.
    Stopped(Pid),
    Gone,
}

/// How one daemon is started, stopped and found: by scripts, by systemd, by Docker.
#[async_trait]
pub trait Manager: Send + Sync {
    /// Starts it; returns when the starting command did, not when the daemon serves.
    async fn start(&self, remote: &dyn Remote) -> Result<(), RemoteError>;
    /// Asks it to stop in good order.
    async fn stop(&self, remote: &dyn Remote) -> Result<(), RemoteError>;
    async fn state(&self, remote: &dyn Remote) -> Result<DaemonState, RemoteError>;
    /// POSIX sh that starts it if it is not there: what a watchdog on the host runs when nobody is left to mend. Idempotent. It may end its
    /// shell: put it in parentheses if something follows.
    fn start_script(&self) -> String;
    /// POSIX sh whose standard output is `PID START_TIME STATE`, or nothing if the daemon is not there. A status other than 0 means that it
    /// cannot be told, for the reason on standard error.
    fn find_script(&self) -> String;
    /// POSIX sh that asks it to stop in good order.
    fn stop_script(&self) -> String {
        "exit 1\n".to_owned()
    }
    /// POSIX sh that prints what the manager itself knows of it. `None`: there is nobody to ask.
    fn evidence_script(&self) -> Option<String> {
        None
    }
    /// How the manager, which says this of it now, is kept from reviving it. `None`: nobody revives it.
    fn hold(&self, _before: &Evidence) -> Option<Hold> {
        None
    }
    /// POSIX sh that has the manager itself send SIGKILL to exactly this process, and prints `signalled` or `gone`. `None`: a signal is as
    /// good.
    fn kill_script(&self, _pid: Pid) -> Option<String> {
        None
    }
    /// What the manager itself knows of it. `None`: there is nobody to ask.
    async fn evidence(&self, _remote: &dyn Remote) -> Result<Option<Evidence>, RemoteError> {
        Ok(None)
    }
}

/// A verb of the helper about one daemon.
fn by_helper(verb: &str, label: String) -> Means {
    Means::helper([verb.to_owned(), label])
}

impl DaemonState {
    /// The process, if there is one, running or stopped.
    pub fn pid(self) -> Option<Pid> {
        match self {
            DaemonState::Running(pid) | DaemonState::Stopped(pid) => Some(pid),
            DaemonState::Gone => None,
        }
    }
}
