#!/usr/bin/env bash
# The tests of disks of FUSE: the disk itself under a real mount, then what Kafka makes of it, on two labs that are brought up here and taken down at
# the end, however it ends. Not part of `make test`.
# Words after the script's name choose among the tests of the lab (tests/live/fuse.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests of disks need root: they mount' >&2
    exit 3
fi

cargo build --workspace --all-targets --locked --quiet
[ $# -gt 0 ] || cargo test --workspace --locked --quiet --test mounted -- --ignored

trap '"$kchaos" lab down --force' EXIT
"$kchaos" lab up --zookeeper-session-timeout 6s --disks fuse
cargo test --workspace --locked --test live -- --include-ignored --test-threads=1 --nocapture --skip fuse::flushing "${@:-fuse::}"
"$kchaos" lab down
[ $# -eq 0 ] || exit 0

"$kchaos" lab up --zookeeper-session-timeout 6s --disks fuse --set log.flush.interval.messages=1
cargo test --workspace --locked --test live -- --include-ignored --test-threads=1 --nocapture fuse::flushing
