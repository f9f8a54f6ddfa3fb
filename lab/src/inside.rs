//! Looking into a lab that is up: a shell on a host, and its daemon logs.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

use crate::LabError;
use crate::commands;
use crate::layout::{DaemonPlan, HostPlan};
use crate::processes;
use crate::state::State;

/// A log file of a host, readable on the machine.
#[derive(Clone, Debug, Serialize)]
pub struct LogFile {
    pub host: String,
    /// `kafka:1`; `sshd` and `init` for the host's own.
    pub of: String,
    pub path: PathBuf,
    pub bytes: u64,
}

/// A shell on a host, or a command; the exit status as a shell would give it.
pub fn shell(host: &str, command: &[OsString]) -> Result<i32, LabError> {
    processes::must_be_root()?;
    let (state, plan) = find_host(host)?;
    let is_container = plan.name != host;
    let init = state.first_process(&plan.name);
    let Some(init) = init else {
        return Err(LabError::Host { host: plan.name, reason: "its first process is gone; take the lab down and up again".to_owned() });
    };
    let mut shell = Command::new("nsenter");
    // Not `ip netns exec`: that would leave the host's mounts outside and pin the machine's.
    shell.args(["--target", &init.pid.to_string(), "--mount", "--uts", "--net", "--pid", "--"]);
    if is_container {
        shell.args(["docker", "exec", "--interactive", host]);
    }
    if command.is_empty() {
        shell.args(["/bin/bash", "-l"]);
    } else {
        shell.args(command);
    }
    shell.env_clear().env("PATH", "/opt/kafka/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
    shell.env("LC_ALL", "C.UTF-8").env("PS1", format!("root@{}:\\w# ", plan.name));
    if let Some(term) = std::env::var_os("TERM") {
        shell.env("TERM", term);
    }
    let status = shell.status().map_err(|source| LabError::Command {
        command: "nsenter".to_owned(),
        status: "not started".to_owned(),
        stderr: source.to_string(),
    })?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// The logs of a host, the most telling of each daemon first.
pub fn logs(host: &str) -> Result<Vec<LogFile>, LabError> {
    let (state, plan) = find_host(host)?;
    let directory = state.host_dir(&plan.name);
    let mut found = Vec::new();
    for daemon in &plan.daemons {
        let mut files = files_in(&DaemonPlan::on_machine(&directory, &daemon.log_dir()));
        files.sort_by_key(|(path, _)| (!path.ends_with(daemon.main_log()), !path.ends_with(daemon.console_log()), path.clone()));
        found.extend(files.into_iter().map(|(path, bytes)| LogFile { host: plan.name.clone(), of: daemon.label(), path, bytes }));
    }
    for (of, path) in [("sshd", directory.join("var/log/sshd.log")), ("init", directory.join("init.log"))] {
        if let Ok(metadata) = path.metadata() {
            found.push(LogFile { host: plan.name.clone(), of: of.to_owned(), path, bytes: metadata.len() });
        }
    }
    Ok(found)
}

/// Prints the end of each log that is not empty, under its path.
pub fn print_logs(host: &str, lines: usize, out: &mut dyn Write) -> Result<(), LabError> {
    for log in logs(host)?.into_iter().filter(|log| log.bytes > 0) {
        let text = format!("==> {} ({}) <==\n{}\n\n", log.path.display(), log.of, commands::tail(&log.path, lines));
        // A reader that went away (`| head`) is no error of the lab.
        match out.write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(LabError::io("cannot print", &log.path))?,
        }
    }
    Ok(())
}

fn files_in(directory: &std::path::Path) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.metadata().ok().filter(fs::Metadata::is_file).map(|m| (entry.path(), m.len()))).collect()
}

fn find_host(host: &str) -> Result<(State, HostPlan), LabError> {
    let state = State::load()?.ok_or(LabError::NotUp)?;
    let containers = |plan: &HostPlan| plan.daemons.iter().filter(|daemon| daemon.published.is_some()).map(DaemonPlan::container).collect();
    let is_it = |plan: &&HostPlan| {
        plan.name == host || {
            let names: Vec<String> = containers(plan);
            names.iter().any(|name| name == host)
        }
    };
    match state.layout.hosts.iter().find(is_it).cloned() {
        Some(plan) => Ok((state, plan)),
        None => {
            let known: Vec<String> =
                state.layout.hosts.iter().flat_map(|plan| [vec![plan.name.clone()], containers(plan)].concat()).collect();
            Err(LabError::NoSuchHost { host: host.to_owned(), known: known.join(", ") })
        }
    }
}
