#!/usr/bin/env bash
# Every fuzz target, or those that are named, for so many seconds each: `scripts/fuzz.sh SECONDS [TARGET…]`.
# Fails on a crash, on an input that takes longer than 20 s, on one that takes more memory than its size justifies, and when the process as a
# whole grows beyond 512 MiB. What fails is kept in fuzz/artifacts, and what was learned in fuzz/corpus.
# No sanitizer of memory: the code is safe Rust, and runs ten times as fast without (KCHAOS_SANITIZER=address asks for one, where rustc has it).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -eq 0 ]; then
    echo 'usage: scripts/fuzz.sh SECONDS [TARGET…]' >&2
    exit 254
fi
seconds=$1
shift
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo 'cargo-fuzz is not installed: cargo install cargo-fuzz --locked' >&2
    exit 3
fi
if [ $# -eq 0 ]; then
    set -- jsonl history edn columns inventory structured
fi
sanitizer=${KCHAOS_SANITIZER:-none}
# Coverage needs nothing unstable; a sanitizer does.
export RUSTC_BOOTSTRAP=1

cargo run --quiet --locked -p kchaos-fuzz-bodies --example seeds -- target/fuzz-seeds
for target in "$@"; do
    features=()
    if [ "$target" = inventory ]; then
        features=(--features inventory)
    fi
    printf '\n== %s, %s s\n' "$target" "$seconds"
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    # Assertions and checks of overflow stay on.
    cargo fuzz run --fuzz-dir fuzz --release --debug-assertions --sanitizer "$sanitizer" "${features[@]}" "$target" \
        "fuzz/corpus/$target" "target/fuzz-seeds/$target" -- \
        -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=512 -print_final_stats=1
done
