//! A worker's process: started, told, heard, ended by its own pid.
//!
//! It ends when its standard input does, so that none is left where kchaos is gone, however that went.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::JavaClient;
use super::protocol::{self, Start};
use crate::client_log::ClientLog;

/// To be ready: below what a run waits for a client.
const START: Duration = Duration::from_secs(50);
/// To be gone after its standard input ended; then it is killed.
const END: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(10);

pub(super) struct Worker {
    child: Mutex<Child>,
    pid: u32,
    lines: Option<Sender<String>>,
    is_over: Arc<AtomicBool>,
}

/// Hears each line that a worker says, and at last `None`.
pub(super) type Listener = Box<dyn FnMut(Option<&str>) + Send>;

impl Worker {
    /// Starts one and waits until it is ready; what it says afterwards goes to `listener`, on a thread of its own.
    pub(super) fn start(client: &JavaClient, start: &Start<'_>, log: &ClientLog, listener: Listener) -> Result<Self, String> {
        let mut command = client.command();
        // A process group of its own: Ctrl-C is kchaos' to act on.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("cannot start Java: {error}"))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (lines, to_write) = channel();
        let (is_over, pid) = (Arc::new(AtomicBool::new(false)), child.id());
        let worker = Self { child: Mutex::new(child), pid, lines: Some(lines), is_over: Arc::clone(&is_over) };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err("Java has no pipes".to_owned()) };
        let (first, ready) = sync_channel(1);
        let hear = move || hear(stdout, &first, listener, &is_over);
        let log_of_stderr = log.clone();
        thread(&log.client, "in", move || write(stdin, &to_write))?;
        thread(&log.client, "out", hear)?;
        thread(&log.client, "log", move || keep_log(stderr, &log_of_stderr))?;
        for line in start.lines() {
            worker.say(line);
        }
        match ready.recv_timeout(START).map_err(|why| (why, worker.death())) {
            Ok(line) => protocol::ready(&line).map(|_| worker),
            Err((RecvTimeoutError::Timeout, _)) => Err(format!("its worker is not ready after {} s", START.as_secs())),
            Err((RecvTimeoutError::Disconnected, death)) => Err(death.unwrap_or_else(|| "its worker ended".to_owned())),
        }
    }

    /// `false` if nobody is there to be told; who is there may still not hear it.
    pub(super) fn say(&self, line: String) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.send(line).is_ok())
    }

    /// How it ended, if it has, and everything it said was heard.
    pub(super) fn death(&self) -> Option<String> {
        if !self.is_over.load(Relaxed) {
            return None;
        }
        let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait();
        let how = status.ok().flatten().map_or_else(|| "it said its last".to_owned(), |status| status.to_string());
        Some(format!("its worker (pid {}) ended: {how}", self.pid))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its standard input ends with this, once all that was to be said is said.
        self.lines = None;
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + END;
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

fn thread(client: &str, what: &str, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(format!("{client}-{what}")).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Lines that wait go together; one alone goes at once.
fn write(stdin: ChildStdin, lines: &Receiver<String>) {
    let mut stdin = BufWriter::with_capacity(1 << 16, stdin);
    while let Ok(mut line) = lines.recv() {
        loop {
            line.push('\n');
            if stdin.write_all(line.as_bytes()).is_err() {
                return;
            }
            match lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => break,
            }
        }
        if stdin.flush().is_err() {
            return;
        }
    }
}

fn hear(stdout: impl Read, first: &std::sync::mpsc::SyncSender<String>, mut listener: Listener, is_over: &AtomicBool) {
    let mut lines = BufReader::with_capacity(1 << 16, stdout).lines();
    if let Some(Ok(line)) = lines.next() {
        let _ = first.send(line);
        while let Some(Ok(line)) = lines.next() {
            listener(Some(&line));
        }
    }
    listener(None);
    is_over.store(true, Relaxed);
}

/// `WARN NetworkClient: …`, as the pattern for its log has it; other lines are what the JVM itself says.
fn keep_log(stderr: impl Read, log: &ClientLog) {
    for line in BufReader::new(stderr).lines() {
        let Ok(line) = line else { return };
        let (level, text) = line.split_once(' ').unwrap_or(("", &line));
        match level {
            "ERROR" | "FATAL" => log.say("error", "JAVA", text),
            "WARN" => log.say("warning", "JAVA", text),
            "INFO" => log.say("info", "JAVA", text),
            _ => log.say("notice", "JAVA", &line),
        }
    }
}
