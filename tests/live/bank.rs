//! A bank: what two sends without a transaction lose is caught, and its safe twin loses nothing under the same crashes, from a topic that was compacted.

use kchaos_core::Body;

use crate::lab::Lab;
use crate::run::{Finished, a_run_with};

const SEED: &str = "20260706";

#[test]
#[ignore = "needs root and the lab"]
fn a_bank_without_transactions_loses_money_when_a_process_crashes_and_one_with_them_does_not() {
    Lab::that_is_whole();
    let bank = |more: &[&str]| {
        a_run_with("none", &["--workload", "bank", "--time-limit", "5s", "--rate", "20", "--bank-crashes", "0.05", "--seed", SEED])
            .and(more)
            .finish()
    };

    let unsafe_one = bank(&["--bank-without-transactions"]).ends_with(1);
    let changed = unsafe_one.count_of("balance-changed");
    assert!(changed > 0, "{}", unsafe_one.verdict()["anomalies"]);
    unsafe_one.stands_offline();

    let safe_one = bank(&[]).ends_with(0);
    safe_one.stands_offline();
    let seen = safe_one.what_the_bank_did();
    assert!(seen.snapshots > 20 && seen.crashes > 0 && seen.restored > 0 && seen.removed > 0, "{seen:?}");
    println!(
        "a bank whose processes crash: without transactions {changed} of its snapshots come to another sum; with them none of {}, through {} crashes, \
         {} of {} superseded records compacted; {:.0} s and {:.0} s",
        seen.snapshots,
        seen.crashes,
        seen.removed,
        seen.superseded,
        unsafe_one.took.as_secs_f64(),
        safe_one.took.as_secs_f64()
    );
}

#[derive(Debug, Default)]
struct Seen {
    snapshots: u64,
    crashes: u64,
    /// How often accounts were read back.
    restored: u64,
    superseded: u64,
    removed: u64,
}

impl Finished {
    /// By the history.
    fn what_the_bank_did(&self) -> Seen {
        let mut seen = Seen::default();
        self.each_op(|op| match &op.body {
            Body::Nemesis { f, .. } if f == "bank-snapshot" => seen.snapshots += 1,
            Body::Nemesis { f, value } if f == "compacted-read" => {
                let sum = |name: &str| value.as_object().into_iter().flatten().filter_map(|(_, key)| key[name].as_u64()).sum::<u64>();
                seen.superseded += sum("superseded");
                seen.removed += sum("removed");
                seen.restored += u64::from(value.as_object().into_iter().flatten().all(|(_, key)| key["removed"].is_null()));
            }
            Body::Crash => seen.crashes += u64::from(op.error.as_deref().is_some_and(|error| error.contains("on purpose"))),
            _ => {}
        });
        seen
    }
}
