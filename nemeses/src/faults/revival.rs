//! The service manager's hand in a kill: kept off while a daemon is held down, or watched and told while a crash is played.
//!
//! `Restart=on-abnormal` revives a broker that was killed within 100 ms, inside the ZooKeeper session of its dead self: it finds
//! `/brokers/ids/N` taken (NodeExists) and exits with status 1 about 2 s later. That is not *abnormal*, so the unit stays dead until
//! somebody starts it. Each of the three is an event of the cluster under test, and is told with the manager's own word for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kchaos_cluster::daemon::{DaemonState, Evidence, Hold, Pid};
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::remote::Means;
use kchaos_core::Proof;
use tokio::task::JoinHandle;

use crate::error::{Because, FaultError};
use crate::faults::daemon::Daemon;
use crate::helper;
use crate::host::{self, quote};

/// Between two looks: a revival is told as it happens, and its own stamps say when it was.
const LOOK_INTERVAL: Duration = Duration::from_millis(150);

/// What the manager may do, and what it was like before.
pub(crate) struct Hand {
    /// Present where the daemon is to be held down, and somebody could revive it.
    pub(crate) hold: Option<Hold>,
    before: Option<Evidence>,
}

impl Hand {
    /// `held`: the manager is to be kept from reviving.
    pub(crate) async fn find(daemon: &Daemon, held: bool) -> Result<Self, FaultError> {
        let ground = &daemon.ground;
        let before = daemon.manager.evidence(ground.shared.doors.remote(&daemon.chosen.host).as_ref()).await;
        let before = before.map_err(|error| {
            FaultError::environment(&ground.nemesis, format!("the manager of {} could not be asked", daemon.name()), error)
        })?;
        Ok(Self { hold: before.as_ref().filter(|_| held).and_then(|before| daemon.manager.hold(before)), before })
    }

    /// Watches what the manager makes of a crash. `None`: there is no manager.
    pub(crate) fn watch(&self, daemon: &Arc<Daemon>) -> Option<JoinHandle<()>> {
        let before = self.before.as_ref()?;
        Some(tokio::spawn(watch(Arc::clone(daemon), before.life.clone())))
    }

    /// Whether there is a manager that may revive it and says what it does.
    pub(crate) fn is_there(&self) -> bool {
        self.before.is_some()
    }

    /// Keeps the manager from reviving. Before the kill: it looks at its orders when the daemon ends.
    pub(crate) async fn apply(&self, daemon: &Daemon) -> Result<(), FaultError> {
        let Some(hold) = &self.hold else { return Ok(()) };
        let body = format!("(\n{}\n) && echo held", hold.apply);
        let what = || format!("holding {} down", daemon.name());
        let means = helper::words(&[&"hold", &daemon.chosen.daemon]);
        match daemon.ground.ask_armed_as(&daemon.chosen.host, &[], &body, &means, "the hold").await {
            Ok(answers) if answers.has("held") => Ok(()),
            Ok(answers) => Err(FaultError::environment(&daemon.ground.nemesis, what(), Because(answers.text()))),
            Err(error) => Err(FaultError::environment(&daemon.ground.nemesis, what(), error)),
        }
    }

    pub(crate) async fn release(&self, daemon: &Daemon) -> Result<(), String> {
        let Some(hold) = &self.hold else { return Ok(()) };
        let (call, means) = (format!("(\n{}\n)", hold.undo), helper::words(&[&"release", &daemon.chosen.daemon]));
        let answer = daemon.ground.ask_mending_as(&daemon.chosen.host, &[], &call, &means, "the end of the hold").await;
        answer.map(drop).map_err(|error| error.to_string())
    }

    /// For an undo script: the function `k_release`, and what succeeds when nothing of the hold is left.
    pub(crate) fn undo(&self) -> (String, String) {
        match &self.hold {
            Some(hold) => (format!("k_release() (\n{}\n)\n", hold.undo.trim_end()), format!("( {} ) && ", hold.undone)),
            None => ("k_release() { :; }\n".to_owned(), String::new()),
        }
    }

    /// For a renewal: why it is not held down any more, or nothing.
    pub(crate) fn holds(&self, label: &str) -> String {
        let Some(hold) = &self.hold else { return String::new() };
        let lost = quote(&format!("{label} is not held down any more, and not by our doing"));
        format!("( {} ) || echo {lost}\n", hold.holds)
    }

    /// In the manager's own words, for a proof. Never an error: the process is what counts.
    pub(crate) async fn told(&self, daemon: &Daemon) -> String {
        if !self.is_there() {
            return String::new();
        }
        match evidence(daemon).await {
            Some(now) => {
                let held = self.hold.as_ref().map_or(String::new(), |hold| format!("; {}", hold.about));
                format!("{held}; its manager says {}", now.text)
            }
            None => "; its manager did not say anything".to_owned(),
        }
    }

    /// Whether the manager has the daemon back as it was.
    pub(crate) async fn given_back(&self, daemon: &Daemon) -> Proof {
        let Some(before) = &self.before else { return Proof { proved: true, text: String::new() } };
        match evidence(daemon).await {
            Some(now) if now.is_managed_as(before) => Proof { proved: true, text: format!("; managed as before ({})", now.text) },
            Some(now) => Proof {
                proved: false,
                text: format!("; it is not managed as before: {} {} was {} {}", now.policy, now.overrides, before.policy, before.overrides),
            },
            None => Proof { proved: false, text: "; its manager did not say how it is managed now".to_owned() },
        }
    }
}

async fn evidence(daemon: &Daemon) -> Option<Evidence> {
    daemon.manager.evidence(daemon.ground.mending(&daemon.chosen.host).as_ref()).await.ok().flatten()
}

/// Tells each revival and each death that follows, until it is stopped.
async fn watch(daemon: Arc<Daemon>, killed_life: String) {
    let mut watched = Watched { label: daemon.chosen.daemon.clone(), killed: Some(daemon.before), killed_life, ..Watched::default() };
    loop {
        let remote = daemon.ground.shared.doors.remote(&daemon.chosen.host);
        if let (Ok(state), Ok(Some(seen))) = (daemon.manager.state(remote.as_ref()).await, daemon.manager.evidence(remote.as_ref()).await) {
            let killed_cs = daemon.signalled_cs.load(Ordering::SeqCst);
            if let Some(news) = watched.news(state, &seen, killed_cs) {
                let cause = if news.is_death { cause(&daemon).await } else { String::new() };
                daemon.ground.note(news.text + &cause);
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[derive(Default)]
struct Watched {
    label: String,
    killed: Option<Pid>,
    /// The life that was ended by us.
    killed_life: String,
    revived: Option<Pid>,
    revivals: u32,
    /// The life whose end has been told.
    told: String,
}

struct News {
    text: String,
    is_death: bool,
}

impl Watched {
    fn news(&mut self, state: DaemonState, seen: &Evidence, killed_cs: u64) -> Option<News> {
        let label = &self.label;
        if let Some(pid) = state.pid().filter(|pid| Some(*pid) != self.killed) {
            if self.revived == Some(pid) {
                return None;
            }
            self.revived = Some(pid);
            self.revivals += 1;
            let after = match (self.revivals, pid.start_time.checked_sub(killed_cs)) {
                // A tick is a hundredth of a second, as the host's uptime is read.
                (1, Some(ticks)) if killed_cs > 0 => format!(" {} ms after it was killed", ticks * 10),
                _ => String::new(),
            };
            let text = format!("{label} was revived as pid {} by its service manager{after} ({})", pid.pid, seen.text);
            return Some(News { text, is_death: false });
        }
        // Between a death and the manager's word for it lie some milliseconds: a later look has both.
        let is_another_life = seen.life != self.killed_life;
        if state != DaemonState::Gone || !is_another_life || seen.result.is_empty() || self.told == seen.life {
            return None;
        }
        seen.life.clone_into(&mut self.told);
        let lived = seen.lived_ms.map_or(String::new(), |ms| format!(" after {ms} ms"));
        let then = if seen.is_down_for_good { "and its manager does not start it again" } else { "and its manager starts it again" };
        let text = format!("{label}, revived, died again{lived} with {}, {then} ({})", seen.result, seen.text);
        Some(News { text, is_death: true })
    }
}

/// Why a broker that was revived went again, if the end of its daemon log says so.
async fn cause(daemon: &Daemon) -> String {
    if daemon.entry.kind != DaemonKind::Kafka {
        return String::new();
    }
    let directory = quote(&daemon.entry.log_dir.to_string_lossy());
    let call = format!(
        "for _k_log in {directory}/server.log {directory}/*.out; do\n\
         [ -f \"$_k_log\" ] && tail -n 300 \"$_k_log\" | grep -o 'KeeperErrorCode = NodeExists[^,;]*' | tail -n 1 | sed 's/^/cause /'\n\
         done\n:"
    );
    let remote = daemon.ground.shared.doors.remote(&daemon.chosen.host);
    let script = daemon.ground.script(&[], &call);
    match host::ask_as(remote.as_ref(), &script, &Means::Anybody, Duration::from_secs(5), "the daemon log").await {
        Ok(answers) => answers.get("cause").map_or(String::new(), |cause| format!("; the end of its log says {}", cause.trim())),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(life: &str, result: &str, is_down_for_good: bool) -> Evidence {
        Evidence {
            life: life.into(),
            result: result.into(),
            is_down_for_good,
            lived_ms: Some(2_250),
            text: "as it says".into(),
            ..Evidence::default()
        }
    }

    /// What is told of these looks, one after another.
    fn told(looks: &[(DaemonState, Evidence)]) -> Vec<String> {
        let killed = Some(Pid { pid: 17, start_time: 100 });
        let mut watched = Watched { label: "kafka:1".into(), killed, killed_life: "a".into(), ..Watched::default() };
        looks.iter().filter_map(|(state, seen)| watched.news(*state, seen, 5_000)).map(|news| news.text).collect()
    }

    #[test]
    fn a_revival_and_the_death_after_it_are_each_told_once() {
        let revived = DaemonState::Running(Pid { pid: 18, start_time: 5_011 });
        let expect = [
            "kafka:1 was revived as pid 18 by its service manager 110 ms after it was killed (as it says)",
            "kafka:1, revived, died again after 2250 ms with exit code 1, and its manager does not start it again (as it says)",
        ];
        let looks = [
            (DaemonState::Gone, seen("a", "signal 9", false)),
            (revived, seen("b", "", false)),
            (revived, seen("b", "", false)),
            (DaemonState::Gone, seen("b", "", false)),
            (DaemonState::Gone, seen("b", "exit code 1", true)),
            (DaemonState::Gone, seen("b", "exit code 1", true)),
        ];
        assert_eq!(told(&looks), expect);
    }

    #[test]
    fn what_was_killed_and_stays_down_is_no_news() {
        let before = DaemonState::Running(Pid { pid: 17, start_time: 100 });
        assert!(told(&[(before, seen("a", "", false)), (DaemonState::Gone, seen("a", "signal 9", true))]).is_empty());
    }

    #[test]
    fn a_life_that_nobody_saw_is_told_by_its_end() {
        let told = told(&[(DaemonState::Gone, seen("b", "exit code 1", false))]);
        assert_eq!(told, ["kafka:1, revived, died again after 2250 ms with exit code 1, and its manager starts it again (as it says)"]);
    }
}
