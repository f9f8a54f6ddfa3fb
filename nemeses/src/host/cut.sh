# Cuts: nftables tables kchaos_*, iptables chains KCHAOS-*, and probes from the cut side.

# ADDRESS PORT: open, refused (reachable all the same), silent, or untested where no tool is there.
k_probe() {
    if command -v bash >/dev/null 2>&1 && command -v timeout >/dev/null 2>&1; then
        _k_text=$(timeout 1 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$1" "$2" 2>&1)
        _k_status=$?
    elif command -v nc >/dev/null 2>&1; then
        _k_text=$(nc -z -v -w 1 "$1" "$2" 2>&1)
        _k_status=$?
    elif command -v curl >/dev/null 2>&1; then
        case $1 in *:*) _k_url="telnet://[$1]:$2" ;; *) _k_url="telnet://$1:$2" ;; esac
        _k_text=$(curl -s -v --connect-timeout 1 -m 1 "$_k_url" 2>&1 </dev/null)
        case $_k_text in *"Connected to"*) _k_status=0 ;; *) _k_status=1 ;; esac
    else
        echo untested
        return
    fi
    case $_k_status:$_k_text in
    0:*) echo open ;;
    *efused*) echo refused ;;
    *) echo silent ;;
    esac
}

# Lines "ADDRESS PORT" on standard input; all at once, so that many silent peers cost one second.
k_probes() {
    while read -r _k_address _k_port; do
        [ -n "$_k_port" ] || continue
        (echo "probe $_k_address $_k_port $(k_probe "$_k_address" "$_k_port")") </dev/null &
    done
    wait
}

# ADDRESS PORT: asks again and again, for some seconds at most, until it was silent and then answered.
k_flap_probes() {
    _k_silent=0 _k_reached=0 _k_turn=0
    while [ "$_k_turn" -lt 12 ] && [ "$_k_reached" -eq 0 ]; do
        _k_turn=$((_k_turn + 1))
        case $(k_probe "$1" "$2") in
        silent) _k_silent=$((_k_silent + 1)) ;;
        open | refused) [ "$_k_silent" -eq 0 ] || _k_reached=$((_k_reached + 1)) ;;
        esac
        k_nap 0.3
    done
    echo "beat $_k_silent $_k_reached"
}

k_nft_counters() {
    nft list counters table inet "$1" 2>/dev/null | while read -r _k_a _k_b _k_rest; do
        case $_k_a in
        counter) _k_name=$_k_b ;;
        packets) echo "counter $_k_name $_k_b" ;;
        esac
    done
}

k_nft_is_cut() {
    nft list table inet "$1" >/dev/null 2>&1
}

k_nft_uncut() {
    k_nft_is_cut "$1" || return 0
    printf 'add table inet %s\ndelete table inet %s\n' "$1" "$1" | nft -f -
}

# IPTABLES CHAIN. By the list of what is there: asking for a rule by -C or -D would make base chains where there were none.
k_ipt_has() {
    "$1-save" -t filter 2>/dev/null | grep -q "^:$2 "
}

k_ipt_is_cut() {
    for _k_ipt in iptables ip6tables; do
        for _k_chain in "$1-I" "$1-O"; do
            k_ipt_has "$_k_ipt" "$_k_chain" && return 0
        done
    done
    return 1
}

# Whether both jumps are still there.
k_ipt_holds() {
    _k_list=$(iptables-save -t filter 2>/dev/null)
    printf "%s\n" "$_k_list" | grep -q "^-A INPUT .*-j $1-I\$" && printf "%s\n" "$_k_list" | grep -q "^-A OUTPUT .*-j $1-O\$"
}

# CHAIN BASE_FILE (may be absent). Jumps are deleted as they are listed, which is by our chain's name and nothing else; all in one
# transaction, and one by one should that fail.
k_ipt_uncut() {
    for _k_ipt in iptables ip6tables; do
        _k_list=$("$_k_ipt-save" -t filter 2>/dev/null)
        _k_ours=$(printf "%s\n" "$_k_list" | sed -n "s/^:\\($1-[IO]\\) .*/\\1/p")
        [ -n "$_k_ours" ] || continue
        _k_jumps=$(printf "%s\n" "$_k_list" | sed -n "s/^-A \\(.* -j $1-[IO]\\)\$/-D \\1/p")
        {
            echo '*filter'
            printf "%s\n" "$_k_jumps"
            for _k_chain in $_k_ours; do printf -- '-F %s\n-X %s\n' "$_k_chain" "$_k_chain"; done
            echo COMMIT
        } | "$_k_ipt-restore" --noflush -w 5 2>/dev/null && continue
        printf "%s\n" "$_k_jumps" | while read -r _k_jump; do
            printf "%s\n" "$_k_jump" | xargs "$_k_ipt" -w 5
        done
        for _k_chain in $_k_ours; do
            "$_k_ipt" -w 5 -F "$_k_chain"
            "$_k_ipt" -w 5 -X "$_k_chain"
        done
    done
    [ -e "$2" ] && k_base_restore "$2"
    :
}

# FAMILY TABLE [CHAIN]: whether nothing but its own declaration stands in it.
k_nft_is_bare() {
    if [ -n "${3-}" ]; then _k_list="chain $1 $2 $3"; else _k_list="table $1 $2"; fi
    # shellcheck disable=SC2086
    ! nft list $_k_list 2>/dev/null |
        grep -q -v -e '^table' -e '^	chain [A-Z]* {$' -e '^		type filter hook .* policy accept;' -e '^	*}$' -e '^#' -e '^[ 	]*$'
}

# Removes base chains and tables that iptables itself made for us: absent before, bare now.
k_base_restore() {
    command -v nft >/dev/null 2>&1 || return 0
    k_base_chains | while read -r _k_family _k_table _k_chain; do
        [ "$_k_table" = filter ] && [ -n "$_k_chain" ] || continue
        grep -q "^$_k_family filter $_k_chain\$" "$1" && continue
        k_nft_is_bare "$_k_family" filter "$_k_chain" && nft delete chain "$_k_family" filter "$_k_chain"
    done
    for _k_family in ip ip6; do
        grep -q "^$_k_family filter\$" "$1" && continue
        k_base_chains | grep -q "^$_k_family filter\$" || continue
        nft list table "$_k_family" filter 2>/dev/null | grep -q -v -e '^table' -e '^}' -e '^#' -e '^[ 	]*$' ||
            nft delete table "$_k_family" filter
    done
}

# By the comment that each rule of ours bears.
k_ipt_counters() {
    for _k_ipt in iptables ip6tables; do
        for _k_side in I:in O:out; do
            "$_k_ipt-save" -c -t filter 2>/dev/null | sed -n \
                "s/^\[\([0-9]*\):[0-9]*\] -A $1-${_k_side%:*} .*--comment \"\{0,1\}\([a-z]*\)\"\{0,1\}.*/counter \2_${_k_side#*:} \1/p"
        done
    done
}

# What is ours and belongs to no undo script: left by something that went very wrong, and named by its prefix alone.
k_sweep_cuts() {
    if command -v nft >/dev/null 2>&1; then
        nft list tables 2>/dev/null | while read -r _k_a _k_b _k_c; do
            case $_k_b:$_k_c in
            inet:kchaos_*)
                k_nft_uncut "$_k_c" 2>/dev/null
                if k_nft_is_cut "$_k_c"; then _k_how=unhealed; else _k_how=healed; fi
                echo "$_k_how $_k_c a table without a fault"
                ;;
            esac
        done
    fi
    for _k_tables in iptables ip6tables; do
        "$_k_tables-save" -t filter 2>/dev/null | sed -n 's/^:\(KCHAOS-[^ ]*\)-[IO] .*/\1/p' | sort -u | while read -r _k_name; do
            k_ipt_uncut "$_k_name" /nonexistent >/dev/null 2>&1
            if k_ipt_is_cut "$_k_name"; then _k_how=unhealed; else _k_how=healed; fi
            echo "$_k_how $_k_name a chain without a fault"
        done
    done
}

# What the host is and has: what a cut must spare, and what it can use.
k_facts() {
    echo "boot $(cat /proc/sys/kernel/random/boot_id)"
    _k_connection=${SSH_CONNECTION-}
    # sudo drops it: an ancestor has it.
    _k_pid=$$
    while [ -z "$_k_connection" ] && [ "$_k_pid" -gt 1 ] && k_proc_stat "$_k_pid"; do
        _k_connection=$(tr '\0' '\n' <"/proc/$_k_pid/environ" 2>/dev/null | sed -n 's/^SSH_CONNECTION=//p')
        # shellcheck disable=SC2086
        set -- ${_k_line##*) }
        _k_pid=$2
    done
    # shellcheck disable=SC2086
    set -- $_k_connection
    [ $# -eq 4 ] && echo "controller $1 $4"
    if command -v ip >/dev/null 2>&1; then
        ip -o addr show 2>/dev/null | while read -r _k_n _k_if _k_family _k_address _k_rest; do
            case $_k_rest in *"scope global"*) echo "address ${_k_address%/*}" ;; esac
        done
    fi
    nft list tables >/dev/null 2>&1 && echo "firewall nftables"
    iptables -V >/dev/null 2>&1 && echo "firewall iptables"
    :
}
