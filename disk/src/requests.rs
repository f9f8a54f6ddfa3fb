//! One method for each request of the kernel.

use super::*;

impl Filesystem for Disk {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // The nearest that this kernel can do is good enough.
        let _ = config.set_max_write(WRITE_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if is_control(parent, name) {
            return reply.entry(&NOT_CACHED, &control_attributes(), Generation(0));
        }
        answer_entry(reply, self.shared.volume().enter(parent.0, name).map(|(id, stat)| attributes(id, &stat)));
    }

    fn forget(&self, _: &Request, id: INodeNo, lookups: u64) {
        self.shared.volume().forget(id.0, lookups);
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if id.0 == CONTROL {
            return reply.attr(&NOT_CACHED, &control_attributes());
        }
        match self.shared.volume().stat(id.0) {
            Ok(stat) => reply.attr(&NOT_CACHED, &attributes(id.0, &stat)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        mode: Option<u32>,
        user: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        // Every shell truncates what it writes to.
        if id.0 == CONTROL {
            return reply.attr(&NOT_CACHED, &control_attributes());
        }
        let change = || {
            if size.is_some() {
                self.shared.allow(Kind::Write)?;
            }
            let mut volume = self.shared.volume();
            let handle = volume.handle(id.0)?;
            if let Some(mode) = mode {
                sys::set_mode(handle.as_fd(), mode)?;
            }
            if user.is_some() || group.is_some() {
                sys::set_owner(handle.as_fd(), user, group)?;
            }
            if let Some(size) = size {
                volume.resize(id.0, size)?;
            }
            if accessed.is_some() || modified.is_some() {
                sys::set_times(handle.as_fd(), [timespec(accessed), timespec(modified)])?;
            }
            volume.stat(id.0)
        };
        match change() {
            Ok(stat) => reply.attr(&NOT_CACHED, &attributes(id.0, &stat)),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readlink(&self, _: &Request, id: INodeNo, reply: ReplyData) {
        match self.shared.volume().handle(id.0).and_then(|handle| sys::read_symlink(handle.as_fd())) {
            Ok(target) => reply.data(target.as_encoded_bytes()),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn mknod(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: u32, reply: ReplyEntry) {
        if kind_of(mode) != FileType::RegularFile {
            return reply.error(Errno::EPERM);
        }
        let made = self.make(request, (parent, name), |volume| volume.create(parent.0, name, mode & !umask & 0o7777));
        answer_entry(reply, made);
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.make(request, (parent, name), |volume| volume.make_directory(parent.0, name, mode & !umask & 0o7777));
        answer_entry(reply, made);
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let made = self.names(&[(parent, name)], |volume| volume.make_symlink(parent.0, name, target.as_os_str()));
        answer_entry(reply, made.map(|(id, stat)| attributes(id, &stat)));
    }

    fn link(&self, _: &Request, id: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let made = self.names(&[(parent, name)], |volume| volume.link(id.0, parent.0, name));
        answer_entry(reply, made.map(|(id, stat)| attributes(id, &stat)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.names(&[(parent, name)], |volume| volume.remove(parent.0, name, false)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.names(&[(parent, name)], |volume| volume.remove(parent.0, name, true)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if flags.contains(RenameFlags::RENAME_WHITEOUT) {
            return reply.error(Errno::EINVAL);
        }
        let touched = [(parent, name), (new_parent, new_name)];
        answer(reply, self.names(&touched, |volume| volume.rename((parent.0, name), (new_parent.0, new_name), flags.bits())));
    }

    fn open(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if id.0 == CONTROL {
            return reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        }
        match self.shared.volume().open_file(id.0) {
            // Whatever changes a file goes by here, so what is cached stays true.
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn create(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let made = self.make(request, (parent, name), |volume| {
            let (id, stat) = volume.create(parent.0, name, mode & !umask & 0o7777)?;
            volume.open_file(id)?;
            Ok((id, stat))
        });
        match made {
            Ok(attributes) => reply.created(&NOT_CACHED, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn release(&self, _: &Request, id: INodeNo, _: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        if id.0 != CONTROL {
            self.shared.volume().close_file(id.0);
        }
        reply.ok();
    }

    fn read(&self, _: &Request, id: INodeNo, _: FileHandle, from: u64, size: u32, _: OpenFlags, _: Option<LockOwner>, reply: ReplyData) {
        if id.0 == CONTROL {
            let report = self.shared.report().into_bytes();
            let from = usize::try_from(from).unwrap_or(usize::MAX).min(report.len());
            let to = from.saturating_add(size as usize).min(report.len());
            return reply.data(&report[from..to]);
        }
        self.do_as_fated(self.shared.fate(Kind::Read), move |shared, may| {
            match may.and_then(|()| shared.volume().read(id.0, from, size as usize)) {
                Ok(data) => reply.data(&data),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        id: INodeNo,
        _: FileHandle,
        from: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let length = data.len() as u32;
        let tell = move |reply: ReplyWrite, result: io::Result<()>| match result {
            Ok(()) => reply.written(length),
            Err(error) => reply.error(errno(&error)),
        };
        if id.0 == CONTROL {
            if request.uid() != 0 {
                return reply.error(Errno::EPERM);
            }
            let Some(order) = std::str::from_utf8(data).ok().and_then(Order::parse) else { return reply.error(Errno::EINVAL) };
            let shared = Arc::clone(&self.shared);
            std::thread::spawn(move || tell(reply, shared.obey(order)));
            return;
        }
        match self.shared.fate(Kind::Write) {
            Fate::Now => tell(reply, self.shared.volume().write(id.0, from, data)),
            fate => {
                let data = data.to_vec();
                self.do_as_fated(fate, move |shared, may| tell(reply, may.and_then(|()| shared.volume().write(id.0, from, &data))));
            }
        }
    }

    /// The backing file is not synced: it is not the machine whose power is lost here.
    fn fsync(&self, _: &Request, id: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if id.0 == CONTROL {
            return reply.ok();
        }
        self.do_as_fated(self.shared.fate(Kind::Fsync), move |shared, may| {
            answer(reply, may.and_then(|()| shared.volume().sync(id.0)));
        });
    }

    fn fsyncdir(&self, request: &Request, id: INodeNo, handle: FileHandle, only_data: bool, reply: ReplyEmpty) {
        self.fsync(request, id, handle, only_data, reply);
    }

    fn opendir(&self, _: &Request, id: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.list(id.0) {
            Ok(listing) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                self.listings().insert(number, listing);
                reply.opened(FileHandle(number), FopenFlags::empty());
            }
            Err(error) => reply.error(errno(&error)),
        }
    }

    fn readdir(&self, _: &Request, id: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        // Rewound: as it is now.
        if offset == 0
            && let Ok(listing) = self.list(id.0)
        {
            self.listings().insert(handle.0, listing);
        }
        let listings = self.listings();
        let entries = listings.get(&handle.0).map(Vec::as_slice).unwrap_or_default();
        for (at, (number, kind, name)) in entries.iter().enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX)) {
            if reply.add(INodeNo(*number), at as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let volume = self.shared.volume();
        match volume.backing().and_then(sys::room) {
            Ok(room) => reply.statfs(
                room.f_blocks,
                room.f_bfree,
                room.f_bavail,
                room.f_files,
                room.f_ffree,
                room.f_bsize as u32,
                room.f_namemax as u32,
                room.f_frsize as u32,
            ),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// Room is the machine's, and nobody takes it without writing.
    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
