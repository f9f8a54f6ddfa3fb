//! What librdkafka says while it works: `clients.log`. Timeouts and changes of leader as the clients saw them are evidence.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use kchaos_workloads::{LogLine, LogSink};

/// Lines kept; a client that repeats itself for hours must not fill the disk.
const LINES_MAX: u64 = 200_000;

pub(crate) struct ClientLog {
    state: Mutex<(BufWriter<File>, u64)>,
}

impl ClientLog {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { state: Mutex::new((BufWriter::new(file), 0)) })
    }
}

impl LogSink for ClientLog {
    fn line(&self, line: LogLine) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 += 1;
        if state.1 > LINES_MAX {
            return;
        }
        let LogLine { time_ns, client, level, facility, text } = line;
        // The history's own file says when the disk is full; a log line is not worth the run.
        let _ = writeln!(state.0, "{:.6} {client} {level} {facility} {text}", time_ns as f64 / 1e9).and_then(|()| state.0.flush());
    }
}
