//! Judges one history, for profilers: `cargo run --release -p kchaos-checkers --example judge FILE [THREADS]`.

use std::fs::File;

use kchaos_checkers::{FinalRead, Input, JudgeOptions, Reading, check};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), threads) = (arguments.next(), arguments.next()) else { panic!("FILE [THREADS]") };
    let threads = threads.and_then(|text| text.parse().ok()).unwrap_or(1);
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(File::open(&path)?)) };
    let options = JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() };
    let started = std::time::Instant::now();
    let report = check(open, Reading { name: &path, threads }, options).expect("a history");
    println!("{:?}: {} ops in {:?}", report.valid, report.ops, started.elapsed());
}
