# The FUSE disk of one daemon, as a lab makes them: mounted at D_DIR, with the mark D_MARK. Its control file takes orders and says what has come of them.

# Whether what is mounted at exactly D_DIR is such a disk, another file system than the host's root and the directory above, and carries the
# mark, on itself and by its own word. Only then is it ever given an order. Prints why not.
k_fuse_is_ours() {
    [ -n "$D_MARK" ] || { echo "the inventory names no disk that a lab made"; return 1; }
    k_disk_mounted || { echo "nothing is mounted at $D_DIR"; return 1; }
    [ "$K_FS" = fuse.kchaos ] || { echo "$D_DIR is of the kind $K_FS, not fuse.kchaos"; return 1; }
    _k_own=$(stat -c %d "$D_DIR") && _k_of_root=$(stat -c %d /) && _k_above=$(stat -c %d "${D_DIR%/*}/") || { echo "stat failed"; return 1; }
    if [ "$_k_own" = "$_k_of_root" ] || [ "$_k_own" = "$_k_above" ]; then
        echo "$D_DIR is on the file system of the host"
        return 1
    fi
    { IFS= read -r _k_mark <"$D_DIR/.kchaos-disk"; } 2>/dev/null || { echo "$D_DIR carries no mark of a lab"; return 1; }
    [ "$_k_mark" = "$D_MARK" ] && [ "$(k_fuse_says mark)" = "$D_MARK" ] || { echo "the mark at $D_DIR is another lab's"; return 1; }
}

# WORD: what the disk says behind it, on a line of its own.
k_fuse_says() {
    sed -n "s/^$1 //p" "$D_DIR/.kchaos-control" 2>/dev/null
}

# ORDER: in one write. Prints why not.
k_fuse_order() {
    k_fuse_is_ours || return 1
    _k_said=$({ printf '%s\n' "$1" >"$D_DIR/.kchaos-control"; } 2>&1) && return 0
    echo "the disk at $D_DIR does not take the order \"$1\": ${_k_said##*: }"
    return 1
}

# Nothing mounted there has no fault either.
k_fuse_is_healthy() {
    k_disk_mounted && [ "$K_FS" = fuse.kchaos ] || return 0
    grep -qx healthy "$D_DIR/.kchaos-control"
}

# What a fault has done so far, as lines of answers, each behind WORD.
k_fuse_counts() {
    sed -n -e "s/^\(read\|write\|fsync\|names\|losses\|unsynced\) /$1-&/p" "$D_DIR/.kchaos-control"
}

# ORDER: what was counted before, and `begun`.
k_fuse_begin() {
    k_fuse_counts before
    if _k_why=$(k_fuse_order "$1"); then echo begun; else echo "refused $_k_why"; fi
}

# How long a write and its fsync take, in hundredths of a second, and what is counted by then.
k_fuse_probe() {
    k_now
    _k_from=$K_NOW
    _k_said=$(dd if=/dev/zero of="$D_DIR/.kchaos-probe" bs=512 count=1 conv=fsync 2>&1) || echo "failed ${_k_said##*: }"
    k_now
    echo "took $((K_NOW - _k_from))"
    rm -f "$D_DIR/.kchaos-probe"
    k_fuse_counts after
    if k_fuse_is_healthy; then echo healthy; else echo "fault $(k_fuse_says fault)"; fi
}
