//! One daemon of the inventory as a fault sees it: its process by pid and start time, its manager, what a signal did to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use kchaos_cluster::daemon::{DaemonState, Manager, Pid};
use kchaos_cluster::inventory::{DaemonEntry, DaemonKind};
use kchaos_cluster::remote::Means;
use kchaos_core::{Chosen, Interval};

use crate::error::FaultError;
use crate::ground::Ground;
use crate::helper::{self, InWords};
use crate::host::{self, PROCESS};

pub(crate) struct Daemon {
    pub(crate) ground: Arc<Ground>,
    pub(crate) chosen: Chosen,
    pub(crate) entry: DaemonEntry,
    pub(crate) manager: Box<dyn Manager>,
    /// The process that was there when the fault was planned.
    pub(crate) before: Pid,
    ended: Mutex<Life>,
    /// When the last signal was sent, in hundredths of a second since the host's boot; 0 if nobody knows.
    pub(crate) signalled_cs: AtomicU64,
}

/// The process that a fault ends, the last of several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) pid: Pid,
    /// Of a broker: which registration was its own (by the transaction that made it).
    pub(crate) registered_zxid: Option<i64>,
}

impl Daemon {
    /// Finds the chosen daemon running.
    pub(crate) async fn find(ground: Arc<Ground>, chosen: Chosen) -> Result<Self, FaultError> {
        let refused = |reason: String| FaultError::refused(&ground.nemesis, reason);
        let Some(entry) = ground.daemon(&chosen.host, &chosen.daemon) else {
            return Err(refused(format!("{} on {} is not in the inventory", chosen.daemon, chosen.host)));
        };
        let (manager, entry) = (ground.shared.doors.manager(&chosen.host, &chosen.daemon), entry.clone());
        let state = ground.state(manager.as_ref(), &chosen.host).await;
        let what = format!("{} on {} could not be looked for", chosen.daemon, chosen.host);
        match state.map_err(|error| FaultError::environment(&ground.nemesis, what, error))? {
            DaemonState::Running(before) => {
                let registered_zxid = registration(&ground, &entry).await;
                let ended = Mutex::new(Life { pid: before, registered_zxid });
                Ok(Self { ground: Arc::clone(&ground), chosen, entry, manager, before, ended, signalled_cs: AtomicU64::new(0) })
            }
            DaemonState::Stopped(pid) => {
                Err(refused(format!("{} on {} (pid {}) is stopped by a signal already", chosen.daemon, chosen.host, pid.pid)))
            }
            DaemonState::Gone => Err(refused(format!("{} does not run on {}", chosen.daemon, chosen.host))),
        }
    }

    pub(crate) fn ended(&self) -> Life {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before a process that took its place is ended as well: from then on it is that one's registration that does not count.
    pub(crate) async fn ends_as(&self, pid: Pid) {
        let registered_zxid = registration(&self.ground, &self.entry).await;
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Life { pid, registered_zxid };
    }

    /// `"17" "42"`: pid and start time, as scripts take them.
    pub(crate) fn arguments(&self) -> String {
        format!("{} {}", self.before.pid, self.before.start_time)
    }

    /// `kafka:1 on b1 (pid 17)`.
    pub(crate) fn name(&self) -> String {
        format!("{} on {} (pid {})", self.chosen.daemon, self.chosen.host, self.before.pid)
    }

    /// Functions that start and find it, for scripts.
    pub(crate) fn functions(&self) -> String {
        format!(
            "k_find_daemon() (\n{}\n)\nk_start_daemon() (\n{}\n)\n",
            self.manager.find_script().trim_end(),
            self.manager.start_script().trim_end()
        )
    }

    /// That it is started again, and perhaps held down until then, in the helper's words; `watched`: a renewal looks whether it stays down.
    pub(crate) fn nursed(&self, is_held: bool, watched: bool) -> InWords {
        let (label, hold) = (&self.chosen.daemon, if is_held { "held" } else { "plain" });
        let holds = match watched {
            true => helper::strings(&[&"down", label, &hold, &self.before.pid, &self.before.start_time]),
            false => helper::strings(&[&"any"]),
        };
        InWords::new(helper::strings(&[&"nurse", label, &hold])).holding(holds)
    }

    /// SIGKILL, by the manager itself where that is not the same as a signal: an order, after which it does not revive.
    pub(crate) async fn kill_by_manager(&self) -> Result<Interval, FaultError> {
        match self.manager.kill_script(self.before) {
            Some(script) => self.signal_by(&script, &Means::Root, "KILL").await,
            None => self.signal("KILL").await,
        }
    }

    pub(crate) async fn signal(&self, signal: &str) -> Result<Interval, FaultError> {
        self.signal_to(&self.before, signal).await
    }

    /// The same to the process that it is by now.
    pub(crate) async fn signal_to(&self, pid: &Pid, signal: &str) -> Result<Interval, FaultError> {
        let means = helper::words(&[&"signal", &self.chosen.daemon, &pid.pid, &pid.start_time, &signal]);
        self.signal_by(&format!("k_signal {} {} {signal}", pid.pid, pid.start_time), &means, signal).await
    }

    /// Sends a signal to exactly this process. A command whose answer did not come is no error: the proof decides.
    async fn signal_by(&self, script: &str, means: &Means, signal: &str) -> Result<Interval, FaultError> {
        let call = format!("{script}\nk_now && echo \"at $K_NOW\"");
        let after_ns = self.ground.now();
        let answer = self.ground.ask_armed_as(&self.chosen.host, &[PROCESS], &call, means, "the signal").await;
        let when = Interval { after_ns, before_ns: self.ground.now() };
        let sent_cs = answer.as_ref().ok().and_then(|answers| answers.get("at")?.parse().ok()).unwrap_or(0);
        self.signalled_cs.store(sent_cs, Ordering::SeqCst);
        match answer {
            Ok(answers) if answers.has("signalled") => Ok(when),
            Ok(answers) if answers.has("gone") => {
                Err(FaultError::refused(&self.ground.nemesis, format!("{} had ended by itself", self.name())))
            }
            Ok(answers) => {
                let what = format!("SIG{signal} to {}", self.name());
                Err(FaultError::environment(&self.ground.nemesis, what, crate::error::Because(answers.text())))
            }
            Err(error) if host::is_unknown(&error) => Ok(when),
            Err(error) => Err(FaultError::environment(&self.ground.nemesis, format!("SIG{signal} to {}", self.name()), error)),
        }
    }
}

/// `None` where there is none, and where nobody could be asked.
async fn registration(ground: &Ground, entry: &DaemonEntry) -> Option<i64> {
    if entry.kind != DaemonKind::Kafka {
        return None;
    }
    ground.shared.view().await.ok()?.brokers.get(&entry.id)?.registered_zxid
}
