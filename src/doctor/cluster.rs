//! The cluster itself: is it the one that is meant, are clients let in, is it whole?

use std::time::Duration;

use anyhow::Context;
use kchaos_cluster::view;

use super::{CLUSTER, Line, racks, security};
use crate::run::{Setup, what_is_missing};

const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
const VIEW_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) async fn examine(setup: &Setup, wants_whole: bool) -> Vec<Line> {
    let (zookeeper, brokers, kafka, racks, whole) =
        tokio::join!(zookeeper(setup), security::brokers(setup), log_in(setup), racks::examine(setup), whole(setup, wants_whole));
    [zookeeper, brokers, kafka, racks, whole].concat()
}

/// By a session of its own: who lets us in, and which cluster it is.
async fn zookeeper(setup: &Setup) -> Vec<Line> {
    if setup.inventory.is_kraft() {
        return quorum(setup).await;
    }
    let expected = &setup.inventory.cluster.expect_cluster_id;
    match view::cluster_id(&setup.inventory).await {
        Ok(id) => {
            let told = Line::ok("zookeeper", CLUSTER, "a session with ZooKeeper comes about");
            vec![told, identity(&id, expected, "ZooKeeper")]
        }
        Err(error) => {
            let why = format!("ask ZooKeeper for the cluster's id: {:#}", anyhow::Error::from(error));
            let mend = "see that its servers run (echo srvr | nc HOST PORT), and that zookeeper.connect and zookeeper.chroot are right";
            vec![Line::fails("zookeeper", CLUSTER, why, mend)]
        }
    }
}

/// By Kafka's protocol: which cluster it is, and who leads its controllers.
async fn quorum(setup: &Setup) -> Vec<Line> {
    let expected = &setup.inventory.cluster.expect_cluster_id;
    let mend =
        "see that the controllers run and that their listeners (port of a controller, controller_port of a broker) are reached from here";
    match view::look(&setup.inventory, Some(&[])).await {
        Ok(view) => {
            let told = match (view.controller, view.controller_epoch) {
                (Some(leader), Some(epoch)) => {
                    Line::ok("quorum", CLUSTER, format!("the controllers have a quorum, led by node {leader} at epoch {epoch}"))
                }
                _ => {
                    let reasons = view.quorum.iter().flat_map(|quorum| quorum.controllers.values()).filter_map(|seen| seen.reason.clone());
                    let why = reasons.collect::<Vec<_>>().join("; ");
                    Line::fails("quorum", CLUSTER, format!("no controller says that it leads the quorum ({why})"), mend)
                }
            };
            vec![told, identity(&view.cluster_id, expected, "the brokers' metadata")]
        }
        Err(error) => vec![Line::fails("quorum", CLUSTER, format!("ask the cluster: {:#}", anyhow::Error::from(error)), mend)],
    }
}

fn identity(id: &str, expected: &str, who: &str) -> Line {
    if id == expected {
        return Line::ok("cluster-id", CLUSTER, format!("it is the cluster that is meant ({id}, by {who})"));
    }
    let text = format!(
        "this is not the cluster that was meant: its id is {id} (by {who}), the inventory expects {expected} (cluster.expect_cluster_id); \
         nothing was touched"
    );
    Line::fails("cluster-id", CLUSTER, text, "correct kafka.bootstrap (and zookeeper.connect), or the id if this cluster is meant")
}

/// By librdkafka, with the run's own properties.
async fn log_in(setup: &Setup) -> Vec<Line> {
    let properties = match setup.client_properties() {
        Ok(properties) => properties,
        Err(failure) => return vec![Line::fails("client", CLUSTER, failure.to_string(), "")],
    };
    let (bootstrap, clock) = (setup.inventory.kafka.bootstrap.join(","), setup.clock.clone());
    let all: std::collections::BTreeMap<_, _> = properties.into_iter().chain(setup.options.properties.iter().cloned()).collect();
    let login = tokio::task::spawn_blocking(move || kchaos_workloads::log_in(&bootstrap, &all, clock, LOGIN_TIMEOUT));
    let login = login.await.context("the client's thread").and_then(|login| login.map_err(anyhow::Error::from));
    match login {
        Ok(login) => {
            let text = format!("a client is let in and told of {} brokers", login.brokers.len());
            let id = login.cluster_id.map(|id| identity(&id, &setup.inventory.cluster.expect_cluster_id, "the brokers"));
            [Some(Line::ok("client", CLUSTER, text)), id].into_iter().flatten().collect()
        }
        Err(error) => {
            let mend = "see that a broker listens there, and that [kafka.properties] (security.protocol, sasl.*, ssl.*) are a client's of this cluster";
            vec![Line::fails("client", CLUSTER, format!("no client comes in: {error:#}"), mend)]
        }
    }
}

/// A cluster that is already broken proves nothing about what breaks it.
async fn whole(setup: &Setup, is_wanted: bool) -> Vec<Line> {
    if !is_wanted {
        return Vec::new();
    }
    let view = tokio::time::timeout(VIEW_TIMEOUT, view::look(&setup.inventory, None)).await;
    let mend = "kchaos status shows it; wait until it is whole, or start what is down";
    vec![match view {
        Ok(Ok(view)) => match what_is_missing(&setup.inventory, &view) {
            None => Line::ok(
                "whole",
                CLUSTER,
                format!("{} brokers are registered, and all {} partitions are in sync", view.brokers.len(), view.partitions.len()),
            ),
            Some(missing) => Line::fails("whole", CLUSTER, format!("the cluster is not healthy to begin with: {missing}"), mend),
        },
        Ok(Err(error)) => Line::fails("whole", CLUSTER, format!("it cannot be looked at: {:#}", anyhow::Error::from(error)), mend),
        Err(_) => Line::fails("whole", CLUSTER, format!("it could not be looked at within {} s", VIEW_TIMEOUT.as_secs()), mend),
    }]
}
