//! What a run says afterwards, to people and to programs: `report.html`, `junit.xml`, the terminal, `latency.json`.
//!
//! Every report is a pure function of [`RunData`], and that is read from the run's directory alone, so that a report can be made again
//! later, on another machine, by a newer version. Nothing here judges: what is said stands in `verdict.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kchaos_checkers::latency::LatencyReport;
use kchaos_checkers::recovery::Phase;
use kchaos_checkers::recovery_summary::PhaseSummary;
use kchaos_core::{FaultEvent, Key, Observation, Plan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::judged::RunVerdict;

pub(crate) mod anomalies;
mod html;
mod junit;
mod sizes;
mod terminal;
pub(crate) mod words;

#[cfg(test)]
pub(crate) mod fixture;

pub(crate) use html::{Esc, render as html};
pub(crate) use junit::render as junit;
pub(crate) use sizes::SizeLatency;
pub(crate) use terminal::{Style, render as terminal};

/// All that a report is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunData {
    pub(crate) plan: Plan,
    pub(crate) verdict: RunVerdict,
    pub(crate) faults: Vec<FaultEvent>,
    pub(crate) timeline: Vec<Observation>,
    pub(crate) latency: LatencyReport,
    pub(crate) sizes: Vec<SizeLatency>,
    /// The run's files, by path relative to its directory, with their sizes in bytes.
    pub(crate) files: Vec<(String, u64)>,
    /// The directory's name.
    pub(crate) directory: String,
    /// Where it is, as it was given.
    pub(crate) path: PathBuf,
    /// Files that were not there or could not be read, and why: a report says what it lacks.
    pub(crate) missing: Vec<String>,
}

/// `latency.json`: the clients' latencies, and the phases of recovery beside them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LatencyFile {
    /// Over all fault cycles and partitions.
    pub(crate) recovery: BTreeMap<Phase, PhaseSummary>,
    /// Of sends, where values are of many sizes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sizes: Vec<SizeLatency>,
    #[serde(flatten)]
    pub(crate) latency: LatencyReport,
}

/// The reason of a run that never came to its trouble.
pub(crate) const NOT_RUN: &str = "not-run";

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("{path} cannot be read: is {} a run's directory?", path.parent().unwrap_or(Path::new(".")).display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not as kchaos wrote it")]
    Parse { path: PathBuf, source: serde_json::Error },
}

impl RunData {
    /// Reads a run's directory. Its plan and verdict must be there; whatever else is missing is said in the report.
    pub(crate) fn load(directory: &Path) -> Result<Self, ReportError> {
        let mut data = RunData {
            plan: read_json(&directory.join("plan.json"))?,
            verdict: read_json(&directory.join("verdict.json"))?,
            directory: fs::canonicalize(directory)
                .unwrap_or_else(|_| directory.to_owned())
                .file_name()
                .map_or_else(|| directory.display().to_string(), |name| name.to_string_lossy().into_owned()),
            path: directory.to_owned(),
            ..RunData::default()
        };
        let mut missing = Vec::new();
        let file = keep(read_json::<LatencyFile>(&directory.join("latency.json")), &mut missing);
        (data.latency, data.sizes) = (file.latency, file.sizes);
        data.faults = keep(read_lines(&directory.join("faults.jsonl")), &mut missing);
        data.timeline = keep(read_lines(&directory.join("timeline.jsonl")), &mut missing);
        data.files = files(directory);
        // A run that never began wrote no more, and that it never began is what its verdict says.
        let never_began = data.verdict.reasons.iter().any(|reason| reason.name == NOT_RUN);
        data.missing = if never_began { Vec::new() } else { missing };
        Ok(data)
    }

    /// What the directory's reports call a partition: `topic-0`, or `key 7` for one that the plan does not know.
    pub(crate) fn key_name(&self, key: Key) -> String {
        match self.plan.keys.iter().find(|entry| entry.key == key) {
            Some(entry) => format!("{}-{}", entry.topic, entry.partition),
            None => format!("key {key}"),
        }
    }

    /// A shorter name where all partitions are of one topic: `partition 0`.
    pub(crate) fn key_name_short(&self, key: Key) -> String {
        let mut topics = self.plan.keys.iter().map(|entry| &entry.topic);
        let first = topics.next();
        match self.plan.keys.iter().find(|entry| entry.key == key) {
            Some(entry) if topics.all(|topic| Some(topic) == first) => format!("partition {}", entry.partition),
            _ => self.key_name(key),
        }
    }

    /// The command that repeats the run, with its seed.
    pub(crate) fn repeat_command(&self) -> String {
        let mut words: Vec<String> = self.plan.command.iter().map(|argument| words::shell(argument)).collect();
        if words.is_empty() {
            return String::new();
        }
        if !self.plan.command.iter().any(|argument| argument == "--seed" || argument.starts_with("--seed=")) {
            words.push(format!("--seed {}", self.plan.seed));
        }
        words.join(" ")
    }

    /// The run's last moment that anything tells of.
    pub(crate) fn end_ns(&self) -> u64 {
        let series_ns = self.latency.series.points.len() as u64 * self.latency.series.width_ns;
        let faults_ns = self.faults.iter().map(|event| event.when.before_ns).max().unwrap_or(0);
        let timeline_ns = self.timeline.iter().map(|observation| observation.when.before_ns).max().unwrap_or(0);
        series_ns.max(faults_ns).max(timeline_ns)
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ReportError> {
    let text = fs::read(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| ReportError::Parse { path: path.to_owned(), source })
}

/// One JSON object a line. A last line that does not parse was cut off by the run's end; any other is an error.
pub(crate) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReportError> {
    let text = fs::read_to_string(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
    let mut values = Vec::new();
    while let Some(line) = lines.next() {
        match serde_json::from_str(line) {
            Ok(value) => values.push(value),
            Err(_) if lines.peek().is_none() => {}
            Err(source) => return Err(ReportError::Parse { path: path.to_owned(), source }),
        }
    }
    Ok(values)
}

fn keep<T: Default>(read: Result<T, ReportError>, missing: &mut Vec<String>) -> T {
    read.unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map_or(String::new(), |source| format!(": {source}"));
        missing.push(format!("{error}{cause}"));
        T::default()
    })
}

/// The directory's files and those of `logs/<host>/`, sorted.
pub(crate) fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                open.push(path);
            } else if let Ok(relative) = path.strip_prefix(directory) {
                found.push((relative.to_string_lossy().into_owned(), metadata.len()));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::fixture::{self, Variant};
    use super::*;

    /// Writes a run directory as a run does.
    fn save(data: &RunData, directory: &Path) {
        let json = |name: &str, text: String| fs::write(directory.join(name), text).unwrap();
        let lines = |values: Vec<String>| values.iter().map(|line| format!("{line}\n")).collect::<String>();
        json("plan.json", serde_json::to_string_pretty(&data.plan).unwrap());
        json("verdict.json", serde_json::to_string_pretty(&data.verdict).unwrap());
        json("faults.jsonl", lines(data.faults.iter().map(|event| serde_json::to_string(event).unwrap()).collect()));
        json("timeline.jsonl", lines(data.timeline.iter().map(|seen| serde_json::to_string(seen).unwrap()).collect()));
        let file = LatencyFile { recovery: data.verdict.recovery.phases.clone(), sizes: Vec::new(), latency: data.latency.clone() };
        json("latency.json", serde_json::to_string(&file).unwrap());
    }

    /// What a reader sees: no pictures, no style, no script, no tags.
    fn visible(html: &str) -> String {
        let mut text = html.to_owned();
        for (open, close) in [("<style>", "</style>"), ("<script", "</script>"), ("<svg", "</svg>\n<"), ("<svg", "</svg>")] {
            while let Some(from) = text.find(open) {
                let Some(length) = text[from..].find(close) else { break };
                let end = from + length + close.trim_end_matches('<').len();
                text.replace_range(from..end, "");
            }
        }
        let mut out = String::new();
        let mut in_tag = false;
        for c in text.chars() {
            match c {
                '<' => {
                    in_tag = true;
                    out.push(' ');
                }
                '>' => in_tag = false,
                c if !in_tag => out.push(c),
                _ => {}
            }
        }
        let lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_report_can_be_made_again_from_the_directory_alone() {
        let data = fixture::run(Variant::Invalid);
        let directory = tempfile::tempdir().unwrap();
        save(&data, directory.path());
        let mut loaded = RunData::load(directory.path()).unwrap();
        assert!(loaded.files.iter().any(|(name, _)| name == "plan.json"));
        loaded.files.clone_from(&data.files);
        loaded.directory.clone_from(&data.directory);
        loaded.path.clone_from(&data.path);
        assert_eq!(loaded, data);
        assert_eq!(html(&loaded), html(&data));
    }

    #[test]
    fn what_is_missing_is_said_and_what_must_be_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = RunData::load(directory.path()).unwrap_err();
        assert!(error.to_string().contains("plan.json cannot be read: is "), "{error}");
        save(&fixture::run(Variant::Valid), directory.path());
        fs::remove_file(directory.path().join("timeline.jsonl")).unwrap();
        let loaded = RunData::load(directory.path()).unwrap();
        assert_eq!(loaded.missing.len(), 1);
        assert!(html(&loaded).contains("timeline.jsonl cannot be read"));
        let mut never_began = fixture::run(Variant::Valid);
        never_began.verdict.reasons.push(kchaos_core::Reason { name: NOT_RUN.into(), text: "no consent".into() });
        save(&never_began, directory.path());
        fs::remove_file(directory.path().join("timeline.jsonl")).unwrap();
        assert!(RunData::load(directory.path()).unwrap().missing.is_empty());
    }

    #[test]
    fn an_empty_run_has_a_report_too() {
        let data = RunData::default();
        assert!(html(&data).contains("Nothing was acknowledged"));
        assert!(terminal(&data, Style { color: false }).starts_with("VALID"));
        junit(&data).unwrap();
    }

    #[test]
    fn a_report_is_small_escaped_and_needs_no_network() {
        for variant in [Variant::Valid, Variant::Invalid, Variant::Unknown] {
            let html = html(&fixture::run(variant));
            assert!(html.len() < 400_000, "{}", html.len());
            for foreign in ["http://", "https://", "//cdn", "@import", "url(http"] {
                assert!(!html.replace("http://www.w3.org/2000/svg", "").contains(foreign), "{foreign}");
            }
            assert!(!html.contains("<broker 1>") && html.contains("&lt;broker 1&gt;"));
        }
    }

    #[test]
    fn the_report_of_a_broken_promise_reads_well() {
        insta::assert_snapshot!(visible(&html(&fixture::run(Variant::Invalid))));
    }

    #[test]
    fn the_terminal_says_the_same() {
        insta::assert_snapshot!(terminal(&fixture::run(Variant::Invalid), Style { color: false }));
        assert!(terminal(&fixture::run(Variant::Valid), Style { color: true }).contains("\x1b[1;32mVALID\x1b[0m"));
    }

    #[test]
    fn junit_tells_failures_of_kafka_from_errors_of_ours() {
        insta::assert_snapshot!("junit_invalid", junit(&fixture::run(Variant::Invalid)).unwrap());
        let mut aborted = fixture::run(Variant::Unknown);
        aborted.verdict.conclude(vec![(crate::exit::ABORTED, "SIGINT".into())]);
        insta::assert_snapshot!("junit_aborted", junit(&aborted).unwrap());
    }
}
