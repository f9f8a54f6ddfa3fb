//! `latency.hlog`: the HDR interval log, which HdrHistogram's own tools read.
//!
//! One line for each second, op and phase: `Tag=send/trouble,START,LENGTH,MAX,HISTOGRAM`, where START counts from the log's BaseTime (the
//! standard reader guesses, if there is none, whether times are absolute), MAX is in milliseconds for people, and the histogram is the
//! V2 encoding, deflated, in base64, of values in nanoseconds.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::latency::{RunPhase, latency_histogram};

const SECOND_NS: u64 = 1_000_000_000;
/// The tools' own convention: values in nanoseconds, the line's maximum in milliseconds.
const MAX_VALUE_DIVISOR: f64 = 1_000_000.0;

pub(crate) struct IntervalLog {
    second: u64,
    current: BTreeMap<(&'static str, RunPhase), Histogram<u64>>,
    serializer: V2DeflateSerializer,
    text: Vec<u8>,
}

impl IntervalLog {
    pub(crate) fn new(base_unix_ns: u64) -> Self {
        let mut log = Self { second: 0, current: BTreeMap::new(), serializer: V2DeflateSerializer::new(), text: Vec::new() };
        let base = SystemTime::UNIX_EPOCH + Duration::from_nanos(base_unix_ns);
        let mut builder = IntervalLogWriterBuilder::new();
        builder
            .add_comment("[kchaos: latency from the intended start, nanoseconds; Tag=op/phase]")
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(base)
            .with_base_time(base)
            .with_max_value_divisor(MAX_VALUE_DIVISOR);
        // Writing to memory cannot fail.
        let _ = builder.begin_log_with(&mut log.text, &mut log.serializer).map(drop);
        log
    }

    pub(crate) fn advance(&mut self, time_ns: u64) {
        let second = time_ns / SECOND_NS;
        if second > self.second {
            self.close();
            self.second = second;
        }
    }

    pub(crate) fn record(&mut self, name: &'static str, phase: RunPhase, latency_ns: u64) {
        self.current.entry((name, phase)).or_insert_with(latency_histogram).saturating_record(latency_ns);
    }

    /// Writes the current second.
    pub(crate) fn close(&mut self) {
        for ((name, phase), histogram) in &mut self.current {
            if histogram.is_empty() {
                continue;
            }
            let tag = format!("{name}/{}", phase.name());
            let mut lines = Vec::new();
            // Writing to memory cannot fail, and these histograms are far smaller than what the encoding can hold.
            if let Ok(mut writer) =
                IntervalLogWriterBuilder::new().with_max_value_divisor(MAX_VALUE_DIVISOR).begin_log_with(&mut lines, &mut self.serializer)
            {
                let _ = writer.write_histogram(histogram, Duration::from_secs(self.second), Duration::from_secs(1), Tag::new(&tag));
            }
            // Each writer repeats the divisor's comment; the log has it once.
            let line = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
            line.for_each(|line| self.text.extend_from_slice(line));
            histogram.reset();
        }
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }
}
