//! The command line from outside: what is printed, and with which exit code. Nothing here needs a cluster or root.

use std::process::{Command, Output};

fn kchaos(arguments: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().expect("a directory");
    Command::new(env!("CARGO_BIN_EXE_kchaos"))
        .args(arguments)
        .current_dir(elsewhere.path())
        .env_remove("KCHAOS_INVENTORY")
        .env("COLUMNS", "120")
        .output()
        .expect("kchaos runs")
}

/// The exit code, and words that standard error must hold.
fn check(arguments: &[&str], code: i32, words: &[&str]) {
    let output = kchaos(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?} does not say {word:?}: {stderr}");
    }
}

#[test]
fn what_is_mistyped_gets_the_nearest_name_and_254() {
    check(&["test", "--nemesis", "kill-leeder"], 254, &["kill-leeder", "did you mean kill-leader"]);
    check(&["test", "--workload", "apend"], 254, &["apend", "did you mean \"append\""]);
    check(&["test", "--bogus"], 254, &["--bogus"]);
    check(&["test", "--acks", "2"], 254, &["acks"]);
    check(&["test", "--slo", "recovry.p99<1s"], 254, &["recovry", "recovery"]);
    check(&["test", "--time-limit", "60"], 254, &["lacks a unit"]);
    check(&["test", "-X", "novalue"], 254, &["KEY=VALUE"]);
    check(&["test", "--value-bytes", "3"], 254, &["value"]);
    check(&["frobnicate"], 254, &["frobnicate"]);
}

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["--version"], &["test", "--help"], &["lab", "up", "--help"]] {
        check(arguments, 0, &[]);
    }
}

#[test]
fn the_top_of_the_help_is_as_documented() {
    let help = String::from_utf8(kchaos(&["--help"]).stdout).expect("text");
    insta::assert_snapshot!("help", help);
}

#[test]
fn the_help_of_test_is_as_documented() {
    let help = String::from_utf8(kchaos(&["test", "--help"]).stdout).expect("text");
    insta::assert_snapshot!("help-test", help);
}

#[test]
fn the_registries_are_listed() {
    let list = String::from_utf8(kchaos(&["list"]).stdout).expect("text");
    insta::assert_snapshot!("list", list);
}

#[test]
fn an_inventory_that_is_not_there_is_named() {
    check(&["status", "--inventory", "nowhere.toml"], 254, &["nowhere.toml"]);
}

#[test]
fn a_history_is_judged_from_a_file_and_the_verdict_is_the_exit_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("history.jsonl");
    let sent = r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"send","value":[["send",0,1]]}
{"index":1,"time":2,"process":0,"type":"ok","f":"send","value":[["send",0,[0,1]]]}
{"index":2,"time":3,"process":1,"type":"invoke","f":"poll","value":[["poll"]]}
"#;
    let read = r#"{"index":3,"time":4,"process":1,"type":"ok","f":"poll","value":[["poll",{"0":[[0,1]]}]]}
"#;
    let unread = r#"{"index":3,"time":4,"process":1,"type":"ok","f":"poll","value":[["poll",{}]]}
"#;
    for (last, arguments, code) in
        [(read, vec![], 0), (unread, vec![], 2), (unread, vec!["--final-read", "complete"], 1), ("nonsense\n{}\n", vec![], 3)]
    {
        std::fs::write(&file, format!("{sent}{last}")).expect("written");
        let mut all = vec!["check", "--format", "json", file.to_str().expect("a path")];
        all.extend(arguments);
        let output = kchaos(&all);
        assert_eq!(output.status.code(), Some(code), "{last}");
        // Nothing on standard output for a malformed one; an object otherwise.
        assert_eq!(output.stdout.is_empty(), code == 3);
    }
    check(&["check", file.to_str().expect("a path")], 3, &["history.jsonl:4:1", "malformed"]);
    check(&["check", "nowhere.jsonl"], 3, &["nowhere.jsonl"]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let script = format!("{} list | true", env!("CARGO_BIN_EXE_kchaos"));
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
