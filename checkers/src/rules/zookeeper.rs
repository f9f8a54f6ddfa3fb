//! What ZooKeeper owes a session beside its registers' values (`nonlinearizable`).
//!
//! `watch-violation`: a watch lost, doubled or out of order. A watch fires once, and a session is told of a change before it is shown what
//! the change left. Told by ops of the process "nemesis":
//!
//! - `watch` `{"watch": 7, "event": "set", "client": 3, "key": 0, "version": 4}`: a session set a data watch with a read that returned this
//!   version. `client` (or `process`, for clients that have no number) is the session, as beside its other ops.
//! - `watch` `{"watch": 7, "event": "fired", "zxid": 70}`: the session was told. `zxid` is the event's own, where the server tells one.
//!
//! **doubled**: it fired twice and was not set again between. **out of order**: the session had an ok `read` of the key with a greater
//! version, and the watch fired later; or two events of a session, the later with a smaller zxid. **lost**: such a read, and it never fired.
//! A harness must write down reads and events of a session in the order in which the client delivered them. Counted: watches.
//!
//! `ephemeral-violation`: an ephemeral gone before its session, or staying after it. Whatever a server answers, it answers as of a zxid, and
//! that orders all of it without a clock:
//!
//! - `ephemeral` `{"node": "/x", "event": "created", "client": 3, "zxid": 50}`: the node's own zxid of creation, and whose it is;
//!   `"event": "removed"`: somebody deleted it, or asked for it (without a `zxid` where that is not known: the node is then not judged);
//!   `"event": "seen"` and `"absent"`: what a read found as of this zxid (with the owner, for one that was seen).
//! - `session` `{"client": 3, "event": "alive", "zxid": 60}`: the session was answered as of this zxid; `"event": "closed"`: the zxid of the
//!   transaction that closed or expired it; `"event": "ended"`: one by which it certainly had been, so no proof that it lived until then.
//!
//! **gone before**: created at or before a zxid at which it was absent, and not removed between, while its session was alive at that zxid or
//! later, or closed later. **staying**: seen at or after a zxid by which its session was closed. Counted: nodes created, and pairs of node and
//! session.
//!
//! What this cannot see: watches on children, on nodes that do not exist, and of sessions that read nothing later; nodes and sessions without
//! zxids: a session that its client believes expired may still live on the servers, and a read may be old.

use std::collections::{BTreeMap, BTreeSet};

use kchaos_core::{Body, Key, Op, OpType, Process, Verdict};
use serde_json::Value as Json;

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, Rule, Spec, cite, example, example_of_no_key, hears};
use crate::told::{number, text, told};

pub(crate) const SPEC: Spec = Spec {
    name: "zookeeper",
    about: "watches fire once and in order, and ephemeral nodes live as long as their session",
    anomalies: &["watch-violation", "ephemeral-violation"],
    // A deletion may be told after the look that missed the node.
    stable: false,
    hears: hears::REGISTERS | hears::NEMESIS,
    build: || Box::new(ZooKeeper::default()),
};

/// A client by its number, or a process by its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Session {
    Client(u32),
    Process(u32),
}

type Zxid = i64;

#[derive(Default)]
struct ZooKeeper {
    watches: IntMap<i64, Watch>,
    /// Watches that have not fired, with the version at which they were set.
    armed: BTreeMap<(Session, Key), BTreeSet<(i64, i64)>>,
    /// The last event of a session that told a zxid.
    events: BTreeMap<Session, (Zxid, OpRef)>,
    broken: Vec<Broken>,
    nodes: BTreeMap<String, Node>,
    sessions: BTreeMap<Session, Life>,
}

struct Watch {
    session: Session,
    key: Key,
    version: i64,
    set: OpRef,
    fired: Option<OpRef>,
    /// Where it stands in `broken`.
    broken: Option<usize>,
}

/// A watch that did not do as it should.
struct Broken {
    watch: i64,
    key: Key,
    how: How,
    set: OpRef,
    fired: Option<OpRef>,
    op: OpRef,
}

#[derive(Clone, Copy)]
enum How {
    Doubled,
    /// Overtaken by a read of this version.
    Overtaken(i64),
    /// Its event's zxid, and the one before.
    Backwards(Zxid, Zxid),
}

#[derive(Default)]
struct Node {
    created: BTreeMap<Zxid, (Session, OpRef)>,
    removed: BTreeSet<Zxid>,
    /// Something was done to it, and nobody knows when.
    unknown: bool,
    absent: BTreeMap<Zxid, OpRef>,
    /// The last look at which each session still had it.
    seen: BTreeMap<Session, (Zxid, OpRef)>,
}

#[derive(Default)]
struct Life {
    alive: Option<(Zxid, OpRef)>,
    closed: Option<(Zxid, OpRef)>,
    /// The first zxid by which it certainly had been closed.
    ended: Option<(Zxid, OpRef)>,
}

impl Life {
    /// The first zxid at which it is known to be over.
    fn over(&self) -> Option<(Zxid, OpRef)> {
        [self.closed, self.ended].into_iter().flatten().min_by_key(|(zxid, _)| *zxid)
    }
}

impl Rule for ZooKeeper {
    fn update(&mut self, op: &Op, _: &Facts) {
        match (op.process, &op.body) {
            (Process::Client(process), Body::Read { key, .. }) if op.op_type == OpType::Ok && !self.armed.is_empty() => {
                let session = op.client.map_or(Session::Process(process), Session::Client);
                if let Some(version) = op.extra.version {
                    self.read(session, *key, version, op);
                }
            }
            _ => {
                if let Some(value) = told(op, "watch") {
                    self.watch(value, op);
                } else if let Some(value) = told(op, "ephemeral") {
                    self.ephemeral(value, op);
                } else if let (Some(value), Some(zxid)) = (told(op, "session"), told(op, "session").and_then(zxid)) {
                    self.session(value, zxid, op);
                }
            }
        }
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        for broken in &self.broken {
            findings.add("watch-violation", || broken.told());
        }
        for (name, node) in self.nodes.iter().filter(|(_, node)| !node.unknown) {
            self.gone(name, node, &mut findings);
        }
        for (name, node) in &self.nodes {
            self.staying(name, node, &mut findings);
        }
        findings.verdict()
    }
}

fn session(value: &Json) -> Option<Session> {
    let of = |name| number(value, name).and_then(|number| u32::try_from(number).ok());
    of("client").map(Session::Client).or_else(|| of("process").map(Session::Process))
}

fn zxid(value: &Json) -> Option<Zxid> {
    number(value, "zxid").filter(|zxid| *zxid >= 0)
}

impl Session {
    fn told(self) -> String {
        match self {
            Session::Client(client) => format!("client {client}"),
            Session::Process(process) => format!("process {process}"),
        }
    }
}

impl ZooKeeper {
    fn watch(&mut self, value: &Json, op: &Op) {
        let Some(id) = number(value, "watch") else { return };
        match text(value, "event") {
            Some("set") => {
                let (Some(session), Some(key), Some(version)) = (session(value), number(value, "key"), number(value, "version")) else {
                    return;
                };
                self.disarm(id);
                self.armed.entry((session, key)).or_default().insert((version, id));
                self.watches.insert(id, Watch { session, key, version, set: OpRef::new(op.index), fired: None, broken: None });
            }
            Some("fired") => self.fired(id, zxid(value), op),
            _ => {}
        }
    }

    fn disarm(&mut self, id: i64) {
        if let Some(watch) = self.watches.get(&id)
            && let Some(armed) = self.armed.get_mut(&(watch.session, watch.key))
        {
            armed.remove(&(watch.version, id));
            if armed.is_empty() {
                self.armed.remove(&(watch.session, watch.key));
            }
        }
    }

    fn fired(&mut self, id: i64, zxid: Option<Zxid>, op: &Op) {
        self.disarm(id);
        // One that nobody is known to have set proves nothing.
        let Some(watch) = self.watches.get_mut(&id) else { return };
        let now = OpRef::new(op.index);
        let before = zxid.and_then(|zxid| self.events.insert(watch.session, (zxid, now)).map(|before| (before.0, zxid)));
        let (key, set) = (watch.key, watch.set);
        let how = match (watch.fired, watch.broken) {
            (Some(_), None) => How::Doubled,
            (_, Some(broken)) => {
                self.broken[broken].fired.get_or_insert(now);
                watch.fired = Some(now);
                return;
            }
            (None, None) => match before {
                Some((before, zxid)) if zxid < before => How::Backwards(zxid, before),
                _ => {
                    watch.fired = Some(now);
                    return;
                }
            },
        };
        watch.broken = Some(self.broken.len());
        self.broken.push(Broken { watch: id, key, how, set, fired: watch.fired.or(Some(now)), op: now });
        watch.fired = Some(now);
    }

    fn read(&mut self, session: Session, key: Key, version: i64, op: &Op) {
        let Some(armed) = self.armed.get_mut(&(session, key)) else { return };
        let rest = armed.split_off(&(version, i64::MIN));
        for (_, id) in std::mem::replace(armed, rest) {
            let Some(watch) = self.watches.get_mut(&id) else { continue };
            watch.broken = Some(self.broken.len());
            let (set, op) = (watch.set, OpRef::new(op.index));
            self.broken.push(Broken { watch: id, key, how: How::Overtaken(version), set, fired: None, op });
        }
        if self.armed.get(&(session, key)).is_some_and(BTreeSet::is_empty) {
            self.armed.remove(&(session, key));
        }
    }

    fn ephemeral(&mut self, value: &Json, op: &Op) {
        let Some(name) = text(value, "node") else { return };
        let (zxid, session, op) = (zxid(value), session(value), OpRef::new(op.index));
        let node = self.nodes.entry(name.to_owned()).or_default();
        match (text(value, "event"), zxid, session) {
            (Some("created"), Some(zxid), Some(session)) => {
                node.created.entry(zxid).or_insert((session, op));
                self.lived(session, zxid, op);
            }
            (Some("removed"), Some(zxid), _) => {
                node.removed.insert(zxid);
            }
            (Some("created" | "removed"), ..) => node.unknown = true,
            (Some("absent"), Some(zxid), _) => {
                node.absent.entry(zxid).or_insert(op);
            }
            (Some("seen"), Some(zxid), Some(session)) => {
                let last = node.seen.entry(session).or_insert((zxid, op));
                if zxid > last.0 {
                    *last = (zxid, op);
                }
            }
            _ => {}
        }
    }

    fn session(&mut self, value: &Json, zxid: Zxid, op: &Op) {
        let (Some(session), op) = (session(value), OpRef::new(op.index)) else { return };
        match text(value, "event") {
            Some("alive") => self.lived(session, zxid, op),
            Some("closed") => {
                let life = self.sessions.entry(session).or_default();
                life.closed.get_or_insert((zxid, op));
            }
            Some("ended") => {
                let ended = self.sessions.entry(session).or_default().ended.get_or_insert((zxid, op));
                if zxid < ended.0 {
                    *ended = (zxid, op);
                }
            }
            _ => {}
        }
    }

    fn lived(&mut self, session: Session, zxid: Zxid, op: OpRef) {
        let alive = self.sessions.entry(session).or_default().alive.get_or_insert((zxid, op));
        if zxid > alive.0 {
            *alive = (zxid, op);
        }
    }

    fn gone(&self, name: &str, node: &Node, findings: &mut Findings<'_>) {
        let mut accused = BTreeSet::new();
        for (absent, look) in &node.absent {
            let Some((created, (session, creation))) = node.created.range(..=absent).next_back() else { continue };
            let was_removed = created < absent && node.removed.range(created + 1..=*absent).next().is_some();
            let Some(life) = self.sessions.get(session).filter(|_| !was_removed) else { continue };
            // A session that was closed later lived until then; of one that had ended by then, nobody knows.
            let closed_before = life.over().is_some_and(|(over, _)| over <= *absent);
            let proof = [life.alive, life.closed].into_iter().flatten().find(|(zxid, _)| zxid >= absent);
            let Some((alive, proof)) = proof.filter(|_| !closed_before) else { continue };
            if !accused.insert(created) {
                continue;
            }
            findings.add("ephemeral-violation", || {
                let explanation = format!(
                    "the ephemeral node {name} of {}, created at zxid {created}{}, was absent at zxid {absent}{}, and its session lived at zxid \
                     {alive}{}: it should have stayed",
                    session.told(),
                    cite(*creation),
                    cite(*look),
                    cite(proof),
                );
                example_of_no_key(&[*creation, *look, proof], explanation)
            });
        }
    }

    fn staying(&self, name: &str, node: &Node, findings: &mut Findings<'_>) {
        for (session, (seen, look)) in &node.seen {
            let Some((closed, end)) = self.sessions.get(session).and_then(Life::over) else { continue };
            if closed > *seen {
                continue;
            }
            findings.add("ephemeral-violation", || {
                let explanation = format!(
                    "the ephemeral node {name} of {} was seen at zxid {seen}{}, and its session was closed by zxid {closed}{}: it should have gone \
                     with it",
                    session.told(),
                    cite(*look),
                    cite(end),
                );
                example_of_no_key(&[*look, end], explanation)
            });
        }
    }
}

impl Broken {
    fn told(&self) -> kchaos_core::Example {
        let Broken { watch, key, how, set, fired, op } = self;
        let what = match (how, fired) {
            (How::Doubled, Some(fired)) => format!("fired{} and again{}: it should fire once", cite(*fired), cite(*op)),
            (How::Backwards(zxid, before), _) => {
                format!(
                    "fired with zxid {zxid}{}, after an event with zxid {before}: a session's events should come in their order",
                    cite(*op)
                )
            }
            (How::Overtaken(version), Some(fired)) => {
                format!("fired{} after a read had returned version {version}{}: it should have come before", cite(*fired), cite(*op))
            }
            (_, None) => format!("never fired, though a read returned a newer version{}: it should have come before", cite(*op)),
        };
        let explanation = format!("the watch {watch} on register {key}{} {what}", cite(*set));
        let ops = [Some(*set), *fired, Some(*op)];
        example(*key, Vec::new(), Vec::new(), &ops.into_iter().flatten().collect::<Vec<_>>(), explanation)
    }
}
