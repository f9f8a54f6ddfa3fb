#!/usr/bin/env bash
# What becomes of the hosts when kchaos dies, stands still or loses its network, and what it refuses: the acceptance of every fault, against a
# lab of bare hosts, and then one of systemd hosts, which can be rebooted. About 35 minutes; KCHAOS_SAFETY_KILLS (50), KCHAOS_SAFETY_FIRST (0) and
# KCHAOS_SAFETY_STOP (60 s) make it shorter or cut it into slices. Words after its name choose among the tests of the bare hosts, and only these run then.
set -euo pipefail
cd "$(dirname "$0")"
is_whole=
if [ $# -eq 0 ]; then
    is_whole=yes
    set -- kills:: safety:: leftovers:: refusals:: interruptions::
fi
# Clocks are faults too.
status=0
KCHAOS_LIVE_LAB='--clock faketime' ./test-live.sh "$@" || status=$?
# What failed there says nothing about what follows.
if [ -n "$is_whole" ]; then
    ./test-doors.sh systemd systemd_a_unit systemd_a_killed_unit systemd_a_host || status=$?
fi
exit "$status"
