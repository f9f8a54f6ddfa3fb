//! Starting a daemon again so that it stays: until the broker is registered again, until the ZooKeeper server or the controller serves again.
//!
//! A broker started inside the ZooKeeper session of its dead self finds `/brokers/ids/N` taken (NodeExists) and exits about 2 s later;
//! nothing starts it again. So its old registration is waited for; and should it exit all the same, that is noted and it is started again.
//! (KAFKA-7165 covers only a broker's own, living session.) A broker of KRaft waits by itself until its dead self is fenced, so it is started at once; that
//! it is back is its own word, since the others still tell of its dead self.

use std::time::Duration;

use kchaos_cluster::daemon::{DaemonState, Pid};
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::view::View;
use kchaos_core::{Interval, Proof};
use tokio::time::Instant;

use crate::faults::daemon::Daemon;

/// ZooKeeper grants sessions of 20 ticks at most, 40 s by default, and rounds their expiry up to its tick.
const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(45);
/// From the start of the process until it is registered, recovery of its log segments included.
const UP_TIMEOUT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(500);
const STARTS_MAX: u32 = 10;

/// Returns when it is up: from before its last start until it was seen to be up. Says what was in the way otherwise.
pub(crate) async fn bring_up(daemon: &Daemon) -> Result<Interval, String> {
    bring_up_unless(daemon, &|| false).await
}

/// The same, until somebody says that it is enough.
pub(crate) async fn bring_up_unless(daemon: &Daemon, is_enough: &(dyn Fn() -> bool + Sync)) -> Result<Interval, String> {
    let deadline = Instant::now() + UP_TIMEOUT;
    let (mut starts, mut started, mut last) = (0, false, String::new());
    let mut after_ns = daemon.ground.now();
    while Instant::now() < deadline {
        if is_enough() {
            return Err("it was to be waited for no longer".to_owned());
        }
        match state(daemon).await {
            Ok(DaemonState::Gone) if starts >= STARTS_MAX => return Err(format!("it exited after each of {starts} starts")),
            Ok(DaemonState::Gone) => {
                if started {
                    daemon.ground.note(format!(
                        "{}: exited after start {starts} (NodeExists, or see its daemon log); started again",
                        daemon.chosen.daemon
                    ));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                if daemon.entry.kind == DaemonKind::Kafka && !daemon.ground.shared.doors.inventory().is_kraft() {
                    wait_for_old_registration(daemon, is_enough).await;
                    if is_enough() {
                        continue;
                    }
                }
                starts += 1;
                after_ns = daemon.ground.now();
                started = start(daemon).await.map_err(|error| last = error).is_ok();
            }
            Ok(DaemonState::Stopped(pid)) => last = format!("pid {} is stopped by a signal", pid.pid),
            Ok(DaemonState::Running(pid)) => match serves(daemon, pid).await {
                Ok(_) => return Ok(Interval { after_ns, before_ns: daemon.ground.now() }),
                Err(why) => last = why,
            },
            Err(error) => last = error,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("not up within {} s: {last}", UP_TIMEOUT.as_secs()))
}

/// Whether it runs and serves, at this moment.
pub(crate) async fn is_up(daemon: &Daemon) -> Proof {
    let answer = match state(daemon).await {
        Ok(DaemonState::Running(pid)) => serves(daemon, pid).await,
        Ok(DaemonState::Stopped(pid)) => Err(format!("pid {} is stopped by a signal", pid.pid)),
        Ok(DaemonState::Gone) => Err("it does not run".to_owned()),
        Err(error) => Err(error),
    };
    match answer {
        Ok(text) => Proof { proved: true, text },
        Err(text) => Proof { proved: false, text: format!("{} on {}: {text}", daemon.chosen.daemon, daemon.chosen.host) },
    }
}

async fn state(daemon: &Daemon) -> Result<DaemonState, String> {
    daemon.ground.state(daemon.manager.as_ref(), &daemon.chosen.host).await.map_err(|error| error.to_string())
}

async fn start(daemon: &Daemon) -> Result<(), String> {
    let remote = daemon.ground.mending(&daemon.chosen.host);
    daemon.manager.start(remote.as_ref()).await.map_err(|error| error.to_string())
}

/// Registered, or serving with a mode; in words.
async fn serves(daemon: &Daemon, pid: Pid) -> Result<String, String> {
    let view = daemon.ground.shared.view().await.map_err(|error| error.to_string())?;
    let named = format!("{} on {} runs as pid {}", daemon.chosen.daemon, daemon.chosen.host, pid.pid);
    let ended = daemon.ended();
    match daemon.entry.kind {
        DaemonKind::Kafka => match view.brokers.get(&daemon.entry.id) {
            // Revived, or started by somebody else, inside the session of its dead self: it will exit (NodeExists).
            Some(seen) if pid != ended.pid && seen.registered_zxid.is_some() && seen.registered_zxid == ended.registered_zxid => {
                Err(format!("{named}, and what is registered is still the process before it"))
            }
            Some(seen) if seen.knows_itself == Some(false) => Err(format!("{named} and does not say yet that it is registered")),
            Some(seen) if seen.knows_itself.is_some() => with_quorum(daemon, &view, format!("{named} and is registered, by its own word")),
            Some(_) => Ok(format!("{named} and is registered in ZooKeeper")),
            None if view.quorum.is_some() => Err(format!("{named} and is fenced")),
            None => Err(format!("{named} and is not registered")),
        },
        DaemonKind::Controller => with_quorum(daemon, &view, named),
        DaemonKind::Zookeeper => match mode(&view, &daemon.chosen.host) {
            Some(mode) => Ok(format!("{named} and serves as {mode}")),
            None => Err(format!("{named} and does not serve")),
        },
    }
}

/// A controller serves when it answers; the role of a broker that is one too as well.
fn with_quorum(daemon: &Daemon, view: &View, text: String) -> Result<String, String> {
    if daemon.entry.as_controller().is_none() {
        return Ok(text);
    }
    let seen = view.quorum.as_ref().and_then(|quorum| quorum.controllers.get(&daemon.entry.id));
    match seen.map(|seen| seen.mode.as_str()) {
        Some(mode @ ("leader" | "follower")) => Ok(format!("{text} and is a {mode} of the quorum")),
        _ => Err(format!("{text} and does not answer as a controller")),
    }
}

fn mode<'a>(view: &'a View, host: &str) -> Option<&'a str> {
    view.zookeepers.get(host).map(|seen| seen.mode.as_str()).filter(|mode| !matches!(*mode, "" | "none"))
}

async fn wait_for_old_registration(daemon: &Daemon, is_enough: &(dyn Fn() -> bool + Sync)) {
    let began = Instant::now();
    loop {
        let waited = began.elapsed();
        if is_enough() {
            return;
        }
        match daemon.ground.shared.view().await {
            Ok(view) if !view.brokers.contains_key(&daemon.entry.id) => {
                if waited > PAUSE {
                    let seconds = waited.as_secs_f64();
                    daemon.ground.note(format!(
                        "waited {seconds:.1} s for the old registration of {} to go (NodeExists otherwise)",
                        daemon.chosen.daemon
                    ));
                }
                return;
            }
            _ if waited > SESSION_TIMEOUT_MAX => {
                daemon.ground.note(format!(
                    "the old registration of {} did not go within {} s; started all the same",
                    daemon.chosen.daemon,
                    waited.as_secs()
                ));
                return;
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}
