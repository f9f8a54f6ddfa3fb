//! What is made clean is judged clean, whatever the options.

use std::collections::BTreeSet;

use kchaos_checkers::{CheckReport, Judge, JudgeOptions};
use kchaos_core::{Body, Finding, Op, Validity};
use kchaos_synth::{Options, Summary, Synth, Workload};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn take(judge: &mut Judge, op: &Op) -> Result<(), std::convert::Infallible> {
    judge.update(op);
    Ok(())
}

fn judge(options: &Options) -> (Summary, CheckReport) {
    let mut judge = Judge::new(JudgeOptions::default());
    let synth = Synth::new(options.clone()).unwrap_or_else(|error| panic!("{error}: {options:?}"));
    let Ok(summary) = synth.each(|op| take(&mut judge, op));
    // What was packed on the way is cited by playing it again.
    let report = judge.finish_reading_again(|judge| synth.each(|op| take(judge, op)).map(|_| ()));
    (summary, report)
}

/// Small, and of any shape.
fn drawn(seed: u64) -> Options {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let workload = Workload::ALL[rng.random_range(0..4)];
    let mut rarely = |fraction: f64| if rng.random_bool(0.5) { rng.random_range(0.0..fraction) } else { 0.0 };
    let (mut info, mut fail, no_offset, mut holes, mut failed_polls) = (rarely(0.3), rarely(0.3), rarely(0.3), rarely(0.3), rarely(0.5));
    match rng.random_range(0..100) {
        0 => info = 1.0 - fail - no_offset,
        1 => fail = 1.0 - info - no_offset,
        2 => failed_polls = 0.9,
        3 => holes = 1.0,
        _ => {}
    }
    let some = |rng: &mut ChaCha8Rng| if rng.random_bool(0.5) { rng.random_range(0..5) } else { 0 };
    Options {
        workload,
        sends: rng.random_range(1..200),
        keys: rng.random_range(1..6),
        producers: rng.random_range(1..4),
        lanes: rng.random_range(1..10),
        consumers: rng.random_range(1..5),
        poll_records: rng.random_range(1..30),
        batch: rng.random_range(1..5),
        seed: rng.random(),
        base_offset: if rng.random_bool(0.3) { 1_000_000_000_000 } else { 0 },
        rate: if rng.random_bool(0.1) { 1_000_000_000 } else { 10_000 },
        info,
        fail,
        no_offset,
        holes,
        failed_polls,
        restarts: if matches!(workload, Workload::Log | Workload::Groups) { some(rng) } else { 0 },
        crashes: if workload == Workload::Groups { some(rng) } else { 0 },
        faults: some(rng),
        looks: if rng.random_bool(0.3) { rng.random_range(1..10) } else { 0 },
        final_read: rng.random_bool(0.8),
        injections: Vec::new(),
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// `KCHAOS_SYNTH_CLEAN=200000` for more of them.
#[test]
fn clean_histories_of_any_shape_give_no_finding() {
    let (mut valid, all) = (0, number("KCHAOS_SYNTH_CLEAN", 10_000));
    for seed in 0..all {
        let options = drawn(seed);
        let (summary, report) = judge(&options);
        assert!(report.anomalies.is_empty(), "{seed}: {options:#?}\n{:#?}", report.anomalies);
        // A member that crashed had not committed all.
        let allowed = |name: &str| name == "redelivered" && options.crashes > 0;
        let ignored: Vec<_> = report.ignored.keys().filter(|name| !allowed(name)).collect();
        assert!(ignored.is_empty(), "{seed}: {options:#?}\n{:#?}", report.ignored);
        let nothing = report.reasons.iter().all(|reason| reason.name == "nothing-acknowledged");
        assert!(nothing, "{seed}: {options:#?}\n{:#?}", report.reasons);
        assert_eq!(report.valid, if report.reasons.is_empty() { Validity::Valid } else { Validity::Unknown });
        assert_eq!(summary.ops, report.ops);
        valid += u64::from(report.valid == Validity::Valid);
    }
    // Short ones may hold no acknowledgement.
    assert!(valid * 10 > all * 9, "{valid} of {all} are valid");
}

#[test]
fn large_ones_are_valid() {
    for workload in Workload::ALL {
        for (keys, lanes, batch) in [(1, 1, 1), (3, 500, 1), (300, 5, 10)] {
            let crashes = if workload == Workload::Groups { 3 } else { 0 };
            let options = Options { workload, sends: 20_000, keys, lanes, batch, crashes, faults: 2, looks: 50, ..Options::default() };
            let (summary, report) = judge(&options);
            let none = std::collections::BTreeMap::<String, Finding>::new();
            assert_eq!((report.valid, &report.anomalies), (Validity::Valid, &none), "{options:?} {:?}", report.reasons);
            assert!(summary.sends >= 20_000 && summary.ops > 2_000, "{summary:?}");
        }
    }
}

/// With looks, a history says everything that docs/history.md names of a healthy cluster; without, nothing of it.
#[test]
fn looks_tell_all_that_an_observer_may_tell() {
    let of_all: &[&str] = &["controllers", "config", "config-asked"];
    let of_logs: &[&str] = &["leader-epochs", "stable-offsets", "replica-log"];
    for (workload, own) in [
        (Workload::Log, [of_logs, &[]].concat()),
        (Workload::Transactions, [of_logs, &["bank-snapshot"]].concat()),
        (Workload::Groups, [of_logs, &["offsets-retention"]].concat()),
        (Workload::Registers, vec!["watch", "ephemeral", "session", "sequential"]),
    ] {
        for looks in [0, 40] {
            let mut told = BTreeSet::new();
            let mut tell = |op: &Op| match &op.body {
                Body::Nemesis { f, .. } if !f.starts_with("final-") => _ = told.insert(f.clone()),
                _ => {}
            };
            let Ok(_) = Synth::new(Options { workload, looks, ..Options::default() }).unwrap().each(|op| {
                tell(op);
                Ok::<_, std::convert::Infallible>(())
            });
            let named = if looks == 0 { BTreeSet::new() } else { of_all.iter().chain(&own).map(|name| (*name).to_owned()).collect() };
            assert_eq!(told, named, "{workload}");
        }
    }
}

#[test]
fn sends_come_at_the_rate_that_was_asked_for() {
    for (workload, rate, poll_records, batch) in [
        (Workload::Log, 10_000, 100, 1),
        (Workload::Log, 100, 1, 5),
        (Workload::Transactions, 1_000_000, 10, 3),
        (Workload::Groups, 50, 100, 1),
    ] {
        let options = Options { workload, rate, poll_records, batch, sends: 20_000, final_read: false, ..Options::default() };
        let summary = Synth::new(options).unwrap().each(|_| Ok::<_, ()>(())).unwrap();
        let ratio = summary.sends as f64 / (summary.time_ns as f64 / 1e9) / rate as f64;
        assert!((0.9..1.1).contains(&ratio), "{workload} {rate}: {ratio}");
    }
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_seed_others() {
    for workload in Workload::ALL {
        let written = |seed| {
            let mut bytes = Vec::new();
            Synth::new(Options { workload, seed, sends: 500, ..Options::default() }).unwrap().write(&mut bytes).unwrap();
            bytes
        };
        assert!(written(1) == written(1) && written(1) != written(2), "{workload}");
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let plain = Options::default;
    for (options, word) in [
        (Options { sends: 0, ..plain() }, "sends 0 is out of range"),
        (Options { keys: u32::MAX, ..plain() }, "keys"),
        (Options { producers: 1 << 19, lanes: 1 << 19, ..plain() }, "producers times in-flight"),
        (Options { consumers: 0, ..plain() }, "consumers"),
        (Options { base_offset: -1, ..plain() }, "base-offset"),
        (Options { info: f64::NAN, ..plain() }, "info NaN is no fraction"),
        (Options { fail: 0.6, info: 0.6, ..plain() }, "more than all"),
        (Options { crashes: 1, ..plain() }, "the workload log has no crashes: groups has"),
        (Options { workload: Workload::Registers, restarts: 1, ..plain() }, "no restarts: log or groups has"),
    ] {
        let error = Synth::new(options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(word), "{word}: {error}");
    }
}
