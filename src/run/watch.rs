//! The progress line, the samples of our own resources, and the conditions that end a run: once a second, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::Clock;
use kchaos_nemeses::Engine;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::abort::AbortReason;
use super::resources::Resources;
use super::{Clients, Live};

const EVERY: Duration = Duration::from_secs(1);

/// Ends when it is stopped, and gives back what it sampled.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Resources>,
}

pub(super) fn start(live: &Arc<Live>, engine: &Arc<Engine>, clients: &Clients) -> Watch {
    let (stop, mut stopped) = oneshot::channel();
    let (live, engine, clients) = (Arc::clone(live), Arc::clone(engine), Arc::downgrade(clients));
    let task = tokio::spawn(async move {
        let mut resources = Resources::default();
        let mut acked_before = 0;
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Some(failure) = live.recorder.failure() {
                live.abort.raise(AbortReason::Environment(failure));
            }
            live.witness.tick(live.clock.now_ns());
            // While the finale holds the clients there is nothing new to count.
            let elapsed_s = live.elapsed().as_secs_f64();
            let Some(clients) = clients.upgrade() else { break };
            let is_load = clients.try_lock().is_ok();
            resources.sample(elapsed_s, is_load);
            let Ok(counts) = clients.try_lock().map(|clients| clients.counts()) else { continue };
            let acked = counts.ok;
            let faults = engine
                .in_force()
                .iter()
                .map(|fault| {
                    format!("{} {}", fault.nemesis, fault.chosen.iter().map(|chosen| chosen.daemon.as_str()).collect::<Vec<_>>().join("+"))
                })
                .collect::<Vec<_>>();
            let faults = if faults.is_empty() { "no fault".to_owned() } else { faults.join(", ") };
            live.display.line(
                live.elapsed(),
                &format!(
                    "{:>7.1} s  {:>6} acked/s · ok {} · info {} · fail {} · open {} · read {} · {faults}",
                    live.elapsed().as_secs_f64(),
                    acked.saturating_sub(acked_before),
                    counts.ok,
                    counts.info,
                    counts.fail,
                    counts.outstanding(),
                    counts.records_polled,
                ),
            );
            acked_before = acked;
        }
        resources
    });
    Watch { stop, task }
}

impl Watch {
    pub(super) async fn stop(self) -> Resources {
        let _ = self.stop.send(());
        self.task.await.unwrap_or_default()
    }
}
