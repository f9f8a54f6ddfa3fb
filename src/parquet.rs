//! A history as a table, for DuckDB, pandas and their like: one row for each send and each record of a poll (docs/columns.md).
//!
//! Why only as an output: a table has no place for what makes a history an accusation (rebalances, nemeses' data, commit times), so none can be
//! read back from it.
//!
//! Memory: one row group, and no more text than [`TEXT_BYTES`].

use std::io::{self, Write};
use std::sync::Arc;

use kchaos_core::{Body, Key, MicroOp, Offset, Op, Polled, Process, Value};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

const SCHEMA: &str = "message history {
    REQUIRED INT64 index;
    REQUIRED INT64 time_ns;
    OPTIONAL INT64 process;
    REQUIRED BYTE_ARRAY type (STRING);
    REQUIRED BYTE_ARRAY f (STRING);
    OPTIONAL BYTE_ARRAY micro_op (STRING);
    OPTIONAL INT64 key;
    OPTIONAL INT64 offset;
    OPTIONAL INT64 value;
    OPTIONAL INT64 client;
    OPTIONAL BYTE_ARRAY error (STRING);
    OPTIONAL BYTE_ARRAY node (STRING);
}";
/// Numbers that mostly grow.
const DELTAS: [&str; 4] = ["index", "time_ns", "offset", "value"];
const ZSTD_LEVEL: i32 = 3;
const GROUP_ROWS: usize = 1 << 18;
const TEXT_BYTES: usize = 32 << 20;

pub(crate) struct Table<W: Write + Send> {
    file: SerializedFileWriter<W>,
    rows: Rows,
}

/// A row group that is not written yet.
#[derive(Default)]
struct Rows {
    index: Column<i64>,
    time_ns: Column<i64>,
    process: Column<i64>,
    op_type: Column<ByteArray>,
    f: Column<ByteArray>,
    micro_op: Column<ByteArray>,
    key: Column<i64>,
    offset: Column<i64>,
    value: Column<i64>,
    client: Column<i64>,
    error: Column<ByteArray>,
    node: Column<ByteArray>,
    text_bytes: usize,
}

struct Column<T> {
    values: Vec<T>,
    /// 1 where there is a value, 0 where there is none.
    levels: Vec<i16>,
}

/// What differs between the rows of one op.
#[derive(Clone, Copy, Default)]
struct Part {
    micro_op: Option<&'static str>,
    key: Option<Key>,
    offset: Option<Offset>,
    value: Option<Value>,
}

impl<W: Write + Send> Table<W> {
    pub(crate) fn new(output: W) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(SCHEMA).map_err(broken)?);
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(broken)?;
        let mut properties = WriterProperties::builder().set_compression(Compression::ZSTD(level));
        for name in DELTAS {
            properties = properties.set_column_dictionary_enabled(name.into(), false);
            properties = properties.set_column_encoding(name.into(), Encoding::DELTA_BINARY_PACKED);
        }
        let file = SerializedFileWriter::new(output, schema, Arc::new(properties.build())).map_err(broken)?;
        Ok(Self { file, rows: Rows::default() })
    }

    pub(crate) fn write(&mut self, op: &Op) -> io::Result<()> {
        self.rows.op(op);
        if self.rows.index.levels.len() >= GROUP_ROWS || self.rows.text_bytes >= TEXT_BYTES {
            self.group().map_err(broken)?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.rows.index.levels.is_empty() {
            self.group().map_err(broken)?;
        }
        self.file.into_inner().map_err(broken)?.flush()
    }

    fn group(&mut self) -> Result<(), ParquetError> {
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.file.next_row_group()?;
        // In the order of the schema.
        rows.index.write::<_, Int64Type>(&mut group)?;
        rows.time_ns.write::<_, Int64Type>(&mut group)?;
        rows.process.write::<_, Int64Type>(&mut group)?;
        rows.op_type.write::<_, ByteArrayType>(&mut group)?;
        rows.f.write::<_, ByteArrayType>(&mut group)?;
        rows.micro_op.write::<_, ByteArrayType>(&mut group)?;
        rows.key.write::<_, Int64Type>(&mut group)?;
        rows.offset.write::<_, Int64Type>(&mut group)?;
        rows.value.write::<_, Int64Type>(&mut group)?;
        rows.client.write::<_, Int64Type>(&mut group)?;
        rows.error.write::<_, ByteArrayType>(&mut group)?;
        rows.node.write::<_, ByteArrayType>(&mut group)?;
        group.close()?;
        Ok(())
    }
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), levels: Vec::new() }
    }
}

impl<T> Column<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    fn write<W: Write + Send, D: DataType<T = T>>(&self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else { return Ok(()) };
        column.typed::<D>().write_batch(&self.values, Some(&self.levels), None)?;
        column.close()
    }
}

impl Rows {
    fn op(&mut self, op: &Op) {
        let before = self.index.levels.len();
        match &op.body {
            Body::Send(sends) => sends.iter().for_each(|send| self.send(op, send)),
            Body::Poll(polled) => self.polled(op, polled.as_ref()),
            Body::Txn(parts) => parts.iter().for_each(|part| match part {
                MicroOp::Send(send) => self.send(op, send),
                MicroOp::Poll(polled) => self.polled(op, polled.as_ref()),
            }),
            Body::Assign { keys, .. } | Body::Subscribe { keys } => keys.iter().for_each(|key| self.place(op, *key, None)),
            Body::Commit(offsets) => offsets.iter().for_each(|(key, offset)| self.place(op, *key, Some(*offset))),
            Body::Committed { keys, offsets } => {
                keys.iter().filter(|key| !offsets.contains_key(key)).for_each(|key| self.place(op, *key, None));
                offsets.iter().for_each(|(key, offset)| self.place(op, *key, Some(*offset)));
            }
            Body::Read { key, value } => self.row(op, Part { key: Some(*key), value: *value, ..Part::default() }),
            Body::Write { key, value } | Body::Cas { key, new: value, .. } => {
                self.row(op, Part { key: Some(*key), value: Some(*value), ..Part::default() });
            }
            Body::Crash | Body::Nemesis { .. } | Body::Unknown { .. } => {}
        }
        if self.index.levels.len() == before {
            self.row(op, Part::default());
        }
    }

    fn send(&mut self, op: &Op, send: &kchaos_core::Send) {
        self.row(op, Part { micro_op: Some("send"), key: Some(send.key), offset: send.offset, value: Some(send.value) });
    }

    /// A poll that returned nothing is a row as well.
    fn polled(&mut self, op: &Op, polled: Option<&Polled>) {
        let poll = Part { micro_op: Some("poll"), ..Part::default() };
        let mut is_empty = true;
        for (key, records) in polled.iter().flat_map(|polled| &polled.0) {
            for (offset, value) in records {
                is_empty = false;
                self.row(op, Part { key: Some(*key), offset: Some(*offset), value: Some(*value), ..poll });
            }
        }
        if is_empty {
            self.row(op, poll);
        }
    }

    fn place(&mut self, op: &Op, key: Key, offset: Option<Offset>) {
        self.row(op, Part { key: Some(key), offset, ..Part::default() });
    }

    fn row(&mut self, op: &Op, part: Part) {
        let clamp = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let process = match op.process {
            Process::Client(process) => Some(i64::from(process)),
            Process::Nemesis => None,
        };
        self.index.push(Some(clamp(op.index)));
        self.time_ns.push(Some(clamp(op.time_ns)));
        self.process.push(process);
        self.op_type.push(Some(op.op_type.name().into()));
        self.f.push(Some(op.body.f().into()));
        self.micro_op.push(part.micro_op.map(ByteArray::from));
        self.key.push(part.key);
        // -1 is told by readers that know no offsets.
        self.offset.push(part.offset.filter(|offset| *offset >= 0));
        self.value.push(part.value);
        self.client.push(op.client.map(i64::from));
        self.error.push(op.error.as_deref().map(ByteArray::from));
        self.node.push(op.node.as_deref().map(ByteArray::from));
        let texts = [Some(op.body.f()), op.error.as_deref(), op.node.as_deref()];
        self.text_bytes += texts.into_iter().flatten().map(str::len).sum::<usize>();
    }
}

/// The output's own error, where there is one.
fn broken(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    #[test]
    fn each_send_each_record_and_each_op_without_either_is_a_row() {
        let lines = r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"txn","value":[["send",0,7],["poll"]],"client":3}
{"index":1,"time":2,"process":0,"type":"ok","f":"txn","value":[["send",0,[null,7]],["poll",{"1":[[4,8],[5,9]]}]],"client":3,"node":"b1"}
{"index":2,"time":3,"process":"nemesis","type":"info","f":"phase","value":"before"}
{"index":3,"time":4,"process":1,"type":"fail","f":"commit","value":{"1":6},"group":"g","error":"refused"}
"#;
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut table = Table::new(File::create(path.path()).unwrap()).unwrap();
        kchaos_checkers::read_ops(lines.as_bytes(), "lines", |op| table.write(op).unwrap()).unwrap();
        table.finish().unwrap();
        let reader = SerializedFileReader::new(File::open(path.path()).unwrap()).unwrap();
        let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        let told: Vec<&str> = vec![
            r#"{index: 0, time_ns: 1, process: 0, type: "invoke", f: "txn", micro_op: "send", key: 0, offset: null, value: 7, client: 3, error: null, node: null}"#,
            r#"{index: 0, time_ns: 1, process: 0, type: "invoke", f: "txn", micro_op: "poll", key: null, offset: null, value: null, client: 3, error: null, node: null}"#,
            r#"{index: 1, time_ns: 2, process: 0, type: "ok", f: "txn", micro_op: "send", key: 0, offset: null, value: 7, client: 3, error: null, node: "b1"}"#,
            r#"{index: 1, time_ns: 2, process: 0, type: "ok", f: "txn", micro_op: "poll", key: 1, offset: 4, value: 8, client: 3, error: null, node: "b1"}"#,
            r#"{index: 1, time_ns: 2, process: 0, type: "ok", f: "txn", micro_op: "poll", key: 1, offset: 5, value: 9, client: 3, error: null, node: "b1"}"#,
            r#"{index: 2, time_ns: 3, process: null, type: "info", f: "phase", micro_op: null, key: null, offset: null, value: null, client: null, error: null, node: null}"#,
            r#"{index: 3, time_ns: 4, process: 1, type: "fail", f: "commit", micro_op: null, key: 1, offset: 6, value: null, client: null, error: "refused", node: null}"#,
        ];
        assert_eq!(rows, told);
    }
}
