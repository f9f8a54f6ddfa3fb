//! The file system as the kernel sees it: requests in, the volume asked, answers out.
//!
//! Pages are cached by the kernel (mapped files need that) but written through: a write is here when it returns, and only pages that are mapped
//! come late, with a sync, an unmap or an invalidation. Names and attributes are not cached at all, so that after a loss there is nothing stale but
//! pages, and those are invalidated.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, KernelConfig, LockOwner, Notifier,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

use crate::fault::{Fate, Faults, Kind, Order};
use crate::later::Later;
use crate::sys::{self, Stat};
use crate::volume::{Loss, ROOT, Volume};

/// At the top of the disk, not in its listing, for root alone.
pub(crate) const CONTROL_NAME: &str = ".kchaos-control";
const CONTROL: u64 = u64::MAX >> 1;
/// Nobody has to be told when a name or an attribute has changed.
const NOT_CACHED: Duration = Duration::ZERO;
const WRITE_MAX: u32 = 1 << 20;

pub(crate) struct Shared {
    mark: String,
    volume: Mutex<Volume>,
    faults: Mutex<Faults>,
    pub(crate) later: Later,
    /// There as soon as the disk is mounted.
    pub(crate) notifier: OnceLock<Notifier>,
}

type Listing = Vec<(u64, FileType, OsString)>;

pub(crate) struct Disk {
    shared: Arc<Shared>,
    listings: Mutex<HashMap<u64, Listing>>,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn new(mark: String, volume: Volume) -> Self {
        Self { mark, volume: Mutex::new(volume), faults: Mutex::default(), later: Later::default(), notifier: OnceLock::new() }
    }

    fn volume(&self) -> MutexGuard<'_, Volume> {
        self.volume.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For operations that are never slow.
    fn allow(&self, kind: Kind) -> io::Result<()> {
        match self.fate(kind) {
            Fate::Fails(error) => Err(io::Error::from_raw_os_error(error)),
            Fate::Now | Fate::At(_) => Ok(()),
        }
    }

    fn fate(&self, kind: Kind) -> Fate {
        self.faults().fate(kind, Instant::now())
    }

    fn report(&self) -> String {
        let (unsynced, kept) = {
            let volume = self.volume();
            (volume.unsynced(), volume.kept_bytes())
        };
        self.faults().report(&self.mark, unsynced, kept, Instant::now())
    }

    fn obey(&self, order: Order) -> io::Result<()> {
        let refused = |number: i32| Err(io::Error::from_raw_os_error(number));
        match order {
            Order::Fault { lasts, effects } if !self.faults().set(lasts, effects, Instant::now()) => refused(libc::EBUSY),
            Order::Renew(lasts) if !self.faults().renew(lasts, Instant::now()) => refused(libc::ESRCH),
            Order::Fault { .. } | Order::Renew(_) => Ok(()),
            Order::Off => {
                self.faults().end();
                self.later.hurry();
                Ok(())
            }
            Order::Sync => {
                let known = self.volume().known();
                self.invalidate(&known);
                self.volume().sync_all();
                Ok(())
            }
            Order::Lose(loss) => self.lose(&loss),
        }
    }

    /// Not on a thread that takes requests: the kernel writes back what is mapped before it invalidates it.
    fn lose(&self, loss: &Loss) -> io::Result<()> {
        self.later.give_up();
        let known = self.volume().known();
        self.invalidate(&known);
        let (lost, changed) = self.volume().lose(loss)?;
        self.faults().count_loss(lost);
        self.invalidate(&changed);
        Ok(())
    }

    fn invalidate(&self, files: &[u64]) {
        if let Some(notifier) = self.notifier.get() {
            for id in files {
                // What the kernel has forgotten meanwhile needs no invalidation.
                let _ = notifier.inval_inode(INodeNo(*id), 0, 0);
            }
        }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_i32(error.raw_os_error().unwrap_or(libc::EIO))
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let nanoseconds = Duration::from_nanos(nanoseconds.unsigned_abs());
    let whole = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) }.unwrap_or(UNIX_EPOCH) + nanoseconds
}

fn kind_of(mode: u32) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

fn attributes(id: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(id),
        size: stat.st_size.unsigned_abs(),
        blocks: stat.st_blocks.unsigned_abs(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: kind_of(stat.st_mode),
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: 4096,
        flags: 0,
    }
}

fn control_attributes() -> FileAttr {
    FileAttr {
        ino: INodeNo(CONTROL),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0o600,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn is_control(parent: INodeNo, name: &OsStr) -> bool {
    parent.0 == ROOT && name == CONTROL_NAME
}

fn timespec(time: Option<TimeOrNow>) -> libc::timespec {
    let of = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
    match time {
        None => of(0, libc::UTIME_OMIT),
        Some(TimeOrNow::Now) => of(0, libc::UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(UNIX_EPOCH) {
            Ok(since) => of(since.as_secs() as i64, since.subsec_nanos().into()),
            Err(before) => of(-(before.duration().as_secs() as i64), 0),
        },
    }
}

impl Disk {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, listings: Mutex::default(), next: AtomicU64::new(1) }
    }

    fn listings(&self) -> MutexGuard<'_, HashMap<u64, Listing>> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of names, which a fault may forbid; the control file has none to be changed.
    fn names<T>(&self, touched: &[(INodeNo, &OsStr)], act: impl FnOnce(&mut Volume) -> io::Result<T>) -> io::Result<T> {
        if touched.iter().any(|(parent, name)| is_control(*parent, name)) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        self.shared.allow(Kind::Names)?;
        act(&mut self.shared.volume())
    }

    /// Makes something, which belongs to whoever asked.
    fn make(
        &self,
        request: &Request,
        place: (INodeNo, &OsStr),
        act: impl FnOnce(&mut Volume) -> io::Result<(u64, Stat)>,
    ) -> io::Result<FileAttr> {
        self.names(&[place], |volume| {
            let (id, stat) = act(volume)?;
            if request.uid() == 0 && request.gid() == 0 {
                return Ok(attributes(id, &stat));
            }
            sys::set_owner(volume.handle(id)?.as_fd(), Some(request.uid()), Some(request.gid()))?;
            volume.stat(id).map(|stat| attributes(id, &stat))
        })
    }

    /// Now, later or never, as the disk is by order.
    fn do_as_fated(&self, fate: Fate, deed: impl FnOnce(&Shared, io::Result<()>) + Send + 'static) {
        match fate {
            Fate::Now => deed(&self.shared, Ok(())),
            Fate::Fails(error) => deed(&self.shared, Err(io::Error::from_raw_os_error(error))),
            Fate::At(at) => {
                let shared = Arc::clone(&self.shared);
                let go = |is_due| if is_due { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EIO)) };
                self.shared.later.add(at, Box::new(move |is_due| deed(&shared, go(is_due))));
            }
        }
    }

    fn list(&self, id: u64) -> io::Result<Listing> {
        let handle = self.shared.volume().handle(id)?;
        let mut listing = vec![(id, FileType::Directory, OsString::from(".")), (id, FileType::Directory, OsString::from(".."))];
        for entry in std::fs::read_dir(sys::path_of(handle.as_fd()))? {
            let entry = entry?;
            let kind = FileType::from_std(entry.file_type()?).unwrap_or(FileType::RegularFile);
            // Nobody finds anything by these numbers: those of the backing file are as good as any.
            listing.push((std::os::unix::fs::DirEntryExt::ino(&entry), kind, entry.file_name()));
        }
        Ok(listing)
    }
}

fn answer_entry(reply: ReplyEntry, result: io::Result<FileAttr>) {
    match result {
        Ok(attributes) => reply.entry(&NOT_CACHED, &attributes, Generation(0)),
        Err(error) => reply.error(errno(&error)),
    }
}

fn answer(reply: ReplyEmpty, result: io::Result<()>) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(&error)),
    }
}

#[path = "requests.rs"]
mod requests;
