//! `kchaos halt`: stops every run on the cluster, mends, and blocks new ones until somebody lifts it (`--release`). Needs the inventory and SSH.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kchaos_cluster::cluster::Cluster;
use kchaos_nemeses::{Doors, Halt, HaltOptions, Halted, Held, HostPaths, HostReport, HostState, Released};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Format, HaltArgs};
use crate::exit::{self, Failure};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One host, halted and mended, or not.
#[derive(Debug, Serialize)]
struct HaltedHost {
    host: String,
    /// Absent if it could not be halted.
    halt: Option<Halt>,
    /// Why it could not.
    error: Option<String>,
    mended: HostReport,
}

pub(super) fn run(args: &HaltArgs) -> Result<u8, Failure> {
    let inventory = super::require_inventory(&args.inventory)?;
    let options = HaltOptions { holder: crate::run::holder(), reason: args.reason.clone(), paths: HostPaths::default() };
    super::within_network(&inventory, async {
        let doors = kchaos_nemeses::doors(Arc::new(Cluster::new(Arc::clone(&inventory)).context("use the inventory")?));
        if args.release { release(args, &doors, &options).await } else { halt(args, &doors, &options).await }
    })?
}

async fn halt(args: &HaltArgs, doors: &Arc<dyn Doors>, options: &HaltOptions) -> Result<u8, Failure> {
    let halted = kchaos_nemeses::halt_hosts(doors.as_ref(), options).await;
    let runs = wait_for_runs(args, doors).await;
    let hosts: Vec<HaltedHost> = halted
        .into_iter()
        .map(|Halted { host, halt, mended }| {
            let (halt, error) = match halt {
                Ok(halt) => (Some(halt), None),
                Err(why) => (None, Some(why)),
            };
            HaltedHost { host, halt, error, mended }
        })
        .collect();
    match args.format {
        Format::Json => {
            super::say_json(&halted_json(&hosts, &runs))?;
        }
        Format::Text => hosts.iter().for_each(|host| crate::say!("{}", line(host))),
    }
    for run in &runs {
        eprintln!(
            "run {} ({}) still holds its locks: it begins nothing any more; if it is dead: kchaos heal --break-locks",
            run.run, run.holder
        );
    }
    let is_halted = hosts.iter().all(|host| host.halt.is_some() && host.mended.is_whole());
    if is_halted {
        eprintln!("halted: nothing is broken on this cluster until kchaos halt --release");
    } else {
        eprintln!("NOT EVERY HOST is halted and mended; when it can be reached again: kchaos halt");
    }
    Ok(if is_halted { exit::VALID } else { exit::UNHEALED })
}

fn halted_json(hosts: &[HaltedHost], runs: &[Held]) -> Value {
    json!({ "hosts": hosts, "runs_not_ended": runs })
}

fn line(host: &HaltedHost) -> String {
    let mended = match &host.mended.state {
        HostState::Clean => "nothing to mend".to_owned(),
        HostState::Healed(what) => format!("mended: {}", what.join("; ")),
        HostState::Unhealed(what) => format!("NOT MENDED: {}", what.join("; ")),
        HostState::Unreachable(why) => format!("NOT MENDED: {why}"),
    };
    match &host.error {
        None => format!("{}: halted; {mended}", host.host),
        Some(why) => format!("{}: NOT HALTED: {why}; {mended}", host.host),
    }
}

/// Runs that live see the flag and end by themselves; those still there after the wait are told of.
async fn wait_for_runs(args: &HaltArgs, doors: &Arc<dyn Doors>) -> Vec<Held> {
    let deadline = Instant::now() + args.wait;
    let mut waits_for = 0;
    loop {
        let runs = held(doors).await;
        if runs.is_empty() || Instant::now() >= deadline {
            return runs;
        }
        if runs.len() != waits_for {
            waits_for = runs.len();
            let named: Vec<String> = runs.iter().map(|run| format!("{} ({})", run.run, run.holder)).collect();
            eprintln!("waiting for up to {} s until these runs have ended: {}", args.wait.as_secs(), named.join(", "));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn held(doors: &Arc<dyn Doors>) -> Vec<Held> {
    let paths = HostPaths::default();
    let hosts = &doors.inventory().hosts;
    let looks = hosts.iter().map(|host| kchaos_nemeses::leftovers(doors.as_ref(), host, &paths));
    let looks = futures_util::future::join_all(looks).await;
    let locks = looks.into_iter().filter_map(|look| look.ok()?.lock).filter(|lock| lock.seconds > 0);
    locks.map(|lock| (lock.run.clone(), lock)).collect::<BTreeMap<_, _>>().into_values().collect()
}

async fn release(args: &HaltArgs, doors: &Arc<dyn Doors>, options: &HaltOptions) -> Result<u8, Failure> {
    let hosts = kchaos_nemeses::release_hosts(doors.as_ref(), options).await;
    let is_free = hosts.iter().all(|(_, answer)| answer.is_ok());
    match args.format {
        Format::Json => {
            super::say_json(&released_json(&hosts))?;
        }
        Format::Text => {
            for (host, answer) in &hosts {
                match answer {
                    Ok(Some(halt)) => crate::say!("{host}: released; it was halted {halt}"),
                    Ok(None) => crate::say!("{host}: was not halted"),
                    Err(why) => crate::say!("{host}: NOT RELEASED: {why}"),
                }
            }
        }
    }
    if !is_free {
        eprintln!("not every host is released, and runs are refused until it is: kchaos halt --release");
    }
    Ok(if is_free { exit::VALID } else { exit::UNHEALED })
}

fn released_json(hosts: &[Released]) -> Value {
    let one = |(host, answer): &Released| {
        let was = answer.as_ref().ok().cloned().flatten();
        json!({ "host": host, "released": answer.is_ok(), "was": was, "error": answer.as_ref().err() })
    };
    hosts.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::conform::assert_conforms;

    fn halt() -> Halt {
        Halt { since_unix_s: 1_795_399_200, by: "user@machine, pid 17".to_owned(), reason: "no reason was given".to_owned() }
    }

    #[test]
    fn what_was_halted_conforms_on_every_host() {
        let mended = |state| HostReport { host: "b1".to_owned(), state, notes: vec!["run x holds its lock".to_owned()] };
        let whole = HaltedHost { host: "b1".to_owned(), halt: Some(halt()), error: None, mended: mended(HostState::Clean) };
        let down = HostState::Unreachable("it is down".to_owned());
        let failed = HaltedHost { host: "b2".to_owned(), halt: None, error: Some("it is down".to_owned()), mended: mended(down) };
        let runs = [Held { run: "x".to_owned(), holder: "user@machine, pid 17".to_owned(), seconds: 12 }];
        assert_conforms("halt", &halted_json(&[whole, failed], &runs));
        assert_conforms("halt", &halted_json(&[], &[]));
    }

    #[test]
    fn what_was_released_conforms_on_every_host() {
        let answers = [Ok(Some(halt())), Ok(None), Err("it is down".to_owned())];
        let hosts: Vec<Released> = answers.into_iter().map(|answer| ("b1".to_owned(), answer)).collect();
        assert_conforms("halt", &released_json(&hosts));
        assert_conforms("halt", &released_json(&[]));
    }
}
