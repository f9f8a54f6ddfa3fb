//! `nonlinearizable`: a register whose ops have no legal order.
//!
//! Two ways. Where every ok op of a key carries its `version`, the versions are the order of writes, and one scan is enough (rule R4, in
//! `by_version`); reads that carry a `zxid` as well are ZooKeeper's, which are not linearizable: they are held to what it promises, the
//! order of each session and its own writes. With `--profile linearizable` those, too, must be linearizable. Elsewhere the order is searched
//! for (in [`crate::search`]), within a budget whose exhaustion is unknown (`search-exhausted`).
//!
//! A failed op did nothing. An info write or compare-and-set may take effect at any time after it was invoked, or never. A register starts
//! empty (`null`). Keys are independent; counted once for each key, with the smallest window that was found.

use std::collections::BTreeMap;

use kchaos_core::{Body, Example, Key, Op, OpType, Process, Value, Verdict};

use crate::facts::Facts;
use crate::hash::IntMap;
use crate::log::OpRef;
use crate::rule::{Findings, JudgeOptions, MAX_LISTED, Rule, Spec, cite, example, hears};
use crate::search::{self, Action, Found, Step};

pub(crate) const SPEC: Spec = Spec {
    name: "registers",
    about: "register ops have an order that explains every answer",
    anomalies: &["nonlinearizable"],
    stable: false,
    hears: hears::REGISTERS,
    build: || Box::new(Registers::default()),
};

#[derive(Default)]
struct Registers {
    keys: BTreeMap<Key, Vec<Entry>>,
    /// What each process has begun: where its entry stands.
    open: IntMap<u32, (Key, usize)>,
}

/// An op of a register.
#[derive(Clone, Copy)]
struct Entry {
    action: Action,
    op_type: OpType,
    process: u32,
    client: Option<u32>,
    begun: u64,
    /// `u64::MAX` while nobody knows.
    ended: u64,
    version: Option<i64>,
    zxid: Option<i64>,
}

fn action(body: &Body) -> Option<(Key, Action)> {
    match *body {
        Body::Read { key, value } => Some((key, Action::Read(value))),
        Body::Write { key, value } => Some((key, Action::Write(value))),
        Body::Cas { key, old, new } => Some((key, Action::Cas(old, new))),
        _ => None,
    }
}

impl Rule for Registers {
    fn update(&mut self, op: &Op, _: &Facts) {
        let Process::Client(process) = op.process else { return };
        let Some((key, action)) = action(&op.body) else { return };
        let entries = self.keys.entry(key).or_default();
        if op.op_type == OpType::Invoke {
            self.open.insert(process, (key, entries.len()));
            let (op_type, client) = (OpType::Info, op.client);
            entries.push(Entry { action, op_type, process, client, begun: op.index, ended: u64::MAX, version: None, zxid: None });
            return;
        }
        let begun =
            self.open.remove(&process).filter(|(of, _)| *of == key).map(|(_, at)| at).filter(|at| entries[*at].action.is_same(action));
        let at = begun.unwrap_or_else(|| {
            // Without an invocation, it was an instant.
            let client = op.client;
            entries.push(Entry {
                action,
                op_type: OpType::Info,
                process,
                client,
                begun: op.index,
                ended: u64::MAX,
                version: None,
                zxid: None,
            });
            entries.len() - 1
        });
        let entry = &mut entries[at];
        entry.op_type = op.op_type;
        if op.op_type == OpType::Ok {
            (entry.action, entry.ended) = (action, op.index);
        }
        (entry.version, entry.zxid) = (op.extra.version, op.extra.zxid);
    }

    fn verdict(&self, _: &Facts, options: &JudgeOptions) -> Verdict {
        let mut findings = Findings::new(options);
        let mut budget = options.search_budget;
        let mut given_up = Vec::new();
        let strict = options.profile.name == "linearizable";
        for (key, entries) in &self.keys {
            let mut ok = entries.iter().filter(|entry| entry.op_type == OpType::Ok).peekable();
            let found = if ok.peek().is_some() && ok.all(|entry| entry.version.is_some()) {
                by_version(*key, entries, strict)
            } else {
                match search::search(&steps(entries), &mut budget) {
                    Found::Order => None,
                    Found::Violation { window, at, states } => Some(no_order(*key, entries, &window, at, &states)),
                    Found::Exhausted => {
                        given_up.push(key.to_string());
                        None
                    }
                }
            };
            if let Some(example) = found {
                findings.add("nonlinearizable", || example);
            }
        }
        if !given_up.is_empty() {
            given_up.truncate(MAX_LISTED);
            let text =
                format!("the search for a legal order of register {} ran out of budget: nothing is proved of it", given_up.join(", "));
            findings.reason("search-exhausted", text);
        }
        findings.verdict()
    }
}

impl Entry {
    fn is_read(&self) -> bool {
        matches!(self.action, Action::Read(_))
    }

    fn begun(&self) -> OpRef {
        OpRef::new(self.begun)
    }

    fn ended(&self) -> OpRef {
        if self.ended == u64::MAX { OpRef::default() } else { OpRef::new(self.ended) }
    }

    fn told(&self) -> String {
        let op = if self.ended == u64::MAX { self.begun() } else { self.ended() };
        format!("{}{}", self.action.told(), cite(op))
    }
}

/// What a search needs: ok ops, and those of unknown outcome that may have changed something.
fn steps(entries: &[Entry]) -> Vec<Step> {
    let counts = |entry: &Entry| match entry.op_type {
        OpType::Ok => true,
        OpType::Fail => false,
        OpType::Info | OpType::Invoke => !entry.is_read(),
    };
    let wanted = entries.iter().enumerate().filter(|(_, entry)| counts(entry));
    wanted.map(|(at, entry)| Step { at, action: entry.action, begun: entry.begun, ended: entry.ended }).collect()
}

fn no_order(key: Key, entries: &[Entry], window: &[usize], at: usize, states: &[Option<Value>]) -> Example {
    let failed = &entries[at];
    let held: Vec<_> = states.iter().take(MAX_LISTED).map(|value| value.map_or("nothing".to_owned(), |value| value.to_string())).collect();
    let others: Vec<_> = window.iter().filter(|other| **other != at).take(MAX_LISTED).map(|other| entries[*other].told()).collect();
    let beside = if others.is_empty() { String::new() } else { format!(" beside {}", others.join(", ")) };
    let explanation = format!(
        "no legal order of register {key} has room for {}{beside}: before it could only hold {}",
        failed.told(),
        if held.is_empty() { "what nobody knows".to_owned() } else { held.join(" or ") },
    );
    // Who last wrote what it held.
    let writer =
        entries.iter().filter(|entry| entry.ended < failed.begun && entry.action.written().is_some_and(|new| states.contains(&Some(new))));
    let writer = writer.max_by_key(|entry| entry.ended).map(Entry::ended);
    let mut ops: Vec<OpRef> = window.iter().take(MAX_LISTED).flat_map(|at| [entries[*at].begun(), entries[*at].ended()]).collect();
    ops.extend([failed.begun(), failed.ended()].into_iter().chain(writer));
    let values = failed.action.values();
    example(key, values, Vec::new(), &ops, explanation)
}

/// R4: scanning versions upward with the latest begin so far, nothing may have ended before it.
fn by_version(key: Key, entries: &[Entry], strict: bool) -> Option<Example> {
    let mut ok: Vec<&Entry> = entries.iter().filter(|entry| entry.op_type == OpType::Ok).collect();
    // Of one version the write comes first, then reads in the order of their begin.
    ok.sort_by_key(|entry| (entry.version, entry.is_read(), entry.begun));
    let is_zookeeper = !strict && ok.iter().filter(|entry| entry.is_read()).all(|entry| entry.zxid.is_some());
    let mut latest: Option<&Entry> = None;
    let mut before: Option<&Entry> = None;
    for group in ok.chunk_by(|one, other| one.version == other.version) {
        if let Some(example) = one_version(key, group, before) {
            return Some(example);
        }
        let mut next = latest;
        for entry in group.iter().copied().filter(|entry| !(is_zookeeper && entry.is_read())) {
            // Reads of one version do not order each other, but its write orders them.
            let bound = if entry.is_read() { latest } else { next };
            if let Some(earlier) = bound.filter(|bound| bound.begun > entry.ended) {
                return Some(backwards(key, entry, earlier));
            }
            if next.is_none_or(|next| entry.begun > next.begun) {
                next = Some(entry);
            }
            if !entry.is_read() {
                latest = next;
            }
        }
        latest = next;
        before = group.first().copied();
    }
    if is_zookeeper { by_session(key, entries) } else { None }
}

/// All that one version's ops say of its value.
fn one_version(key: Key, group: &[&Entry], before: Option<&Entry>) -> Option<Example> {
    let first = group.first()?;
    let version = first.version.unwrap_or_default();
    let clash = |one: &Entry, other: &Entry, text: &str| {
        let explanation = format!("{} and {} of register {key} both carry version {version}: {text}", one.told(), other.told());
        let values = [one, other].iter().flat_map(|entry| entry.action.values()).collect();
        Some(example(key, values, Vec::new(), &[one.begun(), one.ended(), other.begun(), other.ended()], explanation))
    };
    for other in &group[1..] {
        if !other.is_read() {
            return clash(first, other, "a version should be one write's");
        }
        if other.action.leaves() != first.action.leaves() {
            return clash(first, other, "they should tell one value");
        }
    }
    // A compare-and-set found what the version before it held.
    if let (Action::Cas(old, _), Some(before)) = (first.action, before)
        && before.version.and_then(|version| version.checked_add(1)) == first.version
        && before.action.leaves() != Some(old)
    {
        let explanation = format!(
            "{} of register {key} is version {version}, right after {}, which left another value: it should have failed",
            first.told(),
            before.told(),
        );
        return Some(example(key, first.action.values(), Vec::new(), &[before.ended(), first.begun(), first.ended()], explanation));
    }
    None
}

fn backwards(key: Key, entry: &Entry, earlier: &Entry) -> Example {
    let explanation = format!(
        "{} of register {key} carries version {} and had ended before {} began{}, which carries version {}: the later should not be older",
        entry.told(),
        entry.version.unwrap_or_default(),
        earlier.told(),
        cite(earlier.begun()),
        earlier.version.unwrap_or_default(),
    );
    let values = [entry, earlier].iter().flat_map(|entry| entry.action.values()).collect();
    example(key, values, Vec::new(), &[entry.begun(), entry.ended(), earlier.begun(), earlier.ended()], explanation)
}

/// ZooKeeper: a session's answers do not go back, neither by zxid nor by version, so it sees its own writes.
fn by_session(key: Key, entries: &[Entry]) -> Option<Example> {
    let mut ok: Vec<&Entry> = entries.iter().filter(|entry| entry.op_type == OpType::Ok).collect();
    ok.sort_by_key(|entry| entry.ended);
    let mut sessions: IntMap<u64, &Entry> = IntMap::default();
    for entry in ok {
        let session = entry.client.map_or(u64::from(entry.process), |client| (1 << 32) + u64::from(client));
        let Some(before) = sessions.insert(session, entry) else { continue };
        let back = entry.version < before.version || matches!((before.zxid, entry.zxid), (Some(before), Some(now)) if now < before);
        // Pipelined ops of one session are not compared.
        if back && before.ended < entry.begun.saturating_add(1) {
            let explanation = format!(
                "one session had {} of register {key} at version {}, and then {} at version {}: a session should not go back",
                before.told(),
                before.version.unwrap_or_default(),
                entry.told(),
                entry.version.unwrap_or_default(),
            );
            let values = [before, entry].iter().flat_map(|entry| entry.action.values()).collect();
            return Some(example(key, values, Vec::new(), &[before.begun(), before.ended(), entry.begun(), entry.ended()], explanation));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4000) })]

        /// What the scan says of versions, the search says of a register that counts: each write one more than the last.
        #[test]
        fn the_scan_by_version_agrees_with_the_search(
            writes in prop::collection::vec((0..20_u64, 1..8_u64), 1..4),
            reads in prop::collection::vec((0..20_u64, 1..8_u64, any::<prop::sample::Index>()), 0..4),
        ) {
            let count = writes.len();
            let writes = writes.into_iter().enumerate().map(|(at, (begun, length))| (at as i64 + 1, begun, length, false));
            let reads = reads.into_iter().map(|(begun, length, of)| (of.index(count) as i64 + 1, begun, length, true));
            let mut entries = Vec::new();
            // Before all others, so that the first has something to count from.
            let mut steps = vec![Step { at: 99, action: Action::Write(0), begun: 0, ended: 1 }];
            for (at, (version, begun, length, is_read)) in writes.chain(reads).enumerate() {
                // No two events at one time, as in a history.
                let time = |time: u64| time * 100 + 10 + at as u64;
                let (begun, ended) = (time(begun), time(begun + length));
                let action = if is_read { Action::Read(Some(version)) } else { Action::Write(version) };
                let counting = if is_read { action } else { Action::Cas(version - 1, version) };
                let (op_type, version) = (OpType::Ok, Some(version));
                entries.push(Entry { action, op_type, process: at as u32, client: None, begun, ended, version, zxid: None });
                steps.push(Step { at, action: counting, begun, ended });
            }
            let legal = matches!(search::search(&steps, &mut 1_000_000), Found::Order);
            prop_assert_eq!(by_version(0, &entries, true).is_none(), legal, "{:?}", steps);
        }
    }
}
