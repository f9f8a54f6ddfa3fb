//! As a table.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};
use kchaos_cluster::records::Marker;

use super::{Content, Peeked, Read, Shown};

pub(crate) fn text(peeked: &Peeked) -> String {
    let Peeked { topic, partition, leader, leader_epoch, log_start, high_watermark, last_stable, records } = peeked;
    let mut text = format!("{topic}:{partition} · leader {leader} (epoch {leader_epoch}) · offsets {log_start} to {high_watermark}");
    if last_stable < high_watermark {
        let _ = write!(text, " · readers of committed stop at {last_stable}");
    }
    text.push('\n');
    if records.is_empty() {
        text.push_str("no records there\n");
        return text;
    }
    let header = ["OFFSET", "TIME", "EPOCH", "KEY", "VALUE", "NOTES"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(records.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn row(record: &Shown) -> Vec<String> {
    let value = match (record.marker, &record.kchaos) {
        (Some(Marker::Commit), _) => "marker: COMMIT".to_owned(),
        (Some(Marker::Abort), _) => "marker: ABORT".to_owned(),
        (Some(Marker::Other), _) => "marker".to_owned(),
        (None, Some(described)) => {
            let bytes = record.value.as_ref().map_or(0, |value| value.bytes);
            format!(
                "kchaos: key {}, value {}, client {}, sequence {} ({bytes} bytes)",
                described.key, described.value, described.client, described.sequence
            )
        }
        (None, None) => written(record.value.as_ref()),
    };
    // A marker's key is its own kind, said already.
    let key = if record.marker.is_some() { "-".to_owned() } else { written(record.key.as_ref()) };
    vec![record.offset.to_string(), time(record.timestamp_ms), record.leader_epoch.to_string(), key, value, notes(record)]
}

fn notes(record: &Shown) -> String {
    let mut notes = Vec::new();
    if record.kchaos.is_some_and(|described| !described.is_intact) {
        notes.push("CHANGED: its checksum is another".to_owned());
    }
    if record.is_transactional && record.marker.is_none() {
        notes.push("transactional".to_owned());
    }
    if let Some(producer) = &record.producer {
        let sequence = producer.sequence.map_or(String::new(), |sequence| format!(" sequence {sequence}"));
        notes.push(format!("producer {}/{}{sequence}", producer.id, producer.epoch));
    }
    if record.codec != "none" {
        notes.push(record.codec.to_owned());
    }
    if record.is_log_append_time {
        notes.push("the broker's time".to_owned());
    }
    let headers = record.headers.iter().map(|(name, value)| format!("{name}={}", written(value.as_ref())));
    notes.extend(headers);
    notes.join(", ")
}

/// Quoted text, hex, or a dash for nothing.
fn written(content: Option<&Content>) -> String {
    let Some(Content { bytes, read, is_cut }) = content else { return "-".to_owned() };
    let text = match read {
        Read::Text(text) => format!("{text:?}"),
        Read::Hex(hex) => format!("0x{hex}"),
    };
    if *is_cut { format!("{text}… ({bytes} bytes)") } else { text }
}

fn time(unix_ms: i64) -> String {
    match DateTime::<Utc>::from_timestamp_millis(unix_ms) {
        Some(time) if unix_ms >= 0 => time.to_rfc3339_opts(SecondsFormat::Millis, true),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kchaos_workloads::Described;

    use super::super::ProducerState;
    use super::*;

    #[test]
    fn records_of_all_kinds() {
        let of = |bytes: &[u8]| Some(Content::of(bytes, 20));
        let plain = Shown {
            offset: 7,
            timestamp_ms: 1_790_000_000_123,
            leader_epoch: 2,
            key: of(b"alice"),
            value: of("a text that is longer than twenty bytes".as_bytes()),
            headers: vec![("trace".to_owned(), of(b"77")), ("none".to_owned(), None)],
            kchaos: None,
            marker: None,
            is_transactional: false,
            is_log_append_time: true,
            producer: None,
            codec: "none",
        };
        let described = Described { key: 0, value: 17, client: 3, sequence: 5, partition: 0, is_intact: false };
        let producer = Some(ProducerState { id: 4_000, epoch: 1, sequence: Some(9) });
        let ours = Shown { offset: 8, kchaos: Some(described), producer, codec: "zstd", headers: Vec::new(), ..plain.clone() };
        let transactional =
            Shown { offset: 9, value: of(&[0, 0xff]), is_transactional: true, producer, headers: Vec::new(), key: None, ..plain.clone() };
        let marker = Shown { offset: 10, marker: Some(Marker::Abort), key: of(&[0, 0, 0, 0]), timestamp_ms: -1, ..transactional.clone() };
        let peeked = Peeked {
            topic: "channel".to_owned(),
            leader: 2,
            leader_epoch: 2,
            high_watermark: 11,
            last_stable: 9,
            records: vec![plain, ours, transactional, marker],
            ..Peeked::default()
        };
        insta::assert_snapshot!(text(&peeked));
        crate::schema::conform::assert_conforms("peek", &serde_json::json!(peeked));
        crate::schema::conform::assert_conforms("peek", &serde_json::json!(Peeked::default()));
    }
}
