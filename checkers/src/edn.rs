//! Histories in EDN, as Jepsen writes them: `{:index 3, :time 120, :process 0, :type :ok, :f :send, :value [[:send 0 [17 4]]]}`.
//!
//! Why by way of JSON: what a value means is told once, in `kchaos_core::op_json`. So a map is rewritten as the JSON line that says the same
//! (`transcode`, in one pass, without recursion and without a tree), and that is what is read. A place in the JSON is brought back to its
//! place in the EDN only if there is an error to tell.
//!
//! # What is read
//!
//! | EDN | JSON |
//! |---|---|
//! | `:ok`, `ok`, `"ok"`, `\o` | a string; a keyword keeps its namespace (`:a/b`), a character is its own string |
//! | `nil`, `true`, `7`, `7N`, `+7`, `7.5M` | `null`, `true`, numbers |
//! | `1/2`, `0x1f`, `##Inf`, a float beyond 64 bits | a string: none of ours, but data of a nemesis |
//! | `[…]`, `(…)`, `#{…}` | an array, in the order of the text |
//! | `{0 [[17 4]]}` | an object; a key that is no name is the string of its text |
//! | `#tag form`, `#_ form`, `; comment` | the form, nothing, nothing |
//!
//! Commas are white space. A line holds a map or several; blank lines and comments may stand between. The whole may stand in one list or
//! vector (`[{…}`, `{…}]`), on one line or many.
//!
//! Of Jepsen's words: `:rebalance-log` may name no type for an event, which then excuses most (`lost`: nobody is accused for want of a word),
//! and may be `{:before […], :during […]}`. What is not known (`:exception`, `:clock-time`, …) is passed over, as in JSON.
//!
//! # How EDN is told from JSON
//!
//! By the name (`.edn`, `.edn.gz`, `.edn.zst`), whatever is inside. Else by the first line that is not blank: `{:`, or `;`, or `#` and a
//! letter, `{` or `_`, with any `[`, `(` and white space before it. JSON begins with none of these. So `{"index" 3}` and `{index 3}` need
//! the name.
//!
//! # Limits
//!
//! A form ends on the line where it begins: a map that is broken over lines, and a newline inside a string, are refused (Jepsen writes
//! neither). Metadata (`^{…}`) is not understood. Nesting deeper than 128 is refused.

mod rebalance;
#[cfg(test)]
mod tests;
mod token;
mod transcode;

use kchaos_core::{Op, OpError};
use transcode::Transcoder;

/// An op, its index and its time, as [`Op::read_json`] gives them.
pub(crate) type ReadOp = (Op, Option<u64>, Option<u64>);

/// What carries over from form to form.
#[derive(Default)]
pub(crate) struct Edn {
    list: List,
    ops: u64,
    /// The last op, as JSON, and where in its line it began.
    json: String,
    start: usize,
    transcoder: Transcoder,
}

/// The list or vector around all ops.
#[derive(Clone, Copy, Default, PartialEq)]
enum List {
    #[default]
    Outside,
    /// Until this byte.
    Inside(u8),
    Closed,
}

/// By its name.
pub(crate) fn is_named_edn(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".edn", ".edn.gz", ".edn.zst"].iter().any(|end| name.ends_with(end))
}

/// By its first line.
pub(crate) fn is_like_edn(line: &[u8]) -> bool {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
    let at = line.iter().position(|byte| !is_space(byte) && !matches!(byte, b'[' | b'(')).unwrap_or(line.len());
    match &line[at..] {
        [b';', ..] => true,
        [b'#', next, ..] => next.is_ascii_alphabetic() || matches!(next, b'{' | b'_'),
        [b'{', inside @ ..] => inside.iter().find(|byte| !is_space(byte)) == Some(&b':'),
        _ => false,
    }
}

impl Edn {
    /// The next op of `line` from `at`, which moves on; `None` at its end.
    pub(crate) fn next_op(&mut self, line: &str, at: &mut usize) -> Result<Option<ReadOp>, OpError> {
        loop {
            *at = token::skip_space(line.as_bytes(), *at);
            let Some(&byte) = line.as_bytes().get(*at) else { return Ok(None) };
            match (byte, self.list) {
                (_, List::Closed) => return Err(error_at(*at, "the list of ops was closed before this")),
                (b'[' | b'(', List::Outside) if self.ops == 0 => {
                    self.list = List::Inside(token::closing(byte));
                    *at += 1;
                }
                (byte, List::Inside(close)) if byte == close => {
                    self.list = List::Closed;
                    *at += 1;
                }
                (b'{' | b'#', _) => {
                    self.start = *at;
                    self.json.clear();
                    if self.transcoder.value(line, at, &mut self.json)? {
                        return self.read(line).map(Some);
                    }
                }
                _ => return Err(error_at(*at, format!("expected an op, as a map, found {:?}", char_at(line, *at)))),
            }
        }
    }

    fn read(&mut self, line: &str) -> Result<ReadOp, OpError> {
        self.ops += 1;
        let length = self.json.len();
        let log = self.transcoder.rebalance_log();
        if let Some(name) = log {
            rebalance::normalise(&mut self.json, name);
        }
        Op::read_json(self.json.as_bytes()).map_err(|error| {
            let target = error.column - 1;
            // What was appended stands for the log.
            let target = log.filter(|_| target >= length).unwrap_or(target);
            let place = self.place(line, target);
            OpError { column: place + 1, message: in_words_of_edn(&error.message, line, place) }
        })
    }

    /// The column of the last op's index.
    pub(crate) fn index_column(&self, line: &str) -> usize {
        memchr::memmem::find(self.json.as_bytes(), b"\"index\"").map_or(self.start, |target| self.place(line, target)) + 1
    }

    /// Where in `line` the form stands that was written at `target` of the JSON: found by writing it again.
    fn place(&self, line: &str, target: usize) -> usize {
        let mut again = Transcoder::seeking(target);
        let mut at = self.start;
        let _ = again.value(line, &mut at, &mut String::new());
        again.place()
    }

    /// Why the end is missing, if it is.
    pub(crate) fn unfinished(&self) -> Option<String> {
        matches!(self.list, List::Inside(_)).then(|| "the list around the ops is not closed".to_owned())
    }
}

fn error_at(at: usize, message: impl Into<String>) -> OpError {
    OpError { column: at + 1, message: message.into() }
}

fn char_at(line: &str, at: usize) -> char {
    line[at..].chars().next().unwrap_or('\n')
}

/// The reader of JSON misses commas and sees quotes where there are none.
fn in_words_of_edn(message: &str, line: &str, place: usize) -> String {
    let message = message.replace("',' and ", "").replace("a JSON object", "a map");
    match message.rsplit_once(", found '") {
        Some((expected, found)) if found.len() <= 3 => format!("{expected}, found {:?}", char_at(line, place)),
        _ => message,
    }
}
