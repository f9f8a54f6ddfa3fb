# Daemons: signals by pid and start time, and starting again. k_find_daemon and k_start_daemon are the inventory's manager's.

# PID START SIGNAL
k_signal() {
    if ! k_same_process "$1" "$2"; then
        echo gone
    elif kill -"$3" "$1" 2>/dev/null; then
        echo signalled
    elif ! k_same_process "$1" "$2"; then
        echo gone
    else
        echo "refused kill -$3 $1"
    fi
}

# PID: `T 12 12` (state of the process, threads stopped, threads in all), waiting up to 2 s until the state is WANTED (T, or other).
k_threads() {
    _k_turn=0
    while :; do
        _k_turn=$((_k_turn + 1)) _k_stopped=0 _k_all=0
        if ! k_same_process "$1" "$2"; then
            echo gone
            return
        fi
        for _k_task in /proc/"$1"/task/*; do
            k_proc_stat "$1/task/${_k_task##*/}" || continue
            _k_all=$((_k_all + 1))
            [ "$P_STATE" = T ] && _k_stopped=$((_k_stopped + 1))
        done
        k_proc_stat "$1"
        if [ "$3" = T ]; then
            [ "$_k_stopped" -eq "$_k_all" ] && break
        else
            [ "$_k_stopped" -eq 0 ] && break
        fi
        [ "$_k_turn" -ge 40 ] && break
        k_nap 0.05
    done
    echo "state ${P_STATE:-gone} $_k_stopped $_k_all"
}

# PID START: waits up to TRIES * 0.1 s until that process is gone.
k_gone() {
    _k_turn=0
    while k_same_process "$1" "$2"; do
        _k_turn=$((_k_turn + 1))
        [ "$_k_turn" -ge "$3" ] && { echo "there $P_STATE"; return; }
        k_nap 0.1
    done
    echo gone
}

# Starts the daemon if it is not there, and again if it does not stay: Kafka on ZooKeeper exits (NodeExists) when it is started inside its
# old session. Whether it has registered cannot be seen from here, so it counts as there when it has stayed for 15 s.
k_nurse() {
    [ -n "$(k_find_daemon 2>/dev/null)" ] && return 0
    _k_turn=0 _k_stayed=0
    while [ "$_k_turn" -lt 120 ]; do
        _k_turn=$((_k_turn + 1))
        if [ -n "$(k_find_daemon 2>/dev/null)" ]; then
            _k_stayed=$((_k_stayed + 1))
            [ "$_k_stayed" -ge 15 ] && return 0
        else
            _k_stayed=0
            k_start_daemon </dev/null >/dev/null 2>&1
        fi
        sleep 1
    done
    return 1
}
