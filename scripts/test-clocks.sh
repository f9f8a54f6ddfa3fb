#!/usr/bin/env bash
# Proves bump, skew and strobe of a whole host's clock, by SSH to a machine that is nobody's: emulated, with a kernel and so a clock of its own, a
# systemd and a time daemon. kchaos' side runs here; what it sets is the clock of the emulated machine. Five minutes and more; FILTER… as in cargo test.
set -euo pipefail
cd "$(dirname "$0")/.."
timeout_s=${CLOCKS_TIMEOUT_S:-900}
scratch=$(mktemp -d)
machine=''
trap '[ -z "$machine" ] || kill "$machine" 2>/dev/null || :; rm -rf "$scratch"' EXIT
# shellcheck source=scripts/emulated.sh
. scripts/emulated.sh

# Whom sshd lets in, and what it is known by: both made for this one boot.
make_keys() {
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$scratch/id"
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$scratch/host"
    mkdir -p "$scratch/root/etc/ssh" "$scratch/root/root/.ssh"
    cp "$scratch/host" "$scratch/root/etc/ssh/host"
    cp "$scratch/id.pub" "$scratch/root/root/.ssh/authorized_keys"
    printf '[127.0.0.1]:%s %s\n' "$port" "$(cut -d ' ' -f 1,2 "$scratch/host.pub")" >"$scratch/known_hosts"
    printf '%s\n' 'HostKey /etc/ssh/host' 'PidFile none' 'UsePAM no' 'UseDNS no' 'StrictModes no' 'PermitRootLogin prohibit-password' \
        'PasswordAuthentication no' >"$scratch/root/etc/ssh/sshd_config"
}

# A time daemon as strict as can be: every second it sets the clock right. It is inside the guest, and nowhere else.
make_units() {
    local units=$scratch/root/etc/systemd/system
    mkdir -p "$units"
    : >"$scratch/root/etc/machine-id"
    unit() {
        printf '[Unit]\nDefaultDependencies=no\n[Service]\nStandardOutput=null\nStandardError=null\nExecStart=%s\n' "$2" >"$units/$1.service"
    }
    unit sshd '/bin/sh -c "mkdir -p /run/sshd; exec /usr/sbin/sshd -D -f /etc/ssh/sshd_config 2>/dev/console"'
    unit chrony '/busybox sh /etc/keep-time'
    printf '[Unit]\nDefaultDependencies=no\nWants=sshd.service chrony.service\n' >"$units/kchaos.target"
    cat >"$scratch/root/etc/keep-time" <<'KEEP'
[ "$(cat /proc/sys/kernel/random/boot_id)" != "$(cat /etc/not-this-boot)" ] || exit 1
now() { read -r up rest </proc/uptime; up=${up%.*}; wall=$(date +%s); }
now
base=$((wall - up))
while sleep 1; do
    now
    off=$((wall - up - base))
    case $off in -1 | 0 | 1) ;; *) date -s "@$((base + up))" >/dev/null ;; esac
done
KEEP
    cp /proc/sys/kernel/random/boot_id "$scratch/root/etc/not-this-boot"
}

free_port() {
    local port
    for port in $(shuf -i 20000-40000 -n 50); do
        [ -n "$(ss -Hltn "sport = :$port")" ] || { echo "$port"; return; }
    done
    fail 'no port is free'
}

install_needs openssh-server openssh-client systemd
fetch_kernel
build_tests clocks
port=$(free_port)
make_root virtio_net <<'INIT'
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ln -s /run /var/run
exec /usr/lib/systemd/systemd
INIT
make_keys
make_units
pack_root
echo "test-clocks: booting Linux $version"
# It hears of nobody and reaches nobody: what is forwarded to it is all.
boot 'systemd.unit=kchaos.target systemd.show_status=0' -netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" \
    -device virtio-net-pci,netdev=n >"$scratch/console" 2>&1 &
machine=$!
started=$SECONDS
status=0
KCHAOS_EMULATED="$scratch" KCHAOS_EMULATED_PORT=$port timeout "$timeout_s" \
    "$tests" --ignored --nocapture --test-threads=1 "$@" </dev/null 2>&1 | tee "$scratch/said" | grep --line-buffered -v '^{"fault_id' || status=$?
echo "test-clocks: $((SECONDS - started)) s"
record "$scratch/said"
[ "$status" = 0 ] || { tail -n 20 "$scratch/console" >&2; echo 'test-clocks: failed' >&2; exit 1; }
