//! A cursor over the bytes of one JSON text: strict, iterative where it matters, and always aware of its column.

use std::borrow::Cow;
use std::ops::Range;

use super::OpError;

/// As deep as `serde_json` goes.
const MAX_DEPTH: usize = 128;

/// `bytes` are valid UTF-8: [`Cursor::new`] sees to it.
pub(super) struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

type Result<T> = std::result::Result<T, OpError>;

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(line)
            .map_err(|error| OpError { column: error.valid_up_to() + 1, message: "not valid UTF-8".to_owned() })?;
        Ok(Self { text, bytes: line, at: 0 })
    }

    /// The same text, read again from `at`.
    pub(super) fn again(&self, at: usize) -> Self {
        Self { text: self.text, bytes: self.bytes, at }
    }

    pub(super) fn text(&self, range: Range<usize>) -> &'a str {
        self.text.get(range).unwrap_or("")
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T> {
        self.error_at(self.at, message)
    }

    pub(super) fn error_at<T>(&self, at: usize, message: impl Into<String>) -> Result<T> {
        Err(OpError { column: at + 1, message: message.into() })
    }

    fn expected<T>(&self, what: &str) -> Result<T> {
        match self.text[self.at..].chars().next() {
            None => self.error(format!("expected {what}, the line ends here")),
            Some(found) => self.error(format!("expected {what}, found {found:?}")),
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no white space, not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    /// Consumes `byte` if it comes next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    #[inline]
    pub(super) fn need(&mut self, byte: u8, what: &str) -> Result<()> {
        if self.eat(byte) { Ok(()) } else { self.expected(what) }
    }

    /// Consumes `null` if it comes next.
    pub(super) fn eat_null(&mut self) -> bool {
        let found = self.peek() == Some(b'n') && self.bytes[self.at..].starts_with(b"null");
        if found {
            self.at += 4;
        }
        found
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { self.expected("the end of the line") }
    }

    /// Calls `element` for each element of an array. `what` names the array in errors.
    #[inline]
    pub(super) fn array(&mut self, what: &str, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.need(b'[', what)?;
        if self.eat(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.eat(b']') {
                return Ok(());
            }
            self.need(b',', "',' or ']'")?;
        }
    }

    /// Calls `field` with each name of an object, the cursor standing at its value.
    #[inline]
    pub(super) fn object(&mut self, what: &str, mut field: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.need(b'{', what)?;
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string("a field's name")?;
            self.need(b':', "':'")?;
            field(self, &name)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.need(b',', "',' or '}'")?;
        }
    }

    #[inline]
    pub(super) fn integer(&mut self, what: &str) -> Result<i64> {
        self.skip_space();
        let start = self.at;
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let digits = self.at;
        // As a negative number, since there is one more of them. 18 digits always fit.
        let mut value: i64 = 0;
        while let Some(byte @ b'0'..=b'9') = self.bytes.get(self.at) {
            let digit = i64::from(byte - b'0');
            if self.at - digits < 18 {
                value = value * 10 - digit;
            } else if let Some(next) = value.checked_mul(10).and_then(|value| value.checked_sub(digit)) {
                value = next;
            } else {
                return self.error_at(start, format!("expected {what}, found a number beyond 64 bits"));
            }
            self.at += 1;
        }
        let length = self.at - digits;
        if length == 0 {
            self.at = start;
            return self.expected(what);
        }
        if length > 1 && self.bytes[digits] == b'0' {
            return self.error_at(start, format!("expected {what}, found a number with a leading zero"));
        }
        if let Some(b'.' | b'e' | b'E') = self.bytes.get(self.at) {
            return self.error_at(start, format!("expected {what}, found a number that is no integer"));
        }
        match if negative { Some(value) } else { value.checked_neg() } {
            Some(value) => Ok(value),
            None => self.error_at(start, format!("expected {what}, found a number beyond 64 bits")),
        }
    }

    /// An integer, or `None` for `null`.
    #[inline]
    pub(super) fn integer_or_null(&mut self, what: &str) -> Result<Option<i64>> {
        if self.eat_null() { Ok(None) } else { self.integer(what).map(Some) }
    }

    #[inline]
    pub(super) fn string(&mut self, what: &str) -> Result<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return self.expected(what);
        }
        let start = self.at + 1;
        let mut at = start;
        while let Some(&byte) = self.bytes.get(at) {
            match byte {
                b'"' => {
                    self.at = at + 1;
                    return Ok(Cow::Borrowed(&self.text[start..at]));
                }
                b'\\' => return self.escaped_string(),
                0..0x20 => return self.error_at(at, "a control character inside a string must be escaped"),
                _ => at += 1,
            }
        }
        self.error_at(self.at, "this string is not closed")
    }

    /// Escapes are rare: their end is found here, their meaning is `serde_json`'s.
    #[cold]
    fn escaped_string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at;
        let mut at = start + 1;
        loop {
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => at += 2,
                Some(_) => at += 1,
                None => return self.error_at(start, "this string is not closed"),
            }
        }
        let text = serde_json::from_str::<String>(&self.text[start..=at]);
        self.at = at + 1;
        text.map(Cow::Owned).or_else(|error| self.error_at(start, format!("not a JSON string: {error}")))
    }

    /// Passes over any JSON value and gives its place.
    pub(super) fn skip(&mut self) -> Result<Range<usize>> {
        self.skip_space();
        let start = self.at;
        self.skip_nested(0)?;
        Ok(start..self.at)
    }

    fn skip_nested(&mut self, depth: usize) -> Result<()> {
        if depth >= MAX_DEPTH {
            return self.error(format!("nested deeper than {MAX_DEPTH}"));
        }
        match self.peek() {
            Some(b'{') => self.object("an object", |cursor, _| cursor.skip_nested(depth + 1)),
            Some(b'[') => self.array("an array", |cursor| cursor.skip_nested(depth + 1)),
            Some(b'"') => self.string("a string").map(|_| ()),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.skip_number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<()> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return self.expected("a JSON value");
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.at - start
    }

    fn skip_number(&mut self) -> Result<()> {
        let start = self.at;
        self.at += usize::from(self.bytes.get(self.at) == Some(&b'-'));
        let first = self.at;
        let whole = self.digits();
        if whole == 0 {
            self.at = start;
            return self.expected("a JSON value");
        }
        let mut well_formed = whole == 1 || self.bytes[first] != b'0';
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            well_formed &= self.digits() > 0;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            well_formed &= self.digits() > 0;
        }
        if well_formed { Ok(()) } else { self.error_at(start, "not a JSON number") }
    }
}
