//! `kchaos status`: one look at the cluster, or one a second.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::view;

use crate::cli::{Format, StatusArgs};
use crate::exit::{self, Failure};

const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &StatusArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    super::within_network(&inventory, async {
        loop {
            crate::say!("{}", look(&inventory, args.format, args.watch).await?);
            if !args.watch {
                return Ok(exit::VALID);
            }
            tokio::time::sleep(WATCH_EVERY).await;
        }
    })?
}

async fn look(inventory: &Inventory, format: Format, is_watching: bool) -> Result<String, Failure> {
    let view = view::look(inventory, None).await.context("look at the cluster")?;
    Ok(match format {
        // One object a line while watching, so that a pipe can read it.
        Format::Json if is_watching => serde_json::to_string(&view).map_err(anyhow::Error::from)?,
        Format::Json => serde_json::to_string_pretty(&view).map_err(anyhow::Error::from)?,
        Format::Text => {
            let clear = if is_watching && std::io::stdout().is_terminal() { "\x1b[2J\x1b[H" } else { "" };
            format!("{clear}{}", view::render_text(&view))
        }
    })
}

#[cfg(test)]
mod tests {
    use kchaos_cluster::view::{BrokerView, ControllerView, PartitionView, QuorumView, View, ZooKeeperView};
    use serde_json::json;

    use crate::schema::conform::assert_conforms;

    #[test]
    fn a_look_conforms_with_zookeeper_and_with_kraft() {
        assert_conforms("status", &json!(View::default()));
        let (host, reason) = ("b1".to_owned(), Some("no answer".to_owned()));
        let broker = BrokerView {
            host: Some(host.clone()),
            endpoints: vec!["PLAINTEXT://b1:9092".to_owned()],
            rack: Some("r1".to_owned()),
            registered_zxid: Some(4_294_967_338),
            knows_itself: Some(true),
            lag: Some(0),
        };
        let led =
            PartitionView { topic: "t".to_owned(), partition: 0, leader: Some(1), leader_epoch: 3, replicas: vec![1, 2], isr: vec![1] };
        let leaderless = PartitionView { leader: None, leader_epoch: -1, ..led.clone() };
        let serving = ZooKeeperView { id: 1, mode: "leader".to_owned(), zxid: Some(7), version: "3.8.4".to_owned(), reason: None };
        let silent = ZooKeeperView { id: 2, mode: "none".to_owned(), reason: reason.clone(), ..ZooKeeperView::default() };
        let mut view = View {
            cluster_id: "x".to_owned(),
            brokers: [(1, broker), (2, BrokerView::default())].into(),
            controller: Some(1),
            controller_epoch: Some(4),
            partitions: vec![led, leaderless],
            zookeepers: [("b1".to_owned(), serving), ("b2".to_owned(), silent)].into(),
            quorum: None,
        };
        assert_conforms("status", &json!(view));
        let active = ControllerView { host: host.clone(), mode: "leader".to_owned(), lag: Some(0), reason: None };
        let controllers = [(101, active), (102, ControllerView { host, mode: "none".to_owned(), lag: None, reason })].into();
        view.quorum =
            Some(QuorumView { leader: Some(101), leader_epoch: Some(2), high_watermark: Some(900), controllers, fenced: vec![3] });
        assert_conforms("status", &json!(view));
        view.quorum = Some(QuorumView::default());
        assert_conforms("status", &json!(view));
    }
}
