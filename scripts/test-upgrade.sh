#!/usr/bin/env bash
# Plans with steps (docs/plans.md), on labs that are brought up here and taken down at the end, however it ends: a rolling upgrade with ZooKeeper, one
# of KRaft, the migration from one to the other, and what steps do and refuse. About twenty minutes; not part of `make test`.
# A word after the script's name chooses: zookeeper, kraft or migration.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

# What an upgrade leads to must be there before the lab is brought up.
for version in 2.8.2 3.9.1 4.1.1; do
    KCHAOS_KAFKA=$version scripts/setup.sh
done
cargo build --workspace --all-targets --locked --quiet

trap '"$kchaos" lab down --force' EXIT
# FILTER LAB…: a lab with these options, and the tests whose names hold FILTER.
in_a_lab() {
    filter=$1
    shift
    echo "== kchaos lab up $*"
    "$kchaos" lab up "$@"
    cargo test --workspace --locked --quiet --test live -- --include-ignored --test-threads=1 --nocapture "steps::$filter"
    "$kchaos" lab down
}

case ${1-all} in
all | zookeeper)
    in_a_lab brokers_are_upgraded --zookeeper-session-timeout 6s --kafka-version 2.8.2
    in_a_lab settings_are_set --zookeeper-session-timeout 6s
    in_a_lab a_run_that_is_killed --zookeeper-session-timeout 6s
    ;;&
all | kraft) in_a_lab controllers_and_brokers --kraft separate ;;&
all | migration) in_a_lab a_cluster_migrates --zookeeper-session-timeout 6s --migration ;;&
all | zookeeper | kraft | migration) ;;
*)
    echo "there is no lab \"$1\": zookeeper, kraft or migration" >&2
    exit 254
    ;;
esac
