//! The run second by second, for a report's timeline, in bounded memory.
//!
//! A run of up to an hour has one point a second. A longer one has points of 2, 4, 8 … seconds: counts are added, and a quantile of a
//! joined point is the worst of its seconds' (quantiles cannot be added, and the worst is what a reader looks for).

use hdrhistogram::Histogram;
use kchaos_core::OpType;
use serde::{Deserialize, Serialize};

use crate::latency::latency_histogram;

const SECOND_NS: u64 = 1_000_000_000;
const POINTS_MAX: usize = 3_600;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// How long one point lasts; the first begins at 0.
    pub width_ns: u64,
    pub points: Vec<Point>,
}

/// What completed within one point, and how long it had taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Writes, by what became of them.
    pub ok: u64,
    pub info: u64,
    pub fail: u64,
    /// Records that polls returned.
    pub read: u64,
    /// Of acknowledged writes, from their intended start; absent when there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ns: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ns: Option<u64>,
    /// From a value's intended start until it was first read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_lag_p99_ns: Option<u64>,
    /// Values that had been acknowledged and not been read when the point ended; of several seconds the most.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen: u64,
    /// How long the oldest of them had been acknowledged by then: the readers' lag in real time.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen_age_ns: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How many, and since when the oldest.
pub(crate) type Unseen = (u64, Option<u64>);

pub(crate) struct SeriesBuilder {
    points: Vec<Point>,
    /// Seconds in a point.
    stride: u64,
    /// The second that `current` describes.
    second: u64,
    /// The second before it, which a longer run's points would have joined.
    last: Option<Point>,
    current: Point,
    writes: Histogram<u64>,
    read_lag: Histogram<u64>,
}

impl Default for SeriesBuilder {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            stride: 1,
            second: 0,
            last: None,
            current: Point::default(),
            writes: latency_histogram(),
            read_lag: latency_histogram(),
        }
    }
}

impl SeriesBuilder {
    /// `unseen` tells how many acknowledged values are unread, and since when the oldest is. It is asked once for all seconds that end here.
    pub(crate) fn advance(&mut self, time_ns: u64, unseen: impl FnOnce() -> Unseen) {
        if self.second >= time_ns / SECOND_NS {
            return;
        }
        let unseen = unseen();
        while self.second < time_ns / SECOND_NS {
            self.close(unseen);
        }
    }

    pub(crate) fn completed(&mut self, op_type: OpType, writes: u64) {
        match op_type {
            OpType::Ok => self.current.ok += writes,
            OpType::Info => self.current.info += writes,
            OpType::Fail => self.current.fail += writes,
            OpType::Invoke => {}
        }
    }

    pub(crate) fn read(&mut self, records: u64) {
        self.current.read += records;
    }

    pub(crate) fn write_latency(&mut self, latency_ns: u64) {
        self.writes.saturating_record(latency_ns);
    }

    pub(crate) fn read_lag(&mut self, latency_ns: u64) {
        self.read_lag.saturating_record(latency_ns);
    }

    pub(crate) fn finish(mut self, end_ns: u64, unseen: Unseen) -> Series {
        self.advance(end_ns, || unseen);
        if self.current != Point::default() {
            self.close(unseen);
        }
        Series { width_ns: self.stride * SECOND_NS, points: self.points }
    }

    pub(crate) fn last_second(&self) -> Option<Point> {
        self.last
    }

    /// Ends the current second.
    fn close(&mut self, (unseen, since_ns): Unseen) {
        let mut point = std::mem::take(&mut self.current);
        point.unseen = unseen;
        point.unseen_age_ns = since_ns.map_or(0, |since_ns| ((self.second + 1) * SECOND_NS).saturating_sub(since_ns));
        if !self.writes.is_empty() {
            let max_ns = self.writes.max();
            point.max_ns = Some(max_ns);
            point.p50_ns = Some(self.writes.value_at_quantile(0.5).min(max_ns));
            point.p99_ns = Some(self.writes.value_at_quantile(0.99).min(max_ns));
            self.writes.reset();
        }
        if !self.read_lag.is_empty() {
            point.read_lag_p99_ns = Some(self.read_lag.value_at_quantile(0.99).min(self.read_lag.max()));
            self.read_lag.reset();
        }
        self.last = Some(point);
        let at = (self.second / self.stride) as usize;
        match self.points.get_mut(at) {
            Some(joined) => joined.join(&point),
            None => self.points.push(point),
        }
        self.second += 1;
        if self.points.len() > POINTS_MAX {
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.points = self
            .points
            .chunks(2)
            .map(|pair| {
                let mut joined = pair[0];
                pair[1..].iter().for_each(|other| joined.join(other));
                joined
            })
            .collect();
        self.stride *= 2;
    }
}

impl Point {
    fn join(&mut self, other: &Point) {
        self.ok += other.ok;
        self.info += other.info;
        self.fail += other.fail;
        self.read += other.read;
        self.p50_ns = self.p50_ns.max(other.p50_ns);
        self.p99_ns = self.p99_ns.max(other.p99_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
        self.read_lag_p99_ns = self.read_lag_p99_ns.max(other.read_lag_p99_ns);
        self.unseen = self.unseen.max(other.unseen);
        self.unseen_age_ns = self.unseen_age_ns.max(other.unseen_age_ns);
    }
}
