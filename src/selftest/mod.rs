//! The known-bad corpus: what is known to lose, reorder, duplicate, tear, stall or expose, each beside a twin that is known not to (docs/known-bad.md).
//!
//! Why: a verifier that has never failed anything proves nothing, and one that accuses what is safe is worse. [`case`] reads the files of
//! `suites/known-bad/`, [`life`] brings up a lab for all that can share it and does both forms of each as runs of this very executable, [`judge`] holds
//! what they found against what was to be found, [`record`] keeps it, [`clean`] is the safe settings under any nemesis and seed.

mod case;
mod clean;
mod judge;
mod life;
pub(crate) mod record;

pub(crate) use case::{Case, Form, built_in, load};
pub(crate) use clean::live as live_clean;
pub(crate) use life::live;
pub(crate) use record::{read as read_records, table};
