# kchaos host library, version 1. POSIX sh; everything here is a function, so a script cut off on its way does nothing.
# Given by whoever sends it: K_STATE (survives a reboot), K_VOLATILE (does not), K_RUN, K_KEY (RUN-FAULT), K_OWNER.
# Names begin with k_ or K_; P_STATE and P_START are answers of proc_stat.

# A host that is a container shares its engine's host with others: what is kept for it is kept apart.
if [ -n "${KCHAOS_PLACE-}" ]; then
    K_STATE=$K_STATE/$KCHAOS_PLACE K_VOLATILE=$K_VOLATILE/$KCHAOS_PLACE
fi

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
LC_ALL=C
export PATH LC_ALL

# K_NOW: hundredths of a second since boot. Monotonic, whatever is done to the clock.
k_now() {
    read -r K_NOW _k_rest </proc/uptime || return 1
    K_NOW=${K_NOW%.*}${K_NOW#*.}
}

k_nap() {
    sleep "$1" 2>/dev/null || sleep 1
}

# On disk, not in a cache.
k_durable() {
    sync "$@" 2>/dev/null || sync
}

k_proc_stat() {
    P_STATE='' P_START=''
    { read -r _k_line <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The program's name may hold blanks and brackets: count from behind its last bracket.
    # shellcheck disable=SC2086
    set -- ${_k_line##*) }
    P_STATE=$1 P_START=${20}
}

# The process with this pid AND this start time; a zombie is gone.
k_same_process() {
    k_proc_stat "$1" && [ "$P_START" = "$2" ] && [ "$P_STATE" != Z ] && [ "$P_STATE" != X ]
}

# A lock by mkdir: DIRECTORY TRIES (of 0.05 s).
k_mutex_take() {
    _k_tries=0
    until mkdir "$1" 2>/dev/null; do
        _k_tries=$((_k_tries + 1))
        [ "$_k_tries" -ge "$2" ] && return 1
        k_nap 0.05
    done
}

k_mutex_drop() {
    rmdir "$1" 2>/dev/null || :
}

# What we do to this host is said to syslog, and kept in a file of ours: when, what, of which run, and who. What cannot be written down (a full
# disk) holds nobody up.
k_say() {
    command -v logger >/dev/null 2>&1 && logger -t kchaos "$*" </dev/null >/dev/null 2>&1
    (
        umask 077
        mkdir -p "$K_STATE" || exit
        [ "$(wc -c <"$K_STATE/audit.log")" -gt 1000000 ] && mv -f "$K_STATE/audit.log" "$K_STATE/audit.log.1"
        printf '%s %s by=%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*" "${K_OWNER-}" >>"$K_STATE/audit.log"
    ) </dev/null >/dev/null 2>&1
    :
}

# The host's packet filter and queues, without what is ours, without counters and expiries, so that two of them can be compared.
k_rules() {
    {
        _k_legacy=yes
        if command -v nft >/dev/null 2>&1; then
            nft -s list ruleset 2>/dev/null
            case $(iptables -V 2>/dev/null) in *legacy*) ;; *) _k_legacy=no ;; esac
        fi
        if [ "$_k_legacy" = yes ]; then
            iptables-save 2>/dev/null
            ip6tables-save 2>/dev/null
        fi
        tc qdisc show 2>/dev/null
    } | sed -e '/^table inet kchaos_/,/^}/d' \
        -e '/^	chain KCHAOS-/,/^	}/d' -e '/KCHAOS-/d' \
        -e '/127\.0\.0\.11[: ]/d' -e '/^#/d' -e '/^[ 	]*$/d' \
        -e 's/counter packets [0-9]* bytes [0-9]*/counter/g' -e 's/ expires [0-9a-z]*//g' -e 's/ \[[0-9]*:[0-9]*\]$//'
}

# The base chains that iptables made for itself, which it leaves behind when it is done: "ip filter" and "ip filter INPUT".
k_base_chains() {
    command -v nft >/dev/null 2>&1 || return 0
    for _k_family in ip ip6; do
        nft list chains "$_k_family" 2>/dev/null | while read -r _k_a _k_b _k_c _k_rest; do
            case $_k_a in
            table) _k_table=$_k_c && echo "$_k_family $_k_c" ;;
            chain) case $_k_b in INPUT | OUTPUT | FORWARD) echo "$_k_family $_k_table $_k_b" ;; esac ;;
            esac
        done
    done
}
