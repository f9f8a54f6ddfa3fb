//! docs/workloads.md: each workload with what it does, what it proves, its flags, what it may find, and commands.

use std::fmt::Write as _;

use clap::{Arg, CommandFactory, Parser};
use kchaos_workloads::Spec;

use super::{cell, hold};
use crate::cli::Cli;

/// What no registry knows of a workload.
struct Told {
    name: &'static str,
    proves: &'static str,
    finds: &'static [&'static str],
    commands: &'static [(&'static str, &'static str)],
    more: &'static str,
}

const TOLD: &[Told] = &[
    Told {
        name: "append",
        proves: "That a plain topic keeps what it acknowledged, once, in order, and shows everybody the same; and how long each partition took no writes. Begin here: whatever a fault does to a cluster, it does to this.",
        finds: &["lost-write", "unseen", "duplicate", "inconsistent-offsets", "reordered", "poll-skip", "G1a", "phantom"],
        commands: &[
            ("kchaos test --workload append --nemesis kill-leader", "a minute of leader kills"),
            ("kchaos test --acks 1 --idempotence false --nemesis deposed-leader", "what acks=1 costs: ends with exit code 1"),
            (
                "kchaos test --workload append --nemesis pause-leader --client java",
                "with Java's producers, so that a finding is laid at the right door",
            ),
        ],
        more: "[Whose clients, and where](clients.md)",
    },
    Told {
        name: "queue",
        proves: "That a consumer group processes every acknowledged record although members crash, pause and are replaced; and with `--exactly-once` that it makes one output of each. What is done again is counted.",
        finds: &["unprocessed", "redelivered", "processed-twice", "commit-regression", "offsets-expired"],
        commands: &[
            ("kchaos test --workload queue --nemesis kill-group-coordinator", "the broker that keeps the group's place"),
            (
                "kchaos test --workload queue --exactly-once --nemesis kill-txn-coordinator",
                "consume, transform and produce in one transaction",
            ),
            ("kchaos test --workload queue --group-commit auto --group-crash-every 5s", "what auto-commit costs: ends with exit code 1"),
        ],
        more: "",
    },
    Told {
        name: "transactions",
        proves: "That readers of committed see all of a committed transaction or nothing, nothing of an aborted one, nothing before its commit; that fenced producers are not heard; and that no transaction hangs.",
        finds: &["G1a", "dirty-read", "torn-transaction", "G1b", "lso-passed", "lso-stall", "G1c", "precommitted-read"],
        commands: &[
            ("kchaos test --workload transactions --nemesis kill-txn-coordinator", "the broker that decides"),
            ("kchaos test --workload transactions --isolation read_uncommitted", "what read_uncommitted shows: ends with exit code 1"),
        ],
        more: "",
    },
    Told {
        name: "order",
        proves: "That all who read a partition see one order, whatever their start, and cut the same blocks of it; with records from 100 bytes to 99 MiB.",
        finds: &["total-order-disagreement", "reordered", "lost-write", "duplicate"],
        commands: &[(
            "kchaos test --workload order --nemesis kill-leader,partition-halves --time-limit 120s",
            "leaders killed, and the cluster in two halves",
        )],
        more: "[The workload `order`](order.md)",
    },
    Told {
        name: "bank",
        proves: "That transfers of two balances are done whole or not at all, and that the last record of each key of a compacted topic is kept.",
        finds: &["balance-changed", "torn-transaction", "lost-write"],
        commands: &[
            ("kchaos test --workload bank --nemesis kill-leader", "processes crash in the middle of transfers as well"),
            ("kchaos test --workload bank --bank-without-transactions", "what two sends cost: ends with exit code 1"),
        ],
        more: "",
    },
    Told {
        name: "register",
        proves: "What ZooKeeper promises its sessions: writes and compare-and-sets linearizable by version, a session never shown less than before, watches once and in time, ephemerals as long as their session, sequential numbers once and in order. ZooKeeper's only; a cluster without one refuses it.",
        finds: &["nonlinearizable", "watch-violation", "ephemeral-violation", "sequence-violation"],
        commands: &[
            ("kchaos test --workload register --nemesis kill-zk-leader", "sessions move between servers"),
            (
                "kchaos test --workload register --unversioned-cas",
                "what a compare-and-set without its version costs: ends with exit code 1",
            ),
        ],
        more: "",
    },
    Told {
        name: "elections",
        proves: "That no write is lost while the cluster itself is changed all the time, that acknowledged changes are what every broker tells in the end, and how long brokers still told the old state.",
        finds: &["change-lost", "lost-write", "two-controllers", "config-reverted"],
        commands: &[("kchaos test --workload elections --nemesis kill-controller", "who decides dies while it decides")],
        more: "[How long elections take](elections.md)",
    },
    Told {
        name: "offsets",
        proves: "That what leaders tell of their logs is so: bounds do not go back, nothing is gone that was to be kept, a time finds its first record. On topics of which parts go away.",
        finds: &["offset-regression", "expired-early", "lookup-wrong"],
        commands: &[("kchaos test --workload offsets --nemesis kill-leader,move-leader", "new leaders, asked for old bounds")],
        more: "",
    },
    Told {
        name: "soak",
        proves: "The same as its parts, each as if it were alone, for hours; and that kchaos itself does not grow.",
        finds: &["lost-write", "unprocessed", "torn-transaction", "total-order-disagreement"],
        commands: &[("kchaos test --workload soak --soak-mix append,queue,transactions,order --nemesis all --time-limit 8h", "a night")],
        more: "",
    },
];

const HEAD: &str = "\
# Workloads

What clients do to the cluster while it is broken: `kchaos test --workload NAME`. Each stands here with what it proves, what it is driven with where nothing is told, the flags that are its own, and what it may find
beside what all may find ([anomalies](anomalies.md)). Every run ends with final reads of every partition, from its start to the end that its leader tells.

One's own: [how to write a workload](write-a-workload.md).

";

fn page() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("| workload | what clients do |\n|---|---|\n");
    for spec in kchaos_workloads::ALL {
        let _ = writeln!(text, "| [`{0}`](#{0}) | {1} |", spec.name, cell(spec.about));
    }
    for spec in kchaos_workloads::ALL {
        section(&mut text, spec);
    }
    text.push_str("\n## Flags of all workloads\n\nUnder which name and with which default each stands is `kchaos test --help`'s to say; these are the flags of the load.\n\n");
    table(&mut text, |heading, _| heading == "Load");
    text
}

fn section(text: &mut String, spec: &Spec) {
    let name = spec.name;
    let _ = writeln!(text, "\n## `{name}`\n\n{}.\n", capital(spec.about));
    let told = TOLD.iter().find(|told| told.name == name);
    match told {
        Some(told) => {
            let _ = writeln!(text, "**It proves**: {}\n", told.proves);
            let finds: Vec<_> = told.finds.iter().map(|name| format!("[`{name}`](anomalies.md#{})", name.to_lowercase())).collect();
            let _ = writeln!(text, "**It may find**, first of all: {}.\n", finds.join(", "));
        }
        None => text.push_str("What it proves is not told yet: `src/book/workloads.rs`.\n\n"),
    }
    let load = spec.load;
    let _ = writeln!(
        text,
        "**Driven with** {} ops a second, {} producers, {} consumers, where nothing else is told.\n",
        load.rate, load.producers, load.consumers
    );
    for (command, what) in told.map_or(&[][..], |told| told.commands) {
        let _ = writeln!(text, "- `{command}`: {what}");
    }
    if let Some(more) = told.map(|told| told.more).filter(|more| !more.is_empty()) {
        let _ = writeln!(text, "\nMore: {more}.");
    }
    let own = |heading: &str, help: &str| is_of(name, heading, help);
    let mut flags = String::new();
    table(&mut flags, own);
    if flags.lines().count() > 2 {
        let _ = write!(text, "\n{flags}");
    }
}

/// Whether a flag is this workload's own: by the heading that it stands under, or by what its help begins with.
fn is_of(workload: &str, heading: &str, help: &str) -> bool {
    let by_heading = match heading {
        "Transactions" => workload == "transactions",
        "Registers in ZooKeeper" => workload == "register",
        "Load" => false,
        heading => heading.ends_with(&format!("(workload {workload})")),
    };
    let of = help.split_once([':', '[']).map_or("", |(of, _)| of);
    let by_words = heading == "Load" && of.starts_with("Of the workload") && of.split([' ', ',']).any(|word| word == workload);
    by_heading || by_words
}

fn table(text: &mut String, wanted: impl Fn(&str, &str) -> bool) {
    text.push_str("| flag | default | what |\n|---|---|---|\n");
    let mut command = Cli::command();
    // Only then it is known which flags take a value.
    command.build();
    let test = command.find_subcommand("test").expect("kchaos test");
    for arg in test.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let help = help(arg);
        let (Some(heading), Some(long)) = (arg.get_help_heading(), arg.get_long()) else { continue };
        if wanted(heading, &help) {
            let default =
                arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(" ");
            let default = if arg.get_num_args().is_some_and(|count| count.takes_values()) { default } else { "off".to_owned() };
            let _ = writeln!(text, "| `--{long}` | {default} | {} |", cell(&help));
        }
    }
}

fn help(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[test]
fn the_page_of_the_workloads_is_what_the_registry_says() {
    hold("workloads.md", &page(), "the_page_of_the_workloads");
}

#[test]
fn what_is_told_of_a_workload_is_of_one_that_is_there_and_its_commands_are_understood() {
    for told in TOLD {
        assert!(kchaos_workloads::find(told.name).is_some(), "{}", told.name);
        for name in told.finds {
            assert!(crate::report::anomalies::ANOMALIES.iter().any(|anomaly| anomaly.name == *name), "{name}");
        }
        for (command, _) in told.commands {
            let parsed = Cli::try_parse_from(command.split(' '));
            assert!(parsed.is_ok(), "{command}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }
}
