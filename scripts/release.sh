#!/usr/bin/env bash
# Makes what is given to people, in dist/: a static x86_64 binary, a tarball, a Debian package, a container image's context, a software bill of
# materials (CycloneDX), and the checksums of all. Called by `make release`; about 12 minutes on two cores.
#
# The same commit gives the same bytes where the toolchain and the Debian packages are the same: no time but the commit's, no path of the machine.
#   KCHAOS_DIST      where to (default dist)
#   KCHAOS_BINARY    a static binary that is there already, instead of building one
#   KCHAOS_NO_SBOM   if set, no bill of materials (cargo-cyclonedx is then not installed)
set -euo pipefail
cd "$(dirname "$0")/.."
dist=${KCHAOS_DIST:-$PWD/dist}
target=x86_64-unknown-linux-gnu
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=kchaos-$version-x86_64-linux
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() {
    echo "release: $*" >&2
    exit 1
}

[ -z "$(git status --porcelain)" ] || echo 'release: the checkout has changes that are not committed; what is made here cannot be made again' >&2
scripts/setup.sh

# glibc and not musl: its resolver knows `files` and `dns` without loading anything since 2.34, and jemalloc, OpenSSL and librdkafka are tried with it.
static_binary() {
    local home=${CARGO_HOME:-$HOME/.cargo}
    [ -n "${KCHAOS_BINARY-}" ] || OPENSSL_STATIC=1 LIBZ_SYS_STATIC=1 PKG_CONFIG_ALL_STATIC=1 CARGO_TARGET_DIR=$PWD/target/static \
        RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$PWD=/kchaos --remap-path-prefix=$home=/cargo" \
        CFLAGS="-ffile-prefix-map=$PWD=/kchaos -ffile-prefix-map=$home=/cargo" \
        cargo build --release --locked --target $target --package kchaos --bin kchaos
    binary=${KCHAOS_BINARY:-$PWD/target/static/$target/release/kchaos}
    ldd "$binary" 2>&1 | tee "$scratch/ldd" | grep -q 'statically linked\|not a dynamic executable' || fail "the binary needs libraries: $(tr '\n' ' ' <"$scratch/ldd")"
    # On its own, where nothing else is: no library, no shell, no file.
    mkdir "$scratch/bare"
    cp "$binary" "$scratch/bare/kchaos"
    if [ "$(id -u)" = 0 ]; then
        chroot "$scratch/bare" /kchaos --version >/dev/null || fail 'the binary does not run in an empty root directory'
    fi
    ! "$binary" --version | grep -q mutants || fail 'the binary is a mutant'
}

# What a person gets beside the binary, below $1/usr.
beside() {
    install -D -m 755 "$binary" "$1/usr/bin/kchaos"
    install -d "$1/usr/share/doc/kchaos" "$1/usr/share/man/man1"
    cp -r README.md CHANGELOG.md docs "$1/usr/share/doc/kchaos/"
    rm -f "$1"/usr/share/doc/kchaos/docs/*.jsonl
    [ ! -d contrib ] || cp -r contrib "$1/usr/share/doc/kchaos/"
    install -m 644 LICENSE "$1/usr/share/doc/kchaos/copyright"
    if "$binary" man --help >/dev/null 2>&1; then
        "$binary" man --dir "$1/usr/share/man/man1" >/dev/null
        gzip -9n "$1"/usr/share/man/man1/*.1
    fi
    if "$binary" completions --help >/dev/null 2>&1; then
        install -d "$1/usr/share/bash-completion/completions" "$1/usr/share/zsh/vendor-completions" "$1/usr/share/fish/vendor_completions.d"
        "$binary" completions bash >"$1/usr/share/bash-completion/completions/kchaos"
        "$binary" completions zsh >"$1/usr/share/zsh/vendor-completions/_kchaos"
        "$binary" completions fish >"$1/usr/share/fish/vendor_completions.d/kchaos.fish"
    fi
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

tarball() {
    beside "$scratch/$name"
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$scratch" -cf - "$name" | gzip -9n >"$dist/$name.tar.gz"
}

# No dependencies: the binary has all in it. The helper and the lab need what docs/staging.md says.
debian_package() {
    local root=$scratch/deb
    beside "$root"
    install -d "$root/DEBIAN"
    sed -e "s/@VERSION@/$version/" -e "s/@KIB@/$(du -sk "$root/usr" | cut -f1)/" packaging/debian-control >"$root/DEBIAN/control"
    (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    find "$root" -type d -exec chmod 755 {} +
    touch -h -d "@$SOURCE_DATE_EPOCH" "$root/DEBIAN" "$root"/DEBIAN/*
    dpkg-deb --root-owner-group -Zxz --build "$root" "$dist/kchaos_${version}_amd64.deb" >/dev/null
}

bill_of_materials() {
    [ -z "${KCHAOS_NO_SBOM-}" ] || return 0
    command -v cargo-cyclonedx >/dev/null 2>&1 || [ -x target/tools/bin/cargo-cyclonedx ] ||
        CARGO_TARGET_DIR=$PWD/target/tools-build cargo install --quiet --locked --root target/tools cargo-cyclonedx
    PATH=$PWD/target/tools/bin:$PATH cargo cyclonedx --quiet --format json --target $target --override-filename kchaos.cdx
    sed "s|$PWD|/kchaos|g" kchaos.cdx.json >"$dist/$name.cdx.json"
    find . -path ./target -prune -o -name 'kchaos.cdx.json' -print -exec rm {} + >/dev/null
}

rm -rf "$dist"
mkdir -p "$dist"
static_binary
install -m 755 "$binary" "$dist/$name"
tarball
debian_package
mkdir "$dist/image"
install -m 755 "$binary" "$dist/image/kchaos"
cp packaging/Containerfile "$dist/image/"
bill_of_materials
(cd "$dist" && find . -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
cat "$dist/SHA256SUMS"
