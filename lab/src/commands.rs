//! Running the helper programs of the machine (`ip`, `ssh-keygen`, `mvn`).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::LabError;

/// Runs a helper to its end; its standard output, or an error with the end of what it said.
///
/// `held` is inherited on purpose: a helper that outlives its kchaos still holds the lab's lock, so that nobody clears up behind its back.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str, held: &File) -> Result<String, LabError> {
    let spoken = format!("{program} {}", arguments.join(" "));
    let output = execute(program, arguments, input, held.as_raw_fd()).map_err(|source| LabError::Command {
        command: spoken.clone(),
        status: "not started".to_owned(),
        stderr: source.to_string(),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut said = output.stderr;
    said.extend_from_slice(&output.stdout);
    Err(LabError::Command { command: spoken, status: output.status.to_string(), stderr: last_lines(&String::from_utf8_lossy(&said), 20) })
}

fn execute(program: &str, arguments: &[&str], input: &str, held: RawFd) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: fcntl is async-signal-safe, and the descriptor is open in the parent for longer than the spawn takes.
    unsafe {
        command.pre_exec(move || if libc::fcntl(held, libc::F_SETFD, 0) == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    }
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input closes the pipe; its status says the rest.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output()
}

/// Whether a program is on PATH (or where Debian puts administrators' programs).
pub(crate) fn exists(program: &str) -> bool {
    find(program).is_some()
}

pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The end of a file; what cannot be read is said instead.
pub(crate) fn tail(path: &Path, count: usize) -> String {
    match std::fs::read(path) {
        Ok(bytes) if bytes.is_empty() => "(empty)".to_owned(),
        // Logs here are small: a lab's daemon that just started.
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), count),
        Err(error) => format!("(cannot be read: {error})"),
    }
}
