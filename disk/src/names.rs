//! The journal of names: what has been made, removed and renamed, in order, since something was last synced.
//!
//! A journalling file system (ext4, XFS) writes names down in order, and every sync of any file writes down all of them up to then. So names go
//! back in the opposite order, all or none, and whatever is synced makes all of them last. What is removed is kept aside until that.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys;

/// A directory, whatever it is called by now, and a name in it.
pub(crate) type Place = (Arc<OwnedFd>, OsString);

#[derive(Debug)]
enum Change {
    Made {
        place: Place,
        is_directory: bool,
    },
    /// Under this name among what is kept aside.
    Removed {
        place: Place,
        kept: OsString,
        is_directory: bool,
    },
    Renamed {
        from: Place,
        to: Place,
        flags: u32,
    },
}

#[derive(Debug)]
pub(crate) struct Names {
    /// Where what is removed is kept.
    aside: OwnedFd,
    number: u64,
    changes: Vec<Change>,
}

impl Names {
    /// `aside`: an empty directory of the same file system.
    pub(crate) fn new(aside: OwnedFd) -> Self {
        Self { aside, number: 0, changes: Vec::new() }
    }

    pub(crate) fn count(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn made(&mut self, place: Place, is_directory: bool) {
        self.changes.push(Change::Made { place, is_directory });
    }

    pub(crate) fn remove(&mut self, place: Place, is_directory: bool) -> io::Result<()> {
        if is_directory {
            // By the call itself, for its errors; an empty directory is as good as another, with the same mode.
            let handle = sys::handle(place.0.as_fd(), &place.1)?;
            if std::fs::read_dir(sys::path_of(handle.as_fd()))?.next().is_some() {
                return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
            }
        }
        self.number += 1;
        let kept = OsString::from(self.number.to_string());
        sys::rename((place.0.as_fd(), &place.1), (self.aside.as_fd(), &kept), libc::RENAME_NOREPLACE)?;
        self.changes.push(Change::Removed { place, kept, is_directory });
        Ok(())
    }

    /// The last removal never was: what it made room for was refused.
    pub(crate) fn take_back_removal(&mut self) -> io::Result<()> {
        if let Some(Change::Removed { place, kept, .. }) = self.changes.pop_if(|last| matches!(last, Change::Removed { .. })) {
            sys::rename((self.aside.as_fd(), &kept), (place.0.as_fd(), &place.1), libc::RENAME_NOREPLACE)?;
        }
        Ok(())
    }

    /// Nothing has the new name, or (with `RENAME_EXCHANGE`) both change places.
    pub(crate) fn rename(&mut self, from: Place, to: Place, flags: u32) -> io::Result<()> {
        sys::rename((from.0.as_fd(), &from.1), (to.0.as_fd(), &to.1), flags)?;
        self.changes.push(Change::Renamed { from, to, flags });
        Ok(())
    }

    /// All of them last from now on.
    pub(crate) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            if let Change::Removed { kept, is_directory, .. } = change {
                // What could not be removed costs room, and is removed with the disk.
                let _ = sys::remove(self.aside.as_fd(), &kept, is_directory);
            }
        }
    }

    /// None of them has been. `returned` is told each directory that is back; the first error is told when all has been tried.
    pub(crate) fn lose(&mut self, mut returned: impl FnMut(&Arc<OwnedFd>, &OsStr)) -> io::Result<usize> {
        let mut result = Ok(self.changes.len());
        for change in self.changes.drain(..).rev() {
            let done = match &change {
                Change::Made { place, is_directory } => sys::remove(place.0.as_fd(), &place.1, *is_directory),
                Change::Removed { place, kept, .. } => {
                    sys::rename((self.aside.as_fd(), kept), (place.0.as_fd(), &place.1), libc::RENAME_NOREPLACE)
                }
                Change::Renamed { from, to, flags } => sys::rename((to.0.as_fd(), &to.1), (from.0.as_fd(), &from.1), *flags),
            };
            if let (Ok(()), Change::Removed { place, is_directory: true, .. }) = (&done, &change) {
                returned(&place.0, &place.1);
            }
            result = done.and(result);
        }
        result
    }
}
