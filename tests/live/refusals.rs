//! What cannot work is refused before anything is touched: the error says where it lies and what to do, and the exit code whose fault it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::Lab;
use crate::run::{Answer, Call, Scratch, by, kchaos};

const USAGE: i32 = 254;
const ENVIRONMENT: i32 = 3;

#[test]
#[ignore = "needs root and the lab"]
fn names_that_nobody_knows_are_refused_with_the_nearest_one() {
    nothing_is_written_by(|_, _| {
        a_run(&["--workload", "apend"]).run().says(USAGE, &["unknown workload \"apend\"", "did you mean \"append\"?"]);
        a_run(&["--nemesis", "kill-leeder"]).run().says(USAGE, &["unknown nemesis \"kill-leeder\"", "did you mean kill-leader?"]);
        a_run(&["--nemesis", "depose-follower"]).run().says(USAGE, &["depose-follower", "makes no sense"]);
        a_run(&["--nemesis", "kill-host:nowhere"]).run().says(USAGE, &["nowhere", "kafka1"]);
        a_run(&["--acks", "2"]).run().says(USAGE, &["--acks", "all"]);
    });
}

#[test]
#[ignore = "needs root and the lab"]
fn a_cluster_that_cannot_be_entered_or_is_another_is_refused() {
    nothing_is_written_by(|lab, scratch| {
        let key = lab_line(lab, "key_file");
        let inventory = lab.inventory_where(scratch, &key, "key_file = \"/nonexistent/id_ed25519\"");
        let where_it_stands = format!("{}:{}:", inventory.display(), 1 + line_of(&inventory, "key_file"));
        a_run(&[]).in_cluster(&inventory).run().says(USAGE, &[&where_it_stands, "ssh.key_file: /nonexistent/id_ed25519", "ssh-keygen"]);

        let garbled = scratch.join("garbled-key");
        fs::write(&garbled, "-----BEGIN OPENSSH PRIVATE KEY-----\nnothing\n").expect("write a key");
        let inventory = lab.inventory_where(scratch, &key, &format!("key_file = \"{}\"", garbled.display()));
        a_run(&[]).in_cluster(&inventory).run().says(ENVIRONMENT, &["private key", "garbled-key"]);

        let inventory = with_a_changed_host_key(lab, scratch);
        a_run(&[]).in_cluster(&inventory).run().says(ENVIRONMENT, &["host key of kafka1", "refused", "known_hosts"]);

        let inventory = lab.inventory_without_a_way_to(scratch, "kafka2");
        a_run(&[]).in_cluster(&inventory).run().says(ENVIRONMENT, &["host kafka2 (10.99.0.250", "cannot be reached"]);

        let inventory = lab.inventory_where(scratch, &lab_line(lab, "expect_cluster_id"), "expect_cluster_id = \"AAAAAAAAAAAAAAAAAAAAAA\"");
        a_run(&[])
            .in_cluster(&inventory)
            .run()
            .says(ENVIRONMENT, &["not the cluster that was meant", "AAAAAAAAAAAAAAAAAAAAAA", "nothing was touched"]);
    });
}

#[test]
#[ignore = "needs root and the lab"]
fn a_topic_that_exists_is_refused_since_its_records_are_not_ours() {
    let run = || a_run(&["--topic", "kchaos-taken", "--rate", "50"]).run();
    // Makes it and leaves it, unless an earlier pass of this test did.
    run();
    run().says(ENVIRONMENT, &["topic kchaos-taken is in use by others", "choose another name"]);
}

#[test]
#[ignore = "needs root and the lab"]
fn a_malformed_inventory_or_history_is_named_with_line_and_column() {
    nothing_is_written_by(|lab, scratch| {
        let inventory = lab.inventory_where(scratch, "[limits]\nhosts_down_max = ", "[limits]\nhosts_down_maximum = ");
        let line = 1 + line_of(&inventory, "hosts_down_maximum");
        a_run(&[]).in_cluster(&inventory).run().says(USAGE, &[&format!("{}:{line}:", inventory.display()), "hosts_down_maximum"]);

        let inventory = lab.inventory_where(scratch, "name = \"lab\"", "name = ");
        let line = 1 + line_of(&inventory, "name = ");
        a_run(&[]).in_cluster(&inventory).run().says(USAGE, &[&format!("{}:{line}:", inventory.display())]);
        a_run(&[]).in_cluster(&scratch.join("none.toml")).run().says(USAGE, &["none.toml", "No such file"]);

        let history = scratch.join("history.jsonl");
        fs::write(
            &history,
            "{\"index\":0,\"time\":1,\"process\":0,\"type\":\"invoke\",\"f\":\"poll\",\"value\":[[\"poll\"]]}\n{\"index\":1,\n{}\n",
        )
        .expect("write a history");
        let refused = kchaos(&["check", "--format", "json", history.to_str().expect("UTF-8")]).run();
        refused.says(ENVIRONMENT, &[&format!("{}:2:", history.display())]);
        assert_eq!(refused.stdout, "", "a malformed history says nothing on standard output");
    });
}

#[test]
#[ignore = "needs root and the lab"]
fn a_disk_without_room_for_results_is_an_error_of_the_environment() {
    nothing_is_written_by(|_, scratch| {
        full_after("32k", scratch, &[])
            .run()
            .says(ENVIRONMENT, &["no room for results in", "--results names another directory", "No space left"]);
        let late = full_after("1m", scratch, &["--rate", "4000", "--time-limit", "60s"]).run();
        late.says(ENVIRONMENT, &["No space left"]);
        assert!(!late.stderr.contains("panicked"), "{}", late.stderr);
        println!("a disk that fills up in a run: {}", last_line(&late));
    });
}

#[test]
#[ignore = "needs root and the lab"]
fn a_second_lab_a_lab_without_root_and_one_without_jars_are_refused() {
    nothing_is_written_by(|_, scratch| {
        kchaos(&["lab", "up"]).run().says(ENVIRONMENT, &["lab lab is already up", "kchaos lab down"]);

        // Nobody may read the build's directory, perhaps: a copy lies where everybody may.
        let everywhere = tempfile::tempdir().expect("a directory");
        open_to_all(everywhere.path());
        let copy = everywhere.path().join("kchaos");
        fs::copy(env!("CARGO_BIN_EXE_kchaos"), &copy).expect("copy kchaos");
        let as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy.to_str().expect("UTF-8")];
        by(&as_nobody, &["lab", "up"]).run().says(ENVIRONMENT, &["the lab needs root", "sudo"]);

        let cache = scratch.join("cache");
        fs::create_dir(&cache).expect("an empty cache");
        let without_jars = alone(&["lab", "up"]).with_env("KCHAOS_CACHE", cache.as_os_str());
        let no_repository = format!("-Dmaven.repo.local={}", scratch.join("m2").display());
        let without_jars =
            without_jars.with_env("KCHAOS_LAB_DIR", scratch.join("lab").as_os_str()).with_env("MAVEN_OPTS", no_repository.as_ref());
        without_jars.run().says(ENVIRONMENT, &["the jars of Kafka 3.9.1 are not in", "with a network", "make setup"]);
    });
}

#[test]
#[ignore = "needs root and the lab"]
fn a_lab_in_which_a_run_is_going_on_is_not_taken_down() {
    Lab::that_is_whole();
    let mut run = a_run(&["--nemesis", "pause-follower", "--faults", "1", "--nemesis-duration", "2s", "--nemesis-interval", "1s"]).start();
    run.until_a_fault_is_in_force();
    kchaos(&["lab", "down"]).run().says(ENVIRONMENT, &["holds its hosts for another", "pid ", "kchaos lab down --force"]);
    run.finish().ends_with(0);
}

/// Runs what is refused, and sees that it left the hosts as they were, and no topic.
fn nothing_is_written_by(refused: impl FnOnce(&Lab, &Path)) {
    let lab = Lab::that_is_whole();
    let scratch = Scratch::new();
    let before = (lab.footprint(), topics());
    refused(&lab, scratch.path());
    assert_eq!((lab.footprint(), topics()), before, "something was written");
}

fn topics() -> Vec<String> {
    let view = kchaos(&["status", "--format", "json"]).run().json();
    let mut names: Vec<_> = view["partitions"].as_array().into_iter().flatten().map(|partition| partition["topic"].to_string()).collect();
    names.dedup();
    names
}

/// A run that would break nothing, were it not refused.
fn a_run(arguments: &[&str]) -> Call {
    kchaos(&["test", "--progress", "none", "--time-limit", "1s"]).with_results().and(arguments)
}

/// A run whose results lie on a disk of this size, in a mount namespace of its own.
fn full_after(size: &str, scratch: &Path, more: &[&str]) -> Call {
    let results = scratch.join(format!("disk-{size}"));
    fs::create_dir_all(&results).expect("a mount point");
    let script = format!("mount -t tmpfs -o size={size} none '{}' && exec \"$0\" \"$@\"", results.display());
    let program = ["unshare", "--mount", "--propagation", "private", "sh", "-c", &script, env!("CARGO_BIN_EXE_kchaos")];
    by(&program, &["test", "--progress", "none", "--results", results.to_str().expect("UTF-8")]).and(more)
}

/// Where nobody sees the lab that is up, no network leads out, and nothing outlives the command.
fn alone(arguments: &[&str]) -> Call {
    let script = "mount -t tmpfs none /run && \"$0\" \"$@\"";
    let spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"];
    let program = spaces.into_iter().chain(["sh", "-c", script, env!("CARGO_BIN_EXE_kchaos")]).collect::<Vec<_>>();
    by(&program, arguments)
}

/// kafka1's key stands there for kafka2, and the other way round.
fn with_a_changed_host_key(lab: &Lab, scratch: &Path) -> PathBuf {
    let line = lab_line(lab, "known_hosts_file");
    let original = line.split('"').nth(1).expect("a quoted path");
    let text = fs::read_to_string(original).expect("known_hosts");
    let swapped = text.replace("10.99.0.11 ", "X ").replace("10.99.0.12 ", "10.99.0.11 ").replace("X ", "10.99.0.12 ");
    let copy = scratch.join("known_hosts");
    fs::write(&copy, swapped).expect("write known_hosts");
    lab.inventory_where(scratch, &line, &format!("known_hosts_file = \"{}\"", copy.display()))
}

/// The whole line of the lab's inventory that sets this.
fn lab_line(lab: &Lab, setting: &str) -> String {
    let text = fs::read_to_string(&lab.inventory).expect("the lab's inventory");
    text.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("no {setting}")).to_owned()
}

/// From 0.
fn line_of(file: &Path, text: &str) -> usize {
    fs::read_to_string(file).expect("a file").lines().position(|line| line.starts_with(text)).expect("the line is there")
}

fn last_line(answer: &Answer) -> &str {
    answer.stderr.lines().last().unwrap_or_default()
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("let everybody in");
}
