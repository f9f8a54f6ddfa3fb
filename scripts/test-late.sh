#!/usr/bin/env bash
# What comes late in transactions, on three labs that are brought up here and taken down at the end, however it ends: KAFKA-17754 on the newest Kafka
# that has ZooKeeper, hanging transactions on one that is older than KIP-890, and their twin. Not part of `make test`.
# Words after the script's name choose among the tests (tests/live/late.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
older=2.8.2

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

KCHAOS_KAFKA=$older scripts/setup.sh
cargo build --workspace --all-targets --locked --quiet

# TEST LAB…: a lab with these options, and a test in it.
in_a_lab() {
    local test=$1
    shift
    [[ $test == *"$chosen"* ]] || return 0
    "$kchaos" lab up --zookeeper-session-timeout 6s "$@"
    cargo test --workspace --locked --quiet --test live -- --include-ignored --test-threads=1 --nocapture "late::$test"
    "$kchaos" lab down
}

chosen=${1-}
trap '"$kchaos" lab down --force' EXIT
in_a_lab the_late_end_of_a_transaction_ends_the_next_one --set transaction.state.log.num.partitions=1
in_a_lab older_brokers_take_a_late_send_into_a_transaction_that_has_ended --kafka-version "$older"
in_a_lab later_brokers_refuse_a_late_send
