//! A worker's process behind three pipes: told, heard, ended. Where it runs is its starter's affair.
//!
//! It ends when its standard input does, so that none is left where kchaos is gone, however that went.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::protocol::{self, Start};
use crate::client_log::ClientLog;

/// To be ready: below what a run waits for a client.
const START: Duration = Duration::from_secs(50);
/// To be gone after its standard input ended; then it is ended.
const END: Duration = Duration::from_secs(4);

/// A process that was started.
pub struct Pipes {
    pub input: Box<dyn Write + Send>,
    pub output: Box<dyn Read + Send>,
    /// Its standard error.
    pub errors: Box<dyn Read + Send>,
    pub end: Arc<dyn WorkerEnd>,
}

/// How a process ends.
pub trait WorkerEnd: Send + Sync {
    /// How it ended, if that is known.
    fn how(&self) -> Option<String>;
    /// Its standard input has ended: waits for its end, so long at most, and ends it then.
    fn finish(&self, patience: Duration);
}

/// A host on which workers can be started.
pub trait ClientHost: Send + Sync {
    fn name(&self) -> &str;
    /// It blocks, for some seconds at most.
    fn start(&self) -> Result<Pipes, String>;
}

pub(crate) struct Worker {
    /// Where it is, for people: `pid 17`, `on zoo1`.
    place: String,
    lines: Option<Arc<Sender<String>>>,
    is_over: Arc<AtomicBool>,
    end: Arc<dyn WorkerEnd>,
}

/// Hears each line that a worker says, and at last `None`.
pub(crate) type Listener = Box<dyn FnMut(Option<&str>) + Send>;

impl Worker {
    /// Waits until it is ready; what it says afterwards goes to `listener`, on a thread of its own.
    pub(crate) fn start(pipes: Pipes, place: String, start: &Start<'_>, log: &ClientLog, listener: Listener) -> Result<Self, String> {
        let Pipes { input, output, errors, end } = pipes;
        let (lines, to_write) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let worker = Self { place, lines: Some(Arc::new(lines)), is_over: Arc::clone(&is_over), end };
        let (first, ready) = sync_channel(1);
        let hear = move || hear(output, first, listener, &is_over);
        let log_of_errors = log.clone();
        thread(&log.client, "in", move || write(input, &to_write))?;
        thread(&log.client, "out", hear)?;
        thread(&log.client, "log", move || keep_log(errors, &log_of_errors))?;
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
    pub(crate) fn say(&self, line: String) -> bool {
        !self.is_over.load(Relaxed) && self.lines.as_ref().is_some_and(|lines| lines.send(line).is_ok())
    }

    /// A way to say something from another thread, which does not keep the worker's standard input open.
    pub(crate) fn mouth(&self) -> Mouth {
        Mouth(self.lines.as_ref().map(Arc::downgrade).unwrap_or_default())
    }

    /// How it ended, if it has.
    pub(crate) fn death(&self) -> Option<String> {
        if !self.is_over.load(Relaxed) {
            return None;
        }
        let how = self.end.how().unwrap_or_else(|| "it said its last".to_owned());
        Some(format!("its worker ({}) ended: {how}", self.place))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Its standard input ends with this, once all that was to be said is said.
        self.lines = None;
        self.end.finish(END);
        self.is_over.store(true, Relaxed);
    }
}

/// Says what it is given as long as the worker is held by its owner.
pub(crate) struct Mouth(Weak<Sender<String>>);

impl Mouth {
    pub(crate) fn say(&self, line: String) -> bool {
        self.0.upgrade().is_some_and(|lines| lines.send(line).is_ok())
    }
}

pub(crate) fn thread(client: &str, what: &str, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(format!("{client}-{what}")).spawn(run);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

/// Lines that wait go together; one alone goes at once.
pub(crate) fn write(pipe: impl Write, lines: &Receiver<String>) {
    let mut pipe = BufWriter::with_capacity(1 << 15, pipe);
    while let Ok(mut line) = lines.recv() {
        loop {
            line.push('\n');
            if pipe.write_all(line.as_bytes()).is_err() {
                return;
            }
            match lines.try_recv() {
                Ok(next) => line = next,
                Err(_) => break,
            }
        }
        if pipe.flush().is_err() {
            return;
        }
    }
}

fn hear(output: impl Read, first: SyncSender<String>, mut listener: Listener, is_over: &AtomicBool) {
    let mut is_first = true;
    for line in BufReader::with_capacity(1 << 16, output).lines() {
        let Ok(line) = line else { break };
        // A library may have something to say of its settings before there is a client.
        if is_first && !line.starts_with("log ") {
            is_first = false;
            let _ = first.send(line);
        } else {
            listener(Some(&line));
        }
    }
    drop(first);
    // First this: what is said from here on is said to nobody, and what was said before is given up by the listener.
    is_over.store(true, Relaxed);
    listener(None);
}

/// `WARN NetworkClient: …`, as the pattern for the Java client's log has it; other lines are what the process itself says.
fn keep_log(errors: impl Read, log: &ClientLog) {
    for line in BufReader::new(errors).lines() {
        let Ok(line) = line else { return };
        let (level, text) = line.split_once(' ').unwrap_or(("", &line));
        match level {
            "ERROR" | "FATAL" => log.say("error", "WORKER", text),
            "WARN" => log.say("warning", "WORKER", text),
            "INFO" => log.say("info", "WORKER", text),
            _ => log.say("notice", "WORKER", &line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Mutex;

    use super::*;
    use crate::client_log::LogRing;

    struct Known(Mutex<Option<String>>);

    impl WorkerEnd for Known {
        fn how(&self) -> Option<String> {
            self.0.lock().unwrap().clone()
        }

        fn finish(&self, _: Duration) {}
    }

    struct Still;

    impl kchaos_core::Clock for Still {
        fn now_ns(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_worker_whose_pipe_breaks_is_dead_at_once_and_nobody_is_told_any_more() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let end = Arc::new(Known(Mutex::default()));
        let pipes = Pipes {
            input: Box::new(ours.try_clone().unwrap()),
            output: Box::new(ours),
            errors: Box::new(std::io::empty()),
            end: Arc::<Known>::clone(&end),
        };
        let mut said = BufReader::new(theirs.try_clone().unwrap()).lines();
        (&theirs).write_all(b"log info CONF eA==\nready 1 2\nhello\n").unwrap();
        let start = Start { role: "producer", properties: [].into(), keys: &[] };
        let log = ClientLog { sink: Arc::new(LogRing::new(1)), clock: Arc::new(Still), client: "p".into(), watch: None };
        let (heard, hears) = channel();
        let listener = move |line: Option<&str>| heard.send(line.map(str::to_owned)).unwrap();
        let worker = Worker::start(pipes, "on zoo1".into(), &start, &log, Box::new(listener)).unwrap();
        assert_eq!((said.next().unwrap().unwrap().as_str(), hears.recv().unwrap().as_deref()), ("producer", Some("log info CONF eA==")));
        assert_eq!(hears.recv().unwrap().as_deref(), Some("hello"));
        assert!(worker.death().is_none() && worker.say("x".into()));

        *end.0.lock().unwrap() = Some("signal KILL".into());
        theirs.shutdown(std::net::Shutdown::Both).unwrap();
        assert_eq!(hears.recv().unwrap(), None);
        assert_eq!(worker.death().as_deref(), Some("its worker (on zoo1) ended: signal KILL"));
        assert!(!worker.say("y".into()));
    }
}
