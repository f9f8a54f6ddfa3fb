//! Lines of a Java properties file, changed in place: what is not meant stays as it was, comments and order included.

use super::Settings;

/// The value of each of these keys; the last one counts, as for Java.
pub(super) fn values<'a>(text: &str, keys: impl Iterator<Item = &'a String>) -> Settings {
    let entries = entries(text);
    keys.map(|key| (key.clone(), entries.iter().rev().find(|entry| entry.key == *key).map(|entry| entry.value.clone()))).collect()
}

/// The text with these settings: the first line of a key is replaced and others of it are left out; what is new stands at the end.
pub(super) fn with(text: &str, settings: &Settings) -> String {
    let mut left: Settings = settings.clone();
    let mut out = String::new();
    let mut at = 0;
    for entry in entries(text) {
        if !settings.contains_key(&entry.key) {
            continue;
        }
        out.push_str(&text[at..entry.from]);
        at = entry.to;
        if let Some(Some(value)) = left.remove(&entry.key) {
            out.push_str(&line(&entry.key, &value));
        }
    }
    out.push_str(&text[at..]);
    for (key, value) in left {
        if let Some(value) = value {
            end_line(&mut out);
            out.push_str(&line(&key, &value));
        }
    }
    out
}

/// What is added stands on a line of its own, even behind one that says it goes on.
fn end_line(out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    let last = entries(out).pop().filter(|last| last.to == out.len());
    if last.is_some_and(|last| last.dangles) {
        out.push('\n');
    }
}

fn line(key: &str, value: &str) -> String {
    format!("{key}={}\n", value.replace('\\', "\\\\"))
}

#[derive(Debug)]
struct Entry {
    from: usize,
    to: usize,
    key: String,
    value: String,
    /// It goes on, and the text ends.
    dangles: bool,
}

/// Each entry with the bytes that it takes, lines that go on included.
fn entries(text: &str) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut lines = text.split_inclusive('\n');
    let mut at = 0;
    while let Some(first) = lines.next() {
        let from = at;
        at += first.len();
        let start = first.trim_start();
        if start.trim_end().is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.trim_end_matches(['\n', '\r']).to_owned();
        let mut dangles = false;
        while goes_on(&logical) {
            logical.pop();
            let Some(next) = lines.next() else {
                dangles = true;
                break;
            };
            at += next.len();
            logical.push_str(next.trim_start().trim_end_matches(['\n', '\r']));
        }
        let (key, value) = split(&logical);
        found.push(Entry { from, to: at, key, value, dangles });
    }
    found
}

fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// At the first of `=`, `:` and white space that no backslash escapes.
fn split(line: &str) -> (String, String) {
    let mut is_escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !is_escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        is_escaped = !is_escaped && *c == '\\';
        ends
    });
    let end = end.map_or(line.len(), |(at, _)| at);
    let rest = line[end..].trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescaped(&line[..end]), unescaped(rest))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('t') => out.push('\t'),
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(pairs: &[(&str, Option<&str>)]) -> Settings {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn only_the_lines_that_are_meant_change() {
        let text =
            "# a broker\nbroker.id=1\n\ninter.broker.protocol.version = 2.8\n  log.dirs: /a,\\\n   /b\n#inter.broker.protocol.version=1\n";
        let changed = with(
            text,
            &settings(&[
                ("inter.broker.protocol.version", Some("3.9")),
                ("log.dirs", None),
                ("new.one", Some("a\\b")),
                ("not.there", None),
            ]),
        );
        assert_eq!(
            changed,
            "# a broker\nbroker.id=1\n\ninter.broker.protocol.version=3.9\n#inter.broker.protocol.version=1\nnew.one=a\\\\b\n"
        );
        let keys = ["log.dirs".to_owned(), "new.one".to_owned()];
        assert_eq!(values(text, keys.iter()), settings(&[("log.dirs", Some("/a,/b")), ("new.one", None)]));
        assert_eq!(values(&changed, keys.iter()), settings(&[("log.dirs", None), ("new.one", Some("a\\b"))]));
    }

    #[test]
    fn what_is_added_is_no_part_of_a_last_line_that_goes_on() {
        for text in ["b=x\\", "b=x\\\n"] {
            let changed = with(text, &settings(&[("a", Some("1"))]));
            assert_eq!(changed, "b=x\\\n\na=1\n");
            assert_eq!(values(&changed, ["a".to_owned(), "b".to_owned()].iter()), settings(&[("a", Some("1")), ("b", Some("x"))]));
        }
    }

    #[test]
    fn of_a_key_that_stands_twice_one_is_left() {
        assert_eq!(with("a=1\nb=2\na=3", &settings(&[("a", Some("4"))])), "a=4\nb=2\n");
        assert_eq!(values("a=1\na=3", ["a".to_owned()].iter()), settings(&[("a", Some("3"))]));
    }

    proptest! {
        #[test]
        fn what_was_set_is_what_is_read(text in "([a-c.]{1,3}[=: ]{1,2}[ -~]{0,6}\n|#[ -~]{0,5}\n|\n){0,6}", value in "[!-~]{1,8}") {
            let wanted = settings(&[("a.b", Some(&value)), ("c", None)]);
            let changed = with(&text, &wanted);
            prop_assert_eq!(values(&changed, wanted.keys()), wanted.clone());
            prop_assert_eq!(with(&changed, &wanted), changed);
        }

        #[test]
        fn no_file_makes_it_panic(text in "\\PC{0,80}") {
            let _ = with(&text, &settings(&[("a", Some("b"))]));
        }
    }
}
