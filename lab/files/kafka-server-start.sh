#!/bin/sh
# Starts a broker or a controller: kafka-server-start.sh [-daemon] SETTINGS_FILE
#
# The name and the usage of Kafka's own script, which is in its tarball and not on Maven Central. Written for the lab.
#   KAFKA_HEAP_OPTS, KAFKA_OPTS   options for the JVM
#   LOG_DIR                       where daemon logs go (default: /var/log/kafka or /var/log/controller, with the settings file's suffix)
set -eu

daemon=
if [ "${1:-}" = -daemon ]; then
    daemon=1
    shift
fi
if [ $# -ne 1 ]; then
    echo "USAGE: $0 [-daemon] server.properties" >&2
    exit 1
fi
settings=$1
[ -r "$settings" ] || { echo "$0: cannot read $settings" >&2; exit 1; }

# /etc/kafka/server-4.properties logs to /var/log/kafka-4.
kind=kafka
suffix=
case ${settings##*/} in
server-*.properties)
    suffix=${settings##*/server}
    suffix=${suffix%.properties}
    ;;
controller*.properties)
    kind=controller
    suffix=${settings##*/controller}
    suffix=${suffix%.properties}
    ;;
esac
logs=${LOG_DIR:-/var/log/$kind$suffix}
# Who it is for ZooKeeper, if ZooKeeper asks.
jaas=
[ ! -r /etc/kafka/jaas.conf ] || jaas=-Djava.security.auth.login.config=/etc/kafka/jaas.conf
java=java
# The jars of the version that the host has now, whatever it is given later.
libs=$(readlink -f /opt/kafka/libs)
[ ! -x /opt/java/bin/java ] || java=/opt/java/bin/java

# Each thread that has moved a large message keeps a buffer of its size outside the heap; with Kafka's own heap of 1 GiB there would be room for
# some of 99 MiB.
# shellcheck disable=SC2086 # options are lists of words on purpose
set -- "$java" ${KAFKA_HEAP_OPTS:--Xmx512m -Xms256m} -XX:MaxDirectMemorySize=1g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    "-Xlog:gc*:file=$logs/kafkaServer-gc.log:time,tags:filecount=10,filesize=10M" \
    -Djava.awt.headless=true "-Dkafka.logs.dir=$logs" -Dlog4j.configuration=file:/etc/kafka/log4j.properties \
    $jaas ${KAFKA_OPTS:-} -cp "$libs/*" kafka.Kafka "$settings"

# A clock of its own, if the lab was brought up with one for each daemon. Only the wall clock: the JVM waits by the monotonic one, and with
# libfaketime's own "fix" for that every timed wait would return at once (measured: 100 waits of 1 ms took 0 ms).
id=$(sed -n -e 's/^broker\.id=//p' -e 's/^node\.id=//p' "$settings")
clock=/etc/kchaos/clock/$kind-$id
if [ -r "$clock" ]; then
    set -- env "LD_PRELOAD=$(cat /etc/kchaos/clock/library)" "FAKETIME_TIMESTAMP_FILE=$clock" FAKETIME_CACHE_DURATION=1 \
        FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0 FAKETIME_DONT_RESET=1 NO_FAKE_STAT=1 "$@"
fi

[ -n "$daemon" ] || exec "$@"
setsid "$@" >>"$logs/kafkaServer.out" 2>&1 </dev/null &
