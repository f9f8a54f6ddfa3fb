//! Latency over small histories.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use kchaos_core::{Body, Extra, Op, OpType, Polled, Process, Send};

use crate::latency::{Latency, LatencyReport, READ_LAG, RunPhase};

const MS: u64 = 1_000_000;

fn op(time_ms: u64, process: Process, op_type: OpType, body: Body) -> Op {
    Op { index: 0, time_ns: time_ms * MS, process, op_type, body, error: None, client: None, node: None, extra: Extra::default() }
}

fn phase(time_ms: u64, value: serde_json::Value) -> Op {
    op(time_ms, Process::Nemesis, OpType::Info, Body::Nemesis { f: "phase".into(), value })
}

fn send(intended_ms: u64, invoked_ms: u64, acked_ms: u64, value: i64) -> [Op; 2] {
    let body = |offset| Body::Send(vec![Send { key: 0, value, offset }]);
    let mut invoke = op(invoked_ms, Process::Client(value as u32), OpType::Invoke, body(None));
    invoke.extra.intended_ns = Some(intended_ms * MS);
    [invoke, op(acked_ms, Process::Client(value as u32), OpType::Ok, body(Some(value)))]
}

fn poll(time_ms: u64, value: i64) -> Op {
    op(time_ms, Process::Client(99), OpType::Ok, Body::Poll(Some(Polled(vec![(0, vec![(value, value)])]))))
}

fn measured() -> (LatencyReport, Vec<u8>) {
    let mut ops: Vec<Op> = Vec::new();
    ops.push(phase(0, "before".into()));
    ops.extend(send(100, 100, 110, 1));
    ops.push(poll(130, 1));
    ops.push(phase(1_000, serde_json::json!({"phase": "trouble"})));
    // Due at 1.5 s, but no lane was free until 4 s.
    ops.extend(send(1_500, 4_000, 4_500, 2));
    ops.push(phase(5_000, "recovery".into()));
    ops.push(phase(6_000, "finale".into()));
    ops.extend(send(6_100, 6_100, 6_105, 3));
    let mut reread = poll(7_000, 3);
    reread.extra.is_final = true;
    ops.push(reread);
    let mut latency = Latency::new(1_700_000_000 * 1_000 * MS);
    ops.iter().for_each(|op| latency.op(op));
    latency.finish()
}

#[test]
fn latency_counts_from_the_intended_start_and_belongs_to_the_phase_it_started_in() {
    let (report, _) = measured();
    let max_ms = |name: &str, phase| report.ops[name].get(&phase).map(|d| (d.n, d.max_ns / MS));
    assert_eq!(max_ms("send", RunPhase::Before), Some((1, 10)));
    // Three digits: a maximum is the upper end of its bucket.
    assert_eq!(max_ms("send", RunPhase::Trouble), Some((1, 3_001)));
    assert_eq!(max_ms("send", RunPhase::After), Some((1, 5)));
    assert_eq!(report.total["send"].n, 3);
    assert_eq!(
        report.phases.iter().map(|(phase, ns)| (*phase, ns / MS)).collect::<Vec<_>>(),
        [(RunPhase::Before, 0), (RunPhase::Trouble, 1_000), (RunPhase::After, 5_000)]
    );
}

#[test]
fn read_lag_is_from_intended_start_to_first_read_and_leaves_out_the_finale() {
    let (report, _) = measured();
    assert_eq!(report.ops[READ_LAG].keys().collect::<Vec<_>>(), [&RunPhase::Before]);
    assert_eq!(report.total[READ_LAG].max_ns / MS, 30);
}

#[test]
fn the_series_has_a_point_a_second_and_no_latency_where_nothing_was_acknowledged() {
    let (report, _) = measured();
    let points: Vec<_> = report.series.points.iter().map(|point| (point.ok, point.max_ns.map(|ns| ns / MS))).collect();
    assert_eq!(report.series.width_ns, 1_000 * MS);
    assert_eq!(points, [(1, Some(10)), (0, None), (0, None), (0, None), (1, Some(3_001)), (0, None), (1, Some(5))]);
}

#[test]
fn what_was_acknowledged_and_not_read_is_counted_each_second_with_the_age_of_the_oldest() {
    let (report, _) = measured();
    let unseen: Vec<_> = report.series.points.iter().map(|point| (point.unseen, point.unseen_age_ns / MS)).collect();
    // Value 2, acknowledged at 4.5 s, is never read; value 3 only by the finale, at 7 s.
    assert_eq!(unseen, [(0, 0), (0, 0), (0, 0), (0, 0), (1, 500), (1, 1_500), (2, 2_500)]);
}

#[test]
fn a_value_that_is_read_before_its_acknowledgement_or_never_sent_is_not_unseen() {
    let mut latency = Latency::new(0);
    let [invoke, ok] = send(0, 10, 30, 1);
    let [_, failed] = send(0, 10, 40, 2);
    let failed = Op { op_type: OpType::Fail, ..failed };
    for op in [invoke, poll(20, 1), ok, poll(35, 7), failed, poll(2_500, 8)] {
        latency.op(&op);
    }
    assert!(latency.finish().0.series.points.iter().all(|point| point.unseen == 0 && point.unseen_age_ns == 0));
}

#[test]
fn a_run_of_a_day_has_no_more_points_than_one_of_an_hour() {
    let mut latency = Latency::new(0);
    for second in 0..86_400 {
        send(second * 1_000, second * 1_000, second * 1_000 + second % 50, second as i64).iter().for_each(|op| latency.op(op));
        if second % 600 == 0 {
            latency.take_log();
        }
    }
    let (report, _) = latency.finish();
    assert!(report.series.points.len() <= 3_600, "{}", report.series.points.len());
    assert_eq!(report.series.points.iter().map(|point| point.ok).sum::<u64>(), 86_400);
}

#[test]
fn the_interval_log_is_read_back_by_the_standard_reader() {
    let (_, log) = measured();
    let text = String::from_utf8(log.clone()).unwrap();
    assert!(text.contains("#[BaseTime: 1700000000.000 (seconds since epoch)]\n"), "{text}");
    assert_eq!(text.matches("MaxValueDivisor").count(), 1);
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = base64_decode(interval.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            found.push((
                interval.tag().unwrap().as_str().to_owned(),
                interval.start_timestamp().as_secs(),
                histogram.len(),
                histogram.max() / MS,
            ));
        }
    }
    assert_eq!(
        found,
        [
            ("read-lag/before".to_owned(), 0, 1, 30),
            ("send/before".to_owned(), 0, 1, 10),
            ("send/trouble".to_owned(), 4, 1, 3_001),
            ("send/after".to_owned(), 6, 1, 5),
        ]
    );
}

/// Base64 of the standard alphabet: only this test needs it.
fn base64_decode(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = (bits << 6) | ALPHABET.iter().position(|other| *other == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
