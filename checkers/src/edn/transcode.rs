//! One EDN form as JSON, in one pass. What is open is kept in a list, so no nesting can overflow the stack.

use kchaos_core::OpError;

use super::token::{self, skip_space};
use super::{char_at, error_at};

type Result<T> = std::result::Result<T, OpError>;

/// As deep as JSON may be.
const MAX_DEPTH: usize = 128;
const REBALANCE_LOG: &str = "\"rebalance-log\"";

/// Kept from op to op for its memory.
#[derive(Default)]
pub(super) struct Transcoder {
    open: Vec<Open>,
    rebalance_log: Option<usize>,
    /// Which place in the JSON is sought, and the last form that began at or before it.
    target: usize,
    place: usize,
}

/// What waits for its end. `start` is its place in the EDN, `written` what stood of the JSON before it.
enum Open {
    Collection {
        close: u8,
        is_map: bool,
        elements: usize,
        start: usize,
    },
    /// `#_`: the next form goes.
    Discard {
        written: usize,
        start: usize,
    },
    /// A collection that is a map's key, which becomes a string.
    Key {
        written: usize,
        start: usize,
    },
}

impl Transcoder {
    pub(super) fn seeking(target: usize) -> Self {
        Self { target, ..Self::default() }
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// Where in the JSON the op's own `"rebalance-log"` stands.
    pub(super) fn rebalance_log(&self) -> Option<usize> {
        self.rebalance_log
    }

    /// Appends the form at `at` to `out`, and moves on behind it. `false` if there was none: it was discarded, or the line ended.
    pub(super) fn value(&mut self, text: &str, at: &mut usize, out: &mut String) -> Result<bool> {
        self.open.clear();
        self.rebalance_log = None;
        let bytes = text.as_bytes();
        loop {
            *at = skip_space(bytes, *at);
            let Some(&byte) = bytes.get(*at) else { return self.end(*at) };
            if self.target >= out.len() {
                self.place = *at;
            }
            let done = match byte {
                b'{' | b'[' | b'(' => {
                    self.open(byte, byte == b'{', *at, out)?;
                    *at += 1;
                    false
                }
                b'}' | b']' | b')' => {
                    self.close(byte, text, *at, out)?;
                    *at += 1;
                    self.complete(text, *at, out)
                }
                b'#' if self.dispatch(text, at, out)? => false,
                _ => {
                    *at = self.scalar(text, *at, out)?;
                    self.complete(text, *at, out)
                }
            };
            if done {
                return Ok(true);
            }
            if self.open.is_empty() && byte != b'#' {
                return Ok(false);
            }
        }
    }

    fn end(&self, at: usize) -> Result<bool> {
        let (what, start) = match self.open.last() {
            None => return Ok(false),
            Some(Open::Discard { start, .. }) => ("a #_ that has nothing to discard", start),
            Some(Open::Collection { is_map: true, start, .. }) => ("a map", start),
            Some(Open::Collection { start, .. } | Open::Key { start, .. }) => ("a collection", start),
        };
        Err(error_at(at, format!("the line ends inside {what}, from column {}", start + 1)))
    }

    /// What starts with `#` and is no form of its own. `false` for one that is.
    fn dispatch(&mut self, text: &str, at: &mut usize, out: &mut String) -> Result<bool> {
        let bytes = text.as_bytes();
        match bytes.get(*at + 1) {
            Some(b'_') => {
                self.push(Open::Discard { written: out.len(), start: *at }, *at)?;
                *at += 2;
            }
            Some(b'{') => {
                self.open(b'{', false, *at, out)?;
                *at += 2;
            }
            Some(b'#' | b'"') => return Ok(false),
            Some(b'(' | b'\'' | b'=' | b'^') => *at += 1 + usize::from(bytes[*at + 1] != b'('),
            _ => {
                let end = token::end_of(bytes, *at + 1);
                if end == *at + 1 {
                    return Err(error_at(*at, "expected a tag after #"));
                }
                *at = end;
            }
        }
        Ok(true)
    }

    /// Whether a map's key comes next. Writes what separates it from the element before.
    #[inline]
    fn separate(&mut self, out: &mut String) -> bool {
        let Some(Open::Collection { is_map, elements, .. }) = self.open.last() else { return false };
        let is_value = *is_map && elements % 2 == 1;
        if is_value {
            out.push(':');
        } else if *elements > 0 {
            out.push(',');
        }
        *is_map && !is_value
    }

    fn open(&mut self, byte: u8, is_map: bool, start: usize, out: &mut String) -> Result<()> {
        if self.separate(out) {
            self.push(Open::Key { written: out.len(), start }, start)?;
        }
        self.push(Open::Collection { close: token::closing(byte), is_map, elements: 0, start }, start)?;
        out.push(if is_map { '{' } else { '[' });
        Ok(())
    }

    fn push(&mut self, open: Open, at: usize) -> Result<()> {
        if self.open.len() >= MAX_DEPTH {
            return Err(error_at(at, format!("nested deeper than {MAX_DEPTH}")));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, byte: u8, text: &str, at: usize, out: &mut String) -> Result<()> {
        match self.open.last() {
            Some(Open::Collection { close, is_map, elements, .. }) if *close == byte => {
                if *is_map && elements % 2 == 1 {
                    return Err(error_at(at, "the last key of this map has no value"));
                }
                out.push(if *is_map { '}' } else { ']' });
                self.open.pop();
                Ok(())
            }
            Some(Open::Collection { close, start, .. }) => {
                let (expected, column) = (char::from(*close), start + 1);
                Err(error_at(at, format!("expected {expected:?}, for what began in column {column}, found {:?}", char::from(byte))))
            }
            _ => Err(error_at(at, format!("expected a form, found {:?}", char_at(text, at)))),
        }
    }

    #[inline]
    fn scalar(&mut self, text: &str, at: usize, out: &mut String) -> Result<usize> {
        let is_key = self.separate(out);
        let written = out.len();
        let bytes = text.as_bytes();
        let end = match bytes[at] {
            b'"' => token::string(out, text, at)?,
            b'\\' => token::character(out, text, at)?,
            b'#' if bytes.get(at + 1) == Some(&b'"') => token::pattern(out, text, at + 1)?,
            _ => {
                let end = token::end_of(bytes, at);
                token::write_token(out, &text[at..end], is_key);
                end
            }
        };
        if is_key && self.open.len() == 1 && out[written..] == *REBALANCE_LOG {
            self.rebalance_log = Some(written);
        }
        Ok(end)
    }

    /// A form has ended before `at`. Whether it was the outermost one.
    #[inline]
    fn complete(&mut self, text: &str, at: usize, out: &mut String) -> bool {
        loop {
            match self.open.last_mut() {
                None => return true,
                Some(Open::Collection { elements, .. }) => {
                    *elements += 1;
                    return false;
                }
                Some(Open::Discard { written, .. }) => {
                    out.truncate(*written);
                    self.open.pop();
                    return false;
                }
                Some(Open::Key { written, start }) => {
                    out.truncate(*written);
                    token::json_string(out, &text[*start..at]);
                    self.open.pop();
                }
            }
        }
    }
}
