#!/usr/bin/env bash
# The tests of racks and of readers that followers serve, on a lab of their own that is brought up here and taken down at the end, however it ends: four
# brokers dealt to three racks. About four minutes; not part of `make test`.
# Words after the script's name choose among the tests (tests/live/racks.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

cargo build --workspace --all-targets --locked --quiet
trap '"$kchaos" lab down --force' EXIT
"$kchaos" lab up --brokers 4 --racks a,b,c --zookeeper-session-timeout 6s \
    --set replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector
cargo test --workspace --locked --test live -- --include-ignored --test-threads=1 --nocapture "${@:-racks::}"
