//! Mends the fault that is in force, and proves it.

use std::time::Instant;

use async_trait::async_trait;
use serde::Deserialize;

use super::super::scene::{Outcome, Scene};
use super::{Kind, Role, Step, own};
use crate::exit::{self, Failure};
use crate::run::Mended;

pub(super) const KIND: Kind = Kind { name: "mend", about: "The fault is mended, and that is proved", role: Role::Ends, read: own::<Mend> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mend {}

#[async_trait]
impl Step for Mend {
    fn command(&self, _scene: &Scene) -> String {
        "the fault's own mending, as `kchaos heal` would do it".to_owned()
    }

    async fn run(&self, scene: &mut Scene) -> Result<Outcome, Failure> {
        let Some(held) = scene.past.held.take() else {
            return Ok(Outcome::of(exit::UNKNOWN, "there was no fault in force: the step that was to begin it did not"));
        };
        let mended = held.mend().await;
        scene.past.since = Some(("it was mended".to_owned(), Instant::now()));
        Ok(match mended {
            Mended::Yes => Outcome::valid("mended, and every host is clean"),
            Mended::Lapsed => Outcome::of(exit::UNKNOWN, "it ended before it was mended by us, so it was not in force all the time"),
            Mended::No(why) => Outcome::of(exit::UNHEALED, why),
        })
    }
}
