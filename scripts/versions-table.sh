#!/usr/bin/env bash
# The table of docs/elections.md, of the runs under a directory (scripts/versions.sh): one line for a version and fault. A range is from the least that an interval may have been to the most.
set -euo pipefail
cd "$(dirname "$0")/.."
records=$1
table=$(mktemp)
trap 'rm -f "$table"' EXIT

# shellcheck disable=SC2016 # the dollars are jq's
line='
def seconds($phase): [.[] | .phases[$phase] // empty | select(.at_least_ns != null and .at_most_ns != null)]
    | if length == 0 then "" else "\(map(.at_least_ns) | min / 1e8 | floor / 10) to \(map(.at_most_ns) | max / 1e8 | ceil / 10)" end;
def millis($phase): [.[] | .phases[$phase] // empty | select(.at_least_ns != null and .at_most_ns != null)]
    | if length == 0 then "" else "\(map(.at_least_ns) | min / 1e6 | floor) to \(map(.at_most_ns) | max / 1e6 | ceil)" end;
(.recovery.faults | map(.keys[]) | map(select(.phases.recovery.at_most_ns != null))) as $keys
| [ $name, $fault, ($keys | length | tostring)
  , ($keys | seconds("detection")), ($keys | millis("election")), ($keys | millis("propagation")), ($keys | millis("client")), ($keys | seconds("recovery"))
  , "\(if .valid == true then "valid" else "\(.valid)" end), \((.sentence | capture("All (?<n>[0-9,]+)").n) // "?") acknowledged" ]
| "| " + join(" | ") + " |"'

{
    echo '| Kafka | fault | elections | detection, s | election, ms | propagation, ms | client, ms | recovery, s | verdict |'
    echo '|---|---|---|---|---|---|---|---|---|'
    for directory in $(ls -d "$records"/*/ | sort -V); do
        for fault in kill-leader pause-leader isolate-leader; do
            verdict=$directory$fault/latest/verdict.json
            [ -f "$verdict" ] || continue
            jq -r --arg name "$(basename "$directory" | sed 's/-kraft/, KRaft/')" --arg fault "$fault" "$line" "$verdict"
        done
    done
} >"$table"

if [ -f docs/elections.md ]; then
    awk -v table="$table" '
        /^<!-- table -->$/ { print; while ((getline row < table) > 0) print row; inside = 1; next }
        /^<!-- end of table -->$/ { inside = 0 }
        !inside' docs/elections.md >"$table.page"
    cat "$table.page" >docs/elections.md
    rm -f "$table.page"
fi
cat "$table"
