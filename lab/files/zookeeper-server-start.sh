#!/bin/sh
# Starts a ZooKeeper: zookeeper-server-start.sh [-daemon] SETTINGS_FILE
#
# The name and the usage of Kafka's own script, which is in its tarball and not on Maven Central. Written for the lab.
#   KAFKA_HEAP_OPTS, KAFKA_OPTS   options for the JVM
#   LOG_DIR                       where daemon logs go (default: /var/log/zookeeper, with the settings file's suffix)
set -eu

daemon=
if [ "${1:-}" = -daemon ]; then
    daemon=1
    shift
fi
if [ $# -ne 1 ]; then
    echo "USAGE: $0 [-daemon] zookeeper.properties" >&2
    exit 1
fi
settings=$1
[ -r "$settings" ] || { echo "$0: cannot read $settings" >&2; exit 1; }

# /etc/zookeeper/zookeeper-4.properties logs to /var/log/zookeeper-4.
suffix=
case ${settings##*/} in
zookeeper-*.properties)
    suffix=${settings##*/zookeeper}
    suffix=${suffix%.properties}
    ;;
esac
logs=${LOG_DIR:-/var/log/zookeeper$suffix}
# Who it is for ZooKeeper, if ZooKeeper asks.
jaas=
[ ! -r /etc/zookeeper/jaas.conf ] || jaas=-Djava.security.auth.login.config=/etc/zookeeper/jaas.conf
java=java
# The jars of the version that the host has now, whatever it is given later.
libs=$(readlink -f /opt/kafka/libs)
[ ! -x /opt/java/bin/java ] || java=/opt/java/bin/java

# shellcheck disable=SC2086 # options are lists of words on purpose
set -- "$java" ${KAFKA_HEAP_OPTS:--Xmx256m -Xms64m} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    "-Xlog:gc*:file=$logs/zookeeper-gc.log:time,tags:filecount=10,filesize=10M" \
    -Djava.awt.headless=true "-Dkafka.logs.dir=$logs" -Dlog4j.configuration=file:/etc/zookeeper/log4j.properties \
    $jaas ${KAFKA_OPTS:-} -cp "$libs/*" org.apache.zookeeper.server.quorum.QuorumPeerMain "$settings"

# A clock of its own, if the lab was brought up with one for each daemon. Only the wall clock: the JVM waits by the monotonic one, and with
# libfaketime's own "fix" for that every timed wait would return at once (measured: 100 waits of 1 ms took 0 ms).
id=$(cat "$(sed -n 's/^dataDir=//p' "$settings")/myid")
clock=/etc/kchaos/clock/zookeeper-$id
if [ -r "$clock" ]; then
    set -- env "LD_PRELOAD=$(cat /etc/kchaos/clock/library)" "FAKETIME_TIMESTAMP_FILE=$clock" FAKETIME_CACHE_DURATION=1 \
        FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 FAKETIME_FORCE_MONOTONIC_FIX=0 FAKETIME_DONT_RESET=1 NO_FAKE_STAT=1 "$@"
fi

[ -n "$daemon" ] || exec "$@"
setsid "$@" >>"$logs/zookeeper.out" 2>&1 </dev/null &
