//! The lab's control groups: each systemd host has one of its own, below one of the lab, in every hierarchy that a systemd wants.
//!
//! They are made by the hosts and stay when their processes are gone, so `down` takes them away. Only directories that carry the lab's id.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::LabError;

/// The name of the lab's group below each mount point.
pub(crate) fn name(lab_id: &str) -> String {
    format!("kchaos-lab-{lab_id}")
}

/// The lab's group in each hierarchy, there or not.
pub(crate) fn of(lab_id: &str) -> Vec<PathBuf> {
    hierarchies().into_iter().map(|mount| mount.join(name(lab_id))).collect()
}

/// Makes this process a member of a group of this name in the hierarchies that systemd uses: the unified one, and its named one of old.
pub(crate) fn enter(group: &str) -> Result<(), String> {
    let wanted: Vec<PathBuf> = mounts().into_iter().filter(|mount| mount.is_for_systemd).map(|mount| mount.path).collect();
    if wanted.is_empty() {
        return Err("no control groups that a systemd could use are mounted on this machine".to_owned());
    }
    for mount in wanted {
        let directory = mount.join(group);
        let failed = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(failed)?;
        fs::write(directory.join("cgroup.procs"), "0\n").map_err(failed)?;
    }
    Ok(())
}

/// Takes the lab's groups away; what is left of them in time is left to be told.
pub(crate) fn remove(lab_id: &str) -> Result<(), LabError> {
    for directory in of(lab_id) {
        for turn in 0..50 {
            match remove_tree(&directory) {
                Ok(()) => break,
                // A process that was killed is a member until it is reaped.
                Err(_) if turn < 49 => std::thread::sleep(std::time::Duration::from_millis(40)),
                Err(error) => return Err(LabError::io("cannot remove", &directory)(error)),
            }
        }
    }
    Ok(())
}

/// Directories alone: the files in a group are the kernel's.
fn remove_tree(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

struct Mount {
    path: PathBuf,
    is_for_systemd: bool,
}

fn hierarchies() -> Vec<PathBuf> {
    mounts().into_iter().map(|mount| mount.path).collect()
}

fn mounts() -> Vec<Mount> {
    parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

/// Of mountinfo: field 5 is the mount point; behind the hyphen stand type, source and options.
fn parse(mountinfo: &str) -> Vec<Mount> {
    let of_line = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let path = PathBuf::from(head.split(' ').nth(4)?);
        let mut tail = tail.split(' ');
        let (kind, options) = (tail.next()?, tail.nth(1).unwrap_or_default());
        let is_for_systemd = kind == "cgroup2" || (kind == "cgroup" && options.split(',').any(|option| option == "name=systemd"));
        matches!(kind, "cgroup" | "cgroup2").then_some(Mount { path, is_for_systemd })
    };
    mountinfo.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchies_that_systemd_uses_are_told_from_the_others() {
        let text = "30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu\n\
                    31 24 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                    32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
                    33 24 0:29 / /proc rw - proc proc rw\nnonsense\n";
        let seen: Vec<_> = parse(text).into_iter().map(|mount| (mount.path.display().to_string(), mount.is_for_systemd)).collect();
        let expect = [("/sys/fs/cgroup/cpu", false), ("/sys/fs/cgroup/systemd", true), ("/sys/fs/cgroup/unified", true)];
        assert_eq!(seen, expect.map(|(path, is)| (path.to_owned(), is)));
    }

    #[test]
    fn groups_carry_the_labs_own_id() {
        assert_eq!(name("ab12"), "kchaos-lab-ab12");
    }
}
