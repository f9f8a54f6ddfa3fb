//! What of one file has been written and not synced: the way back to what was last synced.
//!
//! Writes go through to the backing file at once, so reads need no second look and appends cost nothing. Kept is the file's size when it was last
//! synced, and the old content of each page below it that has been overwritten or cut off since.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

pub(crate) const PAGE: u64 = 4096;
/// What a disk writes whole or not at all.
pub(crate) const SECTOR: u64 = 512;

#[derive(Debug)]
pub(crate) struct Unsynced {
    synced_size: u64,
    /// By number; `None`: zeros, of which index files consist for the most part.
    pages: BTreeMap<u64, Option<Box<[u8]>>>,
    /// Bytes written since, however often the same.
    pub(crate) written: u64,
    /// From and to.
    last: Option<(u64, u64)>,
}

impl Unsynced {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        Ok(Self { synced_size: file.metadata()?.len(), pages: BTreeMap::new(), written: 0, last: None })
    }

    /// To be called before a write.
    pub(crate) fn before_write(&mut self, file: &File, from: u64, length: u64) -> io::Result<()> {
        let to = from.saturating_add(length);
        self.keep(file, from, to)?;
        self.written += length;
        self.last = Some((from, to));
        Ok(())
    }

    /// To be called before the size is set.
    pub(crate) fn before_resize(&mut self, file: &File, size: u64) -> io::Result<()> {
        // What was written last may be cut off: there is nothing to tear then.
        self.last = self.last.filter(|(_, to)| *to <= size);
        self.keep(file, size, self.synced_size)
    }

    fn keep(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        let to = to.min(self.synced_size);
        if from >= to {
            return Ok(());
        }
        for page in from / PAGE..=(to - 1) / PAGE {
            if self.pages.contains_key(&page) {
                continue;
            }
            let length = PAGE.min(self.synced_size - page * PAGE);
            let mut old = vec![0; length as usize];
            read_as_far(file, &mut old, page * PAGE)?;
            let old = if old.iter().all(|byte| *byte == 0) { None } else { Some(old.into_boxed_slice()) };
            self.pages.insert(page, old);
        }
        Ok(())
    }

    /// As it was when it was last synced.
    pub(crate) fn restore(&self, file: &File) -> io::Result<()> {
        file.set_len(self.synced_size)?;
        for (page, old) in &self.pages {
            self.put_back(file, *page, old.as_deref(), 0, u64::MAX)?;
        }
        Ok(())
    }

    /// Of a page what lies in this range of the file.
    fn put_back(&self, file: &File, page: u64, old: Option<&[u8]>, from: u64, to: u64) -> io::Result<()> {
        let start = page * PAGE;
        let length = PAGE.min(self.synced_size - start);
        let (from, to) = (from.saturating_sub(start).min(length), to.saturating_sub(start).min(length));
        match old {
            Some(old) => file.write_all_at(&old[from as usize..to as usize], start + from),
            None => file.write_all_at(&vec![0; (to - from) as usize], start + from),
        }
    }

    /// All is kept but the second half of the last write, from the boundary of a sector on: there it is as it was when it was last synced. How many bytes of it are gone; `None`: a write too short
    /// to be torn, or none.
    pub(crate) fn tear(&self, file: &File) -> io::Result<Option<u64>> {
        let Some((from, to)) = self.last else { return Ok(None) };
        let half = from + (to - from) / 2;
        let cut = half - half % SECTOR;
        if cut <= from {
            return Ok(None);
        }
        let size = file.metadata()?.len();
        if to >= size {
            file.set_len(cut.max(self.synced_size))?;
        } else if to > self.synced_size {
            // In the middle of what is new: nothing was there before.
            let new_from = cut.max(self.synced_size);
            file.write_all_at(&vec![0; (to - new_from) as usize], new_from)?;
        }
        for (page, old) in self.pages.range(cut / PAGE..) {
            if page * PAGE < to {
                self.put_back(file, *page, old.as_deref(), cut, to)?;
            }
        }
        Ok(Some(to - cut))
    }

    /// Memory that it takes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.pages.values().flatten().map(|page| page.len() as u64).sum()
    }
}

/// As `read_exact_at`, but what lies behind the end is zeros.
fn read_as_far(file: &File, buffer: &mut [u8], from: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], from + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
