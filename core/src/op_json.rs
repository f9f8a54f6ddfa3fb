//! The JSON of a history line (FORMATS.md, "The history").
//!
//! Why by hand: a check reads millions of lines, a person wants the column of the byte that is wrong, and what `value` means depends on `f`.
//! So one cursor walks the bytes once, builds nothing that is not kept, and knows where it stands. Property tests hold it against
//! `serde_json`. Lines as recorders write them are read faster (`quick`), and whatever is unusual about a line is left to the cursor.
//!
//! # What stands beside an op
//!
//! | field | shape | in [`Extra`](crate::Extra) |
//! |---|---|---|
//! | `intended` | ns since the run's start | `intended_ns`: when an open-model generator meant to start it |
//! | `commit-time` | ns since the run's start | `commit_time_ns`: when the commit was invoked |
//! | `group` | string | `group` |
//! | `isolation` | `"read_committed"` or `"read_uncommitted"` | `isolation` |
//! | `reset` | `"earliest"`, `"latest"` or `"none"` | `reset`: where a group begins that has committed nothing |
//! | `rebalance-log` | `[{"type": "assigned"\|"revoked"\|"lost", "keys": [k, …]}, …]` | `rebalance_log` |
//! | `leader-epochs` | `{"k": epoch, …}` | `leader_epochs` |
//! | `corrupt` | `[[k, offset, "what was wrong"], …]` | `corrupt`: polled records that are not what was sent |
//! | `version`, `zxid` | integer | `version`, `zxid` |
//! | `final` | `true` | `is_final`: an op of the finale |
//!
//! and `client` (integer), `node` (string), `error` (string; anything else is kept as its JSON text). A field that is not known, or a known one
//! of these that has another type, is ignored; `rebalance-log` and `corrupt` must have their shape, since they change what is judged.
//!
//! # Leniency, and its limits
//!
//! - Fields stand in any order; the last of two equal ones counts. `null` is the same as absent.
//! - A fail or info op may carry `null` as its value: the invocation says what was asked.
//! - A polled offset may be `null`: it is read as -1. Negative offsets are no offsets, and prove nothing.
//! - Several polls in one `poll` op are read as one after the other.
//! - Numbers must be integers that fit 64 bits; nesting deeper than 128 is refused, as `serde_json` does.

mod cursor;
mod quick;
mod read;
mod write;

pub use quick::{Line, Spare};

#[cfg(test)]
mod tests;

/// Why a line is no op. `column` counts bytes from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct OpError {
    pub column: usize,
    pub message: String,
}
