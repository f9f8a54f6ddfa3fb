//! Operations that a slow disk has been asked for and has not done yet. They wait here and not on the threads that take requests, so that the
//! control file answers however slow the disk is.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Told whether it is to be done, or is answered with an error because the disk has lost its power meanwhile.
type Deed = Box<dyn FnOnce(bool) + Send>;

#[derive(Default)]
pub(crate) struct Later {
    waiting: Mutex<Vec<(Instant, Deed)>>,
    changed: Condvar,
}

impl Later {
    fn waiting(&self) -> MutexGuard<'_, Vec<(Instant, Deed)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, at: Instant, deed: Deed) {
        self.waiting().push((at, deed));
        self.changed.notify_one();
    }

    /// All of it now: the disk is not slow any more.
    pub(crate) fn hurry(&self) {
        let now = Instant::now();
        self.waiting().iter_mut().for_each(|(at, _)| *at = now);
        self.changed.notify_one();
    }

    /// None of it is ever done.
    pub(crate) fn give_up(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(|(_, deed)| deed(false));
    }

    /// Does each when its time has come, in the order in which they came. Never returns.
    pub(crate) fn run(&self) -> ! {
        let mut waiting = self.waiting();
        loop {
            let now = Instant::now();
            if let Some(due) = waiting.iter().position(|(at, _)| *at <= now) {
                let (_, deed) = waiting.remove(due);
                drop(waiting);
                deed(true);
                waiting = self.waiting();
                continue;
            }
            let next = waiting.iter().map(|(at, _)| *at).min();
            waiting = match next {
                None => self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(at) => self.changed.wait_timeout(waiting, at.duration_since(now)).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}
