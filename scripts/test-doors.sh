#!/usr/bin/env bash
# The tests against clusters whose daemons a service manager runs: test-doors.sh systemd|docker [FILTER…]. One lab, brought up here and taken down at
# the end, however it ends. Not part of `make test`: each needs Debian packages of its own (make setup-doors) and some minutes.
# KCHAOS_FAULTS_MAX=20 KCHAOS_PROVED=docs/proved.jsonl: instead, so many names of the product fault × target that have no record through this door are
# proved (tests/live/product.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
manager=${1:?systemd or docker}
shift

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

cargo build --workspace --all-targets --locked --quiet
trap '"$kchaos" lab down --force' EXIT

if [ -n "${KCHAOS_FAULTS_MAX-}" ]; then
    "$kchaos" lab up --manager "$manager" --zookeeper-session-timeout 6s
    cargo test --workspace --locked --test doors -- --include-ignored --test-threads=1 --nocapture "${manager}_the_product"
    exit
fi
"$kchaos" lab up --manager "$manager"
cargo test --workspace --locked --test doors -- --include-ignored --test-threads=1 --nocapture "${@:-${manager}_}"
"$kchaos" lab down
[ $# -eq 0 ] || exit 0

# A kchaos that is killed while it makes such a lab leaves nothing that `lab down` does not find.
left() {
    find /sys/fs/cgroup -maxdepth 3 -name 'kchaos-lab-*'
    find /run/netns -name 'kchaos-*' 2>/dev/null || :
    grep kchaos /proc/self/mountinfo || :
}
for delay in 0.3 0.8 1.5 4 8; do
    "$kchaos" lab up --manager "$manager" >/dev/null 2>&1 &
    pid=$!
    sleep "$delay"
    kill -9 "$pid" 2>/dev/null || :
    wait "$pid" 2>/dev/null || :
    "$kchaos" lab down
    if [ -n "$(left)" ]; then
        echo "killed after $delay s, kchaos lab up --manager $manager left:" >&2
        left >&2
        exit 1
    fi
done
echo "a kchaos killed at 5 moments of lab up --manager $manager left nothing"
