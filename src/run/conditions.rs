//! The conditions that end a run beside everything else: somebody halts the cluster, what is not ours is hurt, a host's disk runs full, hosts
//! are lost, or the user's own probe says so. The faults are mended at once, what was seen is judged, and the run ends with exit code 4.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use futures_util::future::join_all;
use kchaos_cluster::inventory::Host;
use kchaos_cluster::view::View;
use kchaos_core::{NemesisName, Target};
use kchaos_nemeses::{Engine, HostPaths, InForce};
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::Live;
use super::abort::AbortReason;
use crate::exit::Failure;

const HOSTS_EVERY: Duration = Duration::from_secs(2);
/// Every so many looks, room is looked at too.
const ROOM_TURNS: u32 = 5;
const PARTITIONS_EVERY: Duration = Duration::from_secs(5);
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// A host that does not answer for so long is lost. No fault of ours cuts SSH.
const LOST_AFTER: Duration = Duration::from_secs(30);
/// An election passes through moments without a leader.
const OFFLINE_AFTER: Duration = Duration::from_secs(10);

/// Watches until it is dropped.
pub(super) struct Conditions(Vec<JoinHandle<()>>);

impl Drop for Conditions {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

pub(super) fn watch(live: &Arc<Live>, engine: &Arc<Engine>) -> Conditions {
    let mut tasks =
        vec![tokio::spawn(hosts(Arc::clone(live), Arc::clone(engine))), tokio::spawn(partitions(Arc::clone(live), Arc::clone(engine)))];
    tasks.extend(live.setup.args.abort_if.iter().map(|command| tokio::spawn(probe(Arc::clone(live), command.clone()))));
    Conditions(tasks)
}

fn raise(live: &Live, reason: AbortReason) {
    if live.abort.reason().is_none() {
        let (AbortReason::Halted(text) | AbortReason::Condition(text)) = &reason else { return };
        live.note(&format!("{text}: the faults are mended and the run ends"));
    }
    live.abort.raise(reason);
}

async fn hosts(live: Arc<Live>, engine: Arc<Engine>) {
    let paths = HostPaths::default();
    let mut silent: BTreeMap<String, Instant> = BTreeMap::new();
    let mut low_before = Vec::new();
    for turn in 1_u32.. {
        tokio::time::sleep(HOSTS_EVERY).await;
        let wants_room = turn.is_multiple_of(ROOM_TURNS);
        // Before and after the look: a fault may have ended meanwhile.
        let mut ours = engine.in_force();
        let doors = live.doors.as_ref();
        let looks = live.inventory.hosts.iter().map(async |host| (host, kchaos_nemeses::glance(doors, host, &paths, wants_room).await));
        let looks = join_all(looks).await;
        ours.extend(engine.in_force());
        let mut low = Vec::new();
        for (host, look) in looks {
            let Ok(glance) = look else {
                silent.entry(host.name.clone()).or_insert_with(Instant::now);
                continue;
            };
            silent.remove(&host.name);
            if let Some(halt) = glance.halt {
                raise(&live, AbortReason::Halted(format!("kchaos was halted {halt}, seen on {}", host.name)));
            }
            low.extend(too_full(host, &glance.room_kib, live.inventory.limits.disk_free_min_mib, &ours));
        }
        if wants_room {
            // Twice in a row: what is being written or removed may pass.
            if let Some(text) = low.iter().find(|text| low_before.contains(*text)) {
                raise(&live, AbortReason::Condition(text.clone()));
            }
            low_before = low;
        }
        if let Some(text) = too_many_lost(&silent, live.inventory.limits.hosts_down_max) {
            raise(&live, AbortReason::Condition(text));
        }
    }
}

fn too_many_lost(silent: &BTreeMap<String, Instant>, max: usize) -> Option<String> {
    let lost: Vec<&str> = silent.iter().filter(|(_, since)| since.elapsed() >= LOST_AFTER).map(|(name, _)| name.as_str()).collect();
    let seconds = LOST_AFTER.as_secs();
    (lost.len() > max).then(|| format!("{} did not answer by SSH for {seconds} s, and limits.hosts_down_max is {max}", lost.join(", ")))
}

/// Directories with less room than the inventory's limit, but not those of a daemon whose disk is in our hands.
pub(crate) fn too_full(host: &Host, room_kib: &[(String, u64)], min_mib: u64, ours: &[InForce]) -> Vec<String> {
    let is_ours = |directory: &str| {
        let daemons = ours.iter().flat_map(|fault| &fault.chosen).filter(|chosen| chosen.host == host.name);
        let daemons = daemons.filter_map(|chosen| host.daemons.iter().find(|daemon| daemon.label() == chosen.daemon));
        daemons.filter_map(|daemon| daemon.disk.as_ref()).any(|disk| Path::new(directory).starts_with(&disk.data_dir))
    };
    let low = room_kib.iter().filter(|(directory, kib)| kib / 1_024 < min_mib && !is_ours(directory));
    low.map(|(directory, _)| {
        format!("the disk of {} on {} has less than {min_mib} MiB free (limits.disk_free_min_mib)", directory, host.name)
    })
    .collect()
}

async fn partitions(live: Arc<Live>, engine: Arc<Engine>) {
    let own = live.topics();
    let mut since: Option<Instant> = None;
    loop {
        tokio::time::sleep(PARTITIONS_EVERY).await;
        let Ok(Ok(view)) = tokio::time::timeout(PARTITIONS_EVERY, live.doors.view(&[])).await else {
            since = None;
            continue;
        };
        let offline = offline_of_others(&view, &own, &live.setup.run_id);
        // Who types `kill-all` means everybody's partitions; a single replica's owner has chosen so.
        let is_meant = engine.in_force().iter().any(|fault| takes_most(&fault.nemesis));
        if offline.is_empty() || is_meant {
            since = None;
            continue;
        }
        if since.get_or_insert_with(Instant::now).elapsed() >= OFFLINE_AFTER {
            let text =
                format!("partitions that are not the run's have been offline for {} s: {}", OFFLINE_AFTER.as_secs(), offline.join(", "));
            raise(&live, AbortReason::Condition(text));
        }
    }
}

fn takes_most(nemesis: &str) -> bool {
    nemesis.parse::<NemesisName>().is_ok_and(|name| name.target.takes_most() || name.target == Target::LastIsr)
}

/// Of topics that are not the run's; no more than a few are named. Those that its clients made carry its id.
fn offline_of_others(view: &View, own: &[String], run_id: &str) -> Vec<String> {
    let made = format!("-{run_id}");
    let others = view.partitions.iter().filter(|seen| !own.contains(&seen.topic) && !seen.topic.ends_with(&made));
    let offline = others.filter(|seen| seen.leader.is_none() && seen.replicas.len() > 1);
    offline.take(5).map(|seen| format!("{}-{}", seen.topic, seen.partition)).collect()
}

/// The user's own: the run ends when the command succeeds.
async fn probe(live: Arc<Live>, command: String) {
    let mut told = false;
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        match ask(&command).await {
            Probed::Holds(said) => raise(&live, AbortReason::Condition(format!("the abort condition \"{command}\" holds{said}"))),
            Probed::HoldsNot => {}
            Probed::Unknown(why) if !told => {
                told = true;
                live.note(&format!("the abort condition \"{command}\" cannot be told: {why}"));
            }
            Probed::Unknown(_) => {}
        }
    }
}

/// Before the run: a condition that holds already, or a command that cannot be run, is refused.
pub(crate) async fn refuse_abort_conditions(commands: &[String]) -> Result<(), Failure> {
    for command in commands {
        match ask(command).await {
            Probed::HoldsNot => {}
            Probed::Holds(said) => {
                return Err(Failure::environment(anyhow!("the abort condition \"{command}\" holds before the run{said}")));
            }
            Probed::Unknown(why) => return Err(Failure::usage(anyhow!("--abort-if '{command}': {why}"))),
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Probed {
    /// With what it said last.
    Holds(String),
    HoldsNot,
    Unknown(String),
}

async fn ask(command: &str) -> Probed {
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return Probed::Unknown(format!("sh does not start: {error}")),
    };
    let group = child.id();
    match tokio::time::timeout(PROBE_TIMEOUT, child.wait_with_output()).await {
        Ok(Ok(output)) => {
            let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().map_or_else(String::new, |line| format!(": {line}"));
            match output.status.code() {
                Some(0) => Probed::Holds(line(&output.stdout)),
                Some(code @ (126 | 127)) => Probed::Unknown(format!("it cannot be run (status {code}){}", line(&output.stderr))),
                _ => Probed::HoldsNot,
            }
        }
        Ok(Err(error)) => Probed::Unknown(error.to_string()),
        Err(_) => {
            // The shell went with its future; what it had started goes too.
            if let Some(group) = group.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) {
                // SAFETY: killpg has no preconditions; the group is the probe's own.
                let _ = unsafe { libc::killpg(group, libc::SIGKILL) };
            }
            Probed::Unknown(format!("it did not end within {} s", PROBE_TIMEOUT.as_secs()))
        }
    }
}

#[cfg(test)]
mod tests {
    use kchaos_cluster::view::PartitionView;

    use super::*;

    #[tokio::test]
    async fn a_condition_holds_when_its_command_succeeds() {
        assert_eq!(ask("echo first; echo too many tickets").await, Probed::Holds(": too many tickets".to_owned()));
        assert_eq!(ask("exit 3").await, Probed::HoldsNot);
        assert!(matches!(ask("/nonexistent/probe").await, Probed::Unknown(why) if why.contains("127")));
    }

    #[test]
    fn partitions_of_others_count_when_they_have_replicas_and_no_leader() {
        let seen = |topic: &str, leader, replicas: &[i32]| PartitionView {
            topic: topic.to_owned(),
            leader,
            replicas: replicas.to_vec(),
            ..PartitionView::default()
        };
        let partitions = vec![
            seen("orders", None, &[1, 2]),
            seen("orders-led", Some(1), &[1, 2]),
            seen("single", None, &[1]),
            seen("kchaos-r", None, &[1, 2]),
            seen("kchaos-made-r1", None, &[1, 2]),
        ];
        let view = View { partitions, ..View::default() };
        assert_eq!(offline_of_others(&view, &["kchaos-r".to_owned()], "r1"), ["orders-0"]);
        assert!(takes_most("kill-all") && takes_most("kill-last-isr") && !takes_most("kill-leader"));
    }
}
