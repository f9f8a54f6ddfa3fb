//! A map from small integers, such as processes and clients: an array where they are small, as nearly always, and a hash table beyond.

use crate::hash::IntMap;

/// Below `DIRECT` an array: beyond, a hash table costs less than the array's holes may.
pub(crate) struct ById<T, const DIRECT: u64 = 16_384> {
    direct: Vec<Place<T>>,
    others: IntMap<u64, T>,
}

/// Why not an `Option`: to find what is there takes no branch, and nearly every search finds something.
#[derive(Default)]
struct Place<T> {
    is_taken: bool,
    value: T,
}

/// The same inside another map, where the holes of many arrays add up.
pub(crate) type ByKey<T> = ById<T, 64>;

impl<T, const DIRECT: u64> Default for ById<T, DIRECT> {
    fn default() -> Self {
        Self { direct: Vec::new(), others: IntMap::default() }
    }
}

impl<T: Default, const DIRECT: u64> ById<T, DIRECT> {
    #[inline(always)]
    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        if id < DIRECT {
            self.direct.get(id as usize).filter(|place| place.is_taken).map(|place| &place.value)
        } else {
            self.others.get(&id)
        }
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        if id < DIRECT {
            self.direct.get_mut(id as usize).filter(|place| place.is_taken).map(|place| &mut place.value)
        } else {
            self.others.get_mut(&id)
        }
    }

    #[inline(always)]
    pub(crate) fn or_default(&mut self, id: u64) -> &mut T {
        if id >= DIRECT {
            return self.others.entry(id).or_default();
        }
        let at = id as usize;
        // Looked up again there, so that it is found at once here.
        if at >= self.direct.len() {
            return self.grown(at);
        }
        let place = &mut self.direct[at];
        place.is_taken = true;
        &mut place.value
    }

    #[cold]
    fn grown(&mut self, at: usize) -> &mut T {
        self.direct.resize_with((at + 1).next_power_of_two(), Place::default);
        self.or_default(at as u64)
    }

    pub(crate) fn insert(&mut self, id: u64, value: T) {
        *self.or_default(id) = value;
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        if id < DIRECT {
            let place = self.direct.get_mut(id as usize)?;
            std::mem::take(&mut place.is_taken).then(|| std::mem::take(&mut place.value))
        } else {
            self.others.remove(&id)
        }
    }

    pub(crate) fn retain(&mut self, wanted: impl Fn(u64) -> bool) {
        (0..).zip(&mut self.direct).filter(|(id, _)| !wanted(*id)).for_each(|(_, place)| *place = Place::default());
        self.others.retain(|id, _| wanted(*id));
    }

    pub(crate) fn each_mut(&mut self, mut each: impl FnMut(u64, &mut T)) {
        (0..).zip(&mut self.direct).filter(|(_, place)| place.is_taken).for_each(|(id, place)| each(id, &mut place.value));
        self.others.iter_mut().for_each(|(id, value)| each(*id, value));
    }

    /// All that there are, the small ones first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let direct = (0..).zip(&self.direct).filter(|(_, place)| place.is_taken).map(|(id, place)| (id, &place.value));
        direct.chain(self.others.iter().map(|(id, value)| (*id, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_ids_are_kept_alike() {
        let mut map = ByKey::<u8>::default();
        for id in [0, 3, 63, 64, u64::MAX] {
            *map.or_default(id) += 1;
            map.insert(id, map.get(id).copied().unwrap_or(0) + 1);
        }
        assert_eq!((map.get(3), map.get(4), map.get(u64::MAX)), (Some(&2), None, Some(&2)));
        assert_eq!(map.iter().count(), 5);
        assert_eq!((map.remove(64), map.remove(64), map.remove(0), map.get(0)), (Some(2), None, Some(2), None));
        map.retain(|id| id == u64::MAX);
        assert_eq!(map.iter().map(|(id, _)| id).collect::<Vec<_>>(), [u64::MAX]);
    }
}
