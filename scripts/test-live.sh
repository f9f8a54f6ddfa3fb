#!/usr/bin/env bash
# The tests against real clusters, one after another: they share the machine, and there is one lab at a time.
set -euo pipefail
if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi
for package in kchaos-cluster kchaos-nemeses kchaos-lab; do
    cargo test -p "$package" --locked -- --ignored --test-threads=1
done
cargo test -p kchaos --locked --test live -- --ignored --test-threads=1 --nocapture
