//! The daemons' own words: fetched at the end of a run, cut to the run's time, and read for what no daemon should say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kchaos_cluster::cluster::Cluster;
use kchaos_cluster::inventory::{DaemonEntry, Host};
use kchaos_core::{Example, Finding};

const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Of one file; a longer one is cut at its beginning, and its first line says so.
const FILE_BYTES_MAX: u64 = 24 * 1024 * 1024;

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
        for (path, bytes) in list(cluster, &host, &directory).await.unwrap_or_default() {
            marks.insert((host.clone(), path), bytes);
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
    let files = match list(cluster, host, directory).await {
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
    for (path, bytes) in files {
        let mark = marks.get(&(host.to_owned(), path.clone())).copied().unwrap_or(0);
        // A file shorter than its mark was rotated: all of it is of this run.
        let from = if mark <= bytes { mark } else { 0 }.max(bytes.saturating_sub(FILE_BYTES_MAX));
        match fetch_file(cluster, host, &path, from).await {
            Ok(content) if content.is_empty() => {}
            Ok(content) => {
                scan(host, &path, &content, &mut fetched.findings);
                let name = into.join(path.file_name().unwrap_or_default());
                match std::fs::write(&name, &content) {
                    Ok(()) => fetched.files.push(name),
                    Err(error) => fetched.missing.push(format!("{}: {error}", name.display())),
                }
            }
            Err(error) => fetched.missing.push(format!("{host}: {}: {error}", path.display())),
        }
    }
    fetched
}

async fn list(cluster: &Cluster, host: &str, directory: &Path) -> Result<Vec<(PathBuf, u64)>, String> {
    let script = format!("find {} -maxdepth 1 -type f -printf '%s %p\\n'", quote(&directory.to_string_lossy()));
    let output = cluster.remote(host).run(&script, FETCH_TIMEOUT).await.map_err(|error| error.to_string())?;
    let text = output.success(host, "list the daemon logs").map_err(|error| error.to_string())?;
    Ok(text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(size, path)| Some((path.into(), size.parse().ok()?))).collect())
}

async fn fetch_file(cluster: &Cluster, host: &str, path: &Path, from: u64) -> Result<Vec<u8>, String> {
    let script = format!("tail -c +{} {}", from + 1, quote(&path.to_string_lossy()));
    let output = cluster.remote(host).run(&script, FETCH_TIMEOUT).await.map_err(|error| error.to_string())?;
    let content = output.stdout.clone();
    output.success(host, "read a daemon log").map_err(|error| error.to_string())?;
    Ok(content)
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

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
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
}
