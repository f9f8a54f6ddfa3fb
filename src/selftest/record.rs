//! What was seen of the corpus, run by run (docs/known-bad.jsonl), and the table of docs/known-bad.md that is made of it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use super::case::Case;
use super::judge::{Came, counted};
use crate::exit::{self, Failure};

/// A run of one form.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) date: String,
    pub(crate) case: String,
    /// `bad` or `twin`.
    pub(crate) form: String,
    pub(crate) kafka: String,
    pub(crate) kchaos: String,
    /// The run's name, which has its time.
    pub(crate) run: String,
    pub(crate) came: Came,
    pub(crate) found: BTreeMap<String, u64>,
    pub(crate) took_s: u64,
}

/// Behind what is there.
pub(super) fn append(path: &Path, record: &Record) -> anyhow::Result<()> {
    use std::io::Write as _;
    let spoken = || format!("write {}", path.display());
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).with_context(spoken)?;
    file.write_all(&line).with_context(spoken)
}

/// All of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Record>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(anyhow!("{}: {error}", path.display())))?;
    let of_line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| Failure::usage(anyhow!("{}:{number}: no line of --record: {error}", path.display())))
    };
    (1..).zip(text.lines()).map(of_line).collect()
}

/// In Markdown: a line for each case. What proved nothing counts for neither side, and is told.
pub(crate) fn table(cases: &[Case], records: &[Record]) -> String {
    let mut text = String::from(
        "| case | what is wrong | versions | seen on | caught | found the last time | twin clean | last |\n|---|---|---|---|---|---|---|---|\n",
    );
    for case in cases {
        let of = |form: &str| records.iter().filter(|record| record.case == case.name && record.form == form).collect::<Vec<_>>();
        let (bad, twin) = (of("bad"), of("twin"));
        let rate = |of: &[&Record]| {
            let count = |came: Came| of.iter().filter(|record| record.came == came).count();
            let unproved = count(Came::Unproved);
            let of_all = format!("{} of {}", count(Came::AsExpected), of.len() - unproved);
            if unproved == 0 { of_all } else { format!("{of_all} ({unproved} proved nothing)") }
        };
        let mut kafka: Vec<&str> = bad.iter().map(|record| record.kafka.as_str()).collect();
        kafka.sort_unstable();
        kafka.dedup();
        let caught = bad.iter().rev().find(|record| record.came == Came::AsExpected);
        let last = bad.iter().chain(&twin).map(|record| record.date.as_str()).max().unwrap_or("never");
        let _ = writeln!(
            text,
            "| `{}` | {} ({}) | {} | {} | {} | {} | {} | {last} |",
            case.name,
            case.wrong.trim_end_matches('.'),
            case.reference,
            case.versions,
            kafka.join("; "),
            rate(&bad),
            caught.map_or_else(String::new, |record| found(case, record)),
            rate(&twin),
        );
    }
    text
}

/// What is measured against a promise has its figure in the run.
fn found(case: &Case, record: &Record) -> String {
    match counted(&record.found) {
        none if none.is_empty() && case.bad.expect == exit::THRESHOLD => "a promise of time was broken, and nothing else".to_owned(),
        counts => counts,
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::built_in;
    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/known-bad.md");
    const RECORDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/known-bad.jsonl");
    const BEGIN: &str = "<!-- table: made of docs/known-bad.jsonl by KCHAOS_WRITE_DOCS=1 cargo test the_table_of_the_corpus -->\n";
    const END: &str = "<!-- end of table -->";

    #[test]
    fn the_table_of_the_corpus_is_what_the_cases_and_the_records_say() {
        let records = read(Path::new(RECORDS)).unwrap_or_else(|failure| panic!("{failure}"));
        let cases = built_in().unwrap_or_else(|failure| panic!("{failure}"));
        let expected = table(&cases, &records);
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the table begins");
        let (now, after) = rest.split_once(END).expect("the table ends");
        if std::env::var_os("KCHAOS_WRITE_DOCS").is_some() {
            std::fs::write(PAGE, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        } else {
            assert!(
                now == expected,
                "docs/known-bad.md is not what the records say: KCHAOS_WRITE_DOCS=1 cargo test the_table_of_the_corpus"
            );
        }
    }

    #[test]
    fn every_line_of_a_record_conforms() {
        let mut records = read(Path::new(RECORDS)).unwrap_or_else(|failure| panic!("{failure}"));
        records[0].came = Came::Accused;
        records[1].came = Came::Unproved;
        records.iter().for_each(|record| crate::schema::conform::assert_conforms("selftest-record", &serde_json::json!(record)));
    }

    #[test]
    fn what_proved_nothing_counts_for_neither_side() {
        let case = &built_in().unwrap_or_else(|failure| panic!("{failure}"))[0];
        let record = |form: &str, came| Record {
            date: "2026-11-22".into(),
            case: case.name.clone(),
            form: form.into(),
            kafka: "3.9.1".into(),
            kchaos: "0.1.0".into(),
            run: String::new(),
            came,
            found: BTreeMap::from([("lost-write".to_owned(), 3)]),
            took_s: 40,
        };
        let records =
            [record("bad", Came::AsExpected), record("bad", Came::Unproved), record("bad", Came::Missed), record("twin", Came::AsExpected)];
        let table = table(std::slice::from_ref(case), &records);
        let line = table.lines().last().unwrap();
        assert!(line.ends_with("| 3.9.1 | 1 of 2 (1 proved nothing) | 3 lost-write | 1 of 1 | 2026-11-22 |"), "{line}");
    }
}
