use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::scripts::parse_state;
use super::*;
use crate::inventory::{DaemonEntry, DaemonKind, Find, ManagerKind};
use crate::remote::{Local, Output};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A process that waits, with these arguments behind `tail -f`. Ended by its pid when it goes.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Waiting {
    fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new("tail");
        Self(command.arg("-f").args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn manager(&self, find: Find) -> ScriptsManager {
        self.manager_with(find, "true", "true")
    }

    fn manager_with(&self, find: Find, start: &str, stop: &str) -> ScriptsManager {
        let entry = DaemonEntry {
            kind: DaemonKind::Kafka,
            id: 1,
            port: 9092,
            peer_ports: Vec::new(),
            controller_port: None,
            manager: ManagerKind::Scripts,
            unit: None,
            container: None,
            start: start.to_owned(),
            stop: stop.to_owned(),
            find,
            log_dir: self.0.path().to_owned(),
            disk: None,
            clock: None,
        };
        ScriptsManager::new(&entry, TIMEOUT)
    }
}

fn argv(words: &[&str]) -> Find {
    Find::Argv(words.iter().map(|word| (*word).to_owned()).collect())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn pid_of(manager: &ScriptsManager) -> Option<i32> {
    manager.state(&Local).await.unwrap().pid().map(|pid| pid.pid)
}

async fn run(script: &str) -> Output {
    Local.run(script, TIMEOUT).await.unwrap()
}

#[tokio::test]
async fn a_process_is_found_by_whole_arguments_and_by_nothing_less() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let waiting = Waiting::new(&["/dev/null", text(&settings)]);
    assert_eq!(pid_of(&place.manager(argv(&[text(&settings)]))).await, Some(waiting.pid()));
    assert_eq!(pid_of(&place.manager(argv(&["/dev/null", text(&settings)]))).await, Some(waiting.pid()));
    for absent in [&text(&settings)[..text(&settings).len() - 1], &text(&settings)[1..]] {
        assert_eq!(pid_of(&place.manager(argv(&[absent]))).await, None, "{absent}");
    }
    assert_eq!(pid_of(&place.manager(argv(&[text(&settings), "kafka.Kafka"]))).await, None);
    drop(waiting);
    assert_eq!(pid_of(&place.manager(argv(&[text(&settings)]))).await, None);
}

#[tokio::test]
async fn arguments_may_hold_anything() {
    let place = Place::new();
    let names = ["it's", "a b", "$HOME", "*", "\\n", "back\\slash", "`id`", "\"quoted\"", "-e", "ümlaut", "[a-z]", "a;b&c|d", "%s"];
    for name in names {
        let settings = place.file(name, "");
        let waiting = Waiting::new(&["/dev/null", text(&settings)]);
        assert_eq!(pid_of(&place.manager(argv(&[text(&settings)]))).await, Some(waiting.pid()), "{name}");
    }
}

#[tokio::test]
async fn a_line_of_a_longer_argument_is_no_argument() {
    let place = Place::new();
    let directory = text(place.0.path());
    place.file("broken", "");
    let _waiting = Waiting::new(&["/dev/null", &format!("{directory}/broken\n{directory}/server.properties\n")]);
    assert_eq!(pid_of(&place.manager(argv(&[&format!("{directory}/server.properties")]))).await, None);
}

#[tokio::test]
async fn the_shell_that_starts_a_daemon_is_not_taken_for_it() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let mut shell = Command::new("sh");
    shell.args(["-c", "tail -f /dev/null \"$1\"; :", "kafka-run-class.sh", text(&settings)]);
    let mut shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let manager = place.manager(argv(&[text(&settings)]));
    let mut found = None;
    for _ in 0..100 {
        found = pid_of(&manager).await;
        if found.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tail = found.expect("tail is found");
    assert_ne!(tail, i32::try_from(shell.id()).unwrap());
    run(&format!("kill {tail}")).await;
    shell.wait().unwrap();
}

#[tokio::test]
async fn two_that_fit_are_an_error_that_says_so() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let (one, two) = (Waiting::new(&["/dev/null", text(&settings)]), Waiting::new(&["/dev/null", text(&settings)]));
    let manager = place.manager(argv(&[text(&settings)]));
    let error = manager.state(&Local).await.unwrap_err().to_string();
    for part in ["finding kafka:1 on local failed", "2 processes are", &one.pid().to_string(), &two.pid().to_string()] {
        assert!(error.contains(part), "{error}");
    }
    // And nothing is started beside them.
    assert!(manager.start(&Local).await.is_err());
}

#[tokio::test]
async fn a_zombie_is_gone_and_a_stopped_process_is_stopped() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let mut waiting = Waiting::new(&["/dev/null", text(&settings)]);
    let manager = place.manager(argv(&[text(&settings)]));
    let DaemonState::Running(pid) = manager.state(&Local).await.unwrap() else { panic!("not running") };

    assert_eq!(signal(&Local, pid, "STOP", TIMEOUT).await.unwrap(), Signalled::Sent);
    assert_eq!(manager.state(&Local).await.unwrap(), DaemonState::Stopped(pid));
    assert_eq!(process_state(&Local, pid, TIMEOUT).await.unwrap(), Some('T'));
    assert_eq!(signal(&Local, pid, "CONT", TIMEOUT).await.unwrap(), Signalled::Sent);
    assert_eq!(manager.state(&Local).await.unwrap(), DaemonState::Running(pid));

    let another = Pid { start_time: pid.start_time + 1, ..pid };
    assert_eq!(signal(&Local, another, "KILL", TIMEOUT).await.unwrap(), Signalled::Gone);
    assert_eq!(manager.state(&Local).await.unwrap(), DaemonState::Running(pid));

    let by_file = place.manager(Find::PidFile(place.file("pid", &format!("{}\n", pid.pid))));
    assert_eq!(by_file.state(&Local).await.unwrap(), DaemonState::Running(pid));
    assert_eq!(signal(&Local, pid, "KILL", TIMEOUT).await.unwrap(), Signalled::Sent);
    while std::fs::read_to_string(format!("/proc/{}/stat", pid.pid)).is_ok_and(|stat| !stat.contains(") Z")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(manager.state(&Local).await.unwrap(), DaemonState::Gone);
    assert_eq!(by_file.state(&Local).await.unwrap(), DaemonState::Gone);
    assert_eq!(process_state(&Local, pid, TIMEOUT).await.unwrap(), None);
    assert_eq!(signal(&Local, pid, "KILL", TIMEOUT).await.unwrap(), Signalled::Gone);
    waiting.0.wait().unwrap();
}

#[tokio::test]
async fn a_pid_file_is_believed_unless_it_is_older_than_its_process() {
    let place = Place::new();
    let waiting = Waiting::new(&["/dev/null"]);
    let path = place.file("kafka's.pid", &waiting.pid().to_string());
    let manager = place.manager(Find::PidFile(path.clone()));
    assert_eq!(pid_of(&manager).await, Some(waiting.pid()));

    run(&format!("touch -d '2 hours ago' {}", crate::remote::quote(text(&path)))).await;
    let error = manager.state(&Local).await.unwrap_err().to_string();
    assert!(error.contains("may be a stranger"), "{error}");

    for content in ["", "\n", "nonsense\n", "-1\n", "0x10", "4194305\n", "1; exit 9\n"] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(pid_of(&manager).await, None, "{content:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(pid_of(&manager).await, None);
}

#[tokio::test]
async fn a_listener_is_found_by_its_port() {
    let place = Place::new();
    let me = i32::try_from(std::process::id()).unwrap();
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let port = listener.local_addr().unwrap().port();
        let manager = place.manager(Find::Port(port));
        assert_eq!(pid_of(&manager).await, Some(me), "{address}");
        drop(listener);
        assert_eq!(pid_of(&manager).await, None, "{address}");
    }
}

#[tokio::test]
async fn a_port_held_by_two_processes_is_an_error() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = |value: libc::c_int| {
        // SAFETY: the descriptor is open, and F_SETFD touches no memory.
        unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, value) }
    };
    assert_eq!(flags(0), 0);
    let _heir = Waiting::new(&["/dev/null"]);
    flags(libc::FD_CLOEXEC);
    let manager = place.manager(Find::Port(listener.local_addr().unwrap().port()));
    let error = manager.state(&Local).await.unwrap_err().to_string();
    assert!(error.contains("processes are listeners on TCP port"), "{error}");
}

#[tokio::test]
async fn a_start_that_fails_says_what_it_printed() {
    let place = Place::new();
    let manager = place.manager_with(argv(&[text(place.0.path())]), "echo 'no such \"file\"' >&2; exit 17", "exit 1");
    let error = manager.start(&Local).await.unwrap_err().to_string();
    assert_eq!(error, "starting kafka:1 on local failed with status 17: no such \"file\"");
    assert!(manager.stop(&Local).await.unwrap_err().to_string().starts_with("stopping kafka:1 on local failed with status 1"));
    assert_eq!(std::fs::read_dir(place.0.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_start_that_does_not_return_holds_nobody_up_and_is_not_done_twice() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let started = place.0.path().join("started");
    let start = format!("echo x >>{}; exec tail -f /dev/null {}", text(&started), text(&settings));
    let mut manager = place.manager_with(argv(&[text(&settings)]), &start, "true");
    manager = ScriptsManager::new(manager.entry(), Duration::from_secs(4));
    let begun = Instant::now();
    manager.start(&Local).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4));
    let pid = manager.state(&Local).await.unwrap().pid().expect("it runs");
    manager.start(&Local).await.unwrap();
    assert_eq!(manager.state(&Local).await.unwrap().pid(), Some(pid));
    assert_eq!(std::fs::read_to_string(&started).unwrap(), "x\n");
    signal(&Local, pid, "KILL", TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_daemon_left_behind_by_its_start_command_is_found() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let start = format!("nohup tail -f /dev/null {0} >/dev/null 2>&1 </dev/null &", text(&settings));
    let manager = place.manager_with(argv(&[text(&settings)]), &start, "true");
    manager.start(&Local).await.unwrap();
    let pid = manager.state(&Local).await.unwrap().pid().expect("it runs");
    signal(&Local, pid, "KILL", TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn scripts_can_stand_in_a_larger_one() {
    let place = Place::new();
    let settings = place.file("server.properties", "");
    let waiting = Waiting::new(&["/dev/null", text(&settings)]);
    let manager = place.manager(argv(&[text(&settings)]));
    let script =
        format!("set -e\nfound=$(\n{}) || exit 9\n(\n{}\n)\necho \"found $found\"\n", manager.find_script(), manager.start_script());
    let output = run(&script).await;
    assert!(output.stdout_text().starts_with(&format!("found {} ", waiting.pid())), "{output:?}");
}

/// Shells other than ours must understand the scripts too; those that are on this machine are asked.
#[tokio::test]
async fn every_shell_understands_the_scripts() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let waiting = Waiting::new(&["/dev/null", text(&place.file("server.properties", ""))]);
    let pid_file = place.file("pid", &waiting.pid().to_string());
    let finds = [
        argv(&[text(&place.0.path().join("server.properties"))]),
        Find::PidFile(pid_file),
        Find::Port(listener.local_addr().unwrap().port()),
    ];
    for shell in [&["dash"][..], &["bash", "--posix"], &["bash"], &["busybox", "sh"], &["ksh"], &["mksh"], &["zsh", "--emulate", "sh"]] {
        for find in &finds {
            // A start script holds a find script, in the place where shells differ most.
            let script = place.manager(find.clone()).start_script() + "echo $found\n";
            let path = place.file("script", &crate::remote::framed(&script));
            let Ok(output) = Command::new(shell[0]).args(&shell[1..]).arg("-s").stdin(std::fs::File::open(path).unwrap()).output() else {
                continue;
            };
            let printed = String::from_utf8_lossy(&crate::remote::unframed(output.stdout.clone())).into_owned();
            assert!(matches!(parse_state(&printed), Some(DaemonState::Running(_))), "{shell:?} {find:?} {output:?}");
        }
    }
}

#[test]
fn what_a_find_script_prints_is_read_exactly() {
    let pid = Pid { pid: 12, start_time: 345 };
    for (text, expect) in [
        ("", Some(DaemonState::Gone)),
        ("\n", Some(DaemonState::Gone)),
        ("12 345 S\n", Some(DaemonState::Running(pid))),
        ("12 345 T\n", Some(DaemonState::Stopped(pid))),
        ("12 345\n", None),
        ("12 345 S\n13 346 S\n", None),
        ("0 345 S\n", None),
        ("Last login: today\n12 345 S\n", None),
    ] {
        assert_eq!(parse_state(text), expect, "{text:?}");
    }
}
