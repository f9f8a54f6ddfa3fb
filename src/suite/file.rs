//! Reading a suite: strict, and with the line of whatever is wrong, in both forms, before anything is done.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::matrix;
use super::options;
use super::steps::{self, Role};
use super::{Planned, Suite};
use crate::cli::LabUpArgs;
use crate::commands::refuse_lab;
use crate::exit::Failure;
use crate::run::nearest;

/// Something that is wrong, and where in the file.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    span: Range<usize>,
    text: String,
}

impl Trouble {
    pub(crate) fn at(span: Range<usize>, text: impl Into<String>) -> Self {
        Self { span, text: text.into() }
    }

    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.span == other.span && self.text == other.text
    }

    pub(crate) fn of(error: &toml::de::Error, around: &Range<usize>) -> Self {
        let text =
            error.message().trim().replace('\n', "; ").replace("unknown field", "unknown key").replace("missing field", "missing key");
        Self { span: error.span().filter(|span| !span.is_empty()).unwrap_or_else(|| around.clone()), text }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: Option<String>,
    description: Option<String>,
    inventory: Option<PathBuf>,
    #[serde(rename = "lab")]
    _lab: Option<IgnoredAny>,
    #[serde(rename = "step")]
    _steps: Option<IgnoredAny>,
    #[serde(rename = "matrix")]
    _matrix: Option<IgnoredAny>,
}

/// What every step may have, beside what its kind has.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Common {
    #[serde(rename = "do")]
    what: String,
    name: Option<String>,
    title: Option<String>,
    by_hand: Option<ByHand>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a command, or a list of commands")]
enum ByHand {
    One(String),
    Several(Vec<String>),
}

const COMMON: &[&str] = &["do", "name", "title", "by-hand"];
pub(super) const SHORT: &str = "short";

/// Reads a suite and checks both its forms.
pub(crate) fn load(path: &Path, is_short: bool) -> Result<Suite, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::usage(anyhow!("suite {}: {error}", path.display())))?;
    let read = |is_short| parse(path, &text, is_short).map_err(|troubles| Failure::usage(anyhow!("{}", told(path, &text, &troubles))));
    let (whole, short) = (read(false)?, read(true)?);
    Ok(if is_short { short } else { whole })
}

fn parse(path: &Path, text: &str, is_short: bool) -> Result<Suite, Vec<Trouble>> {
    let document = DeTable::parse(text).map_err(|error| vec![Trouble::of(&error, &(0..0))])?;
    let root = document.get_ref();
    let head: Head = read(root.clone(), &document.span()).map_err(|trouble| vec![trouble])?;
    let mut troubles = Vec::new();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = head.name.or(stem).unwrap_or_default();
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        troubles.push(Trouble::at(span_of(root, "name"), format!("name {name:?}: letters, digits and '-'")));
    }
    let lab = match root.get("lab").map(|lab| (lab.span(), lab.get_ref())) {
        None => None,
        Some((span, DeValue::Table(lab))) => match lab_words(lab, &span, is_short) {
            Ok(words) => Some(words),
            Err(more) => {
                troubles.extend(more);
                None
            }
        },
        Some((span, _)) => {
            troubles.push(Trouble::at(span, "lab is a table: [lab]"));
            None
        }
    };
    if root.contains_key("lab") && head.inventory.is_some() {
        troubles.push(Trouble::at(span_of(root, "inventory"), "a suite has a lab of its own or an inventory, not both"));
    }
    let directory = path.parent().unwrap_or(Path::new("."));
    let matrix = match root.get("matrix") {
        None => None,
        Some(_) if root.contains_key("step") => {
            troubles.push(Trouble::at(span_of(root, "matrix"), "a suite has steps or a matrix, not both"));
            None
        }
        Some(matrix) => match matrix::read(matrix, directory, is_short) {
            Ok(matrix) => {
                let is_elsewhere = !matrix.clusters.is_empty() && (root.contains_key("lab") || head.inventory.is_some());
                troubles.extend(
                    is_elsewhere.then(|| Trouble::at(span_of(root, "matrix"), "with clusters = … there is neither lab nor inventory")),
                );
                Some(matrix)
            }
            Err(more) => {
                troubles.extend(more);
                None
            }
        },
    };
    let steps = if root.contains_key("matrix") { Vec::new() } else { read_steps(root, is_short, &mut troubles) };
    if !troubles.is_empty() {
        return Err(troubles);
    }
    Ok(Suite {
        name,
        description: head.description.unwrap_or_default(),
        path: path.to_owned(),
        text: text.to_owned(),
        is_short,
        lab,
        inventory: head.inventory.map(|inventory| directory.join(inventory)),
        steps,
        matrix,
    })
}

fn lab_words(lab: &DeTable<'_>, span: &Range<usize>, is_short: bool) -> Result<Vec<String>, Vec<Trouble>> {
    let mut lab = lab.clone();
    match lab.remove(SHORT).map(Spanned::into_inner) {
        Some(DeValue::Table(short)) if is_short => overlay(&mut lab, short),
        Some(DeValue::Table(_)) | None => {}
        Some(_) => return Err(vec![Trouble::at(span.clone(), "short is a table here: [lab.short]")]),
    }
    lab_options(&lab, span)
}

/// The words of a `kchaos lab up` that would be done.
pub(crate) fn lab_options(lab: &DeTable<'_>, span: &Range<usize>) -> Result<Vec<String>, Vec<Trouble>> {
    let words = options::words::<LabUpArgs>(lab)?;
    refuse_lab(&words).map_err(|why| vec![Trouble::at(options::place_of(lab, &why).unwrap_or_else(|| span.clone()), why)])?;
    Ok(words)
}

fn read_steps(root: &DeTable<'_>, is_short: bool, troubles: &mut Vec<Trouble>) -> Vec<Planned> {
    let all: &[Spanned<DeValue<'_>>] = match root.get("step").map(Spanned::get_ref) {
        Some(DeValue::Array(all)) => all,
        _ => {
            troubles.push(Trouble::at(span_of(root, "step"), "a suite has steps: [[step]] with do = …, or a [matrix]"));
            return Vec::new();
        }
    };
    let mut steps: Vec<Planned> = Vec::new();
    let mut held: Option<String> = None;
    for value in all {
        let span = value.span();
        let step = match value.get_ref() {
            DeValue::Table(table) => read_step(table, &span, is_short),
            _ => Err(Trouble::at(span.clone(), "a step is a table: [[step]]")),
        };
        match step {
            Ok(Some(step)) => {
                if let Err(why) = follow(step.kind.role, &step, &mut held) {
                    troubles.push(Trouble::at(span, why));
                }
                steps.push(step);
            }
            Ok(None) => {}
            Err(trouble) => troubles.push(trouble),
        }
    }
    number_names(&mut steps, root, troubles);
    steps
}

/// Faults are held one at a time, and a run locks the hosts for itself.
fn follow(role: Role, step: &Planned, held: &mut Option<String>) -> Result<(), String> {
    let doing = step.kind.name;
    match (role, held.as_deref()) {
        (Role::Begins, Some(other)) => {
            Err(format!("the fault of {other} is still in force here: a step that does \"mend\" must come first"))
        }
        (Role::Alone, Some(other)) => {
            Err(format!("{doing} locks the hosts for itself, and the fault of {other} is in force here: mend it first"))
        }
        (Role::Ends, None) => Err("there is no fault in force here that could be mended".to_owned()),
        (Role::Begins, None) => {
            *held = Some(step.name.clone());
            Ok(())
        }
        (Role::Ends, Some(_)) => {
            *held = None;
            Ok(())
        }
        (Role::Alone, None) | (Role::Looks, _) => Ok(()),
    }
}

/// `None`: not in this form.
fn read_step(table: &DeTable<'_>, span: &Range<usize>, is_short: bool) -> Result<Option<Planned>, Trouble> {
    let mut own = table.clone();
    let mut is_left_out = false;
    if let Some((key, short)) = own.remove_entry(SHORT) {
        match short.into_inner() {
            DeValue::Boolean(false) => is_left_out = is_short,
            DeValue::Table(short) if is_short => overlay(&mut own, short),
            DeValue::Table(_) => {}
            _ => return Err(Trouble::at(key.span(), "short is a table of what is different there, or false")),
        }
    }
    let mut common = DeTable::default();
    for name in COMMON {
        if let Some((key, value)) = own.remove_entry(*name) {
            common.insert(key, value);
        }
    }
    let do_span = span_of(&common, "do");
    let common: Common = read(common, span)?;
    let kind = steps::ALL.iter().find(|kind| kind.name == common.what).ok_or_else(|| {
        let known = steps::ALL.iter().map(|kind| kind.name);
        Trouble::at(do_span, format!("no step does \"{}\"{}", common.what, nearest(&common.what, known)))
    })?;
    let step = (kind.read)(own, span)?;
    let by_hand = match common.by_hand {
        None => Vec::new(),
        Some(ByHand::One(one)) => vec![one],
        Some(ByHand::Several(several)) => several,
    };
    let name = common.name.unwrap_or_default();
    let planned = Planned { name, title: common.title.unwrap_or_default(), by_hand, kind, step };
    Ok(Some(planned).filter(|_| !is_left_out))
}

/// Steps without a name are called after what they do, numbered where there are several.
fn number_names(steps: &mut [Planned], root: &DeTable<'_>, troubles: &mut Vec<Trouble>) {
    for index in 0..steps.len() {
        if steps[index].name.is_empty() {
            let kind = steps[index].kind.name;
            let free = |name: &String| !steps.iter().any(|step| step.name == *name);
            let name = std::iter::once(kind.to_owned()).chain((2..).map(|n| format!("{kind}-{n}"))).find(free);
            steps[index].name = name.unwrap_or_default();
        } else if steps[..index].iter().any(|step| step.name == steps[index].name) {
            troubles.push(Trouble::at(span_of(root, "step"), format!("two steps are called {:?}", steps[index].name)));
        }
        let name = &steps[index].name;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            troubles.push(Trouble::at(span_of(root, "step"), format!("a step is called {name:?}: letters, digits, '-' and '_'")));
        }
    }
}

/// A table as a type, with the place of what does not fit.
pub(crate) fn read<T: serde::de::DeserializeOwned>(table: DeTable<'_>, around: &Range<usize>) -> Result<T, Trouble> {
    let deserializer = ValueDeserializer::from(Spanned::new(around.clone(), DeValue::Table(table)));
    T::deserialize(deserializer).map_err(|error| Trouble::of(&error, around))
}

/// Tables are laid over each other key by key; all else is replaced.
pub(crate) fn overlay<'i>(base: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        match (base.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(under)), DeValue::Table(table)) => overlay(under, table.clone()),
            _ => {
                base.remove(key.get_ref().as_ref());
                base.insert(key, value);
            }
        }
    }
}

pub(crate) fn span_of(table: &DeTable<'_>, key: &str) -> Range<usize> {
    table
        .get_key_value(key)
        .map_or(0..0, |(key, value)| if matches!(value.get_ref(), DeValue::Array(_)) { value.span() } else { key.span() })
}

/// Of a place in a text, from 1.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// `FILE:LINE:COLUMN: what`, a line each.
pub(crate) fn told(path: &Path, text: &str, troubles: &[Trouble]) -> String {
    let mut lines = String::new();
    for Trouble { span, text: what } in troubles {
        let (line, column) = line_and_column(text, span.start);
        let _ = writeln!(lines, "{}:{line}:{column}: {what}", path.display());
    }
    lines.truncate(lines.trim_end().len());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        let path = Path::new("s.toml");
        let both = parse(path, text, false).map(drop).and_then(|()| parse(path, text, true).map(drop));
        told(path, text, &both.expect_err("it is wrong"))
    }

    fn names(text: &str, is_short: bool) -> Vec<String> {
        let suite =
            parse(Path::new("s.toml"), text, is_short).unwrap_or_else(|troubles| panic!("{}", told(Path::new("s.toml"), text, &troubles)));
        suite.steps.into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn a_key_that_nobody_knows_is_told_with_its_line() {
        assert!(wrong("nmae = 'x'\n[[step]]\ndo = 'status'").starts_with("s.toml:1:1: unknown key `nmae`"));
        let text = wrong("[[step]]\ndo = 'status'\nwithn = '3s'");
        assert!(text.starts_with("s.toml:3:1: unknown key `withn`") && text.contains("`within`"), "{text}");
        let text = wrong("[lab]\nbrokrs = 4\n[[step]]\ndo = 'status'");
        assert!(text.starts_with("s.toml:2:1: unknown option") && text.contains("did you mean \"brokers\""), "{text}");
        let text = wrong("[[step]]\ndo = 'test'\nargs = { workload = 'append', nemesi = 'kill-leader' }");
        assert!(text.starts_with("s.toml:3:31: unknown option") && text.contains("nemesis"), "{text}");
        let text = wrong("[[step]]\ndo = 'statsu'");
        assert!(text.starts_with("s.toml:2:1: no step does \"statsu\"") && text.contains("did you mean \"status\""), "{text}");
    }

    #[test]
    fn what_a_run_or_a_lab_would_refuse_is_refused_when_the_file_is_read() {
        for (text, at, part) in [
            ("[[step]]\ndo = 'test'\nargs = { nemesis = 'kill-leeder' }", "s.toml:3:", "did you mean kill-leader"),
            ("[[step]]\ndo = 'test'\n[step.args]\nworkload = 'append'\ntime-limit = '60'", "s.toml:5:1:", "lacks a unit"),
            ("[lab]\nbrokers = 3\nmanager = 'upstart'\n[[step]]\ndo = 'status'", "s.toml:3:1:", "upstart"),
            ("[lab]\nmanager = 'docker'\nhosts = 3\n[[step]]\ndo = 'status'", "s.toml:1:1:", "each container is a host"),
            ("[[step]]\ndo = 'test'\nexpect = 'good'", "s.toml:3:", "good"),
            ("[[step]]\ndo = 'status'\nexpect = { isr = 'whole' }", "s.toml:3:", "isr"),
        ] {
            let told = wrong(text);
            assert!(told.starts_with(at) && told.contains(part), "{told}");
        }
    }

    #[test]
    fn an_error_that_only_the_short_form_has_is_found_all_the_same() {
        let told = wrong("[[step]]\ndo = 'test'\nargs = { workload = 'append' }\nshort = { args = { tim-limit = '5s' } }");
        assert!(told.starts_with("s.toml:4:20: unknown option"), "{told}");
    }

    #[test]
    fn the_short_form_leaves_out_and_replaces() {
        let text = "[[step]]\ndo = 'status'\n[[step]]\ndo = 'status'\nshort = false\n[[step]]\ndo = 'status'\nname = 'last'";
        assert_eq!(
            (names(text, false), names(text, true)),
            (vec!["status".into(), "status-2".into(), "last".into()], vec!["status".into(), "last".into()])
        );
        let text = "[lab]\nbrokers = 4\nset = { a = 1, b = 2 }\n[lab.short]\nset = { b = 3 }\n[[step]]\ndo = 'status'";
        let lab = |is_short| parse(Path::new("s.toml"), text, is_short).unwrap_or_else(|_| panic!("read")).lab.unwrap_or_default();
        assert_eq!(
            (lab(false), lab(true)),
            (
                vec!["--brokers=4".into(), "--set=a=1".into(), "--set=b=2".into()],
                vec!["--brokers=4".into(), "--set=a=1".into(), "--set=b=3".into()]
            )
        );
    }

    fn matrix(text: &str, is_short: bool) -> Vec<String> {
        let suite =
            parse(Path::new("s.toml"), text, is_short).unwrap_or_else(|troubles| panic!("{}", told(Path::new("s.toml"), text, &troubles)));
        suite.matrix.expect("a matrix").plan()
    }

    const MATRIX: &str = "[lab]\nbrokers = 3\n[matrix]\nbudget = '2h'\n[matrix.args]\ntime-limit = '60s'\n[matrix.axes]\nworkload = ['append', 'queue']\n\
                          nemesis = ['kill-leader', 'pause-controller']\n[[matrix.leave-out]]\nworkload = 'queue'\nnemesis = 'pause-controller'\n";

    #[test]
    fn a_matrix_is_every_combination_in_the_order_of_the_file_but_what_is_left_out() {
        assert_eq!(
            matrix(MATRIX, false),
            [
                "  3 runs, again and again; none begins after 7200s",
                "   1  append/kill-leader                       kchaos test --nemesis=kill-leader --time-limit=60s --workload=append",
                "   2  append/pause-controller                  kchaos test --nemesis=pause-controller --time-limit=60s --workload=append",
                "   3  queue/kill-leader                        kchaos test --nemesis=kill-leader --time-limit=60s --workload=queue",
            ]
        );
        let short =
            MATRIX.replace("[matrix.args]", "[matrix.short]\nrepeat = 1\nbudget = '5m'\naxes = { workload = ['append'] }\n[matrix.args]");
        let short = short.split("[[matrix.leave-out]]").next().unwrap_or_default();
        assert_eq!(matrix(short, true).len(), 3, "{:?}", matrix(short, true));
        assert_eq!(matrix(short, false).len(), 5);
        let clusters =
            MATRIX.replace("[lab]\nbrokers = 3\n[matrix]", "[matrix]\nclusters = { staging = 'staging.toml', kraft = 'kraft.toml' }");
        let clusters = matrix(&clusters, false).join("\n");
        assert!(
            clusters.contains("6 runs")
                && clusters.contains(" kraft/append/kill-leader ")
                && clusters.contains("staging: the cluster of staging.toml")
        );
    }

    #[test]
    fn what_is_wrong_in_a_matrix_is_told_before_its_first_run() {
        for (from, to, at, part) in [
            ("'pause-controller']", "'pause-controler']", "s.toml:9:27:", "did you mean pause-controller"),
            ("['append', 'queue']", "'append'", "s.toml:8:12:", "a list of its values"),
            ("['append', 'queue']", "[]", "s.toml:8:1:", "no value"),
            ("time-limit", "tim-limit", "s.toml:6:1:", "unknown option"),
            ("time-limit = '60s'", "seed = 7", "s.toml:6:1:", "seed is one of the matrix"),
            ("workload = 'queue'\n", "acks = '1'\n", "s.toml:11:1:", "acks is no axis"),
            ("budget = '2h'", "budget = '2'", "s.toml:4:10:", "lacks a unit"),
            ("budget = '2h'", "until-failure = true", "s.toml:4:1:", "needs a budget"),
            ("budget = '2h'", "repeat = 0", "s.toml:4:10:", "1 or more"),
            ("budget = '2h'", "clusters = { a = 'a.toml' }", "s.toml:3:", "neither lab nor inventory"),
            ("'queue']", "'append']", "s.toml:9:", "stands in the matrix twice"),
            ("[[matrix.leave-out]]", "[[step]]\ndo = 'status'\n[[matrix.leave-out]]", "s.toml:3:2:", "steps or a matrix, not both"),
        ] {
            let told = wrong(&MATRIX.replace(from, to));
            assert!(told.starts_with(at) && told.contains(part), "{to}: {told}");
        }
    }

    #[test]
    fn a_run_may_not_stand_where_a_fault_is_in_force() {
        let fault = "[[step]]\ndo = 'fault'\nnemesis = 'kill-leader'\n";
        let test = "[[step]]\ndo = 'test'\nargs = { workload = 'append' }\n";
        let mend = "[[step]]\ndo = 'mend'\n";
        assert_eq!(names(&[fault, mend, test, fault].concat(), false).len(), 4);
        for (steps, part) in [([fault, test], "locks the hosts"), ([fault, fault], "still in force"), ([test, mend], "no fault in force")] {
            assert!(wrong(&steps.concat()).contains(part), "{steps:?}");
        }
    }
}
