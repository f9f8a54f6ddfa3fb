//! A producer's open sends, each on a lane.
//!
//! Why lanes: in a history a process does one thing at a time, and a pipelining producer has many sends open. So each open send occupies a
//! lane, which is one process. A lane whose send ended in info is not known to be free, so its process is retired and the lane gets a fresh
//! number.
//!
//! A key may hold only its share of the lanes: a partition without a leader must not stop the sends to the others.
//!
//! With idempotence a key has a gate as well. librdkafka 2.12 has one batch of a partition in flight at a time then (it counts messages
//! where it means requests: its pull request 4989), and while more messages than that wait, its broker thread spins through a whole core,
//! for as long as a paused leader does not answer. So sends that would only wait there wait here: the gate stands open for a little less
//! than `linger.ms` from a batch's first send, and opens again when the batch is answered. What was begun meanwhile is the next batch: the slower
//! the answers, the larger it is, and the less each record costs the brokers.

use kchaos_core::Value;

/// Bytes that librdkafka puts into one batch by default, less a margin.
const BATCH_BYTES: usize = 900_000;
/// Single messages that may be in flight together.
const MESSAGES_MIN: usize = 5;

/// A send that was invoked and not yet completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenSend {
    pub(crate) process: u32,
    /// Position in the run's keys.
    pub(crate) key: usize,
    pub(crate) value: Value,
    pub(crate) intended_ns: u64,
    /// When it was handed to the client, or a little before.
    pub(crate) sent_ns: u64,
    pub(crate) value_bytes: usize,
    /// Alone over its topic's limit.
    pub(crate) is_oversize: bool,
}

#[derive(Default)]
struct Lane {
    /// `None` until first used, and after an info.
    process: Option<u32>,
    open: Option<OpenSend>,
    /// The client has it.
    is_handed: bool,
}

/// What becomes of a send that is to be handed to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    /// Now.
    Go,
    /// Its key's gate is closed.
    Wait,
    /// Somebody has completed it meanwhile.
    Gone,
}

/// How long a key's gate stands open, and how large its records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) window_ns: u64,
    pub(crate) record_bytes: usize,
}

pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    /// Last freed, first used: few processes at a light load.
    free: Vec<usize>,
    keys: Vec<KeyLanes>,
    share: usize,
    /// Sends of a key that the client may have at a time.
    batch: usize,
    gate: Option<Gate>,
    /// Processes of the client before, which are at rest.
    idle: Vec<u32>,
}

#[derive(Clone, Copy, Default)]
struct KeyLanes {
    used: usize,
    /// Of those, what the client has.
    handed: usize,
    /// When it was given the first of them.
    first_ns: u64,
}

impl Lanes {
    /// For `keys`, of which `at_a_time` are written to.
    pub(crate) fn new(count: usize, keys: usize, at_a_time: usize, gate: Option<Gate>) -> Self {
        let count = count.max(1);
        // As much again is made ready while a batch is answered; not of records that are larger than a batch.
        let (batch, ahead) = gate.map_or((usize::MAX, 0), |gate| {
            let records = BATCH_BYTES / gate.record_bytes.max(1);
            (records.max(MESSAGES_MIN), records)
        });
        Self {
            lanes: (0..count).map(|_| Lane::default()).collect(),
            free: (0..count).rev().collect(),
            keys: vec![KeyLanes::default(); keys],
            share: (count / at_a_time.max(1)).clamp(1, batch.saturating_add(ahead)),
            batch,
            gate,
            idle: Vec::new(),
        }
    }

    /// With the processes that another client left at rest. Who goes on with a client that replaces another's is the same process: a run with many
    /// restarts would have thousands more, each of which has to be remembered by whoever judges it.
    pub(crate) fn inherit(self, idle: Vec<u32>) -> Self {
        Self { idle, ..self }
    }

    /// Processes of lanes that are free, for the next client.
    pub(crate) fn take_idle(&mut self) -> Vec<u32> {
        let mut idle = std::mem::take(&mut self.idle);
        idle.extend(self.free.iter().filter_map(|lane| self.lanes[*lane].process.take()));
        idle
    }

    /// Whether a send to `key` can be begun.
    pub(crate) fn has_room(&self, key: usize) -> bool {
        !self.free.is_empty() && self.keys[key].used < self.share
    }

    /// Whether the client can have a send to `key`.
    pub(crate) fn is_open(&self, key: usize, now_ns: u64) -> bool {
        let KeyLanes { handed, first_ns, .. } = self.keys[key];
        self.gate.is_none_or(|gate| handed == 0 || (handed < self.batch && now_ns <= first_ns + gate.window_ns))
    }

    /// Takes a lane for a send to `key`. `new_process` is called only if the lane has none.
    pub(crate) fn take(&mut self, key: usize, new_process: impl FnOnce() -> u32) -> Option<(usize, u32)> {
        if !self.has_room(key) {
            return None;
        }
        let lane = self.free.pop()?;
        self.keys[key].used += 1;
        let idle = &mut self.idle;
        Some((lane, *self.lanes[lane].process.get_or_insert_with(|| idle.pop().unwrap_or_else(new_process))))
    }

    /// To be asked right before the client is given the send of a lane.
    pub(crate) fn hand_over(&mut self, lane: usize, key: usize, now_ns: u64) -> HandOver {
        if self.lanes[lane].open.is_none() {
            return HandOver::Gone;
        }
        if !self.is_open(key, now_ns) {
            return HandOver::Wait;
        }
        let Lane { open, is_handed, .. } = &mut self.lanes[lane];
        *is_handed = true;
        if let Some(send) = open {
            send.sent_ns = now_ns;
        }
        let of_key = &mut self.keys[key];
        if of_key.handed == 0 {
            of_key.first_ns = now_ns;
        }
        of_key.handed += 1;
        HandOver::Go
    }

    /// From here on a delivery report completes it.
    pub(crate) fn open(&mut self, lane: usize, send: OpenSend) {
        self.lanes[lane].open = Some(send);
    }

    /// The send of a lane, for the one who completes it; a second asker gets nothing.
    pub(crate) fn close(&mut self, lane: usize) -> Option<OpenSend> {
        self.lanes.get_mut(lane)?.open.take()
    }

    /// After its completion was recorded. With `is_retired` the lane gets a fresh process. Says whether somebody who waits for room may
    /// have it now.
    pub(crate) fn release(&mut self, lane: usize, key: usize, is_retired: bool) -> bool {
        if is_retired {
            self.lanes[lane].process = None;
        }
        let was_full = self.free.is_empty();
        let of_key = &mut self.keys[key];
        of_key.used -= 1;
        of_key.handed -= usize::from(std::mem::take(&mut self.lanes[lane].is_handed));
        let is_answered = of_key.handed == 0;
        self.free.push(lane);
        was_full || self.gate.is_none() || is_answered
    }

    /// Lanes in use.
    pub(crate) fn used(&self) -> usize {
        self.lanes.len() - self.free.len()
    }

    /// When the oldest of what is open was sent.
    pub(crate) fn oldest_sent_ns(&self) -> Option<u64> {
        self.lanes.iter().filter_map(|lane| Some(lane.open.as_ref()?.sent_ns)).min()
    }

    /// Closes everything that is open.
    pub(crate) fn close_all(&mut self) -> Vec<(usize, OpenSend)> {
        (0..self.lanes.len()).filter_map(|lane| Some((lane, self.lanes[lane].open.take()?))).collect()
    }
}

/// Sees through the offsets of an acknowledgement that carried none.
///
/// A broker that answers DUPLICATE_SEQUENCE_NUMBER gives offset -1, and librdkafka counts up from it through the batch: -1, 0, 1, … (2.12,
/// `rd_kafka_msgq_set_metadata`). Taken at their word these would be acknowledgements of other records' offsets. They are told apart for
/// certain: the n-th record of such a batch shows n - 2, and what follows it in the partition lies at n or later.
#[derive(Clone, Copy, Default)]
pub(crate) struct OffsetGuard {
    next_false: Option<i64>,
}

impl OffsetGuard {
    /// To be asked for each acknowledgement of one partition in order.
    pub(crate) fn check(&mut self, offset: i64) -> Option<i64> {
        if offset < 0 || self.next_false == Some(offset) {
            self.next_false = Some(offset + 1);
            return None;
        }
        self.next_false = None;
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(process: u32, key: usize) -> OpenSend {
        OpenSend { process, key, value: 1, intended_ns: 0, sent_ns: 0, value_bytes: 200, is_oversize: false }
    }

    #[test]
    fn what_is_at_rest_goes_on_with_the_next_client_and_what_is_open_does_not() {
        let mut lanes = Lanes::new(3, 1, 1, None);
        let mut next = 0;
        let mut new_process = || {
            next += 1;
            next
        };
        let taken: Vec<(usize, u32)> = (0..3).map(|_| lanes.take(0, &mut new_process).unwrap()).collect();
        for (lane, process) in &taken {
            lanes.open(*lane, send(*process, 0));
        }
        assert!(lanes.close(taken[0].0).is_some() && lanes.close(taken[1].0).is_some());
        lanes.release(taken[0].0, 0, false);
        lanes.release(taken[1].0, 0, true);
        let mut after = Lanes::new(3, 1, 1, None).inherit(lanes.take_idle());
        let processes: Vec<u32> = (0..3).map(|_| after.take(0, &mut new_process).unwrap().1).collect();
        assert_eq!(processes, [1, 4, 5], "the second was retired, the third is open");
    }

    #[test]
    fn a_process_is_reused_after_its_completion_and_retired_after_an_info() {
        let mut lanes = Lanes::new(2, 1, 1, None);
        let mut next = 10;
        let mut new_process = || {
            next += 1;
            next
        };
        let (lane, process) = lanes.take(0, &mut new_process).unwrap();
        lanes.open(lane, send(process, 0));
        assert_eq!(lanes.close(lane).unwrap().process, 11);
        assert_eq!(lanes.close(lane), None, "completed once only");
        lanes.release(lane, 0, false);
        assert_eq!(lanes.take(0, &mut new_process).unwrap(), (lane, 11));
        lanes.release(lane, 0, true);
        assert_eq!(lanes.take(0, &mut new_process).unwrap(), (lane, 12));
    }

    #[test]
    fn a_key_holds_no_more_than_its_share() {
        let mut lanes = Lanes::new(4, 2, 2, None);
        assert!(lanes.take(0, || 1).is_some() && lanes.take(0, || 2).is_some());
        assert!(!lanes.has_room(0) && lanes.take(0, || 3).is_none());
        assert!(lanes.has_room(1));
        assert_eq!(lanes.used(), 2);
    }

    #[test]
    fn one_in_flight_is_one_over_all_keys() {
        let mut lanes = Lanes::new(1, 3, 3, None);
        let (lane, _) = lanes.take(2, || 1).unwrap();
        assert!((0..3).all(|key| !lanes.has_room(key)));
        assert!(lanes.release(lane, 2, false));
        assert!((0..3).all(|key| lanes.has_room(key)));
    }

    /// A lane with an open send to a key.
    fn begun(lanes: &mut Lanes, key: usize) -> usize {
        let (lane, process) = lanes.take(key, || 1).unwrap();
        lanes.open(lane, send(process, key));
        lane
    }

    #[test]
    fn a_gate_lets_one_batch_through_until_all_of_it_is_answered() {
        let mut lanes = Lanes::new(100, 2, 2, Some(Gate { window_ns: 2, record_bytes: 200 }));
        let [first, second, third] = [0; 3].map(|key| begun(&mut lanes, key));
        assert_eq!(lanes.hand_over(first, 0, 10), HandOver::Go);
        assert_eq!(lanes.hand_over(second, 0, 12), HandOver::Go);
        assert_eq!(lanes.hand_over(third, 0, 13), HandOver::Wait);
        assert!(lanes.is_open(1, 13) && lanes.has_room(0), "another can be begun meanwhile");
        for lane in [first, second] {
            assert_eq!(lanes.hand_over(third, 0, 20), HandOver::Wait, "one is still open");
            assert!(lanes.close(lane).is_some());
            assert_eq!(lanes.release(lane, 0, false), lane == second);
        }
        assert_eq!(lanes.hand_over(third, 0, 20), HandOver::Go);
        assert_eq!(lanes.close(third).map(|send| send.sent_ns), Some(20), "it was sent when the client got it");
    }

    #[test]
    fn what_somebody_has_completed_is_not_handed_over() {
        let mut lanes = Lanes::new(2, 1, 1, Some(Gate { window_ns: 2, record_bytes: 200 }));
        let lane = begun(&mut lanes, 0);
        assert_eq!(lanes.close_all().len(), 1);
        assert_eq!(lanes.hand_over(lane, 0, 1), HandOver::Gone);
        assert!(lanes.release(lane, 0, true) && lanes.used() == 0);
    }

    #[test]
    fn a_gate_lets_no_more_through_than_one_batch_holds_and_as_much_waits_unless_a_record_is_a_batch() {
        for (record_bytes, share, batch) in [(200, 100, 4_500), (90_000, 20, 10), (2_000_000, 5, 5)] {
            let mut lanes = Lanes::new(100, 1, 1, Some(Gate { window_ns: 1, record_bytes }));
            assert_eq!((lanes.share, lanes.batch), (share, batch), "{record_bytes}");
            let begun: Vec<usize> = (0..share).map(|_| begun(&mut lanes, 0)).collect();
            assert!(!lanes.has_room(0));
            let gone = begun.iter().filter(|lane| lanes.hand_over(**lane, 0, 1) == HandOver::Go).count();
            assert_eq!(gone, share.min(batch), "{record_bytes}");
        }
    }

    #[test]
    fn what_is_still_open_is_given_up_once() {
        let mut lanes = Lanes::new(3, 1, 1, None);
        let (first, _) = lanes.take(0, || 1).unwrap();
        lanes.open(first, send(1, 0));
        assert_eq!(lanes.close_all().len(), 1);
        assert!(lanes.close_all().is_empty() && lanes.close(first).is_none());
    }

    #[test]
    fn offsets_counted_up_from_a_missing_one_are_missing_too() {
        for (reported, expected) in [
            (&[-1, 0, 1, 3, 4][..], &[None, None, None, Some(3), Some(4)][..]),
            (&[-1, 1, 2], &[None, Some(1), Some(2)]),
            (&[0, 1, 2], &[Some(0), Some(1), Some(2)]),
            (&[-1001, -1000, 0], &[None, None, Some(0)]),
            (&[7, -1, 0, 10], &[Some(7), None, None, Some(10)]),
        ] {
            let mut guard = OffsetGuard::default();
            let seen: Vec<_> = reported.iter().map(|offset| guard.check(*offset)).collect();
            assert_eq!(seen, expected, "{reported:?}");
        }
    }
}
