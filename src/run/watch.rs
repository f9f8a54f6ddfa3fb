//! The look at what goes on, the samples of our own resources, and the conditions that end a run: once a second, beside everything else.

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::Clock;
use kchaos_nemeses::Engine;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::abort::AbortReason;
use super::resources::Resources;
use super::{Books, Clients, Live, lock};

const EVERY: Duration = Duration::from_secs(1);

/// Ends when it is stopped, and gives back what it sampled.
pub(super) struct Watch {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Resources>,
}

pub(super) fn start(live: &Arc<Live>, books: &Books, engine: &Arc<Engine>, clients: &Clients) -> Watch {
    let (stop, mut stopped) = oneshot::channel();
    let (live, engine, clients) = (Arc::clone(live), Arc::clone(engine), Arc::downgrade(clients));
    let analysis = Arc::clone(&books.analysis);
    let task = tokio::spawn(async move {
        let mut resources = Resources::default();
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
            let counts = clients.try_lock().ok().map(|clients| clients.counts());
            resources.sample(elapsed_s, counts.is_some());
            let point = lock(&analysis).last_second();
            let pulse = live.vitals.look(elapsed_s, counts, point.as_ref(), &engine.in_force(), |key| live.key_name(key));
            live.display.pulse(&pulse);
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
