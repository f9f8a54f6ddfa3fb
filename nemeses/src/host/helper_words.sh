# The front of the helper: every word and every line of input is held against a pattern before anything is done. The library stands above.
# What is refused ends with status 64, and is not printed: it may be anything. Functions begin with h_.

h_refuse() {
    echo "kchaos-helper: refused: $1" >&2
    exit 64
}

# WANTED NUMBER: of words, the verb counted with them.
h_count() {
    [ "$1" -eq "$2" ] || h_refuse "with this verb there are $1 words in all"
}

# NAME VALUE MOST
h_number() {
    case $2 in '' | *[!0-9]* | 0?* | ????????????????*) h_refuse "$1 is no number" ;; esac
    [ "$2" -le "$3" ] || h_refuse "$1 is above $3"
}

# Names of runs and faults, which become file names. A run is - where none is meant.
h_run() {
    case $1 in '' | *[!A-Za-z0-9._-]* | [._]* | -?*) h_refuse 'the run is no plain name' ;; esac
    [ "${#1}" -le 80 ] || h_refuse 'the run has a long name'
    K_RUN=$1
    [ "$1" != - ] || K_RUN=''
}

# KEY: RUN-NUMBER or RUN-NUMBER_NUMBER; of any run where none is meant.
h_key() {
    case $1 in '' | *[!A-Za-z0-9._-]* | [!A-Za-z0-9]*) h_refuse 'the fault is no plain name' ;; esac
    [ "${#1}" -le 100 ] || h_refuse 'the fault has a long name'
    _h_end=${1##*-}
    [ "$_h_end" != "$1" ] || h_refuse 'the fault has no number'
    case $_h_end in '' | *[!0-9_]* | _* | *_ | *_*_*) h_refuse 'the fault has no number' ;; esac
    [ -z "$K_RUN" ] || [ "$1" = "$K_RUN-$_h_end" ] || h_refuse 'the fault is not of that run'
    K_KEY=$1
}

# NAME VALUE MOST: one line for people, without quotation marks that sh knows.
h_text() {
    case $2 in *[!]A-Za-z0-9\ .,:\;_/@=+%#\(\){}\"[\<\>-]*) h_refuse "$1 has a character that is not allowed" ;; esac
    [ "${#2}" -le "$3" ] || h_refuse "$1 is too long"
}

h_label() {
    h_daemon "$1" || h_refuse 'there is no such daemon on this host: is it in the inventory that was installed?'
}

# PID START
h_process() {
    h_number 'the pid' "$1" 4194304
    h_number 'the start time' "$2" 999999999999999
    [ "$1" -gt 1 ] || h_refuse 'no daemon is the first process'
}

h_port() {
    h_number 'the port' "$1" 65535
    [ "$1" -gt 0 ] || h_refuse 'there is no port 0'
}

h_address() {
    [ "${#1}" -le 45 ] || h_refuse 'the address is too long'
    case $1 in
    *:*) case $1 in *[!0-9a-fA-F:.]*) h_refuse 'the address is none' ;; esac ;;
    '' | *[!0-9.]* | .* | *. | *..* | *.*.*.*.*) h_refuse 'the address is none' ;;
    *.*.*.*)
        for _h_part in "${1%%.*}" "${1##*.}"; do h_number 'a part of the address' "$_h_part" 255; done
        _h_part=${1#*.} && _h_part=${_h_part%.*}
        h_number 'a part of the address' "${_h_part%.*}" 255
        h_number 'a part of the address' "${_h_part#*.}" 255
        ;;
    *) h_refuse 'the address is none' ;;
    esac
}

# BACKEND NAME: a table or chains of ours.
h_name() {
    case $1 in
    nftables) _h_rest=${2#kchaos_} ;;
    iptables) _h_rest=${2#KCHAOS-} ;;
    *) h_refuse 'the firewall is neither nftables nor iptables' ;;
    esac
    [ "$_h_rest" != "$2" ] && [ "${#_h_rest}" -le 20 ] || h_refuse 'the name is not one of ours'
    case $_h_rest in '' | *[!0-9a-f_]* | _* | *_) h_refuse 'the name is not one of ours' ;; esac
}

h_one_of() {
    _h_what=$1 _h_value=$2
    shift 2
    for _h_one in "$@"; do [ "$_h_value" != "$_h_one" ] || return 0; done
    h_refuse "$_h_what is none of $*"
}

# H_INPUT: standard input, of which no more is read than a cut of a big cluster has.
h_input() {
    H_INPUT=$(head -c 262145 | tr '\000' '\001')
    [ "${#H_INPUT}" -le 262144 ] || h_refuse 'the input is too long'
}

# Lines "ADDRESS PORT".
h_probes() {
    h_input
    _h_lines=0
    while IFS=' ' read -r _h_address _h_port _h_rest; do
        [ -n "$_h_address$_h_port$_h_rest" ] || continue
        h_address "$_h_address"
        h_port "$_h_port"
        _h_lines=$((_h_lines + 1))
        [ -z "$_h_rest" ] && [ "$_h_lines" -le 1000 ] || h_refuse 'the probes are not lines of an address and a port'
    done <<H_END
$H_INPUT
H_END
}

# NAME MODE: whether H_INPUT is a table of ours (table), or the renewal of its elements alone (elements). Every line must be one of these.
h_nft() {
    printf '%s\n' "$H_INPUT" | awk -v name="$1" -v mode="$2" '
    BEGIN {
        address = "[0-9a-fA-F:.]+"; port = "[1-9][0-9]*"; side = "_(in|out)"
        sets = "(peers[46]|asked[46]|asking[46]|connections[46]|ports|local)"
        kind = "(ipv4_addr|ipv6_addr)( [.] inet_service)*|inet_service"
        match_ = "((ip|ip6) [sd]addr( [.] tcp [sd]port)*|tcp [sd]port) @" sets
        element = "[0-9a-fA-F:.]+( [.] [0-9]+)*"
        timed = element " timeout [1-9][0-9]?[0-9]?[0-9]?[0-9]?[0-9]?[0-9]?ms"
        within = "top"
    }
    function is(pattern) { return $0 ~ ("^" pattern "$") }
    function line() {
        if (within == "top") {
            if (is("delete element inet " name " " sets " [{] " element "(, " element ")* [}]")) return mode == "elements"
            if (is("add element inet " name " " sets " [{] " timed "(, " timed ")* [}]")) return 1
            if (mode != "table") return 0
            if (is("(add|delete) table inet " name)) return 1
            if (is("table inet " name " [{]")) { within = "table"; tables++; return tables == 1 }
            return 0
        }
        if (within == "table") {
            if (is("[}]")) { within = "top"; return 1 }
            if (is(" set " sets " [{] type (" kind "); flags timeout; [}]")) return 1
            if (is(" set (cut|cycle) [{] type iface_index; flags dynamic,timeout; timeout [1-9][0-9]?s; [}]")) return 1
            if (is(" counter ((peers|clients|connection|passed)" side "|cuts) [{] [}]")) return 1
            if (is(" chain flap" side " [{]")) { within = "flap"; return 1 }
            if (is(" chain (input|output) [{]")) { within = "chain"; return 1 }
            return 0
        }
        if (is(" [}]")) { within = "table"; return 1 }
        if (within == "flap") {
            if (is("  meta (iif|oif) @cut counter name peers" side " drop")) return 1
            if (is("  meta (iif|oif) @cycle counter name passed" side " return")) return 1
            return is("  add @(cut|cycle) [{] meta (iif|oif) [}]") || is("  counter name (cuts|peers" side " drop)")
        }
        if (is("  type filter hook (input|output) priority -300; policy accept;")) return 1
        if (is("  oifname \"lo\" tcp [sd]port @local counter name peers_out drop")) return 1
        if (is("  (iifname|oifname) \"lo\" accept")) return 1
        if (is("  (ip|ip6) [sd]addr " address "( tcp [sd]port " port ")? accept")) return 1
        if (is("  " match_ " (numgen random mod 100 < [1-9][0-9]? )?counter name (peers|clients|connection)" side " drop")) return 1
        return is("  " match_ " (counter name passed|jump flap)" side)
    }
    $0 != "" && !line() { bad = 1; exit }
    END { exit bad || within != "top" || (mode == "table" && tables != 1) }
    ' || h_refuse "the input is no cut of ours"
}

# CHAIN: whether H_INPUT is what iptables-restore and ip6tables-restore are to be fed, one after the other.
h_ipt() {
    printf '%s\n' "$H_INPUT" | awk -v name="$1" '
    BEGIN {
        address = "[0-9a-fA-F:.]+"; number = "[1-9][0-9]*"
        word = " (-[sd] " address "|-[io] lo|-p tcp|--[sd]port " number "|-m statistic --mode random --probability 0[.][0-9][0-9]"
        word = word "|-m recent --name " name " --r(dest|source) (--rcheck --seconds " number "|--set)"
        word = word "|-m comment --comment (peers|clients|connection|passed|cuts|welcome))"
    }
    function is(pattern) { return $0 ~ ("^" pattern "$") }
    function line() {
        if ($0 == "*filter") { parts++; inside++; return inside == 1 && parts <= 2 }
        if (inside != 1) return 0
        if ($0 == "COMMIT") { inside = 0; return 1 }
        if (is(":" name "-[IO] - [[]0:0[]]")) return 1
        if (is("-I INPUT 1 -m comment --comment \"kchaos:[A-Za-z0-9._-]+\" -j " name "-I")) return 1
        if (is("-I OUTPUT 1 -m comment --comment \"kchaos:[A-Za-z0-9._-]+\" -j " name "-O")) return 1
        return is("-A " name "-[IO](" word ")+( -j (DROP|RETURN))?")
    }
    $0 != "" && !line() { bad = 1; exit }
    END { exit bad || inside || parts != 2 }
    ' || h_refuse 'the input is no cut of ours'
}
