#!/usr/bin/env bash
# The tests against real clusters, one after another: they share the machine, and there is one lab at a time.
# Some make what they need in namespaces of their own. The others use one lab with a ZooKeeper session of 6 s: the one that is up, which is left as
# it is, or one that is brought up here and taken down at the end, however it ends.
# Words after the script's name choose among the tests of the whole tool (tests/live), and only these run then.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
network=/run/netns/kchaos-net

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
ignored=(--ignored --test-threads=1)

if [ $# -eq 0 ]; then
    step 'hosts and faults, in namespaces of their own'
    cargo test -p kchaos-cluster --locked --test ssh -- "${ignored[@]}"
    cargo test -p kchaos-nemeses --locked -- "${ignored[@]}"
    step 'the lab itself, in a sandbox'
    cargo test -p kchaos-lab --locked -- "${ignored[@]}"
fi

step 'a lab'
cargo build -p kchaos --locked
if "$kchaos" lab status >/dev/null 2>&1; then
    echo 'a lab is up already: it is used, and left'
else
    trap '"$kchaos" lab down' EXIT
    "$kchaos" lab up --zookeeper-session-timeout 6s
fi
if [ $# -eq 0 ]; then
    step 'the view of a cluster'
    inventory=$(find "${KCHAOS_LAB_DIR:-/var/lib/kchaos/lab}" -maxdepth 1 -name kchaos.toml)
    KCHAOS_INVENTORY=$inventory nsenter --net="$network" cargo test -p kchaos-cluster --locked --offline --test live_view -- "${ignored[@]}"
fi
step 'the whole tool'
cargo test -p kchaos --locked --test live -- --include-ignored --test-threads=1 --nocapture "$@"
step 'done'
