//! `crash-loop`: SIGKILL, and again each time the daemon is back and serves, until it is mended.
//!
//! Back is who is registered (or serves, for a ZooKeeper): a crash before that would tell the cluster nothing. A broker's old registration
//! must go first, so each turn takes a session timeout and a start; how many turns the fault's duration held is noted at its end.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kchaos_cluster::daemon::DaemonState;
use kchaos_core::{Chosen, Effect, Interval, Proof};
use tokio::task::JoinHandle;

use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::daemon::Daemon;
use crate::faults::{ROLES, bring_up, down};
use crate::ground::Ground;
use crate::helper::InWords;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "crash-loop",
    about: "SIGKILL, and again each time it is back, up to 5 times",
    targets: ROLES,
    needs: &[Need::Signals, Need::Manager],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

const KILLS_MAX: u32 = 5;

struct CrashLoop {
    daemon: Arc<Daemon>,
    again: Arc<Again>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the loop and its end know of one another.
#[derive(Default)]
struct Again {
    kills: AtomicU32,
    is_enough: AtomicBool,
}

async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    let daemon = Arc::new(Daemon::find(ground, chosen).await?);
    Ok(Box::new(CrashLoop { daemon, again: Arc::default(), task: Mutex::new(None) }))
}

#[async_trait]
impl HostFault for CrashLoop {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        down::undo(&self.daemon, "killed again and again")
    }

    /// It is there and gone by turns.
    fn holds(&self) -> String {
        "return 0".to_owned()
    }

    fn in_words(&self) -> Option<InWords> {
        Some(self.daemon.nursed(false, false))
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let when = self.daemon.signal("KILL").await?;
        self.again.kills.fetch_add(1, Ordering::SeqCst);
        let effect = Effect { pids: vec![(self.daemon.before.pid, self.daemon.before.start_time)], ..Effect::default() };
        Ok(Injected { when, effect })
    }

    /// Of the first kill; then the loop goes on by itself.
    async fn proof(&self) -> Result<Proof, FaultError> {
        if let Some(seen) = down::there_is(&self.daemon, down::Way::Kill).await? {
            return Ok(Proof { proved: false, text: format!("{} is still there: {seen}", self.daemon.name()) });
        }
        let task = tokio::spawn(kill_again(Arc::clone(&self.daemon), Arc::clone(&self.again)));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        let before = self.daemon.before;
        let text = format!("pid {} started at tick {} is gone from {}", before.pid, before.start_time, self.host());
        Ok(Proof { proved: true, text: format!("{text}; it is killed again each time it is back") })
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.again.is_enough.store(true, Ordering::SeqCst);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // It ends at its next look.
            let _ = task.await;
            let kills = self.again.kills.load(Ordering::SeqCst);
            self.daemon.ground.note(format!("{} was killed {kills} times in all", self.daemon.chosen.daemon));
        }
        bring_up::bring_up(&self.daemon).await
    }

    async fn mended(&self) -> Proof {
        bring_up::is_up(&self.daemon).await
    }
}

impl Drop for CrashLoop {
    fn drop(&mut self) {
        self.again.is_enough.store(true, Ordering::SeqCst);
    }
}

async fn kill_again(daemon: Arc<Daemon>, again: Arc<Again>) {
    let is_enough = || again.is_enough.load(Ordering::SeqCst);
    while again.kills.load(Ordering::SeqCst) < KILLS_MAX && !is_enough() {
        if let Err(why) = bring_up::bring_up_unless(&daemon, &is_enough).await {
            if !is_enough() {
                daemon.ground.note(format!("{} was not killed again: {why}", daemon.chosen.daemon));
            }
            return;
        }
        let Ok(DaemonState::Running(pid)) = daemon.ground.state(daemon.manager.as_ref(), &daemon.chosen.host).await else { continue };
        if is_enough() {
            return;
        }
        daemon.ends_as(pid).await;
        // A lease that has lapsed ends the loop: the host mends it.
        let killed = match daemon.signal_to(&pid, "KILL").await {
            Ok(_) => down::there_is_still(&daemon, &pid, down::Way::Kill).await,
            Err(error) => Err(error),
        };
        match killed {
            Ok(None) => {
                let kills = again.kills.fetch_add(1, Ordering::SeqCst) + 1;
                daemon.ground.note(format!("{} was back as pid {}, and killed for the {}", daemon.chosen.daemon, pid.pid, nth(kills)));
            }
            Ok(Some(seen)) => return daemon.ground.note(format!("pid {} of {} did not go: {seen}", pid.pid, daemon.chosen.daemon)),
            Err(error) => return daemon.ground.note(format!("{} was not killed again: {error}", daemon.chosen.daemon)),
        }
    }
}

fn nth(kills: u32) -> String {
    match kills {
        2 => "2nd time".to_owned(),
        3 => "3rd time".to_owned(),
        other => format!("{other}th time"),
    }
}
