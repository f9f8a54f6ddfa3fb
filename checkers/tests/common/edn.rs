//! A small writer of EDN: what a JSON line says, as Jepsen would write it, in one of several ways.

use serde_json::Value;

/// Strings that Jepsen has as keywords.
const WORDS: [&str; 18] = [
    "invoke",
    "ok",
    "fail",
    "info",
    "nemesis",
    "send",
    "poll",
    "txn",
    "assign",
    "subscribe",
    "commit",
    "committed",
    "crash",
    "read",
    "write",
    "cas",
    "assigned",
    "revoked",
];

/// How to write it: each choice is made anew from the seed.
pub(crate) struct Writer {
    seed: u64,
}

impl Writer {
    /// As Jepsen writes: keywords, vectors, no more spaces than needed. Any other seed varies it.
    pub(crate) const JEPSEN: u64 = 0;

    pub(crate) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// A number below `below`; always 0 for Jepsen's way.
    fn choose(&mut self, below: u64) -> u64 {
        if self.seed == Self::JEPSEN {
            return 0;
        }
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        (self.seed >> 33) % below
    }

    /// Every line of a JSONL history.
    pub(crate) fn history(&mut self, jsonl: &str) -> String {
        jsonl.lines().map(|line| self.line(line) + "\n").collect()
    }

    pub(crate) fn line(&mut self, json: &str) -> String {
        let value: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
        let op = self.form(&value);
        let before = ["", " ", "#jepsen.history.Op ", "#_ {:index 0} "][self.choose(4) as usize];
        format!("{before}{op}{}", ["", " ; done", ",", "#_x"][self.choose(4) as usize])
    }

    fn form(&mut self, value: &Value) -> String {
        match value {
            Value::Null => "nil".to_owned(),
            Value::String(text) if WORDS.contains(&text.as_str()) => self.name(text),
            Value::Number(number) if number.is_i64() => format!("{number}{}", ["", "N"][self.choose(2) as usize]),
            Value::Array(elements) => {
                let elements: Vec<_> = elements.iter().map(|element| self.form(element)).collect();
                let (open, close) = [("[", "]"), ("(", ")"), ("[ #_ [1 2] ", " ]")][self.choose(3) as usize];
                format!("{open}{}{close}", elements.join([" ", ", "][self.choose(2) as usize]))
            }
            Value::Object(fields) => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| self.key(name) + " " + &self.form(value)).collect();
                format!("{{{}}}", fields.join([", ", " "][self.choose(2) as usize]))
            }
            // JSON's strings are EDN's.
            other => other.to_string(),
        }
    }

    fn key(&mut self, name: &str) -> String {
        if name.parse::<i64>().is_ok() { name.to_owned() } else { self.name(name) }
    }

    fn name(&mut self, name: &str) -> String {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'?');
        match self.choose(3) {
            0 if is_plain => format!(":{name}"),
            1 if is_plain => name.to_owned(),
            _ => serde_json::to_string(name).unwrap(),
        }
    }
}
