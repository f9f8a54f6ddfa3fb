//! The lab's directory on the machine (`/var/lib/kchaos/lab`, or `KCHAOS_LAB_DIR`): made by `up`, emptied by `down`.
//!
//! It carries a mark, and nothing is ever deleted in a directory without it: the user's choice may have been a directory full of other things.

use std::fs;
use std::io;
use std::path::Path;

use crate::LabError;
use crate::disks;
use crate::network;

const MARK: &str = ".kchaos-lab";
/// Logs of an `up` that failed; they stay until the next `up`.
pub(crate) const KEPT_LOGS: &str = "failed-up";
const OWN_ENTRIES: &[&str] = &["hosts", disks::DIRECTORY, "keys", "kchaos.toml"];

/// Refuses a directory in which something else is; makes nothing.
pub(crate) fn refuse_foreign(base_dir: &Path) -> Result<(), LabError> {
    let is_free = match fs::read_dir(base_dir) {
        Ok(mut entries) => base_dir.join(MARK).exists() || entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(LabError::io("cannot read", base_dir)(error)),
    };
    if is_free { Ok(()) } else { Err(LabError::DirectoryTaken { directory: base_dir.to_owned() }) }
}

/// Makes it, or empties it if it is a lab's.
pub(crate) fn make(base_dir: &Path) -> Result<(), LabError> {
    refuse_foreign(base_dir)?;
    if base_dir.join(MARK).exists() {
        remove_entry(&base_dir.join(KEPT_LOGS))?;
        clear(base_dir)?;
    }
    fs::create_dir_all(base_dir).map_err(LabError::io("cannot make", base_dir))?;
    let mark = base_dir.join(MARK);
    fs::write(&mark, "This directory belongs to `kchaos lab`, which empties it.\n").map_err(LabError::io("cannot write", &mark))
}

/// Takes away what a lab put there, and the directory itself if nothing else is in it.
pub(crate) fn clear(base_dir: &Path) -> Result<(), LabError> {
    let mark = base_dir.join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    // Never through a mount: deleting what is mounted there would delete somebody's data.
    let mut mounted: Vec<_> = network::mount_points().into_iter().filter(|mount| mount.starts_with(base_dir.join("hosts"))).collect();
    mounted.sort();
    for mount in mounted.iter().rev() {
        network::unmount(mount).map_err(LabError::io("cannot unmount", mount))?;
    }
    for entry in OWN_ENTRIES {
        remove_entry(&base_dir.join(entry))?;
    }
    // Kept logs keep the directory and its mark.
    if !base_dir.join(KEPT_LOGS).exists() {
        remove_entry(&mark)?;
        let _ = fs::remove_dir(base_dir);
        let _ = base_dir.parent().map(fs::remove_dir);
    }
    Ok(())
}

fn remove_entry(path: &Path) -> Result<(), LabError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::io("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_full_of_other_things_is_never_touched() {
        let parent = tempfile::tempdir().unwrap();
        let base = parent.path().join("base");
        fs::create_dir_all(base.join("keys")).unwrap();
        fs::write(base.join("keys/precious"), "x").unwrap();
        assert!(matches!(make(&base), Err(LabError::DirectoryTaken { .. })));
        clear(&base).unwrap();
        assert!(base.join("keys/precious").exists());
    }

    #[test]
    fn a_lab_directory_is_emptied_and_goes_away_but_for_kept_logs() {
        let parent = tempfile::tempdir().unwrap();
        fs::write(parent.path().join("other"), "").unwrap();
        let base = parent.path().join("a/base");
        make(&base).unwrap();
        fs::create_dir_all(base.join("hosts/kafka1/var")).unwrap();
        make(&base).unwrap();
        assert!(!base.join("hosts").exists());
        fs::create_dir_all(base.join(KEPT_LOGS)).unwrap();
        clear(&base).unwrap();
        assert!(base.join(KEPT_LOGS).exists());
        make(&base).unwrap();
        clear(&base).unwrap();
        assert!(!base.exists() && parent.path().exists());
    }
}
