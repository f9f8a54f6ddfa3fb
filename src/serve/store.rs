//! The runs, read again only where something changed: a run that has ended stays what it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::compare::{Figure, figures};
use crate::runs::{self, Run, State};

pub(super) struct Store {
    results: PathBuf,
    known: Mutex<HashMap<String, (Stamp, Run)>>,
    measured: Mutex<HashMap<String, (Stamp, Measured)>>,
}

/// What a run measured.
pub(super) type Measured = Arc<Vec<(Figure, f64)>>;

/// Of the verdict: size and time of its last change.
type Stamp = Option<(u64, SystemTime)>;

impl Store {
    pub(super) fn new(results: PathBuf) -> Self {
        Self { results, known: Mutex::default(), measured: Mutex::default() }
    }

    pub(super) fn results(&self) -> &Path {
        &self.results
    }

    /// All of them, the newest first.
    pub(super) fn runs(&self) -> Result<Vec<Run>, String> {
        let places = runs::places(&self.results).map_err(|failure| failure.to_string())?;
        let mut found: Vec<Run> = places.iter().map(|(path, id)| self.known(path, id)).collect();
        runs::newest_first(&mut found);
        Ok(found)
    }

    /// One that is in the directory, and no other.
    pub(super) fn run(&self, id: &str) -> Option<Run> {
        let places = runs::places(&self.results).ok()?;
        let (path, id) = places.iter().find(|(_, known)| known == id)?;
        Some(self.known(path, id))
    }

    fn known(&self, path: &Path, id: &str) -> Run {
        let stamp = stamp(path);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, run)) = known.get(id)
            && *seen == stamp
            && stamp.is_some()
        {
            return run.clone();
        }
        drop(known);
        let run = Run::load(path, id);
        known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if run.state == State::Ended {
            known.insert(id.to_owned(), (stamp, run.clone()));
        }
        run
    }

    pub(super) fn measured(&self, run: &Run) -> Measured {
        let stamp = stamp(&run.path);
        if let Some((seen, measured)) = self.measured.lock().unwrap_or_else(PoisonError::into_inner).get(&run.id)
            && *seen == stamp
        {
            return Arc::clone(measured);
        }
        let measured = Arc::new(figures(run));
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).insert(run.id.clone(), (stamp, Arc::clone(&measured)));
        measured
    }
}

fn stamp(run: &Path) -> Stamp {
    let metadata = std::fs::metadata(run.join("verdict.json")).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
