//! The undo journal of a run, `undo-journal.jsonl`: what is about to be done and how to undo it, on disk before it is done.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

pub(crate) const FILE_NAME: &str = "undo-journal.jsonl";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Written before anything is done: something of this fault may be on these hosts.
    Open,
    /// Seen to be mended and disarmed.
    Done,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub time_ns: u64,
    pub run: String,
    pub fault_id: u32,
    pub nemesis: String,
    pub state: State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Intent>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Intent {
    pub host: String,
    pub daemon: String,
    pub evidence: String,
    /// What mends it, in `sh`: the same lies on the host.
    pub undo: String,
}

#[derive(Clone)]
pub(crate) struct Journal {
    file: Arc<Mutex<File>>,
}

impl Journal {
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(directory.join(FILE_NAME))?;
        // The name must survive as well as what is written under it.
        File::open(directory)?.sync_all()?;
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// For a rehearsal, which has nothing to undo.
    pub(crate) fn nowhere() -> io::Result<Self> {
        Ok(Self { file: Arc::new(Mutex::new(OpenOptions::new().append(true).open("/dev/null")?)) })
    }

    /// Returns when the line is on disk.
    pub(crate) async fn append(&self, entry: Entry) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        let write = move || {
            let mut line = serde_json::to_vec(&entry)?;
            line.push(b'\n');
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)?;
            file.sync_data()
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }
}
