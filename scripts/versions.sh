#!/usr/bin/env bash
# The versions that people run, each in a lab of its own, each with a leader killed, paused and cut off under load; the table of docs/elections.md is made of what these runs wrote.
#   scripts/versions.sh                    all of them
#   scripts/versions.sh 2.8.2 4.1.1-kraft  these; what others left under target/tmp/versions stays in the table
#   scripts/versions.sh --table            no runs: the table again, of what is there
# KCHAOS_ROUNDS (2): faults of each kind.
set -uo pipefail
cd "$(dirname "$0")/.."
kchaos=${KCHAOS:-target/debug/kchaos}
records=target/tmp/versions
rounds=${KCHAOS_ROUNDS:-2}
faults=(kill-leader pause-leader isolate-leader)

if [ "${1-}" = --table ]; then
    exec scripts/versions-table.sh "$records"
fi
if [ "$(id -u)" -ne 0 ]; then
    echo 'labs need root: they are made of namespaces' >&2
    exit 3
fi

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(2.4.1 2.5.0 2.6.0 2.8.2 3.0.2 3.4.1 3.6.2 3.9.1 3.9.1-kraft 4.1.1-kraft)
mkdir -p "$records"
status=0
for name in "${names[@]}"; do
    version=${name%-kraft}
    KCHAOS_KAFKA=$version KCHAOS_JARS_ONLY=1 scripts/setup.sh || exit 3
    # Nothing is set that decides how long an election takes: it is the version's own.
    how=(--zookeeper-session-timeout unset)
    [ "$name" = "$version" ] || how=(--kraft separate)
    if ! "$kchaos" lab up --kafka-version "$version" "${how[@]}"; then
        "$kchaos" lab down
        status=3
        continue
    fi
    for fault in "${faults[@]}"; do
        directory=$records/$name/$fault
        rm -rf "$directory"
        mkdir -p "$directory"
        code=0
        "$kchaos" test --nemesis "$fault" --faults "$rounds" --time-limit 5m --partitions 3 --progress none --results "$directory" || code=$?
        [ "$code" -eq 0 ] || { echo "$name $fault: exit $code" >&2; status=1; }
    done
    "$kchaos" lab down || exit 3
done
scripts/versions-table.sh "$records"
exit "$status"
