//! The rules: one file for each promise, or for a few that are judged together.

pub(crate) mod aborted_read;
pub(crate) mod bank;
pub(crate) mod cluster;
pub(crate) mod commit_regression;
pub(crate) mod cycles;
pub(crate) mod delivery;
pub(crate) mod dirty_read;
pub(crate) mod duplicate;
pub(crate) mod experiment;
pub(crate) mod group_end;
pub(crate) mod inconsistent_offsets;
pub(crate) mod intermediate_read;
pub(crate) mod lost_write;
pub(crate) mod lso_passed;
pub(crate) mod lso_stall;
pub(crate) mod phantom;
pub(crate) mod poll_order;
pub(crate) mod registers;
pub(crate) mod reordered;
pub(crate) mod replicas;
pub(crate) mod send_order;
pub(crate) mod stale_leader;
pub(crate) mod torn_transaction;
pub(crate) mod total_order;
pub(crate) mod unseen;
pub(crate) mod zookeeper;
