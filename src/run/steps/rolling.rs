//! One daemon after another, each back in sync before the next, who leads the others last: so that leading moves once and not at every step.

use kchaos_cluster::inventory::DaemonKind;
use kchaos_cluster::view::View;
use kchaos_nemeses::DaemonStep;

use super::stage::Stage;
use super::{NotDone, whom::Whom};

/// Carries the step out on each; what they said, in a sentence.
pub(super) async fn each(stage: &Stage<'_>, whom: &Whom, step: &DaemonStep) -> Result<String, NotDone> {
    let mut left = stage.labels(whom).await?;
    let mut said = Vec::new();
    let mut done = Vec::new();
    while !left.is_empty() {
        if stage.live.abort.reason().is_some() {
            return Err(NotDone::Aborted);
        }
        stage.in_sync().await?;
        let view = stage.look(None).await.map_err(NotDone::Environment)?;
        let daemon = left.remove(next(stage, &view, &left));
        stage.on_daemon(step, &daemon).await?;
        stage.in_sync().await?;
        said.extend(stage.in_force(&daemon).await?);
        done.push(daemon);
    }
    let order = format!("one after another, each in sync before the next: {}", done.join(", "));
    Ok([vec![order], said].concat().join("; "))
}

/// Anybody but the one that leads, as long as there is one.
fn next(stage: &Stage<'_>, view: &View, left: &[String]) -> usize {
    left.iter().position(|label| !leads(stage, view, label)).unwrap_or(0)
}

fn leads(stage: &Stage<'_>, view: &View, label: &str) -> bool {
    let Some((host, daemon)) = stage.live.inventory.daemon_by_label(label) else { return false };
    match daemon.kind {
        DaemonKind::Kafka | DaemonKind::Controller => view.controller == Some(daemon.id),
        DaemonKind::Zookeeper => view.zookeepers.get(&host.name).is_some_and(|seen| seen.mode == "leader"),
    }
}
