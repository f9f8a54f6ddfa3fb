#!/bin/sh
# Asks the kafka server of this host to stop in good order (SIGTERM): kafka-server-stop.sh [SETTINGS_FILE]
#
# A process is found by its main class, and by the settings file if one is given, each of which must be exactly one of its
# arguments: never by a part of its command line. Returns at once; the daemon may take a while to go.
set -eu

main_class=kafka.Kafka
settings=${1:-}
found=
for process in /proc/[0-9]*; do
    arguments=$(tr '\0' '\n' <"$process/cmdline" 2>/dev/null) || continue
    printf '%s\n' "$arguments" | grep -qxF "$main_class" || continue
    [ -z "$settings" ] || printf '%s\n' "$arguments" | grep -qxF "$settings" || continue
    kill -TERM "${process#/proc/}" && found=1
done
[ -n "$found" ] || { echo "No kafka server to stop" >&2; exit 1; }
