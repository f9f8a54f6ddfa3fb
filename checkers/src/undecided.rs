//! What may come to nothing, and is only known to when more of the history is: kept, and looked through now and then.
//!
//! Why not at each step: whether something came to nothing takes a search. So all are looked at when there are twice as many as were left the last time,
//! which costs each a few looks, however long the history is.

pub(crate) struct Undecided<T> {
    all: Vec<T>,
    look_at: usize,
}

impl<T> Default for Undecided<T> {
    fn default() -> Self {
        Self { all: Vec::new(), look_at: 0 }
    }
}

impl<T> Undecided<T> {
    #[inline]
    pub(crate) fn push(&mut self, one: T) {
        self.all.push(one);
    }

    /// Whether it is time for [`Undecided::forget`]; never before there are so many.
    #[inline]
    pub(crate) fn are_many(&self, least: usize) -> bool {
        self.all.len() >= self.look_at.max(least)
    }

    pub(crate) fn forget(&mut self, came_to_nothing: impl Fn(&T) -> bool) {
        self.all.retain(|one| !came_to_nothing(one));
        self.look_at = 2 * self.all.len();
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_looked_at_when_there_are_many_and_then_when_there_are_twice_as_many_as_were_left() {
        let mut all = Undecided::default();
        (0..10).for_each(|one| all.push(one));
        assert!(all.are_many(10) && !all.are_many(11));
        all.forget(|one| one % 3 == 0);
        assert_eq!(all.as_slice(), [1, 2, 4, 5, 7, 8]);
        (0..5).for_each(|one| all.push(one));
        assert!(!all.are_many(10));
        all.push(9);
        assert!(all.are_many(10) && !all.are_many(13));
    }
}
