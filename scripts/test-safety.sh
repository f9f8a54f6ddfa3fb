#!/usr/bin/env bash
# What becomes of the hosts when kchaos dies, stands still or loses its network, and what it refuses: the acceptance of every fault, against a
# lab. About 50 minutes; KCHAOS_SAFETY_KILLS (50), KCHAOS_SAFETY_FIRST (0) and KCHAOS_SAFETY_STOP (60 s) make it shorter or cut it into slices.
# Words after its name choose among the tests.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
    set -- kills:: safety:: leftovers:: refusals:: interruptions::
fi
# Clocks are faults too.
export KCHAOS_LIVE_LAB='--clock faketime'
exec ./test-live.sh "$@"
