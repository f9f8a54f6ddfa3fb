//! Suites: what people did to a cluster by hand, as a file of steps that ends with a verdict (docs/suites.md).
//!
//! [`file`] reads and refuses, [`life`] brings the lab up, does the steps in its network and takes it down, [`steps`] has a file for each kind of step.
//! Runs, and the lab itself, are children of this very executable: each is alone in its process, as when people call it, and the lab is made and
//! unmade from outside its network while steps are inside.

pub(crate) mod child;
pub(crate) mod file;
mod life;
mod matrix;
pub(crate) mod options;
mod report;
pub(crate) mod run;
mod scene;
mod steps;
pub(crate) mod transcript;

use std::path::PathBuf;

pub(crate) use file::load;
pub(crate) use life::{LATEST, Place, lab_down, lab_up, live};
pub(crate) use matrix::{Matrix, live as live_matrix};

pub(crate) use report::{LabResult, status};

use life::alone;
use steps::{Kind, Step};

/// A suite in one of its forms, with everything resolved that can be without a cluster.
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) is_short: bool,
    /// What `kchaos lab up` is told; none: the cluster is there.
    pub(crate) lab: Option<Vec<String>>,
    /// Of a cluster that is there.
    pub(crate) inventory: Option<PathBuf>,
    pub(crate) steps: Vec<Planned>,
    /// Instead of steps: runs of every combination.
    pub(crate) matrix: Option<Matrix>,
}

/// A step, and what is said of it.
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) title: String,
    /// What people typed for it.
    pub(crate) by_hand: Vec<String>,
    pub(crate) kind: &'static Kind,
    pub(crate) step: Box<dyn Step>,
}

impl Suite {
    /// What it would do, a line each.
    pub(crate) fn plan(&self) -> String {
        let mut lines = vec![format!("{}{}: {}", self.name, if self.is_short { ", short" } else { "" }, self.description)];
        lines.extend(self.lab.iter().map(|words| format!("  kchaos lab up {}", words.join(" "))));
        lines.extend(self.inventory.iter().map(|path| format!("  the cluster of {}", path.display())));
        lines.extend(self.matrix.iter().flat_map(Matrix::plan));
        lines.extend(self.steps.iter().zip(1..).map(|(step, number)| {
            let title = if step.title.is_empty() { step.kind.about } else { &step.title };
            format!("  {number:>2}  {:<22} {:<13} {title}", step.name, step.kind.name)
        }));
        lines.join("\n")
    }
}
