# What the tests in an emulated machine share (test-netem.sh, test-clocks.sh): Debian's kernel, and the first file system of a guest that sees /usr of
# this machine, read-only, and of the rest what is copied into its memory. To be sourced from the repository's top, with $scratch a directory.
#   KCHAOS_CACHE   where the kernel's image is kept (default /var/cache/kchaos)
# shellcheck shell=bash
# shellcheck disable=SC2154
cache=${KCHAOS_CACHE:-/var/cache/kchaos}/netem
name=$(basename "$0" .sh)

fail() {
    echo "$name: $*" >&2
    exit 3
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# PACKAGE…, beside those that every emulated machine needs.
install_needs() {
    command -v dpkg-query >/dev/null || fail 'this wants Debian: its kernel image is what is booted'
    local missing=()
    for package in qemu-system-x86 busybox-static kmod jq iproute2 "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    [ "$(id -u)" = 0 ] || fail "Debian packages are missing: ${missing[*]}; run this as root"
    echo "$name: installing ${missing[*]}"
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
        echo "$name: fetching $image"
        rm -rf "$cache" && mkdir -p "$cache"
        chmod 755 "$scratch"
        (cd "$scratch" && apt-get -qq download "$image" && dpkg-deb -x "$image"_*.deb "$cache") 2>"$scratch/log" || { cat "$scratch/log" >&2; fail "$image could not be fetched"; }
        depmod -b "$cache" "${image#linux-image-}"
        echo "${image#linux-image-}" >"$cache/version"
    fi
    version=$(cat "$cache/version")
}

# NAME: the tests of kchaos-nemeses by that name, built.
build_tests() {
    echo "$name: building the tests"
    tests=$(cargo test -p kchaos-nemeses --locked --test "$1" --no-run --message-format json 2>/dev/null |
        jq -r "select(.executable != null and .target.name == \"$1\") | .executable" | tail -n 1)
    [ -x "$tests" ] || fail "the tests could not be built: cargo test -p kchaos-nemeses --test $1 --no-run"
}

# MODULE…: the guest's root is $scratch/root. What it does when it has /usr follows from the standard input.
make_root() {
    local root=$scratch/root module
    mkdir -p "$root"/{usr,proc,sys,dev,run,tmp,etc,var/lib,lib/modules,modules,root}
    ln -s usr/bin "$root/bin" && ln -s usr/sbin "$root/sbin" && ln -s usr/lib64 "$root/lib64"
    ln -s /usr/lib/x86_64-linux-gnu "$root/lib/x86_64-linux-gnu"
    cp -a /etc/alternatives /etc/ld.so.cache /etc/passwd /etc/group "$root/etc/"
    printf 'passwd: files\ngroup: files\n' >"$root/etc/nsswitch.conf"
    cp "$(command -v busybox)" "$root/busybox"
    : >"$root/modules.list"
    for module in virtio_pci 9pnet_virtio 9p "$@"; do
        modprobe -d "$cache" -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p' >>"$root/modules.list"
    done
    while read -r module; do cp "$module" "$root/modules/"; done <"$root/modules.list"
    sed -i 's#.*/#/modules/#' "$root/modules.list"
    {
        cat <<'INIT'
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
ip link set lo up
INIT
        cat
    } >"$root/init"
    chmod +x "$root/init"
}

pack_root() {
    (cd "$scratch/root" && find . | ./busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$scratch/initramfs"
}

# APPEND OPTION…: becomes the guest, for $timeout_s at most.
boot() {
    local append=$1
    shift
    exec timeout "$timeout_s" qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1536 -display none -no-reboot \
        -kernel "$cache/boot/vmlinuz-$version" -initrd "$scratch/initramfs" -append "console=ttyS0 quiet panic=-1 $append" \
        -virtfs local,path=/usr,mount_tag=usr,security_model=none,readonly=on \
        -virtfs local,path="$cache/lib/modules",mount_tag=modules,security_model=none,readonly=on \
        -monitor none -serial stdio "$@" </dev/null
}

# FILE: what was proved there can be taken into the records of docs/faults.md (KCHAOS_PROVED), whatever failed beside it.
record() {
    [ -n "${KCHAOS_PROVED-}" ] || return 0
    tr -d '\r' <"$1" | sed -n 's/^.*\({"fault_id".*}\)$/\1/p' >"$scratch/faults.jsonl"
    [ -x target/debug/kchaos ] || cargo build --workspace --bin kchaos --locked --quiet
    target/debug/kchaos list nemeses --proved "$KCHAOS_PROVED" --from "$scratch/faults.jsonl" --door emulated-kernel >/dev/null
}
