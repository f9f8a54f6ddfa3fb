//! Halting: a flag on each host, with who, when and why. While it is there no lock is given, no fault is kept and no lease is armed, so that
//! nothing begins whatever a run believes; a run that lives looks for it and ends. Only a person takes it away.
//!
//! Also what is looked at on a host beside it, while a run goes on and before one: room on its disks, and what an earlier run left.

use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use kchaos_cluster::inventory::Host;
use kchaos_cluster::remote::{Means, RemoteError};
use serde::Serialize;

use crate::doors::Doors;
use crate::ground::COMMAND_TIMEOUT;
use crate::heal::{self, HealOptions, HostReport};
use crate::helper;
use crate::host::{self, Answers, CUT, Caller, GUARD, HALT, HostPaths, quote};
use crate::lock::Held;

/// A look that is made every few seconds.
const GLANCE_TIMEOUT: Duration = Duration::from_secs(8);

/// Who halted a host, when by its own clock, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Halt {
    pub since_unix_s: u64,
    pub by: String,
    pub reason: String,
}

impl Halt {
    pub(crate) fn read(answers: &Answers) -> Option<Self> {
        let since = answers.get("halted-at")?;
        let word = |name: &str| answers.get(name).unwrap_or_default().to_owned();
        Some(Self { since_unix_s: since.trim().parse().unwrap_or(0), by: word("halted-by"), reason: word("halted-why") })
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} at {} (\"{}\")", self.by, utc(self.since_unix_s), self.reason)
    }
}

/// `2026-11-21 17:04:05 UTC`: the civil calendar, by the days since 0000-03-01.
fn utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let since_march = days.saturating_add(719_468);
    let (era, of_era) = (since_march / 146_097, since_march % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

#[derive(Clone, Debug, Default)]
pub struct HaltOptions {
    pub paths: HostPaths,
    /// For people: `user@machine, pid 17`.
    pub holder: String,
    pub reason: String,
}

impl HaltOptions {
    fn script(&self, parts: &[&str], call: &str) -> String {
        Caller { paths: &self.paths, run: "", key: "", owner: &self.holder }.script(parts, call)
    }
}

/// What became of halting one host, and of what was on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    pub host: String,
    pub halt: Result<Halt, String>,
    pub mended: HostReport,
}

/// What was lifted on one host; `None`: it was not halted.
pub type Released = (String, Result<Option<Halt>, String>);

/// Halts every host of the inventory and mends what is on it, whosever it is; all hosts at once, so that one that does not answer holds no
/// other up. On each the flag comes first: nothing new begins behind the mending's back.
pub async fn halt_hosts(doors: &dyn Doors, options: &HaltOptions) -> Vec<Halted> {
    let reason = options.reason.replace(['\n', '\r'], " ");
    let script = options.script(&[HALT], &format!("k_halt {}", quote(&reason)));
    let means = helper::words(&[&"halt", &helper::line(&reason), &helper::line(&options.holder)]);
    let read = |answers: &Answers| match (answers.get("failed"), Halt::read(answers)) {
        (None, Some(halt)) => Ok(halt),
        (why, _) => Err(why.map_or_else(|| answers.text(), str::to_owned)),
    };
    let heal = HealOptions { paths: options.paths.clone(), holder: options.holder.clone(), ..HealOptions::default() };
    let halted = doors.inventory().hosts.iter().map(async |host| {
        let halt = ask(doors, &host.name, &script, &means).await.and_then(|answers| read(&answers));
        let mended = heal::sweep(doors, &heal, &host.name).await;
        Halted { host: host.name.clone(), halt, mended }
    });
    join_all(halted).await
}

pub async fn release_hosts(doors: &dyn Doors, options: &HaltOptions) -> Vec<Released> {
    let script = options.script(&[HALT], "k_release");
    let means = helper::words(&[&"halt-release", &helper::line(&options.holder)]);
    let read = |answers: &Answers| match answers.get("failed") {
        None if answers.has("released") => Ok(Halt::read(answers)),
        why => Err(why.map_or_else(|| answers.text(), str::to_owned)),
    };
    let released = doors
        .inventory()
        .hosts
        .iter()
        .map(async |host| (host.name.clone(), ask(doors, &host.name, &script, &means).await.and_then(|answers| read(&answers))));
    join_all(released).await
}

async fn ask(doors: &dyn Doors, host: &str, script: &str, means: &Means) -> Result<Answers, String> {
    let remote = doors.mending(host);
    let answer = match host::ask_as(remote.as_ref(), script, means, COMMAND_TIMEOUT, "the halt").await {
        // Doing it twice is doing it once.
        Err(error) if error.may_have_run() => host::ask_as(remote.as_ref(), script, means, COMMAND_TIMEOUT, "the halt").await,
        answer => answer,
    };
    answer.map_err(|error| error.to_string())
}

/// What can change on a host while a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    pub halt: Option<Halt>,
    /// Free KiB by directory, of those of the inventory that are there, and of where kchaos keeps its own.
    pub room_kib: Vec<(String, u64)>,
}

impl Glance {
    fn read(answers: &Answers) -> Self {
        let room = answers.all("room").filter_map(|rest| {
            let (kib, directory) = rest.split_once(' ')?;
            Some((directory.to_owned(), kib.parse().ok()?))
        });
        Self { halt: Halt::read(answers), room_kib: room.collect() }
    }
}

/// One look, with the room on its disks or without, by the door for mending: what clogs the other must not hide a halt. Changes nothing.
pub async fn glance(doors: &dyn Doors, host: &Host, paths: &HostPaths, wants_room: bool) -> Result<Glance, RemoteError> {
    let directories = if wants_room { directories(host, paths) } else { Vec::new() };
    let (room, means) = (room_call(&directories), looking("glance", &directories));
    let script = Caller { paths, run: "", key: "", owner: "" }.script(&[HALT], &format!("k_halted\n{room}"));
    let remote = doors.mending(&host.name);
    Ok(Glance::read(&host::ask_as(remote.as_ref(), &script, &means, GLANCE_TIMEOUT, "the look at the host").await?))
}

/// Those of a host that may fill up.
fn directories(host: &Host, paths: &HostPaths) -> Vec<String> {
    let mut directories: Vec<String> = host
        .daemons
        .iter()
        .flat_map(|daemon| [Some(&daemon.log_dir), daemon.disk.as_ref().map(|disk| &disk.data_dir)])
        .flatten()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    // Of which some part is there, even before the first run.
    directories.extend([paths.volatile.clone(), "/var/lib".to_owned(), paths.state.clone()]);
    directories
}

fn room_call(directories: &[String]) -> String {
    let words: Vec<String> = directories.iter().map(|directory| quote(directory)).collect();
    format!("k_room {}\n:", words.join(" "))
}

/// The helper takes plain paths alone: what has another name is not looked at there.
fn looking(verb: &str, directories: &[String]) -> Means {
    let is_plain = |path: &&String| path.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c)) && !path.contains("..");
    Means::helper([verb.to_owned()].into_iter().chain(directories.iter().filter(is_plain).cloned()))
}

/// What a run would find on a host before it begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    pub glance: Glance,
    pub lock: Option<Held>,
    /// logind ends what a session leaves behind.
    pub kills_sessions: bool,
    /// Faults that are kept there, tables, chains and queues.
    pub what: Vec<String>,
}

/// Changes nothing.
pub async fn leftovers(doors: &dyn Doors, host: &Host, paths: &HostPaths) -> Result<Leftovers, RemoteError> {
    let directories = directories(host, paths);
    let call =
        format!("k_halted\n{}\nk_lock_read && echo \"held $K_HELD_FOR $K_HELD_BY $K_HELD_HOLDER\"\nk_leftovers", room_call(&directories));
    let script = Caller { paths, run: "", key: "", owner: "" }.script(&[CUT, GUARD], &call);
    let (remote, means) = (doors.remote(&host.name), looking("leftovers", &directories));
    let answers = host::ask_as(remote.as_ref(), &script, &means, COMMAND_TIMEOUT, "the look for leftovers").await?;
    let faults = answers.all("left").map(|rest| {
        let (key, about) = rest.split_once(' ').unwrap_or((rest, ""));
        format!("{about} ({key})")
    });
    let what = faults.chain(answers.all("table").map(str::to_owned)).collect();
    let (lock, kills_sessions) = (answers.get("held").map(Held::read), answers.has("kills-sessions"));
    Ok(Leftovers { glance: Glance::read(&answers), lock, kills_sessions, what })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_halt_says_who_when_and_why() {
        let answers = Answers::parse("halted-at 1795280645\nhalted-by ann@desk, pid 17\nhalted-why the shop is slow\nswept\n");
        let halt = Halt::read(&answers).unwrap();
        assert_eq!(halt.to_string(), "by ann@desk, pid 17 at 2026-11-21 17:04:05 UTC (\"the shop is slow\")");
        assert_eq!(Halt::read(&Answers::parse("released\n")), None);
    }

    #[test]
    fn days_of_the_calendar_are_counted_right() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(unix_s), text);
        }
    }

    #[test]
    fn room_is_read_with_its_directory() {
        let glance = Glance::read(&Answers::parse("room 1024 /var/log/kafka\nroom x /a\nroom 7\n"));
        assert_eq!(glance.room_kib, [("/var/log/kafka".to_owned(), 1_024)]);
    }

    proptest! {
        #[test]
        fn no_answer_of_a_host_makes_it_panic(text in "((halted-at|halted-by|room|held|left) \\PC{0,30}\n){0,4}", unix_s: u64) {
            let answers = Answers::parse(&text);
            let _ = (Halt::read(&answers), Glance::read(&answers), utc(unix_s));
        }
    }
}
