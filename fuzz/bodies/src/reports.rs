//! Bodies for the judge: however a history is read, and whatever is forgotten on the way, the report is the same.

use arbitrary::Unstructured;
use kchaos_checkers::{CheckReport, FinalRead, Input, Judge, JudgeOptions, Reading, check, read_ops, tell};
use kchaos_columns::Writer;
use kchaos_core::Op;

use crate::invent::{Limits, hostile_history, sound_history};

fn options() -> JudgeOptions {
    // A search that gives up is as good as a long one, and a history is judged many times.
    JudgeOptions { final_read: FinalRead::Complete, search_budget: 20_000, ..JudgeOptions::default() }
}

/// Compared as text, line by line: reports are long.
fn same(one: &CheckReport, other: &CheckReport, what: &str) {
    if one == other {
        return;
    }
    let text = |report: &CheckReport| serde_json::to_string_pretty(report).unwrap();
    let (one, other) = (text(one), text(other));
    let differing = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    panic!("{what}: {differing:?}\n{one}\n{other}");
}

fn no_checker_failed(report: &CheckReport) {
    assert!(report.reasons.iter().all(|reason| reason.name != "checker-failed"), "{:?}", report.reasons);
}

fn judged(bytes: &[u8], threads: usize) -> Result<CheckReport, String> {
    let open = || -> std::io::Result<Input<'_>> { Ok(Box::new(bytes)) };
    check(open, Reading { name: "fuzz", threads }, options()).map_err(|error| error.to_string())
}

/// Bytes as a file of whatever format they begin like: the same report with 1 and 3 threads, and by a judge that packs nothing.
pub fn history(bytes: &[u8]) {
    let report = match (judged(bytes, 1), judged(bytes, 3)) {
        (Ok(one), Ok(three)) => {
            same(&one, &three, "1 and 3 threads");
            one
        }
        (one, three) => {
            assert_eq!(one, three, "1 and 3 threads");
            return;
        }
    };
    no_checker_failed(&report);
    let mut judge = Judge::without_packing(options());
    if tell(&mut judge, Box::new(bytes), Reading { name: "fuzz", threads: 1 }).is_ok() {
        let mut kept = judge.finish();
        kept.add_evidence(|each| read_ops(bytes, "fuzz", each).map(drop));
        same(&report, &kept, "packing and keeping");
    }
}

/// A history made of the bytes: the same report by a judge that packs and by one that does not, and from lines and columns. By the first byte
/// its indices and times are any, and it is long.
pub fn structured(bytes: &[u8]) {
    let mut bytes = Unstructured::new(bytes);
    let how: u8 = bytes.arbitrary().unwrap_or(0);
    let is_sound = how & 1 == 0;
    let limits = if how >> 4 == 0 { Limits::LONG } else { Limits::MIDDLE };
    let ops = if is_sound { sound_history(&mut bytes, limits) } else { hostile_history(&mut bytes, limits) };
    let mut report = packing(&ops);
    no_checker_failed(&report);
    let mut keeping = Judge::without_packing(options());
    for (at, op) in ops.iter().enumerate() {
        keeping.update(op);
        if at % 512 == 511 {
            keeping.suspects();
        }
    }
    same(&report, &keeping.finish(), "packing and keeping");
    report.add_evidence(|each| {
        ops.iter().for_each(each);
        Ok::<_, std::convert::Infallible>(())
    });
    if is_sound {
        from_files(&ops, &report);
    }
}

fn packing(ops: &[Op]) -> CheckReport {
    let mut judge = Judge::new(options());
    ops.iter().for_each(|op| judge.update(op));
    judge.finish_reading_again(|again| {
        ops.iter().for_each(|op| again.update(op));
        Ok::<_, std::convert::Infallible>(())
    })
}

fn from_files(ops: &[Op], report: &CheckReport) {
    if ops.is_empty() {
        return;
    }
    let (mut lines, mut writer) = (String::new(), Writer::new(Vec::new()).unwrap());
    for op in ops {
        op.write_json(&mut lines);
        lines.push('\n');
        writer.write(op).unwrap();
    }
    let file = writer.finish().unwrap();
    same(report, &judged(lines.as_bytes(), 2).unwrap_or_else(|error| panic!("{error}\n{lines}")), "ops and lines");
    same(report, &judged(&file, 1).unwrap(), "ops and columns");
}
