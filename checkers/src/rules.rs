//! The rules: one file for each promise, or for a few that are judged together.

pub(crate) mod aborted_read;
pub(crate) mod duplicate;
pub(crate) mod experiment;
pub(crate) mod inconsistent_offsets;
pub(crate) mod lost_write;
pub(crate) mod phantom;
pub(crate) mod poll_order;
pub(crate) mod reordered;
pub(crate) mod send_order;
pub(crate) mod unseen;
