//! What a suite says while it goes on: shown, and kept with the step.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

/// Cloned to whoever has something to say.
#[derive(Clone)]
pub(super) struct Transcript {
    /// Standard output is for the suite's result alone.
    to_stderr: bool,
    file: Arc<Mutex<Option<File>>>,
}

impl Transcript {
    pub(super) fn new(to_stderr: bool) -> Self {
        Self { to_stderr, file: Arc::default() }
    }

    /// From here on what is said goes to this file too.
    pub(super) fn begin(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    pub(super) fn end(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whole lines, with or without their last end.
    pub(super) fn say(&self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        if self.to_stderr {
            eprintln!("{text}");
        } else {
            crate::say!("{text}");
        }
        if let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A full disk is told by suite.json, which is written last.
            let _ = writeln!(file, "{text}");
        }
    }
}
