#!/usr/bin/env bash
# Proves the faults of the link by netem, on a kernel that has it: Debian's, booted in qemu, with this machine's programs and our tests inside.
# The guest has no network card and sees of this machine /usr, read-only, and what is copied into its memory. About a minute of emulation.
#   KCHAOS_FAULTS=all  every fault of the link on every target, instead of on the leader alone
#   KCHAOS_CACHE   where the kernel's image is kept (default /var/cache/kchaos)
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${KCHAOS_CACHE:-/var/cache/kchaos}/netem
timeout_s=${NETEM_TIMEOUT_S:-900}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "test-netem: $*" >&2
    exit 3
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_needs() {
    command -v dpkg-query >/dev/null || fail 'this wants Debian: its kernel image is what is booted'
    local missing=()
    for package in qemu-system-x86 busybox-static kmod jq iproute2 nftables iptables; do
        installed "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    [ "$(id -u)" = 0 ] || fail "Debian packages are missing: ${missing[*]}; run this as root"
    echo "test-netem: installing ${missing[*]}"
    apt-get -qq update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}

# Only unpacked, never installed: this machine goes on booting what it boots.
fetch_kernel() {
    if [ ! -e "$cache/version" ]; then
        local image
        image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
        [ -n "$image" ] || { apt-get -qq update >/dev/null && image=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1); }
        [ -n "$image" ] || fail 'there is no linux-image-amd64 among the packages'
        echo "test-netem: fetching $image"
        rm -rf "$cache" && mkdir -p "$cache"
        chmod 755 "$scratch"
        (cd "$scratch" && apt-get -qq download "$image" && dpkg-deb -x "$image"_*.deb "$cache") 2>"$scratch/log" || { cat "$scratch/log" >&2; fail "$image could not be fetched"; }
        depmod -b "$cache" "${image#linux-image-}"
        echo "${image#linux-image-}" >"$cache/version"
    fi
    version=$(cat "$cache/version")
}

# The first file system of the guest: a busybox, what it takes to see /usr, and the tests.
make_initramfs() {
    local root=$scratch/root tests=$1 module
    mkdir -p "$root"/{usr,proc,sys,dev,run,tmp,etc,var/lib,lib/modules,modules,root}
    ln -s usr/bin "$root/bin" && ln -s usr/sbin "$root/sbin" && ln -s usr/lib64 "$root/lib64"
    ln -s /usr/lib/x86_64-linux-gnu "$root/lib/x86_64-linux-gnu"
    cp -a /etc/alternatives /etc/ld.so.cache /etc/passwd /etc/group "$root/etc/"
    printf 'passwd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    cp "$(command -v busybox)" "$root/busybox"
    cp "$tests" "$root/tests"
    : >"$root/modules.list"
    for module in virtio_pci 9pnet_virtio 9p; do
        modprobe -d "$cache" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p' >>"$root/modules.list"
    done
    while read -r module; do cp "$module" "$root/modules/"; done <"$root/modules.list"
    sed -i 's#.*/#/modules/#' "$root/modules.list"
    cat >"$root/init" <<'INIT'
#!/busybox sh
b=/busybox
$b mount -t proc proc /proc; $b mount -t sysfs sys /sys; $b mount -t devtmpfs dev /dev
while read -r module; do
    [ -e "/loaded.${module##*/}" ] || $b insmod "$module"
    : >"/loaded.${module##*/}"
done </modules.list
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 usr /usr || echo 'NETEM STATUS 97'
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 modules /lib/modules || echo 'NETEM STATUS 98'
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LC_ALL=C
mkdir -p /run/netns
# Each test leaves listeners behind.
ulimit -n 16384
case $(cat /proc/cmdline) in *kchaos_faults=all*) export KCHAOS_FAULTS=all ;; esac
ip link set lo up
cd /tmp
/tests --ignored --nocapture --test-threads=1 </dev/null 2>&1
echo "NETEM STATUS $?"
$b poweroff -f
INIT
    chmod +x "$root/init"
    (cd "$root" && find . | "$root/busybox" cpio -o -H newc 2>/dev/null | gzip -1) >"$scratch/initramfs"
}

install_needs
fetch_kernel
echo 'test-netem: building the tests'
tests=$(cargo test -p kchaos-nemeses --locked --test netem --no-run --message-format json 2>/dev/null |
    jq -r 'select(.executable != null and .target.name == "netem") | .executable' | tail -n 1)
[ -x "$tests" ] || fail 'the tests could not be built: cargo test -p kchaos-nemeses --test netem --no-run'
make_initramfs "$tests"
echo "test-netem: booting Linux $version"
started=$SECONDS
timeout "$timeout_s" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -nic none -display none -no-reboot \
    -kernel "$cache/boot/vmlinuz-$version" -initrd "$scratch/initramfs" -append "console=ttyS0 quiet panic=-1 kchaos_faults=${KCHAOS_FAULTS-leader}" \
    -virtfs local,path=/usr,mount_tag=usr,security_model=none,readonly=on \
    -virtfs local,path="$cache/lib/modules",mount_tag=modules,security_model=none,readonly=on \
    -monitor none -serial stdio </dev/null | tee "$scratch/said" | grep --line-buffered -v '{"fault_id' || true
echo "test-netem: the machine ran for $((SECONDS - started)) s"
status=$(sed -n 's/.*NETEM STATUS \([0-9]*\).*/\1/p' "$scratch/said" | head -n 1)
# What was proved there can be taken into the records of docs/faults.md, whatever failed beside it.
if [ -n "${KCHAOS_PROVED-}" ]; then
    tr -d '\r' <"$scratch/said" | sed -n 's/^.*\({"fault_id".*}\)$/\1/p' >"$scratch/faults.jsonl"
    [ -x target/debug/kchaos ] || cargo build --workspace --bin kchaos --locked --quiet
    target/debug/kchaos list nemeses --proved "$KCHAOS_PROVED" --from "$scratch/faults.jsonl" --door emulated-kernel >/dev/null
fi
[ "${status:-none}" = 0 ] || { echo "test-netem: failed (${status:-the machine said no status})" >&2; exit 1; }
