#!/usr/bin/env bash
# Follows the tutorials to the letter: tutorials.sh [docs/write-a-checker.md …]. A clone of this checkout's HEAD gets what their code blocks say; then what they say is typed, and what they say
# is printed must have been. The words behind a block's language say what becomes of it:
#   rust file=PATH     a new file (any language)
#   diff in=PATH       lines that begin with + are put behind those that begin with a blank, which must stand in the file exactly once
#   sh try             is done in the clone, and must succeed
#   text printed       each of its lines must stand in what the last such block printed, but for …, which stands for anything
#   sh lab             is done too where KCHAOS_TUTORIALS_LAB=1: it needs a lab that is up
# KCHAOS_TUTORIALS=DIR: where the clone is made (it must not exist); else target/tutorials, which is made anew.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
place=${KCHAOS_TUTORIALS:-$here/target/tutorials}
pages=("$@")
[ ${#pages[@]} -gt 0 ] || pages=(docs/write-a-*.md)

[ -n "${KCHAOS_TUTORIALS-}" ] || rm -rf "$place/kchaos"
git clone --quiet "$here" "$place/kchaos"
# What others wrote need not be built again.
if [ -d target/debug/deps ] && [ ! -d "$place/target/debug/deps" ]; then
    mkdir -p "$place/target/debug"
    cp -a --reflink=auto target/debug/build target/debug/deps target/debug/.fingerprint "$place/target/debug/"
fi
ln -s "$place/target" "$place/kchaos/target"
blocks=$(mktemp -d)
trap 'rm -rf "$blocks"' EXIT
export CARGO_INCREMENTAL=0

# One file for each marked block, numbered: its words in the first line.
cut_up() {
    awk -v out="$2" '
        /^```/ && !inside { inside = 1; words = substr($0, 4); marked = words ~ /( (file|in)=|^sh try$|^text printed$|^sh lab$)/
            if (marked) { file = sprintf("%s/%03d", out, ++count); print words > file }; next }
        /^```/ { inside = 0; if (marked) close(file); marked = 0; next }
        inside && marked { print > file }' "$1"
}

# Puts the + lines of a block behind its other lines, in a file where these stand once, one after another.
put_in() {
    awk -v block="$2" '
        BEGIN { getline line < block
            while ((getline line < block) > 0) { if (line ~ /^\+/) added = added substr(line, 2) "\n"; else known[n++] = substr(line, 2) } }
        { lines[++last] = $0 }
        END {
            for (at = 1; at + n - 1 <= last; at++) { same = 1
                for (i = 0; i < n; i++) if (lines[at + i] != known[i]) { same = 0; break }
                if (same) { found++; behind = at + n - 1 } }
            if (found != 1) { printf "\"%s\" … stands there %d times, not once\n", known[0], found > "/dev/stderr"; exit 1 }
            for (at = 1; at <= last; at++) { print lines[at]; if (at == behind) printf "%s", added } }' "$1" >"$blocks/new" && cp "$blocks/new" "$1"
}

wrong() {
    echo "$page, block $(basename "$block") ($words): $*" >&2
    exit 1
}

# What a block says, in one of two rounds: all pages are written first, and then what they say is typed, so that it is built once and not for each page.
follow() {
    case $1,$words in
    writing,*' file='*)
        path=$place/kchaos/${words##*file=}
        [ ! -e "$path" ] || wrong 'is there already'
        mkdir -p "$(dirname "$path")"
        tail -n +2 "$block" >"$path"
        ;;
    writing,*' in='*) put_in "$place/kchaos/${words##*in=}" "$block" || wrong 'does not fit' ;;
    typing,'sh try' | typing,'sh lab')
        if [ "$words" = 'sh try' ] || [ -n "${KCHAOS_TUTORIALS_LAB-}" ]; then
            echo "── $page: $(tail -n +2 "$block" | tr '\n' ';')"
            (cd "$place/kchaos" && sh -exc "$(tail -n +2 "$block")") 2>&1 </dev/null | tee "$blocks/said" || wrong 'failed'
        else
            : >"$blocks/said"
        fi
        ;;
    typing,'text printed')
        [ -s "$blocks/said" ] || return 0
        tail -n +2 "$block" | while IFS= read -r line; do
            pattern=$(printf '%s' "$line" | sed -e 's/[][\.*^$/]/\\&/g' -e 's/…/.*/g')
            grep -q -- "$pattern" "$blocks/said" || wrong "was not printed: $line"
        done
        ;;
    esac
}

for round in writing typing; do
    for page in "${pages[@]}"; do
        rm -f "$blocks"/*
        cut_up "$page" "$blocks"
        for block in "$blocks"/[0-9][0-9][0-9]; do
            words=$(head -1 "$block")
            follow "$round"
        done
    done
done
(cd "$place/kchaos" && cargo fmt --all --check)
echo "── what the tutorials wrote, in $place/kchaos:"
git -C "$place/kchaos" status --short
