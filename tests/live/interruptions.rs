//! Somebody presses Ctrl-C, twice: the hosts are mended all the same, and what was seen is judged and written down.

use std::time::Duration;

use kchaos_core::FaultMoment;

use crate::lab::Lab;
use crate::run::{a_run_with, kchaos};

#[test]
#[ignore = "needs root and the lab"]
fn a_second_sigint_in_the_middle_of_a_fault_does_not_skip_mending() {
    let lab = Lab::that_is_whole();
    let mut run = a_run_with("kill-leader", &["--faults", "3", "--nemesis-interval", "1s", "--nemesis-duration", "120s"]).start();
    let fault = run.until_a_fault_is_in_force();
    run.signal(libc::SIGINT);
    std::thread::sleep(Duration::from_millis(300));
    run.signal(libc::SIGINT);
    let signalled = std::time::Instant::now();
    let run = run.finish().ends_with(4);

    let healed = run.faults().into_iter().find(|event| event.fault_id == fault.fault_id && event.moment == FaultMoment::Healed);
    let proof = healed.and_then(|event| event.proof).expect("the fault was mended, with a proof");
    assert!(proof.proved, "{proof:?}");
    assert!(run.answer.stderr.contains("SIGINT again: still mending"), "{}", run.answer.stderr);
    assert_eq!(run.verdict()["exit_code"], 4);
    for name in ["report.html", "junit.xml", "latency.hlog"] {
        assert!(run.directory.join(name).is_file(), "{name} was not written");
    }
    run.stands_offline();
    assert_eq!(lab.what_is_missing(), None, "the cluster is whole again");
    let clean = kchaos(&["heal"]).run();
    assert_eq!((clean.code, clean.stdout.matches(": clean").count()), (0, lab.hosts.len()), "{}", clean.stdout);
    println!("two SIGINTs in a kill: mended, judged and written {:.1} s later, exit 4", signalled.elapsed().as_secs_f64());
}
