//! How fast a history is made: `cargo run --release -p kchaos-synth --example lines -- [SENDS] [WORKLOAD]`.
//!
//! The lines go nowhere; the yardstick beside them is a copy of as many bytes.

use std::io::Write;
use std::time::{Duration, Instant};

use kchaos_synth::{Options, Synth};

/// Counts.
struct Nowhere(u64);

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let sends = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let workload = arguments.next().map_or(Ok(Options::default().workload), |text| text.parse())?;
    for final_read in [false, true] {
        let synth = Synth::new(Options { sends, workload, final_read, ..Options::default() })?;
        let (begun, mut nowhere) = (Instant::now(), Nowhere(0));
        let summary = synth.write(&mut nowhere)?;
        let took = begun.elapsed();
        let copied = copy(nowhere.0);
        println!(
            "{workload}, {sends} sends, final read {final_read}: {} lines, {} MB in {:.2} s: {:.2} M lines/s, {:.1} M sends/s, {:.0} MB/s; a copy of as much takes {:.2} s; peak memory {}",
            summary.ops,
            nowhere.0 / 1_000_000,
            took.as_secs_f64(),
            per_us(summary.ops, took),
            per_us(summary.sends, took),
            per_us(nowhere.0, took),
            copied.as_secs_f64(),
            peak_memory(),
        );
    }
    Ok(())
}

fn per_us(number: u64, took: Duration) -> f64 {
    number as f64 / took.as_secs_f64() / 1e6
}

fn copy(bytes: u64) -> Duration {
    let (from, mut to) = (vec![1_u8; 1 << 20], vec![0_u8; 1 << 20]);
    let begun = Instant::now();
    for _ in 0..bytes >> 20 {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&to);
    }
    begun.elapsed()
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
