//! KRaft controllers that wait beside ZooKeepers for the cluster's migration (KIP-866).
//!
//! They are formatted with the cluster's id before it has brokers, so the lab names the cluster itself: ZooKeepers are started first, `/cluster/id` is
//! written, and brokers find it there as they would another broker's.

use kchaos_cluster::inventory::{DaemonKind, Inventory};
use kchaos_cluster::zookeeper::{Access, nodes};
use zookeeper_client::{Acls, CreateMode};

use crate::LabError;
use crate::layout::HostPlan;
use crate::state::State;
use crate::users::{inside, refused, session};

/// What a controller is told beside what every controller is.
pub(crate) fn settings(state: &State) -> Vec<(&'static str, String)> {
    vec![
        ("zookeeper.connect", state.layout.endpoints(DaemonKind::Zookeeper).join(",")),
        ("zookeeper.metadata.migration.enable", "true".to_owned()),
    ]
}

/// Whether a host is started before the cluster has its id.
pub(crate) fn is_first(host: &HostPlan) -> bool {
    host.daemons.iter().any(|daemon| daemon.kind == DaemonKind::Zookeeper)
}

/// Writes the cluster's id where brokers look for it.
pub(crate) fn name_cluster(state: &State, admin: &Inventory) -> Result<(), LabError> {
    let id = state.cluster_id.clone().unwrap_or_default();
    let connect = state.layout.endpoints(DaemonKind::Zookeeper).join(",");
    let access = Access::of(&admin.zookeeper).map_err(|error| refused(error.to_string()))?;
    let text = serde_json::json!({ "version": "1", "id": id }).to_string();
    inside(async move {
        let client = session(&connect, &access).await?;
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        for (path, data) in [("/cluster", ""), (nodes::CLUSTER_ID, text.as_str())] {
            let made = client.create(path, data.as_bytes(), &persistent).await;
            made.map_err(|error| refused(format!("writing {path} to ZooKeeper: {error}")))?;
        }
        Ok(())
    })?
}
