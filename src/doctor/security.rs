//! Who is let in, and what for: each broker by itself, by the client that looks at brokers.
//!
//! Why beside librdkafka's own attempt: that one ends with "no broker answered", whatever is the matter.

use futures_util::future::join_all;
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::protocol::{Client, ProtocolError, Security, Timeouts};

use super::{CLUSTER, Line};
use crate::run::Setup;

/// Needed whatever a run does: settings are read back from every broker.
const OF_THE_CLUSTER: &[&str] = &["DescribeConfigs"];

pub(super) async fn brokers(setup: &Setup) -> Vec<Line> {
    let inventory = &setup.inventory;
    let client = match Client::new(inventory, Timeouts::default()) {
        Ok(client) => client,
        Err(error) => {
            return vec![Line::fails("brokers", CLUSTER, error.to_string(), "docs/security.md says what belongs into [kafka.properties]")];
        }
    };
    let ask = async |host: &str, broker: i32| (host.to_owned(), client.metadata(broker, Some(&[])).await);
    let asked = join_all(inventory.daemons_of(DaemonKind::Kafka).map(|(host, daemon)| ask(&host.name, daemon.id))).await;
    let how = Security::of(inventory).map_or("", |security| security.name());
    let mut lines: Vec<Line> = asked.into_iter().map(|(host, answer)| line(&host, how, answer.err())).collect();
    if lines.iter().any(|line| line.level == super::Level::Ok) {
        lines.extend(rights(&client).await);
    }
    lines
}

/// A broker that is away is told of by other checks, with what an earlier run may have to do with it.
fn line(host: &str, how: &str, error: Option<ProtocolError>) -> Line {
    match error {
        None => Line::ok("brokers", host, format!("lets us in ({how})")),
        Some(error) if error.is_of_security() => Line::fails("brokers", host, error.to_string(), ""),
        Some(error) => Line::warning("brokers", host, error.to_string(), ""),
    }
}

async fn rights(client: &Client) -> Option<Line> {
    // A broker that does not say is not one that refuses.
    let rights = client.rights(&[]).await.ok()?;
    let lacking: Vec<&str> = OF_THE_CLUSTER.iter().copied().filter(|operation| !rights.cluster.contains(operation)).collect();
    Some(if lacking.is_empty() {
        Line::ok("rights", CLUSTER, "brokers' settings may be read back")
    } else {
        let text = format!("the user may not {} the cluster", lacking.join(" nor "));
        Line::fails("rights", CLUSTER, text, "grant it: docs/security.md lists the ACLs that kchaos needs")
    })
}
