//! Kinds of steps: one file and one line of [`ALL`] each.

mod consume;
mod create_topic;
mod fault;
mod firewall;
mod mend;
mod peek;
mod produce;
mod status;
mod test;

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::file::{self, Trouble};
use super::scene::{Outcome, Scene};
use crate::exit::Failure;

/// Every kind of step, in the order in which docs/suites.md has them.
pub(super) const ALL: &[Kind] =
    &[status::KIND, create_topic::KIND, produce::KIND, consume::KIND, peek::KIND, fault::KIND, mend::KIND, firewall::KIND, test::KIND];

/// A kind of step, as the file names it.
pub(crate) struct Kind {
    pub(super) name: &'static str,
    /// In a sentence, for steps without a title.
    pub(super) about: &'static str,
    pub(super) role: Role,
    /// Of its own keys; [`own`] where there is nothing to be checked beside.
    pub(super) read: Read,
}

type Read = fn(DeTable<'_>, &Range<usize>) -> Result<Box<dyn Step>, Trouble>;

/// What a step is to the faults around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It may stand anywhere.
    Looks,
    /// A fault is in force behind it.
    Begins,
    /// And behind this one it is not.
    Ends,
    /// It locks the hosts for itself.
    Alone,
}

/// A step with its keys.
#[async_trait]
pub(crate) trait Step: Send + Sync {
    /// What of kchaos does this: a command where there is one, else words.
    fn command(&self, scene: &Scene) -> String;

    /// Does it. An error is a step that could not be done, with its exit code.
    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure>;
}

fn own<T: Step + DeserializeOwned + 'static>(table: DeTable<'_>, around: &Range<usize>) -> Result<Box<dyn Step>, Trouble> {
    Ok(Box::new(file::read::<T>(table, around)?))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
