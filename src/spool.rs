//! Standard input, which can be read only once, kept for a second look.
//!
//! What is read is copied to a file without a name, in the directory for temporary files. A history larger than 4 GiB is not kept: its verdict
//! is the same, and some ops may go uncited.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};

use kchaos_checkers::Input;

const KEPT_MAX_BYTES: u64 = 4 << 30;

#[derive(Default)]
pub(crate) struct Spool {
    kept: Option<Arc<Mutex<Kept>>>,
}

struct Kept {
    /// `None` once it cannot be kept.
    file: Option<File>,
    bytes: u64,
}

struct Copying {
    kept: Arc<Mutex<Kept>>,
}

impl Spool {
    /// Standard input at first; afterwards what it held.
    pub(crate) fn open(&mut self) -> io::Result<Input<'static>> {
        let Some(kept) = &self.kept else {
            let kept = Arc::new(Mutex::new(Kept { file: tempfile::tempfile().ok(), bytes: 0 }));
            self.kept = Some(Arc::clone(&kept));
            return Ok(Box::new(Copying { kept }));
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = &mut kept.file else {
            return Err(io::Error::other("standard input was too large to be kept; give the file's name instead"));
        };
        file.rewind()?;
        Ok(Box::new(file.try_clone()?))
    }
}

impl Read for Copying {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = io::stdin().read(into)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += count as u64;
        let fits = kept.bytes <= KEPT_MAX_BYTES;
        if kept.file.as_mut().is_some_and(|file| !fits || file.write_all(&into[..count]).is_err()) {
            kept.file = None;
        }
        Ok(count)
    }
}
