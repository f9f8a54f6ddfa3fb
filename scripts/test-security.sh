#!/usr/bin/env bash
# The tests of clusters that do not let everybody in, on labs of their own that are brought up here and taken down at the end, however it ends.
# Not part of `make test`. By default all parts, one after another; words after the script's name choose among them:
#   mistakes    Kafka 2.5.0, brokers 0, 1 and 2, TLS, SCRAM, ACLs with the least that kchaos needs, ZooKeeper with SASL: what every mistake says
#   workloads   the same lab: every workload, both faults, Java's clients
#   mechanisms  mutual TLS, SASL PLAIN and SCRAM-SHA-256, a lab each: a leader is killed
#   zookeeper   ZooKeeper by TLS, and by TLS with certificates of clients
#   kraft       controllers by themselves and in brokers; TLS, SCRAM and ACLs
# KCHAOS_KAFKA: another version of Kafka for the first two.
set -euo pipefail
cd "$(dirname "$0")/.."
kchaos=target/debug/kchaos

if [ "$(id -u)" -ne 0 ]; then
    echo 'the tests against real clusters need root: they make namespaces' >&2
    exit 3
fi

cargo build --workspace --all-targets --locked --quiet
trap '"$kchaos" lab down --force' EXIT

# in_a_lab 'OPTIONS OF LAB UP' TEST…
in_a_lab() {
    local options=$1
    shift
    printf '\n== lab up %s (%s s)\n' "$options" "$SECONDS"
    # shellcheck disable=SC2086
    "$kchaos" lab up $options
    cargo test --workspace --locked --test live -- --include-ignored --test-threads=1 --nocapture "$@"
    "$kchaos" lab down
}

old="--kafka-version ${KCHAOS_KAFKA:-2.5.0} --first-broker-id 0 --zookeeper-session-timeout 6s --security tls,scram-sha-512 --acls --zookeeper-sasl"
elsewhere=security_elsewhere

part() {
    case $1 in
    mistakes)
        in_a_lab "$old" security::secured::every_mistake security::secured::a_run_that_lacks security::secured::certificates security::secured::too_few
        ;;
    workloads)
        in_a_lab "$old" security::secured::with_the_least security::secured::java
        ;;
    mechanisms)
        for words in mutual-tls sasl-plain scram-sha-256; do
            tests=("$elsewhere::by_each_mechanism")
            [ "$words" != mutual-tls ] || tests+=("$elsewhere::by_mutual_tls")
            in_a_lab "--zookeeper-session-timeout 6s --security $words" "${tests[@]}"
        done
        ;;
    zookeeper)
        in_a_lab '--zookeeper-session-timeout 6s --zookeeper-tls mutual' "$elsewhere::by_zookeeper_tls"
        in_a_lab '--kafka-version 2.5.0 --zookeeper-session-timeout 6s --security tls,scram-sha-512 --zookeeper-tls' \
            "$elsewhere::by_zookeeper_tls::every_mistake" "$elsewhere::by_each_mechanism"
        ;;
    kraft)
        in_a_lab '--kraft separate --security tls,scram-sha-512 --acls' "$elsewhere::by_kraft"
        in_a_lab '--kraft combined --security mutual-tls --acls' "$elsewhere::by_kraft::leaders"
        ;;
    *)
        echo "$1: no part of this script; mistakes, workloads, mechanisms, zookeeper and kraft are" >&2
        exit 254
        ;;
    esac
}

for name in "${@:-mistakes workloads mechanisms zookeeper kraft}"; do
    for one in $name; do
        part "$one"
    done
done
