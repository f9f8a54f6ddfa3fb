#!/usr/bin/env bash
# Proves the faults of the link by netem, on a kernel that has it: Debian's, booted in qemu, with this machine's programs and our tests inside.
# The guest has no network card and sees of this machine /usr, read-only, and what is copied into its memory. About a minute of emulation.
#   KCHAOS_FAULTS=all  every fault of the link on every target, instead of on the leader alone
set -euo pipefail
cd "$(dirname "$0")/.."
timeout_s=${NETEM_TIMEOUT_S:-900}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# shellcheck source=scripts/emulated.sh
. scripts/emulated.sh

install_needs nftables iptables
fetch_kernel
build_tests netem
# shellcheck disable=SC2119
make_root <<'INIT'
mkdir -p /run/netns
# Each test leaves listeners behind.
ulimit -n 16384
case $(cat /proc/cmdline) in *kchaos_faults=all*) export KCHAOS_FAULTS=all ;; esac
cd /tmp
/tests --ignored --nocapture --test-threads=1 </dev/null 2>&1
echo "NETEM STATUS $?"
$b poweroff -f
INIT
cp "$tests" "$scratch/root/tests"
pack_root
echo "test-netem: booting Linux $version"
started=$SECONDS
boot "kchaos_faults=${KCHAOS_FAULTS-leader}" -nic none | tee "$scratch/said" | grep --line-buffered -v '{"fault_id' || true
echo "test-netem: the machine ran for $((SECONDS - started)) s"
status=$(sed -n 's/.*NETEM STATUS \([0-9]*\).*/\1/p' "$scratch/said" | head -n 1)
record "$scratch/said"
[ "${status:-none}" = 0 ] || { echo "test-netem: failed (${status:-the machine said no status})" >&2; exit 1; }
