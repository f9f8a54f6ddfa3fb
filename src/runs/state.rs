//! What became of a run: it ended, goes on, was cut off, or cannot be read.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use kchaos_core::Plan;

use super::brief::{Brief, Unread};

/// Between a run's directory and the first file in it.
const BEGINNING: Duration = Duration::from_secs(60);
/// The clocks of a process and of its run are not the same.
const CLOCKS_DIFFER_S: u64 = 60;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ended,
    Running,
    /// Its kchaos was killed: it has no verdict, and nobody is at work on it.
    CutOff,
    /// And why.
    Broken(String),
}

impl State {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Running => "running",
            Self::CutOff => "cut off",
            Self::Broken(_) => "broken",
        }
    }

    pub(crate) fn told(&self) -> String {
        match self {
            Self::Ended => "It has ended.".to_owned(),
            Self::Running => "It goes on.".to_owned(),
            Self::CutOff => "It was cut off and has no verdict; `kchaos conclude` reads it to its end and judges it.".to_owned(),
            Self::Broken(why) => why.clone(),
        }
    }
}

pub(super) fn of(run: &Path, plan: Result<&Plan, &Unread>, verdict: Result<&Brief, &Unread>) -> State {
    match verdict {
        Ok(brief) if brief.valid.is_some() => State::Ended,
        Ok(_) => State::Broken("verdict.json is there and does not say whether the run is valid".to_owned()),
        Err(Unread::Absent) if is_going_on(run, plan.ok()) => State::Running,
        Err(Unread::Absent) => match plan {
            Ok(_) => State::CutOff,
            Err(Unread::Absent) => {
                State::Broken("neither plan.json nor verdict.json is there: it ended before anything was written".to_owned())
            }
            Err(unread) => State::Broken(format!("plan.json {unread}")),
        },
        Err(unread) => State::Broken(format!("verdict.json {unread}")),
    }
}

/// Somebody is at work on it: the process that began it lives, or its history is locked by one that writes it.
fn is_going_on(run: &Path, plan: Option<&Plan>) -> bool {
    let Some(plan) = plan else { return is_young(run) };
    let began_it = plan.facts.get("started_by").and_then(|holder| pid_here(holder));
    if began_it.is_some_and(|pid| lives(pid, plan.started_at_unix_ns / 1_000_000_000)) {
        return true;
    }
    // Only now, so that the lock is not asked for in the moment in which a run takes it.
    ["history.jsonl.zst", "history.kch"].iter().any(|name| is_locked(&run.join(name)))
}

fn is_young(run: &Path) -> bool {
    let changed = std::fs::metadata(run).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age < BEGINNING))
}

/// Of `user@machine, pid 17`, if the machine is this one.
fn pid_here(holder: &str) -> Option<u32> {
    let (who, pid) = holder.rsplit_once(", pid ")?;
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    (who.rsplit_once('@')?.1 == machine.trim()).then(|| pid.parse().ok())?
}

/// And is not a younger one with the same number.
fn lives(pid: u32, began_unix_s: u64) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot_s = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<u64>().ok());
    // The 22nd field; the second may hold spaces, and ends with the last bracket.
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse::<u64>().ok());
    match (boot_s, ticks) {
        (Some(boot_s), Some(ticks)) => boot_s + ticks / ticks_per_second() <= began_unix_s + CLOCKS_DIFFER_S,
        // Who cannot tell takes it for alive: nothing is removed then.
        _ => true,
    }
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|ticks| *ticks > 0).unwrap_or(100)
}

fn is_locked(history: &Path) -> bool {
    let Ok(file) = File::open(history) else { return false };
    // A file system without locks cannot say.
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_one_that_began_the_run_or_it_is_another() {
        let own = crate::run::holder();
        let pid = pid_here(&own).expect("our own pid");
        assert_eq!(pid, std::process::id());
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        assert!(lives(pid, now_s));
        assert!(!lives(pid, now_s - 40_000_000), "a run of last year is not this process'");
        assert!(!lives(u32::MAX - 1, now_s));
        assert_eq!(pid_here("somebody@elsewhere, pid 1"), None);
        assert_eq!(pid_here("nonsense"), None);
    }

    #[test]
    fn a_history_that_is_written_is_locked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl.zst");
        assert!(!is_locked(&path));
        let file = File::create(&path).unwrap();
        assert!(!is_locked(&path));
        file.try_lock().unwrap();
        assert!(is_locked(&path));
    }
}
