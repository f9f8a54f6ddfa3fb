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
