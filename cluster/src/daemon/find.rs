//! Finding one daemon's process among all others, in plain sh.
//!
//! Never by a name alone: a broker and a ZooKeeper are both `java`. And never with the words looked for in a program's arguments: such a
//! `grep` would be found itself, by us or by the watchdog that looks at the same time. So the words go in by standard input, or stay within
//! the shell.
//!
//! What a script prints: `PID START_TIME STATE`, or nothing. Status 0 for both; [`SEVERAL`] if more than one process is that one;
//! [`DOUBTFUL`] if it cannot be told. Zombies are gone: they hold no port and no file, and only wait for their parent.
//!
//! Needs sh, grep, tr, readlink; for a port also cat, awk and ls; for a pid file also sed, stat and date. All of them are in coreutils and
//! in busybox.

use crate::inventory::Find;
use crate::remote::quote;

/// More than one process fits: refused, since the wrong one might be chosen.
pub(super) const SEVERAL: i32 = 4;
/// One fits, and there is a reason to think that it is another.
pub(super) const DOUBTFUL: i32 = 5;

/// A pid file may be this much older than the process it names. What is older was written for another, whose pid was used again.
const PID_FILE_SLACK_S: u32 = 60;

/// Programs that start others and may have the same arguments: the shell of a start script, `sudo` waiting for its child.
const WRAPPERS: &str = "sh|bash|dash|ash|ksh|mksh|zsh|busybox|nohup|setsid|env|sudo|su|runuser|timeout|start-stop-daemon|daemonize";

/// `look PID` sets `state` and `start`, with nothing but the shell. `report` prints what was found in `pids`.
///
/// The second word of `/proc/PID/stat` is the program's name in parentheses and may hold anything; the fields are counted from the last
/// one.
const FUNCTIONS: &str = r#"look() {
    state= start=
    { read -r stat </proc/"$1"/stat; } 2>/dev/null || return 1
    set -- ${stat##*) }
    state=$1 start=${20}
    case $state in Z|X|x) return 1 ;; esac
    [ -n "$start" ]
}
pids=
found() { case " $pids " in *" $1 "*) ;; *) pids="$pids $1" ;; esac; }
report() {
    count=0 line=
    for pid in $pids; do
        if look "$pid"; then count=$((count + 1)) line="$pid $start $state"; fi
    done
    if [ "$count" -gt 1 ]; then echo "$count processes are $1:$pids" >&2; exit SEVERAL; fi
    [ "$count" -eq 0 ] || echo "$line"
}
"#;

/// The script that finds the daemon described like this. It ends the shell only if something is wrong, so that others can be put behind it.
pub(super) fn script(find: &Find) -> String {
    let functions = FUNCTIONS.replace("SEVERAL", &SEVERAL.to_string());
    let (search, what) = match find {
        Find::Argv(words) => (by_argv(words), format!("those with the arguments {words:?}")),
        Find::PidFile(path) => (by_pid_file(&path.to_string_lossy()), format!("those of {}", path.display())),
        Find::Port(port) => (by_port(*port), format!("listeners on TCP port {port}")),
    };
    format!("{functions}{search}report {}\n", quote(&what))
}

/// First all processes with the first word anywhere in their arguments (one `grep`), then these few, argument by argument.
fn by_argv(words: &[String]) -> String {
    let Some(first) = words.first() else { return String::new() };
    // Arguments are separated by NUL, which no shell can hold: they become lines, and line breaks in them something else.
    let tests: String =
        words.iter().map(|word| format!("    case $arguments in *\"$nl\"{}\"$nl\"*) ;; *) continue ;; esac\n", quote(word))).collect();
    format!(
        r"nl='
'
# busybox's grep sees no further than the first NUL: there every process is looked at.
if printf 'a\0b\n' | grep -qF b; then
    files=$(printf '%s\n' {first} | grep -lF -f - /proc/[0-9]*/cmdline 2>/dev/null) || :
else
    files=$(echo /proc/[0-9]*/cmdline)
fi
for file in $files; do
    arguments=$nl$(tr '\n\0' '\001\n' <$file 2>/dev/null)$nl
{tests}    pid=${{file#/proc/}} pid=${{pid%/cmdline}}
    program=$(readlink /proc/$pid/exe 2>/dev/null)
    case ${{program##*/}} in {WRAPPERS}) continue ;; esac
    found $pid
done
",
        first = quote(first),
    )
}

/// The pid in a file, unless the process is much younger than the file. Its age is counted from the start of a process that starts now:
/// both are ticks of the same clock, whatever a container makes of `/proc/uptime`.
fn by_pid_file(path: &str) -> String {
    format!(
        r#"pid_file={path}
pid=
{{ read -r pid <"$pid_file"; }} 2>/dev/null
case $pid in
'' | *[!0-9]*) ;;
*)
    if look "$pid"; then
        born=$(set -- $(sed 's/.*) //' /proc/self/stat); echo ${{20}})
        younger=$(($(date +%s) - (born - start) / 100 - $(stat -c %Y "$pid_file")))
        if [ $younger -gt {PID_FILE_SLACK_S} ]; then
            echo "process $pid is $younger s younger than $pid_file, so it may be a stranger with a used pid (or the clock was set);" \
                "remove the file if the daemon is gone, or use find = {{ argv = [...] }}" >&2
            exit {DOUBTFUL}
        fi
        found "$pid"
    fi
    ;;
esac
"#,
        path = quote(path),
    )
}

/// The process in `main_pid`, which a service manager named. Nothing if that is 0, or a process that has ended.
pub(super) fn by_main_pid(whose: &str) -> String {
    let functions = FUNCTIONS.replace("SEVERAL", &SEVERAL.to_string());
    let whose = quote(whose);
    format!(
        r#"{functions}case $main_pid in
'' | 0 | *[!0-9]*) ;;
*)
    program=$(readlink /proc/$main_pid/exe 2>/dev/null)
    case ${{program##*/}} in
    {WRAPPERS})
        echo "the main process $main_pid of "{whose}" is a shell or another that starts the daemon: use exec in its script" \
            "(or, with systemd, say find = {{ argv = [...] }} in the inventory)" >&2
        exit {DOUBTFUL}
        ;;
    esac
    found "$main_pid"
    ;;
esac
report {whose}
"#
    )
}

/// The processes that hold a socket which listens on this port, in this network namespace.
fn by_port(port: u16) -> String {
    // Columns of /proc/net/tcp: 2 the local address and port in hexadecimal, 4 the state (0A: listening), 10 the inode.
    format!(
        r#"inodes=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" && $2 ~ /:{port:04X}$/ {{ print $10 }}')
if [ -n "$inodes" ]; then
    for pid in $(ls -ln /proc/[0-9]*/fd 2>/dev/null | awk -v inodes="$(echo $inodes)" '
        BEGIN {{ count = split(inodes, list, " "); for (i = 1; i <= count; i++) wanted["socket:[" list[i] "]"] = 1 }}
        /^\/proc\/[0-9]+\/fd:$/ {{ split($0, parts, "/"); pid = parts[3]; next }}
        $NF in wanted && !(pid in seen) {{ seen[pid] = 1; print pid }}'); do
        found $pid
    done
fi
"#
    )
}
