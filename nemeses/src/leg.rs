//! One leg of a fault: what it does on one host, from before the first command until nothing of it is left there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kchaos_cluster::remote::{Means, RemoteError};
use kchaos_core::{Chosen, FaultEvent, FaultMoment, Interval};

use crate::doors::chain;
use crate::fault::HostFault;
use crate::ground::Ground;
use crate::helper;
use crate::host::{self, Answers, CUT, GUARD, PROCESS, feed};

/// How far a watchdog's own clock and naps may be behind its deadline.
const WATCHDOG_SLACK: Duration = Duration::from_millis(500);

const LAST_LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// What a renewal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing is on the host yet.
    Planned,
    /// The watchdog waits; the fault is not there yet, or is being mended: only the watchdog is kept waiting.
    Armed,
    Healing,
    /// The fault is looked at and renewed.
    InEffect,
    /// Disarmed; or given up, so that the host's own lease is the next to try.
    Over,
}

pub(crate) struct Leg {
    pub(crate) ground: Arc<Ground>,
    pub(crate) chosen: Chosen,
    pub(crate) fault: Box<dyn HostFault>,
    stage: Mutex<Stage>,
    lapsed: AtomicBool,
    /// The last renewal that the host confirmed: from before it was sent to after it was answered.
    renewed: Mutex<Interval>,
    /// When the last renewal was given up whose outcome is unknown: it may have been one.
    perhaps_ns: AtomicU64,
    /// Held by a renewal under way: mending waits for its end, lest it take our mending for somebody else's.
    renewing: tokio::sync::Mutex<()>,
}

impl Leg {
    pub(crate) fn new(ground: Arc<Ground>, chosen: Chosen, fault: Box<dyn HostFault>) -> Self {
        let now = Interval::at(ground.now());
        Self {
            ground,
            chosen,
            fault,
            stage: Mutex::new(Stage::Planned),
            lapsed: AtomicBool::new(false),
            renewed: Mutex::new(now),
            perhaps_ns: AtomicU64::new(0),
            renewing: tokio::sync::Mutex::new(()),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    pub(crate) fn has_lapsed(&self) -> bool {
        self.lapsed.load(Ordering::SeqCst)
    }

    /// One last look at whether it is still in force (a fault that ended early says so); from then on no renewal touches it.
    pub(crate) async fn begin_healing(&self) {
        self.renew(LAST_LOOK_TIMEOUT).await;
        let _none_under_way = self.renewing.lock().await;
        self.set_stage(Stage::Healing);
    }

    fn lease(&self) -> Duration {
        self.ground.shared.options.lease
    }

    pub(crate) fn undo_script(&self) -> String {
        self.ground.shared.caller(&self.ground.key()).undo_script(&self.fault.undo())
    }

    /// Journals on the host: snapshot and undo script, synced. Nothing has been done yet.
    pub(crate) async fn keep(&self) -> Result<(), String> {
        let call = feed("k_keep", &self.undo_script());
        let means = self.fault.in_words().map_or(Means::Root, |fault| {
            let about = helper::line(&self.fault.undo().about);
            Means::helper([self.words("keep", &[&about]), fault.kept].concat())
        });
        let answers = self.ground.ask_as(self.fault.host(), &[CUT, GUARD], &call, &means, "the host's journal").await;
        said(&answers.map_err(|error| chain(&error))?, "kept")
    }

    /// A verb of the helper about this leg.
    fn words(&self, verb: &str, rest: &[&dyn std::fmt::Display]) -> Vec<String> {
        [helper::strings(&[&verb, &self.ground.shared.options.run_id, &self.ground.key()]), helper::strings(rest)].concat()
    }

    /// Arms the lease. Without it nothing is injected.
    pub(crate) async fn arm(&self) -> Result<(), String> {
        let watchdog = self.ground.shared.caller(&self.ground.key()).watchdog_script();
        let lease_cs = host::centiseconds(self.lease());
        let call = feed(&format!("k_arm {lease_cs}"), &watchdog);
        let means = Means::helper(self.words("arm", &[&lease_cs]));
        let after_ns = self.ground.now();
        let answers = self.ground.ask_as(self.fault.host(), &[CUT, GUARD], &call, &means, "the lease").await;
        said(&answers.map_err(|error| chain(&error))?, "armed")?;
        self.set_renewed(Interval { after_ns, before_ns: self.ground.now() });
        self.set_stage(Stage::Armed);
        Ok(())
    }

    fn set_renewed(&self, when: Interval) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = when;
    }

    fn renewed(&self) -> Interval {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One renewal. `timeout`: of the one command.
    pub(crate) async fn renew(&self, timeout: Duration) {
        let _one_at_a_time = self.renewing.lock().await;
        let touch = match self.stage() {
            Stage::Planned | Stage::Over => return,
            _ if self.has_lapsed() => return,
            Stage::Armed | Stage::Healing => "no",
            Stage::InEffect => "yes",
        };
        let call = format!("k_fault_holds() {{\n{}\n}}\nk_renew {} {touch}", self.fault.holds(), host::centiseconds(self.lease()));
        let mut parts = vec![PROCESS, CUT, GUARD];
        parts.extend(self.fault.undo().parts.iter().filter(|part| !parts.contains(*part)).copied().collect::<Vec<_>>());
        let script = self.ground.script(&parts, &call);
        let means = self.fault.in_words().map_or(Means::Root, |fault| {
            let words = self.words("renew", &[&host::centiseconds(self.lease()), &touch]);
            Means::fed([words, fault.holds].concat(), fault.renewal)
        });
        let after_ns = self.ground.now();
        let remote = self.ground.mending(self.fault.host());
        let ask = host::ask_as(remote.as_ref(), &script, &means, timeout, "the renewal");
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let late = || RemoteError::Timeout { host: self.fault.host().to_owned(), timeout_ms };
        let answer = tokio::time::timeout(timeout, ask).await.unwrap_or_else(|_| Err(late()));
        self.judge_renewal(answer, Interval { after_ns, before_ns: self.ground.now() });
    }

    fn judge_renewal(&self, answer: Result<Answers, RemoteError>, when: Interval) {
        let host = self.fault.host();
        match answer {
            Ok(answers) => self.hear(&answers, when),
            Err(error) if host::is_unknown(&error) => self.perhaps_ns.store(when.before_ns, Ordering::SeqCst),
            // As long as the last lease may run, it does.
            Err(error) if self.ground.now() > self.ends_ns() => {
                self.lapse(&format!("no renewal reached {host} for as long as the lease: {error}"), true);
            }
            Err(_) => {}
        }
    }

    fn hear(&self, answers: &Answers, when: Interval) {
        let host = self.fault.host();
        if let Some(noted) = answers.get("noted") {
            self.ground.note(noted);
        }
        if answers.has("rearmed") {
            self.ground.note(format!("the watchdog on {host} had died and was started again"));
        }
        if answers.has("unguarded") {
            self.ground.note(format!("the watchdog on {host} has died and does not start: the undo script and `kchaos heal` are left"));
        }
        if answers.has("renewed") {
            self.set_renewed(when);
        } else if let Some(why) = answers.get("lapsed") {
            let (how, why) = why.split_once(' ').unwrap_or(("early", why));
            self.lapse(why, how == "lease");
        }
    }

    /// When the host has mended it at the latest, unless a renewal reaches it.
    fn ends_ns(&self) -> u64 {
        let last_ns = self.renewed().before_ns.max(self.perhaps_ns.load(Ordering::SeqCst));
        last_ns.saturating_add(nanos(self.lease() + WATCHDOG_SLACK))
    }

    /// The fault ended before we mended it: with its lease, or at some moment since it was last seen to hold.
    fn lapse(&self, why: &str, by_lease: bool) {
        if self.stage() != Stage::InEffect || self.lapsed.swap(true, Ordering::SeqCst) {
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
        // A renewal under way would take the watchdog for dead, and start it again.
        let _none_under_way = self.renewing.lock().await;
        let means = Means::helper(self.words("disarm", &[]));
        let answers = self.ground.ask_mending_as(self.fault.host(), &[CUT, GUARD], "k_disarm", &means, "the disarming").await;
        let answers = answers.map_err(|error| chain(&error))?;
        said(&answers, "disarmed")?;
        if answers.has("fired") && !self.has_lapsed() {
            self.ground.note(format!("the watchdog on {} fired while it was being mended", self.fault.host()));
        }
        self.set_stage(Stage::Over);
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
