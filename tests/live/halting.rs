//! Looking before a run, and ending one from outside: `kchaos plan`, `kchaos doctor`, `kchaos halt` and the abort conditions.

use std::time::Instant;

use kchaos_core::{FaultMoment, PlannedFault};

use crate::lab::Lab;
use crate::run::{Scratch, a_run_with, kchaos};

/// However a test ends, the next ones are let in.
struct Released;

impl Drop for Released {
    fn drop(&mut self) {
        let _ = kchaos(&["halt", "--release"]).run();
    }
}

#[test]
#[ignore = "needs root and the lab"]
fn a_halt_ends_the_run_mends_and_keeps_others_out_until_it_is_lifted() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let before = lab.footprint();
    let mut run = a_run_with("isolate-leader", &["--faults", "3", "--nemesis-interval", "1s", "--nemesis-duration", "120s"]).start();
    let fault = run.until_a_fault_is_in_force();
    let host = fault.chosen[0].host.clone();

    // One host cannot be reached from here, but the run sees the halt on the others.
    let since = Instant::now();
    let _released = Released;
    let blind = lab.inventory_without_a_way_to(scratch.path(), "zoo3");
    let halted = kchaos(&["halt", "--reason", "the shop is slow", "--wait", "1s"]).in_cluster(&blind).run();
    halted.says(5, &["NOT EVERY HOST", "kchaos halt"]);
    assert!(halted.stdout.contains("zoo3: NOT HALTED") && halted.stdout.contains(&format!("{host}: halted;")), "{}", halted.stdout);
    let run = run.finish().ends_with(4);
    let took = since.elapsed();
    assert!(run.answer.stderr.contains("kchaos was halted by") && run.answer.stderr.contains("the shop is slow"), "{}", run.answer.stderr);
    let ended = run.faults().into_iter().find(|event| matches!(event.moment, FaultMoment::Healed | FaultMoment::LeaseLapsed));
    assert!(ended.is_some(), "the fault's end is told: {:?}", run.faults());

    let refused = a_run_with("none", &["--time-limit", "1s"]).run();
    refused.says(3, &["kchaos is halted", "the shop is slow", "kchaos halt --release"]);
    let found = kchaos(&["doctor"]).run();
    assert!(found.code == 3 && found.stdout.contains("FAILS") && found.stdout.contains("kchaos halt --release"), "{}", found.stdout);

    let released = kchaos(&["halt", "--release"]).run();
    assert!(released.code == 0 && released.stdout.contains(&format!("{host}: released; it was halted by")), "{}", released.stdout);
    assert!(released.stdout.contains("zoo3: was not halted"), "{}", released.stdout);
    Lab::that_is_whole();
    assert_eq!(lab.footprint(), before);

    let audit = lab.on(&host, "cat /var/lib/kchaos/host/audit.log");
    for words in [
        format!("run={} phase=locked", run.plan().run_id),
        "phase=armed".into(),
        "what=isolate-leader".into(),
        "phase=halted reason=the shop".into(),
    ] {
        assert!(audit.contains(&words), "{words:?} is not in the audit:\n{audit}");
    }
    println!("halted in an isolate: the run ended {:.1} s later with exit 4, and the next was refused until --release", took.as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn a_user_s_condition_ends_the_run_and_one_that_holds_before_refuses_it() {
    Lab::that_is_whole();
    let scratch = Scratch::new();
    let flag = scratch.path().join("tickets");
    let probe = format!("test -e '{}' && echo too many tickets", flag.display());
    let abort_if = ["--abort-if", &probe, "--faults", "2", "--nemesis-interval", "1s", "--nemesis-duration", "120s"];
    let mut run = a_run_with("pause-follower", &abort_if).start();
    run.until_a_fault_is_in_force();
    std::fs::write(&flag, "").expect("write a flag");
    let since = Instant::now();
    let run = run.finish().ends_with(4);
    assert!(run.answer.stderr.contains("holds: too many tickets"), "{}", run.answer.stderr);
    let healed = run.faults().into_iter().find(|event| event.moment == FaultMoment::Healed).and_then(|event| event.proof);
    assert!(healed.is_some_and(|proof| proof.proved), "{:?}", run.faults());
    a_run_with("none", &["--abort-if", &probe]).run().says(3, &["holds before the run", "too many tickets"]);
    println!("--abort-if: the run ended {:.1} s after its condition held, exit 4", since.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn what_plan_prints_is_what_the_run_does_and_it_writes_nothing() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let flags = ["--seed", "11", "--faults", "2", "--nemesis-interval", "1s", "--nemesis-duration", "3s"];
    let nemeses = "pause-random,isolate-zk-follower";
    let planned = kchaos(&["plan", "--format", "json", "--nemesis", nemeses]).and(&flags).run();
    assert_eq!(planned.code, 0, "{}{}", planned.stdout, planned.stderr);
    let planned = planned.json();
    assert_eq!(lab.footprint(), before, "a plan wrote something");
    let schedule: Vec<PlannedFault> = serde_json::from_value(planned["faults"].clone()).expect("faults");

    let run = a_run_with(nemeses, &flags).finish().ends_with(0);
    assert_eq!(run.plan().schedule, schedule);
    let in_force: Vec<_> = run.faults().into_iter().filter(|event| event.moment == FaultMoment::InEffect).collect();
    for (planned, seen) in planned["faults"].as_array().expect("faults").iter().zip(&in_force) {
        let leg = &planned["legs"][0];
        assert_eq!(leg["chosen"]["daemon"], seen.chosen[0].daemon.as_str(), "whom it hits");
        let commands = leg["commands"][0].as_str().expect("a command");
        let effect = seen.effect.as_ref().expect("an effect");
        // The very process, or a table for this very fault.
        let expect = effect.pids.first().map_or_else(|| "table inet kchaos_".to_owned(), |(pid, start)| format!("{pid} {start}"));
        assert!(commands.contains(&expect), "{expect:?} is not in:\n{commands}");
        assert!(leg["undo"].as_str().is_some_and(|undo| !undo.trim().is_empty()));
    }
    println!("kchaos plan: {} faults, the same as the run's with the same seed, on the same daemons", schedule.len());
}

#[test]
#[ignore = "needs root and the lab"]
fn doctor_finds_what_is_missing_and_says_what_mends_it() {
    let lab = Lab::that_is_whole();
    let before = lab.footprint();
    let since = Instant::now();
    let sound = kchaos(&["doctor", "--nemesis", "kill-leader,isolate-controller"]).run();
    let took = since.elapsed();
    assert_eq!(sound.code, 0, "{}{}", sound.stdout, sound.stderr);
    for check in [
        "ssh",
        "root",
        "consent",
        "firewall",
        "lease",
        "clock",
        "disk-room",
        "client",
        "zookeeper",
        "cluster-id",
        "whole",
        "leftovers",
        "lock",
        "nemeses",
    ] {
        assert!(sound.stdout.lines().any(|line| line.split_whitespace().nth(1) == Some(check)), "no line of {check}:\n{}", sound.stdout);
    }
    assert_eq!(lab.footprint(), before, "doctor wrote something");

    lab.on("zoo2", "mv /etc/kchaos/allow /etc/kchaos/allow.away");
    lab.on("kafka2", "mkdir -p /run/kchaos/lock; read -r up rest </proc/uptime; echo \"$(( ${up%.*}00 + 6000 )) other-run ann@desk, pid 9\" >/run/kchaos/lock/owner");
    let found = kchaos(&["doctor", "--format", "json", "--nemesis", "bump-leader"]).run();
    lab.on("zoo2", "mv /etc/kchaos/allow.away /etc/kchaos/allow");
    lab.on("kafka2", "rm -rf /run/kchaos/lock");
    assert_eq!(found.code, 3, "{}{}", found.stdout, found.stderr);
    let lines = found.json();
    let failing: Vec<_> = lines.as_array().expect("lines").iter().filter(|line| line["level"] == "fails").collect();
    assert!(failing.iter().all(|line| line["mend"].is_string()), "{failing:?}");
    let of = |check: &str| failing.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("{check} is sound: {failing:?}"));
    assert_eq!(of("consent")["on"], "zoo2");
    assert!(of("lock")["text"].as_str().is_some_and(|text| text.contains("other-run") && text.contains("ann@desk")));
    assert!(of("nemeses")["text"].as_str().is_some_and(|text| text.contains("bump-leader")));
    println!("doctor: {} hosts and the cluster in {:.1} s", lab.hosts.len(), took.as_secs_f64());
}
