//! A Java worker's process: a child of ours, ended by its own pid.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::worker::{Pipes, WorkerEnd};

const TICK: Duration = Duration::from_millis(10);

/// Its pipes, and where it is for people.
pub(super) fn spawn(mut command: Command) -> Result<(Pipes, String), String> {
    // A process group of its own: Ctrl-C is kchaos' to act on.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("cannot start Java: {error}"))?;
    let place = format!("pid {}", child.id());
    let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
        return Err("Java has no pipes".to_owned());
    };
    let end = Arc::new(Ours(Mutex::new(child)));
    Ok((Pipes { input: Box::new(input), output: Box::new(output), errors: Box::new(errors), end }, place))
}

struct Ours(Mutex<Child>);

impl Ours {
    fn lock(&self) -> MutexGuard<'_, Child> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkerEnd for Ours {
    fn how(&self) -> Option<String> {
        self.lock().try_wait().ok().flatten().map(|status| status.to_string())
    }

    fn finish(&self, patience: Duration) {
        let (mut child, until) = (self.lock(), Instant::now() + patience);
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(TICK);
        }
    }
}
