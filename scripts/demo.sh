#!/usr/bin/env bash
# The main job, on a real cluster that this script brings up and takes down: kills of partition leaders while clients write and read.
# The lab's ZooKeeper session is 6 s here (Kafka's default is 18 s), so that three kills fit into a minute and a half; the report says so.
set -euo pipefail
kchaos=${1:?the kchaos binary}
started=$SECONDS

"$kchaos" lab up --zookeeper-session-timeout 6s
trap '"$kchaos" lab down --force' EXIT

status=0
"$kchaos" test --workload append --nemesis kill-leader --faults 3 --nemesis-interval 3s --nemesis-duration 8s || status=$?
echo "demo: exit code $status after $((SECONDS - started)) s; the report is $(readlink -f results/latest)/report.html"
exit "$status"
