//! The cluster as seen from outside: who is in it, how to reach it, what it looks like, and how that changes.
//!
//! **Invariant of absence:** knows nothing of workloads, checkers or nemeses. It looks, and runs what it is told to on a host; it breaks nothing.

pub mod change;
pub mod cluster;
pub mod contained;
pub mod daemon;
pub mod discover;
pub mod helper;
pub mod inventory;
pub mod known_hosts;
pub mod netns;
pub mod observer;
pub mod protocol;
pub mod records;
pub mod remote;
pub mod secret;
pub mod segments;
pub mod ssh;
pub(crate) mod tls;
pub mod view;
pub mod zookeeper;
