# Connections to a port of this host.

# PORT: "connection ADDRESS:PORT BYTES_RECEIVED" for each.
k_connections() {
    command -v ss >/dev/null 2>&1 || { echo missing; return; }
    {
        ss -Htin state established "( sport = :$1 )" 2>/dev/null
        echo '0 0 end end'
    } | {
        _k_end=''
        while read -r _k_a _k_b _k_c _k_d _k_rest; do
            case $_k_a in
            [0-9]*)
                [ -n "$_k_end" ] && echo "connection $_k_end $_k_bytes"
                _k_end=$_k_d _k_bytes=0
                ;;
            *)
                case "$_k_a $_k_b $_k_c $_k_d $_k_rest" in
                *bytes_received:*)
                    _k_bytes="$_k_a $_k_b $_k_c $_k_d $_k_rest" && _k_bytes=${_k_bytes#*bytes_received:} && _k_bytes=${_k_bytes%%[!0-9]*}
                    ;;
                esac
                ;;
            esac
        done
    }
}
