
# The verbs of the helper. Words have been held against their patterns (helper_words.sh) where something is done with them.

# NAME MUST: the first part is for IPv4, the second for IPv6, without which a host may live unless MUST is yes.
h_ipt_cut() {
    k_ipt_uncut "$1" /nonexistent 2>/dev/null
    printf '%s\n' "$H_INPUT" | sed '/^COMMIT$/q' | iptables-restore --noflush -w 5 || return 1
    if printf '%s\n' "$H_INPUT" | sed '1,/^COMMIT$/d' | ip6tables-restore --noflush -w 5; then
        echo both
    elif [ "$2" = yes ]; then
        return 1
    fi
}

h_nft_cut() { printf '%s\n' "$H_INPUT" | nft -f -; }

# Nothing is done to a host but what the host keeps the undoing of.
h_kept() {
    for _h_one in "$@"; do
        grep -qxF "# kind: $_h_one" "$(k_undo_file).sh" 2>/dev/null && return 0
    done
    h_refuse 'the host keeps no undo script of that kind for this fault'
}

# PID START, of the daemon whose functions are there: no other process is signalled, whoever asks. One that has gone is nobody's.
h_is_daemon() {
    _h_found=$(k_find_daemon) || h_refuse 'which process is the daemon cannot be told'
    [ "${_h_found% *}" = "$1 $2" ] || ! k_same_process "$1" "$2" || h_refuse 'that process is not the daemon'
}

h_with_time() {
    "$@" || return 1
    k_now && echo "at $K_NOW"
}

# LABEL held|plain
h_nurse() {
    h_label "$1"
    h_one_of 'the hold' "$2" held plain
    [ "$2" = plain ] || [ "$H_HOLDS" = yes ] || h_refuse 'nobody holds this daemon down'
}

# What is kept: a kind and its arguments.
h_kind() {
    case ${1-} in
    cut) h_count 3 "$#" && h_name "$2" "$3" ;;
    pause) h_count 4 "$#" && h_label "$2" && h_process "$3" "$4" ;;
    nurse) h_count 3 "$#" && h_nurse "$2" "$3" ;;
    asked) h_count 1 "$#" ;;
    *) h_refuse 'nothing of that kind is kept' ;;
    esac
}

# ABOUT KIND ...: a whole script, so that the host is mended whatever becomes of this file.
h_undo_text() {
    _h_about=$1
    shift
    printf '#!/bin/sh\n# kind: %s\n# Undoes what kchaos did. Idempotent; kept until it has been done.\n' "$*"
    printf "K_RUN='%s'\nK_KEY='%s'\nK_OWNER=''\n" "$K_RUN" "$K_KEY"
    sed -n '/^#< library$/,/^#> library$/p' "$H_SELF"
    case $1 in
    cut)
        if [ "$2" = nftables ]; then
            printf 'k_undo() { k_nft_uncut %s; }\nk_verify() { ! k_nft_is_cut %s; }\n' "$3" "$3"
        else
            # shellcheck disable=SC2016
            printf 'k_undo() { k_ipt_uncut %s "$K_STATE/undo.d/$K_KEY.base"; }\nk_verify() { ! k_ipt_is_cut %s; }\n' "$3" "$3"
        fi
        ;;
    pause)
        # shellcheck disable=SC2016
        printf 'k_undo() { k_signal %s %s CONT; }\nk_verify() { ! k_same_process %s %s || [ "$P_STATE" != T ]; }\n' "$3" "$4" "$3" "$4"
        ;;
    nurse)
        cat "$H_DAEMONS"
        printf 'h_daemon %s\n' "$2"
        if [ "$3" = held ]; then _h_free='h_release' _h_is_free='h_released &&'; else _h_free=':' _h_is_free=''; fi
        # shellcheck disable=SC2016
        printf 'k_undo() {\n%s\nk_nurse\n}\nk_verify() { %s [ -n "$(k_find_daemon)" ]; }\n' "$_h_free" "$_h_is_free"
        ;;
    asked) printf 'k_undo() { return 1; }\nk_verify() { return 1; }\n' ;;
    esac
    # shellcheck disable=SC2016
    printf 'case ${1-undo} in\nabout) echo '\''%s'\'' ;;\nverify) k_verify ;;\n*) k_undo ;;\nesac\n' "$_h_about"
}

h_opted_in() {
    sed -e 's/^[ 	]*//' -e 's/[ 	]*$//' "$H_OPT_IN" 2>/dev/null | grep -qxF "$H_CLUSTER"
}

# For a renewal, where it has been checked: whether the fault holds.
h_fault_holds() {
    case $1 in
    cut)
        if [ "$2" = iptables ]; then k_ipt_holds "$3"; else k_nft_is_cut "$3"; fi ||
            { echo 'early its rules are gone: the firewall was reloaded, or it was mended from elsewhere'; return 1; }
        [ "$2" = iptables ] || h_nft_cut 2>/dev/null || { echo 'lease the kernel has ended it'; return 1; }
        ;;
    pause)
        k_same_process "$3" "$4" || { echo 'early the paused process has gone'; return 1; }
        [ "$P_STATE" = T ] || { echo 'early the paused process runs again, and not by our doing'; return 1; }
        ;;
    down)
        [ "$3" = plain ] || h_holds || echo "$2 is not held down any more, and not by our doing"
        k_same_process "$4" "$5" || [ -z "$(k_find_daemon)" ] || echo "$2 runs again, and not by our doing"
        ;;
    esac
    return 0
}

# RUN KEY LEASE yes|no WHAT ...
h_renew() {
    h_number 'the lease' "$3" 360000
    h_one_of 'whether it is renewed' "$4" yes no
    _h_lease=$3 _h_touch=$4
    shift 4
    H_INPUT=''
    case ${1-} in
    cut)
        h_kind "$@"
        h_kept "$*"
        h_input
        if [ "$2" = nftables ]; then h_nft "$3" elements; elif [ -n "$H_INPUT" ]; then h_refuse 'chains have no elements'; fi
        ;;
    pause) h_kind "$@" ;;
    down)
        h_count 5 "$#"
        h_nurse "$2" "$3"
        h_process "$4" "$5"
        ;;
    any) h_count 1 "$#" ;;
    *) h_refuse 'nothing of that kind is renewed' ;;
    esac
    H_WHAT="$*"
    # shellcheck disable=SC2086
    k_fault_holds() { h_fault_holds $H_WHAT; }
    k_renew "$_h_lease" "$_h_touch"
}

# VERB ...: what is done only while the fault's lease is armed.
h_armed() {
    case ${1-} in
    signal)
        h_count 5 "$#"
        h_label "$2"
        h_process "$3" "$4"
        case $5 in
        STOP) h_kept "pause $2 $3 $4" ;;
        KILL) h_kept "nurse $2 plain" "nurse $2 held" ;;
        *) h_refuse 'the signal is neither STOP nor KILL' ;;
        esac
        h_is_daemon "$3" "$4"
        k_when_armed h_with_time k_signal "$3" "$4" "$5"
        ;;
    cut)
        h_count 4 "$#"
        h_name "$2" "$3"
        h_one_of 'whether IPv6 must be cut' "$4" yes no
        h_kept "cut $2 $3"
        h_input
        if [ "$2" = nftables ]; then
            h_nft "$3" table
            k_when_armed h_nft_cut
        else
            h_ipt "$3"
            k_when_armed h_ipt_cut "$3" "$4"
        fi
        ;;
    hold)
        h_count 2 "$#"
        h_nurse "$2" held
        h_kept "nurse $2 held"
        k_when_armed h_hold && echo held
        ;;
    stop | start)
        h_count 2 "$#"
        h_label "$2"
        h_kept "nurse $2 plain" "nurse $2 held"
        k_is_armed || return 1
        if [ "$1" = stop ]; then h_stop; else k_start_daemon; fi
        ;;
    *) h_refuse 'there is no such verb for a fault' ;;
    esac
}

# A lease is given up when its fault is seen to be mended, and not before. What the cluster itself is to be asked for, nobody sees from here.
h_disarm() {
    _h_file=$(k_undo_file).sh
    if [ -e "$_h_file" ] && ! sh "$_h_file" verify </dev/null >/dev/null 2>&1; then
        case $(sed -n 's/^# kind: //p' "$_h_file" | head -n 1):$(sh "$_h_file" about </dev/null 2>/dev/null) in
        asked:* | :*'; to put back: '*) ;;
        *) echo 'refused it is not mended'; return ;;
        esac
    fi
    k_disarm
}

h_counters() {
    if [ "$1" = nftables ]; then k_nft_counters "$2"; else k_ipt_counters "$2"; fi
}

h_is_cut() {
    if [ "$1" = nftables ]; then k_nft_is_cut "$2"; else k_ipt_is_cut "$2"; fi
}

# What is looked at, and changes nothing.
h_look() {
    case $1 in
    facts) h_count 1 "$#" && k_facts ;;
    bears)
        h_count 1 "$#"
        k_facts
        k_link_queues
        [ "$(id -u)" = 0 ] || echo powerless
        command -v ss >/dev/null 2>&1 || echo socketless
        ;;
    find) h_count 2 "$#" && h_label "$2" && k_find_daemon ;;
    evidence) h_count 2 "$#" && h_label "$2" && h_evidence ;;
    threads)
        h_count 4 "$#"
        h_process "$2" "$3"
        h_one_of 'the state' "$4" T R
        k_threads "$2" "$3" "$4"
        ;;
    gone)
        h_count 4 "$#"
        h_process "$2" "$3"
        h_number 'the wait' "$4" 200
        k_gone "$2" "$3" "$4"
        ;;
    probe) h_count 1 "$#" && h_probes && printf '%s\n' "$H_INPUT" | k_probes ;;
    cut-proof)
        h_count 3 "$#"
        h_name "$2" "$3"
        h_probes
        h_counters "$2" "$3"
        echo mark
        printf '%s\n' "$H_INPUT" | k_probes
        h_counters "$2" "$3"
        ;;
    cut-mended)
        h_count 3 "$#"
        h_name "$2" "$3"
        h_probes
        if h_is_cut "$2" "$3"; then echo cut; else echo uncut; fi
        printf '%s\n' "$H_INPUT" | k_probes
        ;;
    flap-proof)
        h_count 5 "$#"
        h_name "$2" "$3"
        h_address "$4"
        h_port "$5"
        h_counters "$2" "$3"
        echo mark
        k_flap_probes "$4" "$5"
        h_counters "$2" "$3"
        ;;
    connections)
        h_count 2 "$#"
        h_port "$2"
        k_connections "$2"
        k_nap 0.7
        echo mark
        k_connections "$2"
        ;;
    delay-proof)
        h_count 4 "$#"
        h_name "$2" "$3"
        h_port "$4"
        h_counters "$2" "$3"
        k_connections "$4"
        k_nap 0.5
        echo mark
        h_counters "$2" "$3"
        k_connections "$4"
        ;;
    esac
}

h_lock() {
    case $1 in
    lock | lock-renew)
        h_count 4 "$#"
        h_run "$2"
        h_number 'the lease' "$3" 1440000
        h_text 'the holder' "$4" 200
        K_OWNER=$4
        if [ "$1" = lock ]; then k_lock_take "$3"; else k_lock_renew "$3"; fi
        ;;
    unlock) h_count 2 "$#" && h_run "$2" && k_lock_drop ;;
    esac
}

h_keep() {
    [ $# -ge 5 ] || h_refuse 'keep has a run, a fault, a line for people and a kind'
    h_run "$2"
    h_key "$3"
    h_text 'the line for people' "$4" 4000
    shift 3
    _h_line=$1
    shift
    h_kind "$@"
    h_opted_in || { echo "refused the host is not opted in: $H_OPT_IN does not name $H_CLUSTER"; return; }
    h_undo_text "$_h_line" "$@" | k_keep
}

# Absolute paths of plain characters.
h_directories() {
    for _h_directory in "$@"; do
        case $_h_directory in *[!A-Za-z0-9._/-]* | *..* | [!/]* | '') h_refuse 'the directory is no plain path' ;; esac
        [ "${#_h_directory}" -le 400 ] || h_refuse 'the directory has a long name'
    done
}

# What is looked at before and during a run, and what ends all runs.
h_watch() {
    case $1 in
    halt)
        h_count 3 "$#"
        h_text 'the reason' "$2" 500
        h_text 'the holder' "$3" 200
        K_OWNER=$3
        k_halt "$2"
        ;;
    halt-release)
        h_count 2 "$#"
        h_text 'the holder' "$2" 200
        K_OWNER=$2
        k_release
        ;;
    glance)
        shift
        h_directories "$@"
        k_halted
        k_room "$@"
        ;;
    leftovers)
        shift
        h_directories "$@"
        k_halted
        k_room "$@"
        # shellcheck disable=SC2153
        k_lock_read && echo "held $K_HELD_FOR $K_HELD_BY $K_HELD_HOLDER"
        k_leftovers
        ;;
    esac
    :
}

# VERB ...
h_main() {
    case ${1-} in
    version)
        h_count 1 "$#"
        echo "helper $H_VERSION $(sha256sum <"$H_SELF")"
        echo "daemons $(sha256sum <"$H_DAEMONS")"
        ;;
    check) h_count 1 "$#" && h_check ;;
    facts | bears | find | evidence | threads | gone | probe | cut-proof | cut-mended | flap-proof | connections | delay-proof) h_look "$@" ;;
    lock | lock-renew | unlock) h_lock "$@" ;;
    keep) h_keep "$@" ;;
    arm)
        h_count 4 "$#"
        h_run "$2"
        h_key "$3"
        h_number 'the lease' "$4" 360000
        h_watchdog | k_arm "$4"
        ;;
    renew)
        [ $# -ge 6 ] || h_refuse 'renew has a run, a fault, a lease, yes or no, and what is renewed'
        h_run "$2"
        h_key "$3"
        shift
        h_renew "$@"
        ;;
    armed)
        [ $# -ge 4 ] || h_refuse 'armed has a run, a fault and a verb'
        h_run "$2"
        h_key "$3"
        shift 3
        h_armed "$@"
        ;;
    disarm)
        h_count 3 "$#"
        h_run "$2"
        h_key "$3"
        h_disarm
        ;;
    sweep)
        h_count 3 "$#"
        h_run "$2"
        h_one_of 'whether locks are broken' "$3" yes no
        k_sweep "$3"
        ;;
    continue)
        h_count 4 "$#"
        h_label "$2"
        h_process "$3" "$4"
        h_is_daemon "$3" "$4"
        k_signal "$3" "$4" CONT
        ;;
    uncut)
        h_count 5 "$#"
        h_run "$2"
        h_key "$3"
        h_name "$4" "$5"
        if [ "$4" = nftables ]; then k_nft_uncut "$5"; else k_ipt_uncut "$5" "$K_STATE/undo.d/$K_KEY.base"; fi
        ;;
    start) h_count 2 "$#" && h_label "$2" && k_start_daemon ;;
    glance | leftovers | halt | halt-release) h_watch "$@" ;;
    release) h_count 2 "$#" && h_nurse "$2" held && h_release ;;
    *) h_refuse 'there is no such verb (docs/least-privilege.md)' ;;
    esac
}

umask 022
cd / || exit 1
# shellcheck disable=SC1090
. "$H_DAEMONS" || exit 64
echo "$H_MARK"
h_main "$@"
