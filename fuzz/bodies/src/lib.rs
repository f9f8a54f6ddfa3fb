//! What the fuzz targets do with bytes. Each body panics where something is wrong, and returns nothing.
//!
//! Why a crate of its own: the targets need cargo-fuzz, which not every machine has. The same bodies are ordinary property tests here
//! (`tests/smoke.rs`), so that none of them rots, and so that an input that once failed stays a test.

mod invent;
#[cfg(feature = "inventory")]
mod inventory;
mod meter;
mod parsers;
mod reports;

pub use invent::{Limits, hostile_history, sound_history};
#[cfg(feature = "inventory")]
pub use inventory::inventory;
pub use meter::Meter;
pub use parsers::{columns, edn, framed, jsonl};
pub use reports::{history, structured};

/// What a target does with an input.
pub type Fuzzed = fn(&[u8]);

/// All bodies by name.
pub const BODIES: &[(&str, Fuzzed)] = &[
    ("jsonl", jsonl),
    ("history", history),
    ("edn", edn),
    ("columns", columns),
    #[cfg(feature = "inventory")]
    ("inventory", inventory),
    ("structured", structured),
];

/// What any input may take, however small: a line or a block as long as the formats allow, more than once.
const BASE_BYTES: usize = 320 << 20;
/// What each byte of input may take beyond that.
const BYTES_PER_BYTE: usize = 1 << 10;

/// Runs a body, and panics if it took more memory than its input can justify.
pub fn within_bounds(bytes: &[u8], body: Fuzzed) {
    let peak = meter::peak_of(|| body(bytes));
    let bound = BASE_BYTES + bytes.len() * BYTES_PER_BYTE;
    assert!(peak <= bound, "{} bytes of input took {peak} bytes of memory", bytes.len());
}
