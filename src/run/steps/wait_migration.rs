//! `wait-migration`: the KRaft controllers have all that ZooKeeper held, and decide (KIP-866).
//!
//! Why a step of its own: brokers that are restarted as nodes of KRaft before that find a metadata log without their topics. What counts stands in
//! ZooKeeper, where the controller that took over has written it: `/migration` with an offset of the metadata log, and itself in `/controller`.

use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::view::View;
use kchaos_cluster::zookeeper::nodes::MigrationNode;
use kchaos_cluster::zookeeper::{first_session, servers};
use serde::Deserialize;

use super::stage::Stage;
use super::{Kind, NotDone, Step, own};
use crate::cli::Time;

pub(super) const KIND: Kind = Kind { name: "wait-migration", read: own::<WaitMigration> };

const SESSION_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitMigration {
    within: Time,
}

#[async_trait]
impl Step for WaitMigration {
    fn words(&self) -> String {
        format!("wait-migration within {} s", self.within.0.as_secs_f64())
    }

    fn refuse(&self, inventory: &Inventory) -> Result<(), String> {
        if inventory.is_migrating() {
            return Ok(());
        }
        Err("the inventory has no ZooKeepers with controllers of KRaft beside them, so there is nothing to migrate to".to_owned())
    }

    fn touches_daemons(&self) -> bool {
        false
    }

    async fn carry_out(&self, stage: &Stage<'_>) -> Result<String, NotDone> {
        let late = |missing| NotDone::Missed(format!("not within {} s: {missing}", self.within.0.as_secs_f64()));
        stage.until(self.within.0, late, || look(stage)).await
    }
}

async fn look(stage: &Stage<'_>) -> Result<String, String> {
    let inventory = &stage.live.inventory;
    let view = stage.look(Some(&[])).await?;
    let failed = |error: kchaos_cluster::zookeeper::ZooKeeperError| error.to_string();
    let session = first_session(&servers(inventory), &inventory.zookeeper, SESSION_TIMEOUT).await.map_err(failed)?;
    let (migration, controller) = tokio::try_join!(session.migration(), session.controller()).map_err(failed)?;
    taken_over(migration.as_ref(), controller, &view)
}

fn taken_over(migration: Option<&MigrationNode>, in_zookeeper: Option<i32>, view: &View) -> Result<String, String> {
    let leader = view.quorum.as_ref().and_then(|quorum| quorum.leader).ok_or("no controller says that it leads the quorum")?;
    // Controllers that wait have made it, in nobody's name.
    let migration = migration
        .filter(|migration| migration.kraft_controller_id >= 0)
        .ok_or("no controller has begun it (/migration in ZooKeeper names none): are all brokers set up for it, and started anew?")?;
    if !migration.has_taken_over() {
        return Err(format!("controller {} is copying what is in ZooKeeper", migration.kraft_controller_id));
    }
    if in_zookeeper != Some(leader) {
        let who = in_zookeeper.map_or_else(|| "nobody".to_owned(), |id| format!("node {id}"));
        return Err(format!("controller {leader} leads the quorum, and /controller in ZooKeeper names {who}"));
    }
    Ok(format!(
        "controller {leader} has taken over (/controller names it, and /migration says that ZooKeeper follows the metadata log up to offset {})",
        migration.kraft_metadata_offset
    ))
}

#[cfg(test)]
mod tests {
    use kchaos_cluster::view::QuorumView;

    use super::*;

    fn check(offset: Option<i64>, in_zookeeper: Option<i32>, leader: Option<i32>, expect: Result<&str, &str>) {
        let node = |kraft_metadata_offset| MigrationNode { kraft_controller_id: 101, kraft_controller_epoch: 4, kraft_metadata_offset };
        let view = View { quorum: Some(QuorumView { leader, ..QuorumView::default() }), ..View::default() };
        match (taken_over(offset.map(node).as_ref(), in_zookeeper, &view), expect) {
            (Ok(said), Ok(phrase)) | (Err(said), Err(phrase)) => assert!(said.contains(phrase), "{said}"),
            (said, _) => panic!("{said:?}"),
        }
    }

    #[test]
    fn the_quorum_has_taken_over_when_all_is_in_its_log_and_zookeeper_names_its_leader() {
        check(Some(117), Some(101), Some(101), Ok("up to offset 117"));
        check(Some(117), Some(2), Some(101), Err("names node 2"));
        check(Some(-1), Some(101), Some(101), Err("copying"));
        check(None, Some(2), Some(101), Err("started anew?"));
        check(Some(117), Some(101), None, Err("leads the quorum"));
    }
}
