//! The system calls that the standard library has no words for. Each takes a directory that is open and a name in it, so that no path is ever
//! walked: a directory may be renamed under us.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

pub(crate) type Stat = libc::stat;

fn text(name: &OsStr) -> io::Result<CString> {
    CString::new(name.as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn done(status: libc::c_int) -> io::Result<()> {
    if status == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn opened(fd: libc::c_int) -> io::Result<OwnedFd> {
    done(fd)?;
    // SAFETY: the descriptor was just given to us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A handle on whatever has this name, which is not followed.
pub(crate) fn handle(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let name = text(name)?;
    // SAFETY: the name is a valid C string for the time of the call.
    opened(unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC) })
}

/// By which what a handle stands for is opened again.
pub(crate) fn path_of(handle: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

pub(crate) fn stat(handle: BorrowedFd<'_>) -> io::Result<Stat> {
    // SAFETY: all zeros is a value of this plain structure.
    let mut stat: Stat = unsafe { std::mem::zeroed() };
    // SAFETY: an empty name with this flag means the handle itself; the structure is ours.
    done(unsafe { libc::fstatat(handle.as_raw_fd(), c"".as_ptr(), &raw mut stat, libc::AT_EMPTY_PATH) })?;
    Ok(stat)
}

pub(crate) fn create(directory: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<File> {
    let name = text(name)?;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the name is a valid C string for the time of the call.
    opened(unsafe { libc::openat(directory.as_raw_fd(), name.as_ptr(), flags, mode) }).map(File::from)
}

pub(crate) fn make_directory(directory: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = text(name)?;
    // SAFETY: as above.
    done(unsafe { libc::mkdirat(directory.as_raw_fd(), name.as_ptr(), mode) })
}

pub(crate) fn make_symlink(target: &OsStr, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (target, name) = (text(target)?, text(name)?);
    // SAFETY: as above.
    done(unsafe { libc::symlinkat(target.as_ptr(), directory.as_raw_fd(), name.as_ptr()) })
}

pub(crate) fn read_symlink(handle: BorrowedFd<'_>) -> io::Result<OsString> {
    let mut buffer = vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is ours and as long as said; an empty name means the handle itself.
    let length = unsafe { libc::readlinkat(handle.as_raw_fd(), c"".as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    buffer.truncate(length);
    Ok(OsString::from_vec(buffer))
}

pub(crate) fn link(handle: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (from, name) = (text(path_of(handle).as_os_str())?, text(name)?);
    // SAFETY: as above.
    done(unsafe { libc::linkat(libc::AT_FDCWD, from.as_ptr(), directory.as_raw_fd(), name.as_ptr(), libc::AT_SYMLINK_FOLLOW) })
}

pub(crate) fn remove(directory: BorrowedFd<'_>, name: &OsStr, is_directory: bool) -> io::Result<()> {
    let name = text(name)?;
    let flags = if is_directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: as above.
    done(unsafe { libc::unlinkat(directory.as_raw_fd(), name.as_ptr(), flags) })
}

pub(crate) fn rename(from: (BorrowedFd<'_>, &OsStr), to: (BorrowedFd<'_>, &OsStr), flags: u32) -> io::Result<()> {
    let (old, new) = (text(from.1)?, text(to.1)?);
    // SAFETY: as above.
    done(unsafe { libc::renameat2(from.0.as_raw_fd(), old.as_ptr(), to.0.as_raw_fd(), new.as_ptr(), flags) })
}

pub(crate) fn set_mode(handle: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    let path = text(path_of(handle).as_os_str())?;
    // SAFETY: as above.
    done(unsafe { libc::chmod(path.as_ptr(), mode) })
}

pub(crate) fn set_owner(handle: BorrowedFd<'_>, user: Option<u32>, group: Option<u32>) -> io::Result<()> {
    let (user, group) = (user.unwrap_or(u32::MAX), group.unwrap_or(u32::MAX));
    // SAFETY: as above; an empty name means the handle itself.
    done(unsafe { libc::fchownat(handle.as_raw_fd(), c"".as_ptr(), user, group, libc::AT_EMPTY_PATH) })
}

/// Access and change; `UTIME_NOW` and `UTIME_OMIT` are nanoseconds with a meaning of their own.
pub(crate) fn set_times(handle: BorrowedFd<'_>, times: [libc::timespec; 2]) -> io::Result<()> {
    let path = text(path_of(handle).as_os_str())?;
    // SAFETY: as above, and two times.
    done(unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) })
}

pub(crate) fn room(handle: BorrowedFd<'_>) -> io::Result<libc::statvfs> {
    // SAFETY: all zeros is a value of this plain structure.
    let mut room: libc::statvfs = unsafe { std::mem::zeroed() };
    let path = text(path_of(handle).as_os_str())?;
    // SAFETY: as above; the structure is ours.
    done(unsafe { libc::statvfs(path.as_ptr(), &raw mut room) })?;
    Ok(room)
}

/// A handle is kept for every file that the kernel remembers.
pub(crate) fn open_files_without_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours. Nothing is lost if it fails: then there are fewer.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

pub(crate) fn mount(source: &CStr, target: &OsStr, kind: &CStr, options: &str) -> io::Result<()> {
    let (target, options) = (text(target)?, text(OsStr::new(options))?);
    let flags = libc::MS_NOATIME | libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all pointers are valid C strings for the time of the call.
    done(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) })
}
