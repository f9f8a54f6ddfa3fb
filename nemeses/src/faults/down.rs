//! What `kill`, `stop` and `restart` share: the daemon is gone, and is started again in a way that Kafka on ZooKeeper survives.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kchaos_cluster::daemon::{DaemonState, Pid};
use kchaos_core::{Chosen, Effect, Interval, Proof};
use tokio::task::JoinHandle;

use crate::engine::KillSemantics;
use crate::error::FaultError;
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::bring_up;
use crate::faults::daemon::Daemon;
use crate::faults::revival::Hand;
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::{self, PROCESS, quote};

/// Tenths of a second: a JVM with a big heap takes a moment to go.
const GONE_AFTER_KILL: u32 = 100;
/// One turn of waiting for a service that stops in good order.
const GONE_AFTER_STOP: u32 = 100;
/// A controlled shutdown tries 3 times, 5 s apart, and then flushes.
const STOP_TURNS: u32 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Kill,
    Stop,
}

struct Down {
    daemon: Arc<Daemon>,
    way: Way,
    /// Of the service manager, where there is one.
    hand: Hand,
    /// A crash, of which a service manager may make what it will: it is watched.
    is_crash: bool,
    watching: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Down {
    fn drop(&mut self) {
        self.stop_watching();
    }
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, way: Way) -> Result<Box<dyn HostFault>, FaultError> {
    let is_crash = way == Way::Kill && ground.shared.options.kill == KillSemantics::RevivalAllowed;
    let daemon = Daemon::find(ground, chosen).await?;
    // A service that was told to stop is not revived.
    let hand = Hand::find(&daemon, way == Way::Kill && !is_crash).await?;
    Ok(Box::new(Down { daemon: Arc::new(daemon), way, hand, is_crash, watching: Mutex::default() }))
}

#[async_trait]
impl HostFault for Down {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        let plain = undo(&self.daemon, if self.way == Way::Kill { "killed" } else { "stopped" });
        let (release, is_released) = self.hand.undo();
        Undo { setup: plain.setup + &release, mend: format!("k_release\n{}", plain.mend), verify: is_released + &plain.verify, ..plain }
    }

    fn holds(&self) -> String {
        if self.is_crash && self.hand.is_there() {
            return "return 0".to_owned();
        }
        let said = quote(&format!("{} runs again, and not by our doing", self.daemon.chosen.daemon));
        format!(
            "{}\n{}k_same_process {} && return 0\n[ -z \"$(k_find_daemon)\" ] || echo {said}\nreturn 0",
            self.daemon.functions(),
            self.hand.holds(&self.daemon.chosen.daemon),
            self.daemon.arguments()
        )
    }

    fn in_words(&self) -> Option<InWords> {
        Some(self.daemon.nursed(self.hand.hold.is_some(), !(self.is_crash && self.hand.is_there())))
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let daemon = &self.daemon;
        self.hand.apply(daemon).await?;
        let when = match self.way {
            Way::Kill if self.is_crash => daemon.signal("KILL").await?,
            Way::Kill => daemon.kill_by_manager().await?,
            Way::Stop => ask_to_stop(daemon).await?,
        };
        if self.is_crash {
            *self.watching.lock().unwrap_or_else(PoisonError::into_inner) = self.hand.watch(daemon);
        }
        let units = self.hand.hold.iter().map(|hold| hold.changes.clone()).collect();
        let effect = Effect { pids: vec![(daemon.before.pid, daemon.before.start_time)], units, ..Effect::default() };
        Ok(Injected { when, effect })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        match there_is(&self.daemon, self.way).await? {
            None => self.stays_gone().await,
            Some(seen) => Ok(Proof { proved: false, text: format!("{} is still there: {seen}", self.daemon.name()) }),
        }
    }

    async fn mend(&self) -> Result<Interval, String> {
        self.stop_watching();
        // What is still held down can be started all the same; that the hold is there is told by `mended`.
        let released = self.hand.release(&self.daemon).await;
        let up = bring_up::bring_up(&self.daemon).await?;
        released.map(|()| up)
    }

    async fn mended(&self) -> Proof {
        let up = bring_up::is_up(&self.daemon).await;
        if !up.proved {
            return up;
        }
        let back = self.hand.given_back(&self.daemon).await;
        Proof { proved: back.proved, text: up.text + &back.text }
    }
}

impl Down {
    fn stop_watching(&self) {
        if let Some(watching) = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watching.abort();
        }
    }

    /// Gone is the process; a service manager may have another one up by now.
    async fn stays_gone(&self) -> Result<Proof, FaultError> {
        let daemon = &self.daemon;
        let gone = format!("pid {} started at tick {} is gone from {}", daemon.before.pid, daemon.before.start_time, self.host());
        let text = gone + &self.hand.told(daemon).await;
        match daemon.ground.state(daemon.manager.as_ref(), self.host()).await {
            Ok(DaemonState::Gone) => Ok(Proof { proved: true, text: format!("{text}, and no other process is {}", daemon.chosen.daemon) }),
            Ok(DaemonState::Running(pid) | DaemonState::Stopped(pid)) => {
                let revived = format!("{} was revived as pid {} by its service manager", daemon.chosen.daemon, pid.pid);
                // Whoever watches says it, with the time that it took.
                if !(self.is_crash && self.hand.is_there()) {
                    daemon.ground.note(revived.clone());
                }
                Ok(Proof { proved: self.is_crash, text: format!("{text}; {revived}") })
            }
            // The signal did its work; that nobody took its place is not known.
            Err(error) => Ok(Proof { proved: true, text: format!("{text}; whether another took its place is not known: {error}") }),
        }
    }
}

/// The host starts it again, whoever is left.
pub(crate) fn undo(daemon: &Daemon, verb: &str) -> Undo {
    Undo {
        about: format!("{}: {} {verb}", daemon.ground.nemesis, daemon.chosen.daemon),
        parts: &[PROCESS],
        setup: daemon.functions(),
        mend: "k_nurse".to_owned(),
        verify: "[ -n \"$(k_find_daemon)\" ]".to_owned(),
    }
}

pub(crate) async fn ask_to_stop(daemon: &Daemon) -> Result<Interval, FaultError> {
    let failed = |error| FaultError::environment(&daemon.ground.nemesis, format!("the stop command of {}", daemon.name()), error);
    let remote = daemon.ground.armed_remote(&daemon.chosen.host);
    let after_ns = daemon.ground.now();
    let answer = daemon.manager.stop(&remote).await;
    let when = Interval { after_ns, before_ns: daemon.ground.now() };
    match answer {
        Err(error) if !host::is_unknown(&error) => Err(failed(error)),
        _ => Ok(when),
    }
}

/// Waits for the process that was there at first to go; what is still seen of it if it does not.
pub(crate) async fn there_is(daemon: &Daemon, way: Way) -> Result<Option<String>, FaultError> {
    there_is_still(daemon, &daemon.before, way).await
}

/// The same for a process that it was later.
pub(crate) async fn there_is_still(daemon: &Daemon, pid: &Pid, way: Way) -> Result<Option<String>, FaultError> {
    let (turns, tenths) = if way == Way::Kill { (1, GONE_AFTER_KILL) } else { (STOP_TURNS, GONE_AFTER_STOP) };
    let mut seen = String::new();
    for _ in 0..turns {
        let call = format!("k_gone {} {} {tenths}", pid.pid, pid.start_time);
        let means = helper::words(&[&"gone", &pid.pid, &pid.start_time, &tenths]);
        let answers = daemon.ground.ask_as(&daemon.chosen.host, &[PROCESS], &call, &means, "the look at the process").await;
        let answers = answers
            .map_err(|error| FaultError::environment(&daemon.ground.nemesis, format!("{} could not be looked at", daemon.name()), error))?;
        if answers.has("gone") {
            return Ok(None);
        }
        seen = answers.text();
    }
    Ok(Some(seen))
}
