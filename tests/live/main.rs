//! What kchaos promises, seen in real runs of the built binary against a real cluster.
//!
//! `scripts/test-live.sh` brings the lab up and runs these one after another: there is one cluster, and a fault of one test is trouble to another.
//! Each test prints one line of what it measured. Durations are as short as they can be with a ZooKeeper session of 6 s (Kafka's default is 18 s).

mod bank;
mod client;
mod client_hosts;
mod conditions;
mod cut_off;
mod daemon_log;
mod discovery;
mod disks;
mod elections;
mod faults;
mod fuse;
mod groups;
mod halting;
mod inhabited;
mod interruptions;
mod kills;
mod kraft;
mod lab;
mod late;
mod least;
mod leftovers;
mod moments;
mod offsets;
mod order;
mod product;
mod promises;
mod racks;
mod refusals;
mod registers;
mod rotation;
mod rules;
mod run;
mod safety;
mod security;
mod security_elsewhere;
mod shrink;
mod soak;
mod steps;
mod suites;
mod transactions;
mod wide;
