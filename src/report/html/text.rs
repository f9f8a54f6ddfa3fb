//! Text into HTML: everything that comes from a run is escaped, without exception.

use std::fmt::{self, Display, Write};

/// Escapes what it displays, for element content and quoted attributes alike.
pub(crate) struct Esc<T>(pub(crate) T);

struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                // Control characters have no place in HTML.
                c if c.is_control() && c != '\n' && c != '\t' => self.0.write_char('\u{fffd}')?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl<T: Display> Display for Esc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaper(f), "{}", self.0)
    }
}

/// Cuts a long line, and says that it did.
pub(super) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{} … ({} more bytes)", &text[..at], text.len() - at),
        None => text.to_owned(),
    }
}

/// A coordinate: one decimal is a tenth of a pixel.
pub(super) struct Px(pub(super) f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        if rounded.fract() == 0.0 { write!(f, "{rounded:.0}") } else { write!(f, "{rounded:.1}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_comes_in_can_become_markup() {
        assert_eq!(Esc("<b a=\"1\" b='2'>&\u{1}").to_string(), "&lt;b a=&quot;1&quot; b=&#39;2&#39;&gt;&amp;\u{fffd}");
        assert_eq!(cut("äöü", 2), "äö … (2 more bytes)");
        assert_eq!([Px(3.04).to_string(), Px(3.06).to_string(), Px(-0.01).to_string()], ["3", "3.1", "-0"]);
    }
}
