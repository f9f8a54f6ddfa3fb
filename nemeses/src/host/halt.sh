# Halted: nothing is broken on this host until somebody releases it. Kept where a reboot leaves it.

# "halted-at SECONDS", "halted-by WHO", "halted-why REASON"; fails where the host is not halted. A file that cannot be read halts all the same.
k_halted() {
    for _k_file in "$K_STATE/halted" "$K_VOLATILE/halted"; do
        [ -e "$_k_file" ] || continue
        _k_at='' _k_by='' _k_why=''
        { read -r _k_at && read -r _k_by && read -r _k_why; } 2>/dev/null <"$_k_file"
        echo "halted-at ${_k_at:-0}"
        echo "halted-by ${_k_by:-somebody}"
        echo "halted-why $_k_why"
        return 0
    done
    return 1
}

# For whoever is about to break something.
k_refuse_halted() {
    k_halted >/dev/null || return 1
    echo "refused kchaos is halted on this host by $_k_by: $_k_why (kchaos halt --release lifts it)"
}

# REASON. On the disk; in memory, where the disk has no room.
k_halt() {
    for _k_place in "$K_STATE" "$K_VOLATILE"; do
        (umask 077 && mkdir -p "$_k_place") 2>/dev/null || continue
        { printf '%s\n' "$(date +%s)" "$K_OWNER" "$1" >"$_k_place/halted.next"; } 2>/dev/null || continue
        [ -s "$_k_place/halted.next" ] && mv -f "$_k_place/halted.next" "$_k_place/halted" && k_durable "$_k_place/halted" "$_k_place" || continue
        k_say "phase=halted reason=$1"
        k_halted
        return
    done
    echo "failed neither $K_STATE nor $K_VOLATILE can be written"
}

k_release() {
    k_halted || { echo released; return; }
    rm -f "$K_STATE/halted" "$K_VOLATILE/halted" "$K_STATE/halted.next" "$K_VOLATILE/halted.next"
    [ -d "$K_STATE" ] && k_durable "$K_STATE"
    if [ -e "$K_STATE/halted" ] || [ -e "$K_VOLATILE/halted" ]; then
        echo "failed the flag cannot be removed"
        return
    fi
    k_say "phase=released"
    echo released
}

# DIRECTORY…: "room FREE_KIB DIRECTORY" of its file system; one that is not there is left out.
k_room() {
    for _k_directory in "$@"; do
        [ -d "$_k_directory" ] || continue
        df -Pk "$_k_directory" 2>/dev/null | {
            read -r _k_head
            read -r _k_fs _k_blocks _k_used _k_left _k_rest && echo "room $_k_left $_k_directory"
        }
    done
}

# What a run would find: "held", as the lock has it; "left KEY ABOUT" of each fault; tables, chains and queues of ours. Changes nothing.
k_leftovers() {
    for _k_script in "$K_STATE"/undo.d/*.sh; do
        [ -e "$_k_script" ] || continue
        _k_name=${_k_script##*/}
        echo "left ${_k_name%.sh} $(sh "$_k_script" about </dev/null 2>/dev/null)"
    done
    nft list tables 2>/dev/null | sed -n 's/^table inet \(kchaos_.*\)/table \1/p'
    for _k_tables in iptables ip6tables; do
        "$_k_tables-save" -t filter 2>/dev/null | sed -n 's/^:\(KCHAOS-[^ ]*\) .*/table \1/p'
    done
    grep -qs '^KillUserProcesses=yes' /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*.conf && echo kills-sessions
    tc qdisc show 2>/dev/null | sed -n 's/^qdisc [a-z]* 4b43: dev \([^ ]*\) root.*/table queue 4b43: of \1/p'
    :
}
