//! Reading the file: where it is, and what is wrong with it by file, line, column and key.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Inventory, validate};
use crate::secret::{self, SecretError};

#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("inventory {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    /// All that is wrong, a line each.
    #[error("{}", lines(.problems))]
    Invalid { problems: Vec<Problem> },
    #[error("{key}: {source}")]
    Secret { key: String, source: SecretError },
}

/// One thing that is wrong with an inventory, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: PathBuf,
    /// From 1; columns count characters.
    pub line: usize,
    pub column: usize,
    /// `host[2].daemon[1].port`: which key, the entries of a list counted from 1. Empty where the text is no TOML at all.
    pub key: String,
    pub message: String,
}

/// A problem before it is known where in the file it stands.
pub(super) struct Finding {
    pub(super) key: Vec<Step>,
    pub(super) message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Where the inventory is: `--inventory`, else `$KCHAOS_INVENTORY`, else `./kchaos.toml`; `None` if there is none of them.
///
/// The first that is named is meant, whether it exists or not: a mistyped path must not lead to another cluster.
pub fn find_inventory(flag: Option<&Path>) -> Option<PathBuf> {
    let variable = || std::env::var_os("KCHAOS_INVENTORY").filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = || Some(PathBuf::from("kchaos.toml")).filter(|path| path.exists());
    flag.map(Path::to_owned).or_else(variable).or_else(usual)
}

impl Inventory {
    /// Reads and checks an inventory. Looks at the files it refers to on this machine, and at no host.
    pub fn load(path: &Path) -> Result<Inventory, InventoryError> {
        let text = std::fs::read_to_string(path).map_err(|source| InventoryError::Read { path: path.to_owned(), source })?;
        let mut inventory = Self::parse(path, &text)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        inventory.resolve_paths(directory);
        checked(path, &text, validate::files(&inventory))?;
        Ok(inventory)
    }

    /// The text alone, with no look at any file; `path` is for the messages.
    pub fn parse(path: &Path, text: &str) -> Result<Inventory, InventoryError> {
        let inventory: Inventory = toml::from_str(text).map_err(|error| unreadable(path, text, &error))?;
        checked(path, text, validate::contents(&inventory))?;
        Ok(inventory)
    }

    fn resolve_paths(&mut self, directory: &Path) {
        let resolve = |path: &mut PathBuf| {
            if let (Ok(rest), Some(home)) = (path.strip_prefix("~"), std::env::var_os("HOME")) {
                *path = Path::new(&home).join(rest);
            } else if path.is_relative() {
                *path = directory.join(&*path);
            }
        };
        resolve(&mut self.ssh.key_file);
        resolve(&mut self.ssh.known_hosts_file);
        self.cluster.network_namespace.as_mut().map(resolve);
        if let Some(tls) = &mut self.zookeeper.tls {
            resolve(&mut tls.ca_file);
            [&mut tls.certificate_file, &mut tls.key_file].into_iter().flatten().for_each(resolve);
        }
        let is_path = |name: &str, value: &str| name.starts_with("ssl.") && name.ends_with(".location") && !secret::is_reference(value);
        for (name, value) in &mut self.kafka.properties {
            if is_path(name, value) && !value.is_empty() && Path::new(value.as_str()).is_relative() && value != "probe" {
                let mut path = PathBuf::from(value.as_str());
                resolve(&mut path);
                *value = path.display().to_string();
            }
        }
        for host in &mut self.hosts {
            host.ssh.key_file.as_mut().map(resolve);
        }
    }
}

fn checked(path: &Path, text: &str, findings: Vec<Finding>) -> Result<(), InventoryError> {
    if findings.is_empty() {
        return Ok(());
    }
    let document = DeTable::parse(text).ok();
    let problem = |finding: Finding| {
        let span = document.as_ref().map_or(0..0, |document| span_of(document, &finding.key));
        let (line, column) = line_and_column(text, span.start);
        Problem { path: path.to_owned(), line, column, key: written(&finding.key), message: finding.message }
    };
    Err(InventoryError::Invalid { problems: findings.into_iter().map(problem).collect() })
}

/// What the TOML parser or serde has to say, with the key at which it says it.
fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> InventoryError {
    let span = error.span().unwrap_or(0..0);
    let (line, column) = line_and_column(text, span.start);
    let key = DeTable::parse(text).ok().map(|document| written(&key_at(document.get_ref(), &span))).unwrap_or_default();
    let message =
        error.message().trim().replace('\n', "; ").replace("unknown field", "unknown key").replace("missing field", "missing key");
    InventoryError::Invalid { problems: vec![Problem { path: path.to_owned(), line, column, key, message }] }
}

/// The byte range of a key, or of the nearest thing around it that stands in the file.
fn span_of(document: &Spanned<DeTable<'_>>, key: &[Step]) -> Range<usize> {
    let mut span = 0..0;
    let Some((Step::Key(first), rest)) = key.split_first() else { return span };
    let Some((name, mut value)) = document.get_ref().get_key_value(first.as_str()) else { return span };
    span = if matches!(value.get_ref(), DeValue::Array(_)) { value.span() } else { name.span() };
    for step in rest {
        let next = match (step, value.get_ref()) {
            (Step::Key(name), DeValue::Table(table)) => table.get_key_value(name.as_str()).map(|(name, value)| (name.span(), value)),
            (Step::Index(index), DeValue::Array(array)) => array.get(*index).map(|value| (value.span(), value)),
            _ => None,
        };
        let Some(next) = next else { break };
        (span, value) = next;
    }
    span
}

/// The key whose name or value holds this range.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Vec<Step> {
    for (name, value) in table {
        let key = Step::Key(name.get_ref().to_string());
        if name.span().contains(&span.start) {
            return vec![key];
        }
        if let Some(rest) = key_within(value, span) {
            return [vec![key], rest].concat();
        }
    }
    Vec::new()
}

fn key_within(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Step>> {
    match value.get_ref() {
        // The span of `[table]` is its header alone, so a table is entered whatever its span.
        DeValue::Table(table) => Some(key_at(table, span)).filter(|key| !key.is_empty()),
        DeValue::Array(array) => array.iter().enumerate().find_map(|(index, value)| {
            let rest = key_within(value, span)?;
            Some([vec![Step::Index(index)], rest].concat())
        }),
        _ => None,
    }
    .or_else(|| value.span().contains(&span.start).then(Vec::new))
}

fn written(key: &[Step]) -> String {
    let mut text = String::new();
    for step in key {
        match step {
            Step::Key(name) if text.is_empty() => text.push_str(name),
            Step::Key(name) => text.push_str(&format!(".{name}")),
            Step::Index(index) => text.push_str(&format!("[{}]", index + 1)),
        }
    }
    text
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.path.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}
