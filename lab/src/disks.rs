//! Disks of the lab (`--disks loop`): each daemon's data on an ext4 file system of its own, in a file below the lab's directory, on a loop device.
//!
//! So a daemon's disk can lose power, die or fill up as a real one does, and nothing else is hit. The device is attached by the host's PID 1 and
//! held open by it, so that it survives an unmount; it is marked to go by itself with its last user. PID 1 ends, its mount namespace ends, the
//! kernel detaches the device: after any crash nothing but the files is left, and `down` waits until that has happened before it removes them.
//! It is mounted in the host's own mount namespace alone: a copy of the mount elsewhere would keep a dead file system alive.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::LabError;
use crate::commands;
use crate::layout::{DaemonPlan, HostPlan};
use crate::rootfs::{self, Outcome};
use crate::state::{Lock, State};

/// Below the lab's directory.
pub(crate) const DIRECTORY: &str = "disks";
/// At the top of each disk: whose it is. Nothing is ever shut down that does not carry it.
const MARK_FILE: &str = ".kchaos-disk";
/// Sparse: on the machine it takes what is written.
const SIZE: &str = "2G";

/// What a host's PID 1 must know of one disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DiskSpec {
    /// On the machine.
    pub(crate) image: PathBuf,
    /// In the host.
    pub(crate) device: PathBuf,
    pub(crate) mount_point: PathBuf,
}

pub(crate) fn image(base_dir: &Path, host: &HostPlan, daemon: &DaemonPlan) -> PathBuf {
    base_dir.join(DIRECTORY).join(&host.name).join(format!("{}.img", daemon.file_name()))
}

pub(crate) fn mark(state: &State, daemon: &DaemonPlan) -> String {
    format!("kchaos lab {} {}", state.lab_id, daemon.file_name())
}

pub(crate) fn spec(state: &State, host: &HostPlan) -> Vec<DiskSpec> {
    let of = |daemon: &DaemonPlan| DiskSpec {
        image: image(&state.base_dir, host, daemon),
        device: daemon.disk_device().into(),
        mount_point: daemon.data_dir().into(),
    };
    host.daemons.iter().map(of).collect()
}

pub(crate) fn write_mark(state: &State, daemon: &DaemonPlan, data_dir: &Path) -> Result<(), LabError> {
    let mark_file = data_dir.join(MARK_FILE);
    fs::write(&mark_file, format!("{}\n", mark(state, daemon))).map_err(LabError::io("cannot write", &mark_file))
}

/// Formats a daemon's disk with what stands in its data directory by now, and its mark.
pub(crate) fn format(state: &State, host: &HostPlan, daemon: &DaemonPlan, data_dir: &Path, lock: &Lock) -> Result<(), LabError> {
    write_mark(state, daemon, data_dir)?;
    let image = image(&state.base_dir, host, daemon);
    let directory = image.parent().unwrap_or(&state.base_dir);
    fs::create_dir_all(directory).map_err(LabError::io("cannot make", directory))?;
    // No blocks reserved for root, as which the daemons run: full is full.
    let options = ["-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0", "-d"];
    let (from, to) = (data_dir.display().to_string(), image.display().to_string());
    let arguments: Vec<&str> = options.into_iter().chain([from.as_str(), to.as_str(), SIZE]).collect();
    commands::run("mkfs.ext4", &arguments, "", lock.file()).map(drop)
}

/// Attaches the disks of a host to loop devices, while the machine's files are still in sight. `dev` is what will be the host's `/dev`.
pub(crate) fn attach(disks: &[DiskSpec], dev: &Path) -> Outcome {
    for disk in disks {
        let name = disk.device.file_name().ok_or("a device without a name")?;
        let node = dev.join(name);
        let device = attach_one(&disk.image, &node).map_err(|error| format!("loop device for {}: {error}", disk.image.display()))?;
        // Held open for as long as the host lives; its children do not inherit it.
        std::mem::forget(device);
    }
    Ok(())
}

/// In the host, after its root has been changed.
pub(crate) fn mount_all(disks: &[DiskSpec]) -> Outcome {
    for disk in disks {
        let flags = libc::MS_NOATIME | libc::MS_NOSUID | libc::MS_NODEV;
        rootfs::mount(Some(&disk.device), &disk.mount_point, Some("ext4"), flags, "")?;
        // Kafka takes every directory in there for a partition's.
        fs::remove_dir(disk.mount_point.join("lost+found")).map_err(rootfs::at(&disk.mount_point))?;
    }
    Ok(())
}

const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LOOP_MAJOR: u32 = 7;
/// Hosts come up side by side and may be given the same free device: the kernel lets one of them have it.
const ATTACH_TRIES: u32 = 100;

/// `struct loop_config` of the kernel with its `struct loop_info64` inside.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    /// Device, inode, rdevice, offset, size limit.
    info: [u64; 5],
    /// Number, kind of encryption, size of its key, flags.
    info_small: [u32; 4],
    /// Names, key, init.
    info_rest: [u8; 64 + 64 + 32 + 16],
    reserved: [u64; 8],
}

fn attach_one(image: &Path, node: &Path) -> io::Result<File> {
    let image = OpenOptions::new().read(true).write(true).open(image)?;
    let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTACH_TRIES {
        // SAFETY: takes no argument; the descriptor is open.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        let number = u32::try_from(number).map_err(|_| io::Error::last_os_error())?;
        // A node of our own: the machine's /dev may have none for a device that was made just now.
        make_node(node, number)?;
        let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(node)?;
        let config = LoopConfig {
            fd: image.as_raw_fd().unsigned_abs(),
            block_size: 0,
            info: [0; 5],
            info_small: [0, 0, 0, LO_FLAGS_AUTOCLEAR],
            info_rest: [0; 176],
            reserved: [0; 8],
        };
        // SAFETY: the argument is a whole loop_config that lives through the call; both descriptors are open.
        if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
            return Ok(device);
        }
        last = io::Error::last_os_error();
        drop(device);
        fs::remove_file(node)?;
        if last.raw_os_error() != Some(libc::EBUSY) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(last)
}

fn make_node(path: &Path, number: u32) -> io::Result<()> {
    let text = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a valid C string for the time of the call.
    let status = unsafe { libc::mknod(text.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(LOOP_MAJOR, number)) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Waits until no loop device holds a file of this lab any more, and detaches what stays: the names of those that are still there at the end.
pub(crate) fn release(base_dir: &Path, patience: Duration) -> Vec<String> {
    let deadline = Instant::now() + patience;
    loop {
        let held = attached(base_dir);
        if held.is_empty() || Instant::now() >= deadline {
            return held;
        }
        for name in &held {
            // What is still mounted goes with its mount; what is not goes now.
            if let Ok(device) = File::open(Path::new("/dev").join(name)) {
                // SAFETY: takes no argument; the descriptor is open, and of a device whose file is this lab's.
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD) };
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The loop devices (`loop3`) whose file is one of this lab's disks.
pub(crate) fn attached(base_dir: &Path) -> Vec<String> {
    let ours = base_dir.join(DIRECTORY);
    let Ok(entries) = fs::read_dir("/sys/block") else { return Vec::new() };
    let is_ours = |device: &Path| {
        let file = fs::read(device.join("loop/backing_file")).unwrap_or_default();
        let file = file.strip_suffix(b"\n").unwrap_or(&file);
        Path::new(std::ffi::OsStr::from_bytes(file)).starts_with(&ours)
    };
    let mut found: Vec<String> =
        entries.flatten().filter(|entry| is_ours(&entry.path())).map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    found.sort();
    found
}
