#!/usr/bin/env bash
# The tests against real clusters, one after another: they share the machine, and there is one lab at a time.
# The whole tool's own tests (tests/live) use one lab with a ZooKeeper session of 6 s: the one that is up, which is left as it is, or one that is
# brought up here and taken down at the end, however it ends. Words after the script's name choose among these tests, and only they run then.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

if [ $# -eq 0 ]; then
    # These make what they need themselves, in namespaces of their own.
    for package in kchaos-cluster kchaos-nemeses kchaos-lab; do
        step "$package"
        cargo test -p "$package" --locked -- --ignored --test-threads=1
    done
fi

step 'the whole tool'
cargo build -p kchaos --locked
if "$kchaos" lab status >/dev/null 2>&1; then
    echo 'a lab is up already: it is used, and left'
else
    trap '"$kchaos" lab down' EXIT
    "$kchaos" lab up --zookeeper-session-timeout 6s
fi
cargo test -p kchaos --locked --test live -- --include-ignored --test-threads=1 --nocapture "$@"
step 'done'
