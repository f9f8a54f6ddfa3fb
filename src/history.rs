//! The formats of a history: how their files are called, and how each is written. (Reading them is the checkers'.)

use std::io::{self, Write};
use std::path::Path;

use clap::ValueEnum;
use kchaos_columns::Writer;
use kchaos_core::Op;

use crate::edn;

const ZSTD_LEVEL: i32 = 3;

/// What `kchaos convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFormat {
    /// JSON lines, which everybody reads
    #[value(name = "jsonl")]
    Jsonl,
    #[value(name = "jsonl.zst")]
    JsonlZstd,
    #[value(name = "jsonl.gz")]
    JsonlGzip,
    /// Jepsen's EDN
    #[value(name = "edn")]
    Edn,
    /// The compact history (.kch): about 10 bytes a send
    #[value(name = "columns")]
    Columns,
    /// A table, a row for each send and record: only where kchaos was built with --features parquet
    #[value(name = "parquet")]
    Parquet,
}

impl HistoryFormat {
    /// By a file's name.
    pub(crate) fn named(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let ends = [
            (".jsonl", Self::Jsonl),
            (".json", Self::Jsonl),
            (".jsonl.zst", Self::JsonlZstd),
            (".jsonl.gz", Self::JsonlGzip),
            (".edn", Self::Edn),
            (".kch", Self::Columns),
            (".parquet", Self::Parquet),
        ];
        ends.into_iter().find(|(end, _)| name.ends_with(end)).map(|(_, format)| format)
    }

    /// Whether this kchaos was built to write it.
    pub(crate) fn is_built(self) -> bool {
        self != Self::Parquet || cfg!(feature = "parquet")
    }
}

/// Where ops are written to, in one of the formats.
pub(crate) struct Sink<W: Write + Send> {
    output: Output<W>,
    line: String,
}

enum Output<W: Write + Send> {
    Plain(W),
    Zstd(zstd::Encoder<'static, W>),
    Gzip(flate2::write::GzEncoder<W>),
    Edn(W),
    Columns(Box<Writer<W>>),
    #[cfg(feature = "parquet")]
    Parquet(Box<crate::parquet::Table<W>>),
}

impl<W: Write + Send> Sink<W> {
    pub(crate) fn new(output: W, format: HistoryFormat) -> io::Result<Self> {
        let output = match format {
            HistoryFormat::Jsonl => Output::Plain(output),
            HistoryFormat::JsonlZstd => Output::Zstd(zstd::Encoder::new(output, ZSTD_LEVEL)?),
            HistoryFormat::JsonlGzip => Output::Gzip(flate2::write::GzEncoder::new(output, flate2::Compression::default())),
            HistoryFormat::Edn => Output::Edn(output),
            HistoryFormat::Columns => Output::Columns(Box::new(Writer::new(output)?)),
            #[cfg(feature = "parquet")]
            HistoryFormat::Parquet => Output::Parquet(Box::new(crate::parquet::Table::new(output)?)),
            #[cfg(not(feature = "parquet"))]
            HistoryFormat::Parquet => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Self { output, line: String::new() })
    }

    pub(crate) fn write(&mut self, op: &Op) -> io::Result<()> {
        if let Output::Columns(writer) = &mut self.output {
            return writer.write(op);
        }
        #[cfg(feature = "parquet")]
        if let Output::Parquet(table) = &mut self.output {
            return table.write(op);
        }
        self.line.clear();
        if let Output::Edn(_) = self.output {
            edn::write(op, &mut self.line);
        } else {
            op.write_json(&mut self.line);
        }
        self.line.push('\n');
        let line = self.line.as_bytes();
        match &mut self.output {
            Output::Plain(output) | Output::Edn(output) => output.write_all(line),
            Output::Zstd(output) => output.write_all(line),
            Output::Gzip(output) => output.write_all(line),
            Output::Columns(_) => Ok(()),
            #[cfg(feature = "parquet")]
            Output::Parquet(_) => Ok(()),
        }
    }

    /// Ends the file. One that is `cut` was so before: where the format can tell, it goes on telling.
    pub(crate) fn finish(self, cut: bool) -> io::Result<()> {
        match self.output {
            Output::Plain(mut output) | Output::Edn(mut output) => output.flush(),
            Output::Zstd(mut output) if cut => output.flush(),
            Output::Zstd(output) => output.finish()?.flush(),
            Output::Gzip(output) => output.finish()?.flush(),
            Output::Columns(mut writer) if cut => writer.flush(),
            Output::Columns(writer) => writer.finish()?.flush(),
            #[cfg(feature = "parquet")]
            Output::Parquet(table) => table.finish(),
        }
    }
}
