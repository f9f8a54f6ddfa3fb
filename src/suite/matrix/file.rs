//! Reading `[matrix]`: every combination is held against what `kchaos test` takes, before the first of them is run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::file::{SHORT, Trouble, overlay, read as typed, span_of};
use super::super::options::test_words;
use super::{Cell, Matrix};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    repeat: Option<Spanned<u32>>,
    budget: Option<Spanned<String>>,
    #[serde(default)]
    until_failure: bool,
    seed: Option<u64>,
    #[serde(default)]
    clusters: BTreeMap<String, PathBuf>,
    #[serde(rename = "args")]
    _args: Option<IgnoredAny>,
    #[serde(rename = "axes")]
    _axes: Option<IgnoredAny>,
    #[serde(rename = "leave-out")]
    _leave_out: Option<IgnoredAny>,
}

/// One choice of each axis.
type Chosen<'t, 'i> = Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)>;

/// `directory` is where the file is: paths are from there.
pub(crate) fn read(value: &Spanned<DeValue<'_>>, directory: &Path, is_short: bool) -> Result<Matrix, Vec<Trouble>> {
    let span = value.span();
    let DeValue::Table(own) = value.get_ref() else { return Err(vec![Trouble::at(span, "matrix is a table: [matrix]")]) };
    let mut own = own.clone();
    match own.remove(SHORT).map(Spanned::into_inner) {
        Some(DeValue::Table(short)) if is_short => overlay(&mut own, short),
        Some(DeValue::Table(_)) | None => {}
        Some(_) => return Err(vec![Trouble::at(span, "short is a table here: [matrix.short]")]),
    }
    let keys: Keys = typed(own.clone(), &span).map_err(|trouble| vec![trouble])?;
    let one = |trouble| vec![trouble];
    let repeat = keys.repeat.as_ref().map(positive).transpose().map_err(one)?;
    let budget = keys.budget.as_ref().map(time).transpose().map_err(one)?;
    if keys.until_failure && repeat.is_none() && budget.is_none() {
        return Err(vec![Trouble::at(
            span_of(&own, "until-failure"),
            "what goes on until a failure needs a budget, or repeat = so many rounds at most",
        )]);
    }
    let clusters: Vec<(String, PathBuf)> = keys.clusters.into_iter().map(|(name, path)| (name, directory.join(path))).collect();
    if let Some((name, _)) = clusters.iter().find(|(name, _)| !is_name(name)) {
        return Err(vec![Trouble::at(span_of(&own, "clusters"), format!("a cluster is called {name:?}: letters, digits, '-' and '_'"))]);
    }
    let cells = cells(&own, &span, &clusters)?;
    let rounds = if repeat.is_none() && budget.is_none() { Some(1) } else { repeat };
    Ok(Matrix { cells, clusters, repeat: rounds, budget, until_failure: keys.until_failure, seed: keys.seed })
}

fn positive(number: &Spanned<u32>) -> Result<u32, Trouble> {
    if *number.get_ref() == 0 { Err(Trouble::at(number.span(), "repeat is 1 or more")) } else { Ok(*number.get_ref()) }
}

fn time(text: &Spanned<String>) -> Result<Duration, Trouble> {
    crate::cli::duration(text.get_ref()).map_err(|why| Trouble::at(text.span(), format!("budget: {why}")))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn cells(own: &DeTable<'_>, span: &Range<usize>, clusters: &[(String, PathBuf)]) -> Result<Vec<Cell>, Vec<Trouble>> {
    let args = match own.get("args").map(|args| (args.span(), args.get_ref())) {
        None => DeTable::new(),
        Some((_, DeValue::Table(args))) => args.clone(),
        Some((span, _)) => return Err(vec![Trouble::at(span, "args are a table: [matrix.args]")]),
    };
    let leave_out = leave_out(own)?;
    let (mut cells, mut troubles) = (Vec::<Cell>::new(), Vec::new());
    for chosen in combinations(own)? {
        if leave_out.iter().any(|out| is_left_out(out, &chosen)) {
            continue;
        }
        let mut table = args.clone();
        for (key, value) in &chosen {
            table.remove(key.get_ref().as_ref());
            table.insert((*key).clone(), (*value).clone());
        }
        let place = chosen.last().map_or_else(|| span.clone(), |(_, value)| value.span());
        if let Some((key, _)) = table.get_key_value("seed") {
            troubles.push(Trouble::at(key.span(), "seed is one of the matrix: seed = … of [matrix], of which each run's is drawn"));
            continue;
        }
        let words = match test_words(&table, place.clone(), "suite") {
            Ok(words) => words,
            Err(more) => {
                troubles.extend(more);
                continue;
            }
        };
        let name = name_of(&chosen);
        let in_clusters = clusters.iter().enumerate().map(|(at, (cluster, _))| Cell {
            name: joined(cluster, &name),
            cluster: Some(at),
            words: words.clone(),
        });
        let new: Vec<Cell> =
            if clusters.is_empty() { vec![Cell { name, cluster: None, words: words.clone() }] } else { in_clusters.collect() };
        if let Some(twice) = new.iter().find(|cell| cells.iter().any(|other| other.name == cell.name)) {
            troubles.push(Trouble::at(place, format!("{} stands in the matrix twice", twice.name)));
        } else {
            cells.extend(new);
        }
    }
    troubles.dedup_by(|a, b| a.is_like(b));
    if troubles.is_empty() && cells.is_empty() {
        troubles.push(Trouble::at(span_of(own, "leave-out"), "every combination is left out"));
    }
    // A cluster's runs one after another: what comes up for it is made once.
    cells.sort_by_key(|cell| cell.cluster);
    if troubles.is_empty() { Ok(cells) } else { Err(troubles) }
}

/// The first axis goes slowest.
fn combinations<'t, 'i>(own: &'t DeTable<'i>) -> Result<Vec<Chosen<'t, 'i>>, Vec<Trouble>> {
    let axes = match own.get("axes").map(|axes| (axes.span(), axes.get_ref())) {
        None => return Ok(vec![Vec::new()]),
        Some((_, DeValue::Table(axes))) => axes,
        Some((span, _)) => return Err(vec![Trouble::at(span, "axes are a table: [matrix.axes]")]),
    };
    // As they stand in the file.
    let mut axes: Vec<_> = axes.iter().collect();
    axes.sort_by_key(|(key, _)| key.span().start);
    let mut all: Vec<Chosen<'t, 'i>> = vec![Vec::new()];
    for (key, values) in axes {
        let DeValue::Array(values) = values.get_ref() else {
            return Err(vec![Trouble::at(values.span(), format!("{} is an axis: a list of its values", key.get_ref()))]);
        };
        if values.is_empty() {
            return Err(vec![Trouble::at(key.span(), format!("{} has no value, so there is no run", key.get_ref()))]);
        }
        all = all.into_iter().flat_map(|chosen| values.iter().map(move |value| [chosen.clone(), vec![(key, value)]].concat())).collect();
    }
    Ok(all)
}

fn leave_out<'t, 'i>(own: &'t DeTable<'i>) -> Result<Vec<&'t DeTable<'i>>, Vec<Trouble>> {
    let Some(value) = own.get("leave-out") else { return Ok(Vec::new()) };
    let DeValue::Array(all) = value.get_ref() else {
        return Err(vec![Trouble::at(value.span(), "leave-out is a list of tables: [[matrix.leave-out]]")]);
    };
    let axes = own.get("axes").map(Spanned::get_ref);
    all.iter()
        .map(|one| match one.get_ref() {
            DeValue::Table(table) if !table.is_empty() => {
                let is_axis = |name: &str| matches!(axes, Some(DeValue::Table(axes)) if axes.contains_key(name));
                match table.keys().find(|key| !is_axis(key.get_ref())) {
                    Some(key) => Err(vec![Trouble::at(key.span(), format!("{} is no axis", key.get_ref()))]),
                    None => Ok(table),
                }
            }
            _ => Err(vec![Trouble::at(one.span(), "each is a table of axes and their values")]),
        })
        .collect()
}

fn is_left_out(out: &DeTable<'_>, chosen: &Chosen<'_, '_>) -> bool {
    out.iter().all(|(key, value)| {
        let said = chosen.iter().find(|(axis, _)| axis.get_ref() == key.get_ref()).map(|(_, value)| text(value.get_ref()));
        match value.get_ref() {
            DeValue::Array(any) => any.iter().any(|one| said.as_deref() == Some(&text(one.get_ref()))),
            one => said.as_deref() == Some(&text(one)),
        }
    })
}

/// What is chosen, for people and for `--only`: `append/kill-leader`.
fn name_of(chosen: &Chosen<'_, '_>) -> String {
    if chosen.is_empty() { "run".to_owned() } else { chosen.iter().map(|(_, value)| text(value.get_ref())).collect::<Vec<_>>().join("/") }
}

fn joined(cluster: &str, name: &str) -> String {
    format!("{cluster}/{name}")
}

fn text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().replace('_', ""),
        DeValue::Float(number) => number.as_str().replace('_', ""),
        DeValue::Boolean(is_on) => is_on.to_string(),
        DeValue::Array(all) => all.iter().map(|one| text(one.get_ref())).collect::<Vec<_>>().join("+"),
        DeValue::Table(pairs) => {
            pairs.iter().map(|(key, one)| format!("{}={}", key.get_ref(), text(one.get_ref()))).collect::<Vec<_>>().join("+")
        }
        DeValue::Datetime(time) => time.to_string(),
    }
}
