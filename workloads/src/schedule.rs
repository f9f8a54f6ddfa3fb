//! When sends are meant to start: an open model.
//!
//! Why open: a client that waits for the last answer before it sends the next hides an outage, because it sends one slow request where a
//! thousand would have waited. Here each (producer, key) is a stream of its own with a fixed spacing; a send that could not start in time
//! starts late and its latency counts from when it was meant to. A stream of each key, because sends to a partition without a leader must
//! not hold up the others.
//!
//! The backlog costs no memory: it is the difference between two numbers. Beyond `backlog_max_ns` the oldest sends are never made; they are
//! counted as *shed*, since leaving them out makes the reported latencies smaller than they were.

/// What a generator shall do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Send {
        stream: usize,
        intended_ns: u64,
    },
    /// Nothing is due before then. With `is_blocked`, a stream is due and has no room.
    Wait {
        until_ns: u64,
        is_blocked: bool,
    },
}

struct Stream {
    /// Where its first send lies.
    origin_ns: u64,
    interval_ns: f64,
    /// How many were sent or shed.
    next: u64,
}

pub(crate) struct Schedule {
    streams: Vec<Stream>,
    backlog_max_ns: u64,
    shed: u64,
}

impl Schedule {
    /// One stream for each phase, a fraction of the interval. `rate` is of all streams together, per second.
    pub(crate) fn new(start_ns: u64, rate: f64, phases: &[f64], backlog_max_ns: u64) -> Self {
        let share = 1.0 / phases.len() as f64;
        Self::shared_out(start_ns, rate, phases.iter().map(|phase| (*phase, share)), backlog_max_ns)
    }

    /// The same, each stream with its share of the rate.
    pub(crate) fn shared_out(start_ns: u64, rate: f64, streams: impl Iterator<Item = (f64, f64)>, backlog_max_ns: u64) -> Self {
        let stream = |(phase, share): (f64, f64)| {
            let interval_ns = 1e9 / (rate * share);
            Stream { origin_ns: start_ns + (phase * interval_ns) as u64, interval_ns, next: 0 }
        };
        Self { streams: streams.map(stream).collect(), backlog_max_ns, shed: 0 }
    }

    /// Takes the send that is due longest among the streams with room.
    pub(crate) fn next(&mut self, now_ns: u64, has_room: impl Fn(usize) -> bool) -> Next {
        let mut best: Option<(usize, u64)> = None;
        let mut until_ns = u64::MAX;
        let mut is_blocked = false;
        for index in 0..self.streams.len() {
            self.shed_old(index, now_ns);
            let intended_ns = self.intended_ns(index);
            if intended_ns > now_ns {
                until_ns = until_ns.min(intended_ns);
            } else if !has_room(index) {
                is_blocked = true;
            } else if best.is_none_or(|(_, earliest)| intended_ns < earliest) {
                best = Some((index, intended_ns));
            }
        }
        match best {
            Some((stream, intended_ns)) => {
                self.streams[stream].next += 1;
                Next::Send { stream, intended_ns }
            }
            None => Next::Wait { until_ns, is_blocked },
        }
    }

    fn intended_ns(&self, index: usize) -> u64 {
        let stream = &self.streams[index];
        stream.origin_ns + (stream.next as f64 * stream.interval_ns) as u64
    }

    fn shed_old(&mut self, index: usize, now_ns: u64) {
        let oldest_ns = now_ns.saturating_sub(self.backlog_max_ns);
        if self.intended_ns(index) < oldest_ns {
            let stream = &mut self.streams[index];
            let first_kept = ((oldest_ns - stream.origin_ns) as f64 / stream.interval_ns).ceil() as u64;
            self.shed += first_kept.saturating_sub(stream.next);
            stream.next = stream.next.max(first_kept);
        }
    }

    /// Sends never made because they were too late.
    pub(crate) fn shed(&self) -> u64 {
        self.shed
    }

    /// Sends due and not yet made.
    pub(crate) fn backlog(&self, now_ns: u64) -> u64 {
        self.streams
            .iter()
            .filter(|stream| stream.origin_ns <= now_ns)
            .map(|stream| (((now_ns - stream.origin_ns) as f64 / stream.interval_ns) as u64 + 1).saturating_sub(stream.next))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Runs the schedule in virtual time, a step at a time, and gives the sends as (step's time, stream, intended) in ms.
    fn run(schedule: &mut Schedule, steps_ms: &[u64], has_room: impl Fn(u64, usize) -> bool) -> Vec<(u64, usize, u64)> {
        let mut sends = Vec::new();
        for &step in steps_ms {
            while let Next::Send { stream, intended_ns } = schedule.next(step * MS, |stream| has_room(step, stream)) {
                sends.push((step, stream, intended_ns / MS));
            }
        }
        sends
    }

    fn two_streams() -> Schedule {
        // 100 a second over two streams: each every 20 ms, half a step apart.
        Schedule::new(0, 100.0, &[0.0, 0.5], 200 * MS)
    }

    #[test]
    fn streams_take_turns_at_the_rate_of_all_together() {
        let steps: Vec<u64> = (0..=50).collect();
        let sends = run(&mut two_streams(), &steps, |_, _| true);
        assert_eq!(sends, [(0, 0, 0), (10, 1, 10), (20, 0, 20), (30, 1, 30), (40, 0, 40), (50, 1, 50)]);
    }

    #[test]
    fn a_stream_with_a_greater_share_is_sent_to_more_often() {
        let mut schedule = Schedule::shared_out(0, 100.0, [(0.0, 0.75), (0.5, 0.25)].into_iter(), 200 * MS);
        let steps: Vec<u64> = (0..80).collect();
        let sends = run(&mut schedule, &steps, |_, _| true);
        assert_eq!([0, 1].map(|stream| sends.iter().filter(|send| send.1 == stream).count()), [6, 2]);
        assert_eq!(schedule.backlog(79 * MS), 0);
    }

    #[test]
    fn a_late_generator_catches_up_oldest_first_with_the_intended_times() {
        let sends = run(&mut two_streams(), &[45], |_, _| true);
        assert_eq!(sends, [(45, 0, 0), (45, 1, 10), (45, 0, 20), (45, 1, 30), (45, 0, 40)]);
    }

    #[test]
    fn a_stream_without_room_waits_and_does_not_hold_up_the_other() {
        let sends = run(&mut two_streams(), &[0, 10, 20, 30, 40], |now, stream| stream == 1 || now >= 40);
        assert_eq!(sends, [(10, 1, 10), (30, 1, 30), (40, 0, 0), (40, 0, 20), (40, 0, 40)]);
    }

    #[test]
    fn waiting_ends_at_the_next_due_send_and_says_whether_something_is_blocked() {
        let mut schedule = two_streams();
        assert_eq!(schedule.next(0, |_| false), Next::Wait { until_ns: 10 * MS, is_blocked: true });
        assert_eq!(schedule.next(0, |_| true), Next::Send { stream: 0, intended_ns: 0 });
        assert_eq!(schedule.next(0, |_| true), Next::Wait { until_ns: 10 * MS, is_blocked: false });
    }

    #[test]
    fn a_backlog_beyond_its_bound_is_shed_and_counted() {
        let mut schedule = two_streams();
        assert_eq!(schedule.backlog(1_000 * MS), 51 + 50);
        let sends = run(&mut schedule, &[1_000], |_, _| true);
        // 200 ms are kept: from 800 to 1000 ms, both ends included.
        assert_eq!((sends.len(), schedule.shed(), schedule.backlog(1_000 * MS)), (21, 80, 0));
        assert_eq!(sends.first().map(|send| send.2), Some(800));
    }

    #[test]
    fn a_long_run_does_not_drift() {
        let mut schedule = Schedule::new(0, 3.0, &[0.0], 60_000 * MS);
        let day_ns = 86_400_000 * MS;
        while let Next::Send { intended_ns, .. } = schedule.next(day_ns, |_| true) {
            assert!(intended_ns <= day_ns);
        }
        assert_eq!(schedule.backlog(day_ns), 0);
        let Next::Wait { until_ns, .. } = schedule.next(day_ns, |_| true) else { panic!("nothing is due") };
        assert_eq!(until_ns / 1_000, (day_ns + 333_333_333) / 1_000);
    }
}
