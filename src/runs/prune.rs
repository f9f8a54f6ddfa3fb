//! Which runs may go, and how they go.
//!
//! A unit is what a person sees in the directory: a run, or a suite, selftest or shrink with all its runs, since its page links to them. Kept whatever the
//! limits say: what goes on; what did not end well, unless that is asked for; and what is not for certain ours. How long something is kept is decided by
//! [`choose`], which touches nothing.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};

use super::{REMOVING, Run, State, bytes, places, started_by_name};
use crate::exit::Failure;

/// Of a suite, a selftest or a shrink.
const OF_SEVERAL: [&str; 4] = ["suite.json", "selftest.json", "shrink.json", "smallest.toml"];
const WORDS_OF_SEVERAL: [&str; 3] = ["-suite", "-selftest", "-shrink"];

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Limits {
    /// The newest so many stay.
    pub(crate) keep: Option<usize>,
    pub(crate) older_than: Option<TimeDelta>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) failed_too: bool,
}

impl Limits {
    pub(crate) fn are_none(&self) -> bool {
        self.keep.is_none() && self.older_than.is_none() && self.max_bytes.is_none()
    }
}

/// What goes or stays as one.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) started: Option<DateTime<Utc>>,
    pub(crate) bytes: u64,
    pub(crate) runs: usize,
    pub(crate) bears: Bears,
}

/// Why it may not go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bears {
    Nothing,
    Running,
    /// With the run that speaks for it.
    Failed(String),
    /// Nobody can say that kchaos made it.
    NotOurs,
}

/// What is to become of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays(String),
    Goes(String),
}

/// Everything that could go, the newest first.
pub(crate) fn units(results: &Path) -> Result<Vec<Unit>, Failure> {
    let mut units: Vec<(Unit, Vec<Run>)> = Vec::new();
    for (path, id) in places(results)? {
        let run = Run::load(&path, &id);
        let top = top(results, &path).filter(|top| *top != path && is_several(top)).unwrap_or(path);
        match units.iter_mut().find(|(unit, _)| unit.path == top) {
            Some((_, runs)) => runs.push(run),
            None => {
                let id = top.strip_prefix(results).ok().filter(|below| !below.as_os_str().is_empty());
                let id = id.map_or(run.id.clone(), |below| below.to_string_lossy().into_owned());
                let unit = Unit { id, path: top, started: None, bytes: 0, runs: 0, bears: Bears::Nothing };
                units.push((unit, vec![run]));
            }
        }
    }
    let mut units: Vec<Unit> = units.into_iter().map(|(unit, runs)| weighed(unit, &runs)).collect();
    units.sort_by(|a, b| b.started.cmp(&a.started).then_with(|| b.id.cmp(&a.id)));
    Ok(units)
}

/// The entry of the directory in which a run stands.
fn top(results: &Path, run: &Path) -> Option<PathBuf> {
    let first = run.strip_prefix(results).ok()?.components().next()?;
    Some(results.join(first))
}

/// Made by a suite, a selftest or a shrink; nothing else goes for the sake of a run within it.
fn is_several(directory: &Path) -> bool {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_named = started_by_name(directory).is_some() && WORDS_OF_SEVERAL.iter().any(|word| name.contains(word));
    is_named || (started_by_name(directory).is_some() && OF_SEVERAL.iter().any(|file| directory.join(file).is_file()))
}

fn weighed(unit: Unit, runs: &[Run]) -> Unit {
    let is_one = runs.first().is_some_and(|run| run.path == unit.path);
    let failed = || runs.iter().find(|run| !run.ended_well()).map(|run| format!("{} is {}", run.id, run.verdict()));
    let bears = if runs.iter().any(|run| run.state == State::Running) {
        Bears::Running
    } else if is_one && !runs.iter().all(is_ours) {
        Bears::NotOurs
    } else {
        failed().map_or(Bears::Nothing, Bears::Failed)
    };
    let started = if is_one { runs.first().and_then(|run| run.started) } else { started_by_name(&unit.path) };
    Unit { started, bytes: bytes(&unit.path), runs: runs.len(), bears, ..unit }
}

/// By its plan, or by its name.
fn is_ours(run: &Run) -> bool {
    !run.plan.run_id.is_empty() || started_by_name(&run.path).is_some()
}

/// Of units that come the newest first.
pub(crate) fn choose(units: &[Unit], limits: &Limits, now: DateTime<Utc>) -> Vec<Fate> {
    let mut fates: Vec<Fate> = units.iter().enumerate().map(|(nth, unit)| by_age_and_number(nth, unit, limits, now)).collect();
    let Some(max_bytes) = limits.max_bytes else { return fates };
    let is_kept = |fate: &Fate| matches!(fate, Fate::Stays(_));
    let mut bytes: u64 = units.iter().zip(&fates).filter(|(_, fate)| is_kept(fate)).map(|(unit, _)| unit.bytes).sum();
    // The oldest first.
    for (unit, fate) in units.iter().zip(&mut fates).rev() {
        if bytes > max_bytes && is_kept(fate) && held_back(unit, limits).is_none() {
            *fate = Fate::Goes("all together are larger than --max-size".to_owned());
            bytes -= unit.bytes;
        }
    }
    fates
}

fn by_age_and_number(nth: usize, unit: &Unit, limits: &Limits, now: DateTime<Utc>) -> Fate {
    let is_beyond = limits.keep.is_some_and(|keep| nth >= keep);
    let is_old = limits.older_than.is_some_and(|age| unit.started.is_some_and(|started| now - started > age));
    let why = match (is_beyond, is_old) {
        (false, false) => return Fate::Stays(held_back(unit, limits).unwrap_or_else(|| "within the limits".to_owned())),
        (true, true) => "beyond --keep, and older than --older-than",
        (true, false) => "beyond --keep",
        (false, true) => "older than --older-than",
    };
    held_back(unit, limits).map_or_else(|| Fate::Goes(why.to_owned()), Fate::Stays)
}

/// Why it stays whatever the limits say.
fn held_back(unit: &Unit, limits: &Limits) -> Option<String> {
    match &unit.bears {
        Bears::Running => Some("it goes on".to_owned()),
        Bears::NotOurs => Some("nothing says that kchaos made it: remove it by hand".to_owned()),
        Bears::Failed(run) if !limits.failed_too => Some(format!("{run} (--failed-too removes those as well)")),
        Bears::Failed(_) | Bears::Nothing => None,
    }
}

/// What came of the removal.
#[derive(Debug, Default)]
pub(crate) struct Pruned {
    pub(crate) removed: usize,
    pub(crate) bytes: u64,
    /// What could not be removed, and why.
    pub(crate) failed: Vec<String>,
}

/// Removes those; one that began to run meanwhile stays.
pub(crate) fn carry_out(results: &Path, units: &[&Unit]) -> Pruned {
    let mut pruned = Pruned::default();
    sweep(results);
    for unit in units {
        match remove(unit) {
            Ok(()) => {
                pruned.removed += 1;
                pruned.bytes += unit.bytes;
            }
            Err(error) => pruned.failed.push(format!("{}: {error:#}", unit.id)),
        }
    }
    unlink_what_dangles(results);
    pruned
}

/// First out of sight in one step, so that nobody takes half a run for one.
fn remove(unit: &Unit) -> anyhow::Result<()> {
    let is_running = Run::load(&unit.path, &unit.id).state == State::Running;
    anyhow::ensure!(!is_running, "it goes on");
    let (parent, name) = (unit.path.parent().context("it has no parent")?, unit.path.file_name().context("it has no name")?);
    let aside = parent.join(format!("{REMOVING}{}", name.to_string_lossy()));
    fs::rename(&unit.path, &aside).context("rename it")?;
    fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))
}

/// What an earlier removal that was cut off left.
fn sweep(results: &Path) {
    for entry in fs::read_dir(results).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(REMOVING) && entry.file_type().is_ok_and(|of| of.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `latest` and its like, of runs that are gone.
fn unlink_what_dangles(results: &Path) {
    for entry in fs::read_dir(results).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with("latest") && entry.file_type().is_ok_and(|of| of.is_symlink());
        if is_ours && !entry.path().exists() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn unit(id: &str, days: i64, mib: u64, bears: Bears) -> Unit {
        let started = DateTime::from_timestamp(NOW - days * 86_400, 0);
        Unit { id: id.into(), path: id.into(), started, bytes: mib << 20, runs: 1, bears }
    }

    #[test]
    fn what_goes_is_old_or_beyond_what_is_kept_and_never_what_failed_or_goes_on() {
        let failed = || Bears::Failed("b is invalid".into());
        let units = [
            unit("a", 0, 10, Bears::Running),
            unit("b", 1, 10, failed()),
            unit("c", 2, 10, Bears::Nothing),
            unit("d", 20, 10, Bears::NotOurs),
            unit("e", 40, 10, Bears::Nothing),
            unit("f", 50, 10, failed()),
        ];
        let days = |days| Some(TimeDelta::days(days));
        let mib = |mib: u64| Some(mib << 20);
        for (limits, goes) in [
            (Limits { keep: Some(6), ..Limits::default() }, ""),
            (Limits { keep: Some(2), ..Limits::default() }, "ce"),
            (Limits { keep: Some(0), ..Limits::default() }, "ce"),
            (Limits { keep: Some(0), failed_too: true, ..Limits::default() }, "bcef"),
            (Limits { older_than: days(30), ..Limits::default() }, "e"),
            (Limits { older_than: days(30), failed_too: true, ..Limits::default() }, "ef"),
            (Limits { older_than: days(90), ..Limits::default() }, ""),
            (Limits { max_bytes: mib(60), ..Limits::default() }, ""),
            (Limits { max_bytes: mib(50), ..Limits::default() }, "e"),
            (Limits { max_bytes: mib(1), ..Limits::default() }, "ce"),
            (Limits { max_bytes: mib(30), failed_too: true, ..Limits::default() }, "cef"),
            (Limits { keep: Some(3), older_than: days(1), max_bytes: mib(50), ..Limits::default() }, "ce"),
        ] {
            let fates = choose(&units, &limits, DateTime::from_timestamp(NOW, 0).unwrap());
            let gone: String =
                units.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Goes(_))).map(|(unit, _)| &*unit.id).collect();
            assert_eq!(gone, goes, "{limits:?}");
        }
    }

    #[test]
    fn a_run_that_began_meanwhile_stays_and_what_is_gone_leaves_no_link() {
        let results = tempfile::tempdir().unwrap();
        let make = |name: &str, plan: &str| {
            let path = results.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::write(path.join("plan.json"), plan).unwrap();
            path
        };
        let gone = make("20261101T020000Z-append-none", r#"{"run_id":"a"}"#);
        let own = crate::run::holder();
        let now_ns = Utc::now().timestamp_nanos_opt().unwrap();
        let goes_on = make(
            "20261101T030000Z-append-none",
            &format!(r#"{{"run_id":"b","started_at_unix_ns":{now_ns},"facts":{{"started_by":"{own}"}}}}"#),
        );
        std::os::unix::fs::symlink("20261101T020000Z-append-none", results.path().join("latest")).unwrap();
        fs::create_dir(results.path().join(".removing-x")).unwrap();
        let units = units(results.path()).unwrap();
        assert_eq!(units.iter().map(|unit| unit.bears.clone()).collect::<Vec<_>>()[0], Bears::Running);
        let pruned = carry_out(results.path(), &units.iter().collect::<Vec<_>>());
        assert_eq!((pruned.removed, pruned.failed.len()), (1, 1), "{pruned:?}");
        assert!(!gone.exists() && goes_on.exists());
        let left: Vec<_> = fs::read_dir(results.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["20261101T030000Z-append-none"]);
    }

    #[test]
    fn a_suite_goes_as_a_whole_and_a_directory_of_somebody_does_not_go_for_its_runs() {
        let results = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let path = results.path().join(name);
            fs::create_dir_all(&path).unwrap();
            files.iter().for_each(|(file, text)| fs::write(path.join(file), text).unwrap());
        };
        let plan = ("plan.json", r#"{"run_id":"a"}"#);
        let well = ("verdict.json", r#"{"valid":true}"#);
        make("20261101T020000Z-suite-night", &[("suite.json", "{}")]);
        make("20261101T020000Z-suite-night/runs/20261101T020100Z-append-none", &[plan, well]);
        make("20261101T020000Z-suite-night/runs/20261101T020200Z-append-none", &[plan, well]);
        make("work/of/somebody/20261102T020000Z-append-none", &[plan, well]);
        make("work/kept", &[("plan.json", "{}"), well]);
        let units = units(results.path()).unwrap();
        let told: Vec<_> = units.iter().map(|unit| (unit.id.as_str(), unit.runs, unit.bears == Bears::Nothing)).collect();
        assert!(told.contains(&("20261101T020000Z-suite-night", 2, true)), "{told:?}");
        assert!(told.contains(&("work/of/somebody/20261102T020000Z-append-none", 1, true)), "{told:?}");
        assert!(told.contains(&("work/kept", 1, false)), "{told:?}");
    }
}
