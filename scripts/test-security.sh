#!/usr/bin/env bash
# The tests of clusters that do not let everybody in, on a lab of their own that is brought up here and taken down at the end, however it ends: Kafka 2.5.0,
# brokers 0, 1 and 2, TLS, SCRAM, ACLs with the least that kchaos needs, ZooKeeper with SASL. Not part of `make test`.
# Words after the script's name choose among the tests (tests/live/security.rs).
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

cargo build --workspace --all-targets --locked --quiet
trap '"$kchaos" lab down --force' EXIT
"$kchaos" lab up --kafka-version "${KCHAOS_KAFKA:-2.5.0}" --first-broker-id 0 --zookeeper-session-timeout 6s \
    --security tls,scram-sha-512 --acls --zookeeper-sasl
cargo test --workspace --locked --test live -- --include-ignored --test-threads=1 --nocapture "${@:-security::secured}"
