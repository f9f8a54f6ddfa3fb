# The disk of one daemon. D_DIR: its data. D_KIND: directory, loop or fuse. Of a loop disk also D_DEVICE, D_BACKING and D_MARK, as the inventory names
# them; of a FUSE disk D_MARK; else they are empty.

# What is mounted at exactly D_DIR: K_DEV (major:minor), K_FS, K_OPTIONS; the topmost, if several are.
k_disk_mounted() {
    K_DEV='' K_FS='' K_OPTIONS=''
    while read -r _k_id _k_parent _k_dev _k_root _k_point _k_rest; do
        [ "$_k_point" = "$D_DIR" ] && [ "$_k_root" = / ] || continue
        K_DEV=$_k_dev K_FS=${_k_rest#* - } K_OPTIONS=${_k_rest##* }
        K_FS=${K_FS%% *}
    done </proc/self/mountinfo
    [ -n "$K_DEV" ]
}

# Whether D_DEVICE is a loop device on the file that the inventory names, and no device of the host's root. Prints why not.
k_disk_device() {
    [ -n "$D_DEVICE" ] && [ -n "$D_BACKING" ] && [ -n "$D_MARK" ] || { echo "the inventory names no loop disk"; return 1; }
    [ -b "$D_DEVICE" ] || { echo "$D_DEVICE is no block device"; return 1; }
    K_WANT=$(stat -c '%t %T' "$D_DEVICE" 2>/dev/null) || { echo "stat does not tell the device number of $D_DEVICE"; return 1; }
    K_WANT=$((0x${K_WANT% *})):$((0x${K_WANT#* }))
    case $K_WANT in 7:*) ;; *) echo "$D_DEVICE is no loop device ($K_WANT)"; return 1 ;; esac
    { IFS= read -r _k_file <"/sys/dev/block/$K_WANT/loop/backing_file"; } 2>/dev/null || { echo "no file is behind $D_DEVICE"; return 1; }
    # A host with a root of its own may see the end of the path alone.
    case $_k_file in /?*) ;; *) echo "no path is behind $D_DEVICE"; return 1 ;; esac
    case $D_BACKING in *"$_k_file") ;; *) echo "behind $D_DEVICE is $_k_file, not $D_BACKING"; return 1 ;; esac
    case $_k_file in */disks/*/*.img) ;; *) echo "$_k_file is no disk of a lab"; return 1 ;; esac
}

# Whether what is mounted at D_DIR is that device, and another file system than the host's root and the directory above. Prints why not.
k_disk_is_loop() {
    k_disk_device || return 1
    k_disk_mounted || { echo "nothing is mounted at $D_DIR"; return 1; }
    [ "$K_FS" = ext4 ] || { echo "$D_DIR is of the kind $K_FS, not ext4"; return 1; }
    [ "$K_DEV" = "$K_WANT" ] || { echo "$K_DEV is mounted at $D_DIR, not $D_DEVICE ($K_WANT)"; return 1; }
    _k_own=$(stat -c %d "$D_DIR") && _k_of_root=$(stat -c %d /) && _k_above=$(stat -c %d "${D_DIR%/*}/") || { echo "stat failed"; return 1; }
    if [ "$_k_own" = "$_k_of_root" ] || [ "$_k_own" = "$_k_above" ]; then
        echo "$D_DIR is on the file system of the host"
        return 1
    fi
}

# The same, and it carries its mark. Only then is it ever shut down.
k_disk_is_ours() {
    [ "${D_KIND-}" = fuse ] && { k_fuse_is_ours; return; }
    k_disk_is_loop || return 1
    { IFS= read -r _k_mark <"$D_DIR/.kchaos-disk"; } 2>/dev/null || { echo "$D_DIR carries no mark of a lab"; return 1; }
    [ "$_k_mark" = "$D_MARK" ] || { echo "the mark at $D_DIR is another lab's"; return 1; }
    for _k_tool in perl mount umount; do
        command -v "$_k_tool" >/dev/null 2>&1 || { echo "the host has no $_k_tool, by which a file system is shut down and mounted anew"; return 1; }
    done
}

# EXT4_IOC_SHUTDOWN without a flush of the journal: from now on every access fails, and what was not synced is lost. The last guard stands in
# the process that does it, on the very directory that it has open.
k_disk_shut_down() {
    k_disk_is_ours || return 1
    perl -e '
        use strict;
        my ($path, $wanted) = @ARGV;
        open(my $top, "<", $path) or die "cannot open $path: $!\n";
        my $device = (stat $top)[0];
        my ($major, $minor) = (($device >> 8) & 0xfff, ($device & 0xff) | (($device >> 12) & 0xfff00));
        die "$path is on $major:$minor\n" unless $major == 7 && "$major:$minor" eq $wanted;
        die "$path is on the file system of the root\n" if $device == (stat "/")[0];
        my $without_log_flush = pack("L", 2);
        ioctl($top, 0x8004587d, $without_log_flush) or die "shutdown of $path: $!\n";
    ' "$D_DIR" "$K_WANT" 2>&1
}

# What a write says: ok, dead (I/O error), full, or the error itself.
k_disk_write() {
    _k_said=$({ head -c "${1:-1}" /dev/zero >"$D_DIR/.kchaos-probe"; } 2>&1)
    _k_status=$?
    rm -f "$D_DIR/.kchaos-probe" 2>/dev/null
    case $_k_status$_k_said in
    0) echo ok ;;
    *"nput/output error"* | *"I/O error"* | *"ead-only file system"*) echo dead ;;
    *"o space left"*) echo full ;;
    *) echo "failed ${_k_said:-with status $_k_status}" ;;
    esac
}

k_disk_is_dead() {
    case ,$K_OPTIONS, in *,shutdown,*) return 0 ;; esac
    [ "$(k_disk_write)" = dead ]
}

# Mounts a loop disk anew if it is shut down, or not mounted. Never lazily: what somebody still held would stay dead, and be mounted again.
k_disk_revive() {
    if k_disk_mounted; then
        k_disk_is_dead || return 0
        k_disk_is_loop || return 1
        _k_turn=0
        until umount "$D_DIR" 2>/dev/null; do
            _k_turn=$((_k_turn + 1))
            [ "$_k_turn" -ge 50 ] && { echo "$D_DIR is held by somebody and cannot be unmounted"; return 1; }
            k_nap 0.1
        done
    fi
    k_disk_device || return 1
    k_disk_mounted || mount -t ext4 -o noatime,nosuid,nodev "$D_DEVICE" "$D_DIR" 2>&1
}

k_disk_lives() {
    k_disk_mounted && ! k_disk_is_dead
}

# SIZE PATH of every segment and transaction log that holds something.
k_disk_sizes() {
    (cd "$D_DIR" 2>/dev/null && find . -type f \( -name '*.log' -o -name 'log.*' \) -size +0 -exec wc -c {} + | sed -e '/ total$/d' -e 's/^ *//')
}

# PID START: kill -9, and the disk forgets what was not synced.
k_lose_power() {
    k_disk_is_ours || return 1
    k_same_process "$1" "$2" || { echo gone; return; }
    kill -9 "$1" || { echo "refused kill -9 $1"; return; }
    # The last instant: no longer than it takes to unlink a process.
    _k_turn=0
    while k_same_process "$1" "$2" && [ "$_k_turn" -lt 40 ]; do _k_turn=$((_k_turn + 1)) && k_nap 0.05; done
    k_disk_sizes >"$(k_lease_dir)/sizes"
    echo "written a moment before the power went" >"$D_DIR/.kchaos-unsynced"
    if [ "${D_KIND-}" = fuse ]; then
        k_fuse_counts before >"$(k_lease_dir)/counts"
        k_fuse_order "lose all" || return 1
    else
        k_disk_shut_down || return 1
    fi
    echo lost
}

# Power is back and nothing runs: what is on the disk, against what was written.
k_count_losses() {
    if [ "${D_KIND-}" = fuse ]; then
        cat "$(k_lease_dir)/counts"
        k_fuse_counts after
    else
        echo "write $(k_disk_write)"
        k_disk_revive || return 1
    fi
    k_disk_sizes >"$(k_lease_dir)/sizes.after"
    if [ -s "$D_DIR/.kchaos-unsynced" ]; then echo "canary kept"; else echo "canary lost"; fi
    rm -f "$D_DIR/.kchaos-unsynced"
    while read -r _k_size _k_path; do
        _k_left=0
        while read -r _k_now _k_other; do
            [ "$_k_other" = "$_k_path" ] && _k_left=$_k_now && break
        done <"$(k_lease_dir)/sizes.after"
        [ "$_k_left" -lt "$_k_size" ] && echo "shorter $_k_size $_k_left ${_k_path#./}"
    done <"$(k_lease_dir)/sizes"
    echo counted
}

# BYTES: as many stay free. The room is taken without being written.
k_fill() {
    _k_free=$(k_free_bytes)
    [ -n "$_k_free" ] && [ "$_k_free" -gt "$1" ] || { echo "refused only ${_k_free:-unknown} bytes are free in $D_DIR"; return; }
    command -v fallocate >/dev/null 2>&1 || { echo "refused the host has no fallocate (util-linux)"; return; }
    if [ "$(stat -c %d "$D_DIR")" = "$(stat -c %d /)" ]; then
        echo "refused $D_DIR is on the file system of the host's root, which would be full too"
        return
    fi
    # What the file system needs for its own books is not known before: nearer and nearer.
    fallocate -l "$((_k_free - $1))" "$D_DIR/.kchaos-fill" 2>/dev/null ||
        fallocate -l "$((_k_free - $1 - _k_free / 64))" "$D_DIR/.kchaos-fill" 2>&1 || return 1
    echo "filled $_k_free $(k_free_bytes)"
}

k_free_bytes() {
    df -Pk "$D_DIR" 2>/dev/null | { read -r _k_head && read -r _k_fs _k_blocks _k_used _k_left _k_rest && echo "$((_k_left * 1024))"; }
}

# PATH FROM LENGTH: a checksum of a part of a file; nothing where the file does not reach so far.
k_sum() {
    [ -f "$1" ] && [ "$(wc -c <"$1")" -ge $(($2 + $3)) ] || return 0
    tail -c +$(($2 + 1)) "$1" 2>/dev/null | head -c "$3" | cksum | tr ' ' '-'
}

# Of some partitions' directories, the newest segment with the most bytes: K_SEGMENT and K_BYTES.
k_newest_segment() {
    K_SEGMENT='' K_BYTES=0
    for _k_partition in "$@"; do
        _k_newest=''
        for _k_file in "$D_DIR/$_k_partition"/*.log; do [ -f "$_k_file" ] && _k_newest=$_k_file; done
        [ -n "$_k_newest" ] || continue
        _k_size=$(wc -c <"$_k_newest")
        [ "$_k_size" -gt "$K_BYTES" ] && K_SEGMENT=$_k_newest K_BYTES=$_k_size
    done
    [ -n "$K_SEGMENT" ]
}

# PID START HOW PARTITION…: kills the broker and damages the newest segment of one of these replicas.
k_damage() {
    _k_pid=$1 _k_start=$2 _k_how=$3
    shift 3
    k_same_process "$_k_pid" "$_k_start" || { echo gone; return; }
    k_newest_segment "$@" || { echo "refused no segment of these partitions is in $D_DIR"; return; }
    [ "$K_BYTES" -ge 256 ] || { echo "refused the newest segments hold $K_BYTES bytes at most: there is nothing to damage yet"; return; }
    kill -9 "$_k_pid" || { echo "refused kill -9 $_k_pid"; return; }
    _k_turn=0
    while k_same_process "$_k_pid" "$_k_start"; do
        _k_turn=$((_k_turn + 1))
        [ "$_k_turn" -ge 100 ] && { echo "refused pid $_k_pid does not go"; return; }
        k_nap 0.1
    done
    K_BYTES=$(wc -c <"$K_SEGMENT")
    _k_from=$((K_BYTES / 2)) _k_whole=$(cksum <"$K_SEGMENT" | tr ' ' '-')
    case $_k_how in
    corrupt)
        _k_length=64
        _k_before=$(k_sum "$K_SEGMENT" "$_k_from" "$_k_length")
        # No byte stays as it was, whatever it was.
        tail -c +$((_k_from + 1)) "$K_SEGMENT" | head -c "$_k_length" | tr '\000-\377' '\200-\377\000-\177' |
            dd of="$K_SEGMENT" bs=1 seek="$_k_from" conv=notrunc 2>/dev/null || { echo "failed dd"; return; }
        ;;
    truncate)
        _k_length=$((K_BYTES - _k_from))
        _k_before=$(k_sum "$K_SEGMENT" "$_k_from" "$_k_length")
        dd if=/dev/null of="$K_SEGMENT" bs=1 seek="$_k_from" 2>/dev/null || { echo "failed dd"; return; }
        ;;
    esac
    k_durable "$K_SEGMENT"
    printf '%s\n' "$K_SEGMENT" "$_k_from" "$_k_length" "$(k_sum "$K_SEGMENT" "$_k_from" "$_k_length")" "$K_BYTES" >"$(k_undo_file).damage"
    echo "damaged $_k_from $_k_length $K_BYTES $(wc -c <"$K_SEGMENT") $_k_whole $(cksum <"$K_SEGMENT" | tr ' ' '-') ${K_SEGMENT#"$D_DIR"/}"
}

# Whether the damage that was noted is still there: the very bytes. A file cut short is told from a whole one by its broker alone.
k_is_damaged() {
    { read -r _k_file && read -r _k_from && read -r _k_length && read -r _k_sum; } 2>/dev/null <"$(k_undo_file).damage" || return 1
    [ -n "$_k_sum" ] && [ "$(k_sum "$_k_file" "$_k_from" "$_k_length")" = "$_k_sum" ]
}

# A broker cuts what is damaged when it starts, and fetches the rest: until it has.
k_await_rebuilt() {
    _k_turn=0
    while k_is_damaged; do
        _k_turn=$((_k_turn + 1))
        [ "$_k_turn" -ge 90 ] && return 1
        sleep 1
    done
}
