//! `replace-version`: stopped in good order, given another version by the inventory's command, started. Proved by what its process has open: the jar
//! of Kafka's clients, whose name holds the version, whatever put it there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kchaos_cluster::daemon::{DaemonState, Pid};
use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::remote::{Remote, quote};
use kchaos_core::{Chosen, Effect, Interval, Proof};
use tokio::time::Instant;

use crate::error::{Because, FaultError};
use crate::fault::{HostFault, Injected, Undo};
use crate::faults::daemon::Daemon;
use crate::faults::{bring_up, down, restart};
use crate::ground::Ground;
use crate::helper;
use crate::host::PROCESS;

/// A download is part of it on many hosts.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// A JVM opens its jars within a second or two; a host that has much to do takes longer.
const SEEN_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

struct ReplaceVersion {
    daemon: Daemon,
    version: String,
    before: String,
    command: String,
}

pub(super) async fn plan(ground: Arc<Ground>, chosen: Chosen, version: &str) -> Result<Box<dyn HostFault>, FaultError> {
    let refused = |reason: &str| FaultError::refused(&ground.nemesis, reason);
    let inventory = ground.shared.doors.inventory();
    if helper::is_used(inventory) {
        return Err(refused("the helper has no verb for it; it needs ssh.privilege = \"root\" (docs/least-privilege.md)"));
    }
    let Some(command) = &inventory.kafka.replace_version else {
        return Err(refused(MISSING));
    };
    let command = command.replace("{version}", &quote(version));
    let daemon = Daemon::find(Arc::clone(&ground), chosen).await?;
    if daemon.entry.kind == DaemonKind::Zookeeper {
        return Err(refused("a ZooKeeper's version is not Kafka's: brokers and controllers only"));
    }
    let before = version_of(&daemon, daemon.before).await;
    let before = before.map_err(|why| FaultError::environment(&ground.nemesis, "which version runs is not known", Because(why)))?;
    if before == version {
        return Err(refused(&format!("{} runs {version} already", daemon.name())));
    }
    Ok(Box::new(ReplaceVersion { daemon, version: version.to_owned(), before, command }))
}

const MISSING: &str = "how another version comes onto a host is not known: write [kafka] replace_version = \"COMMAND {version}\" into the inventory \
                       (docs/plans.md)";

#[async_trait]
impl HostFault for ReplaceVersion {
    fn host(&self) -> &str {
        &self.daemon.chosen.host
    }

    fn undo(&self) -> Undo {
        let undo = down::undo(&self.daemon, "stopped");
        Undo {
            about: format!("{} to be given Kafka {}, and started; the version stays as it is by then", undo.about, self.version),
            ..undo
        }
    }

    fn holds(&self) -> String {
        "return 0".to_owned()
    }

    async fn inject(&self) -> Result<Injected, FaultError> {
        let daemon = &self.daemon;
        let failed =
            |error| FaultError::environment(&daemon.ground.nemesis, format!("the command kafka.replace_version, {}", self.command), error);
        let when = restart::stop(daemon).await?;
        let remote = daemon.ground.armed_remote(self.host());
        let output = remote.run(&self.command, COMMAND_TIMEOUT).await.map_err(failed)?;
        output.success(self.host(), "giving it another version").map_err(failed)?;
        restart::start(daemon).await;
        let settings =
            vec![format!("Kafka of {} on {}: {} to {} by {}", daemon.chosen.daemon, self.host(), self.before, self.version, self.command)];
        let effect = Effect { pids: vec![(daemon.before.pid, daemon.before.start_time)], settings, ..Effect::default() };
        Ok(Injected { when, effect })
    }

    async fn proof(&self) -> Result<Proof, FaultError> {
        let replaced = restart::was_replaced(&self.daemon).await;
        Ok(replaced.and(&self.runs_it().await))
    }

    async fn mend(&self) -> Result<Interval, String> {
        bring_up::bring_up(&self.daemon).await
    }

    async fn mended(&self) -> Proof {
        bring_up::is_up(&self.daemon).await
    }
}

impl ReplaceVersion {
    async fn runs_it(&self) -> Proof {
        let (daemon, deadline) = (&self.daemon, Instant::now() + SEEN_TIMEOUT);
        loop {
            let seen = match daemon.ground.state(daemon.manager.as_ref(), self.host()).await {
                Ok(DaemonState::Running(pid)) => version_of(daemon, pid).await.map(|version| (pid, version)),
                Ok(_) => Err("it does not run".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            let text = match seen {
                Ok((pid, version)) => {
                    let text = format!("pid {} has kafka-clients-{version}.jar open; before it was {}", pid.pid, self.before);
                    return Proof { proved: version == self.version, text };
                }
                Err(why) => format!("which version runs is not known: {why}"),
            };
            if Instant::now() >= deadline {
                return Proof { proved: false, text };
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// By the one jar of Kafka's clients that the process has open.
async fn version_of(daemon: &Daemon, pid: Pid) -> Result<String, String> {
    let look = "ls -l /proc/\"$1\"/fd | sed -n 's|^.*/kafka-clients-\\([0-9][^/ ]*\\)\\.jar.*$|version \\1|p' | sort -u";
    let call = format!("set -- {} {}\nk_same_process \"$1\" \"$2\" || return 0\n{look}", pid.pid, pid.start_time);
    let answers = daemon.ground.ask(&daemon.chosen.host, &[PROCESS], &call, "the look at its jars").await;
    let answers = answers.map_err(|error| error.to_string())?;
    let found: Vec<&str> = answers.all("version").collect();
    match found.as_slice() {
        [version] => Ok((*version).to_owned()),
        [] => Err(format!("pid {} on {} has no kafka-clients-VERSION.jar open", pid.pid, daemon.chosen.host)),
        several => Err(format!("pid {} on {} has several open: {}", pid.pid, daemon.chosen.host, several.join(", "))),
    }
}
