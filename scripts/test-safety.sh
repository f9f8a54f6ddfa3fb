#!/usr/bin/env bash
# What becomes of the hosts when kchaos dies, stands still or loses its network, and what it refuses: the acceptance of every fault, against a
# lab. About 40 minutes; KCHAOS_SAFETY_KILLS (50) and KCHAOS_SAFETY_STOP (60 s) make it shorter. Words after its name choose among the tests.
set -euo pipefail
cd "$(dirname "$0")"
if [ $# -eq 0 ]; then
    set -- safety:: leftovers:: refusals:: interruptions::
fi
exec ./test-live.sh "$@"
