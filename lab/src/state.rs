//! What the lab has made or is about to make, written before it makes it, so that `down` can find it after any crash.
//!
//! - `/run/kchaos/lab.lock`: held by `up` and `down` while they work, and by the helpers that they run. Stays behind, empty.
//! - `/run/kchaos/lab/state.json`: [`State`]. It names everything *planned*; whether a thing is there is then seen on the machine.
//! - `/var/lib/kchaos/lab/` (or `KCHAOS_LAB_DIR`): keys, the inventory, and a directory for each host.
//!
//! The pid of a host's PID 1 is known only once it runs. Until it is written down it is found by its argument `--lab=ID`, which no other process has.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::layout::Layout;
use crate::options::{Kraft, LabManager};
use crate::processes::{self, ProcessId};
use crate::security::LabSecurity;

const RUN_DIR: &str = "/run/kchaos";
const DEFAULT_BASE: &str = "/var/lib/kchaos/lab";
/// Helpers of a kchaos that was killed end by themselves in milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Random, and part of the arguments of every host's PID 1.
    pub(crate) lab_id: String,
    pub(crate) name: String,
    pub(crate) phase: Phase,
    /// After a reboot nothing of the lab can be alive, whatever the pids say.
    pub(crate) boot_id: String,
    pub(crate) maker: i32,
    pub(crate) made_unix_ms: u64,
    pub(crate) up_after_ms: Option<u64>,
    pub(crate) kafka_version: String,
    pub(crate) zookeeper_session_timeout_ms: u64,
    pub(crate) cluster_id: Option<String>,
    pub(crate) base_dir: PathBuf,
    pub(crate) layout: Layout,
    #[serde(default)]
    pub(crate) manager: LabManager,
    #[serde(default)]
    pub(crate) security: LabSecurity,
    /// None: with ZooKeeper.
    #[serde(default)]
    pub(crate) kraft: Option<Kraft>,
    /// Names under `/run/netns`, all of them ours.
    pub(crate) namespaces: Vec<String>,
    pub(crate) netns_dir_before: DirBefore,
    /// The first process of each host, in the order of the layout, as far as they are known.
    pub(crate) inits: Vec<(String, ProcessId)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    Making,
    Up,
}

/// `ip netns` makes `/run/netns` and mounts it on itself at its first use; `down` puts back what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DirBefore {
    pub(crate) existed: bool,
    pub(crate) was_mount: bool,
}

pub(crate) fn default_base_dir() -> PathBuf {
    let chosen = std::env::var_os("KCHAOS_LAB_DIR").map_or_else(|| PathBuf::from(DEFAULT_BASE), PathBuf::from);
    std::path::absolute(&chosen).unwrap_or(chosen)
}

pub(crate) fn state_dir() -> PathBuf {
    Path::new(RUN_DIR).join("lab")
}

fn state_file() -> PathBuf {
    state_dir().join("state.json")
}

pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

impl State {
    /// `None` if there is no lab.
    pub(crate) fn load() -> Result<Option<State>, LabError> {
        let path = state_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LabError::io("cannot read", &path)(error)),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| LabError::State { path, reason: format!("not a lab's state: {error}") })
    }

    /// Written beside and renamed: a reader or a crash never sees half of it.
    pub(crate) fn save(&self) -> Result<(), LabError> {
        let path = state_file();
        let scratch = path.with_extension("new");
        fs::create_dir_all(state_dir()).map_err(LabError::io("cannot make", &state_dir()))?;
        let text = serde_json::to_string_pretty(self).map_err(|error| LabError::State { path: path.clone(), reason: error.to_string() })?;
        fs::write(&scratch, text).map_err(LabError::io("cannot write", &scratch))?;
        fs::rename(&scratch, &path).map_err(LabError::io("cannot write", &path))
    }

    /// Where a host keeps its files on the machine.
    pub(crate) fn host_dir(&self, host: &str) -> PathBuf {
        self.base_dir.join("hosts").join(host)
    }

    /// While it lives; of a host with a systemd of its own the systemd.
    pub(crate) fn first_process(&self, host: &str) -> Option<ProcessId> {
        let init = self.inits.iter().find(|(name, _)| name == host).map(|(_, init)| *init).filter(|init| processes::is_alive(*init))?;
        Some(if self.manager == LabManager::Systemd { processes::first_on_host(init) } else { init })
    }

    pub(crate) fn inventory_path(&self) -> PathBuf {
        self.base_dir.join("kchaos.toml")
    }

    pub(crate) fn is_of_this_boot(&self) -> bool {
        self.boot_id == boot_id()
    }
}

/// The lock of the whole lab. Dropping it unlocks.
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    pub(crate) fn take() -> Result<Lock, LabError> {
        let path = Path::new(RUN_DIR).join("lab.lock");
        fs::create_dir_all(RUN_DIR).map_err(LabError::io("cannot make", Path::new(RUN_DIR)))?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(LabError::io("cannot open", &path))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let _ = file.read_to_string(&mut pid);
                    return Err(LabError::Busy { pid: pid.trim().to_owned() });
                }
                Err(TryLockError::Error(error)) => return Err(LabError::io("cannot lock", &path)(error)),
            }
        }
        // Only for the message of the next one who has to wait.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Lock { file })
    }

    /// To be inherited by helpers.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.unlock();
    }
}
