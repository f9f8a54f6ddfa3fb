//! Transactions: what aborts is never shown to readers of committed, zombies are fenced, and a reader of uncommitted is caught.

use kchaos_core::{Body, MicroOp, OpType};

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const SEED: &str = "20260704";

#[test]
#[ignore = "needs root and the lab"]
fn readers_of_uncommitted_are_shown_aborted_transactions_and_readers_of_committed_are_not() {
    Lab::that_is_whole();
    let transactions = |more: &[&str]| {
        let load = ["--workload", "transactions", "--time-limit", "5s", "--txn-zombies", "0.1", "--seed", SEED];
        a_run_with("none", &load).and(more).finish()
    };

    let unsafe_one = transactions(&["--isolation", "read_uncommitted"]).ends_with(1);
    let aborted = unsafe_one.count_of("G1a");
    assert!(aborted > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.stands_offline();

    let safe_one = transactions(&[]).ends_with(0);
    safe_one.stands_offline();
    let [ok, fail, zombies] = safe_one.transactions();
    assert!(ok > 20 && fail > 0 && zombies > 0, "{ok} committed, {fail} aborted, {zombies} zombies");
    println!(
        "transactions: {aborted} aborted values read uncommitted, none committed; {ok} committed, {fail} aborted, {zombies} of them zombies'; \
         {:.0} s and {:.0} s",
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

impl Finished {
    /// How many transactions with sends were ok, and how many failed; and how many of these because a second producer took over.
    fn transactions(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        self.each_op(|op| {
            let Body::Txn(parts) = &op.body else { return };
            if !parts.iter().any(|part| matches!(part, MicroOp::Send(_))) {
                return;
            }
            match op.op_type {
                OpType::Ok => counts[0] += 1,
                OpType::Fail => {
                    counts[1] += 1;
                    counts[2] += usize::from(op.error.as_deref().is_some_and(|error| error.contains("a second producer")));
                }
                OpType::Invoke | OpType::Info => {}
            }
        });
        counts
    }
}
