//! A matrix: one run of `kchaos test` for every combination of what its axes say, over and over until a budget is spent or a run is not valid.
//!
//! Never: "valid because one of several was". A promise that was broken once is broken, so nothing is retried, and the strongest exit code stands for
//! all.

mod file;
mod life;
mod page;
mod report;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use file::read;
pub(crate) use life::live;

/// What a file's `[matrix]` says.
pub(crate) struct Matrix {
    /// Every combination, in the order of the axes; none is a run that `kchaos test` would refuse.
    cells: Vec<Cell>,
    /// By name, where it is not the suite's own lab or inventory.
    pub(super) clusters: Vec<(String, PathBuf)>,
    /// So many rounds of all of them, each with seeds of its own.
    repeat: Option<u32>,
    /// No run begins after this time.
    budget: Option<Duration>,
    until_failure: bool,
    seed: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// `staging/append/kill-leader`.
    pub(crate) name: String,
    /// Which of the clusters.
    cluster: Option<usize>,
    /// Of `kchaos test`.
    words: Vec<String>,
}

impl Matrix {
    /// What it would do, a line each.
    pub(super) fn plan(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.clusters.iter().map(|(name, path)| format!("  {name}: the cluster of {}", path.display())).collect();
        let rounds = match (self.repeat, self.until_failure) {
            (Some(rounds), false) => format!("{rounds} of each"),
            (Some(rounds), true) => format!("{rounds} of each, until one is not valid"),
            (None, true) => "again and again, until one is not valid".to_owned(),
            (None, false) => "again and again".to_owned(),
        };
        let budget = self.budget.map_or_else(String::new, |budget| format!("; none begins after {budget:?}"));
        lines.push(format!("  {} runs, {rounds}{budget}", self.cells.len()));
        lines.extend(
            self.cells
                .iter()
                .zip(1..)
                .map(|(cell, number)| format!("  {number:>2}  {:<40} kchaos test {}", cell.name, cell.words.join(" "))),
        );
        lines
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.cells.iter().map(|cell| cell.name.as_str())
    }

    pub(crate) fn keep_only(&mut self, names: &[String]) {
        self.cells.retain(|cell| names.contains(&cell.name));
    }

    pub(crate) fn first_cluster(&self) -> Option<PathBuf> {
        self.clusters.first().map(|(_, path)| path.clone())
    }

    pub(crate) fn has_clusters(&self) -> bool {
        !self.clusters.is_empty()
    }
}
