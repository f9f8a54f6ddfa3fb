# Mends when nobody renews the lease any more. LEASE_DIRECTORY UNDO_SCRIPT; library.sh stands above.
# A lease that has vanished without a disarm (which kills this first) counts as lapsed.

k_watch() {
    _w_dir=$1 _w_undo=$2
    k_proc_stat $$
    echo "$$ $P_START" >"$_w_dir/watchdog.next" && mv -f "$_w_dir/watchdog.next" "$_w_dir/watchdog" || return 1
    while :; do
        _w_deadline=0
        { read -r _w_deadline <"$_w_dir/deadline"; } 2>/dev/null
        k_now
        if [ "$K_NOW" -ge "${_w_deadline:-0}" ]; then
            # A renewal may be on its way: look again with the mutex held. Somebody who died holding it must not keep us.
            k_mutex_take "$_w_dir/mutex" 10
            { read -r _w_deadline <"$_w_dir/deadline"; } 2>/dev/null
            k_now
            if [ "$K_NOW" -ge "${_w_deadline:-0}" ]; then
                echo "$K_NOW" 2>/dev/null >"$_w_dir/fired"
                k_mutex_drop "$_w_dir/mutex"
                return 0
            fi
            k_mutex_drop "$_w_dir/mutex"
        fi
        k_nap 0.2
    done
}

if k_watch "$1" "$2"; then
    K_LEASE=$1 K_UNDO=$2
    k_say "lease lapsed: $K_UNDO"
    # In this very process, so that a disarm that kills us stops it.
    set -- undo
    [ -e "$K_UNDO" ] && . "$K_UNDO" >/dev/null 2>&1
    k_now
    echo "$K_NOW" 2>/dev/null >"$K_LEASE/undone"
fi
