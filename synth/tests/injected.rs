//! What is hidden in a history is found, where it was hidden, and nothing else but what comes with it.

use std::collections::BTreeSet;

use kchaos_checkers::{ALL, CheckReport, FinalRead, Judge, JudgeOptions};
use kchaos_core::{Example, Op, Validity};
use kchaos_synth::{INJECTABLE, Injectable, Injected, Injection, Options, Place, Summary, Synth, Workload};

fn take(judge: &mut Judge, op: &Op) -> Result<(), std::convert::Infallible> {
    judge.update(op);
    Ok(())
}

fn judge(options: &Options) -> (Summary, CheckReport) {
    let mut judge = Judge::new(JudgeOptions { examples: 10_000, ..JudgeOptions::default() });
    let synth = Synth::new(options.clone()).unwrap_or_else(|error| panic!("{error}: {options:?}"));
    let Ok(summary) = synth.each(|op| take(&mut judge, op));
    // What was packed on the way is cited by playing it again.
    let report = judge.finish_reading_again(|judge| synth.each(|op| take(judge, op)).map(|_| ()));
    (summary, report)
}

fn cites(example: &Example, injected: &Injected) -> bool {
    let key = example.key == injected.key || injected.anomaly.starts_with('G');
    let value = injected.values.is_empty() || injected.values.iter().any(|value| example.values.contains(value));
    key && value && example.ops.iter().any(|op| injected.ops.contains(op))
}

/// The anomaly is found at every place, and what else is found is in its table. Gives what came with it.
fn check(anomaly: &'static Injectable, options: &Options) -> BTreeSet<String> {
    let (summary, report) = judge(options);
    let asked: u32 = options.injections.iter().map(|injection| injection.count).sum();
    assert_eq!(summary.injected.len(), asked as usize);
    if options.sends <= 10_000 {
        // What was packed on the way is as good as what was kept.
        let mut keeping = Judge::without_packing(JudgeOptions { examples: 10_000, ..JudgeOptions::default() });
        let Ok(_) = Synth::new(options.clone()).unwrap().each(|op| take(&mut keeping, op));
        let kept = keeping.finish();
        assert_eq!((&report.anomalies, &report.ignored), (&kept.anomalies, &kept.ignored), "{} in {options:?}", anomaly.name);
    }
    let told = || format!("{} in {options:?}\n{:?}\n{:#?}\n{:#?}", anomaly.name, summary.injected, report.anomalies, report.ignored);
    let finding = report.anomalies.get(anomaly.name).or_else(|| report.ignored.get(anomaly.name));
    let finding = finding.unwrap_or_else(|| panic!("not found: {}", told()));
    for injected in &summary.injected {
        assert!(finding.examples.iter().any(|example| cites(example, injected)), "{injected:?} is not cited: {}", told());
    }
    let found: BTreeSet<&str> = report.anomalies.keys().chain(report.ignored.keys()).map(String::as_str).collect();
    let comes_along = |name: &str| name == anomaly.name || anomaly.along.contains(&name) || (name == "redelivered" && options.crashes > 0);
    let beside: Vec<_> = found.into_iter().filter(|name| !comes_along(name)).collect();
    assert!(beside.is_empty(), "{beside:?} beside {}", told());
    let expected = match anomaly.name {
        "read-before-send" => Validity::Unknown,
        "G0" | "G0-process" | "G0-realtime" | "redelivered" | "int-send-skip" | "stale-leader-ack" => Validity::Valid,
        _ => Validity::Invalid,
    };
    assert_eq!(report.valid, expected, "{}", told());
    let beside = report.anomalies.into_keys().chain(report.ignored.into_keys());
    beside.filter(|name| name != anomaly.name).collect()
}

fn options(anomaly: &'static Injectable, workload: Workload, sends: u64, seed: u64) -> Options {
    let injections = vec![Injection { anomaly, place: Place::Random, count: 1 }];
    let keys = anomaly.keys.max(1 + (seed % 4) as u32);
    let base_offset = if seed.is_multiple_of(3) { 1_000_000_000_000 } else { 0 };
    let batch = 1 + (seed % 3) as u32;
    let lanes = if seed.is_multiple_of(2) { 5 } else { 50 };
    let looks = if seed % 4 == 1 { 7 } else { 0 };
    Options { workload, sends, seed, keys, base_offset, batch, lanes, looks, holes: 0.01, injections, ..Options::default() }
}

fn each(sends: u64, seeds: std::ops::Range<u64>) {
    for anomaly in INJECTABLE {
        for workload in anomaly.workloads {
            for seed in seeds.clone() {
                check(anomaly, &options(anomaly, *workload, sends, seed));
            }
        }
    }
}

#[test]
fn every_anomaly_that_a_checker_names_can_be_injected() {
    let named: BTreeSet<_> = ALL.iter().flat_map(|spec| spec.anomalies).collect();
    let injectable: BTreeSet<_> = INJECTABLE.iter().map(|anomaly| &anomaly.name).collect();
    assert_eq!(named, injectable);
}

#[test]
fn each_is_found_in_a_handful_of_sends() {
    each(10, 0..60);
}

#[test]
fn each_is_found_in_a_thousand_sends_and_all_that_its_table_names_comes_with_it() {
    for anomaly in INJECTABLE {
        let mut along = BTreeSet::new();
        for (workload, seed) in anomaly.workloads.iter().flat_map(|workload| (0..12_u64).map(move |seed| (*workload, seed))) {
            let poll_records = if seed.is_multiple_of(2) { 1 } else { 100 };
            along.extend(check(anomaly, &Options { poll_records, ..options(anomaly, workload, 1_000, seed) }));
        }
        let named: BTreeSet<String> = anomaly.along.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(along, named, "{}", anomaly.name);
    }
}

#[test]
fn each_is_found_in_ten_thousand_sends() {
    each(10_000, 0..2);
}

/// `KCHAOS_SYNTH_MILLION=1` for a million as well.
#[test]
fn each_is_found_in_a_hundred_thousand_sends() {
    each(100_000, 7..8);
    if std::env::var_os("KCHAOS_SYNTH_MILLION").is_some() {
        each(1_000_000, 8..9);
    }
}

#[test]
fn each_is_found_at_the_first_and_at_the_last_send() {
    for anomaly in INJECTABLE {
        for workload in anomaly.workloads {
            for place in [Place::Send(0), Place::Fraction(0.5), Place::Fraction(1.0)] {
                let injections = vec![Injection { anomaly, place, count: 1 }];
                check(anomaly, &Options { injections, ..options(anomaly, *workload, 200, 5) });
            }
        }
    }
}

#[test]
fn each_of_many_is_found() {
    for anomaly in INJECTABLE.iter().filter(|anomaly| anomaly.name != "nonlinearizable") {
        for workload in anomaly.workloads {
            for place in [Place::Random, Place::Send(100)] {
                let injections = vec![Injection { anomaly, place, count: 20 }];
                check(anomaly, &Options { injections, ..options(anomaly, *workload, 2_000, 11) });
            }
        }
    }
}

/// Where crashes, restarts, failures and failed polls abound.
#[test]
fn each_is_found_in_a_stormy_history() {
    for anomaly in INJECTABLE {
        for workload in anomaly.workloads {
            for seed in 0..10 {
                let restarts = if matches!(workload, Workload::Log | Workload::Groups) { 5 } else { 0 };
                let crashes = if *workload == Workload::Groups { 5 } else { 0 };
                let plain = options(anomaly, *workload, 500, seed);
                let (info, fail, no_offset, failed_polls, poll_records) = (0.1, 0.1, 0.1, 0.3, 10);
                check(anomaly, &Options { restarts, crashes, info, fail, no_offset, failed_polls, poll_records, faults: 2, ..plain });
            }
        }
    }
}

#[test]
fn several_at_once_are_all_found() {
    for workload in Workload::ALL {
        let these = INJECTABLE.iter().filter(|anomaly| anomaly.workloads.contains(&workload));
        let injections = these.map(|anomaly| Injection { anomaly, place: Place::Random, count: 2 }).collect();
        let (summary, report) = judge(&Options { workload, injections, sends: 5_000, ..Options::default() });
        for injected in &summary.injected {
            let findings = [&report.anomalies, &report.ignored].into_iter().filter_map(|findings| findings.get(injected.anomaly));
            let examples: Vec<_> = findings.flat_map(|finding| &finding.examples).collect();
            let cited = examples.iter().any(|example| cites(example, injected));
            assert!(cited || injected.anomaly == "nonlinearizable", "{workload}: {injected:?}\n{examples:#?}");
        }
    }
}

/// Without a final read a value without an offset may still be late; everything else is proved by what was read on the way.
#[test]
fn without_a_final_read_all_but_unseen_is_proved_as_well() {
    for anomaly in INJECTABLE.iter().filter(|anomaly| anomaly.name != "unseen") {
        for workload in anomaly.workloads {
            check(anomaly, &Options { final_read: false, ..options(anomaly, *workload, 500, 3) });
        }
    }
    let unseen = INJECTABLE.iter().find(|anomaly| anomaly.name == "unseen").unwrap();
    let options = Options { final_read: false, ..options(unseen, Workload::Log, 500, 3) };
    let (_, report) = judge(&options);
    assert_eq!((report.valid, report.anomalies["unseen"].count), (Validity::Unknown, 1));
    let mut judge = Judge::new(JudgeOptions { final_read: FinalRead::Complete, ..JudgeOptions::default() });
    let Ok(_) = Synth::new(options).unwrap().each(|op| take(&mut judge, op));
    assert_eq!(judge.finish().valid, Validity::Invalid);
}
