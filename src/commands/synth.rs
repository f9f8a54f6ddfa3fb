//! `kchaos synth`: a made-up history, clean or with anomalies at chosen places.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use flate2::write::GzEncoder;
use kchaos_synth::{Injected, Options, Summary, Synth};

use crate::cli::SynthArgs;
use crate::exit::{self, Failure};

const ZSTD_LEVEL: i32 = 1;
/// Injected anomalies that are told one by one.
const MAX_TOLD: usize = 100;

pub(super) fn run(args: &SynthArgs) -> Result<u8, Failure> {
    let synth = Synth::new(options(args)).map_err(Failure::usage)?;
    let written = if args.output.as_os_str() == "-" { synth.write(io::stdout().lock()) } else { to_file(&synth, &args.output) };
    match written {
        Ok(summary) => tell(&summary, &args.output),
        // Whoever read it has had enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => return Err(anyhow::Error::new(error).context(format!("cannot write {}", args.output.display())).into()),
    }
    Ok(exit::VALID)
}

fn options(args: &SynthArgs) -> Options {
    let shape = &args.shape;
    Options {
        workload: args.workload,
        sends: args.sends,
        keys: shape.keys,
        producers: shape.producers,
        lanes: shape.in_flight,
        consumers: shape.consumers,
        poll_records: shape.poll_records,
        batch: shape.batch,
        seed: args.seed,
        base_offset: shape.base_offset,
        rate: shape.rate,
        info: shape.info,
        fail: shape.fail,
        no_offset: shape.no_offset,
        holes: shape.holes,
        failed_polls: shape.failed_polls,
        restarts: shape.restarts,
        crashes: shape.crashes,
        faults: shape.faults,
        looks: shape.looks,
        final_read: shape.final_read,
        injections: args.inject.clone(),
    }
}

fn to_file(synth: &Synth, path: &Path) -> io::Result<Summary> {
    let file = File::create(path)?;
    match path.extension().and_then(OsStr::to_str) {
        Some("zst") => {
            let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
            let summary = synth.write(&mut encoder)?;
            encoder.finish()?.flush()?;
            Ok(summary)
        }
        Some("gz") => {
            let mut encoder = GzEncoder::new(file, flate2::Compression::fast());
            let summary = synth.write(&mut encoder)?;
            encoder.finish()?.flush()?;
            Ok(summary)
        }
        _ => synth.write(file),
    }
}

/// On standard error: where the anomalies are.
fn tell(summary: &Summary, output: &Path) {
    let Summary { ops, sends, time_ns, injected } = summary;
    let to = if output.as_os_str() == "-" { String::new() } else { format!(" in {}", output.display()) };
    eprintln!("{ops} ops, {sends} sends over {:.3} s{to}", *time_ns as f64 / 1e9);
    for Injected { anomaly, send, ops, key, values, .. } in injected.iter().take(MAX_TOLD) {
        let values = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let values = if values.is_empty() { values } else { format!(", values {values}") };
        let key = key.map(|key| format!(", key {key}")).unwrap_or_default();
        eprintln!("{anomaly}: ops {} to {}, before send {send}{key}{values}", ops.start(), ops.end());
    }
    if injected.len() > MAX_TOLD {
        eprintln!("and {} more", injected.len() - MAX_TOLD);
    }
}
