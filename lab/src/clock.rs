//! Clocks of the lab (`--clock faketime`): each daemon's JVM runs under libfaketime, and reads from a file how wrong its clock is.
//!
//! Hosts of a lab share the machine's clock, which nobody may set. libfaketime stands between the JVM and the kernel, so that one daemon's wall
//! clock is wrong while every other process' is right; the monotonic clock, by which the JVM waits, is left alone. The start script looks for
//! the file: a daemon without one has the machine's clock.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::layout::HostPlan;

/// Where the file stands on the host, and what is in it: the offset in seconds, as libfaketime reads it.
const DIRECTORY: &str = "etc/kchaos/clock";
pub(crate) const RIGHT: &str = "+0\n";

/// Debian's place for it, whatever the architecture.
pub(crate) fn library() -> Option<PathBuf> {
    let libraries = fs::read_dir("/usr/lib").ok()?;
    libraries.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.is_file())
}

pub(crate) fn write_files(host: &HostPlan, host_dir: &Path) -> Result<(), LabError> {
    let directory = host_dir.join(DIRECTORY);
    fs::create_dir_all(&directory).map_err(LabError::io("cannot make", &directory))?;
    if let Some(library) = library() {
        let link = directory.join("library");
        fs::write(&link, format!("{}\n", library.display())).map_err(LabError::io("cannot write", &link))?;
    }
    for daemon in &host.daemons {
        let file = directory.join(daemon.file_name());
        fs::write(&file, RIGHT).map_err(LabError::io("cannot write", &file))?;
    }
    Ok(())
}
