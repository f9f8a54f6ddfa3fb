//! Cycles of transactions, held against the enumeration of all cycles in tiny histories.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{check, judge, summary};
use kchaos_checkers::{Judge, JudgeOptions, read_ops};
use kchaos_core::{Example, Validity};
use proptest::prelude::*;

/// One transaction of a drawn history.
#[derive(Clone, Debug)]
struct Txn {
    process: usize,
    outcome: &'static str,
    /// (key, value).
    sends: Vec<(usize, i64)>,
    polls: Vec<i64>,
    invoked: usize,
    completed: Option<usize>,
}

#[derive(Debug)]
struct Drawn {
    txns: Vec<Txn>,
    /// Value → (key, offset, its transaction).
    values: BTreeMap<i64, (usize, i64, usize)>,
    lines: String,
}

/// Per transaction: how many values to each of two keys, outcome, and seeds of what it polls.
type Shape = ([u8; 2], u8, Vec<prop::sample::Index>);

/// `choices` says who goes on at each step; `places` shuffles the logs.
fn drawn(shapes: &[Shape], choices: &[u8], places: &[u64], base: i64, hole: i64) -> Drawn {
    let mut txns: Vec<Txn> = Vec::new();
    let (mut keyed, mut next) = ([Vec::new(), Vec::new()], 1);
    for (at, (counts, outcome, _)) in shapes.iter().enumerate() {
        let mut sends = Vec::new();
        for (key, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                sends.push((key, next));
                keyed[key].push((places[next as usize % places.len()], next, at));
                next += 1;
            }
        }
        let outcome = match outcome {
            0 => "fail",
            1 => "info",
            2 => "never",
            _ => "ok",
        };
        txns.push(Txn { process: at % 3, outcome, sends, polls: Vec::new(), invoked: 0, completed: None });
    }
    let mut values = BTreeMap::new();
    for (key, placed) in keyed.iter_mut().enumerate() {
        placed.sort_unstable();
        let offset = |rank: usize| base + rank as i64 * hole;
        values.extend(placed.iter().enumerate().map(|(rank, (_, value, txn))| (*value, (key, offset(rank), *txn))));
    }
    for (txn, (.., polls)) in txns.iter_mut().zip(shapes) {
        let all: Vec<i64> = values.keys().copied().collect();
        let chosen: BTreeSet<i64> = if all.is_empty() { BTreeSet::new() } else { polls.iter().map(|index| *index.get(&all)).collect() };
        txn.polls = chosen.into_iter().collect();
    }
    let lines = schedule(&mut txns, &values, choices);
    Drawn { txns, values, lines }
}

/// Each process does its transactions one after the other; `choices` interleaves them.
fn schedule(txns: &mut [Txn], values: &BTreeMap<i64, (usize, i64, usize)>, choices: &[u8]) -> String {
    let mut queues: [Vec<usize>; 3] = Default::default();
    (0..txns.len()).rev().for_each(|at| queues[txns[at].process].push(at));
    let mut open: [Option<usize>; 3] = [None; 3];
    let (mut lines, mut index) = (String::new(), 0);
    let mut choices = choices.iter().copied().cycle();
    while queues.iter().any(|queue| !queue.is_empty()) || open.iter().any(Option::is_some) {
        let mut process = choices.next().unwrap_or(0) as usize % 3;
        while queues[process].is_empty() && open[process].is_none() {
            process = (process + 1) % 3;
        }
        let Some(at) = open[process].take() else {
            let at = queues[process].pop().unwrap();
            let mut parts: Vec<_> = txns[at].sends.iter().map(|(key, value)| format!("[\"send\",{key},{value}]")).collect();
            parts.push("[\"poll\"]".to_owned());
            lines += &format!("{process} invoke txn [{}]\n", parts.join(","));
            (txns[at].invoked, open[process]) = (index, Some(at));
            index += 1;
            continue;
        };
        if txns[at].outcome != "never" {
            let mut parts: Vec<_> =
                txns[at].sends.iter().map(|(key, value)| format!("[\"send\",{key},[{},{value}]]", values[value].1)).collect();
            parts.push(format!("[\"poll\",{}]", polled(&txns[at].polls, values)));
            lines += &format!("{process} {} txn [{}]\n", txns[at].outcome, parts.join(","));
            txns[at].completed = Some(index);
            index += 1;
        }
    }
    // Somebody reads all that was ok, so that nothing else is wrong with it.
    let ok: Vec<i64> = values.iter().filter(|(_, (.., txn))| txns[*txn].outcome == "ok").map(|(value, _)| *value).collect();
    lines + &format!("9 invoke poll [[\"poll\"]]\n9 ok poll [[\"poll\",{}]]\n", polled(&ok, values))
}

fn polled(wanted: &[i64], values: &BTreeMap<i64, (usize, i64, usize)>) -> String {
    let mut keys: BTreeMap<usize, Vec<(i64, i64)>> = BTreeMap::new();
    for value in wanted {
        let (key, offset, _) = values[value];
        keys.entry(key).or_default().push((offset, *value));
    }
    let keys = keys.into_iter().map(|(key, mut records)| {
        records.sort_unstable();
        let records: Vec<_> = records.iter().map(|(offset, value)| format!("[{offset},{value}]")).collect();
        format!("\"{key}\":[{}]", records.join(","))
    });
    format!("{{{}}}", keys.collect::<Vec<_>>().join(","))
}

const WW: u8 = 1;
const WR: u8 = 2;
/// A read of what was not sent yet.
const EARLY: u8 = 4;
const PROCESS: u8 = 8;
const TIME: u8 = 16;

/// All edges, of all pairs: kinds by (from, to).
fn edges(drawn: &Drawn) -> BTreeMap<(usize, usize), u8> {
    let Drawn { txns, values, .. } = drawn;
    let read: BTreeSet<usize> =
        txns.iter().filter(|txn| txn.outcome == "ok").flat_map(|txn| &txn.polls).map(|value| values[value].2).collect();
    let committed = |at: usize| match txns[at].outcome {
        "ok" => true,
        "fail" => false,
        _ => read.contains(&at),
    };
    let mut edges: BTreeMap<(usize, usize), u8> = BTreeMap::new();
    let mut add = |from: usize, to: usize, kind: u8| {
        if from != to && committed(from) && committed(to) {
            *edges.entry((from, to)).or_default() |= kind;
        }
    };
    // Of one that never ended, only what somebody polled has a place.
    let placed = |value: i64, of: usize| {
        txns[of].completed.is_some() || txns.iter().any(|txn| txn.completed.is_some() && txn.polls.contains(&value))
    };
    let mut logs: BTreeMap<(usize, i64), usize> = BTreeMap::new();
    logs.extend(values.iter().filter(|(value, at)| committed(at.2) && placed(**value, at.2)).map(|(_, at)| ((at.0, at.1), at.2)));
    for (((key, _), from), ((key_after, _), to)) in logs.iter().zip(logs.iter().skip(1)) {
        if key == key_after {
            add(*from, *to, WW);
        }
    }
    for (one, (.., from)) in values {
        let early = txns.iter().any(|txn| txn.completed.is_some_and(|at| at < txns[*from].invoked) && txn.polls.contains(one));
        for (to, _) in
            txns.iter().enumerate().filter(|(_, txn)| txn.completed.is_some() && txn.outcome != "fail" && txn.polls.contains(one))
        {
            add(*from, to, if early { EARLY } else { WR });
        }
    }
    for (from, before) in txns.iter().enumerate().filter(|(_, txn)| txn.outcome == "ok") {
        for (to, after) in txns.iter().enumerate().filter(|(_, after)| before.completed.is_some_and(|at| at < after.invoked)) {
            add(from, to, TIME | if before.process == after.process { PROCESS } else { 0 });
        }
    }
    edges
}

/// Every simple cycle of which each edge has one of these kinds, by its vertices, from the smallest on.
fn cycles(edges: &BTreeMap<(usize, usize), u8>, kinds: u8) -> Vec<Vec<usize>> {
    fn go(edges: &BTreeMap<(usize, usize), u8>, kinds: u8, path: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        let (first, last) = (path[0], path[path.len() - 1]);
        for ((_, to), _) in edges.iter().filter(|((from, _), kind)| *from == last && **kind & kinds != 0) {
            if *to == first {
                found.push(path.clone());
            } else if *to > first && !path.contains(to) {
                path.push(*to);
                go(edges, kinds, path, found);
                path.pop();
            }
        }
    }
    let mut found = Vec::new();
    for start in 0..10 {
        go(edges, kinds, &mut vec![start], &mut found);
    }
    found
}

/// Cycles that share a vertex are one tangle.
fn tangles(cycles: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let mut tangles: Vec<BTreeSet<usize>> = Vec::new();
    for cycle in cycles {
        let mut joined: BTreeSet<usize> = cycle.iter().copied().collect();
        let (touched, apart): (Vec<_>, Vec<_>) = tangles.into_iter().partition(|tangle| !tangle.is_disjoint(&joined));
        touched.into_iter().for_each(|tangle| joined.extend(tangle));
        tangles = apart;
        tangles.push(joined);
    }
    tangles
}

/// For each name: the length of the shortest cycle of each of its tangles, sorted.
type Expected = BTreeMap<(&'static str, bool), Vec<usize>>;

fn expected(edges: &BTreeMap<(usize, usize), u8>) -> Expected {
    let mut expected = Expected::new();
    let mut known_reads: Vec<(usize, BTreeSet<usize>)> = Vec::new();
    let mut known_writes = Vec::new();
    for (family, needed) in [("reads", WR | EARLY), ("writes", WW), ("both", WR | EARLY)] {
        let known = if family == "writes" { &mut known_writes } else { &mut known_reads };
        for level in 0..3 {
            let reads = if level == 0 { WR | EARLY } else { WR };
            let dependencies = match family {
                "reads" => reads,
                "writes" => WW,
                _ => reads | WW,
            };
            let kinds = dependencies | [0, PROCESS, PROCESS | TIME][level];
            let needed = needed & dependencies;
            let all = cycles(edges, kinds);
            let is_needed = |cycle: &Vec<usize>| {
                let after = cycle.iter().cycle().skip(1);
                cycle.iter().zip(after).any(|(from, to)| edges[&(*from, *to)] & needed != 0)
            };
            for tangle in tangles(&all) {
                let shortest = all.iter().filter(|cycle| tangle.contains(&cycle[0]) && is_needed(cycle)).map(Vec::len).min();
                let Some(shortest) = shortest.filter(|_| !known.iter().any(|(at, other)| *at <= level && other.is_subset(&tangle))) else {
                    continue;
                };
                let names = if family == "writes" { ["G0", "G0-process", "G0-realtime"] } else { ["G1c", "G1c-process", "G1c-realtime"] };
                expected.entry((names[level], family == "reads")).or_default().push(shortest);
                known.push((level, tangle));
            }
        }
    }
    expected.values_mut().for_each(|lengths| lengths.sort_unstable());
    expected
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn tangles_are_those_of_all_cycles_and_are_told_by_a_shortest(
        shapes in prop::collection::vec(([0..3_u8, 0..2_u8], 0..9_u8, prop::collection::vec(any::<prop::sample::Index>(), 0..3)), 2..7),
        choices in prop::collection::vec(0..3_u8, 24),
        places in prop::collection::vec(any::<u64>(), 24),
        (base, hole) in prop_oneof![Just((0, 1)), Just((1_000_000_000_000, 1)), Just((5, 1000))],
    ) {
        let drawn = drawn(&shapes, &choices, &places, base, hole);
        let options = JudgeOptions { examples: 100, ..JudgeOptions::default() };
        let report = judge(&common::history(&drawn.lines), options);
        let mut found = Expected::new();
        let steps = |example: &Example| example.explanation.matches("; ").count() + 1;
        for name in ["G0", "G0-process", "G0-realtime", "G1c", "G1c-process", "G1c-realtime"] {
            for (findings, promised) in [(&report.anomalies, true), (&report.ignored, false)] {
                let Some(finding) = findings.get(name) else { continue };
                prop_assert_eq!(finding.count, finding.examples.len() as u64);
                let mut lengths: Vec<_> = finding.examples.iter().map(steps).collect();
                lengths.sort_unstable();
                found.insert((name, promised), lengths);
            }
        }
        prop_assert_eq!(&found, &expected(&edges(&drawn)), "{}\n{}", drawn.lines, summary(&report));
        if found.keys().any(|(_, promised)| *promised) {
            prop_assert_eq!(report.valid, Validity::Invalid);
        }
        // Nothing depends on when transactions are judged and forgotten.
        let options = || JudgeOptions { examples: 100, ..JudgeOptions::default() };
        let [kept, forgotten] = [Judge::without_packing(options()), Judge::forgetful(options())].map(|judge| told_again(judge, &drawn.lines));
        prop_assert_eq!(kept, forgotten, "{}", drawn.lines);
    }
}

/// The report, as text, of a judge that may ask to be told a second time.
fn told_again(mut judge: Judge, lines: &str) -> String {
    let history = common::history(lines);
    let tell = |judge: &mut Judge| read_ops(history.as_bytes(), "cycles", |op| judge.update(op)).map(drop);
    tell(&mut judge).unwrap();
    serde_json::to_string_pretty(&judge.finish_reading_again(tell)).unwrap()
}

/// Process 0 polls in its transaction what process 1 sent after it had polled of it.
fn future_read(between: &str, third: u32, second: &str) -> String {
    format!(
        "0 invoke txn [[\"send\",0,1],[\"poll\"]]\n1 invoke txn [[\"poll\"]]\n1 {second} txn [[\"poll\",{{\"0\":[[0,1]]}}]]\n{between}\
         {third} invoke txn [[\"send\",1,2]]\n{third} ok txn [[\"send\",1,[0,2]]]\n\
         0 ok txn [[\"send\",0,[0,1]],[\"poll\",{{\"1\":[[0,2]]}}]]\n2 ok poll [[\"poll\",{{\"0\":[[0,1]],\"1\":[[0,2]]}}]]\n"
    )
}

#[test]
fn an_edge_of_time_leaves_only_what_was_ok_and_over() {
    check(&future_read("", 1, "ok"), "invalid: G1c-process 1");
    check(&future_read("", 4, "ok"), "invalid: G1c-realtime 1");
    check(&future_read("", 1, "info"), "valid");
    check(&future_read("", 4, "fail"), "valid");
    // Begun before the other ended: concurrent.
    let lines = future_read("", 4, "ok");
    let begun = "4 invoke txn [[\"send\",1,2]]\n";
    check(&(begun.to_owned() + &lines.replace(begun, "")), "valid");
}

#[test]
fn process_order_reaches_over_what_failed_between() {
    check(&future_read("1 invoke txn [[\"send\",1,9]]\n1 fail txn [[\"send\",1,9]]\n", 1, "ok"), "invalid: G1c-process 1");
}

/// Process 0 writes to a key before process 1 does, and polls in the same transaction what was sent after that: its order among the writes, which
/// nobody promises, is in it.
fn future_read_by_writes(third: Option<u32>) -> String {
    let (invoked, sent, then) = match third {
        None => (",[\"send\",1,3]", ",[\"send\",1,[0,3]]", String::new()),
        Some(third) => ("", "", format!("{third} invoke txn [[\"send\",1,3]]\n{third} ok txn [[\"send\",1,[0,3]]]\n")),
    };
    format!(
        "0 invoke txn [[\"send\",0,1],[\"poll\"]]\n1 invoke txn [[\"send\",0,2]{invoked}]\n1 ok txn [[\"send\",0,[1,2]]{sent}]\n{then}\
         0 ok txn [[\"send\",0,[0,1]],[\"poll\",{{\"1\":[[0,3]]}}]]\n2 ok poll [[\"poll\",{{\"0\":[[0,1],[1,2]],\"1\":[[0,3]]}}]]\n"
    )
}

#[test]
fn a_cycle_that_needs_the_order_of_writes_is_shown_and_nothing_was_promised() {
    check(&future_read_by_writes(None), "valid: ignored: G1c 1");
    check(&future_read_by_writes(Some(1)), "valid: ignored: G1c-process 1");
    check(&future_read_by_writes(Some(4)), "valid: ignored: G1c-realtime 1");
}

#[test]
fn what_was_polled_before_it_was_sent_is_the_harness_s_fault_alone() {
    let early =
        "0 invoke txn [[\"poll\"]]\n0 ok txn [[\"poll\",{\"0\":[[0,1]]}]]\n0 invoke txn [[\"send\",0,1]]\n0 ok txn [[\"send\",0,[0,1]]]\n";
    check(early, "unknown: read-before-send 1; because: read-before-send");
}

#[test]
fn steps_of_process_and_time_are_told_in_words() {
    let told = |third: u32| {
        let report = judge(&common::history(&future_read("", third, "ok")), JudgeOptions::default());
        let finding = report.anomalies.values().next().unwrap().clone();
        (finding.examples[0].explanation.clone(), finding.examples[0].ops.clone())
    };
    let rest = "none of them can have come first, and one should";
    let reads = [
        "the transaction (op 5) wrote value 1 of key 0, which the transaction (op 2) polled",
        "the transaction (op 4) wrote value 2 of key 1, which the transaction (op 5) polled",
    ];
    assert_eq!(
        told(1),
        (
            format!(
                "{}; the transaction (op 2) ended before process 1 invoked the transaction (op 4) (op 3); {}: {rest}",
                reads[0], reads[1]
            ),
            vec![0, 1, 2, 3, 4, 5]
        )
    );
    assert_eq!(
        told(4),
        (
            format!("{}; the transaction (op 2) ended before the transaction (op 4) was invoked (op 3); {}: {rest}", reads[0], reads[1]),
            vec![0, 1, 2, 3, 4, 5]
        )
    );
}
