//! The view for people: `kchaos status`.

use super::{PartitionView, QuorumView, View, ZooKeeperView};

/// Aligned tables: the cluster in a line, brokers, ZooKeeper servers, partitions. What wants attention is said in words, never by colour.
pub fn render_text(view: &View) -> String {
    let controller = match (view.controller, view.controller_epoch) {
        (Some(broker), Some(epoch)) => format!("controller {broker} (epoch {epoch})"),
        (Some(broker), None) => format!("controller {broker}"),
        (None, _) => "no controller".to_owned(),
    };
    let mut text = format!("cluster {} · {controller} · {}\n\n", view.cluster_id, health(view));
    text += &table(&["BROKER", "HOST", "ENDPOINTS", "RACK", "NOTES"], broker_rows(view));
    text.push('\n');
    if let Some(quorum) = &view.quorum {
        text += &table(&["CONTROLLER", "HOST", "MODE", "LAG", "NOTES"], controller_rows(quorum));
    }
    // Both on the way from ZooKeeper to KRaft.
    if view.quorum.is_some() && !view.zookeepers.is_empty() {
        text.push('\n');
    }
    if view.quorum.is_none() || !view.zookeepers.is_empty() {
        text += &table(&["ZOOKEEPER", "HOST", "MODE", "ZXID", "VERSION", "NOTES"], zookeeper_rows(view));
    }
    if !view.partitions.is_empty() {
        text.push('\n');
        text += &table(&["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "NOTES"], partition_rows(view));
    }
    text
}

/// The partitions in a few words.
fn health(view: &View) -> String {
    let count = |holds: fn(&PartitionView) -> bool| view.partitions.iter().filter(|partition| holds(partition)).count();
    let (leaderless, lagging) = (count(|partition| partition.leader.is_none()), count(is_under_replicated));
    let all = match view.partitions.len() {
        0 => return "no partitions".to_owned(),
        1 => "1 partition".to_owned(),
        all => format!("{all} partitions"),
    };
    match (leaderless, lagging) {
        (0, 0) => format!("{all}, ISR full"),
        (0, lagging) => format!("{all}, {lagging} under-replicated"),
        (leaderless, lagging) => format!("{all}, {leaderless} without leader, {lagging} under-replicated"),
    }
}

fn is_under_replicated(partition: &PartitionView) -> bool {
    partition.replicas.iter().any(|replica| !partition.isr.contains(replica))
}

fn broker_rows(view: &View) -> Vec<Vec<String>> {
    let rows = view.brokers.iter().map(|(id, broker)| {
        let led = view.partitions.iter().filter(|partition| partition.leader == Some(*id)).count();
        let mut notes = Vec::new();
        if view.controller == Some(*id) {
            notes.push("controller".to_owned());
        }
        if broker.knows_itself == Some(false) {
            notes.push("does not say so itself".to_owned());
        }
        notes.extend(broker.lag.filter(|lag| *lag > 0).map(|lag| format!("lacks {lag} records of the metadata")));
        if led > 0 {
            notes.push(format!("leads {led}"));
        }
        vec![id.to_string(), or_dash(broker.host.as_deref()), broker.endpoints.join(","), or_dash(broker.rack.as_deref()), notes.join(", ")]
    });
    let fenced = view.quorum.iter().flat_map(|quorum| &quorum.fenced);
    let fenced =
        fenced.map(|id| vec![id.to_string(), or_dash(None), or_dash(None), or_dash(None), "fenced, or never registered".to_owned()]);
    rows.chain(fenced).collect()
}

fn controller_rows(quorum: &QuorumView) -> Vec<Vec<String>> {
    let rows = quorum.controllers.iter().map(|(id, controller)| {
        let lag = controller.lag.map(|lag| lag.to_string());
        vec![
            id.to_string(),
            controller.host.clone(),
            controller.mode.clone(),
            or_dash(lag.as_deref()),
            controller.reason.clone().unwrap_or_default(),
        ]
    });
    rows.collect()
}

fn zookeeper_rows(view: &View) -> Vec<Vec<String>> {
    let row = |host: &str, server: &ZooKeeperView| {
        let id = if server.id == 0 { "-".to_owned() } else { server.id.to_string() };
        let zxid = server.zxid.map(|zxid| format!("{zxid:#x}"));
        let version = (!server.version.is_empty()).then_some(server.version.as_str());
        let reason = server.reason.clone().unwrap_or_default();
        vec![id, host.to_owned(), server.mode.clone(), or_dash(zxid.as_deref()), or_dash(version), reason]
    };
    view.zookeepers.iter().map(|(host, server)| row(host, server)).collect()
}

fn partition_rows(view: &View) -> Vec<Vec<String>> {
    let rows = view.partitions.iter().map(|partition| {
        let mut notes = Vec::new();
        if partition.leader.is_none() {
            notes.push("no leader");
        }
        if is_under_replicated(partition) {
            notes.push("under-replicated");
        }
        if partition.leader.is_some() && partition.leader != partition.replicas.first().copied() {
            notes.push("not the preferred leader");
        }
        vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            or_dash(partition.leader.map(|leader| leader.to_string()).as_deref()),
            partition.leader_epoch.to_string(),
            numbers(&partition.replicas),
            numbers(&partition.isr),
            notes.join(", "),
        ]
    });
    rows.collect()
}

/// Columns as wide as their widest cell, two spaces between, nothing after the last.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header = header.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn or_dash(text: Option<&str>) -> String {
    text.unwrap_or("-").to_owned()
}

fn numbers(brokers: &[i32]) -> String {
    if brokers.is_empty() {
        return "-".to_owned();
    }
    brokers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::view::BrokerView;

    fn broker(host: &str, address: &str) -> BrokerView {
        BrokerView { host: Some(host.to_owned()), endpoints: vec![format!("PLAINTEXT://{address}:9092")], ..BrokerView::default() }
    }

    fn partition(partition: i32, leader: Option<i32>, replicas: &[i32], isr: &[i32]) -> PartitionView {
        let topic = "kchaos-append".to_owned();
        PartitionView { topic, partition, leader, leader_epoch: 4, replicas: replicas.to_vec(), isr: isr.to_vec() }
    }

    fn server(id: i32, mode: &str, zxid: i64) -> ZooKeeperView {
        ZooKeeperView { id, mode: mode.to_owned(), zxid: Some(zxid), version: "3.8.4".to_owned(), reason: None }
    }

    #[test]
    fn a_cluster_with_a_dead_broker_and_a_dead_zookeeper_server() {
        let dead = ZooKeeperView {
            id: 3,
            mode: "none".to_owned(),
            reason: Some("cannot be reached: Connection refused (os error 111)".to_owned()),
            ..ZooKeeperView::default()
        };
        let view = View {
            cluster_id: "tZ3qLx0XQ6mYF0tZkq2y1A".to_owned(),
            brokers: BTreeMap::from([(1, broker("k1", "10.7.0.11")), (2, broker("k2", "10.7.0.12"))]),
            controller: Some(2),
            controller_epoch: Some(3),
            partitions: vec![
                partition(0, Some(1), &[1, 2, 3], &[1, 2]),
                partition(1, Some(2), &[2, 1], &[2, 1]),
                partition(2, None, &[3], &[]),
                partition(3, Some(2), &[1, 2], &[1, 2]),
            ],
            zookeepers: BTreeMap::from([
                ("z1".to_owned(), server(1, "follower", 0x1_0000_003e)),
                ("z2".to_owned(), server(2, "leader", 0x1_0000_003f)),
                ("z3".to_owned(), dead),
            ]),
            quorum: None,
        };
        insta::assert_snapshot!(render_text(&view), @r"
        cluster tZ3qLx0XQ6mYF0tZkq2y1A · controller 2 (epoch 3) · 4 partitions, 1 without leader, 2 under-replicated

        BROKER  HOST  ENDPOINTS                   RACK  NOTES
        1       k1    PLAINTEXT://10.7.0.11:9092  -     leads 1
        2       k2    PLAINTEXT://10.7.0.12:9092  -     controller, leads 2

        ZOOKEEPER  HOST  MODE      ZXID         VERSION  NOTES
        1          z1    follower  0x10000003e  3.8.4
        2          z2    leader    0x10000003f  3.8.4
        3          z3    none      -            -        cannot be reached: Connection refused (os error 111)

        TOPIC          PARTITION  LEADER  EPOCH  REPLICAS  ISR  NOTES
        kchaos-append  0          1       4      1,2,3     1,2  under-replicated
        kchaos-append  1          2       4      2,1       2,1
        kchaos-append  2          -       4      3         -    no leader, under-replicated
        kchaos-append  3          2       4      1,2       1,2  not the preferred leader
        ");
    }

    #[test]
    fn a_cluster_of_kraft_with_a_fenced_broker() {
        use crate::view::ControllerView;
        let controller = |host: &str, mode: &str, lag| ControllerView { host: host.to_owned(), mode: mode.to_owned(), lag, reason: None };
        let quorum = QuorumView {
            leader: Some(101),
            leader_epoch: Some(7),
            high_watermark: Some(90),
            controllers: BTreeMap::from([(101, controller("c1", "leader", Some(0))), (102, controller("c2", "none", None))]),
            fenced: vec![2],
        };
        let view = View {
            cluster_id: "x".to_owned(),
            brokers: BTreeMap::from([(1, BrokerView { lag: Some(4), knows_itself: Some(false), ..broker("k1", "10.7.0.11") })]),
            controller: Some(101),
            controller_epoch: Some(7),
            quorum: Some(quorum),
            ..View::default()
        };
        insta::assert_snapshot!(render_text(&view), @r"
        cluster x · controller 101 (epoch 7) · no partitions

        BROKER  HOST  ENDPOINTS                   RACK  NOTES
        1       k1    PLAINTEXT://10.7.0.11:9092  -     does not say so itself, lacks 4 records of the metadata
        2       -     -                           -     fenced, or never registered

        CONTROLLER  HOST  MODE    LAG  NOTES
        101         c1    leader  0
        102         c2    none    -
        ");
    }

    #[test]
    fn an_empty_cluster() {
        insta::assert_snapshot!(render_text(&View { cluster_id: "x".to_owned(), ..View::default() }), @r"
        cluster x · no controller · no partitions

        BROKER  HOST  ENDPOINTS  RACK  NOTES

        ZOOKEEPER  HOST  MODE  ZXID  VERSION  NOTES
        ");
    }
}
