//! The sessions of a run together, on threads of their own.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use zookeeper_client::{Acls, CreateMode, Error};

use super::lane::{self, Board};
use super::{root, session};
use crate::counts::Counts;
use crate::options::Options;
use crate::{Context, FinalTarget, FinaleOutcome, Outstanding, Running, Stopped, WorkloadError};

/// zookeeper-client may spin in a task when connections are refused at once (see `isolation` of the cluster's sessions): these threads are its own.
const THREADS: usize = 4;
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_secs(10);

pub(super) struct RegisterRun {
    board: Arc<Board>,
    /// `None` once it was stopped.
    runtime: Option<Runtime>,
    lanes: Vec<JoinHandle<()>>,
    left_behind: Vec<String>,
}

impl RegisterRun {
    pub(super) fn start(options: &Options, context: Context) -> Result<Self, WorkloadError> {
        let Some(zookeeper) = context.zookeeper.clone() else {
            return Err(WorkloadError::Unsupported {
                reason: "the workload register needs a ZooKeeper, and the inventory names none".into(),
            });
        };
        let root = format!("{}{}", zookeeper.chroot.trim_end_matches('/'), root(&context.run_id));
        let board = Arc::new(Board::new(options, context, zookeeper, root)?);
        let made = Builder::new_multi_thread().worker_threads(THREADS).enable_all().thread_name("register").build();
        let runtime = made.map_err(|source| WorkloadError::Thread { name: "register".into(), source })?;
        let making = Arc::clone(&board);
        let made = wait(&runtime, START, async move { make_nodes(&making).await });
        if let Err(reason) = made.unwrap_or_else(|| Err(format!("ZooKeeper made no nodes within {} s", START.as_secs()))) {
            runtime.shutdown_background();
            return Err(WorkloadError::Client { name: "register".into(), reason });
        }
        let start_ns = board.now_ns();
        let lanes = (0..options.register.sessions).map(|number| runtime.spawn(lane::run(Arc::clone(&board), number, start_ns))).collect();
        Ok(Self { board, runtime: Some(runtime), lanes, left_behind: Vec::new() })
    }

    /// Waits for the lanes; those that do not end in time are left to themselves.
    fn end_lanes(&mut self, until: Instant) {
        let Some(runtime) = &self.runtime else { return };
        for (number, lane) in std::mem::take(&mut self.lanes).into_iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            if wait(runtime, left.max(Duration::from_millis(1)), lane).is_none() {
                self.left_behind.push(format!("session-{}", number + 1));
            }
        }
    }

    /// Takes the run's nodes away. What cannot be is said in the clients' log.
    fn sweep(&self) {
        let Some(runtime) = &self.runtime else { return };
        let board = Arc::clone(&self.board);
        let why = match wait(runtime, SWEEP, async move { remove_nodes(&board).await }) {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => format!("no answer within {} s", SWEEP.as_secs()),
        };
        self.board.log("warning", &format!("{} was not removed from ZooKeeper: {why}", self.board.root));
    }
}

/// What a task of the runtime comes to, `None` if nothing within the time. It may be called where another runtime is at work, and waits for no
/// task that spins.
fn wait<T: Send + 'static>(runtime: &Runtime, limit: Duration, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let (done, ended) = sync_channel(1);
    runtime.spawn(async move {
        let _ = done.send(task.await);
    });
    ended.recv_timeout(limit).ok()
}

async fn make_nodes(board: &Board) -> Result<(), String> {
    let client =
        session::connect(board).await.map_err(|error| format!("no session with ZooKeeper {}: {error}", board.zookeeper.connect))?;
    let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut paths = vec![board.root.clone(), board.below("r"), board.below("e"), board.below("e/a"), board.below("e/b"), board.sequence()];
    paths.extend((0..board.options().registers).map(|key| board.register(i64::from(key))));
    for path in paths {
        match client.create(&path, b"", &persistent).await {
            Ok(_) => {}
            Err(error) => return Err(format!("cannot make {path} in ZooKeeper: {error}")),
        }
    }
    Ok(())
}

async fn remove_nodes(board: &Board) -> Result<(), Error> {
    let client = session::connect(board).await?;
    let mut below = vec![board.root.clone()];
    let mut all = Vec::new();
    while let Some(path) = below.pop() {
        match client.list_children(&path).await {
            Ok(children) => below.extend(children.into_iter().map(|child| format!("{path}/{child}"))),
            Err(Error::NoNode) => continue,
            Err(error) => return Err(error),
        }
        all.push(path);
    }
    for path in all.into_iter().rev() {
        match client.delete(&path, None).await {
            Ok(()) | Err(Error::NoNode) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Running for RegisterRun {
    fn counts(&self) -> Counts {
        self.board.shared.counters.snapshot()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        let before = self.counts();
        self.board.stop();
        self.end_lanes(Instant::now() + deadline.min(lane::OP_TIMEOUT) + END);
        let after = self.counts();
        Outstanding { at_stop: before.outstanding(), undecided: after.info - before.info, left_behind: self.left_behind.clone() }
    }

    /// Every register is read once more, behind a `sync`, the ephemerals are looked at, and the sequential nodes listed.
    fn finale(&mut self, _targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let Some(runtime) = &self.runtime else { return FinaleOutcome::default() };
        let board = Arc::clone(&self.board);
        let why = match wait(runtime, deadline, async move { session::read_all(&board).await }) {
            Some(Ok(())) => return FinaleOutcome::default(),
            Some(Err(why)) => why,
            None => format!("not within {} s", deadline.as_secs()),
        };
        self.board.log("error", &format!("the registers were not read at the end: {why}"));
        FinaleOutcome { errors: vec![format!("the registers were not read at the end: {why}")], ..FinaleOutcome::default() }
    }

    fn stop(mut self: Box<Self>, deadline: Duration) -> Stopped {
        self.board.stop();
        self.end_lanes(Instant::now() + deadline.min(lane::OP_TIMEOUT) + END);
        self.sweep();
        if let Some(runtime) = self.runtime.take() {
            // Nothing waits for a session that spins.
            runtime.shutdown_background();
        }
        Stopped { left_behind: std::mem::take(&mut self.left_behind) }
    }
}

impl Drop for RegisterRun {
    fn drop(&mut self) {
        self.board.stop();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
