//! What is late and must not count any more: the end of a transaction that ends the next one (KAFKA-17754), and records that come after their
//! transaction has ended (KAFKA-14402, KIP-890).
//!
//! Each wants a lab of its own, and the second an old Kafka as well: `scripts/test-late.sh` brings them up. Not in `make test`.

use crate::lab::Lab;
use crate::run::{Call, a_run_with};

/// The client's own limits are shorter than the fault, so it has gone on when what it said arrives.
const IMPATIENT: [&str; 4] = ["-X", "socket.timeout.ms=2000", "-X", "request.timeout.ms=1500"];

/// A send is given up, and its transaction aborted, while the brokers that lead are out of the clients' reach: their kernels still have it. Many
/// partitions, so that few transactions come after it on its own.
fn sends_that_come_late() -> Call {
    let load = ["--workload", "transactions", "--producers", "5", "--partitions", "30", "--rate", "8", "--txn-size", "2"];
    let plain = ["--txn-aborts", "0", "--txn-zombies", "0", "--txn-timeout", "10s", "-X", "message.timeout.ms=4000"];
    let trouble = ["--faults", "5", "--nemesis-interval", "2s", "--nemesis-duration", "6s"];
    a_run_with("cut-clients-leader", &load).and(&plain).and(&IMPATIENT).and(&trouble)
}

#[test]
#[ignore = "needs root and a lab whose transactions have one coordinator"]
fn the_late_end_of_a_transaction_ends_the_next_one() {
    Lab::that_is_whole();
    let load = ["--workload", "transactions", "--producers", "1", "--partitions", "1", "--rate", "3"];
    let long = ["--txn-aborts", "0.5", "--txn-zombies", "0", "--txn-pause", "400ms"];
    let trouble = ["--faults", "8", "--nemesis-interval", "1s", "--nemesis-duration", "4s"];
    let run = a_run_with("delay-connection-txn-coordinator", &load).and(&long).and(&IMPATIENT).and(&trouble).finish().ends_with(1);
    let found = ["G1a", "dirty-read", "lso-passed", "lost-write", "torn-transaction"].map(|name| (name, run.count_of(name)));
    assert!(found.iter().any(|(_, count)| *count > 0), "{}", run.verdict()["anomalies"]);
    let told = std::fs::read_to_string(run.directory.join("clients.log")).expect("the clients' log");
    assert!(told.contains("EndTxn"), "the client gave the end up that came late");
    run.stands_offline();
    println!("KAFKA-17754: {found:?}; {:.0} s", run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and a lab of Kafka 2.8.2"]
fn older_brokers_take_a_late_send_into_a_transaction_that_has_ended() {
    Lab::that_is_whole();
    let run = sends_that_come_late().finish().ends_with(1);
    let found = ["lso-stall", "G1a"].map(|name| (name, run.count_of(name)));
    assert!(found.iter().any(|(_, count)| *count > 0), "{}", run.verdict()["anomalies"]);
    run.stands_offline();
    println!("late sends, Kafka 2.8.2: {found:?}; {:.0} s", run.took.as_secs_f64());
}

#[test]
#[ignore = "needs root and a lab of Kafka 3.6 or later"]
fn later_brokers_refuse_a_late_send() {
    Lab::that_is_whole();
    let run = sends_that_come_late().finish().ends_with(0);
    run.each_was_proved_and_mended();
    run.stands_offline();
    println!("late sends, refused: {:.0} s", run.took.as_secs_f64());
}
