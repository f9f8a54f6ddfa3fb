//! A thread beside the clients, which asks or changes the cluster until it is told to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng;

use crate::admin::Admin;
use crate::run::join;
use crate::{Context, WorkloadError};

/// What it may still wait for: the answer to one request, and what it asks beside it.
const END: Duration = Duration::from_secs(30);

const TICK: Duration = Duration::from_millis(10);

/// Whether the thread is to end.
#[derive(Clone, Default)]
pub(crate) struct Over(Arc<AtomicBool>);

impl Over {
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Waits about so long; `false` if it is over.
    pub(crate) fn rest(&self, interval: Duration, random: &mut impl Rng) -> bool {
        let until = Instant::now() + interval.mul_f64(random.random_range(0.5..1.5));
        while Instant::now() < until && !self.is_over() {
            std::thread::sleep(TICK);
        }
        !self.is_over()
    }
}

pub(crate) struct Aside {
    name: &'static str,
    over: Over,
    thread: Option<JoinHandle<()>>,
    /// Who did not end in time.
    pub(crate) left_behind: Vec<String>,
}

impl Aside {
    pub(crate) fn spawn(name: &'static str, run: impl FnOnce(Over) + Send + 'static) -> Result<Self, WorkloadError> {
        let over = Over::default();
        let its = over.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(its));
        let thread = thread.map_err(|source| WorkloadError::Thread { name: name.into(), source })?;
        Ok(Self { name, over, thread: Some(thread), left_behind: Vec::new() })
    }

    /// Nothing is begun any more; what is under way gets its answer.
    pub(crate) fn end(&mut self) {
        self.over.0.store(true, Relaxed);
        if let Some(thread) = self.thread.take()
            && join(thread, Instant::now() + END).is_none()
        {
            self.left_behind.push(self.name.into());
        }
    }
}

/// A run that fails to start, or is dropped, ends it too.
impl Drop for Aside {
    fn drop(&mut self) {
        self.over.0.store(true, Relaxed);
    }
}

/// What changes the cluster, for a workload that is nothing without it.
pub(crate) fn admin(workload: &str, context: &Context) -> Result<Arc<dyn Admin>, WorkloadError> {
    context.admin.clone().ok_or_else(|| WorkloadError::Unsupported {
        reason: format!("the workload {workload} needs a way to ask and to change single brokers: Kafka's protocol without TLS or SASL"),
    })
}
