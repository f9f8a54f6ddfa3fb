//! What is said while a suite goes on: shown, and kept with the step.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Stdout,
    /// Standard output is for the result alone.
    Stderr,
    Nowhere,
}

/// Cloned to whoever has something to say.
#[derive(Clone)]
pub(crate) struct Transcript {
    shown: Shown,
    file: Arc<Mutex<Option<File>>>,
}

impl Transcript {
    pub(crate) fn new(to_stderr: bool) -> Self {
        Self { shown: if to_stderr { Shown::Stderr } else { Shown::Stdout }, file: Arc::default() }
    }

    /// Kept, and not shown.
    pub(crate) fn quiet() -> Self {
        Self { shown: Shown::Nowhere, file: Arc::default() }
    }

    /// From here on what is said goes to this file too.
    pub(crate) fn begin(&self, path: &Path) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
        Ok(())
    }

    pub(crate) fn end(&self) {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Whole lines, with or without their last end.
    pub(crate) fn say(&self, text: &str) {
        let text = text.strip_suffix('\n').unwrap_or(text);
        match self.shown {
            Shown::Stdout => crate::say!("{text}"),
            Shown::Stderr => eprintln!("{text}"),
            Shown::Nowhere => {}
        }
        if let Some(file) = self.file.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            // A full disk is told by suite.json, which is written last.
            let _ = writeln!(file, "{text}");
        }
    }
}
