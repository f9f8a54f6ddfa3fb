//! A disk that forgets what was not synced, fails and is slow, on demand: a FUSE file system over a directory.
//!
//! Why: Kafka acknowledges what stands in memory, and whether that is enough shows only when a disk loses it. A real file system that is shut down
//! (ext4 on a loop device) loses what the kernel has not written back by itself, a few seconds' worth at best, all of it or nothing, and can neither
//! be slow nor fail by kind. This one can, for one daemon and no other, and mends at once.
//!
//! Writes go through to the backing files; kept is the way back (`unsynced.rs`, `names.rs`): content file by file to its last fsync, names all together
//! to the last fsync of anything, as a journal keeps them. A loss puts both back under a mounted file system, and tells the kernel.
//!
//! Commanded by the file `.kchaos-control` at its top, which no listing shows and root alone may open: an order is a line written to it
//! (`fault.rs`), the state and counts of all that was done are what is read from it. A fault has an end of its own, and is renewed by who wants it.
//!
//! Limits: owners, modes and times are never lost; a size counts as content; `sync` of a whole file system does not reach FUSE, so only fsync
//! counts; the way back is kept in memory; the backing files are not synced themselves, so the machine's own power loss is another matter.
//! No extended attributes, no devices, no `fallocate`.

mod disk;
mod fault;
mod later;
mod names;
mod sys;
mod unsynced;
mod volume;

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use fuser::{Config, Session, SessionACL};

use disk::{Disk, Shared};
use volume::Volume;

/// The kind of file system that a mount of ours is of, in `/proc/self/mountinfo`.
pub const KIND: &str = "fuse.kchaos";

/// At the top of a disk: takes orders, tells counts.
pub const CONTROL: &str = disk::CONTROL_NAME;

/// The order after which nothing on the disk is unsynced.
pub const SYNC_ORDER: &str = "sync\n";

/// Where the tree of a disk stands below its backing directory: what is there before the disk is served is its content.
pub const TREE: &str = volume::TREE;

/// The entry for the hidden subcommand: BACKING MOUNT-POINT MARK. Mounts, says `ready` or `error: …` on standard output, and serves until it is
/// unmounted or ends with its host. Returns the exit status.
pub fn run(arguments: &[OsString]) -> i32 {
    let [backing, mount_point, mark] = arguments else {
        eprintln!("this serves a disk of a lab's host; `kchaos lab up --disks fuse` starts it");
        return 254;
    };
    match serve(Path::new(backing), mount_point, &mark.to_string_lossy()) {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("error: {}: {error}", Path::new(mount_point).display()));
            1
        }
    }
}

/// Who listens may be gone.
fn say(line: &str) {
    let mut out = io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn serve(backing: &Path, mount_point: &OsStr, mark: &str) -> io::Result<()> {
    sys::open_files_without_limit();
    // SAFETY: cannot fail. The mode of what is made has been masked by the kernel already.
    unsafe { libc::umask(0) };
    let volume = Volume::open(backing)?;
    let device: OwnedFd = OpenOptions::new().read(true).write(true).open("/dev/fuse")?.into();
    let root_mode = fs::metadata(mount_point)?.mode();
    // Mounted by ourselves: so it carries a kind of its own, and no helper program is asked.
    let options = format!("fd={},rootmode={root_mode:o},user_id=0,group_id=0,allow_other,default_permissions", device.as_raw_fd());
    sys::mount(c"kchaos-disk", mount_point, c"fuse.kchaos", &options)?;
    let shared = Arc::new(Shared::new(mark.replace(char::is_control, " "), volume));
    let session = Session::from_fd(Disk::new(Arc::clone(&shared)), device, SessionACL::All, Config::default())?;
    let _ = shared.notifier.set(session.notifier());
    std::thread::Builder::new().name("later".to_owned()).spawn(move || shared.later.run())?;
    say("ready");
    session.run()
}
