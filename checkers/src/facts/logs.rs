//! The logs of all keys.

use kchaos_core::Key;

use super::Values;
use crate::by_id::ById;
use crate::log::KeyLog;

/// The logs of all keys.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) logs: Vec<(Key, KeyLog)>,
    places: ById<u32>,
    /// Values that an earlier pass wanted to know more of.
    pinned: Values,
    pub(super) never_pack: bool,
    /// There are transactions: no value goes the short way ([`KeyLog::leave_light`]).
    pub(super) none_light: bool,
}

impl Logs {
    pub(super) fn pinning(pinned: Values) -> Self {
        Self { pinned, ..Self::default() }
    }

    pub(super) fn leave_light(&mut self) {
        if !std::mem::replace(&mut self.none_light, true) {
            self.logs.iter_mut().for_each(|(_, log)| log.leave_light());
        }
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&KeyLog> {
        self.places.get(key as u64).map(|place| &self.logs[*place as usize].1)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> &mut KeyLog {
        let place = self.place(key);
        &mut self.logs[place].1
    }

    #[inline]
    pub(super) fn place(&mut self, key: Key) -> usize {
        match self.places.get(key as u64) {
            Some(place) => *place as usize,
            None => self.add(key),
        }
    }

    #[cold]
    fn add(&mut self, key: Key) -> usize {
        let mut log = KeyLog::default();
        log.pin(self.pinned.get(&key).cloned().unwrap_or_default(), self.never_pack);
        if self.none_light {
            log.leave_light();
        }
        self.logs.push((key, log));
        self.places.insert(key as u64, u32::try_from(self.logs.len() - 1).unwrap_or(u32::MAX));
        self.logs.len() - 1
    }
}
