//! Whether the run's user may do with the run's topics what a run does: asked once they are there, since rights go by names.

use anyhow::{Context as _, anyhow};
use kchaos_cluster::protocol::{Client, Timeouts};

use super::setup::Setup;
use crate::exit::Failure;

/// Of every topic of a run. Clients who may not write would record refusals to the end, and prove nothing.
const NEEDED: &[&str] = &["Describe", "DescribeConfigs", "Read", "Write"];

/// Who is not told by the cluster is not refused by it.
pub(super) async fn refuse_lacking(setup: &Setup) -> Result<(), Failure> {
    let topics: Vec<String> = setup.workload.topics(&setup.run_id).into_iter().map(|topic| topic.name).collect();
    if topics.is_empty() {
        return Ok(());
    }
    let client = Client::new(&setup.inventory, Timeouts::default()).context("ask for the user's rights").map_err(Failure::environment)?;
    let Ok(rights) = client.rights(&topics).await else { return Ok(()) };
    for topic in topics {
        let lacking = rights.lacking(&topic, NEEDED);
        if !lacking.is_empty() {
            return Err(Failure::environment(anyhow!(
                "the run's user lacks ACLs of topic {topic}: {}; docs/security.md lists those that kchaos needs",
                lacking.join(", ")
            )));
        }
    }
    Ok(())
}
