//! What a web hook is told of a suite, from its `suite.json`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::notify::{Notice, older};
use crate::exit;

/// A suite that has ended.
pub(super) struct Ended {
    directory: PathBuf,
    pub(super) whole: Value,
}

/// What is sent.
#[derive(Debug, Serialize)]
struct Payload<'a> {
    text: String,
    source: &'static str,
    kchaos_version: &'a str,
    state: &'a str,
    /// That of the last time this suite was done in the same form; null: it was not.
    before: Option<&'a str>,
    exit_code: u8,
    sentence: &'a str,
    suite: &'a str,
    is_short: bool,
    started_at: &'a str,
    /// Steps, or runs of a matrix, that are not valid, by name, as `NAME: STATE`.
    not_valid: Vec<String>,
    /// On the machine that ran it.
    directory: String,
}

impl Ended {
    /// `directory` may be a link to it.
    pub(super) fn read(directory: &Path) -> anyhow::Result<Self> {
        let directory = std::fs::canonicalize(directory).with_context(|| directory.display().to_string())?;
        let path = directory.join("suite.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Self { whole: serde_json::from_slice(&text).with_context(|| path.display().to_string())?, directory })
    }

    pub(super) fn tell(&self, notice: &Notice) -> Result<Option<String>, String> {
        let (state, before) = (self.state(), self.last_state());
        notice.tell(state, before, &self.payload(state, before))
    }

    fn exit_code(&self) -> u8 {
        self.whole["exit_code"].as_u64().and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::INTERNAL)
    }

    fn state(&self) -> &'static str {
        exit::name(self.exit_code())
    }

    fn text(&self, key: &str) -> &str {
        self.whole[key].as_str().unwrap_or_default()
    }

    fn is_short(&self) -> bool {
        self.whole["is_short"].as_bool().unwrap_or(false)
    }

    /// One that was killed has no state: what it did is not what it would have come to.
    fn last_state(&self) -> Option<&'static str> {
        let older = older(&self.directory).into_iter().filter_map(|path| Self::read(&path).ok());
        let is_like = |other: &Self| other.text("suite") == self.text("suite") && other.is_short() == self.is_short();
        older.filter(is_like).find(|other| other.whole["is_going_on"] != Value::Bool(true)).map(|other| other.state())
    }

    fn payload<'a>(&'a self, state: &'a str, before: Option<&'a str>) -> Payload<'a> {
        let was = before.map_or_else(String::new, |before| format!(" (was {before})"));
        let parts = ["steps", "runs"].iter().filter_map(|key| self.whole[key].as_array()).flatten();
        let not_valid = parts.filter(|part| part["exit_code"] != 0).map(|part| {
            let text = |key: &str| part[key].as_str().unwrap_or_default();
            format!("{}: {}", text("name"), text("verdict"))
        });
        Payload {
            text: format!("kchaos: suite {} is {state}{was}: {}", self.text("suite"), self.text("sentence")),
            source: "kchaos",
            kchaos_version: self.text("kchaos_version"),
            state,
            before,
            exit_code: self.exit_code(),
            sentence: self.text("sentence"),
            suite: self.text("suite"),
            is_short: self.is_short(),
            started_at: self.text("started_at"),
            not_valid: not_valid.collect(),
            directory: self.directory.display().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::notify::tests::{hook, notice};
    use super::*;

    fn suite(results: &Path, name: &str, more: &Value) -> Ended {
        let path = results.join(name);
        std::fs::create_dir(&path).unwrap();
        let mut whole = json!({"suite": "night", "exit_code": 0, "sentence": "so it was", "kchaos_version": "0.1.0", "started_at": "then",
            "runs": [{"name": "append/kill-leader", "exit_code": 0, "verdict": "valid"}, {"name": "queue/none", "exit_code": 1, "verdict": "invalid"}]});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(path.join("suite.json"), whole.to_string()).unwrap();
        Ended::read(&path).unwrap()
    }

    #[test]
    fn it_is_told_of_a_suite_that_is_not_as_it_was() {
        let results = tempfile::tempdir().unwrap();
        let (address, received) = hook(&[200, 200]);
        let notice = notice(&address, false);
        let mut told = Vec::new();
        for (name, more) in [
            ("20261101T000000Z-suite-night", json!({})),
            ("20261102T000000Z-suite-night", json!({"exit_code": 1})),
            ("20261103T000000Z-suite-night", json!({"exit_code": 1})),
            // Others, and one that was killed.
            ("20261104T000000Z-suite-day", json!({"suite": "day"})),
            ("20261105T000000Z-suite-night", json!({"is_short": true})),
            ("20261106T000000Z-suite-night", json!({"is_going_on": true})),
            ("20261107T000000Z-suite-night", json!({})),
        ] {
            let ended = suite(results.path(), name, &more);
            if more["is_going_on"] != json!(true) {
                told.push(ended.tell(&notice).unwrap().is_some());
            }
        }
        assert_eq!(told, [false, true, false, false, false, true]);
        let first = received.recv().unwrap();
        crate::schema::conform::assert_conforms("notify-suite", &first);
        assert_eq!(first["text"], "kchaos: suite night is invalid (was valid): so it was");
        assert_eq!((&first["before"], &first["not_valid"]), (&json!("valid"), &json!(["queue/none: invalid"])));
        assert_eq!(received.recv().unwrap()["before"], "invalid");
    }
}
