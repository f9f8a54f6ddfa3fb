//! One process of a host, by its pid and start time: is it still that one, and hitting no other.
//!
//! Between the look at the start time and the signal lie some microseconds in which the process could end and its pid be used again. The
//! shell has no pidfd; the kernel gives pids out in a circle, so this would take thousands of new processes in that time.

use std::time::Duration;

use super::Pid;
use crate::remote::{Remote, RemoteError};

/// The status of a script whose process is gone, or is another by now.
pub const NOT_THAT_PROCESS: i32 = 3;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    Sent,
    /// There is no such process any more; nothing was hit.
    Gone,
}

/// POSIX sh that prints the state of a process, one letter (`S`, `T`, …), or ends with [`NOT_THAT_PROCESS`].
pub fn process_state_script(pid: Pid) -> String {
    format!("{}echo \"$1\"\n", check(pid))
}

/// POSIX sh that sends a signal (`"STOP"`, `"CONT"`, `"KILL"`) to exactly this process, or ends with [`NOT_THAT_PROCESS`].
///
/// A caller that puts several behind one another must put each in parentheses, since each ends its shell.
pub fn signal_script(pid: Pid, signal: &str) -> String {
    format!("{}kill -s {signal} {}\n", check(pid), pid.pid)
}

/// Ends the shell unless the process is still that one; leaves its state in `$1`. Nothing but the shell runs in between.
fn check(Pid { pid, start_time }: Pid) -> String {
    format!(
        "{{ read -r stat </proc/{pid}/stat; }} 2>/dev/null || exit {NOT_THAT_PROCESS}\n\
         set -- ${{stat##*) }}\n\
         case $1 in Z|X|x) exit {NOT_THAT_PROCESS} ;; esac\n\
         [ \"${{20}}\" = {start_time} ] || exit {NOT_THAT_PROCESS}\n"
    )
}

/// Sends a signal to exactly this process.
pub async fn signal(remote: &dyn Remote, pid: Pid, signal: &str, timeout: Duration) -> Result<Signalled, RemoteError> {
    let output = remote.run(&signal_script(pid, signal), timeout).await?;
    if output.status == NOT_THAT_PROCESS {
        return Ok(Signalled::Gone);
    }
    output.success(remote.host(), &format!("kill -s {signal} {}", pid.pid))?;
    Ok(Signalled::Sent)
}

/// The state of exactly this process, as one letter; `None` if it is gone.
pub async fn process_state(remote: &dyn Remote, pid: Pid, timeout: Duration) -> Result<Option<char>, RemoteError> {
    let what = format!("looking at process {}", pid.pid);
    let output = remote.run(&process_state_script(pid), timeout).await?;
    if output.status == NOT_THAT_PROCESS {
        return Ok(None);
    }
    let text = output.success(remote.host(), &what)?;
    match text.trim().chars().next() {
        Some(state) => Ok(Some(state)),
        None => Err(RemoteError::Unreadable { host: remote.host().to_owned(), what, text }),
    }
}
