//! A case: one file, read strictly, with everything resolved that can be without a cluster.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::anyhow;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit::{self, Failure};
use crate::run::nearest;
use crate::suite::file::{self, Trouble, span_of};
use crate::suite::options;

/// What `kchaos selftest` does without being told of other files: a line for each file.
const BUILT_IN: &[(&str, &str)] = &[
    ("acks-1-deposed-leader", include_str!("../../suites/known-bad/acks-1-deposed-leader.toml")),
    ("acks-1-followers-paused", include_str!("../../suites/known-bad/acks-1-followers-paused.toml")),
    ("auto-commit-crash", include_str!("../../suites/known-bad/auto-commit-crash.toml")),
    ("client-blackout", include_str!("../../suites/known-bad/client-blackout.toml")),
    ("exactly-once-unsafe", include_str!("../../suites/known-bad/exactly-once-unsafe.toml")),
    ("follower-lets-wait", include_str!("../../suites/known-bad/follower-lets-wait.toml")),
    ("hanging-transaction", include_str!("../../suites/known-bad/hanging-transaction.toml")),
    ("last-replica-standing", include_str!("../../suites/known-bad/last-replica-standing.toml")),
    ("late-end-of-transaction", include_str!("../../suites/known-bad/late-end-of-transaction.toml")),
    ("late-end-of-transaction-2.8", include_str!("../../suites/known-bad/late-end-of-transaction-2.8.toml")),
    ("late-end-of-transaction-4.1", include_str!("../../suites/known-bad/late-end-of-transaction-4.1.toml")),
    ("offsets-expire-early", include_str!("../../suites/known-bad/offsets-expire-early.toml")),
    ("overrides-reset", include_str!("../../suites/known-bad/overrides-reset.toml")),
    ("power-loss-of-all", include_str!("../../suites/known-bad/power-loss-of-all.toml")),
    ("read-uncommitted", include_str!("../../suites/known-bad/read-uncommitted.toml")),
    ("reset-to-latest", include_str!("../../suites/known-bad/reset-to-latest.toml")),
    ("restart-inside-session", include_str!("../../suites/known-bad/restart-inside-session.toml")),
    ("retries-without-idempotence", include_str!("../../suites/known-bad/retries-without-idempotence.toml")),
    ("transfers-without-transactions", include_str!("../../suites/known-bad/transfers-without-transactions.toml")),
    ("two-controllers", include_str!("../../suites/known-bad/two-controllers.toml")),
    ("unclean-election", include_str!("../../suites/known-bad/unclean-election.toml")),
    ("unclean-election-kraft", include_str!("../../suites/known-bad/unclean-election-kraft.toml")),
    ("unversioned-compare-and-set", include_str!("../../suites/known-bad/unversioned-compare-and-set.toml")),
    ("zombie-leader", include_str!("../../suites/known-bad/zombie-leader.toml")),
];

/// Something known to be wrong, and its safe twin.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// In a sentence.
    pub(crate) wrong: String,
    /// Which versions have it.
    pub(crate) versions: String,
    pub(crate) reference: String,
    pub(crate) bad: Form,
    pub(crate) twin: Form,
}

/// One of the two: a lab, a run in it, and what is to come of it.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    /// What `kchaos lab up` is told.
    pub(crate) lab: Vec<String>,
    /// What `kchaos test` is told.
    pub(crate) words: Vec<String>,
    /// The exit code.
    pub(crate) expect: u8,
    /// Each of these anomalies, so many.
    pub(crate) find: BTreeMap<String, Bound>,
    /// At least one of these.
    pub(crate) find_any: Vec<String>,
    /// Faults at exact times and steps, if the recipe has them: a plan file.
    pub(crate) plan: Option<String>,
    /// Runs until it is caught: more than one where it is a matter of luck.
    pub(crate) attempts: u32,
}

/// How many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Bound {
    #[serde(default = "one")]
    pub(crate) at_least: u64,
    pub(crate) at_most: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    wrong: String,
    versions: String,
    reference: String,
    #[serde(rename = "lab")]
    _lab: Option<IgnoredAny>,
    #[serde(rename = "bad")]
    _bad: IgnoredAny,
    #[serde(rename = "twin")]
    _twin: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    expect: Option<Spanned<String>>,
    #[serde(default)]
    find: BTreeMap<Spanned<String>, Bound>,
    #[serde(default)]
    find_any: Vec<Spanned<String>>,
    #[serde(default = "one")]
    attempts: u32,
}

fn one<T: From<u8>>() -> T {
    1.into()
}

/// Those that are part of this executable.
pub(crate) fn built_in() -> Result<Vec<Case>, Failure> {
    BUILT_IN.iter().map(|(name, text)| checked(name, text, &Path::new("suites/known-bad").join(format!("{name}.toml")))).collect()
}

/// Those of a directory.
pub(crate) fn load(directory: &Path) -> Result<Vec<Case>, Failure> {
    let trouble = |path: &Path, error: std::io::Error| Failure::usage(anyhow!("{}: {error}", path.display()));
    let entries = std::fs::read_dir(directory).map_err(|error| trouble(directory, error))?;
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    if paths.is_empty() {
        return Err(Failure::usage(anyhow!("{}: no case in it (*.toml)", directory.display())));
    }
    let mut cases = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).map_err(|error| trouble(&path, error))?;
        cases.push(checked(&path.file_stem().unwrap_or_default().to_string_lossy(), &text, &path)?);
    }
    Ok(cases)
}

fn checked(name: &str, text: &str, path: &Path) -> Result<Case, Failure> {
    parse(name, text).map_err(|troubles| Failure::usage(anyhow!("{}", file::told(path, text, &troubles))))
}

fn parse(name: &str, text: &str) -> Result<Case, Vec<Trouble>> {
    let document = DeTable::parse(text).map_err(|error| vec![Trouble::of(&error, &(0..0))])?;
    let root = document.get_ref();
    let head: Head = file::read(root.clone(), &document.span()).map_err(|trouble| vec![trouble])?;
    let lab = table(root, "lab", "lab")?.map(|(_, lab)| lab.clone()).unwrap_or_default();
    let form = |key: &str, expect| -> Result<Form, Vec<Trouble>> {
        let (span, own) = table(root, key, key)?.ok_or_else(|| vec![Trouble::at(0..0, format!("[{key}] lacks"))])?;
        read_form(own, &span, &lab, expect)
    };
    let (bad, twin) = (form("bad", exit::INVALID)?, form("twin", exit::VALID)?);
    if bad.expect == exit::VALID {
        return Err(vec![Trouble::at(span_of(root, "bad"), "what is bad is not expected to be valid: that is its twin's")]);
    }
    Ok(Case { name: name.to_owned(), wrong: head.wrong, versions: head.versions, reference: head.reference, bad, twin })
}

type Part<'t, 'i> = Option<(Range<usize>, &'t DeTable<'i>)>;

fn table<'t, 'i>(root: &'t DeTable<'i>, key: &str, spoken: &str) -> Result<Part<'t, 'i>, Vec<Trouble>> {
    match root.get(key).map(|value| (value.span(), value.get_ref())) {
        None => Ok(None),
        Some((span, DeValue::Table(table))) => Ok(Some((span, table))),
        Some((span, _)) => Err(vec![Trouble::at(span, format!("{spoken} is a table"))]),
    }
}

fn read_form(own: &DeTable<'_>, span: &Range<usize>, lab: &DeTable<'_>, expect: u8) -> Result<Form, Vec<Trouble>> {
    let mut lab = lab.clone();
    if let Some((_, own_lab)) = table(own, "lab", "lab")? {
        file::overlay(&mut lab, own_lab.clone());
    }
    let lab = file::lab_options(&lab, span)?;
    let args = table(own, "args", "args: the options of `kchaos test`, without their dashes,")?;
    let (place, args) = args.ok_or_else(|| vec![Trouble::at(span.clone(), "args = { … } lacks: the options of `kchaos test`")])?;
    let words = options::test_words(args, place, "selftest")?;
    let plan = read_plan(own, span)?;
    let mut rest = own.clone();
    for key in ["lab", "args", "fault", "step"] {
        rest.remove(key);
    }
    let keys: Keys = file::read(rest, span).map_err(|trouble| vec![trouble])?;
    let expect = match &keys.expect {
        None => expect,
        Some(name) => exit::code(name.get_ref()).map_err(|why| vec![Trouble::at(name.span(), why)])?,
    };
    if let Some(name) = keys.find.keys().chain(&keys.find_any).find(|name| !anomalies().any(|known| known == name.get_ref())) {
        return Err(vec![Trouble::at(name.span(), format!("no anomaly is called that{}", nearest(name.get_ref(), anomalies())))]);
    }
    if keys.attempts == 0 {
        return Err(vec![Trouble::at(span_of(own, "attempts"), "attempts is 1 or more")]);
    }
    Ok(Form {
        lab,
        words,
        plan,
        expect,
        find: keys.find.into_iter().map(|(name, bound)| (name.into_inner(), bound)).collect(),
        find_any: keys.find_any.into_iter().map(Spanned::into_inner).collect(),
        attempts: keys.attempts,
    })
}

/// `[[bad.fault]]` and `[[bad.step]]` are what a plan file has, and checked as one.
fn read_plan(own: &DeTable<'_>, span: &Range<usize>) -> Result<Option<String>, Vec<Trouble>> {
    let mut plan = DeTable::new();
    for key in ["fault", "step"] {
        if let Some((key, value)) = own.get_key_value(key) {
            plan.insert(key.clone(), value.clone());
        }
    }
    if plan.is_empty() {
        return Ok(None);
    }
    let plan: toml::Table = file::read(plan, span).map_err(|trouble| vec![trouble])?;
    let text = toml::to_string(&plan).map_err(|error| vec![Trouble::at(span.clone(), error.to_string())])?;
    crate::run::check_plan(&text).map_err(|why| vec![Trouble::at(span.clone(), why)])?;
    Ok(Some(text))
}

/// All that a run may find.
fn anomalies() -> impl Iterator<Item = &'static str> + Clone {
    kchaos_checkers::ALL.iter().flat_map(|checker| checker.anomalies.iter().copied()).chain(["never-recovered"])
}

impl Form {
    /// Of a clean run: nothing may be found.
    pub(super) fn clean(words: &[String]) -> Self {
        let words = words.to_vec();
        Self { lab: Vec::new(), words, plan: None, expect: exit::VALID, find: BTreeMap::new(), find_any: Vec::new(), attempts: 1 }
    }

    /// `3.9.1`, `4.1.1, KRaft`.
    pub(crate) fn kafka(&self) -> String {
        let version = self.lab.iter().find_map(|word| word.strip_prefix("--kafka-version="));
        let version = version.unwrap_or(kchaos_lab::DEFAULT_KAFKA_VERSION);
        if self.lab.iter().any(|word| word.starts_with("--kraft=")) { format!("{version}, KRaft") } else { version.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "wrong = 'w'\nversions = 'all'\nreference = 'r'\n[bad]\nargs = { acks = '1', idempotence = 'false' }\nfind = { lost-write = {} }\n[twin]\nargs = {}\n";

    fn wrong(from: &str, to: &str) -> String {
        let text = GOOD.replace(from, to);
        file::told(Path::new("c.toml"), &text, &parse("c", &text).expect_err("it is wrong"))
    }

    #[test]
    fn every_case_that_is_built_in_can_be_done() {
        let cases = built_in().unwrap_or_else(|failure| panic!("{failure}"));
        let there = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/suites/known-bad")).unwrap().count();
        assert_eq!(cases.len(), there, "each file of suites/known-bad has a line in BUILT_IN");
        assert!(cases.iter().all(|case| !case.bad.find.is_empty() || !case.bad.find_any.is_empty() || case.bad.expect != exit::INVALID));
    }

    #[test]
    fn what_is_wrong_with_a_case_is_told_with_its_place() {
        assert!(parse("c", GOOD).is_ok());
        let told = wrong("lost-write", "lost-wirte");
        assert!(told.starts_with("c.toml:6:10: no anomaly is called that") && told.contains("lost-write"), "{told}");
        assert!(wrong("acks = '1'", "ackss = '1'").starts_with("c.toml:5:10: unknown option"));
        assert!(wrong("[bad]\n", "[bad]\nexpect = 'valid'\n").contains("not expected to be valid"));
        assert!(wrong("args = {}", "args = { results = 'x' }").contains("said by the selftest itself"));
        let plan = "[[bad.fault]]\nnemesis = 'kill-rest'\nat = '1s'\nduration = 'soon'\n[twin]";
        assert!(wrong("[twin]", plan).contains("fault 1 (kill-rest): duration"), "{}", wrong("[twin]", plan));
        assert!(wrong("wrong = 'w'\n", "").contains("missing key `wrong`"));
    }

    #[test]
    fn a_form_may_want_another_lab_than_its_twin() {
        let text = GOOD.replace("args = {}", "args = {}\nlab = { kafka-version = '2.8.2' }");
        let case = parse("c", &text).unwrap_or_else(|_| panic!("read"));
        assert_eq!((case.bad.kafka().as_str(), case.twin.kafka().as_str()), (kchaos_lab::DEFAULT_KAFKA_VERSION, "2.8.2"));
    }
}
