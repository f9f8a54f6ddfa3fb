//! The command line from outside: what is printed, and with which exit code. Nothing here needs a cluster or root.

use std::fs::File;
use std::process::{Command, Output, Stdio};

fn kchaos(arguments: &[&str]) -> Output {
    let elsewhere = tempfile::tempdir().expect("a directory");
    Command::new(env!("CARGO_BIN_EXE_kchaos"))
        .args(arguments)
        .current_dir(elsewhere.path())
        .env_remove("KCHAOS_INVENTORY")
        .env_remove("KCHAOS_CONFIG")
        .env_remove("KCHAOS_RESULTS")
        // A lab that is up is an inventory too.
        .env("KCHAOS_LAB_DIR", elsewhere.path().join("lab"))
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
fn the_help_of_synth_is_as_documented() {
    let help = String::from_utf8(kchaos(&["synth", "--help"]).stdout).expect("text");
    insta::assert_snapshot!("help-synth", help);
}

#[test]
fn a_made_up_history_is_written_and_judged_as_it_was_meant() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, arguments, code) in [
        ("clean.jsonl", &["--sends", "500"][..], 0),
        ("clean.jsonl.zst", &["--sends", "500", "-w", "groups", "--crashes", "2", "--faults", "1"], 0),
        ("clean.jsonl.gz", &["--sends", "500", "--workload", "transactions", "--base-offset", "1000000000000"], 0),
        ("clean.registers.jsonl", &["--sends", "500", "-w", "registers"], 0),
        ("lost.jsonl", &["--sends", "500", "--inject", "lost-write@0.5"], 1),
        ("torn.jsonl.zst", &["--sends", "500", "-w", "transactions", "--inject", "torn-transaction", "--inject", "G1ax3"], 1),
        ("unknown.jsonl", &["--sends", "500", "--inject", "unseen", "--final-read", "false"], 2),
    ] {
        let file = directory.path().join(name);
        let file = file.to_str().expect("a path");
        let words: &[&str] = if code == 0 { &["ops", "sends"] } else { &["ops", "before send"] };
        check(&[&["synth", "--output", file], arguments].concat(), 0, words);
        check(&["check", file], code, &[]);
    }
    let output = kchaos(&["synth", "--sends", "3"]);
    let lines = String::from_utf8(output.stdout).expect("text");
    assert!(lines.starts_with("{\"index\":0,") && lines.ends_with("}\n"), "{lines}");
}

#[test]
fn a_history_that_cannot_be_made_up_says_why() {
    check(&["synth", "--inject", "lost-wirte"], 254, &["lost-wirte", "did you mean \"lost-write\""]);
    check(&["synth", "--inject", "lost-write@2.5"], 254, &["2.5", "fraction"]);
    check(&["synth", "--inject", "lost-write@20000"], 254, &["there are 10000 sends only"]);
    check(&["synth", "--inject", "G1b"], 254, &["the workload log cannot carry G1b: transactions can"]);
    check(&["synth", "--workload", "lists"], 254, &["one of log, transactions, groups, registers"]);
    check(&["synth", "--sends", "0"], 254, &["sends 0 is out of range"]);
    check(&["synth", "--info", "1.5"], 254, &["info 1.5 is no fraction"]);
    check(&["synth", "--crashes", "1"], 254, &["the workload log has no crashes: groups has"]);
    check(&["synth", "--output", "nowhere/history.jsonl"], 3, &["nowhere/history.jsonl"]);
}

#[test]
fn the_registries_are_listed() {
    let list = String::from_utf8(kchaos(&["list"]).stdout).expect("text");
    insta::assert_snapshot!("list", list);
}

#[test]
fn the_registries_are_listed_for_programs_too() {
    let json = |arguments: &[&str]| {
        let output = kchaos(&[arguments, &["--format", "json"]].concat());
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_else(|why| panic!("{arguments:?}: {why}"))
    };
    let all = json(&["list"]);
    assert!(all["nemeses"].as_array().is_some_and(|names| names.contains(&"kill-leader".into())), "{all}");
    assert_eq!(json(&["list", "checkers"]), serde_json::json!({"checkers": all["checkers"]}));
    let cases = json(&["selftest", "--list", "--only", "unclean-election"]);
    assert_eq!((cases.as_array().map(Vec::len), cases[0]["twin"]["expect"].as_str()), (Some(1), Some("valid")), "{cases}");
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
fn what_is_shown_does_not_depend_on_the_threads_or_the_way_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("bad.jsonl");
    let name = file.to_str().expect("a path");
    // Long enough that most of it is packed before it is found.
    check(&["synth", "--sends", "20000", "--inject", "lost-write@0.1x12", "--inject", "duplicate@0.5", "--output", name], 0, &[]);
    for beside in [&[][..], &["--all"], &["--examples", "2"], &["--format", "json"]] {
        let told = |arguments: &[&str]| {
            let input = if arguments[0] == "-" { File::open(&file).expect("the history").into() } else { Stdio::null() };
            let mut command = Command::new(env!("CARGO_BIN_EXE_kchaos"));
            let output = command.arg("check").args(beside).args(arguments).stdin(input).output().expect("kchaos runs");
            assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let one = told(&[name, "--threads", "1"]);
        assert!(one.contains("lost-write") && one.contains("duplicate"), "{one}");
        for arguments in [&[name, "--threads", "8"][..], &["-", "--threads", "1"], &["-", "--threads", "8"]] {
            assert_eq!(told(arguments), one, "{beside:?} {arguments:?}");
        }
    }
    check(&["check", name, "--all", "--examples", "3"], 254, &["--all", "--examples"]);
}

#[test]
fn a_history_is_converted_in_all_directions_and_comes_back_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let lines = r#"{"index":0,"time":1,"process":0,"type":"invoke","f":"send","value":[["send",0,1]],"client":3}
{"index":1,"time":2,"process":0,"type":"ok","f":"send","value":[["send",0,[0,1]]],"client":3,"node":"b1"}
{"index":2,"time":3,"process":"nemesis","type":"info","f":"kill-leader","value":{"on":["b1"],"proof":1.5}}
{"index":3,"time":4,"process":1,"type":"ok","f":"poll","value":[["poll",{"0":[[0,1]]}]],"final":true}
"#;
    std::fs::write(path("history.jsonl"), lines).expect("written");
    let mut last = path("history.jsonl");
    for name in ["1.kch", "2.edn", "3.kch", "4.jsonl.zst", "5.edn", "6.jsonl.gz", "7.kch", "8.jsonl"] {
        check(&["convert", &last, &path(name)], 0, &[]);
        last = path(name);
    }
    assert_eq!(std::fs::read_to_string(&last).expect("converted"), lines);
    let output = kchaos(&["convert", &path("7.kch"), "-", "--to", "jsonl"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), lines);

    check(&["convert", &last, &path("7.kch")], 254, &["7.kch is there already", "--force"]);
    check(&["convert", &last, &path("7.kch"), "--force"], 0, &[]);
    check(&["convert", &last, "-"], 254, &["no format", "--to"]);
    if cfg!(feature = "parquet") {
        check(&["convert", &last, &path("table.parquet")], 0, &[]);
        assert!(std::fs::read(path("table.parquet")).expect("converted").starts_with(b"PAR1"));
    } else {
        check(&["convert", &last, &path("table.parquet")], 254, &["table.parquet", "--features parquet"]);
    }
    check(&["convert", &path("nowhere.kch"), &path("9.jsonl")], 3, &["nowhere.kch"]);

    let mut bytes = std::fs::read(path("7.kch")).expect("converted");
    let length = bytes.len();
    std::fs::write(path("cut.kch"), &bytes[..length - 12]).expect("written");
    check(&["convert", &path("cut.kch"), &path("cut.jsonl")], 0, &["cut.kch", "no end mark"]);
    check(&["convert", &path("cut.kch"), &path("cut2.kch")], 0, &["no end mark"]);
    check(&["convert", &path("cut2.kch"), "-", "--to", "edn"], 0, &["no end mark"]);
    bytes[length / 2] ^= 1;
    std::fs::write(path("bad.kch"), &bytes).expect("written");
    check(&["convert", &path("bad.kch"), &path("bad.jsonl")], 3, &["bad.kch", "malformed", "block 0 at byte 8"]);
    assert!(!directory.path().join("bad.jsonl").exists());
}

#[test]
fn every_suite_is_read_in_both_its_forms_and_says_what_it_would_do() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).expect("suites") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            continue;
        }
        let output = kchaos(&["suite", path.to_str().expect("a path"), "--check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("kchaos lab up"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    for name in ["compose", "fabric-hosts", "fabric-order", "systemd-hosts"] {
        assert!(names.iter().any(|have| have == name), "{names:?}");
    }
}

#[test]
fn the_corpus_is_listed_with_what_would_be_done_and_an_unknown_case_is_refused() {
    let output = kchaos(&["selftest", "--list", "--only", "power-loss-of-all"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("bad   Kafka 3.9.1, invalid: kchaos test --"), "{said}");
    assert!(said.contains("twin  Kafka 3.9.1, valid: kchaos test --") && !said.contains("read-uncommitted"), "{said}");
    check(&["selftest", "--only", "power-los-of-all"], 254, &["there is no such case", "power-loss-of-all"]);
    check(&["selftest", "--cases", "/nowhere"], 254, &["/nowhere"]);
}

#[test]
fn what_cannot_be_shrunk_is_refused_with_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = directory.path().to_str().expect("a path");
    check(&["shrink", "/nowhere"], 254, &["/nowhere", "plan.json", "is it a run's directory?"]);
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("written");
    write("plan.json", r#"{"steps": [{"step": "restart"}]}"#);
    check(&["shrink", run], 254, &["a run with steps cannot be shrunk"]);
    write("plan.json", r#"{"command": ["kchaos", "test"]}"#);
    check(&["shrink", run], 254, &["verdict.json", "cut off"]);
    write("verdict.json", r#"{"exit_code": 2}"#);
    check(&["shrink", run], 254, &["it did not fail (it ended unknown)"]);
    write("verdict.json", r#"{"exit_code": 1, "anomalies": {"lost-write": {"count": 3, "examples": []}}}"#);
    check(&["shrink", run, "--anomaly", "duplicate"], 254, &["the run was found to have lost-write"]);
}

#[test]
fn coverage_counts_the_runs_of_a_directory_and_names_what_never_was_tried() {
    let directory = tempfile::tempdir().expect("a directory");
    let results = directory.path().to_str().expect("a path");
    check(&["coverage", results], 254, &["holds no run that came to its verdict"]);
    check(&["coverage", "/nowhere"], 254, &["cannot read /nowhere"]);
    let run = directory.path().join("20261123T000000Z-suite-x/runs/20261123T000001Z-append-kill-leader");
    std::fs::create_dir_all(&run).expect("a directory");
    std::fs::write(run.join("plan.json"), "{}").expect("written");
    let met = r#""isr_shrunk": "no", "election": "yes", "transaction": "no", "rebalance": "unknown""#;
    let verdict = format!(r#"{{"faults": {{"in_force": 1}}, "coverage": [{{"fault_id": 1, "nemesis": "kill-leader", {met}}}]}}"#);
    std::fs::write(run.join("verdict.json"), verdict).expect("written");
    let said = |arguments: &[&str]| String::from_utf8(kchaos(arguments).stdout).expect("text");
    let text = said(&["coverage", results]);
    assert!(text.starts_with("1 faults in force, in 1 runs") && text.contains("never exercised: "), "{text}");
    let json: serde_json::Value = serde_json::from_str(&said(&["coverage", results, "--format", "json"])).expect("JSON");
    assert_eq!(json["exercised"][0]["election"], "yes", "{json}");
    assert!(json["never"].as_array().is_some_and(|never| !never.contains(&"kill-leader".into()) && never.contains(&"pause-leader".into())));
}

#[test]
fn what_is_wrong_with_a_suite_is_told_with_its_line_before_anything_is_done() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("mine.toml");
    let file = file.to_str().expect("a path");
    std::fs::write(file, "[lab]\nbrokers = 3\n\n[[step]]\ndo = \"status\"\nexpekt = {}\n").expect("written");
    check(&["suite", file], 254, &["mine.toml:6:1: unknown key `expekt`"]);
    std::fs::write(file, "[[step]]\ndo = \"status\"\n").expect("written");
    check(&["suite", file, "--inventory", "nowhere.toml", "--only", "statsu"], 254, &["statsu", "did you mean \"status\""]);
    check(&["suite", "nowhere.toml"], 254, &["nowhere.toml"]);
}

#[test]
fn what_cannot_be_peeked_into_says_why() {
    check(&["peek", "orders"], 254, &["TOPIC:PARTITION"]);
    check(&["peek", "orders:0", "--from", "latest"], 254, &["earliest"]);
    check(&["peek", "orders:0", "--inventory", "nowhere.toml"], 254, &["nowhere.toml"]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    for command in ["list", "synth --sends 100000"] {
        let script = format!("{} {command} | true", env!("CARGO_BIN_EXE_kchaos"));
        let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
    }
}

#[test]
fn runs_that_are_not_there_or_half_written_are_told_and_nothing_goes_without_yes() {
    let results = tempfile::tempdir().expect("a directory");
    let path = results.path().to_str().expect("a path").to_owned();
    let at = |name: &str, file: &str, text: &str| {
        let run = results.path().join(name);
        std::fs::create_dir_all(&run).expect("a run");
        std::fs::write(run.join(file), text).expect("a file");
    };
    let list = |arguments: &[&str]| kchaos(&[&["runs", "list", "--results", &path], arguments].concat());
    assert!(String::from_utf8_lossy(&list(&[]).stdout).contains("holds no run yet"));
    at("20261101T020000Z-append-none", "plan.json", r#"{"run_id":"a","workload":"append"}"#);
    at("20261101T020000Z-append-none", "verdict.json", r#"{"valid":true,"sentence":"All 9 acknowledged writes were read back."}"#);
    at("20261102T020000Z-append-none", "plan.json", r#"{"run_id":"b","wor"#);
    let json: serde_json::Value = serde_json::from_slice(&list(&["--format", "json"]).stdout).expect("JSON");
    let verdicts: Vec<_> = json["runs"].as_array().expect("runs").iter().map(|run| run["verdict"].as_str()).collect();
    assert_eq!(verdicts, [Some("broken"), Some("valid")]);
    assert!(String::from_utf8_lossy(&list(&["--verdict", "invalid"]).stdout).contains("none of 2 runs"));
    check(&["runs", "list", "--results", "/nowhere"], 254, &["/nowhere"]);
    check(&["runs", "list", "--results", &path, "--verdict", "invlid"], 254, &["invlid", "did you mean"]);
    check(&["runs", "info", "20261103", "--results", &path], 254, &["20261103", "the nearest"]);
    check(&["runs", "prune", "--results", &path], 254, &["--keep"]);
    check(&["runs", "prune", "--results", &path, "--keep", "0"], 0, &[]);
    assert_eq!(list(&[]).stdout.iter().filter(|byte| **byte == b'\n').count(), 5, "nothing is gone");
    check(&["runs", "prune", "--results", &path, "--keep", "0", "--yes"], 0, &[]);
    assert!(!results.path().join("20261101T020000Z-append-none").exists());
    assert!(results.path().join("20261102T020000Z-append-none").exists(), "what failed stays");
    let archive = results.path().join("run.tar.gz");
    let archive = archive.to_str().expect("a path");
    check(&["runs", "export", "20261102", "--results", &path, "-o", archive], 0, &[]);
    check(&["runs", "export", "20261102", "--results", &path, "-o", archive], 254, &["--force"]);
}

#[test]
fn what_cannot_be_compared_or_served_is_refused_with_why() {
    let results = tempfile::tempdir().expect("a directory");
    let path = results.path().to_str().expect("a path").to_owned();
    let at = |name: &str, plan: &str, verdict: &str| {
        let run = results.path().join(name);
        std::fs::create_dir_all(&run).expect("a run");
        std::fs::write(run.join("plan.json"), plan).expect("a plan");
        std::fs::write(run.join("verdict.json"), verdict).expect("a verdict");
    };
    let recovered = |ns: u64| {
        let quantiles = format!(r#"{{"p50_ns":{ns},"p95_ns":{ns},"p99_ns":{ns},"max_ns":{ns}}}"#);
        format!(r#"{{"valid":true,"recovery":{{"phases":{{"recovery":{{"n":3,"unseen":0,"middle":{quantiles}}}}}}}}}"#)
    };
    at("20261101T020000Z-append-none", r#"{"run_id":"a","workload":"append"}"#, &recovered(2_000_000_000));
    at("20261102T020000Z-append-none", r#"{"run_id":"b","workload":"append"}"#, &recovered(3_000_000_000));
    at("20261103T020000Z-queue-none", r#"{"run_id":"c","workload":"queue"}"#, r#"{"valid":"unknown","exit_code":2}"#);
    let compare =
        |arguments: &[&str], code: i32, words: &[&str]| check(&[&["compare", "--results", &path], arguments].concat(), code, words);
    compare(&["20261101", "20261102"], 0, &[]);
    compare(&["20261101", "20261102", "--format", "json", "--fail-on", "recovery.p99:+60%"], 0, &[]);
    compare(&["20261101", "20261102", "--fail-on", "recovery.p99:+20%"], 6, &[]);
    compare(&["--baseline", &path, "20261102", "--fail-on", "recovery.p50:+20%"], 6, &["1 of 3 runs"]);
    compare(&["20261101", "20261102", "--fail-on", "recovery.p98:+20%"], 254, &["recovery.p98", "did you mean"]);
    compare(&["20261101", "20261102", "--fail-on", "recovery.p99:20%"], 254, &["at character 14"]);
    compare(&["20261101", "queue"], 254, &["another workload", "is unknown", "--anyway"]);
    compare(&["20261101", "queue", "--anyway"], 0, &[]);
    compare(&["20261101", "20261101"], 254, &["nothing to hold"]);
    compare(&["20261101"], 254, &["nothing to hold"]);
    compare(&["20261101", "20261109"], 254, &["20261109", "the nearest"]);
    check(&["serve", "--results", "/nowhere"], 254, &["/nowhere"]);
    check(&["serve", "--results", &path, "--listen", "0.0.0.0:0"], 254, &["--to-anybody", "ssh -L"]);
    check(&["serve", "--results", &path, "--listen", "here"], 254, &["--listen"]);
}

const PRESETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/kchaos-config.toml");

/// What is printed, with the file under its own name alone.
fn of_presets(arguments: &[&str]) -> String {
    let output = kchaos(&[arguments, &["--config", PRESETS]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .expect("text")
        .replace(PRESETS, "kchaos-config.toml")
        .replace(PRESETS.trim_end_matches("kchaos-config.toml"), "")
}

#[test]
fn the_presets_that_come_with_kchaos_are_right() {
    assert_eq!(of_presets(&["config", "check"]), "kchaos-config.toml: 3 presets, each is one that kchaos test takes\n");
    insta::assert_snapshot!("config-list", of_presets(&["config", "list"]));
}

#[test]
fn each_option_is_shown_with_whoever_said_it() {
    let typed = ["--preset", "nightly", "--rate", "500", "--inventory", "here.toml", "-X", "sasl.password=hidden"];
    insta::assert_snapshot!("config-show", of_presets(&[&["config", "show", "--origin"][..], &typed].concat()));
    let all = of_presets(&["config", "show", "--preset", "nightly", "--all", "--format", "json"]);
    let all: serde_json::Value = serde_json::from_str(&all).expect("JSON");
    let rate = all.as_array().expect("a list").iter().find(|one| one["option"] == "rate").expect("a rate");
    assert_eq!((&rate["values"][0], &rate["origin"], &rate["preset"]), (&"2000".into(), &"preset".into(), &"staging".into()));
}

#[test]
fn a_preset_that_is_wrong_is_254_and_told_where() {
    check(&["test", "--preset", "nightly"], 254, &["kchaos-config.toml", "docs/presets.md"]);
    check(&["test", "--preset", "nigthly", "--config", PRESETS], 254, &["did you mean \"nightly\""]);
    check(&["config", "show", "--nemesis", "kill-leeder"], 254, &["did you mean kill-leader"]);
}
