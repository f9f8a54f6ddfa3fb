//! Calling the built binary, and reading what a run left.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kchaos_core::{FaultEvent, FaultMoment, Observation, Op, Plan};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// No command of these tests takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(900);
/// From the start of a run to its first fault in force: preflight, the first acks, the quiet time.
const FIRST_FAULT: Duration = Duration::from_secs(60);

/// One call of the built binary, not started yet.
pub(crate) struct Call {
    command: Command,
    scratch: Scratch,
}

/// A directory of a test's own. It is kept, and named, when the test fails.
pub(crate) struct Scratch(Option<TempDir>);

/// What a command that ended had to say.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A call that goes on.
pub(crate) struct Going {
    child: Child,
    started: Instant,
    scratch: Scratch,
}

/// A run that ended, and its directory.
pub(crate) struct Finished {
    pub(crate) answer: Answer,
    pub(crate) directory: PathBuf,
    pub(crate) took: Duration,
    _scratch: Scratch,
}

/// `kchaos` with these arguments, in the lab that is up and no other cluster.
pub(crate) fn kchaos(arguments: &[&str]) -> Call {
    by(&[env!("CARGO_BIN_EXE_kchaos")], arguments)
}

/// The same, called by another program: `unshare`, `setpriv`.
pub(crate) fn by(program: &[&str], arguments: &[&str]) -> Call {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).args(arguments).env_remove("KCHAOS_INVENTORY").env_remove("KCHAOS_RESULTS").stdin(Stdio::null());
    Call { command, scratch: Scratch::new() }
}

/// `kchaos test`, with its results in a directory of its own.
pub(crate) fn a_run_with(nemesis: &str, more: &[&str]) -> Call {
    kchaos(&["test", "--progress", "plain", "--nemesis", nemesis]).and(more).with_results()
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(Some(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch directory")))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.as_ref().expect("kept until it is dropped").path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take()
            && std::thread::panicking()
        {
            eprintln!("kept for looking at: {}", directory.keep().display());
        }
    }
}

impl Call {
    pub(crate) fn and(mut self, more: &[&str]) -> Self {
        self.command.args(more);
        self
    }

    pub(crate) fn in_cluster(mut self, inventory: &Path) -> Self {
        self.command.arg("--inventory").arg(inventory);
        self
    }

    pub(crate) fn with_env(mut self, name: &str, value: &OsStr) -> Self {
        self.command.env(name, value);
        self
    }

    /// In a directory of the call's own.
    pub(crate) fn with_results(mut self) -> Self {
        let results = self.scratch.path().join("results");
        self.command.arg("--results").arg(results);
        self
    }

    pub(crate) fn start(mut self) -> Going {
        let file = |name: &str| File::create(self.scratch.path().join(name)).expect("a file for what the command says");
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let child = self.command.stdout(stdout).stderr(stderr).spawn().unwrap_or_else(|error| panic!("{:?}: {error}", self.command));
        Going { child, started: Instant::now(), scratch: self.scratch }
    }

    pub(crate) fn run(self) -> Answer {
        let (answer, _scratch) = self.start().end();
        answer
    }

    /// A run to its end, which left a directory.
    pub(crate) fn finish(self) -> Finished {
        self.start().finish()
    }
}

impl Going {
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid is a positive i32")
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill on our own child, which is not reaped before `end`.
        let sent = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(sent, 0, "signal {signal}: {}", std::io::Error::last_os_error());
    }

    /// Waits until the run's first fault is in force, and gives its event.
    pub(crate) fn until_a_fault_is_in_force(&mut self) -> FaultEvent {
        self.until_a_fault_is(FaultMoment::InEffect)
    }

    /// Waits until the run has chosen to begin with one.
    pub(crate) fn until_a_fault_is_asked_for(&mut self) -> FaultEvent {
        self.until_a_fault_is(FaultMoment::Asked)
    }

    fn until_a_fault_is(&mut self, moment: FaultMoment) -> FaultEvent {
        let deadline = Instant::now() + FIRST_FAULT;
        loop {
            let events = fs::read_to_string(self.directory().join("faults.jsonl")).unwrap_or_default();
            let event = events.lines().filter_map(|line| serde_json::from_str::<FaultEvent>(line).ok());
            if let Some(event) = event.into_iter().find(|event| event.moment == moment) {
                return event;
            }
            if let Some(status) = self.child.try_wait().expect("wait for kchaos") {
                panic!("kchaos ended before a fault was {moment:?}: {status}\n{}", self.said("stderr"));
            }
            assert!(Instant::now() < deadline, "no fault was {moment:?} within {FIRST_FAULT:?}\n{}", self.said("stderr"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// SIGKILL, as the kernel's out-of-memory killer does it.
    pub(crate) fn killed(mut self) -> Finished {
        self.child.kill().expect("kill kchaos");
        self.finish()
    }

    /// The same, where it may not even have a directory yet. Its faults so far.
    pub(crate) fn killed_early(mut self) -> Vec<FaultEvent> {
        self.child.kill().expect("kill kchaos");
        let events = fs::read_to_string(self.directory().join("faults.jsonl")).unwrap_or_default();
        let _ = self.end();
        events.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    pub(crate) fn finish(self) -> Finished {
        let (started, directory) = (self.started, self.directory());
        let (answer, scratch) = self.end();
        let directory = directory.canonicalize().unwrap_or_else(|error| panic!("the run left no directory: {error}\n{}", answer.stderr));
        keep_what_was_proved(&directory);
        Finished { answer, directory, took: started.elapsed(), _scratch: scratch }
    }

    fn directory(&self) -> PathBuf {
        self.scratch.path().join("results/latest")
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default()
    }

    /// Of a command that is no run.
    pub(crate) fn end_of_command(self) -> Answer {
        let (answer, _scratch) = self.end();
        answer
    }

    fn end(mut self) -> (Answer, Scratch) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for kchaos") {
                break status;
            }
            if Instant::now() > deadline {
                self.signal(libc::SIGTERM);
                panic!("kchaos did not end within {PATIENCE:?}\n{}", self.said("stderr"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let answer = Answer { code: status.code().unwrap_or(-1), stdout: self.said("stdout"), stderr: self.said("stderr") };
        (answer, self.scratch)
    }
}

/// Where `KCHAOS_PROVED` names a file of records, this run's are put into it (docs/faults.md).
fn keep_what_was_proved(run: &Path) {
    let Some(file) = std::env::var_os("KCHAOS_PROVED") else { return };
    let kept = Command::new(env!("CARGO_BIN_EXE_kchaos")).args(["list", "nemeses", "--proved"]).arg(file).arg("--from").arg(run).output();
    let kept = kept.expect("kchaos list");
    // A run that was killed may have no plan: it proved nothing then.
    if !kept.status.success() {
        eprintln!("{}: no records were taken: {}", run.display(), String::from_utf8_lossy(&kept.stderr));
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.stdout, self.stderr))
    }

    /// Ended with this code, and said all of this on standard error.
    pub(crate) fn says(&self, code: i32, phrases: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for phrase in phrases {
            assert!(self.stderr.contains(phrase), "{phrase:?} is not in:\n{}", self.stderr);
        }
    }
}

impl Finished {
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.answer.code, code, "{}\n{}", self.answer.stdout, self.answer.stderr);
        self
    }

    pub(crate) fn verdict(&self) -> Value {
        let path = self.directory.join("verdict.json");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).expect("verdict.json is JSON")
    }

    pub(crate) fn plan(&self) -> Plan {
        serde_json::from_str(&fs::read_to_string(self.directory.join("plan.json")).expect("plan.json")).expect("plan.json is a plan")
    }

    pub(crate) fn faults(&self) -> Vec<FaultEvent> {
        self.lines("faults.jsonl")
    }

    pub(crate) fn timeline(&self) -> Vec<Observation> {
        self.lines("timeline.jsonl")
    }

    /// Reads the history.
    pub(crate) fn each_op(&self, each: impl FnMut(&Op)) {
        let name = "history.jsonl.zst";
        let file = File::open(self.directory.join(name)).expect("the history");
        kchaos_checkers::read_ops(file, name, each).expect("the history can be read");
    }

    /// How long sends took by their size, where sizes are many.
    pub(crate) fn size_classes(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.join("latency.json")).expect("latency.json");
        let latency: Value = serde_json::from_str(&text).expect("latency.json is JSON");
        latency["sizes"].as_array().cloned().unwrap_or_default()
    }

    fn lines<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let text = fs::read_to_string(self.directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"))).collect()
    }

    /// How many values, offsets or pairs an anomaly counts; 0 if it was not found.
    pub(crate) fn count_of(&self, anomaly: &str) -> u64 {
        self.verdict()["anomalies"][anomaly]["count"].as_u64().unwrap_or(0)
    }
}
