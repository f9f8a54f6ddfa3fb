//! The jars of one version of Kafka: `/var/cache/kchaos/kafka-VERSION/` (or below `KCHAOS_CACHE`).
//!
//! A directory under that name is whole: `make setup` and this module fetch into a directory beside it and rename it at the end.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::commands;
use crate::state::Lock;

const POM: &str = include_str!("../pom.xml");
const DEFAULT_CACHE: &str = "/var/cache/kchaos";

pub(crate) fn directory(version: &str) -> PathBuf {
    let cache = std::env::var_os("KCHAOS_CACHE").map_or_else(|| PathBuf::from(DEFAULT_CACHE), PathBuf::from);
    cache.join(format!("kafka-{version}"))
}

/// Every version that is there, by its name, with its jars; `of_lab` is among them.
pub(crate) fn versions(of_lab: &str) -> Vec<(String, PathBuf)> {
    let own = directory(of_lab);
    let beside = own.parent().and_then(|cache| fs::read_dir(cache).ok()).into_iter().flatten().flatten();
    let named = beside.filter_map(|entry| Some((entry.file_name().to_str()?.strip_prefix("kafka-")?.to_owned(), entry.path())));
    let mut found: Vec<_> = named.filter(|(version, jars)| version != of_lab && has_kafka(jars, version)).collect();
    found.push((of_lab.to_owned(), own));
    found.sort();
    found
}

/// The directory of the jars, fetched from Maven Central if they are not there yet.
pub(crate) fn ensure(version: &str, lock: &Lock, progress: &mut dyn FnMut(&str)) -> Result<PathBuf, LabError> {
    let directory = directory(version);
    let missing = |reason: String| LabError::JarsMissing { version: version.to_owned(), directory: directory.clone(), reason };
    if directory.is_dir() {
        if has_kafka(&directory, version) {
            return Ok(directory);
        }
        return Err(missing(format!("kafka_2.13-{version}.jar is not among what is there; delete the directory")));
    }
    if !commands::exists("mvn") {
        return Err(missing("and there is no mvn to fetch them".to_owned()));
    }
    progress(&format!("fetching Kafka {version} from Maven Central"));
    let scratch = directory.with_file_name(format!(".kafka-{version}.{}", std::process::id()));
    let fetched = fetch(version, &scratch, lock).map_err(|error| missing(first_reason(&error))).and_then(|libs| {
        // Somebody else may have been faster; theirs is as good.
        fs::rename(&libs, &directory).or_else(|error| if directory.is_dir() { Ok(()) } else { Err(missing(error.to_string())) })
    });
    let _ = fs::remove_dir_all(&scratch);
    fetched.map(|()| directory)
}

fn fetch(version: &str, scratch: &Path, lock: &Lock) -> Result<PathBuf, LabError> {
    let libs = scratch.join("libs");
    fs::create_dir_all(&libs).map_err(LabError::io("cannot make", &libs))?;
    let pom = scratch.join("pom.xml");
    fs::write(&pom, POM).map_err(LabError::io("cannot write", &pom))?;
    let arguments = [
        "--batch-mode",
        "--quiet",
        "-Dstyle.color=never",
        "--file",
        &pom.display().to_string(),
        &format!("-Dkafka.version={version}"),
        "dependency:copy-dependencies",
        &format!("-DoutputDirectory={}", libs.display()),
    ];
    commands::run("mvn", &arguments, "", lock.file())?;
    Ok(libs)
}

/// Of all that Maven says when it fails, the first line says why.
fn first_reason(error: &LabError) -> String {
    let LabError::Command { stderr, .. } = error else { return error.to_string() };
    let first = stderr.lines().find_map(|line| line.split_once("[ERROR] ")).map_or(stderr.as_str(), |(_, reason)| reason);
    let first = first.split(" -> [Help").next().unwrap_or(first);
    format!("Maven could not fetch them ({first})")
}

fn has_kafka(directory: &Path, version: &str) -> bool {
    directory.join(format!("kafka_2.13-{version}.jar")).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_maven_says_first() {
        let stderr =
            "[ERROR] No plugin found for prefix 'dependency' -> [Help 1]\n[ERROR] \n[ERROR] Re-run Maven using the -X switch".to_owned();
        let error = LabError::Command { command: "mvn".to_owned(), status: "exit status: 1".to_owned(), stderr };
        assert_eq!(first_reason(&error), "Maven could not fetch them (No plugin found for prefix 'dependency')");
        let error = LabError::Command { command: "mvn".to_owned(), status: "signal".to_owned(), stderr: "killed".to_owned() };
        assert_eq!(first_reason(&error), "Maven could not fetch them (killed)");
    }
}
