//! A fault in its life: from before the first command until nothing of it is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kchaos_cluster::remote::RemoteError;
use kchaos_core::{Chosen, FaultEvent, FaultMoment, Interval};

use crate::fault::{HostFault, Undo};
use crate::ground::Ground;
use crate::host::{self, Answers, CUT, GUARD, PROCESS, feed};
use crate::target::Taken;

/// How far a watchdog's own clock and naps may be behind its deadline.
const WATCHDOG_SLACK: Duration = Duration::from_millis(500);

pub(crate) struct Live {
    pub(crate) ground: Arc<Ground>,
    pub(crate) chosen: Chosen,
    pub(crate) taken: Taken,
    pub(crate) fault: Box<dyn HostFault>,
    /// Held while it is being mended, so that two heals do not meet; `true` when nothing of it is left.
    pub(crate) done: tokio::sync::Mutex<bool>,
    pub(crate) armed: AtomicBool,
    /// Renewals keep the watchdog waiting and no longer touch the fault.
    pub(crate) healing: AtomicBool,
    pub(crate) lapsed: AtomicBool,
    /// Given up: nobody renews, so the host's own lease is the next to try.
    pub(crate) abandoned: AtomicBool,
    /// The last renewal that the host confirmed: from before it was sent to after it was answered.
    renewed: Mutex<Interval>,
    /// When the last renewal was given up whose outcome is unknown: it may have been one.
    perhaps_ns: AtomicU64,
    pub(crate) since: Mutex<Option<Interval>>,
}

impl Live {
    pub(crate) fn new(ground: Arc<Ground>, chosen: Chosen, taken: Taken, fault: Box<dyn HostFault>) -> Self {
        let now = Interval::at(ground.now());
        Self {
            ground,
            chosen,
            taken,
            fault,
            done: tokio::sync::Mutex::new(false),
            armed: AtomicBool::new(false),
            healing: AtomicBool::new(false),
            lapsed: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            renewed: Mutex::new(now),
            perhaps_ns: AtomicU64::new(0),
            since: Mutex::new(None),
        }
    }

    fn lease(&self) -> Duration {
        self.ground.shared.options.lease
    }

    pub(crate) fn undo_script(&self, undo: &Undo) -> String {
        self.ground.shared.caller(&self.ground.key()).undo_script(undo)
    }

    /// Journals on the host: snapshot and undo script, synced. Nothing has been done yet.
    pub(crate) async fn keep(&self) -> Result<(), String> {
        let call = feed("k_keep", &self.undo_script(&self.fault.undo()));
        let answers = self.ground.ask(self.fault.host(), &[CUT, GUARD], &call, "the host's journal").await.map_err(text)?;
        said(&answers, "kept")
    }

    /// Arms the lease. Without it nothing is injected.
    pub(crate) async fn arm(&self) -> Result<(), String> {
        let watchdog = self.ground.shared.caller(&self.ground.key()).watchdog_script();
        let call = feed(&format!("k_arm {}", host::centiseconds(self.lease())), &watchdog);
        let after_ns = self.ground.now();
        let answers = self.ground.ask(self.fault.host(), &[CUT, GUARD], &call, "the lease").await.map_err(text)?;
        said(&answers, "armed")?;
        self.set_renewed(Interval { after_ns, before_ns: self.ground.now() });
        self.armed.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn set_renewed(&self, when: Interval) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = when;
    }

    fn renewed(&self) -> Interval {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One renewal; `false` once the fault is over. `timeout`: of the one command.
    pub(crate) async fn renew(&self, timeout: Duration) -> bool {
        if !self.armed.load(Ordering::SeqCst) || self.lapsed.load(Ordering::SeqCst) || self.abandoned.load(Ordering::SeqCst) {
            return false;
        }
        let touch = if self.healing.load(Ordering::SeqCst) { "no" } else { "yes" };
        let call = format!("k_fault_holds() {{\n{}\n}}\nk_renew {} {touch}", self.fault.holds(), host::centiseconds(self.lease()));
        let script = self.ground.script(&[PROCESS, CUT, GUARD], &call);
        let after_ns = self.ground.now();
        let ask = async {
            let remote = self.ground.shared.doors.mending(self.fault.host()).await?;
            host::ask(remote.as_ref(), &script, timeout, "the renewal").await
        };
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let late = || RemoteError::Timeout { host: self.fault.host().to_owned(), timeout_ms };
        let answer = tokio::time::timeout(timeout, ask).await.unwrap_or_else(|_| Err(late()));
        self.judge_renewal(answer, Interval { after_ns, before_ns: self.ground.now() })
    }

    fn judge_renewal(&self, answer: Result<Answers, RemoteError>, when: Interval) -> bool {
        let host = self.fault.host();
        match answer {
            Ok(answers) => {
                if let Some(noted) = answers.get("noted") {
                    self.ground.note(noted);
                }
                if answers.has("rearmed") {
                    self.ground.note(format!("the watchdog on {host} had died and was started again"));
                }
                if answers.has("unguarded") {
                    self.ground.note(format!(
                        "the watchdog on {host} has died and does not start: only the undo script and `kchaos heal` are left"
                    ));
                }
                if answers.has("renewed") {
                    self.set_renewed(when);
                    return true;
                }
                if let Some(why) = answers.get("lapsed") {
                    let (how, why) = why.split_once(' ').unwrap_or(("early", why));
                    self.lapse(why, how == "lease");
                    return false;
                }
            }
            Err(error) if host::is_unknown(&error) => self.perhaps_ns.store(when.before_ns, Ordering::SeqCst),
            // As long as the last lease may run, it does.
            Err(error) if self.ground.now() > self.ends_ns() => {
                self.lapse(&format!("no renewal reached {host} for as long as the lease: {error}"), true);
                return false;
            }
            Err(_) => {}
        }
        true
    }

    /// When the host has mended it at the latest, unless a renewal reaches it.
    fn ends_ns(&self) -> u64 {
        let last_ns = self.renewed().before_ns.max(self.perhaps_ns.load(Ordering::SeqCst));
        last_ns.saturating_add(nanos(self.lease() + WATCHDOG_SLACK))
    }

    /// The fault ended before we mended it: with its lease, or at some moment since it was last seen to hold.
    fn lapse(&self, why: &str, by_lease: bool) {
        // While it is being mended that is how it ends anyway.
        if self.lapsed.swap(true, Ordering::SeqCst) || self.healing.load(Ordering::SeqCst) {
            return;
        }
        let renewed_ns = self.renewed().after_ns;
        let after_ns = if by_lease { renewed_ns.saturating_add(nanos(self.lease())) } else { renewed_ns };
        let before_ns = self.ends_ns().min(self.ground.now());
        let when = Interval { after_ns: after_ns.min(before_ns), before_ns };
        let event = self.ground.event(FaultMoment::LeaseLapsed, when);
        self.ground.emit(FaultEvent { chosen: vec![self.chosen.clone()], text: Some(why.to_owned()), ..event });
    }

    /// Only when it was seen to be mended (or nothing had been done).
    pub(crate) async fn disarm(&self) -> Result<(), String> {
        let answers = self.ground.ask_mending(self.fault.host(), &[CUT, GUARD], "k_disarm", "the disarming").await.map_err(text)?;
        said(&answers, "disarmed")?;
        self.armed.store(false, Ordering::SeqCst);
        if answers.has("fired") {
            self.lapse("the watchdog of the host has mended it", true);
        }
        let (before, after): (Vec<&str>, Vec<&str>) = (answers.all("before").collect(), answers.all("after").collect());
        if before != after {
            let changed = changes(&before, &after);
            self.ground.note(format!("the packet filter of {} is not as before, and not by our doing: {changed}", self.fault.host()));
        }
        Ok(())
    }
}

fn changes(before: &[&str], after: &[&str]) -> String {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {}", line.trim()));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {}", line.trim()));
    gone.chain(new).take(8).collect::<Vec<_>>().join("; ")
}

fn said(answers: &Answers, word: &str) -> Result<(), String> {
    if answers.has(word) {
        return Ok(());
    }
    Err(answers.get("refused").map_or_else(|| format!("the host answered \"{}\"", answers.text()), str::to_owned))
}

fn text(error: RemoteError) -> String {
    error.to_string()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
