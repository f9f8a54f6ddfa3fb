//! `wait-isr`: every partition has all its replicas in sync, within a time that somebody promised.

use async_trait::async_trait;
use serde::Deserialize;

use super::stage::Stage;
use super::{Kind, NotDone, Step, own};
use crate::cli::Time;

pub(super) const KIND: Kind = Kind { name: "wait-isr", read: own::<WaitIsr> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitIsr {
    within: Time,
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

#[async_trait]
impl Step for WaitIsr {
    fn words(&self) -> String {
        let whose = if self.topics == Topics::All { "all topics" } else { "the run's topics" };
        format!("wait-isr of {whose} within {} s", self.within.0.as_secs_f64())
    }

    fn touches_daemons(&self) -> bool {
        false
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        let topics = stage.live.topics();
        let topics = (self.topics == Topics::Run).then_some(topics.as_slice());
        let within = self.within.0;
        let late = |missing| NotDone::Missed(format!("not within {} s: {missing}", within.as_secs_f64()));
        let view = stage.until(within, late, || stage.is_whole(topics)).await?;
        Ok(format!("{} partitions, each with all its replicas in sync", view.partitions.len()))
    }
}
