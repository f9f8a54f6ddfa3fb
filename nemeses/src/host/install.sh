# Installs the helper, or takes it away. I_DIR, I_HELPER, I_DAEMONS, I_SUDOERS, I_STATE and I_USER are given. Run by root.

i_fail() {
    echo "failed $1"
    exit 0
}

# FILE MODE: standard input, put in place in one step, if it is not there already.
i_put() {
    (umask 077 && cat >"$1.new") || i_fail "$1.new could not be written"
    chown 0:0 "$1.new" && chmod "$2" "$1.new" || i_fail "$1.new could not be made root's"
    if cmp -s "$1.new" "$1" && [ "$(stat -c '%u %g %a' "$1")" = "0 0 ${2#0}" ]; then
        rm -f "$1.new"
        echo "did $1 was there already"
    else
        _i_how=installed
        [ ! -e "$1" ] || _i_how=replaced
        mv -f "$1.new" "$1" || i_fail "$1 could not be put in place"
        echo "did $1 $_i_how, mode $2"
    fi
}

i_needs() {
    [ "$(id -u)" = 0 ] || i_fail 'this login is not root, and installs nothing'
    for _i_tool in sudo visudo sha256sum awk setsid cmp stat; do
        command -v "$_i_tool" >/dev/null 2>&1 || i_fail "$_i_tool is not there (Debian's sudo, coreutils, mawk, util-linux, diffutils)"
    done
    id "$I_USER" >/dev/null 2>&1 ||
        i_fail "there is no user $I_USER: useradd --system --create-home --shell /bin/sh $I_USER, and give it the key in ~$I_USER/.ssh/authorized_keys"
    [ "$(id -u "$I_USER")" != 0 ] || i_fail "$I_USER is root, who needs no helper"
}

# Whoever may write above it can put another helper there.
i_above() {
    for _i_place in / /usr /usr/local /usr/local/lib "$I_DIR"; do
        [ "$(stat -L -c %u "$_i_place" 2>/dev/null)" = 0 ] || echo "note $_i_place is not root's: its owner can put another helper there"
        case $(stat -L -c %A "$_i_place" 2>/dev/null) in
        ?????w* | ????????w*) echo "note others than root may write to $_i_place, and put another helper there: chmod go-w $_i_place" ;;
        esac
    done
}

# The rule goes last, and away first: it never names a file that is not there.
i_rule() {
    printf '# Written by kchaos inventory install-helper.\n%s\n' "$1" >"$I_SUDOERS.new" || i_fail "$I_SUDOERS.new could not be written"
    # A name with a dot is not read by sudo.
    chmod 0440 "$I_SUDOERS.new"
    if ! _i_said=$(visudo -cf "$I_SUDOERS.new" 2>&1); then
        rm -f "$I_SUDOERS.new"
        i_fail "visudo does not accept the rule, and nothing of sudo was changed: $_i_said"
    fi
    rm -f "$I_SUDOERS.new"
    printf '# Written by kchaos inventory install-helper.\n%s\n' "$1" | i_put "$I_SUDOERS" 0440
    sudo -n -l -U "$I_USER" "$I_HELPER" >/dev/null 2>&1 ||
        i_fail "sudo does not let $I_USER run $I_HELPER: does /etc/sudoers have the line @includedir /etc/sudoers.d?"
    sudo -n -l -U "$I_USER" 2>/dev/null | sed -n "s/^ *\((.*\)/\1/p" | grep -vxF "(root) NOPASSWD: $I_HELPER" | while read -r _i_more; do
        echo "note $I_USER may do more than that by sudo: $_i_more"
    done
    echo "did $I_USER may run $I_HELPER as root, by sudo's own word"
}

i_remove() {
    [ "$(id -u)" = 0 ] || i_fail 'this login is not root, and removes nothing'
    for _i_script in "$I_STATE"/undo.d/*.sh; do
        [ ! -e "$_i_script" ] || i_fail "something of kchaos is in force here ($_i_script): kchaos heal first"
    done
    for _i_file in "$I_SUDOERS" "$I_HELPER" "$I_DAEMONS"; do
        if [ ! -e "$_i_file" ]; then
            echo "did $_i_file was not there"
        elif rm -f "$_i_file"; then
            echo "did $_i_file removed"
        else
            i_fail "$_i_file could not be removed"
        fi
    done
    rmdir "$I_DIR" 2>/dev/null
    echo 'done'
}
