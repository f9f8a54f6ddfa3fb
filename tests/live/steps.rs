//! Plans with steps: what operators do to a cluster, while clients go on.
//!
//! Each wants a lab of its own, of another version, which `scripts/test-upgrade.sh` brings up. Not in `make test`.

use std::path::Path;

use kchaos_core::FaultMoment;
use serde_json::Value;

use crate::lab::Lab;
use crate::run::{Call, Finished, Scratch, kchaos};

const ENVIRONMENT: i32 = 3;
const USAGE: i32 = 254;
const MISSED: i32 = 6;

fn by_plan(plan: &Path, more: &[&str]) -> Call {
    kchaos(&["test", "--progress", "plain", "--plan", plan.to_str().expect("UTF-8")]).and(more).with_results()
}

fn written(scratch: &Scratch, text: &str) -> std::path::PathBuf {
    let plan = scratch.path().join("plan.toml");
    std::fs::write(&plan, text).expect("write a plan");
    plan
}

fn ours(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)
}

impl Finished {
    fn steps(&self) -> Vec<Value> {
        self.verdict()["steps"].as_array().cloned().unwrap_or_default()
    }

    /// Every step was done; how long each took, for people.
    fn did_every_step(&self, count: usize) -> String {
        let steps = self.steps();
        assert_eq!(steps.len(), count, "{steps:#?}");
        assert!(steps.iter().all(|step| step["state"] == "done"), "{steps:#?}");
        let ns = |step: &Value, key: &str| step[key].as_u64().expect("a time");
        let took = |step: &Value| {
            format!("{} {:.0} s", step["step"].as_str().unwrap_or_default(), (ns(step, "end_ns") - ns(step, "begin_ns")) as f64 / 1e9)
        };
        steps.iter().map(took).collect::<Vec<_>>().join(", ")
    }

    /// Proofs of the steps on daemons whose names begin so.
    fn proofs(&self, name: &str) -> Vec<String> {
        let in_effect = self.faults().into_iter().filter(|event| event.moment == FaultMoment::InEffect && event.nemesis.starts_with(name));
        in_effect.filter_map(|event| event.proof.filter(|proof| proof.proved)).map(|proof| proof.text).collect()
    }
}

/// On a lab of Kafka 2.8.2 with ZooKeeper.
#[test]
#[ignore = "needs root and a lab of Kafka 2.8.2"]
fn brokers_are_upgraded_under_load_from_2_8_to_3_9() {
    Lab::that_is_whole();
    let run = by_plan(&ours("upgrade-2.8-to-3.9.toml"), &[]).finish().ends_with(0);
    let took = run.did_every_step(6);
    let replaced = run.proofs("replace-version-broker:");
    assert!(
        replaced.len() == 3 && replaced.iter().all(|text| text.contains("kafka-clients-3.9.1.jar open; before it was 2.8.2")),
        "{replaced:?}"
    );
    let steps = run.steps();
    let in_force = steps[4]["text"].as_str().unwrap_or_default();
    assert_eq!(in_force.matches("says inter.broker.protocol.version is 3.9").count(), 3, "{in_force}");
    run.stands_offline();
    println!("2.8.2 to 3.9.1 under load: {took}; {} acknowledged, valid; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
}

/// On a lab of Kafka 3.9.1 with controllers of their own.
#[test]
#[ignore = "needs root and a lab of KRaft, Kafka 3.9.1"]
fn controllers_and_brokers_are_upgraded_under_load_from_3_9_to_4_1() {
    Lab::that_is_whole();
    let run = by_plan(&ours("upgrade-3.9-to-4.1-kraft.toml"), &[]).finish().ends_with(0);
    let took = run.did_every_step(5);
    for (name, count) in [("replace-version-controller:", 3), ("replace-version-broker:", 3)] {
        let replaced = run.proofs(name);
        assert!(replaced.len() == count && replaced.iter().all(|text| text.contains("kafka-clients-4.1.1.jar open; before it was 3.9.1")));
    }
    assert!(run.steps()[3]["text"].as_str().unwrap_or_default().contains("metadata.version from 21 to 27"), "{:#?}", run.steps()[3]);
    run.stands_offline();
    println!("3.9.1 to 4.1.1 of KRaft under load: {took}; {} acknowledged, valid; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
}

/// On a lab of `--migration`.
#[test]
#[ignore = "needs root and a lab of ZooKeepers and waiting controllers"]
fn a_cluster_migrates_under_load_from_zookeeper_to_kraft_and_is_broken_on_both_sides_of_it() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let too_early = written(&scratch, "[[step]]\nstep = \"wait-migration\"\nwithin = \"3s\"\n");
    let run = by_plan(&too_early, &[]).finish().ends_with(MISSED);
    assert!(run.steps()[0]["text"].as_str().unwrap_or_default().contains("no controller has begun it"), "{:#?}", run.steps());
    let fault = |nemesis: &str| {
        let run = kchaos(&["test", "--progress", "plain", "--nemesis", nemesis, "--faults", "1"]).with_results().finish().ends_with(0);
        println!("{nemesis}: {} acknowledged, valid", run.acknowledged());
    };
    // The controller is a broker that ZooKeeper names.
    fault("kill-controller");
    let run = by_plan(&ours("migrate-3.9-to-kraft.toml"), &[]).finish().ends_with(0);
    let took = run.did_every_step(9);
    // Nobody was away for a file's sake, so no recovery is told of it.
    let of_files: Vec<_> = run.faults().into_iter().filter(|event| event.nemesis.starts_with("set-config")).collect();
    assert!(!of_files.is_empty() && of_files.iter().flat_map(|event| &event.chosen).all(|chosen| chosen.keys_led.is_empty()));
    assert!(run.steps()[2]["text"].as_str().unwrap_or_default().contains("has taken over"), "{:#?}", run.steps()[2]);
    run.stands_offline();
    println!("ZooKeeper to KRaft under load: {took}; {} acknowledged, valid; {:.0} s", run.acknowledged(), run.took.as_secs_f64());
    // It is the leader of the quorum now, by the same inventory.
    fault("kill-controller");
    fault("kill-leader");
    drop(lab);
}

/// On any lab with ZooKeeper.
#[test]
#[ignore = "needs root and a lab"]
fn settings_are_set_in_files_and_in_the_cluster_and_a_step_without_effect_is_never_valid() {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let file = |value: &str| {
        format!(
            "[[step]]\nstep = \"set-config\"\nwhere = \"file\"\ntarget = \"broker:1\"\nsettings = {{ \"log.retention.hours\" = {value} }}\n"
        )
    };
    let restart = "[[step]]\nstep = \"restart\"\ntarget = \"broker:1\"\n";
    let dynamic =
        |value: &str| format!("[[step]]\nstep = \"set-config\"\nwhere = \"cluster\"\nsettings = {{ \"log.cleaner.threads\" = {value} }}\n");
    let plan = written(&scratch, &[file("\"77\""), restart.to_owned(), dynamic("2"), dynamic("false")].concat());
    let run = by_plan(&plan, &[]).finish().ends_with(0);
    let took = run.did_every_step(4);
    let steps = run.steps();
    assert!(steps[1]["text"].as_str().is_some_and(|text| text.contains("kafka:1 says log.retention.hours is 77")), "{steps:#?}");
    run.stands_offline();

    let never_read = written(&scratch, &file("false"));
    let unread = by_plan(&never_read, &[]).finish().ends_with(2);
    assert!(unread.answer.stdout.contains("which no step started anew"), "{}", unread.answer.stdout);
    let put_back = written(&scratch, restart);
    by_plan(&put_back, &[]).finish().ends_with(0);

    // An unknown version is the user's command's to refuse, and the broker comes back as it was.
    let wrong = written(
        &scratch,
        "[[step]]\nstep = \"replace-version\"\ntarget = \"broker:1\"\nversion = \"9.9.9\"\n[[step]]\nstep = \"wait-isr\"\nwithin = \"9s\"\n",
    );
    let refused = by_plan(&wrong, &[]).finish().ends_with(ENVIRONMENT);
    assert!(refused.answer.stdout.contains("this lab has no Kafka 9.9.9"), "{}", refused.answer.stdout);
    assert_eq!(refused.steps()[1]["state"], "not-done");
    let nobody = written(&scratch, "[[step]]\nstep = \"restart\"\ntarget = \"broker:77\"\n");
    by_plan(&nobody, &[]).run().says(USAGE, &["step 1 (restart): target \"broker:77\": the inventory has none"]);
    assert_eq!(lab.on("kafka1", "ls -A /var/lib/kchaos/host/undo.d 2>/dev/null || true"), "");
    println!("{took}; a file that no step has read: unknown; a version that is not there: environment");
}

/// Killed while a broker is stopped and given another version: heal leaves it running, with whatever it has by then.
#[test]
#[ignore = "needs root and a lab"]
fn a_run_that_is_killed_in_the_middle_of_a_step_leaves_daemons_running_after_heal() {
    Lab::that_is_whole();
    let scratch = Scratch::new();
    let plan = written(&scratch, "[[step]]\nstep = \"restart\"\ntarget = \"brokers\"\n");
    let mut run = by_plan(&plan, &["--lease", "5s", "--keep-topic"]).start();
    let step = run.until_a_fault_is_in_force();
    assert!(step.nemesis.starts_with("restart-broker:"), "{step:?}");
    run.killed();
    let healed = kchaos(&["heal"]).run();
    assert_eq!(healed.code, 0, "{}{}", healed.stdout, healed.stderr);
    Lab::that_is_whole();
    println!(
        "kill -9 in a restart: heal said \"{}\"",
        healed.stdout.lines().find(|line| line.contains("restart-broker")).unwrap_or_default()
    );
}
