//! Processes of this machine by what they are: pid with start time, arguments, namespaces. Never by name.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use crate::LabError;

/// A process that cannot be confused with another: a reused pid has another start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Field 22 of `/proc/PID/stat`: clock ticks since boot.
    pub(crate) start_time: u64,
}

/// Without root there is nothing to be seen of the lab's processes, and not seen would pass for not there.
pub(crate) fn must_be_root() -> Result<(), LabError> {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } == 0 { Ok(()) } else { Err(LabError::NotRoot) }
}

/// Every process there is now.
pub(crate) fn all() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(crate) fn identify(pid: i32) -> Option<ProcessId> {
    let (_, start_time) = stat(pid)?;
    Some(ProcessId { pid, start_time })
}

/// Still there, and more than an entry that waits for its parent.
pub(crate) fn is_alive(process: ProcessId) -> bool {
    stat(process.pid).is_some_and(|(state, start_time)| start_time == process.start_time && state != 'Z' && state != 'X')
}

/// State and start time. The command's name may hold spaces and parentheses: fields are counted from the last `)`.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

pub(crate) fn arguments(pid: i32) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).filter(|argument| !argument.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Whether each of these is, exactly, one of the process' arguments.
pub(crate) fn has_arguments<S: AsRef<OsStr>>(pid: i32, wanted: &[S]) -> bool {
    let arguments = arguments(pid);
    !arguments.is_empty() && wanted.iter().all(|one| arguments.iter().any(|argument| argument.as_slice() == one.as_ref().as_bytes()))
}

/// The namespace (`pid`, `net`, …) that a process is in, as device and inode.
pub(crate) fn namespace(pid: i32, kind: &str) -> Option<(u64, u64)> {
    let metadata = fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// The pid in the innermost namespace.
pub(crate) fn inner_pid(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_ascii_whitespace().last()?.parse().ok()
}

pub(crate) fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether it is below that process, at any depth.
pub(crate) fn descends(pid: i32, from: ProcessId) -> bool {
    let mut next = pid;
    // Deeper than any tree of a lab; a tree that changes meanwhile cannot hold us up.
    for _ in 0..32 {
        match parent(next) {
            Some(parent) if parent == from.pid => return true,
            Some(parent) if parent > 1 => next = parent,
            _ => return false,
        }
    }
    false
}

/// The first process that people on the host would call so: of a host with a systemd of its own the systemd, two below the lab's.
pub(crate) fn first_on_host(init: ProcessId) -> ProcessId {
    let is_it = |pid: &i32| inner_pid(*pid) == Some(1) && parent(*pid).and_then(parent) == Some(init.pid);
    all().into_iter().find(is_it).and_then(identify).unwrap_or(init)
}

/// Proportional set size in KiB: shared pages count by their share.
pub(crate) fn memory_kib(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?.split_ascii_whitespace().next()?.parse().ok()
}

/// SIGKILL to exactly this process, or nothing: a pidfd is taken first and the start time compared after.
pub(crate) fn kill(process: ProcessId) -> bool {
    // SAFETY: a plain system call with integers; it gives a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
    let Ok(fd @ 0..) = i32::try_from(fd) else { return false };
    // SAFETY: the descriptor was just made and nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if identify(process.pid) != Some(process) {
        return false;
    }
    // SAFETY: the descriptor is open; no siginfo is passed.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), libc::SIGKILL, std::ptr::null::<libc::siginfo_t>(), 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let own = identify(std::process::id() as i32).unwrap();
        assert!(is_alive(own));
        assert!(!is_alive(ProcessId { start_time: own.start_time + 1, ..own }));
        assert!(!kill(ProcessId { start_time: own.start_time + 1, ..own }), "another start time is another process");
        let first = std::env::args_os().next().unwrap();
        assert!(has_arguments(own.pid, &[first]));
        assert!(!has_arguments(own.pid, &["no such argument"]));
        assert!(namespace(own.pid, "net").is_some());
        assert!(memory_kib(own.pid).unwrap() > 0);
    }
}
