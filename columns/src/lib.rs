//! The compact history: blocks of columns, packed and compressed (`docs/columns.md` has every byte of it).
//!
//! Why it exists: a run of days has a hundred million sends. As JSON lines they are 20 GB, and most of a check's time goes into reading digits.
//! Here a send with its acknowledgement and its record in a poll takes about 10 bytes and 20 to 30 ns. JSON lines stay the default and what is
//! exchanged; this is for what is large.
//!
//! - [`Writer`] takes ops in order, [`Reader`] gives them back, equal, some hundred at a time, into [`Ops`] that are used again and again.
//! - Each block stands alone and is checked: a file that was cut loses its last block and says so; a damaged byte is an error with block and place.
//! - Whatever the bytes, reading neither panics nor takes more memory than [`Reader`] states.

mod block;
mod decode;
mod encode;
mod frame;
mod kind;
mod layout;
mod ops;
mod pack;
mod reader;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use std::io;

pub use layout::{BLOCK_BYTES_MAX, BLOCK_OPS_MAX, BLOCK_RECORDS_MAX, BLOCK_TEXT_MAX};
pub use ops::Ops;
pub use reader::Reader;
pub use writer::Writer;

/// Whether a file that begins with these bytes (8 are enough) is a compact history, of whatever version.
pub fn is_columns(head: &[u8]) -> bool {
    head.starts_with(&layout::MAGIC)
}

/// Why a file is no compact history.
#[derive(Debug, thiserror::Error)]
pub enum ColumnsError {
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("not a compact history: it does not begin with its mark")]
    Foreign,
    #[error("version {found} of the compact history: this kchaos reads version {known}", known = layout::VERSION)]
    Version { found: u8 },
    /// Blocks count from 0; `position` is where in the file the block begins.
    #[error("block {block} at byte {position}: {message}")]
    Corrupt { block: u64, position: u64, message: String },
}
