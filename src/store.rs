//! A run's directory (FORMATS.md): made before anything happens, written as things happen.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::Serialize;

/// `results/<start time>-<workload>-<nemesis>/`.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Makes it, under a name that is not taken, and points `results/latest` at it.
    pub(crate) fn create(results: &Path, name: &str) -> Result<Self> {
        Self::create_as(results, name, "latest")
    }

    /// The same, with another link to the newest.
    pub(crate) fn create_as(results: &Path, name: &str, link: &str) -> Result<Self> {
        fs::create_dir_all(results)
            .with_context(|| format!("cannot make the results directory {} (--results names another)", results.display()))?;
        let mut path = results.join(name);
        let mut n = 1;
        while let Err(error) = fs::create_dir(&path) {
            if error.kind() != io::ErrorKind::AlreadyExists || n > 99 {
                return Err(error).with_context(|| format!("cannot make the run's directory {}", path.display()));
            }
            n += 1;
            path = results.join(format!("{name}-{n}"));
        }
        let directory = Self { path };
        directory.refuse_full_disk()?;
        directory.point_latest(results, link)?;
        Ok(directory)
    }

    /// One that is there.
    pub(crate) fn of(run: &Path) -> Self {
        Self { path: run.to_owned() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a JSON file whole: to a name beside it, synced, then renamed over it.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value).with_context(|| format!("encode {name}"))?;
        text.push(b'\n');
        self.write(name, &text)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        write_whole(&self.file(name), content)
    }

    /// A run that finds out at its end that it cannot be written down has wasted everybody's time.
    fn refuse_full_disk(&self) -> Result<()> {
        let probe = self.file(".probe");
        fs::write(&probe, [0_u8; 65_536])
            .and_then(|()| File::open(&probe)?.sync_all())
            .with_context(|| format!("no room for results in {} (--results names another directory)", self.path.display()))?;
        fs::remove_file(&probe).with_context(|| format!("remove {}", probe.display()))
    }

    fn point_latest(&self, results: &Path, link: &str) -> Result<()> {
        let latest = results.join(link);
        let fresh = results.join(format!(".latest-{}", std::process::id()));
        let _ = fs::remove_file(&fresh);
        let name = self.path.file_name().context("a run's directory has a name")?;
        std::os::unix::fs::symlink(name, &fresh).with_context(|| format!("link {}", fresh.display()))?;
        fs::rename(&fresh, &latest).with_context(|| format!("link {}", latest.display()))
    }
}

pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let write = || -> io::Result<()> {
        let mut file = File::create(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// A file of lines that grows: `timeline.jsonl`, `faults.jsonl`, `latency.hlog`. Each line is flushed when it is written.
pub(crate) struct Lines {
    file: Mutex<File>,
    failed: Mutex<Option<String>>,
}

impl Lines {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { file: Mutex::new(file), failed: Mutex::new(None) })
    }

    /// Without what it may have held.
    pub(crate) fn anew(path: &Path) -> Result<Self> {
        let lines = Self::create(path)?;
        lines.file.lock().unwrap_or_else(PoisonError::into_inner).set_len(0).with_context(|| format!("empty {}", path.display()))?;
        Ok(lines)
    }

    /// As JSON.
    pub(crate) fn push(&self, value: &impl Serialize) {
        let line = serde_json::to_vec(value).map_err(io::Error::from).map(|mut line| {
            line.push(b'\n');
            line
        });
        self.write(line);
    }

    /// Whole lines.
    pub(crate) fn append(&self, lines: Vec<u8>) {
        self.write(Ok(lines));
    }

    fn write(&self, lines: io::Result<Vec<u8>>) {
        let written = lines.and_then(|lines| self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&lines));
        if let Err(error) = written {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_of_one_second_get_two_directories_and_latest_is_the_second() {
        let results = tempfile::tempdir().unwrap();
        let first = RunDirectory::create(results.path(), "run").unwrap();
        let second = RunDirectory::create(results.path(), "run").unwrap();
        assert_ne!(first.path(), second.path());
        let latest = fs::canonicalize(results.path().join("latest")).unwrap();
        assert_eq!(latest, fs::canonicalize(second.path()).unwrap());
    }

    #[test]
    fn a_results_directory_that_cannot_be_made_is_named_with_the_flag_that_helps() {
        let error = format!("{:#}", RunDirectory::create(Path::new("/proc/nowhere"), "run").unwrap_err());
        assert!(error.contains("/proc/nowhere") && error.contains("--results"), "{error}");
    }
}
