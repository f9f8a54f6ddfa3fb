//! The table of docs/mutants.md is what docs/mutants.jsonl says, and no mutant survived without a reason.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const BEGIN: &str = "<!-- table: made of docs/mutants.jsonl by KCHAOS_WRITE_DOCS=1 cargo test the_table_of_the_mutants -->\n";
const END: &str = "<!-- end of table -->";

/// What no test can notice, since nothing is wrong then.
const EQUIVALENT: &[(&str, &str)] = &[
    ("forgives:G1c/with-ww", BY_ALL),
    ("forgives:G1c-process/with-ww", BY_ALL),
    ("forgives:G1c-realtime/with-ww", BY_ALL),
    ("forgives:precommitted-read/uncommitted", BY_ALL),
];
const BY_ALL: &str = "every profile allows it, so there is nothing to forgive";

/// A line that `scripts/mutants.sh` writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "for people")]
struct Record {
    date: String,
    mutant: String,
    /// `None`: it survived.
    noticed_by: Option<String>,
    failed: u64,
    executables_asked: u64,
}

impl Record {
    fn kind(&self) -> &str {
        self.mutant.split(':').next().unwrap_or_default()
    }

    /// The file, without the test.
    fn file(&self) -> Option<&str> {
        self.noticed_by.as_deref().and_then(|by| by.split(':').next())
    }

    fn why_equivalent(&self) -> Option<&'static str> {
        EQUIVALENT.iter().find(|(name, _)| *name == self.mutant).map(|(_, why)| *why)
    }
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn records() -> Vec<Record> {
    let text = std::fs::read_to_string(docs("mutants.jsonl")).expect("docs/mutants.jsonl");
    let of_line = |(number, line)| serde_json::from_str(line).unwrap_or_else(|error| panic!("docs/mutants.jsonl:{number}: {error}"));
    (1..).zip(text.lines()).map(of_line).collect()
}

fn table(records: &[Record]) -> String {
    let mut kinds: Vec<&str> = Vec::new();
    for record in records.iter().map(Record::kind) {
        if !kinds.contains(&record) {
            kinds.push(record);
        }
    }
    kinds.sort_unstable();
    let mut text = String::from("| kind | mutants | noticed | survived | first noticed by |\n|---|---|---|---|---|\n");
    for kind in kinds {
        let of_kind: Vec<&Record> = records.iter().filter(|record| record.kind() == kind).collect();
        let noticed = of_kind.iter().filter(|record| record.noticed_by.is_some()).count();
        let mut files: BTreeMap<&str, usize> = BTreeMap::new();
        for file in of_kind.iter().filter_map(|record| record.file()) {
            *files.entry(file).or_default() += 1;
        }
        let mut files: Vec<(&str, usize)> = files.into_iter().collect();
        files.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let files: Vec<String> = files.iter().map(|(file, count)| format!("{file} {count}")).collect();
        let _ = writeln!(text, "| `{kind}` | {} | {noticed} | {} | {} |", of_kind.len(), of_kind.len() - noticed, files.join(", "));
    }
    let survivors: Vec<&Record> = records.iter().filter(|record| record.noticed_by.is_none()).collect();
    if !survivors.is_empty() {
        text.push_str("\n| survived | why |\n|---|---|\n");
        for record in survivors {
            let _ = writeln!(text, "| `{}` | {} |", record.mutant, record.why_equivalent().unwrap_or("**a hole**"));
        }
    }
    text
}

#[test]
fn the_table_of_the_mutants_is_what_the_records_say() {
    let expected = table(&records());
    let page = std::fs::read_to_string(docs("mutants.md")).expect("docs/mutants.md");
    let (before, rest) = page.split_once(BEGIN).expect("the table begins");
    let (now, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("KCHAOS_WRITE_DOCS").is_some() {
        std::fs::write(docs("mutants.md"), format!("{before}{BEGIN}{expected}{END}{after}")).expect("written");
    } else {
        assert!(now == expected, "docs/mutants.md is not what the records say: KCHAOS_WRITE_DOCS=1 cargo test the_table_of_the_mutants");
    }
}

#[test]
fn no_mutant_survived_without_a_reason() {
    let holes: Vec<String> = records()
        .into_iter()
        .filter(|record| record.noticed_by.is_none() && record.why_equivalent().is_none())
        .map(|record| record.mutant)
        .collect();
    assert!(holes.is_empty(), "no test notices {holes:?}");
}

#[test]
fn what_is_called_equivalent_survived() {
    let records = records();
    for (name, _) in EQUIVALENT {
        let record = records.iter().find(|record| record.mutant == *name);
        assert!(record.is_some_and(|record| record.noticed_by.is_none()), "{name} is called equivalent and did not survive");
    }
}
