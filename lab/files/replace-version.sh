#!/bin/sh
# Gives this host another version of Kafka: replace-version.sh VERSION
#
# /opt/kafka/libs leads to the jars of one of the versions that were fetched when the lab was brought up; a daemon that runs keeps those that it was
# started with. Written by kchaos for its lab.
set -eu

[ $# -eq 1 ] || { echo "USAGE: $0 VERSION" >&2; exit 1; }
if [ ! -d "/opt/kafka/versions/$1" ]; then
    there=$(cd /opt/kafka/versions && echo *)
    echo "$0: this lab has no Kafka $1 (there are: $there); KCHAOS_KAFKA=$1 scripts/setup.sh fetches it, before kchaos lab up" >&2
    exit 1
fi
ln -s "versions/$1" /opt/kafka/libs.new
mv -fT /opt/kafka/libs.new /opt/kafka/libs
