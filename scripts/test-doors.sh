#!/usr/bin/env bash
# The tests against clusters whose daemons a service manager runs: test-doors.sh systemd|docker. One lab, brought up here and taken down at the end,
# however it ends. Not part of `make test`: each needs Debian packages of its own (make setup-doors) and some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos
manager=${1:?systemd or docker}
shift

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

cargo build -p kchaos --locked
trap '"$kchaos" lab down' EXIT
"$kchaos" lab up --manager "$manager"
cargo test -p kchaos --locked --test doors -- --include-ignored --test-threads=1 --nocapture "${manager}_" "$@"
