//! Asking one controller of KRaft for the state of the quorum, again and again, on its own listener.
//!
//! Only the leader of the quorum tells; that another one answers and does not tell says that it does not lead. So a new active controller is seen by
//! its own first answer as leader, with the epoch of its leadership. The interval: after the last question to which it answered otherwise (or, where it
//! was silent until then, the last that nobody answered as this leader), before its answer had come. A controller that was deposed and does not know
//! it yet goes on telling: what counts is the greatest epoch.
//!
//! What each says of itself is told too ([`Observed::ControllerMetadata`]): two that lead at once for long are a fault of the quorum's (KAFKA-15489). One
//! that is silent leads nobody.

use std::sync::Arc;
use std::time::Duration;

use kchaos_core::{Interval, Observed};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::Shared;
use crate::protocol::{Connection, DescribeQuorumRequest, Peer, ProtocolError, QuorumAnswer, Security, Stream, quorum_answer};

const ASK_INTERVAL: Duration = Duration::from_millis(50);
const SILENCE_MAX: Duration = Duration::from_millis(1_000);
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The newest leadership that was told of.
#[derive(Default)]
pub(super) struct Leadership {
    leader_epoch: Option<i32>,
}

struct Watcher {
    shared: Arc<Shared>,
    controller: i32,
    source: String,
    /// When it was last asked and answered, whatever it said.
    asked_ns: Option<u64>,
    /// Whether it says that it leads, and when it was last asked and said so.
    leads: Option<(bool, u64)>,
}

/// Watches one controller, for ever. `position` spreads their turns.
pub(super) async fn watch(shared: Arc<Shared>, security: Arc<Security>, (controller, address): (i32, String), position: usize) {
    let mut watcher = Watcher { source: format!("controller:{controller}"), shared, controller, asked_ns: None, leads: None };
    let peer = Peer { broker: Some(controller), address };
    let offset = Duration::from_millis(17) * position as u32;
    loop {
        if let Ok(connection) = Connection::open(peer.clone(), &security, SILENCE_MAX, SILENCE_MAX).await {
            watcher.ask_on(connection, &peer, offset).await;
        }
        let now_ns = watcher.shared.clock.now_ns();
        watcher.says(false, now_ns);
        sleep(RETRY_INTERVAL).await;
    }
}

impl Watcher {
    async fn ask_on(&mut self, mut connection: Connection<Stream>, peer: &Peer, offset: Duration) {
        let mut ticks = interval_at(Instant::now() + offset, ASK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let invoked_ns = self.shared.clock.now_ns();
            let answer = connection.call(&DescribeQuorumRequest, SILENCE_MAX).await;
            match answer.and_then(|answer| quorum_answer(peer.clone(), answer)) {
                Ok(answer) => self.take(&answer, invoked_ns),
                Err(ProtocolError::Refused { .. }) => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, answer: &QuorumAnswer, invoked_ns: u64) {
        let known_ns = self.shared.clock.now_ns();
        let asked_ns = self.asked_ns.replace(invoked_ns);
        self.says(matches!(answer, QuorumAnswer::Leads(quorum) if quorum.leader == Some(self.controller)), invoked_ns);
        let QuorumAnswer::Leads(quorum) = answer else { return };
        if quorum.leader != Some(self.controller) || !self.shared.leadership().is_news(quorum.leader_epoch) {
            return;
        }
        let when = Interval { after_ns: asked_ns.unwrap_or(0), before_ns: known_ns };
        self.shared.emit(&self.source, when, Observed::Controller { broker: quorum.leader, epoch: Some(quorum.leader_epoch) });
    }
}

impl Watcher {
    fn says(&mut self, leads: bool, invoked_ns: u64) {
        let after_ns = match self.leads.replace((leads, invoked_ns)) {
            Some((before, _)) if before == leads => return,
            Some((_, told_ns)) => told_ns,
            None => 0,
        };
        let what = Observed::ControllerMetadata { broker: self.controller, controller: leads.then_some(self.controller) };
        self.shared.emit(&self.source, Interval { after_ns, before_ns: self.shared.clock.now_ns() }, what);
    }
}

impl Leadership {
    fn is_news(&mut self, leader_epoch: i32) -> bool {
        let is_news = self.leader_epoch.is_none_or(|known| known < leader_epoch);
        if is_news {
            self.leader_epoch = Some(leader_epoch);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deposed_controller_that_goes_on_telling_is_no_news() {
        let mut leadership = Leadership::default();
        let said = [3, 3, 5, 4, 5, 6].map(|epoch| leadership.is_news(epoch));
        assert_eq!(said, [true, false, true, false, false, true]);
    }
}
