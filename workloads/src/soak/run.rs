//! The parts at work, as one.

use std::time::Duration;

use super::deal::Deal;
use crate::counts::Counts;
use crate::{FinalTarget, FinaleOutcome, Outstanding, Running, SizeClass, Stopped};

/// For those that were started when another could not be.
pub(super) const GIVE_UP: Duration = Duration::from_secs(5);

pub(super) struct SoakRun {
    pub(super) parts: Vec<Part>,
}

pub(super) struct Part {
    pub(super) deal: Deal,
    /// How many keys it has.
    pub(super) keys: usize,
    pub(super) running: Box<dyn Running>,
}

impl Part {
    fn counts(&self) -> Counts {
        let mut counts = self.running.counts();
        counts.keys.iter_mut().for_each(|key| key.key = self.deal.key(key.key));
        counts
    }

    fn has(&self, target: &FinalTarget) -> bool {
        usize::try_from(self.deal.own_key(target.key)).is_ok_and(|own| own < self.keys)
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let own = |target: &FinalTarget| FinalTarget { key: self.deal.own_key(target.key), ..*target };
        let own: Vec<FinalTarget> = targets.iter().filter(|target| self.has(target)).map(own).collect();
        let mut outcome = self.running.finale(&own, deadline);
        let deal = self.deal;
        outcome.keys.iter_mut().for_each(|key| key.key = deal.key(key.key));
        for group in &mut outcome.groups {
            group.committed = deal.keys(std::mem::take(&mut group.committed));
            group.behind.iter_mut().for_each(|key| *key = deal.key(*key));
        }
        if let Some(order) = &mut outcome.order {
            order.blocks = deal.keys(std::mem::take(&mut order.blocks));
        }
        outcome
    }
}

/// The same of every part, all at once: the time of the slowest is the time of all.
fn at_once<'a, P: Send + 'a, T: Send>(parts: impl Iterator<Item = P> + 'a, each: impl Fn(P) -> T + Sync) -> Vec<T> {
    let each = &each;
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || each(part))).collect();
        // A part that panics is the run's panic, as it would be alone.
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

pub(super) fn stop(parts: Vec<Part>, deadline: Duration) -> Stopped {
    let all = at_once(parts.into_iter(), |part| part.running.stop(deadline));
    Stopped { left_behind: all.into_iter().flat_map(|stopped| stopped.left_behind).collect() }
}

impl Running for SoakRun {
    fn counts(&self) -> Counts {
        let mut all = Counts::default();
        for part in &self.parts {
            all.add(part.counts());
        }
        all
    }

    fn latency_by_size(&self) -> Vec<SizeClass> {
        self.parts.iter().flat_map(|part| part.running.latency_by_size()).collect()
    }

    fn stop_writes(&mut self, deadline: Duration) -> Outstanding {
        let mut all = Outstanding::default();
        for part in at_once(self.parts.iter_mut(), |part| part.running.stop_writes(deadline)) {
            all.at_stop += part.at_stop;
            all.undecided += part.undecided;
            all.left_behind.extend(part.left_behind);
        }
        all
    }

    fn finale(&mut self, targets: &[FinalTarget], deadline: Duration) -> FinaleOutcome {
        let mut all = FinaleOutcome::default();
        for part in at_once(self.parts.iter_mut(), |part| part.finale(targets, deadline)) {
            all.keys.extend(part.keys);
            all.groups.extend(part.groups);
            all.order = all.order.or(part.order);
            all.errors.extend(part.errors);
            all.told.extend(part.told);
            all.unproved.extend(part.unproved);
        }
        all.keys.sort_by_key(|key| key.key);
        all
    }

    fn stop(self: Box<Self>, deadline: Duration) -> Stopped {
        stop(self.parts, deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FinalGroup, FinalKey, KeyCounts};

    /// Keys 0 and 1, each read to its end.
    struct Two;

    impl Running for Two {
        fn counts(&self) -> Counts {
            let keys = [0, 1].map(|key| KeyCounts { key, acked: 5, ..KeyCounts::default() }).into();
            Counts { invoked: 12, ok: 10, keys, ..Counts::default() }
        }

        fn stop_writes(&mut self, _deadline: Duration) -> Outstanding {
            Outstanding { at_stop: 2, undecided: 1, left_behind: vec!["one".into()] }
        }

        fn finale(&mut self, targets: &[FinalTarget], _deadline: Duration) -> FinaleOutcome {
            let read = |target: &FinalTarget| FinalKey {
                key: target.key,
                start: 0,
                end: target.end,
                next: target.end,
                is_complete: true,
                leader_epoch: None,
                is_epoch_ahead: false,
            };
            let group = FinalGroup { committed: [(1, Some(3))].into(), behind: vec![0], ..FinalGroup::default() };
            FinaleOutcome { keys: targets.iter().map(read).collect(), groups: vec![group], ..FinaleOutcome::default() }
        }

        fn stop(self: Box<Self>, _deadline: Duration) -> Stopped {
            Stopped { left_behind: vec!["one".into()] }
        }
    }

    fn two_parts() -> SoakRun {
        let part =
            |number: u32| Part { deal: Deal { keys_from: i64::from(number) * 2, number, count: 2 }, keys: 2, running: Box::new(Two) };
        SoakRun { parts: vec![part(0), part(1)] }
    }

    #[test]
    fn what_the_parts_count_is_counted_together_and_each_key_is_its_own() {
        let counts = two_parts().counts();
        assert_eq!((counts.invoked, counts.ok, counts.outstanding()), (24, 20, 4));
        assert_eq!(counts.keys.iter().map(|key| (key.key, key.acked)).collect::<Vec<_>>(), [(0, 5), (1, 5), (2, 5), (3, 5)]);
        let outstanding = two_parts().stop_writes(Duration::ZERO);
        assert_eq!((outstanding.at_stop, outstanding.undecided, outstanding.left_behind.len()), (4, 2, 2));
        assert_eq!(Box::new(two_parts()).stop(Duration::ZERO).left_behind.len(), 2);
    }

    #[test]
    fn each_part_reads_its_own_keys_and_tells_them_as_the_history_s() {
        let targets: Vec<FinalTarget> = (0..4).map(|key| FinalTarget { key, start: 0, end: key * 10, leader_epoch: 0 }).collect();
        let outcome = two_parts().finale(&targets, Duration::ZERO);
        assert_eq!(outcome.keys.iter().map(|key| (key.key, key.end)).collect::<Vec<_>>(), [(0, 0), (1, 10), (2, 20), (3, 30)]);
        let groups: Vec<_> =
            outcome.groups.iter().map(|group| (group.committed.keys().copied().collect::<Vec<_>>(), group.behind.clone())).collect();
        assert_eq!(groups, [(vec![1], vec![0]), (vec![3], vec![2])]);
    }
}
