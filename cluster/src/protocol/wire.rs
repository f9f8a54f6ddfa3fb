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

    /// Bytes with their length before them.
    pub fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let at = self.at;
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| WireError { at, reason: format!("bytes of length {length}") })?;
        self.take(length, "bytes").map(Some)
    }

    /// The same; null counts as none.
    pub fn blob(&mut self) -> Result<&'a [u8], WireError> {
        Ok(self.nullable_bytes()?.unwrap_or_default())
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

    /// Seven bits a byte, the lowest first.
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let at = self.at;
        let mut value: u64 = 0;
        for shift in (0..35).step_by(7) {
            let byte = u64::from(self.fixed::<1>("a varint")?[0]);
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError { at, reason: format!("a varint of {value}") });
            }
        }
        Err(WireError { at, reason: "a varint without end".to_owned() })
    }

    /// A signed number as records have it: zigzag, seven bits a byte.
    pub fn varlong(&mut self) -> Result<i64, WireError> {
        let at = self.at;
        let mut value: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = u64::from(self.fixed::<1>("a varint")?[0]);
            // Of the tenth byte one bit is left.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        Err(WireError { at, reason: "a varint without end".to_owned() })
    }

    /// Bytes behind their length as records have it; -1 is null.
    pub fn varint_bytes(&mut self) -> Result<Option<&'a [u8]>, WireError> {
        let at = self.at;
        let length = self.varlong()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| WireError { at, reason: format!("bytes of length {length}") })?;
        self.take(length, "a record").map(Some)
    }

    pub fn compact_nullable_string(&mut self) -> Result<Option<String>, WireError> {
        let at = self.at;
        let Some(length) = (self.uvarint()? as usize).checked_sub(1) else { return Ok(None) };
        let bytes = self.take(length, "a compact string")?;
        let text = std::str::from_utf8(bytes).map_err(|_| WireError { at, reason: "a string that is not UTF-8".to_owned() })?;
        Ok(Some(text.to_owned()))
    }

    /// As [`Decoder::array`], compact.
    pub fn compact_array<T>(&mut self, mut element: impl FnMut(&mut Self) -> Result<T, WireError>) -> Result<Vec<T>, WireError> {
        let at = self.at;
        let count = (self.uvarint()? as usize).saturating_sub(1);
        if count > self.remaining() {
            return Err(WireError { at, reason: format!("an array of {count} elements in {} bytes", self.remaining()) });
        }
        (0..count).map(|_| element(self)).collect()
    }

    /// Tagged fields, none of which is read here.
    pub fn tags(&mut self) -> Result<(), WireError> {
        for _ in 0..self.uvarint()? {
            let _tag = self.uvarint()?;
            let length = self.uvarint()? as usize;
            self.take(length, "a tagged field")?;
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8], WireError> {
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

    pub fn blob(&mut self, bytes: &[u8]) {
        self.i32(bytes.len() as i32);
        self.bytes.extend_from_slice(bytes);
    }

    pub fn null_array(&mut self) {
        self.i32(-1);
    }

    pub fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    pub fn compact_string(&mut self, text: &str) {
        self.uvarint(text.len() as u32 + 1);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn compact_array<T>(&mut self, elements: &[T], mut element: impl FnMut(&mut Self, &T)) {
        self.uvarint(elements.len() as u32 + 1);
        for each in elements {
            element(self, each);
        }
    }

    pub fn no_tags(&mut self) {
        self.uvarint(0);
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
    fn compact_strings_and_arrays_come_back_as_written_and_tags_are_passed_over() {
        let long = "x".repeat(300);
        let mut encoder = Encoder::default();
        encoder.compact_array(&["a", "", &long], |encoder, text| encoder.compact_string(text));
        encoder.uvarint(0);
        encoder.bytes.extend_from_slice(&[1, 5, 2, 7, 7]);
        let mut decoder = Decoder::new(&encoder.bytes);
        let strings = decoder.compact_array(Decoder::compact_nullable_string).unwrap();
        assert_eq!(strings, [Some("a".to_owned()), Some(String::new()), Some(long)]);
        assert_eq!(decoder.compact_nullable_string().unwrap(), None);
        decoder.tags().unwrap();
        assert_eq!(decoder.remaining(), 0);
        assert!(Decoder::new(&[0xff; 6]).uvarint().is_err());
        assert!(Decoder::new(&[0x80]).uvarint().is_err());
        assert!(Decoder::new(&[1, 5, 200, 7]).tags().is_err());
    }

    #[test]
    fn a_frame_that_ends_early_is_an_error() {
        assert!(Decoder::new(&[0, 5, b'a']).string().is_err());
        assert!(Decoder::new(&[0]).i16().is_err());
        assert!(Decoder::new(&[0xff, 0xff]).string().is_err());
        assert!(Decoder::new(&[0xff, 0x00]).nullable_string().is_err());
    }
}
