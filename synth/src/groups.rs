//! A consumer group: members poll the keys they own and commit; one that crashes loses its place, and what it had not committed is delivered
//! again to whoever owns its keys next.

use std::collections::{BTreeMap, VecDeque};

use kchaos_core::{Body, Extra, Key, Offset, OpType, RebalanceEvent, RebalanceType, Value};
use rand::RngCore;
use rand_chacha::ChaCha8Rng;

use crate::draw::{Chance, Fate, Fates, draw};
use crate::options::Options;
use crate::out::{Out, Record};

/// The name of the group.
pub(crate) const GROUP: &str = "g";

pub(crate) struct Group {
    pub(crate) members: Vec<Member>,
    keys: Vec<Place>,
    next: usize,
    poll_records: usize,
    fates: Fates,
    failed: Chance,
}

pub(crate) struct Member {
    pub(crate) process: u32,
    keys: Vec<u32>,
    state: State,
    /// Records of its keys that it was not given yet.
    waiting: usize,
    /// Records that it was given and has not committed.
    uncommitted: usize,
    target: usize,
    /// Rebalances that it was not told of yet.
    news: Vec<RebalanceEvent>,
    /// The key with which its next poll begins.
    turn: usize,
}

#[derive(Clone, PartialEq, Eq)]
enum State {
    Idle,
    Polling,
    Committing(BTreeMap<Key, Offset>),
    Fetching,
}

/// Where the group is in a key.
struct Place {
    owner: usize,
    /// From the first that was not committed.
    log: VecDeque<(Offset, Value)>,
    /// How many of these the owner was given.
    given: usize,
    committed: Option<Offset>,
}

pub(crate) fn extra() -> Extra {
    Extra { group: Some(GROUP.to_owned()), ..Extra::default() }
}

impl Group {
    pub(crate) fn new(options: &Options, processes: &mut u32) -> Self {
        let consumers = options.consumers as usize;
        let place = |key| Place { owner: key % consumers, log: VecDeque::new(), given: 0, committed: None };
        let members = (0..consumers).map(|_| Member::new(processes)).collect();
        Self {
            members,
            keys: (0..options.keys as usize).map(place).collect(),
            next: 0,
            poll_records: options.poll_records as usize,
            fates: Fates::new(options),
            failed: Chance::new(options.failed_polls),
        }
    }

    pub(crate) fn nobody(options: &Options) -> Self {
        let (fates, failed) = (Fates::new(options), Chance::new(0.0));
        Self { members: Vec::new(), keys: Vec::new(), next: 0, poll_records: 1, fates, failed }
    }

    pub(crate) fn join(&mut self, out: &mut Out<'_>) {
        for number in 0..self.members.len() {
            self.subscribe(number, out);
        }
        self.assign();
    }

    fn subscribe(&self, number: usize, out: &mut Out<'_>) {
        let subscribe = Body::Subscribe { keys: (0..).take(self.keys.len()).collect() };
        // Its beginning is the log's, so that all it misses was owed.
        let extra = Extra { reset: Some("earliest".to_owned()), ..extra() };
        out.both(self.members[number].process, subscribe.clone(), subscribe, &extra);
    }

    /// Tells each member which keys it gained and lost.
    fn assign(&mut self) {
        let mut owned = vec![Vec::new(); self.members.len()];
        for (key, place) in (0..).zip(&self.keys) {
            owned[place.owner].push(key);
        }
        for (member, owned) in self.members.iter_mut().zip(owned) {
            let without = |these: &[u32], others: &[u32]| -> Vec<Key> {
                these.iter().filter(|key| others.binary_search(key).is_err()).map(|key| Key::from(*key)).collect()
            };
            for (event, keys) in
                [(RebalanceType::Revoked, without(&member.keys, &owned)), (RebalanceType::Assigned, without(&owned, &member.keys))]
            {
                if !keys.is_empty() {
                    member.news.push(RebalanceEvent { event, keys });
                }
            }
            member.waiting = owned.iter().map(|key| self.keys[*key as usize].waiting()).sum();
            (member.keys, member.turn) = (owned, 0);
        }
    }

    #[inline]
    pub(crate) fn give(&mut self, record: Record) {
        let Some(place) = self.keys.get_mut(record.key as usize) else { return };
        place.log.push_back((record.offset, record.value));
        self.members[place.owner].waiting += 1;
    }

    pub(crate) fn step(&mut self, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        if self.members.is_empty() {
            return;
        }
        let mut due: usize = self.members.iter().map(|member| member.waiting).sum();
        let most = 128 + 2 * self.poll_records * self.members.len();
        loop {
            self.next = if self.next + 1 < self.members.len() { self.next + 1 } else { 0 };
            self.visit(self.next, rng, out);
            if due < most {
                return;
            }
            due -= most;
        }
    }

    fn visit(&mut self, number: usize, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let member = &self.members[number];
        if member.state != State::Idle {
            let fate = self.fates.draw(rng);
            return self.finish(number, fate, rng, out);
        }
        if member.uncommitted >= 2 * self.poll_records {
            self.begin_commit(number, out);
        } else if member.waiting >= member.target {
            self.begin_poll(number, out);
        } else if rng.next_u32().is_multiple_of(64) {
            let member = &mut self.members[number];
            let keys = member.keys.iter().map(|key| Key::from(*key)).collect();
            out.line(member.process, None, OpType::Invoke, Body::Committed { keys, offsets: BTreeMap::new() }, extra());
            member.state = State::Fetching;
        }
    }

    fn begin_poll(&mut self, number: usize, out: &mut Out<'_>) {
        let member = &mut self.members[number];
        out.poll_invoke(member.process);
        member.state = State::Polling;
    }

    fn begin_commit(&mut self, number: usize, out: &mut Out<'_>) {
        let offsets = self.offsets(number);
        let member = &mut self.members[number];
        out.line(member.process, None, OpType::Invoke, Body::Commit(offsets.clone()), extra());
        member.state = State::Committing(offsets);
    }

    /// What the member may commit: the offset after the last record it was given of each key.
    fn offsets(&self, number: usize) -> BTreeMap<Key, Offset> {
        let places = self.members[number].keys.iter().map(|key| (Key::from(*key), &self.keys[*key as usize]));
        places.filter_map(|(key, place)| place.given.checked_sub(1).map(|last| (key, place.log[last].0 + 1))).collect()
    }

    /// Ends what the member has begun; a commit, as its fate says.
    fn finish(&mut self, number: usize, fate: Fate, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let process = self.members[number].process;
        match std::mem::replace(&mut self.members[number].state, State::Idle) {
            State::Idle => {}
            State::Polling => {
                let op_type = match self.failed.happens(rng) {
                    true if rng.next_u32().is_multiple_of(2) => OpType::Fail,
                    true => OpType::Info,
                    false => OpType::Ok,
                };
                self.members[number].target = 1 + draw(rng, self.poll_records);
                self.poll(number, op_type, out);
            }
            State::Committing(offsets) => {
                let op_type = match fate {
                    Fate::Ok | Fate::OkUntold => OpType::Ok,
                    Fate::InfoDone | Fate::InfoLost => OpType::Info,
                    Fate::Fail => OpType::Fail,
                };
                out.line(process, None, op_type, Body::Commit(offsets.clone()), extra());
                if fate.takes_effect() {
                    self.commit(number, &offsets);
                }
            }
            State::Fetching => {
                let keys: Vec<Key> = self.members[number].keys.iter().map(|key| Key::from(*key)).collect();
                let committed =
                    |key: &Key| usize::try_from(*key).ok().and_then(|key| self.keys[key].committed).map(|offset| (*key, offset));
                let offsets = keys.iter().filter_map(committed).collect();
                out.line(process, None, OpType::Ok, Body::Committed { keys, offsets }, extra());
            }
        }
    }

    fn poll(&mut self, number: usize, op_type: OpType, out: &mut Out<'_>) {
        let member = &mut self.members[number];
        let (mut records, mut taken) = (Vec::new(), Vec::new());
        for nth in 0..member.keys.len() {
            let room = self.poll_records - records.len();
            if room == 0 {
                break;
            }
            let key = member.keys[(member.turn + nth) % member.keys.len()];
            let place = &self.keys[key as usize];
            let take = place.waiting().min(room);
            let range = place.log.range(place.given..place.given + take);
            records.extend(range.map(|(offset, value)| Record { key, offset: *offset, value: *value }));
            taken.push((key, take));
        }
        let rebalance_log = std::mem::take(&mut member.news);
        out.poll(member.process, op_type, records.iter().copied(), Extra { rebalance_log, ..Extra::default() });
        if op_type != OpType::Ok {
            return;
        }
        member.turn = (member.turn + taken.len()) % member.keys.len().max(1);
        for (key, take) in taken {
            self.keys[key as usize].given += take;
            member.waiting -= take;
            member.uncommitted += take;
        }
    }

    fn commit(&mut self, number: usize, offsets: &BTreeMap<Key, Offset>) {
        for (key, offset) in offsets {
            let Some(place) = usize::try_from(*key).ok().and_then(|key| self.keys.get_mut(key)) else { continue };
            while place.log.front().is_some_and(|(first, _)| first < offset) {
                place.log.pop_front();
                place.given = place.given.saturating_sub(1);
            }
            place.committed = Some(*offset);
        }
        self.members[number].uncommitted = 0;
    }

    /// A member dies. The others commit what they were given, and the keys are dealt out anew, those of the dead one to who takes its place.
    pub(crate) fn crash(&mut self, number: usize, processes: &mut u32, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let others = (0..self.members.len()).filter(|other| *other != number);
        others.for_each(|other| self.settle(other, rng, out));
        self.die(number, rng, out);
        self.members[number] = Member::new(processes);
        // One key moves as well.
        let key = draw(rng, self.keys.len());
        self.keys[key].owner = draw(rng, self.members.len());
        for place in &mut self.keys {
            place.given = 0;
        }
        self.subscribe(number, out);
        self.assign();
    }

    /// The member ends what it has begun and commits what it was given.
    pub(crate) fn settle(&mut self, number: usize, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        if self.members[number].state != State::Idle {
            self.finish(number, Fate::Ok, rng, out);
        }
        if !self.offsets(number).is_empty() {
            self.begin_commit(number, out);
            self.finish(number, Fate::Ok, rng, out);
        }
    }

    /// What it has begun, nobody knows; a commit may have taken effect.
    fn die(&mut self, number: usize, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        let process = self.members[number].process;
        match std::mem::replace(&mut self.members[number].state, State::Idle) {
            State::Idle => {}
            State::Polling => out.poll(process, OpType::Info, std::iter::empty(), Extra::default()),
            State::Committing(offsets) => {
                out.line(process, None, OpType::Info, Body::Commit(offsets.clone()), extra());
                if rng.next_u32().is_multiple_of(2) {
                    self.commit(number, &offsets);
                }
            }
            State::Fetching => {
                let body = Body::Committed { keys: Vec::new(), offsets: BTreeMap::new() };
                out.line(process, None, OpType::Info, body, extra());
            }
        }
        out.line(process, None, OpType::Invoke, Body::Crash, Extra::default());
        out.line(process, None, OpType::Info, Body::Crash, Extra::default());
    }

    /// Everybody reads to the end and commits it.
    pub(crate) fn drain(&mut self, rng: &mut ChaCha8Rng, out: &mut Out<'_>) {
        for number in 0..self.members.len() {
            while !out.is_stopped && self.members[number].waiting > 0 {
                if self.members[number].state == State::Idle {
                    self.begin_poll(number, out);
                }
                self.finish(number, Fate::Ok, rng, out);
            }
            self.settle(number, rng, out);
        }
    }

    pub(crate) fn owner(&self, key: u32) -> usize {
        self.keys[key as usize].owner
    }

    /// The member commits an offset of a key, whatever it was given.
    pub(crate) fn commit_at(&mut self, number: usize, key: u32, offset: Offset, out: &mut Out<'_>) {
        let offsets = BTreeMap::from([(Key::from(key), offset)]);
        let process = self.members[number].process;
        out.both(process, Body::Commit(offsets.clone()), Body::Commit(offsets.clone()), &extra());
        self.commit(number, &offsets);
        let member = &mut self.members[number];
        member.waiting = member.keys.iter().map(|key| self.keys[*key as usize].waiting()).sum();
    }

    /// The member is given all that waits for it, for certain.
    pub(crate) fn poll_all(&mut self, number: usize, out: &mut Out<'_>) {
        while !out.is_stopped && self.members[number].waiting > 0 {
            out.poll_invoke(self.members[number].process);
            self.poll(number, OpType::Ok, out);
        }
    }
}

impl Member {
    fn new(processes: &mut u32) -> Self {
        let process = *processes;
        *processes += 1;
        let (keys, news) = (Vec::new(), Vec::new());
        Self { process, keys, state: State::Idle, waiting: 0, uncommitted: 0, target: 1, news, turn: 0 }
    }
}

impl Place {
    fn waiting(&self) -> usize {
        self.log.len() - self.given
    }
}
