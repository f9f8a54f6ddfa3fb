//! Value → what is known of it, for values that are dense in places and may be anything.
//!
//! Clients count values up, so the values that are being written lie close together, and a search by hashing would scatter them over memory.
//! Stretches of 512 values: which of them are packed is one bit each, and the places of the others are an array; or a short list while they
//! are few, so that values far from each other cost some 150 bytes each and not 2 KB.

use kchaos_core::Value;

use crate::hash::IntMap;
use crate::log::Id;
use crate::pages::EMPTY;

const WIDTH_BITS: u32 = 9;
const WIDTH: usize = 1 << WIDTH_BITS;
const FEW: usize = 8;
/// So few of many that a list is made of them again. Now and then one stays for good (a send that failed), and the array would with it.
const FEW_AGAIN: u16 = 3;

enum Places {
    Few {
        length: u8,
        entries: [(u16, Id); FEW],
    },
    /// And how many there are.
    Many(u16, Box<[Id; WIDTH]>),
}

struct Stretch {
    places: Places,
    packed: [u64; WIDTH / 64],
    /// The lowest page of the log that holds a packed one.
    first_page: i64,
}

/// What is known of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its place in the table.
    At(Id),
    /// Packed; on this page of the log, or a later one.
    Packed(i64),
    Not,
}

/// Where what is known of a value stands, until the next value is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Seat {
    stretch: u32,
    at: u16,
}

const RECENT: usize = 4;
const NONE: (i64, u32) = (i64::MAX, u32::MAX);

pub(crate) struct Values {
    index: IntMap<i64, u32>,
    stretches: Vec<Stretch>,
    free: Vec<u32>,
    /// Stretches used last, by the low bits of their numbers.
    recent: [(i64, u32); RECENT],
}

impl Default for Values {
    fn default() -> Self {
        Self { index: IntMap::default(), stretches: Vec::new(), free: Vec::new(), recent: [NONE; RECENT] }
    }
}

fn place(value: Value) -> (i64, usize) {
    (value >> WIDTH_BITS, (value & (WIDTH as i64 - 1)) as usize)
}

#[cold]
fn few(ids: &[Id; WIDTH]) -> Places {
    let (mut length, mut entries) = (0, [(0, EMPTY); FEW]);
    for (at, id) in (0..).zip(ids).filter(|(_, id)| **id != EMPTY).take(FEW) {
        entries[usize::from(length)] = (at, *id);
        length += 1;
    }
    Places::Few { length, entries }
}

fn recent_place(number: i64) -> usize {
    (number & (RECENT as i64 - 1)) as usize
}

impl Values {
    #[inline]
    fn find(&self, number: i64) -> Option<u32> {
        let (recent, at) = self.recent[recent_place(number)];
        if recent == number && at != u32::MAX { Some(at) } else { self.index.get(&number).copied() }
    }

    #[inline]
    fn stretch(&mut self, number: i64) -> &mut Stretch {
        let at = self.find(number).unwrap_or_else(|| self.begin(number));
        self.recent[recent_place(number)] = (number, at);
        &mut self.stretches[at as usize]
    }

    #[cold]
    fn begin(&mut self, number: i64) -> u32 {
        let places = Places::Few { length: 0, entries: [(0, EMPTY); FEW] };
        let new = Stretch { places, packed: [0; WIDTH / 64], first_page: i64::MAX };
        let at = match self.free.pop() {
            Some(at) => {
                self.stretches[at as usize] = new;
                at
            }
            None => {
                self.stretches.push(new);
                u32::try_from(self.stretches.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.index.insert(number, at);
        at
    }

    /// What is known of a value, and its seat, where [`Values::seat`] puts what becomes known of it.
    #[inline]
    pub(crate) fn look(&mut self, value: Value) -> (Known, Seat) {
        let (number, at) = place(value);
        let (recent, known) = self.recent[recent_place(number)];
        let stretch = if recent == number { known } else { self.other(number) };
        (self.stretches[stretch as usize].get(at), Seat { stretch, at: at as u16 })
    }

    /// Not the stretch that was used last.
    #[inline(never)]
    fn other(&mut self, number: i64) -> u32 {
        let at = self.index.get(&number).copied().unwrap_or_else(|| self.begin(number));
        self.recent[recent_place(number)] = (number, at);
        at
    }

    /// Gives the value that was just looked for, and of which nothing is known, a place.
    #[inline]
    pub(crate) fn seat(&mut self, seat: Seat, id: Id) {
        self.stretches[seat.stretch as usize].insert(usize::from(seat.at), id);
    }

    #[inline]
    pub(crate) fn get(&self, value: Value) -> Known {
        let (number, at) = place(value);
        self.find(number).map_or(Known::Not, |stretch| self.stretches[stretch as usize].get(at))
    }

    pub(crate) fn insert(&mut self, value: Value, id: Id) {
        let (number, at) = place(value);
        let stretch = self.stretch(number);
        stretch.packed[at / 64] &= !(1 << (at % 64));
        stretch.insert(at, id);
    }

    /// Forgets the places of values that are packed now; on this page, if it is wide.
    pub(crate) fn remove(&mut self, values: &[Value], wide: Option<i64>) {
        for together in values.chunk_by(|one, other| one >> WIDTH_BITS == other >> WIDTH_BITS) {
            let number = place(together[0]).0;
            let stretch = self.stretch(number);
            for value in together {
                let at = place(*value).1;
                stretch.remove(at);
                if wide.is_some() {
                    stretch.packed[at / 64] |= 1 << (at % 64);
                }
            }
            if let Some(page) = wide {
                stretch.first_page = stretch.first_page.min(page);
            } else if stretch.is_empty() {
                self.end(number);
            }
        }
    }

    #[cold]
    fn end(&mut self, number: i64) {
        if let Some(at) = self.index.remove(&number) {
            self.free.push(at);
            self.recent[recent_place(number)] = NONE;
        }
    }
}

impl Stretch {
    fn is_empty(&self) -> bool {
        matches!(self.places, Places::Few { length: 0, .. }) && self.packed == [0; WIDTH / 64]
    }

    #[inline]
    fn get(&self, at: usize) -> Known {
        let id = match &self.places {
            Places::Many(_, ids) => ids[at],
            Places::Few { length, entries } => {
                let entry = entries[..usize::from(*length)].iter().find(|(slot, _)| usize::from(*slot) == at);
                entry.map_or(EMPTY, |(_, id)| *id)
            }
        };
        if id != EMPTY {
            Known::At(id)
        } else if self.packed[at / 64] >> (at % 64) & 1 == 1 {
            Known::Packed(self.first_page)
        } else {
            Known::Not
        }
    }

    #[inline]
    fn insert(&mut self, at: usize, id: Id) {
        match &mut self.places {
            Places::Many(count, ids) => {
                *count += u16::from(ids[at] == EMPTY);
                ids[at] = id;
            }
            Places::Few { length, entries } if usize::from(*length) < FEW => {
                entries[usize::from(*length)] = (at as u16, id);
                *length += 1;
            }
            Places::Few { entries, .. } => {
                let mut ids = Box::new([EMPTY; WIDTH]);
                entries.iter().for_each(|(slot, id)| ids[usize::from(*slot)] = *id);
                ids[at] = id;
                self.places = Places::Many(FEW as u16 + 1, ids);
            }
        }
    }

    #[inline]
    fn remove(&mut self, at: usize) {
        match &mut self.places {
            Places::Many(count, ids) => {
                *count -= u16::from(ids[at] != EMPTY);
                ids[at] = EMPTY;
                if *count <= FEW_AGAIN {
                    self.places = few(ids);
                }
            }
            Places::Few { length, entries } => {
                let end = usize::from(*length);
                if let Some(found) = entries[..end].iter().position(|(slot, _)| usize::from(*slot) == at) {
                    entries[found] = entries[end - 1];
                    *length -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_places_until_they_are_packed_and_may_have_them_again() {
        let mut values = Values::default();
        let all: Vec<i64> = (0..1200).chain([-1, i64::MIN, i64::MAX, 1 << 60]).collect();
        for (id, value) in all.iter().enumerate() {
            assert_eq!(values.get(*value), Known::Not);
            values.insert(*value, id as Id);
            assert_eq!(values.get(*value), Known::At(id as Id));
        }
        assert_eq!((values.get(1200), values.get(-2)), (Known::Not, Known::Not));
        for (id, value) in all.iter().enumerate() {
            values.remove(&[*value], (id % 2 == 0).then_some(9 - (id as i64 % 3)));
            assert!(matches!((id % 2, values.get(*value)), (0, Known::Packed(7..=9)) | (1, Known::Not)));
        }
        values.insert(700, 5);
        assert_eq!((values.get(700), values.get(702)), (Known::At(5), Known::Packed(7)));
        let stretches = values.stretches.len();
        for value in (1_000_000..2_000_000).step_by(100) {
            values.insert(value, 3);
            values.remove(&[value], None);
        }
        assert!(values.stretches.len() <= stretches + 1, "a stretch without values is used again");
    }
}
