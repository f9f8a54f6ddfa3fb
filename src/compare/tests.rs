use std::path::Path;

use super::*;
use crate::report::RunData;
use crate::report::fixture::Variant;
use crate::runs::tests::{made_up, save};
use crate::schema::conform::assert_conforms;

/// A run whose recovery and sends took as much longer.
pub(crate) fn slower(factor: f64) -> RunData {
    let mut data = made_up(Variant::Valid);
    let by = |ns: &mut u64| *ns = (*ns as f64 * factor) as u64;
    for summary in data.verdict.recovery.phases.values_mut() {
        [&mut summary.middle.p50_ns, &mut summary.middle.p99_ns, &mut summary.middle.max_ns].into_iter().for_each(by);
    }
    for distribution in data.latency.ops.values_mut().flat_map(|phases| phases.values_mut()) {
        [&mut distribution.p50_ns, &mut distribution.p99_ns].into_iter().for_each(by);
    }
    data
}

fn saved(results: &Path, name: &str, data: RunData) -> Run {
    save(&results.join(name), data);
    Run::load(&results.join(name), name)
}

#[test]
fn what_became_worse_is_told_first_and_noise_is_called_noise() {
    let results = tempfile::tempdir().unwrap();
    let before = [1.0, 1.1, 0.95]
        .map(slower)
        .into_iter()
        .zip(1..)
        .map(|(data, day)| saved(results.path(), &format!("2026112{day}T020000Z-append-x"), data));
    let before: Vec<Run> = before.collect();
    let now = saved(results.path(), "20261124T020000Z-append-x", slower(1.4));
    let mut comparison = Comparison::of(before.clone(), now.clone());
    assert_eq!(comparison.unlike, [""; 0]);
    comparison
        .hold(
            &["recovery.p99:+20%", "recovery.p99:+2s", "throughput.trouble:-10%", "controller.p99:+50%"].map(|text| text.parse().unwrap()),
        )
        .unwrap();
    assert_eq!(comparison.exit_code(), exit::THRESHOLD);
    insta::assert_snapshot!("several", text(&comparison));
    let mut alone = Comparison::of(before[1..2].to_vec(), before[0].clone());
    alone.hold(&["recovery.p99:+20%".parse().unwrap()]).unwrap();
    assert_eq!(alone.exit_code(), exit::VALID);
    insta::assert_snapshot!("two", text(&alone));
    assert_eq!(comparison.json()["figures"][0]["name"], "recovery.p50");
    [&comparison, &alone].into_iter().for_each(|one| assert_conforms("compare", &one.json()));
    crate::usable::page("one and one", &page(&alone));
    let page = page(&comparison);
    crate::usable::page("one and three", &page);
    assert!(page.contains("recovery.p99"), "what --fail-on takes is seen without a pointer");
    assert!(page.contains("worse") && page.contains(&now.id) && page.matches("<rect").count() > 5);
}

#[test]
fn what_is_not_alike_is_refused_with_why() {
    let results = tempfile::tempdir().unwrap();
    let before = saved(results.path(), "20261121T020000Z-append-x", made_up(Variant::Valid));
    let unlike = |change: &dyn Fn(&mut RunData)| {
        let mut data = made_up(Variant::Valid);
        change(&mut data);
        Comparison::of(vec![before.clone()], saved(results.path(), "20261122T020000Z-append-x", data)).unlike.join("; ")
    };
    assert_eq!(unlike(&|_| {}), "");
    type Change<'a> = &'a dyn Fn(&mut RunData);
    let cases: [(Change<'_>, &str); 6] = [
        (&|data: &mut RunData| data.plan.workload = "queue".into(), "another workload: append in"),
        (&|data: &mut RunData| data.plan.nemeses.truncate(1), "other nemeses"),
        (&|data: &mut RunData| _ = data.plan.facts.insert("kafka".into(), "4.0.0".into()), "another Kafka: 3.9.1 in"),
        (&|data: &mut RunData| _ = data.plan.effective.remove("broker 3"), "another number of brokers: 3 in"),
        (&|data: &mut RunData| data.verdict = made_up(Variant::Unknown).verdict, "is unknown: Nothing is proved"),
        (&|data: &mut RunData| data.verdict = made_up(Variant::Invalid).verdict, "is invalid: 26 acknowledged writes were lost"),
    ];
    for (change, expect) in cases {
        let told = unlike(change);
        assert!(told.contains(expect), "{expect}: {told}");
    }
    let cut_off = results.path().join("20261123T020000Z-append-x");
    save(&cut_off, made_up(Variant::Valid));
    std::fs::remove_file(cut_off.join("verdict.json")).unwrap();
    let comparison = Comparison::of(vec![before], Run::load(&cut_off, "x"));
    assert!(comparison.unlike[0].contains("is cut off"), "{:?}", comparison.unlike);
    assert_conforms("compare", &comparison.json());
}

#[test]
fn a_limit_that_cannot_be_read_says_where() {
    for (text, expect) in [
        ("recovery.p99", "at character 13: there is no :"),
        (":+20%", "at character 1: there is no figure"),
        ("recovery.p99:20%", "at character 14: + or -"),
        ("recovery.p99:+%", "at character 15: there is no number"),
        ("recovery.p99:+20", "at character 17: the number has no unit"),
        ("recovery.p99:+20min", "at character 17: \"min\" is no unit"),
    ] {
        let error = text.parse::<FailOn>().unwrap_err().to_string();
        assert!(error.contains(expect) && error.contains("recovery.p99:+20%"), "{text}: {error}");
    }
}

#[test]
fn a_limit_is_held_against_what_was_measured_and_nothing_else() {
    let figure = |unit| Figure { name: "f.p99".into(), group: "F", label: "p99".into(), unit, is_more_worse: true, order: (0, 0) };
    let row = |before: &[f64], now| Row { figure: figure(Unit::Nanoseconds), before: before.to_vec(), now };
    for (limit, before, now, expect) in [
        ("f.p99:+20%", &[100.0][..], Some(119.0), true),
        ("f.p99:+20%", &[100.0], Some(121.0), false),
        ("f.p99:+20%", &[90.0, 100.0, 130.0], Some(121.0), true),
        ("f.p99:+20%", &[90.0, 100.0, 110.0], Some(121.0), false),
        ("f.p99:-10%", &[100.0], Some(91.0), true),
        ("f.p99:-10%", &[100.0], Some(89.0), false),
        ("f.p99:+1ms", &[100.0], Some(1_000_101.0), false),
        ("f.p99:+20%", &[], Some(1.0), false),
        ("f.p99:+20%", &[100.0], None, false),
    ] {
        let held = limit.parse::<FailOn>().unwrap().hold(&[row(before, now)]).unwrap();
        assert_eq!(held.is_met, expect, "{limit} {before:?}: {}", held.text);
    }
    let limit: FailOn = "election.p99:+20%".parse().unwrap();
    assert!(limit.hold(&[]).unwrap().text.contains("neither side"));
    let limit: FailOn = "recovry.p99:+20%".parse().unwrap();
    assert!(limit.hold(&[]).unwrap_err().contains("did you mean recovery.p99?"));
}
