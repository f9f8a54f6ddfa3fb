# Journal, lease and lock of one host.

k_undo_file() { echo "$K_STATE/undo.d/$K_KEY"; }
k_lease_dir() { echo "$K_VOLATILE/lease/$K_KEY"; }

# K_HELD_BY (a run), K_HELD_FOR (hundredths of a second, 0 or less: expired), K_HELD_HOLDER; fails where there is no lock.
k_lock_read() {
    { read -r _k_deadline K_HELD_BY K_HELD_HOLDER <"$K_VOLATILE/lock/owner"; } 2>/dev/null || return 1
    case $_k_deadline in '' | *[!0-9]*) return 1 ;; esac
    k_now
    K_HELD_FOR=$((_k_deadline - K_NOW))
}

# LEASE (hundredths of a second)
k_lock_write() {
    k_now
    echo "$((K_NOW + $1)) $K_RUN $K_OWNER" >"$K_VOLATILE/lock/owner.$$" && mv -f "$K_VOLATILE/lock/owner.$$" "$K_VOLATILE/lock/owner"
}

# Takes the lock, renews its own, breaks one that has expired.
k_lock_take() {
    k_halted && return
    k_private mkdir -p "$K_VOLATILE" || return 1
    _k_turn=0
    while [ "$_k_turn" -lt 8 ]; do
        _k_turn=$((_k_turn + 1))
        if mkdir "$K_VOLATILE/lock" 2>/dev/null; then
            if _k_why=$(k_lock_write "$1" 2>&1); then
                k_say "run=$K_RUN phase=locked" && echo locked
            else
                rm -rf "$K_VOLATILE/lock"
                k_no_room "$K_VOLATILE" "$_k_why"
            fi
            return
        fi
        if k_lock_read; then
            [ "$K_HELD_BY" = "$K_RUN" ] && { k_lock_write "$1" && echo locked; return; }
            [ "$K_HELD_FOR" -gt 0 ] && { echo "held $K_HELD_FOR $K_HELD_BY $K_HELD_HOLDER"; return; }
            _k_stale=$K_HELD_BY
        else
            # Being taken this moment, or by somebody who died between two commands: give it a second.
            k_nap 0.2
            [ "$_k_turn" -lt 6 ] && continue
            _k_stale=''
        fi
        # Expired. Whoever moves it away has broken it; that it is still the stale one is looked at afterwards.
        mv "$K_VOLATILE/lock" "$K_VOLATILE/lock.stale.$$" 2>/dev/null || continue
        _k_moved=''
        { read -r _k_deadline _k_moved _k_rest <"$K_VOLATILE/lock.stale.$$/owner"; } 2>/dev/null
        if [ "$_k_moved" = "$_k_stale" ]; then
            rm -rf "$K_VOLATILE/lock.stale.$$"
            echo "broke ${_k_stale:-nobody}"
        else
            mv "$K_VOLATILE/lock.stale.$$" "$K_VOLATILE/lock" 2>/dev/null
        fi
    done
    echo "busy"
}

# Only its own, and only while it has it.
k_lock_renew() {
    if k_lock_read && [ "$K_HELD_BY" = "$K_RUN" ]; then
        k_lock_write "$1" && echo locked
    else
        echo lost
    fi
}

k_lock_drop() {
    if ! k_lock_read; then
        echo unlocked
    elif [ "$K_HELD_BY" = "$K_RUN" ]; then
        rm -rf "$K_VOLATILE/lock"
        k_say "run=$K_RUN phase=unlocked"
        echo unlocked
    else
        echo "held $K_HELD_FOR $K_HELD_BY $K_HELD_HOLDER"
    fi
}

k_write() { cat >"$1"; }

# Runs a function or command whose files nobody else may write: what it writes is run by root. The mask is not left to the daemons that we
# start.
k_private() (
    umask 077
    "$@"
)

# The journal of the host: what it looked like, and how to undo (on standard input). Nothing has been done yet.
k_keep() {
    k_refuse_halted && return
    if ! k_lock_read; then
        echo "refused the host is not locked"
        return
    fi
    if [ "$K_HELD_BY" != "$K_RUN" ]; then
        echo "refused the host is locked by run $K_HELD_BY ($K_HELD_HOLDER)"
        return
    fi
    _k_file=$(k_undo_file)
    if _k_why=$(k_keep_files "$_k_file" 2>&1); then
        k_durable "$_k_file.sh" "$_k_file.base" "$K_STATE/undo.d" || return 1
        echo kept
    else
        k_forget "$_k_file"
        k_no_room "$K_STATE" "$_k_why"
    fi
}

# PLACE WHY: what could not be written must not be injected.
k_no_room() {
    echo "refused the host cannot write below $1, so nothing could be undone: $(printf %s "$2" | tr '\n' ' '); make room (df $1)"
}

# FILE, and the undo script on standard input.
k_keep_files() {
    k_private mkdir -p "$K_STATE/undo.d" || return 1
    # What it looked like before the first of several faults at once.
    _k_first=''
    for _k_other in "$K_STATE"/undo.d/*.base; do
        [ -e "$_k_other" ] && _k_first=${_k_other%.base} && break
    done
    if [ -n "$_k_first" ]; then
        [ "$_k_first" = "$1" ] || { cp "$_k_first.base" "$1.base" && cp "$_k_first.rules" "$1.rules"; } || return 1
    else
        { k_base_chains >"$1.base" && k_rules >"$1.rules"; } || return 1
    fi
    k_private k_write "$1.tmp" && mv -f "$1.tmp" "$1.sh"
}

k_forget() {
    rm -f "$1.sh" "$1.base" "$1.rules" "$1.after" "$1.damage" "$1.tmp"
}

k_watchdog_start() {
    setsid sh "$1/watchdog.sh" "$1" "$2" </dev/null >/dev/null 2>&1 &
    _k_tries=0
    while [ "$_k_tries" -lt 60 ]; do
        _k_tries=$((_k_tries + 1))
        { read -r _k_pid _k_start <"$1/watchdog"; } 2>/dev/null && k_same_process "$_k_pid" "$_k_start" && return 0
        k_nap 0.05
    done
    return 1
}

# DIRECTORY. The watchdog alone: a daemon that it started may be in its process group.
k_watchdog_end() {
    if { read -r _k_pid _k_start <"$1/watchdog"; } 2>/dev/null && k_same_process "$_k_pid" "$_k_start"; then
        kill -9 "$_k_pid"
    fi
}

# DIRECTORY LEASE, and the watchdog's text on standard input.
k_arm_files() {
    k_private mkdir -p "$1" && k_private k_write "$1/watchdog.sh" || return 1
    k_now
    echo "$((K_NOW + $2))" >"$1/deadline"
}

# The dead man's switch: LEASE (hundredths of a second); the watchdog's text on standard input.
k_arm() {
    k_refuse_halted && return
    _k_dir=$(k_lease_dir)
    [ -e "$(k_undo_file).sh" ] || { echo "refused there is no undo script"; return; }
    # One of an earlier lease of this fault would find none in the moment between both, and mend.
    k_watchdog_end "$_k_dir"
    rm -rf "$_k_dir"
    if ! _k_why=$(k_arm_files "$_k_dir" "$1" 2>&1); then
        rm -rf "$_k_dir"
        k_no_room "$K_VOLATILE" "$_k_why"
        return
    fi
    k_watchdog_start "$_k_dir" "$(k_undo_file).sh" || { echo "refused the watchdog did not start"; return; }
    k_say "run=$K_RUN fault=$K_KEY phase=armed lease_cs=$1 what=$(sh "$(k_undo_file).sh" about </dev/null 2>/dev/null)"
    echo "armed $_k_pid $_k_start"
}

k_is_armed() {
    _k_dir=$(k_lease_dir)
    [ -e "$_k_dir/deadline" ] && [ ! -e "$_k_dir/fired" ] && return 0
    echo "its lease is not armed (any more), so nothing was done" >&2
    return 1
}

# Runs a command unless the lease has lapsed or the fault has been healed: an injection that arrives late, after its run has given it up,
# does nothing. The watchdog and the renewals wait for it.
k_when_armed() {
    k_is_armed || return 1
    # A renewal on a host that has much to do takes seconds.
    if ! k_mutex_take "$_k_dir/mutex" 120; then
        echo "its lease is in other hands for too long (a renewal that hangs?), so nothing was done" >&2
        return 1
    fi
    k_is_armed && "$@"
    _k_status=$?
    k_mutex_drop "$(k_lease_dir)/mutex"
    k_say "run=$K_RUN fault=$K_KEY phase=injected status=$_k_status"
    return "$_k_status"
}

# LEASE, and yes or no: whether the fault itself is looked at (k_fault_holds) and renewed, or, while it is being mended, the watchdog alone.
# What has ended says whether by its lease or early.
k_renew() {
    _k_dir=$(k_lease_dir)
    if [ ! -d "$_k_dir" ]; then
        echo "lapsed early the lease is no longer on the host: healed from elsewhere, or the host was started anew"
        return
    fi
    k_mutex_take "$_k_dir/mutex" 40 || { echo "busy"; return; }
    if [ -e "$_k_dir/fired" ]; then
        echo "lapsed lease the watchdog of the host has mended it"
    elif [ "$2" = yes ] && ! _k_why=$(k_fault_holds); then
        echo "lapsed ${_k_why:-early it no longer holds}"
    else
        k_now
        _k_said=renewed
        { echo "$((K_NOW + $1))" >"$_k_dir/deadline.next" && mv -f "$_k_dir/deadline.next" "$_k_dir/deadline"; } 2>/dev/null ||
            _k_said='noted the lease cannot be renewed: the host cannot write below '$K_VOLATILE
        { read -r _k_pid _k_start <"$_k_dir/watchdog"; } 2>/dev/null
        if ! k_same_process "$_k_pid" "$_k_start"; then
            if k_watchdog_start "$_k_dir" "$(k_undo_file).sh"; then echo "rearmed"; else echo "unguarded"; fi
        fi
        [ -n "${_k_why-}" ] && echo "noted $_k_why"
        echo "$_k_said"
    fi
    k_mutex_drop "$_k_dir/mutex"
}

# Only after it was seen to be mended.
k_disarm() {
    _k_dir=$(k_lease_dir)
    [ -e "$_k_dir/fired" ] && echo fired
    k_watchdog_end "$_k_dir"
    _k_file=$(k_undo_file)
    _k_others=no
    for _k_other in "$K_STATE"/undo.d/*.sh; do
        [ -e "$_k_other" ] && [ "$_k_other" != "$_k_file.sh" ] && _k_others=yes
    done
    # With other faults in force there is nothing to compare yet.
    if [ "$_k_others" = no ] && [ -e "$_k_file.rules" ]; then
        # In memory: the disk may be full.
        _k_after=$(k_rules)
        if [ "$_k_after" = "$(cat "$_k_file.rules")" ]; then
            echo same
        else
            sed 's/^/before /' "$_k_file.rules"
            printf '%s\n' "$_k_after" | sed 's/^/after /'
        fi
    fi
    rm -rf "$_k_dir"
    k_forget "$_k_file"
    [ -d "$K_STATE/undo.d" ] && k_durable "$K_STATE/undo.d"
    k_say "run=$K_RUN fault=$K_KEY phase=disarmed"
    echo disarmed
}

# `kchaos heal`: everything of ours on this host, whatever run it was of. Judged by the state of the host. yes or no: whether the lock of
# another run is taken away before it lapses.
k_sweep() {
    for _k_script in "$K_STATE"/undo.d/*.sh; do
        [ -e "$_k_script" ] || continue
        K_KEY=${_k_script##*/} && K_KEY=${K_KEY%.sh}
        _k_dir=$(k_lease_dir)
        _k_about=$(sh "$_k_script" about </dev/null 2>/dev/null)
        # A watchdog at work is left to finish: it may be nursing a daemon through its start.
        _k_wait=0
        while [ -e "$_k_dir/fired" ] && [ ! -e "$_k_dir/undone" ] && [ "$_k_wait" -lt 300 ] &&
            { read -r _k_pid _k_start <"$_k_dir/watchdog"; } 2>/dev/null && k_same_process "$_k_pid" "$_k_start"; do
            _k_wait=$((_k_wait + 1))
            k_nap 0.5
        done
        _k_how=healed
        [ -e "$_k_dir/fired" ] && _k_how=lapsed
        # Nor is an injection cut short that is under way: it ends, and is undone.
        [ -d "$_k_dir" ] && k_mutex_take "$_k_dir/mutex" 40
        sh "$_k_script" verify </dev/null >/dev/null 2>&1 || sh "$_k_script" undo </dev/null >/dev/null 2>&1
        if sh "$_k_script" verify </dev/null >/dev/null 2>&1; then
            # Half-applied things that a look at the whole does not show.
            case $_k_about in *" cut "*) sh "$_k_script" undo </dev/null >/dev/null 2>&1 ;; esac
            k_disarm | while read -r _k_word _k_rest; do
                case $_k_word in before | after) echo "rules $K_KEY differ from before" && break ;; esac
            done
            echo "$_k_how $K_KEY $_k_about"
        else
            k_mutex_drop "$_k_dir/mutex"
            k_say "run=$K_RUN fault=$K_KEY phase=unhealed"
            echo "unhealed $K_KEY $_k_about"
        fi
    done
    for _k_dir in "$K_VOLATILE"/lease/*; do
        [ -d "$_k_dir" ] || continue
        K_KEY=${_k_dir##*/}
        [ -e "$(k_undo_file).sh" ] && continue
        k_disarm >/dev/null
        echo "healed $K_KEY a lease without a fault"
    done
    k_sweep_cuts
    k_sweep_links
    k_sweep_workers
    k_halted
    if k_lock_read; then
        if [ "$K_HELD_BY" != "$K_RUN" ] && [ "$1" = yes ]; then
            rm -rf "$K_VOLATILE/lock"
            echo "healed lock held by run $K_HELD_BY ($K_HELD_HOLDER), taken away by order"
        elif [ "$K_HELD_BY" = "$K_RUN" ]; then
            # The sweeping run's own, even if it lapsed while that lagged: nothing was left, and it drops it itself.
            :
        elif [ "$K_HELD_FOR" -le 0 ]; then
            rm -rf "$K_VOLATILE/lock"
            echo "healed lock left by run $K_HELD_BY ($K_HELD_HOLDER)"
        else
            echo "held $K_HELD_FOR $K_HELD_BY $K_HELD_HOLDER"
        fi
    fi
    echo swept
}
