# The quality of a line: queues of our own on a device, with the handle 4b43: ("KC"). tc has no lease of the kernel's: the watchdog mends.

# DEVICE: kind and handle of its root queue. 0: is the kernel's own choice.
k_link_root() {
    tc qdisc show dev "$1" 2>/dev/null | sed -n 's/^qdisc \([^ ]*\) \([0-9a-f]*:\) root.*/\1 \2/p' | head -n 1
}

k_link_is_on() {
    case $(k_link_root "$1") in *' 4b43:') return 0 ;; *) return 1 ;; esac
}

k_link_off() {
    k_link_is_on "$1" || return 0
    tc qdisc del dev "$1" root handle 4b43:
}

# What queues this kernel has, tried in a network of its own.
k_link_queues() {
    if ! command -v tc >/dev/null 2>&1; then
        echo "missing tc"
    elif ! command -v unshare >/dev/null 2>&1; then
        echo "missing unshare"
    fi
    unshare -n tc qdisc add dev lo root netem delay 1ms 2>/dev/null && echo "queue netem"
    unshare -n tc qdisc add dev lo root tbf rate 1mbit burst 16kb latency 400ms 2>/dev/null && echo "queue tbf"
    unshare -n sh -c 'tc qdisc add dev lo root handle 1: htb default 0 &&
        tc class add dev lo parent 1: classid 1:1 htb rate 1gbit && tc filter add dev lo parent 1: protocol ip prio 1 \
        u32 match ip dst 192.0.2.1/32 flowid 1:1' 2>/dev/null && echo "queue htb"
    command -v bash >/dev/null 2>&1 || echo "missing bash"
    :
}

# Lines "ADDRESS" on standard input: the devices that lead to them, each with its root queue.
k_link_devices() {
    while read -r _k_address; do
        [ -z "$_k_address" ] || ip -o route get "$_k_address" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1
    done | sort -u | while read -r _k_device; do
        [ "$_k_device" = lo ] || echo "device $_k_device $(k_link_root "$_k_device")"
    done
}

# DEVICE: bytes, packets, dropped, overlimits of what we delay.
k_link_counts() {
    tc -s qdisc show dev "$1" 2>/dev/null | sed -n '/ 4b44: /{
n
s/.*Sent \([0-9]*\) bytes \([0-9]*\) pkts\{0,1\} (dropped \([0-9]*\), overlimits \([0-9]*\).*/counts \1 \2 \3 \4/p
}'
}

# ADDRESS PORT COUNT: how long each connection took to come about, in millionths of a second.
k_link_connects() {
    timeout 15 bash -c 'for ((i = 0; i < $2; i++)); do
        from=${EPOCHREALTIME/./}
        (exec 3<>"/dev/tcp/$0/$1") 2>/dev/null && to=${EPOCHREALTIME/./} && echo "connect $((to - from))"
    done' "$1" "$2" "$3" 2>/dev/null
    :
}

# ADDRESS COUNT: datagrams of 1000 bytes to the port that discards, and how many this host let go.
k_link_datagrams() {
    timeout 15 bash -c 'text=$(printf "%01000d" 0) n=0
    exec 3>"/dev/udp/$0/9" || exit
    for ((i = 0; i < $1; i++)); do printf %s "$text" >&3 && n=$((n + 1)); done
    echo "sent $n"' "$1" "$2" 2>/dev/null
    :
}

# Datagrams that came to a port where nobody is, and such with a wrong checksum.
k_link_udp() {
    # shellcheck disable=SC2046
    set -- $(sed -n '/^Udp: [0-9]/p' /proc/net/snmp)
    _k_ports=${3-0} _k_sums=${8-0}
    while read -r _k_name _k_value; do
        case $_k_name in
        Udp6NoPorts) _k_ports=$((_k_ports + _k_value)) ;;
        Udp6InCsumErrors) _k_sums=$((_k_sums + _k_value)) ;;
        esac
    done 2>/dev/null </proc/net/snmp6
    echo "udp $_k_ports $_k_sums"
}

# DEVICE ADDRESS: sends more than the line takes, and looks twice while it is still taking it.
k_link_rate() {
    k_link_counts "$1"
    k_link_datagrams "$2" 60
    k_now && echo "at $K_NOW" && k_link_counts "$1"
    k_nap 0.3
    k_now && echo "at $K_NOW" && k_link_counts "$1"
}

# What is ours and belongs to no undo script.
k_sweep_links() {
    command -v tc >/dev/null 2>&1 || return 0
    tc qdisc show 2>/dev/null | sed -n 's/^qdisc [^ ]* 4b43: dev \([^ ]*\) root.*/\1/p' | while read -r _k_device; do
        k_link_off "$_k_device" 2>/dev/null
        if k_link_is_on "$_k_device"; then _k_how=unhealed; else _k_how=healed; fi
        echo "$_k_how $_k_device a queue without a fault"
    done
}
