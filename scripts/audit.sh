#!/usr/bin/env bash
# What is linked into kchaos, held against deny.toml by cargo-deny (fetched and built if it is missing: about 5 minutes).
# Advisories come from a git repository; where that cannot be reached it is said, and the rest is checked.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v cargo-deny >/dev/null 2>&1 || [ -x target/tools/bin/cargo-deny ] ||
    CARGO_TARGET_DIR=$PWD/target/tools-build cargo install --quiet --locked --root target/tools cargo-deny
PATH=$PWD/target/tools/bin:$PATH
cargo deny --locked check licenses bans sources
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if cargo deny --locked check advisories >"$log" 2>&1; then
    tail -n 1 "$log"
elif grep -q 'failed to fetch advisory database' "$log"; then
    echo 'audit: the advisory database cannot be reached from here: no advisory was looked at'
else
    cat "$log" >&2
    exit 1
fi
