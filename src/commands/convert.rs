//! `kchaos convert`: a history in another format.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::cli::ConvertArgs;
use crate::exit::{self, Failure};
use crate::history::{HistoryFormat, Sink};

const BUFFER_BYTES: usize = 1 << 20;

pub(super) fn run(args: &ConvertArgs) -> Result<u8, Failure> {
    let is_stdout = args.output.as_os_str() == "-";
    let format = args.to.or_else(|| HistoryFormat::named(&args.output)).ok_or_else(|| {
        Failure::usage(anyhow!(
            "no format: name the output .jsonl, .jsonl.zst, .jsonl.gz, .edn, .kch or .parquet, or give --to; not told by \"{}\"",
            args.output.display()
        ))
    })?;
    if !format.is_built() {
        let name = args.output.display();
        return Err(Failure::usage(anyhow!("{name}: this kchaos was built without Parquet: build it with cargo build --features parquet")));
    }
    let input = if args.input.is_dir() { super::check::history(&args.input)? } else { args.input.clone() };
    let reader: Box<dyn Read + Send> = if input.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&input).with_context(|| format!("cannot open {}", input.display()))?)
    };
    if is_stdout {
        let output = BufWriter::with_capacity(BUFFER_BYTES, io::stdout());
        return convert(reader, &input, output, format).map(|()| exit::VALID);
    }
    if args.output.exists() && !args.force {
        return Err(Failure::usage(anyhow!("{} is there already: --force replaces it", args.output.display())));
    }
    // Written beside it and renamed: half a history must not look like a whole one, and the input may be the output.
    let beside = beside(&args.output);
    let cannot_write = || format!("cannot write {}", args.output.display());
    let output = BufWriter::with_capacity(BUFFER_BYTES, File::create(&beside).with_context(cannot_write)?);
    let converted = convert(reader, &input, output, format)
        .and_then(|()| fs::rename(&beside, &args.output).with_context(cannot_write).map_err(Failure::from));
    if converted.is_err() {
        let _ = fs::remove_file(&beside);
    }
    converted.map(|()| exit::VALID)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    PathBuf::from(name)
}

fn convert(reader: impl Read + Send, input: &Path, output: impl Write + Send, format: HistoryFormat) -> Result<(), Failure> {
    let cannot_write = "cannot write the history";
    let mut sink = Sink::new(output, format).context(cannot_write)?;
    let mut failed: Option<io::Error> = None;
    let told = kchaos_checkers::read_ops(reader, &input.display().to_string(), |op| {
        if failed.is_none() {
            failed = sink.write(op).err();
        }
    });
    let ended = match failed {
        Some(error) => Err(error),
        None => {
            let told = told.map_err(Failure::environment)?;
            for text in told.truncated.iter().chain(&told.notes) {
                eprintln!("kchaos: {}: {text}", input.display());
            }
            sink.finish(told.truncated.is_some())
        }
    };
    match ended {
        // Whoever reads standard output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context(cannot_write)?),
    }
}
