#!/bin/sh
# Installs what a bare Debian machine lacks to build kchaos and to run its lab. Called by `make setup`.
#
# Idempotent and quiet: says only what it does, and nothing when there is nothing to do.
#   KCHAOS_CACHE       where jars are kept (default /var/cache/kchaos)
#   KCHAOS_KAFKA       versions of Kafka to fetch, separated by spaces (default 3.9.1)
#   KCHAOS_DOORS       if set, also what labs of systemd hosts and of containers need
#   KCHAOS_JARS_ONLY   if set, Debian packages are left alone
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${KCHAOS_CACHE:-/var/cache/kchaos}
versions=${KCHAOS_KAFKA:-3.9.1}
scratch=$(mktemp -d)
policy=/usr/sbin/policy-rc.d
policy_is_ours=

clean_up() {
    [ -z "$policy_is_ours" ] || rm -f "$policy"
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

fail() {
    echo "setup: $*" >&2
    exit 1
}

# Runs a command silently; its output is shown only if it fails.
quietly() {
    if ! "$@" >"$scratch/log" 2>&1; then
        tail -n 40 "$scratch/log" >&2
        return 1
    fi
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
    command -v dpkg-query >/dev/null 2>&1 || fail "this is not Debian: install the packages of scripts/setup.sh by hand, then set KCHAOS_JARS_ONLY=1"
    missing=
    for package in openssh-server openssh-client nftables iptables iproute2 procps util-linux jq zstd e2fsprogs faketime sudo \
        ${KCHAOS_DOORS:+debootstrap systemd-container docker.io} \
        build-essential cmake pkg-config libcurl4-openssl-dev libssl-dev zlib1g-dev; do
        installed "$package" || missing="$missing $package"
    done
    # A JDK and not a JRE: --client java compiles its worker.
    { command -v java && command -v javac; } >/dev/null 2>&1 || missing="$missing default-jdk-headless"
    command -v mvn >/dev/null 2>&1 || missing="$missing maven"
    [ -n "$missing" ] || return 0

    [ "$(id -u)" = 0 ] || fail "Debian packages are missing:$missing; run this as root (sudo make setup)"
    echo "setup: installing$missing"
    # openssh-server would start a daemon for the whole machine; the lab starts its own, inside its hosts.
    if [ ! -e "$policy" ]; then
        policy_is_ours=1
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    quietly apt-get -qq update || fail "apt-get update failed: is there a network?"
    # shellcheck disable=SC2086 # a list of words on purpose
    quietly env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $missing ||
        fail "apt-get could not install$missing"
}

# Only a directory under its last name is whole: everything is fetched next to it and renamed.
fetch_jars() {
    version=$1
    directory=$cache/kafka-$version
    [ ! -d "$directory" ] || return 0
    command -v mvn >/dev/null 2>&1 || fail "mvn is missing: cannot fetch Kafka $version"
    mkdir -p "$cache" || fail "cannot write $cache: set KCHAOS_CACHE to another directory"
    echo "setup: fetching Kafka $version into $directory"
    half=$(mktemp -d "$cache/.kafka-$version.XXXXXX")
    mkdir "$half/libs"
    if ! quietly mvn --batch-mode --quiet --file "$here/../lab/pom.xml" "-Dkafka.version=$version" \
        dependency:copy-dependencies "-DoutputDirectory=$half/libs"; then
        rm -rf "$half"
        fail "Kafka $version could not be fetched from Maven Central: is there a network, and is there such a version?"
    fi
    chmod 755 "$half/libs"
    # A second setup may have been faster: `mv -T` onto a directory that is not empty fails, and theirs is as good.
    mv -T "$half/libs" "$directory" 2>/dev/null || [ -d "$directory" ] || fail "cannot make $directory"
    rm -rf "$half"
}

[ -n "${KCHAOS_JARS_ONLY:-}" ] || install_packages
for version in $versions; do
    fetch_jars "$version"
done
