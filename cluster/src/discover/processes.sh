# What runs here of Kafka and ZooKeeper. POSIX sh; reads, and changes nothing. Of settings only those that say who a daemon is and where it listens.
wanted='^(broker\.id|node\.id|process\.roles|listeners|log\.dirs?|zookeeper\.connect|controller\.quorum\.voters|controller\.listener\.names|clientPort|dataDir|server\.[0-9]+)[ ]*='
echo "@host $(uname -n)"
for directory in /proc/[0-9]*; do
    pid=${directory#/proc/}
    arguments=$(tr '\n\0' '\001\n' <"$directory/cmdline" 2>/dev/null) || continue
    settings=$(printf '%s\n' "$arguments" | sed -n -E '/^(kafka\.Kafka|org\.apache\.zookeeper\.server\.quorum\.QuorumPeerMain)$/{n;p;q;}')
    [ -n "$settings" ] || continue
    # A launcher (env, sudo, a shell) has the same arguments.
    case $(readlink "$directory/exe" 2>/dev/null) in */java | '') ;; *) continue ;; esac
    echo "@process $pid"
    printf '%s\n' "$arguments" | sed 's/^/@argument /'
    sed 's/^/@cgroup /' "$directory/cgroup" 2>/dev/null
    case $settings in /*) ;; *) settings=$(readlink "$directory/cwd" 2>/dev/null)/$settings ;; esac
    echo "@settings $settings"
    file=$directory/root$settings
    if [ -r "$file" ]; then
        grep -E "$wanted" "$file" | sed 's/^/@setting /'
        data=$(sed -n -e 's/^dataDir[ ]*=[ ]*//p' -e 's/^log\.dirs*[ ]*=[ ]*//p' "$file" | head -n 1)
        data=${data%%,*}
        [ ! -r "$directory/root$data/myid" ] || echo "@myid $(cat "$directory/root$data/myid")"
        [ ! -r "$directory/root$data/meta.properties" ] ||
            grep -E '^(broker|node)\.id=' "$directory/root$data/meta.properties" | sed 's/^/@setting /'
    else
        echo "@unreadable $settings"
    fi
    # Beside the jars, or beside a directory that they are in: versions may stand side by side.
    for entry in $(printf '%s\n' "$arguments" | tr ':' '\n' | sed -n -E 's#^(/.*)/(\*|[^/]*\.jar)$#\1#p' | sort -u); do
        while [ -n "$entry" ]; do
            entry=${entry%/*}
            [ -x "$directory/root$entry/bin/kafka-server-start.sh" ] || continue
            echo "@bin $entry/bin"
            break
        done
    done
    container=$(sed -n -E 's#.*docker[-/]([0-9a-f]{64}).*#\1#p' "$directory/cgroup" 2>/dev/null | head -n 1)
    [ -z "$container" ] || echo "@container $(docker inspect --format '{{.Name}}' "$container" 2>/dev/null)"
done
