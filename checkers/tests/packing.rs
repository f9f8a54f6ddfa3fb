//! Packing forgets, and nothing may depend on it: a judge that packs (and reads again for its evidence) and one that keeps everything give
//! the same report, on histories long enough that most of them is packed, damaged in ways that reach back.

use kchaos_checkers::{CheckReport, FinalRead, Input, Judge, JudgeOptions, Reading, check, read_ops};
use proptest::prelude::*;
use rand_lcg::Random;

/// Numbers from a seed.
mod rand_lcg {
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        pub(crate) fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % end.max(1)
        }
    }
}

fn options() -> JudgeOptions {
    JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() }
}

fn packing(history: &str, threads: usize) -> CheckReport {
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(history.as_bytes())) };
    check(open, Reading { name: "packing", threads }, options()).unwrap()
}

fn keeping(history: &str) -> CheckReport {
    let mut judge = Judge::without_packing(options());
    read_ops(history.as_bytes(), "keeping", |op| judge.update(op)).unwrap();
    let mut report = judge.finish();
    report.add_evidence(|each| read_ops(history.as_bytes(), "keeping", each).map(drop));
    report
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    /// An acknowledged value stands at another offset as well, where a late reader finds it.
    AnotherOffset,
    /// A late reader is given another value at an offset.
    AnotherValue,
    /// A late reader leaves records out.
    Skip,
    /// A late reader goes back.
    Back,
    /// A value is sent again, long after.
    SentAgain,
    /// An acknowledgement comes at an offset that was taken long ago.
    TakenOffset,
    /// Nobody reads a value.
    Unread,
    /// A send has no acknowledged offset.
    NoOffset,
    /// A send times out, and landed.
    Info,
    /// A group commits far ahead of what it was given.
    Unprocessed,
}

const ALL: [Damage; 10] = [
    Damage::AnotherOffset,
    Damage::AnotherValue,
    Damage::Skip,
    Damage::Back,
    Damage::SentAgain,
    Damage::TakenOffset,
    Damage::Unread,
    Damage::NoOffset,
    Damage::Info,
    Damage::Unprocessed,
];

struct History {
    text: String,
    index: usize,
}

impl History {
    fn line(&mut self, process: usize, op_type: &str, f: &str, value: &str, beside: &str) {
        let (index, time) = (self.index, self.index * 1000);
        self.text += &format!(
            "{{\"index\":{index},\"time\":{time},\"process\":{process},\"type\":\"{op_type}\",\"f\":\"{f}\",\"value\":{value}{beside}}}\n"
        );
        self.index += 1;
    }

    fn poll(&mut self, process: usize, key: usize, records: &[(usize, usize)]) {
        let records: Vec<_> = records.iter().map(|(offset, value)| format!("[{offset},{value}]")).collect();
        self.line(process, "invoke", "poll", "[[\"poll\"]]", "");
        self.line(process, "ok", "poll", &format!("[[\"poll\",{{\"{key}\":[{}]}}]]", records.join(",")), "");
    }
}

/// `sends` values to two keys (counted up; far apart; or each process counting from a number of its own), read by one reader as they come, and by another from the start at the end.
fn history(sends: usize, seed: u64, damages: &[Damage], spread: usize) -> String {
    let mut random = Random(seed);
    let mut history = History { text: String::new(), index: 0 };
    let mut logs = [Vec::new(), Vec::new()];
    let mut read = [0, 0];
    let has = |wanted: fn(&Damage) -> bool| damages.iter().any(wanted);
    let (mut hidden, mut infos) = (Vec::new(), 0);
    for count in 0..sends {
        let (key, process) = (random.below(2), random.below(5));
        let value = match spread {
            0 => count,
            1 => count * 70,
            _ => (process << 40) + count,
        };
        let offset = logs[key].len();
        history.line(process, "invoke", "send", &format!("[[\"send\",{key},{value}]]"), ",\"client\":1");
        let rare = random.below(sends / 3 + 1) == 0;
        let (op_type, told) = match () {
            () if rare && has(|damage| matches!(damage, Damage::NoOffset)) => ("ok", "null".to_owned()),
            () if has(|damage| matches!(damage, Damage::Info)) && random.below(40) == 0 => {
                infos += 1;
                ("info", "null".to_owned())
            }
            () if rare && has(|damage| matches!(damage, Damage::TakenOffset)) && offset > 400 => ("ok", (offset - 300).to_string()),
            () => ("ok", offset.to_string()),
        };
        if rare && has(|damage| matches!(damage, Damage::Unread)) {
            hidden.push((key, offset));
        }
        history.line(process, op_type, "send", &format!("[[\"send\",{key},[{told},{value}]]]"), "");
        logs[key].push(value);
        if random.below(10) == 0 {
            let records: Vec<_> = (read[key]..logs[key].len()).map(|offset| (offset, logs[key][offset])).collect();
            read[key] = logs[key].len();
            let records: Vec<_> = records.into_iter().filter(|(offset, _)| !hidden.contains(&(key, *offset))).collect();
            if !records.is_empty() {
                history.poll(100 + key, key, &records);
            }
        }
    }
    for key in 0..2 {
        let records: Vec<_> = (read[key]..logs[key].len()).map(|offset| (offset, logs[key][offset])).collect();
        history.poll(100 + key, key, &records);
    }
    assert!(infos < sends);
    late(&mut history, &logs, &hidden, damages, &mut random);
    history.text
}

/// Readers who come when all has been packed.
fn late(history: &mut History, logs: &[Vec<usize>; 2], hidden: &[(usize, usize)], damages: &[Damage], random: &mut Random) {
    for (key, log) in logs.iter().enumerate().filter(|(_, log)| log.len() > 600) {
        let process = 200 + key;
        history.line(process, "ok", "assign", &format!("[{key}]"), ",\"seek-to-beginning?\":true");
        let records: Vec<_> = log.iter().copied().enumerate().filter(|(offset, _)| !hidden.contains(&(key, *offset))).collect();
        let mut parts: Vec<Vec<(usize, usize)>> = records.chunks(70).map(<[_]>::to_vec).collect();
        for damage in damages {
            let part = random.below(parts.len() - 1);
            match damage {
                Damage::AnotherOffset => parts[part][3].1 = log[random.below(log.len())],
                Damage::AnotherValue => parts[part][5].1 = 1_000_001 + random.below(10),
                Damage::Skip => drop(parts[part].drain(10..14)),
                Damage::Back => parts.swap(part, part + 1),
                Damage::SentAgain => {
                    let value = log[random.below(log.len())];
                    history.line(7, "invoke", "send", &format!("[[\"send\",{key},{value}]]"), "");
                    history.line(7, "ok", "send", &format!("[[\"send\",{key},[{},{value}]]]", log.len() + 5), "");
                }
                Damage::Unprocessed => {
                    let group = ",\"group\":\"g\"";
                    history.line(9, "ok", "subscribe", &format!("[{key}]"), group);
                    history.line(9, "invoke", "poll", "[[\"poll\"]]", group);
                    history.line(9, "ok", "poll", &format!("[[\"poll\",{{\"{key}\":[[0,{}]]}}]]", log[0]), group);
                    history.line(9, "ok", "commit", &format!("{{\"{key}\":4}}"), group);
                }
                Damage::TakenOffset | Damage::Unread | Damage::NoOffset | Damage::Info => {}
            }
        }
        for part in parts {
            history.poll(process, key, &part);
        }
    }
}

/// Compared as text, line by line: reports are long.
fn same(one: &CheckReport, other: &CheckReport) {
    let text = |report: &CheckReport| serde_json::to_string_pretty(report).unwrap();
    let (one, other) = (text(one), text(other));
    for (line, (one, other)) in one.lines().zip(other.lines()).enumerate() {
        assert_eq!(one, other, "line {line} of the report");
    }
    assert_eq!(one.lines().count(), other.lines().count());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn packing_changes_no_word_of_a_report(
        sends in 1_300..4_000_usize, seed in any::<u64>(), damages in prop::collection::vec(prop::sample::select(&ALL[..]), 0..4), threads in 1..5_usize,
        spread in 0..3_usize,
    ) {
        let history = history(sends, seed, &damages, spread);
        same(&packing(&history, threads), &keeping(&history));
    }
}

#[test]
fn every_kind_of_damage_is_seen_after_packing() {
    for damage in ALL {
        let history = history(2_500, 11, &[damage], 0);
        let report = packing(&history, 1);
        same(&report, &keeping(&history));
        let harmless = matches!(damage, Damage::NoOffset | Damage::Info);
        assert_eq!(report.anomalies.is_empty() && report.reasons.is_empty(), harmless, "{damage:?}: {:?}", report.anomalies.keys());
    }
    assert!(packing(&history(2_500, 11, &[], 0), 1).anomalies.is_empty());
}

#[test]
fn every_kind_of_damage_is_seen_after_folding() {
    // Two logs of some 25,000 values: three groups of packed pages each.
    for (damage, spread) in ALL.into_iter().zip([0, 0, 0, 1, 0, 0, 2, 0, 0, 0]) {
        let history = history(50_000, 5, &[damage, Damage::Info], spread);
        same(&packing(&history, 1), &keeping(&history));
    }
}
