//! The bytes of Kafka's protocol: big-endian numbers, length-prefixed strings and arrays. Outside input: every read is bounded and checked.

/// What was wrong with the bytes, and where in the frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}")]
pub struct WireError {
    pub at: usize,
    pub reason: String,
}

/// Reads a frame from its start.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.fixed("an int8")?))
    }

    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.fixed("an int16")?))
    }

    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.fixed("an int32")?))
    }

    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.fixed("an int64")?))
    }

    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.i8()? != 0)
    }

    /// A string that must be there.
    pub fn string(&mut self) -> Result<String, WireError> {
        let at = self.at;
        self.nullable_string()?.ok_or_else(|| WireError { at, reason: "a null string where one is required".to_owned() })
    }

    pub fn nullable_string(&mut self) -> Result<Option<String>, WireError> {
        let at = self.at;
        let length = self.i16()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| WireError { at, reason: format!("a string of length {length}") })?;
        let bytes = self.take(length, "a string")?;
        let text = std::str::from_utf8(bytes).map_err(|_| WireError { at, reason: "a string that is not UTF-8".to_owned() })?;
        Ok(Some(text.to_owned()))
    }

    /// An array; null counts as empty. A count that the rest of the frame cannot hold is refused before anything is allocated for it.
    pub fn array<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let at = self.at;
        let count = self.i32()?;
        if count == -1 {
            return Ok(Vec::new());
        }
        match usize::try_from(count) {
            Ok(count) if count <= self.remaining() => (0..count).map(|_| element(self)).collect(),
            _ => Err(WireError { at, reason: format!("an array of {count} elements in {} bytes", self.remaining()) }),
        }
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], WireError> {
        let at = self.at;
        let end = at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            return Err(WireError { at, reason: format!("the frame ends inside {what}") });
        };
        self.at = end;
        Ok(&self.bytes[at..end])
    }

    fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N], WireError> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N, what)?);
        Ok(value)
    }
}

/// Writes a request.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    pub bytes: Vec<u8>,
}

impl Encoder {
    pub fn i8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn bool(&mut self, value: bool) {
        self.i8(i8::from(value));
    }

    /// Names longer than the protocol can say are cut; the broker then answers that it does not know them.
    pub fn string(&mut self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(i16::MAX as usize)];
        self.i16(bytes.len() as i16);
        self.bytes.extend_from_slice(bytes);
    }

    pub fn array<T>(&mut self, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.i32(elements.len() as i32);
        for each in elements {
            element(self, each);
        }
    }

    pub fn null_array(&mut self) {
        self.i32(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_count_larger_than_the_frame_is_refused() {
        let bytes = [0x7f, 0xff, 0xff, 0xff, 0, 0];
        let error = Decoder::new(&bytes).array(Decoder::i8).unwrap_err();
        assert_eq!(error, WireError { at: 0, reason: "an array of 2147483647 elements in 2 bytes".to_owned() });
    }

    #[test]
    fn strings_and_arrays_come_back_as_written() {
        let mut encoder = Encoder::default();
        encoder.array(&["a", "", "ü"], |encoder, text| encoder.string(text));
        encoder.null_array();
        let mut decoder = Decoder::new(&encoder.bytes);
        assert_eq!(decoder.array(Decoder::string).unwrap(), ["a", "", "ü"]);
        assert!(decoder.array(Decoder::string).unwrap().is_empty());
        assert_eq!(decoder.remaining(), 0);
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error() {
        assert!(Decoder::new(&[0, 5, b'a']).string().is_err());
        assert!(Decoder::new(&[0]).i16().is_err());
        assert!(Decoder::new(&[0xff, 0xff]).string().is_err());
        assert!(Decoder::new(&[0xff, 0x00]).nullable_string().is_err());
    }
}
