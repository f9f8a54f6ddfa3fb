//! A second client implementation: what librdkafka's clients find, Java's are asked as well.

use kchaos_core::{Body, OpType};

use crate::lab::Lab;
use crate::run::a_run_with;

#[test]
#[ignore = "needs root and the lab"]
fn java_clients_write_and_read_through_the_loss_of_a_leader_and_librdkafka_finds_all_of_it() {
    Lab::that_is_whole();
    let trouble = ["--client", "java", "--faults", "1", "--nemesis-interval", "1s"];
    let run = a_run_with("kill-leader", &trouble).finish().ends_with(0);
    run.stands_offline();
    let clients = run.verdict()["notes"].to_string();
    assert!(clients.contains("kafka-clients ") && clients.contains("final reads by librdkafka"), "{clients}");
    let (mut polled, mut reread) = (0_u64, 0_u64);
    run.each_op(|op| {
        if let (Body::Poll(Some(records)), OpType::Ok) = (&op.body, op.op_type) {
            let count: usize = records.0.iter().map(|(_, records)| records.len()).sum();
            *(if op.extra.is_final { &mut reread } else { &mut polled }) += count as u64;
        }
    });
    // Two consumers read everything that was acknowledged while the run went on, and the finale once more.
    assert!(polled > run.acknowledged() && reread >= run.acknowledged(), "{polled} and {reread} of {}", run.acknowledged());
    println!(
        "Java's clients: {} acknowledged, {polled} read by Java, {reread} by librdkafka; {:.0} s",
        run.acknowledged(),
        run.took.as_secs_f64()
    );
}
