//! `bump`, `skew` and `strobe` where the inventory lets the clock of a whole host be set (`[host.clock]`): by `date -s`, with the host's time daemon
//! stopped meanwhile. The scripts, and the guard that keeps them off this machine's own clock, stand in `host/wall.sh`.
//!
//! What is right is reckoned from the time since the host's boot, which no step of the wall clock moves: what the two differed by before the fault
//! is in the undo script, so that the host sets its clock right by itself, whenever that is. `skew` is a drift in steps and not a slower clock
//! (adjtimex): that would slow the time since boot as well, and with it leases, JVMs' waits and the yardstick itself.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::inventory::ClockFault;
use kchaos_core::{Chosen, Effect, Interval, Proof};
use tokio::time::Instant;

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::daemon::Daemon;
use crate::faults::{bring_up, clock};
use crate::ground::Ground;
use crate::host::{self, Answers, GUARD, PROCESS, WALL, feed, quote};

/// In hundredths of a second, as everything here.
const AHEAD: i64 = 9_000;
const STROBE: i64 = 3_000;
const TOLERANCE: i64 = 100;
/// A drift of half a second in each second is at least this much in the time between two looks.
const DRIFTS: i64 = 50;
const BETWEEN: Duration = Duration::from_secs(2);
const SEEN_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(300);

pub(crate) struct Wall {
    daemon: Daemon,
    fault: ClockFault,
    machine: Machine,
    /// What the host answered before anything was planned.
    base: i64,
    boot: String,
    units: Vec<String>,
}

/// The machine that kchaos runs on, whose clock is never set.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    boot_id: String,
    booted_s: i64,
}

impl Machine {
    pub(crate) fn this() -> Result<Self, String> {
        let read =
            |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path} of the machine that kchaos runs on: {error}"));
        let boot_id = read("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let stat = read("/proc/stat")?;
        let booted_s = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
        Ok(Self { boot_id, booted_s: booted_s.ok_or("/proc/stat of the machine that kchaos runs on names no btime")? })
    }

    /// For scripts.
    pub(crate) fn settings(&self) -> String {
        format!("W_CONTROLLER={}\nW_BOOTED={}\n", quote(&self.boot_id), self.booted_s)
    }
}

/// How wrong the host says that its clock is, and who has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    off: Option<i64>,
    /// Of those that were stopped, with their state.
    units: Vec<(String, String)>,
    held_by: Option<String>,
    beats: bool,
}

impl Seen {
    fn read(answers: &Answers) -> Self {
        let unit = |rest: &str| rest.split_once(' ').map(|(unit, state)| (unit.to_owned(), state.to_owned()));
        Self {
            off: answers.get("off").and_then(|off| off.trim().parse().ok()),
            units: answers.all("unit").filter_map(unit).collect(),
            held_by: answers.get("held").map(str::to_owned),
            beats: answers.has("beats"),
        }
    }

    fn is_off_by(&self, wanted: i64) -> bool {
        self.off.is_some_and(|off| off.abs_diff(wanted) <= TOLERANCE.unsigned_abs())
    }

    fn units_are(&self, running: bool) -> bool {
        let stopped = ["inactive", "failed", "deactivating"];
        self.units.iter().all(|(_, state)| if running { state == "active" } else { stopped.contains(&state.as_str()) })
    }

    fn text(&self, host: &str) -> String {
        let off = self.off.map_or_else(|| "cannot be read".to_owned(), |off| format!("is off by {:+.2} s", off as f64 / 100.0));
        let units: String = self.units.iter().map(|(unit, state)| format!("; {unit} is {state}")).collect();
        format!("the clock of {host} {off} by its time since boot{units}")
    }
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen, fault: ClockFault) -> Result<Box<dyn HostFault>, FaultError> {
    let refused = |reason: String| FaultError::refused(&ground.nemesis, format!("the clock of {}: {reason}", chosen.host));
    let consent = ground.shared.doors.inventory().host(&chosen.host).and_then(|host| host.clock.as_ref());
    consent.map_or_else(|| Err(clock::no_clock(fault)), |clock| clock.allows(fault)).map_err(&refused)?;
    if let Some(other) = ground.all.iter().take_while(|one| **one != chosen).find(|one| one.host == chosen.host) {
        return Err(refused(format!("{} and {} are on the same host, which has one clock", other.daemon, chosen.daemon)));
    }
    let machine = Machine::this().map_err(&refused)?;
    let call = format!("{}k_wall_look", machine.settings());
    let answers = ground.ask(&chosen.host, &[WALL], &call, "the look at the clock").await;
    let answers = answers
        .map_err(|error| FaultError::environment(&ground.nemesis, format!("the clock of {} could not be looked at", chosen.host), error))?;
    if let Some(why) = answers.get("refused") {
        return Err(refused(why.to_owned()));
    }
    let (base, boot) = look(&answers).ok_or_else(|| refused(format!("it answered \"{}\"", answers.text())))?;
    let units = answers.all("unit").filter(|unit| is_unit(unit)).map(str::to_owned).collect();
    Ok(Box::new(Wall { daemon: Daemon::find(Arc::clone(&ground), chosen).await?, fault, machine, base, boot, units }))
}

fn look(answers: &Answers) -> Option<(i64, String)> {
    let boot = answers.get("boot").filter(|boot| boot.len() == 36 && boot.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'))?;
    Some((answers.get("base")?.trim().parse().ok()?, boot.to_owned()))
}

/// It stands in scripts, unquoted between others.
fn is_unit(unit: &str) -> bool {
    unit.ends_with(".service") && unit.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

#[async_trait]
impl HostFault for Wall {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        Undo {
            about: format!("{}: the clock of {}", self.daemon.ground.nemesis, self.host()),
            parts: &[PROCESS, WALL],
            setup: format!("{}{}", self.settings(), self.daemon.functions()),
            // A daemon that ended over its clock is started when that is right.
            mend: "k_wall_mend && k_nurse".to_owned(),
            verify: "! k_wall_mine && [ -n \"$(k_find_daemon)\" ]".to_owned(),
        }
    }

    fn holds(&self) -> String {
        let is_wrong = match self.fault {
            ClockFault::Bump => format!("k_wall_is {AHEAD} || {{ echo 'early the clock was set by somebody else'; return 1; }}"),
            _ => "k_wall_goes || { echo 'early nobody moves the clock any more, and not by our doing'; return 1; }".to_owned(),
        };
        format!("{}{WALL}\n{is_wrong}\nk_wall_unkept", self.settings())
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let call = match self.fault {
            ClockFault::Bump => format!("k_wall_bump {AHEAD} || :"),
            ClockFault::Skew | ClockFault::Strobe => {
                let beat = format!("{}k_wall_beat {}", self.settings(), self.fault.name());
                feed("{ k_wall_beats || :; }", &self.daemon.ground.script(&[WALL], &beat))
            }
        };
        let ground = &self.daemon.ground;
        let after_ns = ground.now();
        let answer = ground.ask_armed(self.host(), &[WALL], &format!("{}{call}", self.settings()), "the setting of the clock").await;
        let when = Interval { after_ns, before_ns: ground.now() };
        match answer {
            Ok(answers) if answers.has("set") => {}
            Ok(answers) => return Err(self.refused(&answers)),
            // That no answer came is no error: the proof decides.
            Err(error) if host::is_unknown(&error) => {}
            Err(error) => return Err(FaultError::environment(&ground.nemesis, format!("the clock of {}", self.host()), error)),
        }
        let what = match self.fault {
            ClockFault::Bump => "90 s ahead",
            ClockFault::Skew => "losing half a second in each second, up to 90 s",
            ClockFault::Strobe => "30 s ahead and back again, every 4 s",
        };
        let settings = vec![format!("the clock of {}: {what}", self.host())];
        Ok(Injected { when, effect: Effect { units: self.units.clone(), settings, ..Effect::default() } })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        Ok(match self.fault {
            ClockFault::Bump => self.wait_for(AHEAD, false).await,
            ClockFault::Strobe => self.wait_for(STROBE, false).await.and(&self.wait_for(0, false).await),
            ClockFault::Skew => self.drifts().await,
        })
    }

    async fn mend(&self) -> Result<Interval, String> {
        let ground = &self.daemon.ground;
        let after_ns = ground.now();
        let call = format!("{}k_wall_mend || :", self.settings());
        let answers =
            ground.ask_mending(self.host(), &[WALL], &call, "the setting of the clock").await.map_err(|error| error.to_string())?;
        if !answers.has("right") {
            return Err(format!("the clock of {}: {}", self.host(), answers.get("refused").map_or_else(|| answers.text(), str::to_owned)));
        }
        let set = Interval { after_ns, before_ns: ground.now() };
        bring_up::bring_up(&self.daemon).await?;
        Ok(set)
    }

    async fn mended(&self) -> Proof {
        let right = self.wait_for(0, true).await;
        if !right.proved {
            return right;
        }
        let up = bring_up::is_up(&self.daemon).await;
        Proof { proved: up.proved, text: format!("{}; {}", right.text, up.text) }
    }
}

impl Wall {
    fn settings(&self) -> String {
        format!("{}W_BASE={}\nW_BOOT={}\nW_UNITS={}\n", self.machine.settings(), self.base, quote(&self.boot), quote(&self.units.join(" ")))
    }

    /// What the host refused, or what it did not say.
    fn refused(&self, answers: &Answers) -> FaultError {
        let nemesis = &self.daemon.ground.nemesis;
        let what = format!("the clock of {}", self.host());
        match answers.get("refused") {
            Some(why) => FaultError::refused(nemesis, format!("{what}: {why}")),
            None => FaultError::environment(nemesis, what, Because(answers.text())),
        }
    }

    async fn look(&self) -> Result<Seen, String> {
        let call = format!("{}k_wall_state", self.settings());
        let answers = self.daemon.ground.ask_mending(self.host(), &[WALL, GUARD], &call, "the look at the clock").await;
        Ok(Seen::read(&answers.map_err(|error| error.to_string())?))
    }

    /// Until the clock is that wrong, or right and in nobody's hands.
    async fn wait_for(&self, wanted: i64, mended: bool) -> Proof {
        let began = Instant::now();
        loop {
            let seen = self.look().await;
            let text = seen.as_ref().map_or_else(Clone::clone, |seen| seen.text(self.host()));
            let is_so = seen.is_ok_and(|seen| {
                let whose = if mended { seen.held_by.is_none() && !seen.beats } else { seen.held_by == Some(self.daemon.ground.key()) };
                whose && seen.is_off_by(wanted) && seen.units_are(mended)
            });
            if is_so || began.elapsed() > SEEN_WITHIN {
                let not = if is_so { String::new() } else { format!(", and not by {:+} s", wanted / 100) };
                return Proof { proved: is_so, text: format!("{text}{not}") };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// It is behind, and later further behind.
    async fn drifts(&self) -> Proof {
        tokio::time::sleep(BETWEEN).await;
        let first = self.look().await;
        tokio::time::sleep(BETWEEN).await;
        let second = self.look().await;
        match (first, second) {
            (Ok(first), Ok(second)) => Proof {
                proved: drifted(first.off, second.off) && second.beats && second.units_are(false),
                text: format!("{}; later: {}", first.text(self.host()), second.text(self.host())),
            },
            (Err(error), _) | (_, Err(error)) => Proof { proved: false, text: error },
        }
    }
}

fn drifted(first: Option<i64>, second: Option<i64>) -> bool {
    matches!((first, second), (Some(first), Some(second)) if first < 0 && second <= first.saturating_sub(DRIFTS))
}

#[cfg(test)]
#[path = "wall_tests.rs"]
mod tests;
