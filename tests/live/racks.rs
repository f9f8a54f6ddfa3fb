//! Racks: readers are served by followers in their own, and what they were given stands while a whole rack is killed or cut off.
//!
//! A lab of three racks, which `scripts/test-racks.sh` brings up. Not in `make test`.

use std::collections::BTreeSet;

use kchaos_core::FaultMoment;

use crate::lab::Lab;
use crate::run::{Finished, a_run_with, kchaos};

const ENVIRONMENT: i32 = 3;
const RACKS: &str = "a,b,c";

/// How many records the run says that followers gave its readers.
fn from_followers(run: &Finished) -> u64 {
    let verdict = run.verdict();
    let notes = verdict["notes"].as_array().expect("notes").iter().filter_map(|note| note.as_str());
    let told =
        notes.into_iter().find(|note| note.starts_with("fetched from followers: ")).unwrap_or_else(|| panic!("{verdict:#}")).to_owned();
    // `consumer-1 in rack a: 17 of 40 records`
    told.split(": ").skip(2).filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
#[ignore = "needs root and a lab of three racks"]
fn what_followers_gave_to_readers_in_their_rack_stands_when_a_rack_is_gone() {
    Lab::that_is_whole();
    for nemesis in ["kill-rack:b", "isolate-random-rack", "partition-rack:c"] {
        let load = ["--workload", "append", "--faults", "1", "--nemesis-interval", "2s", "--client-rack", RACKS, "--consumers", "3"];
        let run = a_run_with(nemesis, &load).finish().ends_with(0);
        run.each_was_proved_and_mended();
        run.stands_offline();
        let followers = from_followers(&run);
        assert!(followers > 0, "{nemesis}: {:#}", run.verdict()["notes"]);
        println!("{nemesis}: {followers} records from followers, {} acknowledged; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
    }
}

#[test]
#[ignore = "needs root and a lab of three racks"]
fn everything_in_a_rack_is_hit_at_once() {
    Lab::that_is_whole();
    let run = a_run_with("pause-rack:a", &["--workload", "append", "--faults", "1", "--nemesis-interval", "1s"]).finish().ends_with(0);
    let in_effect = run.faults().into_iter().find(|event| event.moment == FaultMoment::InEffect).expect("a fault in force");
    let hosts: BTreeSet<&str> = in_effect.chosen.iter().map(|chosen| chosen.host.as_str()).collect();
    // Four brokers are dealt to three racks.
    assert_eq!(hosts, BTreeSet::from(["kafka1", "kafka4"]), "{in_effect:?}");
    assert!(in_effect.chosen.iter().all(|chosen| chosen.evidence.contains("in rack a")), "{in_effect:?}");
}

#[test]
#[ignore = "needs root and a lab of three racks"]
fn a_rack_that_is_not_there_is_refused_with_those_that_are() {
    Lab::that_is_whole();
    let there_are = ["there is no rack d", "there are a, b, c"];
    kchaos(&["test", "--nemesis", "kill-rack:d"]).with_results().run().says(ENVIRONMENT, &there_are);
    let readers = ["--client-rack d: no broker is in it", "there are a, b, c"];
    kchaos(&["test", "--nemesis", "none", "--client-rack", "d"]).with_results().run().says(ENVIRONMENT, &readers);
    let planned = kchaos(&["plan", "--nemesis", "isolate-rack:b", "--faults", "1"]).run();
    assert!(
        planned.stdout.contains("kafka2") && planned.stdout.contains("in rack b, by the inventory"),
        "{}{}",
        planned.stdout,
        planned.stderr
    );
    let seen = kchaos(&["status", "--format", "json"]).run().json();
    assert_eq!(seen["brokers"]["3"]["rack"], "c", "{seen:#}");
}
