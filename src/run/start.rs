//! How the daemons were when the run began: against it the end is held, by the run itself or by who concludes it (`start.json`).

use std::path::PathBuf;

use kchaos_cluster::daemon::{DaemonState, Pid};
use serde::{Deserialize, Serialize};

use super::daemon_logs::Marks;
use super::preflight::Daemons;

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Start {
    daemons: Vec<Daemon>,
    daemon_logs: Vec<DaemonLog>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Daemon {
    host: String,
    daemon: String,
    /// `None`: it was not there.
    pid: Option<i32>,
    #[serde(default)]
    start_time: u64,
}

/// Where a file ended.
#[derive(Debug, Deserialize, Serialize)]
struct DaemonLog {
    host: String,
    file: PathBuf,
    bytes: u64,
}

impl Start {
    pub(super) fn of(daemons: &Daemons, marks: &Marks) -> Self {
        let daemon = |((host, daemon), state): (&(String, String), &DaemonState)| {
            let pid = match state {
                DaemonState::Running(pid) | DaemonState::Stopped(pid) => Some(pid),
                DaemonState::Gone => None,
            };
            let start_time = pid.map_or(0, |pid| pid.start_time);
            Daemon { host: host.clone(), daemon: daemon.clone(), pid: pid.map(|pid| pid.pid), start_time }
        };
        let log = |((host, file), bytes): (&(String, PathBuf), &u64)| DaemonLog { host: host.clone(), file: file.clone(), bytes: *bytes };
        Self { daemons: daemons.iter().map(daemon).collect(), daemon_logs: marks.iter().map(log).collect() }
    }

    pub(super) fn daemons(&self) -> Daemons {
        let state = |daemon: &Daemon| match daemon.pid {
            Some(pid) => DaemonState::Running(Pid { pid, start_time: daemon.start_time }),
            None => DaemonState::Gone,
        };
        self.daemons.iter().map(|daemon| ((daemon.host.clone(), daemon.daemon.clone()), state(daemon))).collect()
    }

    pub(super) fn marks(&self) -> Marks {
        self.daemon_logs.iter().map(|log| ((log.host.clone(), log.file.clone()), log.bytes)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::conform::assert_conforms;

    #[test]
    fn what_is_written_down_conforms_and_is_read_as_it_was() {
        let key = |daemon: &str| ("kafka1".to_owned(), daemon.to_owned());
        let running = DaemonState::Running(Pid { pid: 7, start_time: 99 });
        let daemons: Daemons = [(key("kafka:1"), running), (key("zookeeper:1"), DaemonState::Gone)].into();
        let marks: Marks = [(("kafka1".to_owned(), PathBuf::from("/var/log/kafka/server.log")), 512)].into();
        let written = serde_json::json!(Start::of(&daemons, &marks));
        assert_conforms("start", &written);
        assert_conforms("start", &serde_json::json!(Start::default()));
        let text = written.to_string();
        let start: Start = serde_json::from_str(&text).unwrap();
        assert_eq!((start.daemons(), start.marks()), (daemons, marks));
    }
}
