#!/usr/bin/env bash
# Does some test notice each way in which kchaos can be wrong on purpose? (docs/mutants.md)
# Builds with the feature `mutants`, lists them, and for each runs the test executables that could notice it, most likely first, up to the first that
# fails. A line for each goes into docs/mutants.jsonl, of which the table in docs/mutants.md is made. At the end, however it ends, everything is built
# without the feature again.
#   scripts/mutants.sh [PREFIX…]     only the mutants whose names begin so, as in `blind: class:sends/`
#   KCHAOS_MUTANTS_AGAIN=1           also those that have a line already (one that survived is always tried again)
#   KCHAOS_MUTANTS_SECONDS=900       begins none after so long
set -euo pipefail
cd "$(dirname "$0")/.."
records=docs/mutants.jsonl
seconds_max=${KCHAOS_MUTANTS_SECONDS:-1000000}
# Two sets of features take turns in one target directory.
export CARGO_INCREMENTAL=0
scratch=$(mktemp -d)

tidy() {
    rm -rf "$scratch"
    echo 'built without the feature again'
    cargo build --workspace --all-targets --locked --quiet
    if target/debug/kchaos --version | grep -q 'feature mutants'; then
        echo 'target/debug/kchaos is still a mutant' >&2
        exit 1
    fi
}
trap tidy EXIT

cargo build --workspace --all-targets --locked --features mutants --message-format json-render-diagnostics >"$scratch/build.jsonl"
mapfile -t mutants < <(target/debug/kchaos list mutants 2>/dev/null)
# Package, name, executable. What needs a cluster, or another package's hands, is left out; benchmarks and examples are no tests.
jq -r 'select(.reason == "compiler-artifact" and .executable != null and .profile.test and (.target.kind | index("bench") | not))
    | [(.manifest_path | split("/")[-2]), .target.name, (.target.kind[0]), .executable, (.manifest_path | rtrimstr("/Cargo.toml"))] | @tsv' \
    "$scratch/build.jsonl" |
    grep -vP '^(lab|disk|cluster|columns)\t|\t(live|doors|clocks|netem|mutants)\ttest\t' |
    sed "s/^$(basename "$PWD")\t/kchaos\t/" >"$scratch/executables"

# These run in the directory of their package, as cargo would have it.
export PROPTEST_CASES=16 PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=1 KCHAOS_LAB_DIR=$scratch/no-lab
unset KCHAOS_WRITE_DOCS KCHAOS_UPDATE_DOCS INSTA_UPDATE KCHAOS_INVENTORY
try() { # mutant, seconds, executable, directory
    (cd "$4" && KCHAOS_MUTANT=$1 INSTA_UPDATE=no timeout "$2" nice "$3" >"$scratch/output" 2>&1 </dev/null)
}

# The crates that could notice, each of which has the mutant in it, and names of executables that are asked first.
reach() {
    case $1 in
    class:*) echo 'workloads kchaos|kchaos_workloads' ;;
    slo:* | exit:*) echo 'kchaos|kchaos' ;;
    proof:* | mended:* | holds:*) echo 'nemeses kchaos|processes network cuts kchaos_nemeses halts' ;;
    *) echo 'checkers synth bodies kchaos core|twins rules hears order cycles transactions delivery kchaos_checkers kchaos registers admin offsets told' ;;
    esac
}
touch "$records"
# What is no mutant any more has no line.
printf '%s\n' "${mutants[@]}" | jq -R . | jq -s . >"$scratch/names.json"
jq -c --slurpfile names "$scratch/names.json" 'select(.mutant as $m | $names[0] | index($m))' "$records" >"$scratch/kept" && cp "$scratch/kept" "$records"

# Those to be tried: asked for, and without a line that says who noticed.
jq -r 'select(.noticed_by != null) | .mutant' "$records" >"$scratch/noticed"
wanted=()
for mutant in "${mutants[@]}"; do
    is_asked=
    [ $# -gt 0 ] || is_asked=yes
    for prefix in "$@"; do [[ $mutant == "$prefix"* ]] && is_asked=yes; done
    case $mutant in
    # Of the world, not of kchaos: scripts/mutants-live.sh.
    inert:* | unmended:* | undo:*) continue ;;
    # Looks at hosts, whose tests on this machine take minutes each: only when they are asked for.
    proof:* | mended:* | holds:*) [ $# -gt 0 ] || continue ;;
    esac
    [ -n "$is_asked" ] || continue
    if [ -n "${KCHAOS_MUTANTS_AGAIN-}" ] || ! grep -qxF -- "$mutant" "$scratch/noticed"; then
        wanted+=("$mutant")
    fi
done
echo "== ${#wanted[@]} of ${#mutants[@]} mutants are to be tried"
[ ${#wanted[@]} -gt 0 ] || exit 0
crates=" $(for mutant in "${wanted[@]}"; do reach "$mutant"; done | cut -d'|' -f1 | sort -u | tr '\n' ' ') "

echo "== nothing wrong yet: every test must pass"
: >"$scratch/timed"
while IFS=$'\t' read -r package name kind executable directory; do
    [[ $crates == *" $package "* ]] || continue
    began=$(date +%s%N)
    if ! try '' 900 "$executable" "$directory"; then
        cat "$scratch/output"
        echo "$package $name fails with nothing wrong in it" >&2
        exit 1
    fi
    took_ms=$((($(date +%s%N) - began) / 1000000))
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$took_ms" "$package" "$name" "$kind" "$executable" "$directory" >>"$scratch/timed"
    printf '%7d ms  %s %s\n' "$took_ms" "$package" "$name"
done <"$scratch/executables"

ordered() { # mutant: its executables, most likely first, then the quick before the slow
    local crates first
    IFS='|' read -r crates first <<<"$(reach "$1")"
    awk -F'\t' -v OFS='\t' -v crates=" $crates " -v first="$first" '
        BEGIN { n = split(first, names, " "); for (i = 1; i <= n; i++) rank[names[i]] = i }
        index(crates, " " $2 " ") { print ($3 in rank ? rank[$3] : 100), $0 }' "$scratch/timed" | sort -t$'\t' -k1,1n -k2,2n
}

survived=0
for mutant in "${wanted[@]}"; do
    if [ $SECONDS -gt "$seconds_max" ]; then
        echo 'the time is up; the rest is for the next call'
        break
    fi
    noticed=
    asked=0
    while IFS=$'\t' read -r _ took_ms package name kind executable directory; do
        asked=$((asked + 1))
        status=0
        try "$mutant" $((took_ms / 100 + 60)) "$executable" "$directory" || status=$?
        [ $status -eq 0 ] && continue
        test=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$scratch/output" | sed 's/ - should panic$//' | sort | sed -n 1p)
        failed=$(grep -c '^test .* \.\.\. FAILED$' "$scratch/output" || true)
        [ $status -eq 124 ] && test='it came to no end'
        where=$package/tests/$name.rs
        [ "$kind" = test ] || where=$package/src
        [ "$package" = kchaos ] && where=${where#kchaos/}
        noticed="$where: ${test:-it ended with $status}"
        break
    done < <(ordered "$mutant")
    case $mutant in
    proof:* | mended:* | holds:*) [ -n "$noticed" ] || { printf '%-44s not noticed here: scripts/mutants-live.sh\n' "$mutant"; continue; } ;;
    esac
    line=$(jq -nc --arg mutant "$mutant" --arg noticed "$noticed" --argjson failed "${failed:-0}" --argjson asked "$asked" --arg date "$(date -u +%F)" \
        '{date: $date, mutant: $mutant, noticed_by: (if $noticed == "" then null else $noticed end), failed: (if $noticed == "" then 0 else $failed end), executables_asked: $asked}')
    jq -c --arg m "$mutant" 'select(.mutant != $m)' "$records" >"$scratch/kept" && cp "$scratch/kept" "$records"
    printf '%s\n' "$line" >>"$records"
    if [ -n "$noticed" ]; then
        printf '%-44s %s\n' "$mutant" "$noticed"
    else
        survived=$((survived + 1))
        printf '%-44s SURVIVED (%d executables)\n' "$mutant" "$asked"
    fi
done
echo "$survived survived, $SECONDS s"
