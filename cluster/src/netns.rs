//! The network namespace in which a lab's hosts can be reached.
//!
//! A namespace belongs to a thread, and new threads inherit it; so [`enter`] is called by `main` before anything starts one. Staging
//! clusters need none of this.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("network namespace {path}: {source}; is the lab up? (kchaos lab status)")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("{path} is no network namespace")]
    NotANamespace { path: PathBuf },
    #[error("network namespace {path} cannot be entered without root (CAP_SYS_ADMIN): run this as root")]
    NotPermitted { path: PathBuf },
    #[error("network namespace {path} cannot be entered: {source}")]
    Enter { path: PathBuf, source: std::io::Error },
    #[error(
        "network namespace {path} cannot be entered: this process already has {threads} threads, of which only one would move (a bug of kchaos)"
    )]
    Threads { path: PathBuf, threads: usize },
}

/// Moves this process into a network namespace. To be called while it has one thread.
pub fn enter(path: &Path) -> Result<(), NetnsError> {
    let path = path.to_owned();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(NetnsError::Open { path, source }),
    };
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(NetnsError::Threads { path, threads });
    }
    // SAFETY: setns takes a descriptor that is open for the whole call, and touches no memory of ours.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    let source = std::io::Error::last_os_error();
    match source.raw_os_error() {
        Some(libc::EPERM) => Err(NetnsError::NotPermitted { path }),
        Some(libc::EINVAL) => Err(NetnsError::NotANamespace { path }),
        _ => Err(NetnsError::Enter { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_not_there_says_so() {
        let error = enter(Path::new("/run/netns/kchaos-test-surely-absent")).unwrap_err();
        assert!(error.to_string().contains("is the lab up?"), "{error}");
    }

    #[test]
    fn a_process_with_threads_is_not_split_between_namespaces() {
        // The test harness runs each test on a thread of its own.
        let error = enter(Path::new("/proc/self/ns/net")).unwrap_err();
        assert!(matches!(error, NetnsError::Threads { .. }), "{error}");
    }
}
