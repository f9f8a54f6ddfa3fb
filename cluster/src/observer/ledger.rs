//! The bounds: how an interval is made from what several ZooKeeper servers showed, and why it holds the moment.
//!
//! **The moment** of a change is when ZooKeeper committed it (a quorum had it, and the leader said so).
//!
//! **Not after.** A server shows only what was committed. So the change was committed before the end of the first read, at any server, that
//! showed it. A watch event only causes that read: its own arrival is not used, since the read may already show a later change.
//!
//! **Not before.** A read that shows the old state proves less than it seems: a follower lags. So each proof begins with `sync`, which goes
//! through the server's leader; what is read behind it is at least as new as what that leader had committed when the sync was *invoked*. Left
//! is the case of ZOOKEEPER-1675 and 2136: a leader that was deposed and has not noticed (for up to `syncLimit` ticks) answers too. Therefore
//! the bound is not the latest proof of any server but **the latest time for which a majority of the servers gave a proof as late or later**:
//! a change committed before that time was acknowledged by a majority, which shares a server with ours; that server had then already left
//! the older leader, so its sync went to the leader that committed the change, or a later one, and it would have shown the change.
//! With one server of three down, both others must have given their proof; with a majority out of sight the interval grows, as it must.
//! It also grows while the leader hangs, since no sync ends then: after that, what is true may have become so at any time since.
//!
//! What one server can be behind another in *applying* a commit (well under a millisecond of scheduling) is not modelled.
//!
//! Order between servers comes from zxids, never from arrival: a lagging server's older state is no news.

use kchaos_core::Interval;

use super::items::Value;

/// Longer without a majority in sight is told.
const BLIND_NS: u64 = 500_000_000;

/// Orders the states of one thing: a zxid, and a second number where one transaction is not enough to tell.
pub(super) type Version = (i64, i64);

/// What one read of one server showed.
#[derive(Clone, Debug)]
pub(super) struct Shown<T> {
    pub(super) version: Version,
    pub(super) value: T,
    /// When the sync before the read was invoked.
    pub(super) invoked_ns: u64,
    /// When the read had ended.
    pub(super) known_ns: u64,
    /// Not later than this may the interval begin, because this server's proofs since then are void (its watch was lost).
    pub(super) after_ns_max: Option<u64>,
}

/// News: the value before (`None` at the first look), the value now, and when it changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change<T> {
    pub(super) when: Interval,
    pub(super) previous: Option<T>,
    pub(super) value: T,
}

/// One thing as several servers show it.
#[derive(Clone, Debug)]
pub(super) struct Merge<T> {
    /// Per server: the latest invocation after which it still showed nothing newer than `latest`.
    proofs_ns: Vec<u64>,
    latest: Option<(Version, T)>,
}

/// All that the servers show, and how long a majority of them was out of sight.
#[derive(Debug)]
pub(super) struct Ledger {
    /// By item: see [`super::items`].
    items: Vec<Merge<Value>>,
    /// Per server: when its last round that ended well was invoked.
    rounds_ns: Vec<u64>,
    /// Until then, a majority was in sight at least every [`BLIND_NS`], or the gap was told.
    sight_ns: u64,
}

impl<T: Clone + PartialEq> Merge<T> {
    pub(super) fn new(servers: usize) -> Self {
        Self { proofs_ns: vec![0; servers], latest: None }
    }

    /// This server showed nothing newer than what is known, in a read invoked then.
    pub(super) fn proves_old(&mut self, server: usize, invoked_ns: u64) {
        if let Some(proof_ns) = self.proofs_ns.get_mut(server) {
            *proof_ns = invoked_ns.max(*proof_ns);
        }
    }

    /// What a read showed. A newer version with the same value is no news, but older proofs stay good for what comes after it.
    pub(super) fn shows(&mut self, server: usize, shown: Shown<T>) -> Option<Change<T>> {
        let Shown { version, value, invoked_ns, known_ns, after_ns_max } = shown;
        let news = match self.latest.take() {
            None => Some(Change { when: Interval { after_ns: 0, before_ns: known_ns }, previous: None, value: value.clone() }),
            Some((latest, previous)) if version <= latest => {
                self.latest = Some((latest, previous));
                self.proves_old(server, invoked_ns);
                return None;
            }
            Some((_, previous)) => {
                let after_ns = majority_ns(&self.proofs_ns).min(known_ns).min(after_ns_max.unwrap_or(u64::MAX));
                let when = Interval { after_ns, before_ns: known_ns };
                (previous != value).then(|| Change { when, previous: Some(previous), value: value.clone() })
            }
        };
        self.latest = Some((version, value));
        self.proves_old(server, invoked_ns);
        news
    }
}

impl Ledger {
    pub(super) fn new(servers: usize, keys: usize, now_ns: u64) -> Self {
        let items = vec![Merge::new(servers); super::items::count(keys)];
        Self { items, rounds_ns: vec![0; servers], sight_ns: now_ns }
    }

    pub(super) fn shows(&mut self, server: usize, item: usize, shown: Shown<Value>) -> Option<Change<Value>> {
        self.items.get_mut(item)?.shows(server, shown)
    }

    pub(super) fn proves_old(&mut self, server: usize, item: usize, invoked_ns: u64) {
        if let Some(merge) = self.items.get_mut(item) {
            merge.proves_old(server, invoked_ns);
        }
    }

    /// A round of this server ended well. The gap, if a majority had been out of sight for long.
    pub(super) fn saw(&mut self, server: usize, invoked_ns: u64) -> Option<Interval> {
        if let Some(round_ns) = self.rounds_ns.get_mut(server) {
            *round_ns = invoked_ns;
        }
        let majority_ns = majority_ns(&self.rounds_ns);
        if majority_ns <= self.sight_ns {
            return None;
        }
        let gap = self.sight_gap(majority_ns);
        self.sight_ns = majority_ns;
        gap
    }

    /// The time until `now_ns` during which no majority was in sight, if it is long.
    pub(super) fn sight_gap(&self, now_ns: u64) -> Option<Interval> {
        (now_ns.saturating_sub(self.sight_ns) > BLIND_NS).then_some(Interval { after_ns: self.sight_ns, before_ns: now_ns })
    }
}

/// The latest time that a majority reached.
fn majority_ns(times_ns: &[u64]) -> u64 {
    let mut sorted = times_ns.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.get(times_ns.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(version: i64, value: char, invoked_ns: u64, known_ns: u64) -> Shown<char> {
        Shown { version: (version, 0), value, invoked_ns, known_ns, after_ns_max: None }
    }

    fn change(after_ns: u64, before_ns: u64, previous: Option<char>, value: char) -> Option<Change<char>> {
        Some(Change { when: Interval { after_ns, before_ns }, previous, value })
    }

    #[test]
    fn the_first_look_is_a_change_from_zero() {
        let mut merge = Merge::new(3);
        assert_eq!(merge.shows(0, shown(5, 'a', 100, 110)), change(0, 110, None, 'a'));
        assert_eq!(merge.shows(1, shown(5, 'a', 101, 111)), None);
    }

    #[test]
    fn a_change_lies_between_the_majoritys_last_proofs_and_the_first_read_that_shows_it() {
        let mut merge = Merge::new(3);
        merge.shows(0, shown(5, 'a', 100, 110));
        merge.shows(1, shown(5, 'a', 120, 130));
        merge.proves_old(2, 140);
        // The latest proof stands alone; the second latest is the majority's.
        assert_eq!(merge.shows(0, shown(6, 'b', 150, 160)), change(120, 160, Some('a'), 'b'));
        // The same change at a slower server is no news, and neither is the old state at a lagging one.
        assert_eq!(merge.shows(1, shown(6, 'b', 155, 170)), None);
        assert_eq!(merge.shows(2, shown(5, 'a', 156, 171)), None);
    }

    #[test]
    fn with_two_of_three_servers_out_of_sight_the_interval_reaches_back_to_when_they_were_seen() {
        let mut merge = Merge::new(3);
        for server in 0..3 {
            merge.shows(server, shown(5, 'a', 100 + server as u64, 110));
        }
        merge.proves_old(0, 9_000);
        assert_eq!(merge.shows(0, shown(6, 'b', 9_010, 9_020)), change(102, 9_020, Some('a'), 'b'));
    }

    #[test]
    fn a_lost_watch_voids_the_proofs_since_the_last_read() {
        let mut merge = Merge::new(1);
        merge.shows(0, shown(5, 'a', 100, 110));
        merge.proves_old(0, 900);
        let late = Shown { after_ns_max: Some(100), ..shown(6, 'b', 950, 960) };
        assert_eq!(merge.shows(0, late), change(100, 960, Some('a'), 'b'));
    }

    #[test]
    fn a_majority_out_of_sight_for_long_is_told_once() {
        let mut ledger = Ledger::new(3, 0, 0);
        assert_eq!(ledger.saw(0, 1_000), None);
        assert_eq!(ledger.saw(1, 2_000), None);
        assert_eq!(ledger.saw(0, 900_000_000), None);
        assert_eq!(ledger.saw(2, 901_000_000), Some(Interval { after_ns: 2_000, before_ns: 900_000_000 }));
        assert_eq!(ledger.saw(1, 902_000_000), None);
        assert_eq!(ledger.sight_gap(903_000_000), None);
    }

    /// A server's proof or read in a simulated ensemble: which server, how long after the one before, how long it takes.
    #[derive(Clone, Debug)]
    struct Step {
        server: usize,
        pause: u64,
        takes: u64,
        reads: bool,
    }

    fn steps(servers: usize) -> impl Strategy<Value = Vec<Step>> {
        let step = (0..servers, 1..40_u64, 1..30_u64, any::<bool>());
        prop::collection::vec(step.prop_map(|(server, pause, takes, reads)| Step { server, pause, takes, reads }), 1..80)
    }

    /// The version that a synced look begun then shows: servers of the majority show all that was committed by its end, or by its start,
    /// as chance has it; a server on a deposed leader's side shows what was committed when it was cut off.
    fn visible(commits: &[u64], invoked: u64, ended: u64, cut_since: Option<u64>, eager: bool) -> i64 {
        let until = if eager { ended } else { invoked };
        let until = cut_since.map_or(until, |cut| until.min(cut));
        commits.iter().filter(|commit| **commit <= until).count() as i64
    }

    proptest! {
        /// Whatever the servers do, with a minority on the side of a deposed leader, every change reported lies in its interval.
        #[test]
        fn every_interval_holds_the_moment(
            steps in steps(3), mut commits in prop::collection::vec(1..1_500_u64, 1..12), cut in 0..1_000_u64, eager in any::<bool>(),
        ) {
            commits.sort_unstable();
            commits.dedup();
            let mut merge = Merge::new(3);
            let mut now = 1;
            let mut seen = [None; 3];
            for step in steps {
                let (invoked, ended) = (now, now + step.takes);
                let cut_since = (step.server == 2).then_some(cut);
                let version = visible(&commits, invoked, ended, cut_since, eager);
                if step.reads || seen[step.server] != Some(version) {
                    let shown = Shown { version: (version, 0), value: version, invoked_ns: invoked, known_ns: ended, after_ns_max: None };
                    if let Some(Change { when, previous: Some(previous), value }) = merge.shows(step.server, shown) {
                        // The last of the commits between the two states, and for the lower bound the first of them.
                        prop_assert!(commits[value as usize - 1] <= when.before_ns, "{when:?} {commits:?}");
                        prop_assert!(when.after_ns <= commits[previous as usize], "{when:?} {commits:?}");
                    }
                } else {
                    merge.proves_old(step.server, invoked);
                }
                seen[step.server] = Some(version);
                now += step.pause;
            }
        }
    }
}
