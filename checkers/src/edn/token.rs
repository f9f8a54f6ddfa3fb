//! The smallest parts of EDN: what ends a token, numbers, strings, characters. Each is written as the JSON that says the same.

use kchaos_core::OpError;

use super::error_at;

type Result<T> = std::result::Result<T, OpError>;

/// White space, commas, brackets, quotes and semicolons end a token.
const ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut byte = 0;
    while byte <= b' ' as usize {
        ends[byte] = true;
        byte += 1;
    }
    let others = b",\"();[]{}";
    let mut at = 0;
    while at < others.len() {
        ends[others[at] as usize] = true;
        at += 1;
    }
    ends
};

/// The end of the token that begins at `at`.
#[inline]
pub(super) fn end_of(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|byte| ENDS[usize::from(*byte)]).map_or(bytes.len(), |length| at + length)
}

/// White space, commas and comments. A byte order mark too: some editors leave one.
#[inline]
pub(super) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            Some(0..=b' ' | b',') => at += 1,
            Some(b';') => at = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length),
            Some(0xef) if bytes[at..].starts_with(b"\xef\xbb\xbf") => at += 3,
            _ => return at,
        }
    }
}

pub(super) fn closing(open: u8) -> u8 {
    match open {
        b'(' => b')',
        b'[' => b']',
        _ => b'}',
    }
}

/// A token that is neither string nor character: a keyword, a symbol, a number, `nil`, `true` or `false`. As a key, everything is a string.
pub(super) fn write_token(out: &mut String, token: &str, is_key: bool) {
    match token.as_bytes() {
        [b':', ..] => quote(out, &token[1..]),
        [b'0'..=b'9', ..] | [b'+' | b'-', b'0'..=b'9', ..] => number(out, token, is_key),
        _ if is_key => quote(out, token),
        b"nil" => out.push_str("null"),
        b"true" | b"false" => out.push_str(token),
        _ => quote(out, token),
    }
}

/// A token as a JSON string. Tokens hold neither quotes nor control characters.
fn quote(out: &mut String, token: &str) {
    out.push('"');
    if token.contains('\\') {
        out.push_str(&token.replace('\\', "\\\\"));
    } else {
        out.push_str(token);
    }
    out.push('"');
}

/// What JSON can say of it as a number, else its text.
fn number(out: &mut String, token: &str, is_key: bool) {
    let text = token.strip_prefix('+').unwrap_or(token);
    let integer = text.strip_suffix('N').unwrap_or(text);
    let digits = integer.strip_prefix('-').unwrap_or(integer);
    let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if is_integer && is_key {
        quote(out, integer);
    } else if is_integer && digits.len() < 300 {
        out.push_str(integer);
    } else if let Some((mantissa, exponent)) = float(text).filter(|_| !is_key) {
        out.push_str(mantissa.strip_suffix('.').unwrap_or(mantissa));
        out.push_str(exponent);
    } else {
        quote(out, token);
    }
}

/// Split before its exponent. `None` unless it is a finite number in EDN's shape (which is JSON's, but that `7.` is allowed).
fn float(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_suffix('M').unwrap_or(text);
    let (mantissa, exponent) = text.split_at(text.find(['e', 'E']).unwrap_or(text.len()));
    let digits = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let whole = digits.split_once('.').map_or(digits, |(whole, _)| whole);
    // `parse` has the grammar but for leading zeros, and `inf` and `nan`, which do not begin with a digit.
    let well_formed = whole.starts_with(|first: char| first.is_ascii_digit()) && (whole.len() == 1 || !whole.starts_with('0'));
    text.parse::<f64>().ok().filter(|number| well_formed && number.is_finite()).map(|_| (mantissa, exponent))
}

/// The string whose quote stands at `at`. Gives the place after it.
pub(super) fn string(out: &mut String, text: &str, start: usize) -> Result<usize> {
    let bytes = text.as_bytes();
    out.push('"');
    let (mut at, mut copied) = (start + 1, start + 1);
    loop {
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => {
                out.push_str(&text[copied..at]);
                at = escape(out, text, at)?;
                copied = at;
            }
            Some(&control @ 0..0x20) => {
                out.push_str(&text[copied..at]);
                out.push_str(&format!("\\u{control:04x}"));
                at += 1;
                copied = at;
            }
            Some(_) => at += 1,
            None => return Err(error_at(start, "this string is not closed")),
        }
    }
    out.push_str(&text[copied..at]);
    out.push('"');
    Ok(at + 1)
}

/// A regular expression, `#"…"`: its backslashes are its own. `start` is its quote's.
pub(super) fn pattern(out: &mut String, text: &str, start: usize) -> Result<usize> {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return Err(error_at(start, "this string is not closed")),
        }
    }
    json_string(out, &text[start + 1..at]);
    Ok(at + 1)
}

pub(super) fn json_string(out: &mut String, text: &str) {
    // A string always serialises.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// The escape whose backslash stands at `at`, inside a string.
fn escape(out: &mut String, text: &str, at: usize) -> Result<usize> {
    let bytes = text.as_bytes();
    match bytes.get(at + 1) {
        Some(b't' | b'r' | b'n' | b'b' | b'f' | b'"' | b'\\') => {
            out.push_str(&text[at..at + 2]);
            Ok(at + 2)
        }
        Some(b'u') => {
            let Some(unit) = unit(bytes, at) else { return Err(error_at(at, "expected four hexadecimal digits after \\u")) };
            let low = unit_if(bytes, at + 6, 0xdc00..=0xdfff).filter(|_| (0xd800..0xdc00).contains(&unit));
            let units = [unit, low.unwrap_or(0)];
            let units = &units[..1 + usize::from(low.is_some())];
            // Java's strings may hold half a pair.
            let text: String = char::decode_utf16(units.iter().copied()).map(|one| one.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
            escaped(out, &text);
            Ok(at + 6 * units.len())
        }
        Some(b'o' | b'0'..=b'7') => {
            let digits = at + 1 + usize::from(bytes[at + 1] == b'o');
            let end = digits + bytes[digits..].iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
            let code = u32::from_str_radix(&text[digits..end], 8).ok().and_then(char::from_u32);
            let Some(code) = code else { return Err(error_at(at, "expected octal digits")) };
            escaped(out, code.encode_utf8(&mut [0; 4]));
            Ok(end)
        }
        None => Err(error_at(at, "this string is not closed")),
        Some(_) => Err(error_at(at, "unknown escape in a string: one of \\t \\r \\n \\b \\f \\\\ \\\" \\uXXXX")),
    }
}

/// As it stands inside a JSON string.
fn escaped(out: &mut String, text: &str) {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    out.push_str(quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(""));
}

/// The 16 bits of `\uXXXX` at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u16::from_str_radix(digits, 16).ok()
}

fn unit_if(bytes: &[u8], at: usize, range: std::ops::RangeInclusive<u16>) -> Option<u16> {
    unit(bytes, at).filter(|unit| range.contains(unit))
}

/// The character whose backslash stands at `start`.
pub(super) fn character(out: &mut String, text: &str, start: usize) -> Result<usize> {
    let Some(first) = text[start + 1..].chars().next().filter(|first| !first.is_whitespace()) else {
        return Err(error_at(start, "expected a character after \\"));
    };
    let after = start + 1 + first.len_utf8();
    // `\(` is whole; `\newline` is a name.
    let end = if first.is_alphanumeric() { end_of(text.as_bytes(), after) } else { after };
    let name = &text[start + 1..end];
    let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().map(|code| char::from_u32(code).unwrap_or('\u{fffd}'));
    let found = match name {
        "newline" => Some('\n'),
        "space" => Some(' '),
        "tab" => Some('\t'),
        "return" => Some('\r'),
        "formfeed" => Some('\u{c}'),
        "backspace" => Some('\u{8}'),
        _ if name.len() == first.len_utf8() => Some(first),
        _ if first == 'u' && name.len() == 5 => code(&name[1..], 16),
        _ if first == 'o' && name.len() <= 4 => code(&name[1..], 8),
        _ => None,
    };
    let Some(found) = found else { return Err(error_at(start, format!("unknown character \\{name}"))) };
    json_string(out, found.encode_utf8(&mut [0; 4]));
    Ok(end)
}
