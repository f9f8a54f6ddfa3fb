#!/usr/bin/env bash
# Every suite of suites/, one after another, each with a lab of its own; or those that are named: scenarios.sh compose tls.
# KCHAOS_SHORT=1: their short forms, as CI runs them. KCHAOS_LAB_OPTIONAL=1: where systemd hosts or containers cannot be, that is said and is no failure. Ends with a line for each, and with the first exit code that is not 0.
set -uo pipefail
cd "$(dirname "$0")/.."
kchaos=${KCHAOS:-target/debug/kchaos}

if [ "$(id -u)" -ne 0 ]; then
    echo 'the suites need root: their labs are made of namespaces' >&2
    exit 3
fi

suites=()
for name in "$@"; do suites+=("suites/$name.toml"); done
[ ${#suites[@]} -gt 0 ] || suites=(suites/*.toml)

# What can be wrong with a file is found before the first lab comes up.
for suite in "${suites[@]}"; do "$kchaos" suite "$suite" --check >/dev/null || exit; done
# The jars of every version that is asked for, fetched before they are waited for.
versions=$(sed -n 's/^kafka-version = "\(.*\)"$/\1/p' "${suites[@]}" | sort -u | tr '\n' ' ')
[ -z "$versions" ] || KCHAOS_KAFKA=$versions KCHAOS_JARS_ONLY=1 scripts/setup.sh || exit 3

# A machine without control groups has no systemd hosts, and one that may not run an engine no containers. Only where that is allowed for, and only if the lab never came up.
cannot_be_here() {
    [ -n "${KCHAOS_LAB_OPTIONAL-}" ] && grep -qE '^manager = "(systemd|docker)"' "$1" || return 1
    jq -er 'select(.steps == []) | .lab.trouble | select(. != null and startswith("it did not come up"))' "${KCHAOS_RESULTS:-results}/latest-suite/suite.json"
}

status=0
told=()
for suite in "${suites[@]}"; do
    began=$SECONDS
    code=0
    "$kchaos" suite "$suite" ${KCHAOS_SHORT:+--short} || code=$?
    line=$(printf '%-16s exit %-3s %4s s' "$(basename "$suite" .toml)" "$code" "$((SECONDS - began))")
    if [ "$code" -eq 3 ] && why=$(cannot_be_here "$suite"); then
        line="$line  NOT TRIED: this machine cannot have its lab: $why"
        code=0
    fi
    told+=("$line")
    [ "$status" -ne 0 ] || status=$code
    # Ctrl-C ends the suite in hand, and those behind it.
    [ "$code" -ne 4 ] || break
done
printf '\n'
printf '%s\n' "${told[@]}"
echo "all of it: $SECONDS s"
exit "$status"
