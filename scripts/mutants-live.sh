#!/usr/bin/env bash
# The mutants whose tests are clusters (docs/mutants.md): looks at whether a fault bit, holds and is mended. On a lab of its own.
#   inert     every fault that the lab can bear does nothing: none may be called in force, and the run proves nothing
#   proof     nor is it looked at whether they bit: now they are called in force, so it was this look that noticed; renewals notice too
#   holds     nor do renewals look: now nobody notices, and the run is green
#   unmended  mending does nothing: the engine sees it, and the host's own undo script mends
#   mended    nor is it looked at whether it is mended: nobody mends, and the cluster is never whole again
#   undo      what the host keeps to mend itself does nothing either: exit code 5
# Words choose among these parts. A line for each goes into docs/mutants.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=${*:-inert proof holds unmended undo mended}
kchaos=target/debug/kchaos
wrong=$PWD/target/mutants/kchaos
results=${KCHAOS_MUTANTS_RESULTS:-$PWD/target/mutants/results}
records=docs/mutants.jsonl
# Each is a run of its own, since what is not mended is in the way of the next.
unmended=${KCHAOS_MUTANTS_UNMENDED:-pause-leader isolate-follower change-config}
# Not what the cluster is asked for: a host keeps no means for it, and whoever reads what it keeps asks the cluster (seen: put back, and rightly exit code 0).
undone=${KCHAOS_MUTANTS_UNDONE:-pause-leader isolate-follower}

if [ ! -x "$wrong" ] || [ -n "${KCHAOS_MUTANTS_BUILD-}" ]; then
    cargo build --workspace --all-targets --locked --quiet --features mutants
    mkdir -p target/mutants
    cp $kchaos "$wrong"
fi
cargo build --workspace --all-targets --locked --quiet
if $kchaos --version | grep -q 'feature mutants'; then
    echo "$kchaos is a mutant" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo 'the lab needs root: it makes namespaces' >&2
    exit 3
fi

down() { $kchaos lab down; }
up() { $kchaos lab up --zookeeper-session-timeout 6s ${KCHAOS_LIVE_LAB-}; }
trap down EXIT
up

failures=0
lapsed_then=()
complain() {
    echo "NOT AS IT SHOULD BE: $*" >&2
    failures=$((failures + 1))
}
fault_of() { # nemesis
    case $1 in deposed-leader) echo depose ;; bridge) echo partition ;; *) $wrong list mutants 2>/dev/null | sed -n 's/^inert://p' | awk -v n="$1" '(n == $0 || index(n, $0 "-") == 1) && length($0) > length(best) { best = $0 } END { print best }' ;; esac
}
mutants_of() { # kind, nemeses…
    local kind=$1 nemesis
    shift
    for nemesis in "$@"; do printf '%s:%s,' "$kind" "$(fault_of "$nemesis")"; done
}
run() { # part, mutants, nemeses…: exit code in $code, the run's directory in $directory
    local part=$1 mutants=$2
    shift 2
    code=0
    KCHAOS_MUTANT=$mutants $wrong test --progress none --nemesis "$(IFS=,; echo "$*")" --faults $# --nemesis-interval 300ms --nemesis-duration 1500ms \
        --time-limit 900s --results "$results" >"$results/$part.txt" 2>"$results/$part.err" || code=$?
    directory=$(readlink -f "$results/latest")
    echo "$part: $# faults, exit $code, $(jq -c '[.reasons[].name] | unique' "$directory/verdict.json"), $(jq -r .sentence "$directory/verdict.json" | cut -c1-300)"
}
record() { # mutant, noticed by (nothing: it survived)
    local line kept
    line=$(jq -nc --arg mutant "$1" --arg noticed "$2" --arg date "$(date -u +%F)" \
        '{date: $date, mutant: $mutant, noticed_by: (if $noticed == "" then null else $noticed end), failed: (if $noticed == "" then 0 else 1 end), executables_asked: 1}')
    kept=$(jq -c --arg m "$1" 'select(.mutant != $m)' $records)
    printf '%s\n%s\n' "$kept" "$line" | grep . >$records.new
    mv $records.new $records
}
mkdir -p "$results"

# The first target of each fault that the lab can bear.
inert_names() {
    local listed not fault
    listed=$($kchaos list nemeses)
    not=$(sed -n 's/^  not \([a-z-]*\).*/\1/p' <<<"$listed")
    names=$(sed -n '/^Nemeses/,/^$/p' <<<"$listed" | tr -s ' ' '\n')
    for fault in $($wrong list mutants 2>/dev/null | sed -n 's/^inert://p'); do
        grep -qx -- "$fault" <<<"$not" && continue
        case $fault in
        depose) echo deposed-leader ;;
        partition) echo partition-halves ;;
        *) grep -xE -- "$fault(-leader)?" <<<"$names" | sed -n 1p ;;
        esac
    done
}

# Of the last run: the first answer to whether it bit, and whether it ended by itself.
bit() { jq -r --arg n "$1" 'select(.nemesis == $n and .moment == "in-effect") | .proof.proved' "$directory/faults.jsonl" | sed -n 1p; }
lapsed() { jq -r --arg n "$1" 'select(.nemesis == $n and .moment == "lease-lapsed") | .text' "$directory/faults.jsonl" | sed -n 1p | cut -c1-120; }
failed() { jq -r --arg n "$1" 'select(.nemesis == $n and .moment == "failed") | .text' "$directory/faults.jsonl" | sed -n 1p | cut -c1-160; }
healed() { jq -r --arg n "$1" 'select(.nemesis == $n and .moment == "healed") | .proof.proved' "$directory/faults.jsonl" | sed -n 1p; }
whole() { for _ in $(seq 60); do $kchaos status --format json 2>/dev/null | jq -e '[.partitions[] | select((.isr | length) < (.replicas | length))] == [] and (.brokers | length) == 3' >/dev/null && return; sleep 1; done; complain 'the cluster does not become whole'; }

mapfile -t names < <(if [ -n "${KCHAOS_MUTANTS_INERT-}" ]; then tr ' ' '\n' <<<"$KCHAOS_MUTANTS_INERT"; else inert_names; fi)
for part in $parts; do
    case $part in
    inert)
        run inert "$(mutants_of inert "${names[@]}")" "${names[@]}"
        [[ $code == 2 || $code == 3 ]] || complain "a run whose faults did nothing ended with $code"
        for nemesis in "${names[@]}"; do
            case $(bit "$nemesis") in
            false) record "inert:$(fault_of "$nemesis")" "scripts/mutants-live.sh: a run of $nemesis is not proved" && echo "  $nemesis: noticed: $(failed "$nemesis")" ;;
            true) record "inert:$(fault_of "$nemesis")" '' && complain "$nemesis did nothing, and was called in force" ;;
            *) echo "  $nemesis: not come to: $(failed "$nemesis")" ;;
            esac
        done
        ;;
    proof)
        run proof "$(mutants_of inert "${names[@]}")$(mutants_of proof "${names[@]}")" "${names[@]}"
        for nemesis in "${names[@]}"; do
            [ "$(bit "$nemesis")" = true ] || { echo "  $nemesis: not come to: $(failed "$nemesis")"; continue; }
            record "proof:$(fault_of "$nemesis")" "scripts/mutants-live.sh: $nemesis, which does nothing, is called in force"
            why=$(lapsed "$nemesis")
            echo "  $nemesis: called in force; its renewals ${why:+notice: }${why:-say nothing}"
            [ -z "$why" ] || lapsed_then+=("$nemesis")
        done
        ;;
    holds)
        [ ${#lapsed_then[@]} -gt 0 ] || { echo 'holds goes behind proof' >&2; exit 1; }
        run holds "$(mutants_of inert "${lapsed_then[@]}")$(mutants_of proof "${lapsed_then[@]}")$(mutants_of holds "${lapsed_then[@]}")" "${lapsed_then[@]}"
        for nemesis in "${lapsed_then[@]}"; do
            [ -n "$(bit "$nemesis")" ] || { echo "  $nemesis: not come to: $(failed "$nemesis")"; continue; }
            why=$(lapsed "$nemesis")
            if [ -z "$why" ]; then record "holds:$(fault_of "$nemesis")" "scripts/mutants-live.sh: $nemesis, which does nothing, is called in force to its end"; else echo "  $nemesis: $why"; fi
        done
        ;;
    unmended)
        for nemesis in $unmended; do
            run unmended "$(mutants_of unmended "$nemesis")" "$nemesis"
            jq -c '.hosts[] | select(.state != "clean") | {host, state}' "$directory/verdict.json"
            if [ "$(healed "$nemesis")" = false ]; then
                record "unmended:$(fault_of "$nemesis")" "scripts/mutants-live.sh: a run of $nemesis is not mended"
            else
                record "unmended:$(fault_of "$nemesis")" ''
                complain "$nemesis was not mended, and was called mended"
            fi
            $kchaos heal >/dev/null || complain "kchaos heal after unmended $nemesis: $?"
            whole
        done
        ;;
    undo)
        for nemesis in $undone; do
            run undo "$(mutants_of undo "$nemesis")" "$nemesis"
            jq -c '.hosts[] | select(.state != "clean") | {host, state, what}' "$directory/verdict.json" | cut -c1-300
            if [ "$code" -eq 5 ]; then
                record "undo:$(fault_of "$nemesis")" "scripts/mutants-live.sh: a run of $nemesis ends with 5"
            else
                record "undo:$(fault_of "$nemesis")" ''
                complain "what nobody mended ended with $code"
            fi
            status=0
            $kchaos heal >"$results/heal.txt" 2>&1 || status=$?
            echo "  kchaos heal: $status: $(tail -n 2 "$results/heal.txt" | tr '\n' ' ')"
            down && up # What it leaves is in the way of the next.
        done
        ;;
    mended)
        for nemesis in $undone; do
            run mended "$(mutants_of unmended "$nemesis")$(mutants_of mended "$nemesis")" "$nemesis"
            [ "$(healed "$nemesis")" = true ] && record "mended:$(fault_of "$nemesis")" "scripts/mutants-live.sh: $nemesis, which nobody mended, is called mended"
            # What a lapsed lease or the run's last look took away is gone, so the run may be green; but it has to be told.
            [ "$code" -ne 0 ] || jq -e '.notes[] | select(test("the last look still found"))' "$directory/verdict.json" ||
                complain "$nemesis was not mended, and the run is green and says nothing"
            down && up # What it leaves is in the way of the next.
        done
        ;;
    esac
done
[ $failures -eq 0 ] || { echo "$failures things were not as they should be" >&2; exit 1; }
