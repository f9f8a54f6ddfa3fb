#!/usr/bin/env bash
# Clusters without ZooKeeper, on labs that are brought up here and taken down at the end, however it ends: separate controllers and brokers that are
# controllers too, of the newest Kafka that has both and of the newest of all. About half an hour; not part of `make test`.
# A word after the script's name chooses among the tests (tests/live/kraft.rs), KCHAOS_KRAFT_LABS among the labs: separate, combined, newest.
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
for lab in ${KCHAOS_KRAFT_LABS:-separate combined newest}; do
    case $lab in
        separate | combined) in_a_lab --kraft "$lab" ;;
        newest) in_a_lab --kraft separate --kafka-version "$newest" ;;
        *)
            echo "KCHAOS_KRAFT_LABS: there is no lab $lab: separate, combined, newest" >&2
            exit 254
            ;;
    esac
done
