//! Asking one ZooKeeper server for its mode, again and again.
//!
//! The interval of a change: after the last proof of the old mode, before the first of the new. An answer proves the mode from when it was
//! asked for until it had come. Silence proves `none` from when the unanswered `srvr` was made: *serves* means that it answers within
//! [`super::PATIENCE`].

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{Interval, Observed};
use tokio::time::{MissedTickBehavior, interval};

use super::{PATIENCE, Shared, patiently};
use crate::zookeeper::{Access, Server, Srvr, SrvrError, srvr};

const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// A `srvr` that hangs is given up and made again, in case its connection hangs and the server does not.
const SILENCE_MAX: Duration = Duration::from_millis(1_000);

/// The mode of a server that does not serve.
const NONE: &str = "none";

struct Watcher {
    shared: Arc<Shared>,
    server: Server,
    source: String,
    /// Mode and epoch, and the last moment that proved them.
    last: Option<((String, i64), u64)>,
}

/// Watches one server's mode, for ever.
pub(super) async fn watch(shared: Arc<Shared>, server: usize) {
    let Some(server) = shared.servers.get(server).cloned() else { return };
    // What cannot be read is told by the check before a run; here it is tried again.
    let Ok(access) = Access::of(&shared.inventory.zookeeper) else { return };
    let source = format!("zookeeper:{}", server.label);
    let address = server.address.clone();
    let mut watcher = Watcher { shared, server, source, last: None };
    let mut ticks = interval(ASK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let invoked_ns = watcher.shared.clock.now_ns();
        let answer = patiently(srvr(&address, &access, SILENCE_MAX), |waited| watcher.is_waited_for(invoked_ns, waited)).await;
        let known_ns = watcher.shared.clock.now_ns();
        match answer {
            Err(SrvrError::Timeout(_)) => watcher.take(None, known_ns, invoked_ns),
            answer => watcher.take(answer.ok(), invoked_ns, known_ns),
        }
    }
}

impl Watcher {
    /// What was asked then has not been answered by now.
    fn is_waited_for(&mut self, invoked_ns: u64, waited: Duration) {
        // Who served before is given time; who did not serve already does not serve still.
        if waited >= PATIENCE || self.last.as_ref().is_some_and(|((mode, _), _)| mode == NONE) {
            self.take(None, self.shared.clock.now_ns(), invoked_ns);
        }
    }

    /// The state still held at `proof_ns`, and held at `before_ns` at the latest for the first time.
    fn take(&mut self, srvr: Option<Srvr>, proof_ns: u64, before_ns: u64) {
        let (mode, zxid) = srvr.map_or_else(|| (NONE.to_owned(), None), |srvr| (srvr.mode, Some(srvr.zxid)));
        // Every transaction raises the zxid; only a new epoch is news.
        let state = (mode.clone(), zxid.map_or(-1, |zxid| zxid >> 32));
        let after_ns = match self.last.replace((state.clone(), proof_ns)) {
            Some((previous, _)) if previous == state => return,
            Some((_, last_ns)) => last_ns.min(before_ns),
            None => 0,
        };
        let what = Observed::ZooKeeperMode { host: self.server.label.clone(), mode, zxid };
        self.shared.emit(&self.source, Interval { after_ns, before_ns }, what);
    }
}
