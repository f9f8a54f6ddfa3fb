# Clients of a run on this host (`--client-hosts`): below K_STATE/worker/RUN lie the program and, for each process of it, a file that holds pid and start time.

# What must be so before the program is sent. Says what machine this is, and where the place for it is.
k_worker_begin() {
    k_refuse_halted && return
    for _k_tool in gzip sha256sum; do
        command -v "$_k_tool" >/dev/null 2>&1 || { echo "refused the host has no $_k_tool"; return; }
    done
    if ! _k_why=$(k_private mkdir -p "$K_STATE/worker/$K_RUN" 2>&1); then
        k_no_room "$K_STATE" "$_k_why"
        return
    fi
    k_say "run=$K_RUN phase=worker what=clients of the run on this host"
    echo "place $(uname -m) $K_STATE/worker/$K_RUN"
}

# DIRECTORY: ends what runs of it, and takes it away. One that is being started writes its file first, and cannot once the place is gone.
k_worker_end() {
    for _k_file in "$1"/*.pid; do
        { read -r _k_pid _k_start <"$_k_file"; } 2>/dev/null || continue
        k_same_process "$_k_pid" "$_k_start" || continue
        kill -9 "$_k_pid" 2>/dev/null
        _k_turn=0
        while k_same_process "$_k_pid" "$_k_start" && [ "$_k_turn" -lt 100 ]; do
            _k_turn=$((_k_turn + 1))
            k_nap 0.05
        done
        ! k_same_process "$_k_pid" "$_k_start" || return 1
    done
    rm -rf "$1"
    rmdir "${1%/*}" 2>/dev/null
    [ ! -e "$1" ]
}

# Of this run.
k_worker_remove() {
    if k_worker_end "$K_STATE/worker/$K_RUN"; then
        k_say "run=$K_RUN phase=worker-removed"
        echo removed
    else
        echo "left $K_STATE/worker/$K_RUN"
    fi
}

# Of all runs but the one that sweeps, which takes its own away when its clients are done.
k_sweep_workers() {
    for _k_place in "$K_STATE"/worker/*; do
        [ -d "$_k_place" ] || continue
        _k_of=${_k_place##*/}
        [ "$_k_of" = "$K_RUN" ] && continue
        if k_worker_end "$_k_place"; then echo "healed $_k_of clients of a run"; else echo "unhealed $_k_of clients of a run"; fi
    done
}
