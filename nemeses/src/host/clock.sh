# The clock of one daemon under libfaketime. C_FILE: where it reads its offset; C_LOGS: its daemon logs, whose stamps show it.

# OFFSET in seconds, with its sign. In one step: a daemon that read half a file would end.
k_clock_set() {
    [ -f "$C_FILE" ] || { echo "refused there is no $C_FILE: was the lab brought up with --clock faketime?"; return; }
    printf '%s\n' "$1" >"$C_FILE.next" && mv -f "$C_FILE.next" "$C_FILE" && echo set
}

k_clock_is() {
    _k_offset=''
    { read -r _k_offset <"$C_FILE"; } 2>/dev/null
    [ "$_k_offset" = "$1" ]
}

# `offset SECONDS AGE`: the stamp of the last line that the daemon logged, by its own clock, against the time at which the kernel saw the file
# change; and how many seconds ago that was.
k_clock_offset() {
    for _k_file in $(ls -t "$C_LOGS"/*.log 2>/dev/null); do
        _k_stamp=$(tail -n 400 "$_k_file" | sed -n 's/^\[\(20[0-9-]* [0-9:]*\),[0-9]*\].*/\1/p' | tail -n 1)
        [ -n "$_k_stamp" ] || continue
        _k_seen=$(stat -c %Y "$_k_file") && _k_said=$(date -d "$_k_stamp" +%s) || break
        echo "offset $((_k_said - _k_seen)) $(($(date +%s) - _k_seen))"
        return
    done
    echo "none no stamped line in $C_LOGS"
}

# With the fault's lease; an undo script knows no more of that than this.
k_strobe_dir() { echo "$K_VOLATILE/lease/$K_KEY"; }

# The loop's text on standard input. It lies with the lease and ends with it; that it goes is known by its pid and start time.
k_strobe_begin() {
    _k_dir=$(k_strobe_dir)
    [ -f "$C_FILE" ] || { echo "refused there is no $C_FILE: was the lab brought up with --clock faketime?"; return; }
    cat >"$_k_dir/strobe.sh" || return 1
    setsid sh "$_k_dir/strobe.sh" </dev/null >/dev/null 2>&1 &
    _k_turn=0
    until k_strobe_goes; do
        _k_turn=$((_k_turn + 1))
        [ "$_k_turn" -ge 60 ] && { echo "refused the loop that moves the clock did not start"; return; }
        k_nap 0.05
    done
    echo set
}

# OFFSET
k_strobe() {
    _k_dir=$(k_strobe_dir)
    k_proc_stat $$
    echo "$$ $P_START" >"$_k_dir/strobe.next" && mv -f "$_k_dir/strobe.next" "$_k_dir/strobe" || return 1
    _k_turn=0
    while [ -e "$_k_dir/strobe" ] && [ ! -e "$_k_dir/fired" ]; do
        case $((_k_turn % 8)) in
        0) k_clock_set "$1" ;;
        4) k_clock_set +0 ;;
        esac
        _k_turn=$((_k_turn + 1))
        k_nap 0.5
    done
    k_clock_set +0
}

k_strobe_goes() {
    { read -r _k_pid _k_start <"$(k_strobe_dir)/strobe"; } 2>/dev/null && k_same_process "$_k_pid" "$_k_start"
}

k_strobe_end() {
    if k_strobe_goes; then kill -9 "$_k_pid"; fi
    rm -f "$(k_strobe_dir)/strobe"
}
