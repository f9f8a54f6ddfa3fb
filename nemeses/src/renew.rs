//! The heartbeat: every third of the lease each fault's lease is renewed, and the hosts' locks in time for theirs.
//!
//! When it stops, for whatever reason, the hosts mend themselves.

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{FaultEvent, FaultMoment, Interval};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::engine::Inner;
use crate::lock::{self, LockOptions};

const TICK_MIN: Duration = Duration::from_millis(250);

/// Of the locks of a run whose faults have this lease. Longer, so that a run that lags does not lose its hosts to another.
pub fn lock_lease(lease: Duration) -> Duration {
    (lease * 3).max(Duration::from_secs(60))
}

pub(crate) async fn keep_renewing(inner: Arc<Inner>) {
    let lease = inner.shared.options.lease;
    let tick = (lease / 3).max(TICK_MIN);
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // At the first tick too: for how long the locks were taken is not known here.
    let mut locked: Option<Instant> = None;
    let mut lock_task: Option<tokio::task::JoinHandle<()>> = None;
    loop {
        ticks.tick().await;
        let mut renewals = JoinSet::new();
        for leg in inner.all().iter().flat_map(|live| live.legs.clone()) {
            renewals.spawn(async move { leg.renew(tick).await });
        }
        while renewals.join_next().await.is_some() {}
        // Beside the leases, never before them: a host that does not answer must not delay the others' renewals.
        let idle = lock_task.as_ref().is_none_or(tokio::task::JoinHandle::is_finished);
        if idle && locked.is_none_or(|locked| locked.elapsed() >= lock_lease(lease) / 3) {
            locked = Some(Instant::now());
            lock_task = Some(tokio::spawn(renew_locks(Arc::clone(&inner))));
        }
    }
}

async fn renew_locks(inner: Arc<Inner>) {
    let options = &inner.shared.options;
    let mine = LockOptions {
        run_id: options.run_id.clone(),
        holder: options.holder.clone(),
        lease: lock_lease(options.lease),
        paths: options.paths.clone(),
    };
    for host in &inner.shared.doors.inventory().hosts {
        match lock::renew_one(inner.shared.doors.as_ref(), &mine, &host.name).await {
            Ok(true) => {}
            Ok(false) => inner.note(&format!("{} is no longer locked for this run: freed, or taken over after its lease", host.name)),
            Err(error) => inner.note(&format!("the lock of {} was not renewed: {error}", host.name)),
        }
    }
}

impl Inner {
    fn note(&self, text: &str) {
        (self.shared.options.sink)(FaultEvent {
            fault_id: 0,
            moment: FaultMoment::Note,
            when: Interval::at(self.shared.now()),
            nemesis: String::new(),
            chosen: Vec::new(),
            effect: None,
            proof: None,
            text: Some(text.to_owned()),
        });
    }
}
