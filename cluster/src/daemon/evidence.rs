//! What a service manager knows of a daemon, and how it is kept from reviving it.
//!
//! A manager that starts a daemon again is the other hand in an experiment: without its own word nobody could say whether a fault was in
//! force, whether a process came back by itself, and why it stays away.

use std::collections::BTreeMap;

/// How a service manager is kept from reviving a daemon, and how that is undone. All POSIX sh, all idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// For people: what it changes.
    pub about: String,
    /// The file or setting, for the list of what a fault changed.
    pub changes: String,
    /// Succeeds only if the manager itself says that it will not revive it.
    pub apply: String,
    /// Succeeds while that is so.
    pub holds: String,
    pub undo: String,
    /// Succeeds if nothing of the hold is left.
    pub undone: String,
}

/// One look at what the manager knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `active/running`, `failed/failed`, `exited`.
    pub state: String,
    /// It does not run, and the manager will not start it by itself.
    pub is_down_for_good: bool,
    /// How often the manager started it by itself.
    pub restarts: Option<u64>,
    /// Which life this is: another one has another name.
    pub life: String,
    /// How the last life ended: `signal 9`, `exit-code 1`; empty while it lives.
    pub result: String,
    /// How long the last life lasted, if it has ended.
    pub lived_ms: Option<u64>,
    /// When it is started again: `Restart=on-abnormal`.
    pub policy: String,
    /// What else of ours or others' changes its settings: the paths of its drop-ins.
    pub overrides: String,
    /// All of it in one line, in the manager's own words.
    pub text: String,
}

impl Evidence {
    /// Whether the daemon is managed as it was at that look.
    pub fn is_managed_as(&self, before: &Evidence) -> bool {
        self.policy == before.policy && self.overrides == before.overrides
    }
}

/// Lines `KEY=VALUE`. What is not one is left out.
pub(super) fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.trim(), value.trim())).collect()
}
