//! The house's directions (DESIGN in ARCHITECTURE.md): who may depend on whom. A crate that imports what it must not know fails here.

use std::path::{Path, PathBuf};

/// Crate, the crates of ours it may depend on, and outside crates that it must not know.
const ALLOWED: &[(&str, &[&str], &[&str])] = &[
    ("core", &[], &["tokio", "rdkafka", "russh", "zookeeper-client", "rand", "chrono"]),
    ("columns", &["kchaos-core"], &["tokio", "rdkafka", "russh", "zookeeper-client", "chrono"]),
    ("checkers", &["kchaos-core", "kchaos-columns"], &["tokio", "rdkafka", "russh", "zookeeper-client", "rand", "chrono"]),
    ("workloads", &["kchaos-core"], &["russh"]),
    ("cluster", &["kchaos-core"], &["rdkafka"]),
    ("nemeses", &["kchaos-core", "kchaos-cluster"], &["rdkafka", "russh"]),
    ("lab", &["kchaos-core", "kchaos-cluster", "kchaos-disk"], &["rdkafka", "russh"]),
    ("disk", &[], &["tokio", "rdkafka", "russh", "zookeeper-client", "serde"]),
    ("synth", &["kchaos-core"], &["tokio", "rdkafka", "russh", "zookeeper-client", "chrono"]),
];

/// Words that pure crates do not say: they do no IO, read no clock, start no thread.
const IMPURE: &[&str] = &["std::net", "std::fs", "std::thread", "Instant::now", "SystemTime::now", "std::process"];

#[test]
fn no_crate_depends_on_what_it_must_not_know() {
    for (name, ours, forbidden) in ALLOWED {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let manifest: toml::Table = manifest.parse().unwrap_or_else(|error| panic!("{name}/Cargo.toml: {error}"));
        let dependencies = manifest["dependencies"].as_table().expect("dependencies");
        for dependency in dependencies.keys() {
            let is_ours = dependency.starts_with("kchaos");
            assert!(!is_ours || ours.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
            assert!(!forbidden.contains(&dependency.as_str()), "{name} must not know {dependency}");
        }
    }
}

#[test]
fn pure_crates_do_no_io_and_read_no_clock() {
    for name in ["core", "columns", "checkers", "synth"] {
        for file in rust_files(&root().join(name).join("src")) {
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // Threads parse what one judges in order: the one place where a pure crate has them.
            let threads = file.ends_with("input/parallel.rs");
            for word in IMPURE.iter().filter(|word| !threads || **word != "std::thread") {
                assert!(!code.contains(word), "{} says {word}", file.display());
            }
        }
    }
}

#[test]
fn nobody_kills_by_name_or_flushes_what_is_not_ours() {
    let sources = ["core", "columns", "checkers", "workloads", "cluster", "nemeses", "lab", "disk", "synth"]
        .map(|name| root().join(name).join("src"));
    for file in sources.iter().chain([&root().join("src")]).flat_map(|directory| all_files(directory)) {
        let text = read(&file);
        for word in ["pkill", "killall", "pgrep -f", "flush ruleset", "iptables -F\n", "iptables -F "] {
            let said = text.lines().any(|line| line.contains(word) && !is_comment(line));
            assert!(!said, "{} says {word:?}", file.display());
        }
    }
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with('#')
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    all_files(directory).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn all_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(all_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}
