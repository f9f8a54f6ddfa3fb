//! `restart`: the service's own stop and start.

use async_trait::async_trait;
use kchaos_cluster::inventory::Inventory;
use kchaos_nemeses::DaemonStep;
use serde::Deserialize;

use super::stage::Stage;
use super::{Kind, NotDone, Step, own, rolling, whom::Whom};

pub(super) const KIND: Kind = Kind { name: "restart", read: own::<Restart> };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    target: Whom,
}

#[async_trait]
impl Step for Restart {
    fn words(&self) -> String {
        format!("restart {}", self.target)
    }

    fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        self.target.refuse(inventory)
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        rolling::each(stage, &self.target, &DaemonStep::Restart).await
    }
}
