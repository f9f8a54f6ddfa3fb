//! PID 1 of a host: this executable, started again by `up` and told so by its arguments.
//!
//! It enters the host's network namespace, makes mount, pid and uts namespaces, forks (the child is PID 1 of the new pid namespace), makes the
//! file system, starts sshd and the daemons, and from then on reaps. On SIGTERM it ends, and with it, by the kernel, everything in its pid
//! namespace. It lives in a session of its own and outlives the kchaos that made it; if that one dies before it has handed over the whole
//! description, nothing is made.
//!
//! Talk on standard output, one line each: `pid N` (as the machine counts), then `ready` or `error: …`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rootfs::{self, HostSpec, SystemdSpec};
use crate::systemd;

/// The argument that marks every PID 1 of a lab.
pub(crate) fn mark(lab_id: &str) -> String {
    format!("--lab={lab_id}")
}

/// The entry for the hidden subcommand; to be called before any thread is started, with the arguments after its name. Returns the exit status.
pub fn run(arguments: &[OsString]) -> i32 {
    let marked = matches!(arguments, [mark, _host] if mark.as_encoded_bytes().starts_with(b"--lab="));
    if !marked {
        eprintln!("this is the first process of a lab's host; `kchaos lab up` starts it");
        return 254;
    }
    match make_host() {
        Ok(status) => status,
        Err(reason) => {
            say(&format!("error: {}", reason.replace('\n', " ")));
            1
        }
    }
}

fn make_host() -> Result<i32, String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| format!("description: {error}"))?;
    let spec: HostSpec = serde_json::from_str(&text).map_err(|error| format!("description: {error}"))?;
    let namespace = File::open(&spec.network_namespace).map_err(|error| format!("{}: {error}", spec.network_namespace.display()))?;
    // SAFETY: the descriptor is an open namespace; this process has one thread.
    let entered = unsafe {
        libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) == 0
            && libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWUTS) == 0
    };
    if !entered {
        return Err(format!("cannot make namespaces: {}", io::Error::last_os_error()));
    }
    // SAFETY: one thread, so the child has a whole copy of everything.
    match unsafe { libc::fork() } {
        -1 => Err(format!("cannot fork: {}", io::Error::last_os_error())),
        0 => be_first(&spec).map(|()| 0),
        pid => {
            say(&format!("pid {pid}"));
            Ok(0)
        }
    }
}

/// What systemd-nspawn ends with when its systemd wants to be started anew.
const REBOOT: i32 = 133;

fn be_first(spec: &HostSpec) -> Result<(), String> {
    if let Some(own) = &spec.systemd {
        return be_first_of_systemd(spec, own);
    }
    rootfs::enter(spec)?;
    set_hostname(&spec.name)?;
    // Blocked before the first child can end, taken by `sigwait` below. Children get an empty mask from `Command`.
    let signals = block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]);
    start_sshd(spec)?;
    for command in &spec.boot {
        run_to_end(command)?;
    }
    say("ready");
    detach_output()?;
    reap_until_told(&signals, None);
    Ok(())
}

/// A pid namespace around the one that systemd is the first of: with this process everything ends, mounts included.
fn be_first_of_systemd(spec: &HostSpec, own: &SystemdSpec) -> Result<(), String> {
    systemd::enter(spec, own)?;
    let signals = block(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT]);
    let failed = |error: io::Error| format!("systemd-nspawn: {error}");
    let boot = || clean(&mut systemd::boot(spec).map_err(failed)?).spawn().map_err(failed);
    let mut booted = boot()?;
    say("ready");
    detach_output()?;
    while reap_until_told(&signals, Some(booted.id() as libc::pid_t)) == Some(REBOOT) {
        booted = boot()?;
    }
    Ok(())
}

/// In the foreground for sshd: it is a child of ours like any other.
fn start_sshd(spec: &HostSpec) -> Result<(), String> {
    clean(&mut Command::new(&spec.sshd))
        .args(["-D", "-f", "/etc/ssh/sshd_config", "-E", "/var/log/sshd.log"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
        .map_err(|error| format!("{}: {error}", spec.sshd.display()))
}

fn run_to_end(command: &[String]) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let output =
        clean(&mut Command::new(program)).args(arguments).stdout(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// Nothing of the environment of whoever called `kchaos lab up` gets into the lab.
fn clean(command: &mut Command) -> &mut Command {
    command
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0)
}

/// Or until that child has ended, with its exit code: a host whose systemd powered it off is off.
fn reap_until_told(signals: &libc::sigset_t, whole_host: Option<libc::pid_t>) -> Option<i32> {
    loop {
        loop {
            let mut status = 0;
            // SAFETY: the status is ours; -1 means that there is nobody left, 0 that all that are left run.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
                pid if pid > 0 && Some(pid) == whole_host => return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
                pid if pid > 0 => {}
                _ => break,
            }
        }
        let mut signal = 0;
        // SAFETY: both point to valid values of this frame or the caller's.
        unsafe { libc::sigwait(signals, &raw mut signal) };
        if signal == libc::SIGTERM || signal == libc::SIGINT {
            return None;
        }
    }
}

fn block(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: an all-zero set is a valid value, and sigemptyset makes it an empty one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, the numbers are those of signals.
    unsafe {
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
    set
}

fn set_hostname(name: &str) -> Result<(), String> {
    // SAFETY: pointer and length belong to the same string.
    if unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } == 0 {
        return Ok(());
    }
    Err(format!("cannot set the host's name: {}", io::Error::last_os_error()))
}

/// The pipe to `up` is closed: nobody reads it any more.
fn detach_output() -> Result<(), String> {
    let null = File::options().read(true).write(true).open("/dev/null").map_err(|error| format!("/dev/null: {error}"))?;
    for standard in 0..=1 {
        // SAFETY: both descriptors are open.
        if unsafe { libc::dup2(null.as_raw_fd(), standard) } < 0 {
            return Err(format!("/dev/null: {}", io::Error::last_os_error()));
        }
    }
    Ok(())
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Whoever listened may be gone; the host is then found by its mark.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Starts a host's PID 1 and hands it its description; the answers come on the child's standard output.
pub(crate) fn start(spec: &HostSpec, lab_id: &str, arguments: &[OsString]) -> io::Result<std::process::Child> {
    let log = File::create(spec.host_dir.join("init.log"))?;
    // The running executable itself, even if its file was replaced in the meantime.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("kchaos").args(arguments).arg(mark(lab_id)).arg(OsStr::new(&spec.name));
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::from(log));
    // SAFETY: setsid is async-signal-safe; a new session has no terminal whose end could reach the host.
    unsafe {
        command.pre_exec(|| if libc::setsid() == -1 { Err(io::Error::last_os_error()) } else { Ok(()) });
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(serde_json::to_string(spec)?.as_bytes())?;
    }
    Ok(child)
}

/// Where a Java lies that a host cannot see because it is not below `/usr`.
pub(crate) fn foreign_java_home(java: &Path) -> Option<std::path::PathBuf> {
    let real = fs::canonicalize(java).ok()?;
    if real.starts_with("/usr") {
        return None;
    }
    Some(real.parent()?.parent()?.to_owned())
}
