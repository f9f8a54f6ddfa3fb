#!/usr/bin/env bash
# Clusters without ZooKeeper, on labs that are brought up here and taken down at the end, however it ends: separate controllers and brokers that are
# controllers too, of the newest Kafka that has both and of the newest of all. About half an hour; not part of `make test`.
# Words after the script's name choose among the tests (tests/live/kraft.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
newest=4.1.1

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

KCHAOS_KAFKA=$newest scripts/setup.sh
cargo build --workspace --all-targets --locked --quiet

trap '"$kchaos" lab down --force' EXIT
# LAB…: a lab with these options, and all tests in it.
in_a_lab() {
    echo "== kchaos lab up $*"
    "$kchaos" lab up "$@"
    cargo test --workspace --locked --quiet --test live -- --include-ignored --test-threads=1 --nocapture "kraft::${chosen-}"
    "$kchaos" lab down
}

chosen=${1-}
in_a_lab --kraft separate
in_a_lab --kraft combined
in_a_lab --kraft separate --kafka-version "$newest"
