//! `restart`: the service's own stop, and its start as soon as the process is gone. Also what `rolling-restart` does to each.
//!
//! Nothing is held: the fault is that the daemon was away for a moment, and mended is that another process has taken its place and serves.
//! A broker that stops in good order ends its ZooKeeper session, so its successor registers at once.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::daemon::DaemonState;
use kchaos_cluster::inventory::DaemonKind;
use kchaos_core::{Chosen, Effect, Interval, Proof};
use tokio::time::Instant;

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Need, Scope, Undo};
use crate::faults::daemon::Daemon;
use crate::faults::{WIDE, bring_up, down};
use crate::ground::Ground;
use crate::helper::InWords;
use crate::registry::Spec;

pub(crate) const SPEC: Spec = Spec {
    name: "restart",
    about: "the service's own stop, then its start at once",
    targets: WIDE,
    needs: &[Need::Manager],
    scope: Scope::Daemon,
    plan: |ground, chosen| Box::pin(plan(ground, chosen)),
};

/// From registered to in sync again.
const SYNC_TIMEOUT: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(500);

struct Restart {
    daemon: Daemon,
}

pub(crate) async fn plan(ground: Arc<Ground>, chosen: Chosen) -> Result<Box<dyn HostFault>, FaultError> {
    Ok(Box::new(Restart { daemon: Daemon::find(ground, chosen).await? }))
}

#[async_trait]
impl HostFault for Restart {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        down::undo(&self.daemon, "restarted")
    }

    fn holds(&self) -> String {
        "return 0".to_owned()
    }

    fn in_words(&self) -> Option<InWords> {
        Some(self.daemon.nursed(false, false))
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let daemon = &self.daemon;
        let when = stop(daemon).await?;
        start(daemon).await;
        let effect = Effect { pids: vec![(daemon.before.pid, daemon.before.start_time)], ..Effect::default() };
        Ok(Injected { when, effect })
    }

    async fn settled(&self) -> Result<(), FaultError> {
        let failed = |why: String| {
            let what = format!("{} on {} did not come back", self.daemon.chosen.daemon, self.daemon.chosen.host);
            FaultError::environment(&self.daemon.ground.nemesis, what, Because(why))
        };
        bring_up::bring_up(&self.daemon).await.map_err(failed)?;
        in_sync(&self.daemon).await.map_err(failed)
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        Ok(was_replaced(&self.daemon).await)
    }

    async fn mend(&self) -> Result<Interval, String> {
        bring_up::bring_up(&self.daemon).await
    }

    async fn mended(&self) -> Proof {
        bring_up::is_up(&self.daemon).await
    }
}

/// The service's own stop, until the process is gone: around both.
pub(crate) async fn stop(daemon: &Daemon) -> Result<Interval, FaultError> {
    let stopped = down::ask_to_stop(daemon).await?;
    if let Some(seen) = down::there_is(daemon, down::Way::Stop).await? {
        let text = format!("{} is still there after its stop command: {seen}", daemon.name());
        return Err(FaultError::NotProved { nemesis: daemon.ground.nemesis.clone(), text });
    }
    Ok(Interval { before_ns: daemon.ground.now(), ..stopped })
}

/// Whether it runs is looked at when it is mended, and it is started again if it does not.
pub(crate) async fn start(daemon: &Daemon) {
    let host = &daemon.chosen.host;
    if let Err(error) = daemon.manager.start(&daemon.ground.armed_remote(host)).await {
        daemon.ground.note(format!("the start command of {} on {host}: {error}", daemon.chosen.daemon));
    }
}

/// That its process is gone was seen already, or there would have been no start: who runs now.
pub(crate) async fn was_replaced(daemon: &Daemon) -> Proof {
    let host = &daemon.chosen.host;
    let gone = format!("pid {} started at tick {} is gone from {host}", daemon.before.pid, daemon.before.start_time);
    let successor = match daemon.ground.state(daemon.manager.as_ref(), host).await {
        Ok(DaemonState::Running(pid) | DaemonState::Stopped(pid)) if pid == daemon.before => {
            return Proof { proved: false, text: format!("{} is there as before", daemon.name()) };
        }
        Ok(DaemonState::Running(pid) | DaemonState::Stopped(pid)) => format!("{} runs as pid {} now", daemon.chosen.daemon, pid.pid),
        Ok(DaemonState::Gone) => "nobody has taken its place yet".to_owned(),
        Err(error) => format!("whether another has taken its place is not known: {error}"),
    };
    Proof { proved: true, text: format!("{gone}; {successor}") }
}

/// Waits until a broker is in the ISR of every partition that it has a replica of. (A ZooKeeper that serves is in sync.)
async fn in_sync(daemon: &Daemon) -> Result<(), String> {
    if daemon.entry.kind != DaemonKind::Kafka {
        return Ok(());
    }
    let (id, deadline) = (daemon.entry.id, Instant::now() + SYNC_TIMEOUT);
    loop {
        let lacking = match daemon.ground.shared.view().await {
            Ok(view) => {
                let lags = |seen: &&kchaos_cluster::view::PartitionView| seen.replicas.contains(&id) && !seen.isr.contains(&id);
                view.partitions.iter().find(lags).map(|seen| format!("{}-{} has ISR {:?}", seen.topic, seen.partition, seen.isr))
            }
            Err(error) => Some(error.to_string()),
        };
        let Some(lacking) = lacking else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(format!("not in sync within {} s: {lacking}", SYNC_TIMEOUT.as_secs()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
