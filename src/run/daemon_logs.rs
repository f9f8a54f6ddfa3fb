//! The daemons' own words: fetched at the end of a run, cut to the run's time, and read for what no daemon should say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::{DaemonEntry, Host};
use kchaos_cluster::remote::{RemoteFile, fetch_file, list_files};
use kchaos_core::{Example, Finding};

const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Of one file; a longer one lacks its beginning.
const FILE_BYTES_MAX: u64 = 24 * 1024 * 1024;
/// A file grows between the look at its size and the reading of its end, so that much more is read.
const SLACK_BYTES: u64 = 4 * 1024;

/// Phrases that no healthy daemon writes. Exact, so that a topic's name cannot be one of them.
const PATTERNS: &[(&str, &str)] = &[
    ("] FATAL ", "a FATAL line"),
    (" FATAL [", "a FATAL line"),
    ("java.lang.OutOfMemoryError", "out of memory"),
    ("A fatal error has been detected by the Java Runtime Environment", "a JVM crash"),
];

/// Where each file ended when the run began: what stood there before is not this run's.
pub(crate) type Marks = BTreeMap<(String, PathBuf), u64>;

/// What was fetched, and what the reading found.
#[derive(Debug, Default)]
pub(crate) struct Fetched {
    pub(crate) files: Vec<PathBuf>,
    /// Hosts or directories of which nothing could be had, with the reason.
    pub(crate) missing: Vec<String>,
    pub(crate) findings: Finding,
}

/// Sizes now, of every file of every daemon's log directory. A host that does not answer has no marks: its files are fetched whole.
pub(crate) async fn mark(cluster: &Cluster) -> Marks {
    let mut marks = Marks::new();
    for (host, directory) in directories(cluster) {
        for file in list_files(&*cluster.remote(&host), &directory, FETCH_TIMEOUT).await.unwrap_or_default() {
            marks.insert((host.clone(), directory.join(file.path)), file.size_bytes);
        }
    }
    marks
}

/// Fetches every host's daemon logs into `into/<host>/`, all hosts at once.
pub(crate) async fn fetch(cluster: &Arc<Cluster>, marks: &Marks, into: &Path) -> Fetched {
    let mut tasks = tokio::task::JoinSet::new();
    for (host, directory) in directories(cluster) {
        let cluster = Arc::clone(cluster);
        let marks = marks.clone();
        let into = into.join(&host);
        tasks.spawn(async move { fetch_directory(&cluster, &host, &directory, &marks, &into).await });
    }
    let mut fetched = Fetched::default();
    while let Some(result) = tasks.join_next().await {
        match result {
            Ok(part) => {
                fetched.files.extend(part.files);
                fetched.missing.extend(part.missing);
                fetched.findings.count += part.findings.count;
                fetched.findings.examples.extend(part.findings.examples);
            }
            Err(error) => fetched.missing.push(error.to_string()),
        }
    }
    fetched.files.sort();
    fetched.missing.sort();
    fetched.findings.examples.sort_by(|a, b| a.explanation.cmp(&b.explanation));
    fetched
}

async fn fetch_directory(cluster: &Cluster, host: &str, directory: &Path, marks: &Marks, into: &Path) -> Fetched {
    let mut fetched = Fetched::default();
    let remote = cluster.remote(host);
    let files = match list_files(&*remote, directory, FETCH_TIMEOUT).await {
        Ok(files) if files.is_empty() => {
            fetched.missing.push(format!("{host}: no files in {}", directory.display()));
            return fetched;
        }
        Ok(files) => files,
        Err(error) => {
            fetched.missing.push(format!("{host}: {}: {error}", directory.display()));
            return fetched;
        }
    };
    if let Err(error) = std::fs::create_dir_all(into) {
        fetched.missing.push(format!("{}: {error}", into.display()));
        return fetched;
    }
    let now: Vec<PathBuf> = files.iter().map(|file| directory.join(&file.path)).collect();
    for RemoteFile { path, size_bytes } in files {
        let path = directory.join(path);
        let mark = mark_of(marks, host, &path, &now);
        // A file shorter than its mark was rotated: all of it is of this run.
        let fresh = size_bytes.checked_sub(mark).unwrap_or(size_bytes);
        if fresh == 0 {
            continue;
        }
        match fetch_file(&*remote, &path, (fresh + SLACK_BYTES).min(FILE_BYTES_MAX), FETCH_TIMEOUT).await {
            Ok(content) => {
                let of_this_run = of_this_run(&content, mark);
                scan(host, &path, of_this_run, &mut fetched.findings);
                let name = into.join(path.file_name().unwrap_or_default());
                match std::fs::write(&name, of_this_run) {
                    Ok(()) => fetched.files.push(name),
                    Err(error) => fetched.missing.push(format!("{}: {error}", name.display())),
                }
            }
            Err(error) => fetched.missing.push(format!("{host}: {}: {error}", path.display())),
        }
    }
    fetched
}

/// Where this run begins in a file. A log that was rotated in the run goes on under a longer name (`server.log.2026-01-01-07`), and the mark goes
/// with it: what is called `server.log` now is new.
fn mark_of(marks: &Marks, host: &str, path: &Path, now: &[PathBuf]) -> u64 {
    let mark = |path: &Path| marks.get(&(host.to_owned(), path.to_owned())).copied();
    let is_rotation =
        |longer: &Path, of: &Path| longer.to_string_lossy().strip_prefix(&*of.to_string_lossy()).is_some_and(|end| end.starts_with('.'));
    match mark(path) {
        Some(_) if now.iter().any(|other| is_rotation(other, path) && mark(other).is_none()) => 0,
        Some(mark) => mark,
        None => now.iter().filter(|base| is_rotation(path, base)).find_map(|base| mark(base)).unwrap_or(0),
    }
}

/// Without what stood there before the mark. A file that is shorter than its mark was rotated.
fn of_this_run(content: &kchaos_cluster::remote::Fetched, mark: u64) -> &[u8] {
    let fresh = content.size_bytes.checked_sub(mark).unwrap_or(content.size_bytes);
    let from = content.bytes.len().saturating_sub(usize::try_from(fresh).unwrap_or(usize::MAX));
    &content.bytes[from..]
}

fn scan(host: &str, path: &Path, content: &[u8], findings: &mut Finding) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with("hs_err_pid") {
        findings.count += 1;
        findings.examples.push(Example { explanation: format!("{host}: the JVM crashed and left {name}"), ..Example::default() });
    }
    // A GC log names the reasons of collections, never a fatal line.
    if name.contains("gc.log") {
        return;
    }
    for line in String::from_utf8_lossy(content).lines() {
        let Some((_, what)) = PATTERNS.iter().find(|(pattern, _)| line.contains(pattern)) else { continue };
        findings.count += 1;
        if findings.examples.len() < 8 {
            let line: String = line.chars().take(300).collect();
            findings.examples.push(Example { explanation: format!("{what} in {name} of {host}: {line}"), ..Example::default() });
        }
    }
}

fn directories(cluster: &Cluster) -> Vec<(String, PathBuf)> {
    let of_host = |host: &Host| {
        let mut directories: Vec<_> = host.daemons.iter().map(|daemon: &DaemonEntry| daemon.log_dir.clone()).collect();
        directories.sort();
        directories.dedup();
        directories.into_iter().map(|directory| (host.name.clone(), directory)).collect::<Vec<_>>()
    };
    cluster.inventory.hosts.iter().flat_map(of_host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, content: &str, expect: u64) {
        let mut findings = Finding::default();
        scan("b1", Path::new(name), content.as_bytes(), &mut findings);
        assert_eq!(findings.count, expect, "{name}: {content}");
    }

    #[test]
    fn fatal_lines_and_crashes_are_findings_and_ordinary_errors_are_not() {
        check("server.log", "[2026-01-01 00:00:00,000] ERROR Fatal error during startup (kafka.server)", 0);
        check("server.log", "[2026-01-01 00:00:00,000] FATAL Exiting (kafka.server)", 1);
        check("kafkaServer.out", "java.lang.OutOfMemoryError: Java heap space", 1);
        check("hs_err_pid7.log", "# Problematic frame", 1);
        check("kafkaServer-gc.log", "GC(1) Pause OutOfMemory FATAL", 0);
    }

    #[test]
    fn the_mark_goes_with_a_log_that_is_rotated_in_the_run() {
        let file = |name: &str| Path::new("/var/log/kafka").join(name);
        let marks = Marks::from([(("b1".into(), file("server.log")), 700), (("b1".into(), file("controller.log")), 50)]);
        let now = [file("server.log"), file("server.log.2026-01-01-07"), file("controller.log")];
        let marks: Vec<u64> = now.iter().map(|path| mark_of(&marks, "b1", path, &now)).collect();
        assert_eq!(marks, [0, 700, 50]);
    }
}
