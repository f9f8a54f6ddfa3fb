//! What a step is given: the cluster, and what earlier steps left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use kchaos_cluster::inventory::Inventory;
use kchaos_cluster::view::Viewer;
use kchaos_core::Offset;
use kchaos_workloads::{Access, LogRing};

use super::transcript::Transcript;
use crate::clock::RunClock;
use crate::exit::{self, Failure};
use crate::run::{Abort, HeldFault};

const LOG_LINES: usize = 1_000;

pub(crate) struct Scene {
    pub(super) inventory: Arc<Inventory>,
    pub(super) inventory_path: PathBuf,
    /// The suite's.
    pub(super) directory: PathBuf,
    pub(super) transcript: Transcript,
    pub(super) abort: Abort,
    pub(super) viewer: Viewer,
    pub(super) past: Past,
}

/// What earlier steps left.
#[derive(Default)]
pub(super) struct Past {
    /// Records that were acknowledged to `produce`, by topic.
    pub(super) acknowledged: BTreeMap<String, Vec<Acknowledged>>,
    /// Records that were numbered so far.
    pub(super) numbered: u64,
    /// Topics that the suite made.
    pub(super) topics: Vec<String>,
    pub(super) held: Option<HeldFault>,
    /// What the last fault hit: `kafka:1`.
    pub(super) hit: Vec<String>,
    /// Since when promises of time count.
    pub(super) since: Option<(String, Instant)>,
    pub(super) faults: u32,
    /// By host, as `firewall` found them first.
    pub(super) rulesets: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) partition: i32,
    pub(super) offset: Offset,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Vec<u8>,
}

/// What came of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(super) code: u8,
    /// In a sentence.
    pub(super) text: String,
    pub(super) facts: BTreeMap<String, serde_json::Value>,
}

impl Outcome {
    pub(super) fn of(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), facts: BTreeMap::new() }
    }

    pub(super) fn valid(text: impl Into<String>) -> Self {
        Self::of(exit::VALID, text)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

impl Scene {
    pub(super) fn new(
        inventory: Arc<Inventory>,
        inventory_path: PathBuf,
        directory: PathBuf,
        transcript: Transcript,
        abort: Abort,
    ) -> Self {
        let viewer = Viewer::new(Arc::clone(&inventory));
        Self { inventory, inventory_path, directory, transcript, abort, viewer, past: Past::default() }
    }

    /// The way in for clients of `produce` and `consume`.
    pub(super) fn access(&self) -> Result<Access, Failure> {
        let mut properties = BTreeMap::new();
        for (key, secret) in self.inventory.kafka_properties().map_err(Failure::usage)? {
            properties.insert(key, secret.reveal().to_owned());
        }
        Ok(Access {
            bootstrap: self.inventory.kafka.bootstrap.join(","),
            properties,
            name: "suite".to_owned(),
            log: Arc::new(LogRing::new(LOG_LINES)),
            clock: Arc::new(RunClock::start()),
        })
    }

    /// `--inventory FILE`, as commands are told where the cluster is.
    pub(super) fn inventory_words(&self) -> [String; 2] {
        ["--inventory".to_owned(), self.inventory_path.display().to_string()]
    }
}
