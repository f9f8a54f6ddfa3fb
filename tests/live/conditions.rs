//! The conditions that end a run by themselves, each brought about for real: the faults are mended, and the exit code is 4.

use std::time::{Duration, Instant};

use kchaos_core::FaultMoment;

use crate::lab::Lab;
use crate::run::{Finished, Scratch, a_run_with, kchaos};

pub(crate) const ONE_FAULT: &[&str] = &["--faults", "1", "--nemesis-interval", "1s", "--nemesis-duration", "120s"];

const OURS_FOR: Duration = Duration::from_secs(22);

/// On a host, when the test is over, however it ends.
pub(crate) struct Afterwards<'a>(pub(crate) &'a str, pub(crate) &'a str);

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        let _ = kchaos(&["lab", "shell", self.0, "--", "sh", "-c", self.1]).run();
    }
}

/// Ended by a condition that says this, and what was in force was mended.
fn ended_by(run: &Finished, condition: &str) {
    assert_eq!(run.answer.code, 4, "{}{}", run.answer.stdout, run.answer.stderr);
    assert!(run.answer.stderr.contains(condition), "{condition:?} is not in:\n{}", run.answer.stderr);
    let healed: Vec<_> = run.faults().into_iter().filter(|event| event.moment == FaultMoment::Healed).collect();
    assert!(!healed.is_empty() && healed.iter().all(|event| event.proof.as_ref().is_some_and(|proof| proof.proved)), "{healed:?}");
}

#[test]
#[ignore = "needs root and the lab"]
fn a_disk_that_somebody_else_fills_ends_the_run_and_one_that_a_fault_fills_does_not() {
    let lab = Lab::that_is_whole();
    let text = std::fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    assert!(text.contains("kind = \"loop\""), "the lab has no disks of its own: see scripts/test-live.sh");
    let mut run = a_run_with("fill-host:zoo1", ONE_FAULT).start();
    run.until_a_fault_is_in_force();
    // Longer than two looks at the disks, 10 s apart.
    std::thread::sleep(OURS_FOR);
    // On the daemon's own loop disk, and nowhere else.
    let fill = "case $(df --output=source /var/lib/zookeeper | tail -n 1) in /dev/kchaos-* | /dev/loop*) ;; *) exit 1 ;; esac
        room=$(df -k --output=avail /var/lib/zookeeper | tail -n 1); fallocate -l $((room - 32768))K /var/lib/zookeeper/somebody-s";
    let _removed = Afterwards("zoo2", "rm -f /var/lib/zookeeper/somebody-s");
    lab.on("zoo2", fill);
    let since = Instant::now();
    let run = run.finish();
    ended_by(&run, "the disk of /var/lib/zookeeper on zoo2 has less than 64 MiB free");
    let at = |moment| run.faults().into_iter().find(|event| event.moment == moment).expect("a moment of the fault").when;
    let held = Duration::from_nanos(at(FaultMoment::Healing).after_ns.saturating_sub(at(FaultMoment::InEffect).before_ns));
    assert!(held > OURS_FOR, "our own ended it after {held:?}");
    println!("disk guard: a fill of ours held {held:.1?}; somebody's ended the run {:.1} s later, exit 4", since.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs root and the lab"]
fn partitions_of_others_without_a_leader_end_the_run() {
    let lab = Lab::that_is_whole();
    let topics = |words: &str| {
        let tool = "java -cp '/opt/kafka/libs/*' org.apache.kafka.tools.TopicCommand --bootstrap-server 10.99.0.13:9092";
        format!("{tool} {words} >/dev/null 2>&1")
    };
    lab.on("kafka3", &topics("--create --topic orders --replica-assignment 1:2"));
    let deleted = topics("--delete --topic orders");
    let _deleted = Afterwards("kafka3", &deleted);
    let scratch = Scratch::new();
    let plan = scratch.path().join("plan.toml");
    let entry = |host: &str, at: &str| format!("[[fault]]\nnemesis = \"pause-host:{host}\"\nat = \"{at}\"\nduration = \"120s\"\n");
    std::fs::write(&plan, entry("kafka1", "1s") + &entry("kafka2", "2s")).expect("write a plan");
    let mut run = kchaos(&["test", "--progress", "plain", "--plan", plan.to_str().expect("UTF-8")]).with_results().start();
    run.until_a_fault_is_in_force();
    let since = Instant::now();
    let run = run.finish();
    ended_by(&run, "partitions that are not the run's have been offline for 10 s: orders-0");
    println!("somebody's partition without a leader: the run ended {:.1} s after the first pause, exit 4", since.elapsed().as_secs_f64());
}
