//! Daemons that are started and stopped by commands of their own, and found in `/proc`.

use std::time::Duration;

use async_trait::async_trait;

use super::{DaemonState, Manager, Pid, by_helper, find};
use crate::inventory::DaemonEntry;
use crate::remote::{Remote, RemoteError, quote};

/// `manager = "scripts"`.
#[derive(Clone, Debug)]
pub struct ScriptsManager {
    entry: DaemonEntry,
    timeout: Duration,
}

impl ScriptsManager {
    /// `timeout` is for each command on the host.
    pub fn new(entry: &DaemonEntry, timeout: Duration) -> Self {
        Self { entry: entry.clone(), timeout }
    }

    pub fn entry(&self) -> &DaemonEntry {
        &self.entry
    }

    /// Runs a command of the inventory, detached from the shell that runs it.
    ///
    /// Its output goes to a file beside the daemon logs, which is shown if the command fails and removed when it ends: a command that does
    /// not return, because it is the daemon itself, keeps it as its console. Half of the timeout is waited for the end; the rest is for the
    /// way.
    fn run_detached(&self, verb: &str, command: &str) -> String {
        let wait_s = (self.timeout.as_secs() / 2).max(1);
        let file = self.entry.log_dir.join(format!("kchaos-{verb}-{}.out", self.entry.label().replace(':', "-")));
        format!(
            r#"out={out}
{{ : >"$out"; }} 2>/dev/null || out=/dev/null
detach=setsid
command -v setsid >/dev/null 2>&1 || detach=
$detach sh -c {command} </dev/null >"$out" 2>&1 &
child=$!
up() {{ read -r uptime rest </proc/uptime; echo ${{uptime%%.*}}; }}
deadline=$(($(up) + {wait_s})) ended=
while [ "$(up)" -le "$deadline" ]; do
    stat=
    {{ read -r stat </proc/$child/stat; }} 2>/dev/null
    case ${{stat##*) }} in '' | Z* | X*) ended=1; break ;; esac
    sleep 0.05 2>/dev/null || sleep 1
done
# A command that has not ended is left alone: it has been given, and what it does is seen by looking for the daemon.
if [ -n "$ended" ]; then
    wait $child
    status=$?
    if [ $status -ne 0 ]; then head -c 2000 "$out" >&2; fi
    if [ "$out" != /dev/null ]; then rm -f "$out"; fi
    exit $status
fi
"#,
            out = quote(&file.to_string_lossy()),
            command = quote(command),
        )
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} {}", self.entry.label())
    }
}

#[async_trait]
impl Manager for ScriptsManager {
    async fn start(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        let output = remote.run_as(&self.start_script(), &by_helper("start", self.entry.label()), self.timeout).await?;
        output.success(remote.host(), &self.what("starting")).map(drop)
    }

    async fn stop(&self, remote: &dyn Remote) -> Result<(), RemoteError> {
        let output = remote.run_as(&self.stop_script(), &by_helper("stop", self.entry.label()), self.timeout).await?;
        output.success(remote.host(), &self.what("stopping")).map(drop)
    }

    async fn state(&self, remote: &dyn Remote) -> Result<DaemonState, RemoteError> {
        let what = self.what("finding");
        let found = remote.run_as(&self.find_script(), &by_helper("find", self.entry.label()), self.timeout).await?;
        let text = found.success(remote.host(), &what)?;
        parse_state(&text).ok_or_else(|| RemoteError::Unreadable { host: remote.host().to_owned(), what, text })
    }

    fn start_script(&self) -> String {
        format!(
            "found=$(\n{find}) || exit\nif [ -z \"$found\" ]; then\n{start}fi\n",
            find = self.find_script(),
            start = self.run_detached("start", &self.entry.start)
        )
    }

    fn find_script(&self) -> String {
        find::script(&self.entry.find)
    }

    fn stop_script(&self) -> String {
        self.run_detached("stop", &self.entry.stop)
    }
}

/// `PID START_TIME STATE`, or nothing. `None` if it is neither: no guess is made about what runs on a host.
pub(super) fn parse_state(text: &str) -> Option<DaemonState> {
    if text.trim().is_empty() {
        return Some(DaemonState::Gone);
    }
    let mut words = text.split_whitespace();
    let (pid, start_time, state) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    let pid = Pid { pid, start_time };
    let is_one_letter = state.len() == 1 && state.chars().all(|c| c.is_ascii_alphabetic());
    (is_one_letter && words.next().is_none() && pid.pid > 0).then_some(match state {
        "T" => DaemonState::Stopped(pid),
        _ => DaemonState::Running(pid),
    })
}
