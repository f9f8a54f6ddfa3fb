//! The tree over the backing directory, by numbers of our own: what the kernel asks, done at once; and what was not synced, undone on demand.
//!
//! Knows nothing of FUSE, so that it can be held against a model without a mount.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::names::{Names, Place};
use crate::sys::{self, Stat};
use crate::unsynced::Unsynced;

pub(crate) const ROOT: u64 = 1;
/// Below the backing directory: the tree, and what was removed from it and is not synced.
pub(crate) const TREE: &str = "data";
const ASIDE: &str = "removed";

#[derive(Debug)]
struct Node {
    handle: Arc<OwnedFd>,
    key: (u64, u64),
    /// What it was last called, for those who lose files by name.
    name: OsString,
    lookups: u64,
    opens: u64,
    /// While it is open, or there is something to undo.
    file: Option<File>,
    unsynced: Option<Unsynced>,
}

/// What a loss took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub files: u64,
    pub bytes: u64,
    /// Made, removed and renamed names that went back.
    pub names: u64,
}

/// What is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// All that is not synced, names too.
    All,
    /// What is not synced of files with such a name (`*` stands for anything).
    Named(String),
    /// Of such files the second half of the last write alone.
    Torn(String),
}

#[derive(Debug)]
pub(crate) struct Volume {
    nodes: HashMap<u64, Node>,
    by_key: HashMap<(u64, u64), u64>,
    next: u64,
    names: Names,
}

fn no_such() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

fn key(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn is_directory(stat: &Stat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFDIR
}

impl Volume {
    /// What stands there by now is synced. `backing` gets a tree if it has none.
    pub(crate) fn open(backing: &Path) -> io::Result<Self> {
        let (tree, aside) = (backing.join(TREE), backing.join(ASIDE));
        fs::create_dir_all(&tree)?;
        // Of a disk that ended without a word: it never came to lose anything.
        if aside.exists() {
            fs::remove_dir_all(&aside)?;
        }
        fs::create_dir(&aside)?;
        let open = |path: &Path| OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path).map(OwnedFd::from);
        let mut volume = Self { nodes: HashMap::new(), by_key: HashMap::new(), next: ROOT, names: Names::new(open(&aside)?) };
        volume.enter_handle(open(&tree)?, OsStr::new("/"))?;
        Ok(volume)
    }

    fn node(&self, id: u64) -> io::Result<&Node> {
        self.nodes.get(&id).ok_or_else(no_such)
    }

    pub(crate) fn handle(&self, id: u64) -> io::Result<Arc<OwnedFd>> {
        self.node(id).map(|node| Arc::clone(&node.handle))
    }

    fn place(&self, parent: u64, name: &OsStr) -> io::Result<Place> {
        Ok((self.handle(parent)?, name.to_owned()))
    }

    pub(crate) fn stat(&self, id: u64) -> io::Result<Stat> {
        sys::stat(self.node(id)?.handle.as_fd())
    }

    /// Counts a look-up, which the kernel takes back with [`Self::forget`].
    pub(crate) fn enter(&mut self, parent: u64, name: &OsStr) -> io::Result<(u64, Stat)> {
        let handle = sys::handle(self.node(parent)?.handle.as_fd(), name)?;
        self.enter_handle(handle, name)
    }

    fn enter_handle(&mut self, handle: OwnedFd, name: &OsStr) -> io::Result<(u64, Stat)> {
        let stat = sys::stat(handle.as_fd())?;
        let id = match self.by_key.get(&key(&stat)) {
            Some(id) => *id,
            None => {
                let id = self.next;
                self.next += 1;
                let node = Node {
                    handle: Arc::new(handle),
                    key: key(&stat),
                    name: OsString::new(),
                    lookups: 0,
                    opens: 0,
                    file: None,
                    unsynced: None,
                };
                self.nodes.insert(id, node);
                self.by_key.insert(key(&stat), id);
                id
            }
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups += 1;
            name.clone_into(&mut node.name);
        }
        Ok((id, stat))
    }

    pub(crate) fn forget(&mut self, id: u64, lookups: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.lookups = node.lookups.saturating_sub(lookups);
        }
        self.tidy(id);
    }

    /// A node that nobody knows and that has nothing to undo goes.
    fn tidy(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.opens == 0 && node.unsynced.is_none() {
            node.file = None;
        }
        if id != ROOT && node.lookups == 0 && node.file.is_none() {
            let key = node.key;
            self.nodes.remove(&id);
            if self.by_key.get(&key) == Some(&id) {
                self.by_key.remove(&key);
            }
        }
    }

    pub(crate) fn create(&mut self, parent: u64, name: &OsStr, mode: u32) -> io::Result<(u64, Stat)> {
        let place = self.place(parent, name)?;
        sys::create(place.0.as_fd(), name, mode)?;
        self.names.made(place, false);
        self.enter(parent, name)
    }

    pub(crate) fn make_directory(&mut self, parent: u64, name: &OsStr, mode: u32) -> io::Result<(u64, Stat)> {
        let place = self.place(parent, name)?;
        sys::make_directory(place.0.as_fd(), name, mode)?;
        self.names.made(place, true);
        self.enter(parent, name)
    }

    pub(crate) fn make_symlink(&mut self, parent: u64, name: &OsStr, target: &OsStr) -> io::Result<(u64, Stat)> {
        let place = self.place(parent, name)?;
        sys::make_symlink(target, place.0.as_fd(), name)?;
        self.names.made(place, false);
        self.enter(parent, name)
    }

    pub(crate) fn link(&mut self, id: u64, parent: u64, name: &OsStr) -> io::Result<(u64, Stat)> {
        let place = self.place(parent, name)?;
        sys::link(self.node(id)?.handle.as_fd(), place.0.as_fd(), name)?;
        self.names.made(place, false);
        self.enter(parent, name)
    }

    pub(crate) fn remove(&mut self, parent: u64, name: &OsStr, wants_directory: bool) -> io::Result<()> {
        let place = self.place(parent, name)?;
        let found = is_directory(&sys::stat(sys::handle(place.0.as_fd(), name)?.as_fd())?);
        match (wants_directory, found) {
            (true, false) => Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
            (false, true) => Err(io::Error::from_raw_os_error(libc::EISDIR)),
            _ => self.names.remove(place, found),
        }
    }

    pub(crate) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> io::Result<()> {
        let (old, new) = (self.place(from.0, from.1)?, self.place(to.0, to.1)?);
        let moved = sys::stat(sys::handle(old.0.as_fd(), &old.1)?.as_fd())?;
        let mut made_room = false;
        if flags == 0
            && let Ok(there) = sys::handle(new.0.as_fd(), &new.1)
        {
            let there = sys::stat(there.as_fd())?;
            if key(&there) == key(&moved) {
                return Ok(());
            }
            match (is_directory(&moved), is_directory(&there)) {
                (true, false) => return Err(io::Error::from_raw_os_error(libc::ENOTDIR)),
                (false, true) => return Err(io::Error::from_raw_os_error(libc::EISDIR)),
                (_, directory) => self.names.remove((Arc::clone(&new.0), new.1.clone()), directory)?,
            }
            made_room = true;
        }
        // A directory into itself, for one.
        if let Err(error) = self.names.rename(old, new, flags) {
            if made_room {
                self.names.take_back_removal()?;
            }
            return Err(error);
        }
        if let Some(node) = self.by_key.get(&key(&moved)).copied().and_then(|id| self.nodes.get_mut(&id)) {
            to.1.clone_into(&mut node.name);
        }
        Ok(())
    }

    pub(crate) fn open_file(&mut self, id: u64) -> io::Result<()> {
        self.with_file(id, |node, _| {
            node.opens += 1;
            Ok(())
        })
    }

    pub(crate) fn close_file(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens = node.opens.saturating_sub(1);
        }
        self.tidy(id);
    }

    fn with_file<T>(&mut self, id: u64, act: impl FnOnce(&mut Node, &File) -> io::Result<T>) -> io::Result<T> {
        let node = self.nodes.get_mut(&id).ok_or_else(no_such)?;
        let file = match node.file.take() {
            Some(file) => file,
            // Both ways, whoever opens it and for what.
            None => OpenOptions::new().read(true).write(true).open(sys::path_of(node.handle.as_fd()))?,
        };
        let result = act(node, &file);
        node.file = Some(file);
        self.tidy(id);
        result
    }

    pub(crate) fn read(&mut self, id: u64, from: u64, length: usize) -> io::Result<Vec<u8>> {
        self.with_file(id, |_, file| {
            let mut buffer = vec![0; length];
            let mut done = 0;
            while done < length {
                match file.read_at(&mut buffer[done..], from + done as u64)? {
                    0 => break,
                    count => done += count,
                }
            }
            buffer.truncate(done);
            Ok(buffer)
        })
    }

    pub(crate) fn write(&mut self, id: u64, from: u64, data: &[u8]) -> io::Result<()> {
        self.with_file(id, |node, file| {
            changed(node, file)?.before_write(file, from, data.len() as u64)?;
            file.write_all_at(data, from)
        })
    }

    pub(crate) fn resize(&mut self, id: u64, size: u64) -> io::Result<()> {
        self.with_file(id, |node, file| {
            changed(node, file)?.before_resize(file, size)?;
            file.set_len(size)
        })
    }

    /// The file's content lasts, and all names do. A directory has no content.
    pub(crate) fn sync(&mut self, id: u64) -> io::Result<()> {
        self.nodes.get_mut(&id).ok_or_else(no_such)?.unsynced = None;
        self.tidy(id);
        self.names.sync();
        Ok(())
    }

    pub(crate) fn sync_all(&mut self) {
        let ids: Vec<u64> = self.nodes.keys().copied().collect();
        for id in ids {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.unsynced = None;
            }
            self.tidy(id);
        }
        self.names.sync();
    }

    /// Files with something to lose, and the bytes written to them.
    pub(crate) fn unsynced(&self) -> Lost {
        let mut all = Lost { names: self.names.count() as u64, ..Lost::default() };
        for unsynced in self.nodes.values().filter_map(|node| node.unsynced.as_ref()) {
            all.files += 1;
            all.bytes += unsynced.written;
        }
        all
    }

    /// Memory that the way back takes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.nodes.values().filter_map(|node| node.unsynced.as_ref()).map(Unsynced::kept_bytes).sum()
    }

    /// Every file that the kernel may know something of that we do not: pages that are mapped and have been written to.
    pub(crate) fn known(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.lookups > 0).map(|(id, _)| *id).collect()
    }

    /// The loss itself, and which files are not what the kernel takes them for. Everything is tried; the first error is told after.
    pub(crate) fn lose(&mut self, loss: &Loss) -> io::Result<(Lost, Vec<u64>)> {
        let mut lost = Lost::default();
        let mut result = Ok(());
        if *loss == Loss::All {
            let mut returned = Vec::new();
            match self.names.lose(|parent, name| returned.push((Arc::clone(parent), name.to_owned()))) {
                Ok(names) => lost.names = names as u64,
                Err(error) => result = Err(error),
            }
            // The kernel has taken such a directory for dead: it gets another number.
            for stat in returned.iter().filter_map(|(parent, name)| sys::stat(sys::handle(parent.as_fd(), name).ok()?.as_fd()).ok()) {
                self.by_key.remove(&key(&stat));
            }
        }
        let mut changed = Vec::new();
        let ids: Vec<u64> = self.nodes.iter().filter(|(_, node)| node.unsynced.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            match self.lose_of(id, loss) {
                Ok(Some(bytes)) => {
                    lost.files += 1;
                    lost.bytes += bytes;
                    changed.push(id);
                }
                Ok(None) => {}
                Err(error) => result = result.and(Err(error)),
            }
            self.tidy(id);
        }
        if matches!(loss, Loss::Torn(_)) {
            self.names.sync();
        }
        result.map(|()| (lost, changed))
    }

    fn lose_of(&mut self, id: u64, loss: &Loss) -> io::Result<Option<u64>> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(None) };
        let name = node.name.to_string_lossy();
        match loss {
            Loss::Named(pattern) | Loss::Torn(pattern) if !matches(pattern, &name) => return Ok(None),
            _ => {}
        }
        let (Some(unsynced), Some(file)) = (&node.unsynced, &node.file) else { return Ok(None) };
        let bytes = match loss {
            Loss::All | Loss::Named(_) => {
                unsynced.restore(file)?;
                Some(unsynced.written)
            }
            Loss::Torn(_) => unsynced.tear(file)?,
        };
        node.unsynced = None;
        Ok(bytes)
    }

    pub(crate) fn backing(&self) -> io::Result<BorrowedFd<'_>> {
        self.node(ROOT).map(|node| node.handle.as_fd())
    }
}

fn changed<'a>(node: &'a mut Node, file: &File) -> io::Result<&'a mut Unsynced> {
    if node.unsynced.is_none() {
        node.unsynced = Some(Unsynced::of(file)?);
    }
    node.unsynced.as_mut().ok_or_else(no_such)
}

/// `*` stands for anything, also for nothing.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name
            .strip_prefix(head)
            .is_some_and(|tail| tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| matches(rest, &tail[at..]))),
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
