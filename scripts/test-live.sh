#!/usr/bin/env bash
# The tests against real clusters, one after another: they share the machine, and there is one lab at a time.
# The lab's own tests run in a sandbox. The others use one lab with a ZooKeeper session of 6 s: the one that is up, which is left as it is, or one
# that is brought up here and taken down at the end, however it ends.
# A second lab, with other settings, is for `disks::flushing`, at night; with a lab that was up already it is left out.
# Words after the script's name choose among the tests of the whole tool (tests/live), and only these run then.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
network=/run/netns/kchaos-net

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

# What was built for the whole workspace is run as it is: built for one package alone, half of the dependencies would be built once more, with other features.
cargo test --workspace --locked --no-run --quiet
built() {
    cargo test --workspace --locked --no-run --message-format=json 2>/dev/null |
        jq -r --arg source "$PWD/$1" 'select(.reason == "compiler-artifact" and .executable != null and .target.src_path == $source) | .executable'
}

step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

if [ $# -eq 0 ]; then
    step 'the lab itself'
    if [ -c /dev/fuse ]; then
        tests=$(built disk/tests/mounted.rs)
        (cd disk && "$tests" --ignored)
    else
        echo 'no /dev/fuse: the disks of FUSE are not tried here'
    fi
    tests=$(built lab/tests/live.rs)
    (cd lab && "$tests" --ignored)
fi

step 'a lab to work with'
cargo build --workspace --all-targets --locked --quiet
if "$kchaos" lab status >/dev/null 2>&1; then
    echo 'a lab is up already: it is used, and left'
    ours=
else
    # Whatever a half-made lab left is in the way of `up`, and `down` after a failed `up` has nothing to do.
    trap '"$kchaos" lab down --force' EXIT
    # shellcheck disable=SC2086
    "$kchaos" lab up --zookeeper-session-timeout 6s --disks loop ${KCHAOS_LIVE_LAB-}
    ours=yes
fi

if [ $# -eq 0 ]; then
    step 'the view of a cluster'
    # They want some topic to be there, and a client inside the lab's network.
    "$kchaos" test --time-limit 1s --keep-topic --progress none --results target/tmp/test-live >/dev/null
    tests=$(built cluster/tests/live_view.rs)
    (cd cluster && KCHAOS_INVENTORY=${KCHAOS_LAB_DIR:-/var/lib/kchaos/lab}/kchaos.toml nsenter --net="$network" "$tests" --ignored --test-threads=1)
fi

step 'the whole tool'
# What takes half an hour has a command of its own (scripts/test-safety.sh).
skip=(--skip safety:: --skip kills::)
case "$*" in *safety* | *kills*) skip=() ;; esac
# Twins whose like is tried in every `make test` by others, and long ones (Java's clients, overlapping faults and their replay, a rolling restart); `make test-nightly` tries
# them as well.
nightly=(
    bank::a_bank_without_transactions
    client::java_clients
    client_hosts::acks_1
    client_hosts::clients_on_two_hosts
    conditions::
    disks::a_disk_that_fails_under_one_broker
    disks::power_loss_of_all_brokers
    elections::
    faults::cuts_are_proved_in_force_and_mended_with_iptables
    groups::a_group_that_commits_what_it_has_not_processed
    groups::offsets_beside_the_transaction
    leftovers::a_cut_by_iptables
    moments::
    offsets::records_deleted
    order::
    promises::a_paused_leader
    registers::
    rotation::
    shrink::
    soak::
    suites::a_suite_kills_a_leader
    wide::a_plan_s_faults_overlap
    wide::a_rolling_restart
)
is_short=
if [ $# -eq 0 ] && [ "${KCHAOS_LIVE-}" != all ]; then
    is_short=yes
    for test in "${nightly[@]}"; do skip+=(--skip "$test"); done
fi
tests=$(built tests/live/main.rs)
# Disks of FUSE want a lab of their own (scripts/test-fuse.sh), and so do clusters without ZooKeeper (scripts/test-kraft.sh), racks
# (scripts/test-racks.sh), upgrades (scripts/test-upgrade.sh) and security (scripts/test-security.sh).
"$tests" --include-ignored --test-threads=1 --nocapture --skip disks::flushing --skip fuse:: --skip late:: --skip kraft:: --skip racks:: --skip steps:: --skip security::secured --skip security_elsewhere:: "${skip[@]}" "$@"

if [ -n "$ours" ] && [ -z "$is_short" ] && { [ $# -eq 0 ] || [[ " $* " == *disks* ]]; }; then
    step 'a lab whose brokers sync every message and whose daemons have clocks of their own'
    "$kchaos" lab down
    "$kchaos" lab up --zookeeper-session-timeout 6s --disks loop --clock faketime --set log.flush.interval.messages=1
    "$tests" --include-ignored --test-threads=1 --nocapture disks::flushing
fi
step 'done'
