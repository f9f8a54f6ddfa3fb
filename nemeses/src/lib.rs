//! Faults: what to break, how to see that it broke, how to mend, and how to leave nothing behind.
//!
//! A nemesis is the product of a **fault** ([`ALL`], one file each under `faults/`) and a **target** (found at the moment of the fault,
//! from the cluster itself: `target`). The [`Engine`] carries each fault through the same life, whatever it is:
//!
//! choose → journal the undo, here and on the host, synced → arm the lease on the host → inject → prove that it bit → renew … → mend →
//! prove that it is mended → disarm → journal done.
//!
//! Five things mend: the engine itself; the kernel (nftables' own timeouts); a watchdog on the host; undo scripts that survive a reboot;
//! and [`heal_cluster`], which needs an inventory and SSH and nothing else. If arming fails, nothing is injected. Whether a host is mended
//! is judged by its state, never by an exit code.
//!
//! What runs on the hosts is POSIX `sh` (`host/*.sh`), sent by standard input; nothing is installed but, where its owner wants it so, the [`helper`]. **Invariant of absence:** knows no
//! workload and no checker; kills nothing by name, flushes no table, and undoes nothing that is not its own.

mod bears;
mod consent;
mod doors;
mod engine;
mod error;
mod fault;
mod faults;
mod ground;
mod halt;
mod heal;
pub mod helper;
mod host;
mod journal;
mod leg;
mod lock;
mod mutants;
mod partition;
pub mod proved;
mod rack;
mod registry;
mod rehearse;
mod renew;
mod steps;
mod target;
mod worker;

pub use bears::{Lacks, Unbearable, told as unbearable_told, unbearable, what_hosts_lack};
pub use consent::refused_by_inventory;
pub use doors::{DoorError, Doors, doors};
pub use engine::{Engine, EngineOptions, InForce, KillSemantics};
pub use error::{FaultError, HealError, LockError};
pub use fault::{Need, Scope};
pub use halt::{Glance, Halt, HaltOptions, Halted, Leftovers, Released, glance, halt_hosts, leftovers, release_hosts};
pub use heal::{HealOptions, HostReport, HostState, heal_cluster};
pub use host::HostPaths;
pub use journal::{Entry as JournalEntry, Intent as JournalIntent, State as JournalState};
pub use lock::{Held, LockOptions, lock_hosts, unlock_hosts};
#[cfg(feature = "mutants")]
pub use mutants::mutants;
pub use rack::{racks, refused_rack};
pub use registry::{ALL, Spec, UnknownNemesis, names, parse};
pub use rehearse::{RehearsedLeg, rehearse};
pub use renew::lock_lease;
pub use steps::{DaemonStep, Settings};
pub use worker::{WorkerOptions, WorkerPlace, make_worker_place, remove_worker_place};
