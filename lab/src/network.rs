//! The network: a bridge in a namespace that has no way out, and a namespace for each host, hung on that bridge.
//!
//! No packet of a test can leave the machine: the bridge has no other port, and nothing routes. kchaos' own side has an address on the bridge,
//! because the client side of a run enters that namespace.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::LabError;
use crate::commands;
use crate::layout::{BRIDGE_ADDRESS, Layout, NETWORK_NAMESPACE, PREFIX_LENGTH};
use crate::state::DirBefore;

const NETNS_DIR: &str = "/run/netns";
const BRIDGE: &str = "kchaos0";

pub(crate) fn namespace_path(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Every namespace that a lab of this layout has, the one of the bridge first.
pub(crate) fn namespaces(layout: &Layout) -> Vec<String> {
    std::iter::once(NETWORK_NAMESPACE.to_owned()).chain(layout.hosts.iter().map(|host| host.namespace())).collect()
}

pub(crate) fn netns_dir_now() -> DirBefore {
    DirBefore { existed: Path::new(NETNS_DIR).exists(), was_mount: is_mount_point(Path::new(NETNS_DIR)) }
}

/// Makes all of it. What is planned must already stand in the state.
pub(crate) fn make(layout: &Layout, held: &File) -> Result<(), LabError> {
    let mut batch = String::new();
    for name in namespaces(layout) {
        let _ = writeln!(batch, "netns add {name}");
    }
    commands::run("ip", &["-batch", "-"], &batch, held)?;

    let mut batch = format!("link set lo up\nlink add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n");
    let _ = writeln!(batch, "addr add {BRIDGE_ADDRESS}/{PREFIX_LENGTH} dev {BRIDGE}\nlink set {BRIDGE} up");
    for host in &layout.hosts {
        // A device name has 15 bytes at most; hosts of a lab have short names.
        let port = format!("v-{}", host.name);
        let _ = writeln!(batch, "link add {port} type veth peer name eth0 netns {}", host.namespace());
        let _ = writeln!(batch, "link set {port} master {BRIDGE} up");
    }
    commands::run("ip", &["-netns", NETWORK_NAMESPACE, "-batch", "-"], &batch, held)?;

    for host in &layout.hosts {
        let batch = format!("link set lo up\naddr add {}/{PREFIX_LENGTH} dev eth0\nlink set eth0 up\n", host.address);
        commands::run("ip", &["-netns", &host.namespace(), "-batch", "-"], &batch, held)?;
    }
    Ok(())
}

/// Takes away the names of these namespaces, in whatever state a crash has left them; how many were there. Processes inside are not touched: the
/// kernel ends a namespace with its last process. So the bridge is deleted first, for the sake of a kchaos that is still inside.
pub(crate) fn remove(names: &[String], before: DirBefore, held: &File) -> Result<usize, LabError> {
    let bridge_namespace = namespace_path(NETWORK_NAMESPACE);
    if names.iter().any(|name| name == NETWORK_NAMESPACE) && is_mount_point(&bridge_namespace) {
        // Not there if `up` did not come this far; its ports go with the hosts.
        let _ = commands::run("ip", &["-netns", NETWORK_NAMESPACE, "link", "delete", BRIDGE], "", held);
    }
    let mut removed = 0;
    for name in names {
        let path = namespace_path(name);
        // `ip netns add` makes a file and mounts the namespace on it: it may have been killed in between.
        while is_mount_point(&path) {
            match unmount(&path) {
                Ok(()) => {}
                // What is listed there lies hidden below another mount, and is not ours.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => break,
                Err(error) => return Err(LabError::io("cannot unmount", &path)(error)),
            }
        }
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(LabError::io("cannot remove", &path)(error)),
        }
    }
    restore_netns_dir(before);
    Ok(removed)
}

/// Best effort: an empty `/run/netns` harms nobody, and one that others use by now is theirs.
fn restore_netns_dir(before: DirBefore) {
    let directory = Path::new(NETNS_DIR);
    let is_empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return;
    }
    if !before.was_mount && is_mount_point(directory) {
        let _ = unmount(directory);
    }
    if !before.existed {
        let _ = fs::remove_dir(directory);
    }
}

pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a valid C string for the time of the call.
    if unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(crate) fn is_mount_point(path: &Path) -> bool {
    mount_points().iter().any(|mount| mount == path)
}

/// Field 5 of `/proc/self/mountinfo`; octal escapes for blanks do not occur in our paths, and others' need not be exact.
pub(crate) fn mount_points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// Runs a function in a thread of its own that is inside the named namespace.
pub(crate) fn inside<T: Send>(name: &str, function: impl FnOnce() -> T + Send) -> Result<T, LabError> {
    let path = namespace_path(name);
    let namespace = File::open(&path).map_err(LabError::io("cannot open", &path))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            // SAFETY: the descriptor is an open namespace; only this new thread changes.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(function())
        });
        match thread.join() {
            Ok(result) => result.map_err(LabError::io("cannot enter", &path)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
