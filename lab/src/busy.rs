//! Whether a run is going on in the lab: then nobody should take it down by mistake.
//!
//! A run locks its hosts (`/run/kchaos/lock/owner` on each: deadline in hundredths of a second since boot, the run, its holder). A lock that has
//! lapsed, or whose holder was a process of this machine that has ended, holds nobody up.

use std::fs;
use std::path::{Path, PathBuf};

use crate::state::State;

/// Who holds the lab's hosts, in words for people; `None` if nobody does.
pub fn run_in_progress() -> Option<String> {
    let state = State::load().ok().flatten().filter(State::is_of_this_boot)?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let now_cs = hundredths(uptime.split(' ').next()?)?;
    let inits = state.inits.iter().filter_map(|(host, _)| state.first_process(host));
    let locks = inits.flat_map(|init| locks_below(&Path::new("/proc").join(init.pid.to_string()).join("root/run/kchaos")));
    locks.filter_map(|owner| held(&fs::read_to_string(owner).ok()?, now_cs, is_kchaos)).next()
}

/// That of the host, and those of its containers.
fn locks_below(directory: &Path) -> Vec<PathBuf> {
    let places = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(directory.to_owned()).chain(places).map(|place| place.join("lock/owner")).filter(|owner| owner.is_file()).collect()
}

fn held(text: &str, now_cs: u64, lives: impl Fn(u32) -> bool) -> Option<String> {
    let mut words = text.trim().splitn(3, ' ');
    let left_cs = words.next()?.parse::<u64>().ok()?.checked_sub(now_cs).filter(|left| *left > 0)?;
    let (run, holder) = (words.next()?, words.next().unwrap_or("nobody knows who"));
    let pid = holder.rsplit_once("pid ").and_then(|(_, pid)| pid.parse().ok());
    if pid.is_some_and(|pid| !lives(pid)) {
        return None;
    }
    Some(format!("run {run} ({holder}) holds its hosts for another {} s", left_cs.div_ceil(100)))
}

fn hundredths(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    Some(whole.parse::<u64>().ok()? * 100 + part.parse::<u64>().ok()?.min(99))
}

fn is_kchaos(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "kchaos")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_until_it_lapses_or_its_process_has_ended() {
        let text = "1500 20261121T040213Z-append-7f3a somebody@machine, pid 17\n";
        let words = "run 20261121T040213Z-append-7f3a (somebody@machine, pid 17) holds its hosts for another 5 s";
        assert_eq!(held(text, 1_000, |_| true).as_deref(), Some(words));
        assert_eq!(held(text, 1_000, |pid| pid != 17), None, "its process has ended");
        assert_eq!(held(text, 1_500, |_| true), None, "it has lapsed");
        for garbled in ["", "x", "1500", "99999999999999999999999 a b", "1500  pid 17"] {
            assert_eq!(held(garbled, 2_000, |_| true), None, "{garbled:?}");
        }
        assert!(held("1500 run somebody elsewhere", 0, |_| false).is_some(), "of whom nothing is known, it is taken at its word");
    }

    #[test]
    fn uptime_is_read_in_hundredths() {
        assert_eq!(hundredths("12.34"), Some(1_234));
        assert_eq!(hundredths("x"), None);
    }
}
