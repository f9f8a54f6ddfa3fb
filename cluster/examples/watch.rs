//! Prints what the observer sees: `cargo run -p kchaos-cluster --example watch -- kchaos.toml [TOPIC…] [--seconds N] [--json]`.
//!
//! Without topics it watches all. Plain output is for people: wall-clock time of the interval's end, its width, source, change. With `--json`
//! each line is one of `timeline.jsonl` with `unix_ns` (the wall clock at time 0) beside it, so that daemon logs can be held against it.
//! In a lab, run it inside the lab's network namespace (`nsenter --net=…`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local};
use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::observer::Observer;
use kchaos_cluster::view::{Viewer, render_text};
use kchaos_core::{Clock, KeyEntry, Observation};

struct RunClock(Instant);

impl Clock for RunClock {
    fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

struct Arguments {
    inventory: String,
    topics: Vec<String>,
    seconds: u64,
    is_json: bool,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments()?;
    let inventory: Inventory = toml::from_str(&std::fs::read_to_string(&arguments.inventory)?)?;
    let inventory = Arc::new(inventory);
    let topics = (!arguments.topics.is_empty()).then_some(arguments.topics.as_slice());
    let view = Viewer::new(inventory.clone()).look(topics).await?;
    eprintln!("{}", render_text(&view));
    let partitions = view.partitions.iter().enumerate();
    let keys: Vec<KeyEntry> = partitions
        .map(|(key, partition)| KeyEntry { key: key as i64, topic: partition.topic.clone(), partition: partition.partition })
        .collect();

    let clock = Arc::new(RunClock(Instant::now()));
    let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
    let is_json = arguments.is_json;
    let sink = Arc::new(move |observation: Observation| print(&observation, unix_ns, is_json));
    let observer = Observer::start(inventory, keys, clock, sink);
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = tokio::time::sleep(Duration::from_secs(arguments.seconds)) => {}
    }
    observer.stop().await;
    eprintln!("CPU used: {:.2} s in {} s", cpu_seconds(), arguments.seconds);
    Ok(())
}

fn print(observation: &Observation, unix_ns: u64, is_json: bool) {
    if is_json {
        let mut line = serde_json::to_value(observation).unwrap_or_default();
        line["unix_ns"] = unix_ns.into();
        println!("{line}");
        return;
    }
    let before = DateTime::from_timestamp_nanos((unix_ns + observation.when.before_ns) as i64).with_timezone(&Local);
    let width = match observation.when.after_ns {
        0 => "first look".to_owned(),
        _ => format!("{:.1} ms", observation.when.width_ns() as f64 / 1e6),
    };
    println!("{} {width:>12}  {:<16} {:?}", before.format("%H:%M:%S%.3f"), observation.source, observation.what);
}

fn arguments() -> Result<Arguments, String> {
    let mut given = std::env::args().skip(1);
    let inventory = given.next().ok_or("usage: watch INVENTORY [TOPIC…] [--seconds N] [--json]")?;
    let mut arguments = Arguments { inventory, topics: Vec::new(), seconds: 3_600, is_json: false };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--json" => arguments.is_json = true,
            "--seconds" => {
                arguments.seconds = given.next().and_then(|text| text.parse().ok()).ok_or("--seconds wants a number")?;
            }
            topic => arguments.topics.push(topic.to_owned()),
        }
    }
    Ok(arguments)
}

/// User and system time of this process, from `/proc/self/stat` (in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
