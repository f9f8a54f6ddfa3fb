//! Logs of which parts go away: what is deleted behind the workload's back is found, and a run that nobody meddles with is not accused.

use kchaos_cluster::protocol::Client;
use kchaos_core::{Body, OpType};

use crate::elections::Meddler;
use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

#[test]
#[ignore = "needs root and the lab"]
fn records_deleted_behind_its_back_are_found_and_logs_that_nobody_meddles_with_are_not_accused() {
    let lab = Lab::that_is_whole();
    let offsets = |nemesis: &str, more: &[&str]| a_run_with(nemesis, &["--workload", "offsets", "--offsets-interval", "30ms"]).and(more);

    let meddler = Meddler::at_work(&lab, delete_older_half);
    let meddled = offsets("none", &["--time-limit", "4s", "--offsets-retention", "10m"]).finish().ends_with(1);
    let deleted = meddler.ends();
    let early = meddled.count_of("expired-early");
    assert!(early > 0 && deleted > 0, "{}", meddled.verdict()["anomalies"]);

    // With its leader killed it takes twice as long, and was seen by hand.
    let safe = offsets("none", &["--time-limit", "4s"]).finish().ends_with(0);
    safe.stands_offline();
    let answers = safe.answers();
    assert!(answers > 50, "{answers}");
    println!(
        "logs of which parts go away: {early} answers told of {deleted} deletions that nobody had asked for; without them none of {} writes was lost, \
         and {answers} answers agree; {:.0} s and {:.0} s",
        safe.acknowledged(),
        meddled.took.as_secs_f64(),
        safe.took.as_secs_f64()
    );
}

/// Of each partition of the run's topics that are not compacted.
async fn delete_older_half(client: &Client) -> u64 {
    let Ok(metadata) = client.metadata_from_any(None).await else { return 0 };
    let mut deleted = 0;
    for topic in metadata.topics {
        if !["deleted", "expiring"].iter().any(|kind| topic.topic.starts_with(&format!("kchaos-offsets-{kind}-"))) {
            continue;
        }
        for seen in topic.partitions {
            let Some(leader) = seen.leader else { continue };
            let Ok(bounds) = client.log_bounds(leader, &topic.topic, seen.partition, -1).await else { continue };
            let before = bounds.start + (bounds.end - bounds.start) / 2;
            if before > bounds.start {
                deleted += u64::from(client.delete_records(leader, &topic.topic, seen.partition, before).await.is_ok());
            }
        }
    }
    deleted
}

impl Finished {
    /// What leaders told.
    fn answers(&self) -> u64 {
        let mut answers = 0;
        self.each_op(|op| {
            answers += u64::from(op.op_type == OpType::Ok && matches!(&op.body, Body::Nemesis { f, .. } if f == "list-offsets"));
        });
        answers
    }
}
