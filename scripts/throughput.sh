#!/usr/bin/env bash
# How many writes a second kchaos drives with recording, reading and checking on, beside Kafka's own ProducerPerformance with as many
# ConsumerPerformance readers: same lab, same settings, in turn. Prints a table; docs/performance.md says what was seen.
#   scripts/throughput.sh [ROUNDS [SECONDS [BYTES]]]
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=${KCHAOS:-target/debug/kchaos}
rounds=${1:-3}
seconds=${2:-15}
sizes=${3:-100 1024}
readers=2
version=3.9.1

if [ "$(id -u)" -ne 0 ]; then
    echo 'this needs root: it makes a lab of namespaces' >&2
    exit 3
fi
[ -n "${KCHAOS-}" ] || cargo build --locked --quiet
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# One that is up already is somebody else's: it is refused here, and not taken down.
"$kchaos" lab up --kafka-version "$version" >/dev/null
trap '"$kchaos" lab down >/dev/null; rm -rf "$scratch"' EXIT
bootstrap=$(sed -n "s/^bootstrap = //p" "${KCHAOS_LAB_DIR:-/var/lib/kchaos/lab}/kchaos.toml" | jq -r "join(\",\")")
export CLASSPATH="${KCHAOS_CACHE:-/var/cache/kchaos}/kafka-$version/*"

# What clients of both sides are set to.
linger_ms=5
batch_bytes=1000000

# FILE COMMAND…: the CPU seconds of a command into a file. In the clients' namespace.
in_lab() {
    local cpu=$1
    shift
    /usr/bin/time --quiet -o "$cpu" -f '%U %S' nsenter --net=/run/netns/kchaos-net "$@"
}

# SIZE ROUND: records a second, and CPU microseconds a record.
by_java() {
    local topic="throughput-$1-$2" reader pids=()
    in_lab "$scratch/cpu-topic" java org.apache.kafka.tools.TopicCommand --bootstrap-server "$bootstrap" --create --topic "$topic" \
        --partitions 3 --replication-factor 3 --config min.insync.replicas=2 >/dev/null
    for reader in $(seq "$readers"); do
        in_lab "$scratch/cpu-reader$reader" java org.apache.kafka.tools.ConsumerPerformance --bootstrap-server "$bootstrap" --topic "$topic" \
            --messages "$records" --group "$topic-$reader" --timeout 60000 --hide-header >"$scratch/reader$reader" 2>&1 &
        pids+=($!)
    done
    sleep 3
    in_lab "$scratch/cpu-producer" java org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records "$records" --record-size "$1" \
        --throughput -1 --producer-props bootstrap.servers="$bootstrap" acks=all linger.ms="$linger_ms" batch.size="$batch_bytes" \
        >"$scratch/producer"
    wait "${pids[@]}"
    # The whole, its own start-up left out: the first of its reports (5 s) is of a machine that still compiles.
    local rate
    rate=$(awk -F'[ ,]+' '/records\/sec/ { if ($0 ~ /99th/) whole = $4; else if (!first) first = $4; else { sum += $4; n++ } }
        END { print n ? sum / n : whole }' "$scratch/producer")
    awk -v rate="$rate" -v n="$records" '{ cpu += $1 + $2 } END { printf "%.0f %.1f\n", rate, cpu / n * 1e6 }' "$scratch"/cpu-producer "$scratch"/cpu-reader*
}

by_kchaos() {
    "$kchaos" test --workload append --nemesis none --rate 400000 --producers 1 --consumers "$readers" --value-bytes "$1" --in-flight 50000 \
        --time-limit "${seconds}s" -X "linger.ms=$linger_ms" -X "batch.size=$batch_bytes" --progress none --results "$scratch/results" >"$scratch/told" 2>&1 ||
        { cat "$scratch/told" >&2; exit 1; }
    local run
    run=$(ls -d "$scratch"/results/2*)
    # What was acknowledged in the seconds that the load was whole in.
    jq -r --slurpfile verdict "$run/verdict.json" '
        (.phases | map({(.[0]): .[1]}) | add) as $at | ($at.trouble / 1e9 | ceil) as $from | ($at.after / 1e9 | floor) as $to |
        (.series.points[$from:$to] | map(.ok) | add / length) as $rate |
        ($verdict[0].load | map(.ok) | add) as $acked | $verdict[0].resources as $spent |
        "\($rate | floor) \(($spent.cpu_s / $acked * 1e7 | round) / 10) \($spent.resident_max_mib | round)"' "$run/latency.json"
    rm -rf "$scratch/results"
}

echo "records a second (CPU µs a record): ProducerPerformance with $readers ConsumerPerformance, and kchaos with $readers readers, recorded and checked"
for bytes in $sizes; do
    # Enough for several of its reports.
    records=$((bytes < 1000 ? 3000000 : 1000000))
    for round in $(seq "$rounds"); do
        read -r java_rate java_cpu < <(by_java "$bytes" "$round")
        read -r our_rate our_cpu our_mib < <(by_kchaos "$bytes")
        awk -v b="$bytes" -v j="$java_rate" -v jc="$java_cpu" -v k="$our_rate" -v kc="$our_cpu" -v m="$our_mib" \
            'BEGIN { printf "%5d bytes: %8.0f (%.1f)   %8.0f (%.1f, %d MiB)   ratio %.2f\n", b, j, jc, k, kc, m, k / j }'
    done
done
