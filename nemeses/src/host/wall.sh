# The wall clock of a whole host, set by date(1): never that of the machine that kchaos runs on, nor of any that shares its kernel. Given:
# W_CONTROLLER and W_BOOTED: the id of that machine's boot, and its second since 1970. W_BASE: what the wall clock and the time since boot differ
# by when the clock is right, in hundredths of a second. W_BOOT: the boot of this host to which that belongs. W_UNITS: its time daemons.
#
# A step of the wall clock leaves the time since boot (/proc/uptime) alone. adjtimex would not: it changes the pace of both, so that nothing on
# the host could tell how far it had gone. So the clock is only ever stepped here.

W_OURS=''

# Says why this clock must not be set; succeeds where it may. Part of every script that sets it.
k_wall_guard() {
    [ "$W_OURS" = yes ] && return 0
    _w_own=''
    { read -r _w_own </proc/sys/kernel/random/boot_id; } 2>/dev/null
    for _w_id in "$W_CONTROLLER" "$_w_own"; do
        case $_w_id in
        *[!0-9a-f-]* | '') _w_id='' ;;
        ????????-????-????-????-????????????) ;;
        *) _w_id='' ;;
        esac
        [ -n "$_w_id" ] || { echo "whether it shares its kernel with the machine that kchaos runs on cannot be told (no boot_id)"; return 1; }
    done
    [ "$_w_own" != "$W_CONTROLLER" ] || { echo "the host shares its kernel, and so its clock, with the machine that kchaos runs on"; return 1; }
    if _w_in=$(k_wall_container); then
        echo "the host is a container ($_w_in), whose clock is that of the machine it runs on"
        return 1
    fi
    _w_caps=$(sed -n 's/^CapEff:[^0-9a-f]*//p' /proc/self/status 2>/dev/null)
    case $_w_caps in
    *[2367abef]??????) ;;
    *) echo "commands there may not set the clock: they are not root's, or lack CAP_SYS_TIME"; return 1 ;;
    esac
    W_OURS=yes
}

# Names what says so; fails on a host that is none.
k_wall_container() {
    for _w_sign in "${KCHAOS_PLACE:+kchaos reached it through an engine}" "$(systemd-detect-virt -c 2>/dev/null | sed '/^none$/d')" \
        "$(tr '\0' '\n' 2>/dev/null </proc/1/environ | sed -n 's/^container=/PID 1 says /p')"; do
        [ -n "$_w_sign" ] && { echo "$_w_sign"; return 0; }
    done
    for _w_sign in /.dockerenv /run/.containerenv /run/host/container-manager /run/systemd/container; do
        [ -e "$_w_sign" ] && { echo "$_w_sign"; return 0; }
    done
    # A user namespace, or a network of its own: at least it is not the whole host.
    read -r _w_a _w_b _w_c 2>/dev/null </proc/self/uid_map && [ "$_w_a $_w_b $_w_c" != '0 0 4294967295' ] &&
        { echo "its users are mapped"; return 0; }
    [ "$(readlink /proc/self/ns/net)" != "$(readlink /proc/1/ns/net)" ] && { echo "a network of its own"; return 0; }
    return 1
}

# A container's boot_id may be made up (systemd-nspawn does so, and kchaos may run in one): two kernels that booted in the same second are taken for
# one. Only before the fault, since the fault moves what is compared.
k_wall_booted() {
    _w_second=$(sed -n 's/^btime //p' /proc/stat 2>/dev/null)
    case ${_w_second:-x}${W_BOOTED:-x} in *[!0-9]*) echo "when its kernel booted cannot be told (no btime)"; return 1 ;; esac
    _w_between=$((_w_second - W_BOOTED))
    [ "$_w_between" -ge -2 ] && [ "$_w_between" -le 2 ] || return 0
    echo "its kernel booted in the same second as that of the machine that kchaos runs on, and is taken for the same"
    return 1
}

# K_WALL: the wall clock in hundredths of a second, at K_NOW; K_SPAN: as uncertain as that.
k_wall_read() {
    k_now && _w_before=$K_NOW
    K_WALL=$(date +%s%N) && k_now || return 1
    case $K_WALL in '' | *[!0-9]*) return 1 ;; esac
    K_WALL=${K_WALL%???????} K_SPAN=$((K_NOW - _w_before)) K_NOW=$(((_w_before + K_NOW) / 2))
}

# "base HUNDREDTHS": the best of five looks.
k_wall_base() {
    _w_best=''
    for _w_turn in 1 2 3 4 5; do
        k_wall_read || { echo "refused date +%s%N says no nanoseconds (GNU coreutils do)"; return; }
        { [ -z "$_w_best" ] || [ "$K_SPAN" -lt "$_w_best" ]; } && _w_best=$K_SPAN _w_base=$((K_WALL - K_NOW))
    done
    echo "base $_w_base"
}

# K_OFF: by how much the clock is wrong, in hundredths of a second.
k_wall_off() {
    k_wall_read && K_OFF=$((K_WALL - K_NOW - W_BASE))
}

# BY HOW MUCH (hundredths of a second) the clock is to be wrong. The only place where it is set. What a command takes is made up for.
k_wall_set() {
    _w_why=$(k_wall_guard) || { echo "refused $_w_why"; return 1; }
    W_OURS=yes _w_late=0
    for _w_turn in 1 2 3 4; do
        k_now
        _w_to=$((W_BASE + K_NOW + $1 + _w_late))
        date -s "@$((_w_to / 100)).$(printf %02d $((_w_to % 100)))" >/dev/null 2>&1 || { echo "refused the command date did not set it"; return 1; }
        k_wall_off || return 1
        _w_miss=$((K_OFF - $1))
        [ "$_w_miss" -ge -5 ] && [ "$_w_miss" -le 5 ] && return 0
        _w_late=$((_w_late - _w_miss))
    done
    [ "$_w_miss" -ge -50 ] && [ "$_w_miss" -le 50 ] && return 0
    echo "refused the clock was set and is off by $_w_miss hundredths of a second all the same"
    return 1
}

# BY HOW MUCH it should be wrong, give or take a second.
k_wall_is() {
    k_wall_off && [ $((K_OFF - $1)) -ge -100 ] && [ $((K_OFF - $1)) -le 100 ]
}

# "unit NAME" of each service that keeps the clock right; "stray PID NAME" of a process that does and is none of them.
k_wall_keepers() {
    if [ -d /run/systemd/system ]; then
        for _w_unit in systemd-timesyncd chrony chronyd ntp ntpd ntpsec openntpd; do
            case $(systemctl show -p ActiveState "$_w_unit.service" 2>/dev/null) in
            *=active | *=activating | *=reloading) systemctl show -p Id "$_w_unit.service" | sed 's/^Id=/unit /' ;;
            esac
        done | sort -u
    fi
}

k_wall_stray() {
    for _w_comm in /proc/[0-9]*/comm; do
        { read -r _w_name <"$_w_comm"; } 2>/dev/null || continue
        case $_w_name in
        systemd-timesyn | chronyd | ntpd | ntpsec | ntpd-rs* | openntpd | phc2sys | timemaster)
            _w_pid=${_w_comm#/proc/}
            echo "$_w_name, pid ${_w_pid%/comm}"
            return 0
            ;;
        esac
    done
    return 1
}

k_wall_mark() { echo "$K_VOLATILE/clock"; }

# The host's clock is in the hands of this fault; W_HELD_BY: in whose.
k_wall_mine() {
    W_HELD_BY=''
    { read -r W_HELD_BY <"$(k_wall_mark)"; } 2>/dev/null && [ "$W_HELD_BY" = "$K_KEY" ]
}

# Before anything is planned: "base", "boot", "unit"; or "refused".
k_wall_look() {
    _w_why=$(k_wall_guard) || { echo "refused $_w_why"; return; }
    _w_why=$(k_wall_booted) || { echo "refused $_w_why"; return; }
    k_wall_mine
    [ -z "$W_HELD_BY" ] || { echo "refused the host's clock is in the hands of the fault $W_HELD_BY"; return; }
    _w_units=$(k_wall_keepers)
    if [ -z "$_w_units" ] && _w_stray=$(k_wall_stray); then
        echo "refused $_w_stray, keeps the clock right and is no service of systemd that kchaos knows: stop it for the time of the run"
        return
    fi
    read -r _w_own </proc/sys/kernel/random/boot_id && echo "boot $_w_own"
    [ -z "$_w_units" ] || printf '%s\n' "$_w_units"
    k_wall_base
}

# Everything before the clock itself. In an injection: behind the lease.
k_wall_take() {
    _w_why=$(k_wall_guard) || { echo "refused $_w_why"; return 1; }
    _w_why=$(k_wall_booted) || { echo "refused $_w_why"; return 1; }
    read -r _w_own </proc/sys/kernel/random/boot_id
    [ "$_w_own" = "$W_BOOT" ] || { echo "refused the host was started anew since the fault was planned"; return 1; }
    k_wall_is 0 || { echo "refused the clock was set by somebody else since the fault was planned"; return 1; }
    # In one step, and only if nobody has it.
    echo "$K_KEY" >"$(k_wall_mark).$$" && ln "$(k_wall_mark).$$" "$(k_wall_mark)" 2>/dev/null
    rm -f "$(k_wall_mark).$$"
    k_wall_mine || { echo "refused the host's clock is in the hands of the fault ${W_HELD_BY:-nobody, and no file can be made in $K_VOLATILE}"; return 1; }
    for _w_unit in $W_UNITS; do
        systemctl stop "$_w_unit" >/dev/null 2>&1 || { echo "refused systemctl stop $_w_unit failed"; return 1; }
    done
    if _w_stray=$(k_wall_stray); then
        echo "refused $_w_stray, still runs and would set the clock right"
        return 1
    fi
    k_wall_armed
}

# Stopping a service may take longer than the lease: then the undo has been, and there must be nothing behind it.
k_wall_armed() {
    k_is_armed 2>/dev/null && return 0
    k_wall_mend >/dev/null
    echo "refused the lease lapsed while the time daemon was being stopped"
    return 1
}

# BY HOW MUCH
k_wall_bump() {
    k_wall_take && k_wall_set "$1" && k_wall_armed && echo "set $K_OFF"
}

# The loop's text on standard input: it lies with the lease and ends with it.
k_wall_beats() {
    _w_dir=$K_VOLATILE/lease/$K_KEY
    cat >"$_w_dir/beat.sh" || return 1
    k_wall_take || return 1
    setsid sh "$_w_dir/beat.sh" </dev/null >/dev/null 2>&1 &
    _w_turn=0
    until k_wall_goes; do
        _w_turn=$((_w_turn + 1))
        [ "$_w_turn" -ge 100 ] && { echo "refused the loop that moves the clock did not start"; return 1; }
        k_nap 0.1
    done
    echo set
}

# skew or strobe. Kept by the time since boot, so that the pace does not hang on what a step takes.
k_wall_beat() {
    _w_dir=$K_VOLATILE/lease/$K_KEY _w_was=0
    k_proc_stat $$
    echo "$$ $P_START" >"$_w_dir/beat.next" && mv -f "$_w_dir/beat.next" "$_w_dir/beat" || return 1
    k_now && _w_began=$K_NOW
    while [ -e "$_w_dir/beat" ] && [ ! -e "$_w_dir/fired" ] && k_wall_mine; do
        k_now
        _w_for=$((K_NOW - _w_began)) _w_wanted=0
        case $1 in
        skew) _w_wanted=$((_w_for < 18000 ? -_w_for / 2 : -9000)) ;;
        strobe) [ $((_w_for / 200 % 2)) -eq 0 ] && _w_wanted=3000 ;;
        esac
        if [ "$_w_wanted" -ne "$_w_was" ]; then
            k_wall_set "$_w_wanted" || break
            _w_was=$_w_wanted
        fi
        k_nap 0.5
    done
    # Whoever ended it sets the clock right too: with nobody there it is done here.
    k_wall_set 0
}

k_wall_goes() {
    { read -r _w_pid _w_start <"$K_VOLATILE/lease/$K_KEY/beat"; } 2>/dev/null && k_same_process "$_w_pid" "$_w_start"
}

# Waits for it to end by itself: a step that it has begun must not come after the last one.
k_wall_silence() {
    k_wall_goes || return 0
    rm -f "$K_VOLATILE/lease/$K_KEY/beat"
    _w_turn=0
    while k_same_process "$_w_pid" "$_w_start"; do
        _w_turn=$((_w_turn + 1))
        [ "$_w_turn" -eq 100 ] && kill -9 "$_w_pid"
        [ "$_w_turn" -ge 110 ] && return 1
        k_nap 0.1
    done
}

# Right again by the time since boot, whenever that is; then the time daemons. Where this fault does not have the clock, there is nothing to do.
k_wall_mend() {
    k_wall_mine || { echo right; return 0; }
    k_wall_silence || { echo "refused the loop that moves the clock does not end"; return 1; }
    _w_own=''
    { read -r _w_own </proc/sys/kernel/random/boot_id; } 2>/dev/null
    [ -n "$_w_own" ] || { echo "refused of which boot its kernel is cannot be told (no boot_id)"; return 1; }
    # After a reboot the clock is whatever the hardware's says, and not ours to set.
    if [ "$_w_own" = "$W_BOOT" ]; then
        # One that somebody started in mid-fault may hold the wrong time for the right one.
        for _w_unit in $W_UNITS; do
            systemctl stop "$_w_unit" >/dev/null 2>&1 || { echo "refused systemctl stop $_w_unit failed"; return 1; }
        done
        k_wall_set 0 || return 1
    fi
    for _w_unit in $W_UNITS; do
        systemctl start "$_w_unit" >/dev/null 2>&1 || { echo "refused systemctl start $_w_unit failed"; return 1; }
    done
    rm -f "$(k_wall_mark)"
    k_say "run=$K_RUN fault=$K_KEY phase=clock-right"
    echo right
}

# "off HUNDREDTHS", "unit NAME STATE" of each that was stopped, "held KEY" (a fault has the clock), "beats" (a loop moves it).
k_wall_state() {
    k_wall_off && echo "off $K_OFF"
    for _w_unit in $W_UNITS; do
        echo "unit $_w_unit $(systemctl show -p ActiveState "$_w_unit" 2>/dev/null | sed 's/^ActiveState=//')"
    done
    k_wall_mine
    [ -z "$W_HELD_BY" ] || echo "held $W_HELD_BY"
    if k_wall_goes; then echo beats; fi
}

# Fails, saying why, where a time daemon has come back.
k_wall_unkept() {
    for _w_unit in $W_UNITS; do
        case $(systemctl show -p ActiveState "$_w_unit" 2>/dev/null) in
        *=active | *=activating) echo "early somebody started $_w_unit again"; return 1 ;;
        esac
    done
}
