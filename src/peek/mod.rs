//! What stands in a partition, for people: records and what Kafka keeps beside them.
//!
//! Read by our own client from the leader, batch by batch, since a consumer is not told who appended a record, in which transaction, and what
//! markers lie between.

mod show;

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::protocol::{Client, FetchRequest, ProtocolError, Timeouts};
use kchaos_cluster::records::{self, Batch, Marker, Record};
use kchaos_workloads::Described;
use serde::Serialize;

use crate::cli::From;
use crate::exit::Failure;

pub(crate) use show::text;

/// Of one answer; a batch that is larger comes whole all the same.
const FETCH_BYTES: i32 = 1 << 20;
/// For a leader to be found: as long as an election may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A batch of 99 MiB by a slow line.
const REQUEST: Duration = Duration::from_secs(30);
/// No leader, or no longer this one, or one that does not know it yet.
const PASSING: &[i16] = &[5, 6, 74, 75, 76];

/// What is to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) from: From,
    pub(crate) count: usize,
    /// Bytes of a key or a value; 0: all.
    pub(crate) width: usize,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Peeked {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) log_start: i64,
    /// The end, for who reads everything, and for who reads committed only.
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) records: Vec<Shown>,
}

/// A record and what Kafka keeps beside it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) offset: i64,
    pub(crate) timestamp_ms: i64,
    /// Of the batch that it came in.
    pub(crate) leader_epoch: i32,
    pub(crate) key: Option<Content>,
    pub(crate) value: Option<Content>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(String, Option<Content>)>,
    /// A record of kchaos, decoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kchaos: Option<Described>,
    /// A transaction's end; no consumer is given it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) marker: Option<Marker>,
    pub(crate) is_transactional: bool,
    pub(crate) is_log_append_time: bool,
    /// Of an idempotent or transactional producer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) producer: Option<ProducerState>,
    pub(crate) codec: &'static str,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ProducerState {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sequence: Option<i64>,
}

/// Bytes as people read them; cut where they are long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Content {
    pub(crate) bytes: usize,
    #[serde(flatten)]
    pub(crate) read: Read,
    pub(crate) is_cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Read {
    Text(String),
    Hex(String),
}

impl Content {
    /// Text where all that is shown is text.
    pub(crate) fn of(bytes: &[u8], width: usize) -> Self {
        let width = if width == 0 { bytes.len() } else { width };
        let shown = &bytes[..bytes.len().min(width)];
        // A character that the cut went through is left out.
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() && shown.len() < bytes.len() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let read = match text.filter(|text| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))) {
            Some(text) => Read::Text(text.to_owned()),
            None => Read::Hex(shown.iter().take(width.div_ceil(2)).map(|byte| format!("{byte:02x}")).collect()),
        };
        let is_cut = match &read {
            Read::Text(text) => text.len() < bytes.len(),
            Read::Hex(hex) => hex.len() / 2 < bytes.len(),
        };
        Self { bytes: bytes.len(), read, is_cut }
    }
}

/// Looks at a partition as its leader has it.
pub(crate) async fn peek(inventory: &Inventory, wish: &Wish) -> Result<Peeked, Failure> {
    let timeouts = Timeouts { request: REQUEST, ..Timeouts::default() };
    let client = Client::new(inventory, timeouts).map_err(Failure::usage)?;
    let began = Instant::now();
    loop {
        match try_peek(&client, wish).await {
            Ok(peeked) => {
                return peeked.with_context(|| format!("peek into {}:{}", wish.topic, wish.partition)).map_err(Failure::environment);
            }
            Err(error) => {
                let is_passing = error.code().is_some_and(|code| PASSING.contains(&code))
                    || matches!(error, ProtocolError::Connect { .. } | ProtocolError::NoLeader | ProtocolError::NoneAnswered { .. });
                if !is_passing || began.elapsed() > PATIENCE {
                    return Err(Failure::environment(anyhow!(error).context(format!("peek into {}:{}", wish.topic, wish.partition))));
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
    }
}

/// The outer error is the cluster's word, the inner one about what lies in the log.
async fn try_peek(client: &Client, wish: &Wish) -> Result<Result<Peeked, anyhow::Error>, ProtocolError> {
    let Wish { topic, partition, .. } = wish;
    let metadata = client.metadata_from_any(Some(std::slice::from_ref(topic))).await?;
    let found = metadata.topics.iter().filter(|told| told.topic == *topic).flat_map(|told| &told.partitions);
    let found = found.into_iter().find(|told| told.partition == *partition);
    let found = found.ok_or_else(|| ProtocolError::NoPartition { topic: topic.clone(), partition: *partition })?;
    let leader = found.leader.ok_or(ProtocolError::NoLeader)?;
    let bounds = client.log_bounds(leader, topic, *partition, found.leader_epoch).await?;
    let start = match wish.from {
        From::Earliest => bounds.start,
        From::Offset(offset) => offset.clamp(bounds.start, bounds.end),
        From::BeforeEnd(count) => (bounds.end - count).max(bounds.start),
    };
    let mut peeked = Peeked {
        topic: topic.clone(),
        partition: *partition,
        leader,
        leader_epoch: found.leader_epoch,
        log_start: bounds.start,
        high_watermark: bounds.end,
        last_stable: bounds.end,
        records: Vec::new(),
    };
    let mut offset = start;
    while offset < bounds.end && peeked.records.len() < wish.count {
        let request = FetchRequest { topic, partition: *partition, leader_epoch: found.leader_epoch, offset, bytes_max: FETCH_BYTES };
        let fetched = client.fetch(leader, request).await?;
        peeked.last_stable = fetched.last_stable;
        let batches = match records::batches(&fetched.batches) {
            Ok(batches) => batches,
            Err(error) => return Ok(Err(error.into())),
        };
        let Some(last) = batches.last() else { break };
        let next = last.last_offset + 1;
        for batch in batches {
            take(batch, start, wish, &mut peeked);
        }
        offset = next.max(offset + 1);
    }
    if start >= bounds.end {
        peeked.last_stable = client.stable_offset(leader, topic, *partition, found.leader_epoch).await?;
    }
    Ok(Ok(peeked))
}

fn take(mut batch: Batch, start: i64, wish: &Wish, peeked: &mut Peeked) {
    let records = std::mem::take(&mut batch.records);
    for record in records {
        // A batch begins before the offset that was asked for, and ends behind the high watermark that was told.
        let is_wanted = record.offset >= start && record.offset < peeked.high_watermark;
        if is_wanted && peeked.records.len() < wish.count {
            peeked.records.push(shown(&batch, &record, wish.width));
        }
    }
}

fn shown(batch: &Batch, record: &Record, width: usize) -> Shown {
    let content = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| Content::of(bytes, width));
    let sequence = (batch.first_sequence >= 0).then(|| i64::from(batch.first_sequence) + (record.offset - batch.first_offset));
    Shown {
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        leader_epoch: batch.leader_epoch,
        key: content(&record.key),
        value: content(&record.value),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), content(value))).collect(),
        kchaos: record.value.as_deref().and_then(|value| kchaos_workloads::describe(record.key.as_deref(), value)),
        marker: batch.is_control.then(|| record.marker()),
        is_transactional: batch.is_transactional,
        is_log_append_time: batch.is_log_append_time,
        producer: (batch.producer_id >= 0).then_some(ProducerState { id: batch.producer_id, epoch: batch.producer_epoch, sequence }),
        codec: batch.codec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_where_they_are_and_cut_at_a_character() {
        let text = |bytes: &[u8], width| match Content::of(bytes, width) {
            Content { read: Read::Text(text), is_cut, bytes } => (text, is_cut, bytes),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"hello", 100), ("hello".to_owned(), false, 5));
        assert_eq!(text("grüße".as_bytes(), 3), ("gr".to_owned(), true, 7), "the cut went through ü");
        assert_eq!(text(b"", 10), (String::new(), false, 0));
        assert_eq!(text(b"abc", 0), ("abc".to_owned(), false, 3), "no limit");
    }

    #[test]
    fn other_bytes_are_shown_as_hex() {
        let content = Content::of(&[0, 1, 0xff, 0x10], 4);
        assert_eq!(content, Content { bytes: 4, read: Read::Hex("0001".to_owned()), is_cut: true });
        assert_eq!(Content::of(&[0xff], 100).read, Read::Hex("ff".to_owned()));
    }
}
