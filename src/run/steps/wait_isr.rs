//! `wait-isr`: every partition has all its replicas in sync, within a time that somebody promised.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer};

use super::stage::{LOOK_EVERY, Stage};
use super::{Kind, NotDone, Step, own};
use crate::run::whole;

pub(super) const KIND: Kind = Kind { name: "wait-isr", read: own::<WaitIsr> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitIsr {
    #[serde(deserialize_with = "duration")]
    within: Duration,
    #[serde(default)]
    topics: Topics,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Topics {
    /// Those of the run.
    #[default]
    Run,
    /// All of the cluster, internal ones included.
    All,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    crate::cli::duration(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

#[async_trait]
impl Step for WaitIsr {
    fn words(&self) -> String {
        let whose = if self.topics == Topics::All { "all topics" } else { "the run's topics" };
        format!("wait-isr of {whose} within {} s", self.within.as_secs_f64())
    }

    fn touches_daemons(&self) -> bool {
        false
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        let topics = stage.live.topics();
        let topics = (self.topics == Topics::Run).then_some(topics.as_slice());
        let began = Instant::now();
        loop {
            let missing = match stage.look(topics).await {
                Ok(view) => match whole::missing(stage.live, &view) {
                    None => return Ok(format!("{} partitions, each with all its replicas in sync", view.partitions.len())),
                    Some(missing) => missing,
                },
                Err(why) => why,
            };
            if began.elapsed() >= self.within {
                return Err(NotDone::Missed(format!("not within {} s: {missing}", self.within.as_secs_f64())));
            }
            if !stage.live.abort.sleep(LOOK_EVERY).await {
                return Err(NotDone::Aborted);
            }
        }
    }
}
