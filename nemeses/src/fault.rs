//! The shape of a fault: what one is made of, so that a new one is one file and one line of the registry.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use kchaos_core::{Chosen, Effect, Interval, Proof};

use crate::error::FaultError;
use crate::ground::Ground;
use crate::helper::InWords;

/// What a fault needs of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Signals to the daemon's process.
    Signals,
    /// A way to start the daemon again.
    Manager,
    /// nftables or iptables.
    Firewall,
    /// `tc` with the queues htb and netem.
    Netem,
    /// `tc` with the queues htb and tbf.
    Rate,
    /// `ss`: who is connected to whom.
    Sockets,
    /// The daemon's data directory in the inventory, and its owner's consent.
    Disk,
    /// A disk of its own, on a loop device or of FUSE, which a lab makes.
    OwnDisk,
    /// A clock of its own, which a lab gives.
    Clock,
}

/// How much of the host it takes away: the guards count with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Daemon,
    /// Every daemon of the host.
    Host,
    /// One daemon after another: the next goes when the one before is back.
    OneByOne,
    /// The daemon, and the cluster is asked for something, too.
    Removed,
    /// Nobody: a line between hosts, or its quality. Other faults keep away from the host all the same.
    Link,
    /// Nobody: the cluster is asked for something. Without a target it is planned once, and kept on the controller's host.
    Cluster,
}

impl Scope {
    /// `true` if a daemon is away while it lasts.
    pub(crate) fn takes_away(self) -> bool {
        matches!(self, Scope::Daemon | Scope::Host | Scope::OneByOne | Scope::Removed)
    }

    /// `true` if the cluster is asked for something, to be put back.
    pub(crate) fn is_change(self) -> bool {
        matches!(self, Scope::Cluster | Scope::Removed)
    }

    /// `true` if no other fault may be on the host meanwhile.
    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, Scope::Host | Scope::Link)
    }
}

/// One leg of a fault, on one daemon or host, planned: it knows what it will do and how to undo it, and has done nothing yet.
#[async_trait]
pub(crate) trait HostFault: Send + Sync {
    fn host(&self) -> &str;
    /// What the host keeps to mend it without us.
    fn undo(&self) -> Undo;
    /// The body of a `sh` function that succeeds while the fault is in force, renewing it where the kernel holds its lease. What it prints
    /// is why it does not hold (on failure, after the word `lease` or `early`: how it ended) or worth a note (on success).
    fn holds(&self) -> String;
    /// The same two in the words of a host's helper; `None`: it has none for this fault.
    fn in_words(&self) -> Option<InWords> {
        None
    }
    async fn inject(&self) -> Result<Injected, FaultError>;
    /// What the next leg waits for, where legs go one after another ([`Scope::OneByOne`]).
    async fn settled(&self) -> Result<(), FaultError> {
        Ok(())
    }
    /// Whether it bit.
    async fn proof(&self) -> Result<Proof, FaultError>;
    /// Idempotent; waits, within bounds, until it is mended. When it was: around the command that ended it (for a daemon, until it was up).
    /// An error is only told: the state of the host decides.
    async fn mend(&self) -> Result<Interval, String>;
    /// Whether it is mended.
    async fn mended(&self) -> Proof;
}

/// What was done and when: from before the command was sent until its answer came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Injected {
    pub(crate) when: Interval,
    pub(crate) effect: Effect,
}

/// The undo script of one host, as data: POSIX `sh` that is idempotent and judges by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undo {
    /// One line for people: "isolate-leader: a cut of b1".
    pub(crate) about: String,
    /// Library files that it uses.
    pub(crate) parts: &'static [&'static str],
    /// Functions and settings that both of the following need.
    pub(crate) setup: String,
    pub(crate) mend: String,
    /// Succeeds if nothing of the fault is left.
    pub(crate) verify: String,
}

pub(crate) type Planned = Pin<Box<dyn Future<Output = Result<Box<dyn HostFault>, FaultError>> + Send>>;
/// Called once for each daemon that the fault chose.
pub(crate) type Plan = fn(Arc<Ground>, Chosen) -> Planned;
